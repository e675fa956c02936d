"""eICU Collaborative Research Database 2.0: intensive care in 208 hospitals of the United States.

Source: Pollard et al., "The eICU Collaborative Research Database", Scientific Data 2018; the folder of
``patient.csv.gz`` and, for the panel ``vitals14``, ``nurseCharting.csv.gz`` and ``lab.csv.gz``; for ``labs48`` instead
``lab``, ``vitalPeriodic``, ``vitalAperiodic``, ``respiratoryCharting`` and ``intakeOutput``; packed or not, or the
same as parquet, names in any case.

Licence: PhysioNet credentialed access (training and a data use agreement); the demo 2.0.1 is open (ODbL).

Cohort: one unit stay a row, counted in hours from the admission to the unit; the source has no dates. Adults
(over 89: 90), the first unit stay of a hospital stay, admitted to intensive care (neither moved within it nor on a
step-down unit), with a known outcome. Label ``readmission`` says whether another unit stay follows in the same
hospital stay: no time between hospital stays is recorded, so that one within 30 days cannot be told.

Interfaces differ between hospitals: what is never measured in one is missing by design. The static feature
``hospital`` lets a model be tested on other hospitals than it was trained on.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.eicu_panels import LAB, PANELS
from auscult.core.data.eicu_seed import build_seed
from auscult.core.data.eicu_tables import LAB_TABLE, MINUTE, NURSE_TABLE, open_events
from auscult.core.data.events import Duplicates, PreAnchor, Rules, read_events
from auscult.core.data.feature import Feature
from auscult.core.data.panel import Panel, RangeRule, choose
from auscult.core.data.stays import coded, keep_stays, numbers, occurring
from auscult.core.data.tree import Table, Tree
from auscult.core.errors import InputError

SOURCE = "https://physionet.org/content/eicu-crd/"
PATIENT = Table(
    "patient",
    {
        "patientunitstayid": "BIGINT", "patienthealthsystemstayid": "BIGINT", "gender": "VARCHAR", "age": "VARCHAR",
        "ethnicity": "VARCHAR", "hospitalid": "BIGINT", "admissionheight": "DOUBLE", "admissionweight": "DOUBLE",
        "hospitaldischargestatus": "VARCHAR", "unittype": "VARCHAR", "unitvisitnumber": "INTEGER",
        "unitstaytype": "VARCHAR", "unitdischargeoffset": "BIGINT", "unitdischargestatus": "VARCHAR",
        "uniquepid": "VARCHAR",
    },
)  # fmt: skip
HOSPITAL = Table(
    "hospital",
    {"hospitalid": "BIGINT", "numbedscategory": "VARCHAR", "teachingstatus": "VARCHAR", "region": "VARCHAR"},
)
Preset = Literal["default", "seed"]
CohortRule = Literal["first", "all"]
Censored = Literal["bound", "drop"]
StaticName = Literal[
    "sex", "age", "height", "weight", "ethnicity", "hospital", "unit_type", "region", "teaching", "beds"
]
_UNITS = {"age": "years", "height": "cm", "weight": "kg"}
NO_DATES = (
    "no time between hospital stays is recorded: readmission means another unit stay in the same hospital stay, and "
    "one within 30 days cannot be told"
)


def load(
    path: Path | None = None,
    *,
    panel: str | Panel = "vitals14",
    preset: Preset = "default",
    cohort: CohortRule = "first",
    hours: float | None = 48.0,
    min_hours: float | None = None,
    bin_hours: float | None = None,
    range: RangeRule = "drop",
    duplicates: Duplicates = "mean",
    pre_anchor: PreAnchor = "drop",
    lookback_hours: float = 24.0,
    censored: Censored = "bound",
    static: Sequence[str] = ("sex", "age", "height", "weight"),
    memory: str = "2GB",
    threads: int | None = None,
) -> Cohort:
    """Return the unit stays of a folder of eICU.

    Parameters
    ----------
    path
        The folder.
    panel
        ``vitals14`` or ``labs48`` (:mod:`auscult.core.data.eicu_panels`), or a panel of one's own.
    preset
        ``seed`` makes the hourly rows again that the benchmark's scripts and their successors made, faults
        included (:mod:`auscult.core.data.eicu_seed`); of the other options only ``hours``, ``min_hours``,
        ``memory`` and ``threads`` can be given then.
    cohort
        ``first``: as described above; ``all``: every unit stay with an end.
    hours, bin_hours, pre_anchor, lookback_hours, range, duplicates
        The window, the bins, implausible values, several values at one time: see
        :class:`auscult.core.data.events.Rules`. Stays shorter than ``hours`` are left out, unless ``min_hours`` says
        otherwise.
    min_hours
        The least length of a stay; ``hours`` by default.
    censored
        What to make of results such as ``<0.02`` and ``>600``: the ``bound`` (a note counts them) or nothing
        (``drop``).
    static
        Among sex, age, height, weight, ethnicity, hospital, unit_type and, from the table ``hospital``, region,
        teaching, beds. Height and weight are those of the admission, repaired: swapped ones, metres, decimetres.
        Texts have the levels that occur in the tables.
    memory, threads
        Of DuckDB: see :class:`auscult.core.data.tree.Tree`.

    Returns
    -------
    Cohort
        With the labels ``mortality`` (in hospital), ``mortality_unit``, ``readmission`` (another unit stay in the
        same hospital stay; NaN for those who die before one) and ``los_days`` (in the unit; with the preset ``seed``
        the days that remain, per step).

    Raises
    ------
    InputError
        Where a table or column is missing, a file is damaged, or an option cannot be used.
    MissingDependencyError
        Where DuckDB is not installed.
    """
    rules = Rules(
        hours=hours,
        bin_hours=bin_hours,
        pre_anchor=pre_anchor,
        lookback_hours=lookback_hours,
        range=range,
        duplicates=duplicates,
    )
    for name, value, known in (
        ("preset", preset, Preset),
        ("cohort", cohort, CohortRule),
        ("censored", censored, Censored),
    ):
        if value not in get_args(known):
            raise InputError(f"{name} is {value!r}: use one of {', '.join(get_args(known))}")
    if min_hours is not None and not 0 <= min_hours < 1e6:
        raise InputError(f"min_hours is {min_hours!r}: give a number of hours, 0 for stays of any length")
    unknown = [name for name in static if name not in get_args(StaticName)]
    if unknown or isinstance(static, str) or len(set(static)) < len(static):
        raise InputError(
            f"static is {static!r}: give a list of different names among {', '.join(get_args(StaticName))}"
        )
    chosen = choose(PANELS, panel)
    least = min_hours if min_hours is not None else hours or 0.0
    provenance = {
        "data_set": "eICU",
        "source": SOURCE,
        "citation": "Pollard et al., Scientific Data 2018; doi:10.1038/sdata.2018.178",
        "licence": "PhysioNet credentialed access; the demo: ODbL",
        "preset": preset,
        "min_hours": f"{least:g}",
    }
    with Tree(path, data_set="eICU", source=SOURCE, memory=memory, threads=threads) as tree:
        _open_patients(tree, static)
        if preset == "seed":
            given = {"panel": chosen.name, "cohort": cohort, "censored": censored, "static": tuple(static)}
            for name, value in {**given, **vars(rules)}.items():
                if name != "hours" and value != inspect.signature(load).parameters[name].default:
                    raise InputError(f"preset='seed' fixes {name}: leave it out")
            for table in (NURSE_TABLE, LAB_TABLE):
                tree.open(table)
            return build_seed(tree, hours=hours, min_hours=least, provenance=provenance)
        provenance |= {
            "panel": chosen.name,
            "cohort": cohort,
            "censored": censored,
            **{name: str(value) for name, value in vars(rules).items()},
        }
        return _build(tree, chosen, rules, cohort, least, censored, static, provenance)


def _open_patients(tree: Tree, static: Sequence[str]) -> None:
    """Create the table ``every_stay``, a row a unit stay, with all that is known of it but events."""
    patients = tree.open(PATIENT)
    if {"region", "teaching", "beds"} & set(static):
        about = (
            "h.region, CASE lower(h.teachingstatus) WHEN 't' THEN 'teaching' WHEN 'true' THEN 'teaching' "
            "WHEN 'f' THEN 'not teaching' WHEN 'false' THEN 'not teaching' END AS teaching, h.numbedscategory AS beds"
        )
        hospital = f"LEFT JOIN {tree.open(HOSPITAL)} h USING (hospitalid)"
    else:
        about, hospital = "NULL::VARCHAR AS region, NULL::VARCHAR AS teaching, NULL::VARCHAR AS beds", ""
    swapped = "admissionweight >= 100 AND height > 25 AND height <= 100 AND abs(height - admissionweight) >= 20"
    tree.run(f"""
        CREATE TEMP TABLE every_stay AS
        WITH plain AS (
            SELECT * EXCLUDE (age, gender, ethnicity), admissionheight AS height, nullif(trim(age), '') AS age_text,
                nullif(trim(gender), '') AS gender, nullif(trim(ethnicity), '') AS ethnicity
            FROM {patients}
        )
        SELECT patientunitstayid AS stay, patienthealthsystemstayid AS hospital_stay, uniquepid AS subject,
            CASE WHEN age_text = '> 89' THEN 90 ELSE TRY_CAST(age_text AS INTEGER) END AS age,
            age_text = '> 89' AS censored, age_text, gender,
            CASE gender WHEN 'Female' THEN 0 WHEN 'Male' THEN 1 END AS sex,
            CASE WHEN {swapped} THEN admissionweight WHEN height <= 0.3 THEN NULL WHEN height <= 2.5 THEN height * 100
                WHEN height <= 10 THEN NULL WHEN height <= 25 THEN height * 10
                WHEN height <= 100 AND abs(height - admissionweight) < 20 THEN NULL WHEN height > 250 THEN NULL
                ELSE height END AS height,
            CASE WHEN {swapped} THEN height WHEN admissionweight <= 20 OR admissionweight > 300 THEN NULL
                ELSE admissionweight END AS weight,
            admissionheight AS raw_height, admissionweight AS raw_weight, ethnicity, hospitalid AS hospital,
            nullif(trim(unittype), '') AS unit_type, {about}, unitvisitnumber AS visit, unitstaytype AS stay_type,
            CASE hospitaldischargestatus WHEN 'Expired' THEN 1 WHEN 'Alive' THEN 0 END AS mortality,
            CASE unitdischargestatus WHEN 'Expired' THEN 1 WHEN 'Alive' THEN 0 END AS mortality_unit,
            unitdischargeoffset AS minutes
        FROM plain {hospital}
    """)
    twice = tree.rows("SELECT stay FROM every_stay GROUP BY stay HAVING count(*) > 1 LIMIT 1")
    if twice:
        raise InputError(f"patient of {tree.folder.name} names the unit stay {twice[0][0]} twice: get it again")
    if tree.rows("SELECT stay FROM every_stay WHERE stay IS NULL OR subject IS NULL LIMIT 1"):
        raise InputError(f"patient of {tree.folder.name} has a row without its stay or person: get it again")
    odd = tree.rows("SELECT stay, age_text FROM every_stay WHERE age IS NULL AND age_text IS NOT NULL LIMIT 1")
    if odd:
        raise InputError(
            f"patient of {tree.folder.name} has the age {odd[0][1]!r} in unit stay {odd[0][0]}, which is neither a "
            f"number nor '> 89': get it again from {SOURCE}"
        )


def _build(
    tree: Tree,
    panel: Panel,
    rules: Rules,
    cohort: CohortRule,
    min_hours: float,
    censored: Censored,
    static: Sequence[str],
    provenance: dict[str, str],
) -> Cohort:
    attrition = _choose_stays(tree, cohort, min_hours)
    records = attrition[-1].records
    tree.run(
        "CREATE TEMP TABLE stays AS SELECT record, stay AS person, stay, 0::BIGINT AS start, "
        f"minutes * {MINUTE} AS stop, FALSE AS by_time FROM chosen"
    )
    read, counted = read_events(
        tree, open_events(tree, panel, bounds=censored == "bound"), panel, rules, records=records
    )
    columns = _columns(tree)
    static_features, values = _static(tree, columns, static)
    return Cohort(
        record_id=columns["stay"].to_numpy(),
        subject_id=np.array(columns["subject"].to_pylist()),
        time=read.time,
        values=read.values,
        length=read.length,
        features=panel.features,
        static=values,
        static_features=static_features,
        labels={name: numbers(columns, name) for name in ("mortality", "mortality_unit", "readmission", "los_days")},
        attrition=(*attrition, *counted),
        provenance=provenance,
        notes=(NO_DATES, *tree.notes, *_notes(tree, panel, rules, censored)),
    )


def _choose_stays(tree: Tree, cohort: CohortRule, min_hours: float) -> list[AttritionRow]:
    """Create the table ``chosen`` of the stays that the rules leave."""
    tree.run("CREATE TEMP TABLE candidates AS SELECT * FROM every_stay")
    left = tree.count("candidates")
    read = AttritionRow("read unit stays", left, left, 0, f"stays: every one of {tree.folder.name}")
    first = [
        ("adults", "age >= 18", "stays: younger than 18, or of unknown age"),
        ("first unit stay", "visit = 1", "stays: later ones of a hospital stay"),
        ("intensive care", "stay_type = 'admit'", "stays: on a step-down unit, or not admitted from outside"),
        ("known outcome", "mortality IS NOT NULL", "stays: nobody knows whether they ended in death"),
    ]
    steps = [
        *(first if cohort == "first" else []),
        ("drop stays without an end", "minutes IS NOT NULL", "stays: they lack the time of discharge"),
        ("drop impossible times", "minutes > 0", "stays: they end before they start"),
    ]
    if min_hours:
        steps.append(("drop short stays", f"minutes >= {min_hours * 60!r}", f"stays: shorter than {min_hours:g} h"))
    attrition = keep_stays(tree, steps, read)
    tree.run(
        "CREATE TEMP TABLE chosen AS SELECT (row_number() OVER (ORDER BY stay) - 1)::INTEGER AS record, * "
        "FROM candidates"
    )
    return attrition


def _columns(tree: Tree) -> pa.Table:
    """Return what is known of each chosen stay, labels included, in order of record."""
    return tree.batches("""
        WITH following AS (
            SELECT c.record, bool_or(e.visit > c.visit) AS again
            FROM chosen c LEFT JOIN every_stay e ON c.hospital_stay = e.hospital_stay GROUP BY c.record
        )
        SELECT * EXCLUDE (sex, height, weight, age), sex::DOUBLE AS sex, age::DOUBLE AS age, height, weight,
            CASE WHEN again THEN 1 WHEN mortality = 1 OR mortality_unit = 1 THEN NULL ELSE 0 END AS readmission,
            minutes / 1440 AS los_days
        FROM chosen JOIN following USING (record) ORDER BY record
    """).read_all()


def _static(tree: Tree, columns: pa.Table, names: Sequence[str]) -> tuple[tuple[Feature, ...], NDArray[np.float32]]:
    """Return the static features asked for; what a text stands for does not depend on the stays chosen."""
    features, values = [], []
    for name in names:
        if name in _UNITS:
            features.append(Feature(name, unit=_UNITS[name], decimals=0))
            values.append(numbers(columns, name))
        elif name == "sex":
            features.append(Feature(name, kind="categorical", levels=("female", "male")))
            values.append(numbers(columns, name))
        else:
            feature, codes = coded(columns, name, occurring(tree, "every_stay", name))
            features.append(feature)
            values.append(codes)
    return tuple(features), np.array(values, np.float32).reshape(len(features), columns.num_rows).T


def _notes(tree: Tree, panel: Panel, rules: Rules, censored: Censored) -> list[str]:
    """Say what a user should know of these stays."""
    old, hospitals = tree.rows("SELECT count(*) FILTER (censored), count(DISTINCT hospital) FROM chosen")[0]
    notes = [f"the stays are of {hospitals} hospitals: what one of them never measures is missing by design"]
    notes += [f"{old} stays are of patients over 89, whose real age is hidden: it is 90 here"] if old else []
    if LAB in panel.tables and censored == "bound":
        first = 0 if rules.pre_anchor == "drop" else round(-rules.lookback_hours * 60)
        last = f"stop / {MINUTE}" if rules.hours is None else f"least(stop / {MINUTE}, {rules.hours * 60})"
        bounds = tree.rows(
            "SELECT count(*) FROM lab_results JOIN stays USING (stay) WHERE number IS NULL AND bound IS NOT NULL "
            f"AND NOT wrong AND taken BETWEEN {first} AND {last}"
        )[0][0]
        notes += [f"{bounds} results are limits of detection (<x, >x): the limit stands for them"] if bounds else []
    return notes
