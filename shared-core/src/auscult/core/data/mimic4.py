"""MIMIC-IV 2.2 and 3.1: intensive care in Boston, 2008 to 2022, from the tables as PhysioNet gives them.

Source: Johnson et al., "MIMIC-IV, a freely accessible electronic health record dataset", Scientific Data 2023; the
folder with ``hosp/`` (``patients``, ``admissions``, for laboratory values ``labevents``) and ``icu/`` (``icustays``,
``chartevents``, for urine ``outputevents``), as ``.csv.gz``, ``.csv`` or ``.parquet``.

Licence: PhysioNet credentialed access (training and a data use agreement); the demo of 100 patients (2.2) is open
(ODbL 1.0).

Cohort: one stay in intensive care a row, by the rules of :mod:`auscult.core.data.mimic` (there are no wards to
compare), counted in hours from its start. The age is that of the year of the stay, not of the anchor year.
"""

from collections.abc import Sequence
from pathlib import Path

from auscult.core.data import mimic, mimic_labs, mimic_vitals
from auscult.core.data.cohort import Cohort
from auscult.core.data.events import Duplicates, EventTable, PreAnchor, Rules
from auscult.core.data.panel import Panel, RangeRule, choose
from auscult.core.data.tree import Table, Tree
from auscult.core.errors import InputError

SOURCE = "https://physionet.org/content/mimiciv/"
PATIENTS = Table(
    "hosp/patients",
    {
        "subject_id": "BIGINT", "gender": "VARCHAR", "anchor_age": "INTEGER", "anchor_year": "INTEGER",
        "anchor_year_group": "VARCHAR", "dod": "TIMESTAMP",
    },
)  # fmt: skip
ADMISSIONS = Table(
    "hosp/admissions",
    {
        "subject_id": "BIGINT", "hadm_id": "BIGINT", "admittime": "TIMESTAMP", "dischtime": "TIMESTAMP",
        "deathtime": "TIMESTAMP", "insurance": "VARCHAR", "language": "VARCHAR", "marital_status": "VARCHAR",
        "race": "VARCHAR", "hospital_expire_flag": "INTEGER",
    },
)  # fmt: skip
ICUSTAYS = Table(
    "icu/icustays",
    {
        "subject_id": "BIGINT", "hadm_id": "BIGINT", "stay_id": "BIGINT", "first_careunit": "VARCHAR",
        "last_careunit": "VARCHAR", "intime": "TIMESTAMP", "outtime": "TIMESTAMP", "los": "DOUBLE",
    },
)  # fmt: skip
_EVENT = {
    "subject_id": "BIGINT", "hadm_id": "BIGINT", "itemid": "BIGINT", "charttime": "TIMESTAMP",
    "storetime": "TIMESTAMP", "valueuom": "VARCHAR",
}  # fmt: skip
CHARTEVENTS = Table("icu/chartevents", {**_EVENT, "stay_id": "BIGINT", "value": "VARCHAR", "valuenum": "DOUBLE"})
LABEVENTS = Table("hosp/labevents", {**_EVENT, "value": "VARCHAR", "valuenum": "DOUBLE"})
OUTPUTEVENTS = Table("icu/outputevents", {**_EVENT, "stay_id": "BIGINT", "value": "DOUBLE"})
PANELS = {"vitals17": mimic_vitals.MIMIC4, "labs48": mimic_labs.LABS}
# Number of stays -> release.
VERSIONS = {73181: "2.2", 94458: "3.1", 140: "2.2 demo"}


def load(
    path: Path | None = None,
    *,
    panel: str | Panel = "vitals17",
    preset: mimic.Preset = "default",
    cohort: mimic.CohortRule = "benchmark",
    hours: float | None = 48.0,
    min_hours: float | None = None,
    bin_hours: float | None = None,
    range: RangeRule | None = None,
    duplicates: Duplicates | None = None,
    pre_anchor: PreAnchor = "drop",
    lookback_hours: float = 24.0,
    dead: mimic.DeadRule = "exclude",
    count_death: bool = False,
    static: Sequence[str] = ("sex", "age"),
    version: str | float | None = None,
    memory: str = "2GB",
    threads: int | None = None,
) -> Cohort:
    """Return the stays in intensive care of a folder of MIMIC-IV.

    Parameters
    ----------
    path
        The folder.
    panel
        ``vitals17`` (:mod:`auscult.core.data.mimic_vitals`), ``labs48`` (:mod:`auscult.core.data.mimic_labs`), or a
        panel of one's own.
    preset
        ``seed`` makes the values, labels and ages again that the benchmark's scripts and their successors made,
        faults included; with ``vitals17`` and ``benchmark`` alone.
    cohort
        ``benchmark``: adults, one stay an admission, no transfer between units; ``all``: every stay that has a
        start, an end and an admission.
    hours, bin_hours, pre_anchor, lookback_hours
        The window and the bins: see :class:`auscult.core.data.events.Rules`. Stays shorter than ``hours`` are left
        out, unless ``min_hours`` says otherwise.
    min_hours
        The least length of a stay; ``hours`` by default.
    range, duplicates
        What is done about implausible values and about several at one time: ``drop`` and ``mean``; with the
        preset ``seed``, ``none`` and ``text``.
    dead
        The label ``readmission`` of stays that end in death: ``exclude`` (NaN), ``positive`` or ``negative``.
    count_death
        Whether a death within 30 days of the stay's end counts as a readmission.
    static
        Among sex, age, ethnicity, ethnicity_group, insurance, language, marital_status. Texts have the levels
        that occur in the table of admissions; ``ethnicity`` is its column ``race``.
    version
        What the provenance says the release is; recognised by default. Nothing else depends on it.
    memory, threads
        Of DuckDB: see :class:`auscult.core.data.tree.Tree`.

    Returns
    -------
    Cohort
        With the labels ``mortality`` (in hospital), ``mortality_unit`` (in intensive care), ``readmission`` (next
        stay in intensive care starts within 30 days after the end of this one; all stays count, not those of the
        cohort alone) and ``los_days`` (in intensive care).

    Raises
    ------
    InputError
        Where a table or column is missing, a file is damaged, or an option cannot be used.
    MissingDependencyError
        Where DuckDB is not installed.
    """
    seed = preset == "seed"
    rules = Rules(
        hours=hours,
        bin_hours=bin_hours,
        pre_anchor=pre_anchor,
        lookback_hours=lookback_hours,
        range=range or ("none" if seed else "drop"),
        duplicates=duplicates or ("text" if seed else "mean"),
    )
    choices = mimic.Choices(
        preset=preset, cohort=cohort, min_hours=min_hours, dead=dead, count_death=count_death, static=static
    )
    chosen = choose(PANELS | {"vitals17": mimic_vitals.MIMIC4_SEED} if seed else PANELS, panel)
    if seed and panel != "vitals17":
        raise InputError(f"preset='seed' with the panel {chosen.name!r}: the seeds used 'vitals17' alone")
    with Tree(path, data_set="MIMIC-IV", source=SOURCE, memory=memory, threads=threads) as tree:
        if tree.find("hosp/patients") is None and (tree.folder / "core").is_dir():
            raise InputError(
                f"{tree.folder.name} is MIMIC-IV before 2.0, with its folder core: this reader needs 2.2 or 3.1, "
                f"from {SOURCE}"
            )
        for table in (ICUSTAYS, ADMISSIONS, PATIENTS):
            tree.open(table)
        return mimic.build(tree, _release(tree, chosen, version, seed=seed), chosen, rules, choices)


def _release(tree: Tree, panel: Panel, version: str | float | None, *, seed: bool) -> mimic.Release:
    person = "hadm_id" if seed else "subject_id"
    shared = (
        f"SELECT {person} AS person, itemid AS code, epoch_us(charttime) AS taken, epoch_us(storetime) AS stored, "
        "valueuom AS unit, FALSE AS wrong, "
    )
    selects = [
        (CHARTEVENTS, "stay_id AS stay, valuenum AS number, value AS text FROM chartevents"),
        (LABEVENTS, "NULL::BIGINT AS stay, valuenum AS number, value AS text FROM labevents"),
        (OUTPUTEVENTS, "stay_id AS stay, value AS number, NULL::VARCHAR AS text FROM outputevents"),
    ]
    events = [
        EventTable(table.view, tree.open(table), shared + rest, ("itemid", panel.codes(table.view)))
        for table, rest in selects
        if table.view in panel.tables
    ]
    late = tree.rows("SELECT bool_or(anchor_year_group LIKE '2020%') FROM patients")[0][0]
    found = VERSIONS.get(tree.count("icustays"), "3.x" if late else "2.x")
    return mimic.Release(
        stays="SELECT stay_id AS stay, subject_id AS subject, hadm_id AS hadm, "
        "NOT coalesce(first_careunit = last_careunit, FALSE) AS moved, intime, outtime, los FROM icustays",
        admissions="SELECT hadm_id AS hadm, admittime AS admitted, dischtime AS discharged, deathtime, "
        f"hospital_expire_flag AS expired, {mimic.texts('race')} FROM admissions",
        patients="SELECT subject_id AS subject, trim(gender) AS sex, dod, anchor_age, anchor_year FROM patients",
        age="p.anchor_age + year(s.intime) - p.anchor_year",
        seed_age="p.anchor_age",
        censored="FALSE",
        events=events,
        provenance={
            "data_set": "MIMIC-IV",
            "version": str(version or found),
            "source": SOURCE,
            "citation": "Johnson et al., Scientific Data 2023; doi:10.1038/s41597-022-01899-x",
            "licence": "PhysioNet credentialed access; the demo: ODbL 1.0",
        },
    )
