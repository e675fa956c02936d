"""MIMIC-III 1.4: intensive care in Boston, 2001 to 2012, from the tables as PhysioNet gives them.

Source: Johnson et al., "MIMIC-III, a freely accessible critical care database", Scientific Data 2016; the folder of
``PATIENTS.csv.gz``, ``ADMISSIONS.csv.gz``, ``ICUSTAYS.csv.gz``, ``CHARTEVENTS.csv.gz``, ``LABEVENTS.csv.gz`` and, for
urine, ``OUTPUTEVENTS.csv.gz``, packed or not, or the same as parquet; names and headers in any case (the open demo
has them in lower case).

Licence: PhysioNet credentialed access (training and a data use agreement); the demo of 100 patients is open (ODbL).

Cohort: one stay in intensive care a row, by the rules of :mod:`auscult.core.data.mimic`, counted in hours from its
start. Patients over 89 have an age of 300 in the source; they are 90 here.
"""

from collections.abc import Sequence
from pathlib import Path

from auscult.core.data import mimic, mimic_labs, mimic_vitals
from auscult.core.data.cohort import Cohort
from auscult.core.data.events import Duplicates, EventTable, PreAnchor, Rules
from auscult.core.data.panel import Panel, RangeRule, choose
from auscult.core.data.tree import Table, Tree
from auscult.core.errors import InputError

SOURCE = "https://physionet.org/content/mimiciii/"
PATIENTS = Table("patients", {"subject_id": "BIGINT", "gender": "VARCHAR", "dob": "TIMESTAMP", "dod": "TIMESTAMP"})
ADMISSIONS = Table(
    "admissions",
    {
        "subject_id": "BIGINT", "hadm_id": "BIGINT", "admittime": "TIMESTAMP", "dischtime": "TIMESTAMP",
        "deathtime": "TIMESTAMP", "insurance": "VARCHAR", "language": "VARCHAR", "marital_status": "VARCHAR",
        "ethnicity": "VARCHAR", "hospital_expire_flag": "INTEGER",
    },
)  # fmt: skip
ICUSTAYS = Table(
    "icustays",
    {
        "subject_id": "BIGINT", "hadm_id": "BIGINT", "icustay_id": "BIGINT", "first_careunit": "VARCHAR",
        "last_careunit": "VARCHAR", "first_wardid": "BIGINT", "last_wardid": "BIGINT", "intime": "TIMESTAMP",
        "outtime": "TIMESTAMP", "los": "DOUBLE",
    },
)  # fmt: skip
_EVENT = {"subject_id": "BIGINT", "hadm_id": "BIGINT", "itemid": "BIGINT", "charttime": "TIMESTAMP"}
CHARTEVENTS = Table(
    "chartevents",
    {**_EVENT, "icustay_id": "BIGINT", "storetime": "TIMESTAMP", "value": "VARCHAR", "valuenum": "DOUBLE",
     "valueuom": "VARCHAR", "error": "INTEGER"},
)  # fmt: skip
LABEVENTS = Table("labevents", {**_EVENT, "value": "VARCHAR", "valuenum": "DOUBLE", "valueuom": "VARCHAR"})
OUTPUTEVENTS = Table(
    "outputevents",
    {**_EVENT, "icustay_id": "BIGINT", "storetime": "TIMESTAMP", "value": "DOUBLE", "valueuom": "VARCHAR",
     "iserror": "INTEGER"},
)  # fmt: skip
PANELS = {"vitals17": mimic_vitals.MIMIC3, "labs48": mimic_labs.LABS}

# The years since birth, and the part of the running one; whoever was over 89 at the first admission seems to be 300.
_YEARS = "datesub('year', p.dob, s.intime)"
_BIRTHDAYS = [f"p.dob + to_years(({_YEARS} + {more})::INTEGER)" for more in (0, 1)]
_EXACT = f"{_YEARS} + epoch(s.intime - ({_BIRTHDAYS[0]})) / epoch(({_BIRTHDAYS[1]}) - ({_BIRTHDAYS[0]}))"


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
    memory: str = "2GB",
    threads: int | None = None,
) -> Cohort:
    """Return the stays in intensive care of a folder of MIMIC-III.

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
        that occur in the table of admissions.
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
    chosen = choose(PANELS | {"vitals17": mimic_vitals.MIMIC3_SEED} if seed else PANELS, panel)
    if seed and panel != "vitals17":
        raise InputError(f"preset='seed' with the panel {chosen.name!r}: the seeds used 'vitals17' alone")
    with Tree(path, data_set="MIMIC-III", source=SOURCE, memory=memory, threads=threads) as tree:
        for table in (ICUSTAYS, ADMISSIONS, PATIENTS):
            tree.open(table)
        return mimic.build(tree, _release(tree, chosen, seed=seed), chosen, rules, choices)


def _release(tree: Tree, panel: Panel, *, seed: bool) -> mimic.Release:
    person = "hadm_id" if seed else "subject_id"
    shared = f"SELECT {person} AS person, itemid AS code, epoch_us(charttime) AS taken, "
    selects = [
        (
            CHARTEVENTS,
            "icustay_id AS stay, epoch_us(storetime) AS stored, valuenum AS number, value AS text, "
            f"valueuom AS unit, {'FALSE' if seed else 'error = 1'} AS wrong FROM chartevents",
        ),
        (
            LABEVENTS,
            "NULL::BIGINT AS stay, NULL::BIGINT AS stored, valuenum AS number, value AS text, valueuom AS unit, "
            "FALSE AS wrong FROM labevents",
        ),
        (
            OUTPUTEVENTS,
            "icustay_id AS stay, epoch_us(storetime) AS stored, value AS number, NULL::VARCHAR AS text, "
            f"valueuom AS unit, {'FALSE' if seed else 'iserror = 1'} AS wrong FROM outputevents",
        ),
    ]
    events = [
        EventTable(table.view, tree.open(table), shared + rest, ("itemid", panel.codes(table.view)))
        for table, rest in selects
        if table.view in panel.tables
    ]
    counts = tree.count("admissions"), tree.count("patients")
    version = {(58976, 46520): "1.4", (129, 100): "1.4 demo"}.get(counts, "not recognised")
    return mimic.Release(
        stays="SELECT icustay_id AS stay, subject_id AS subject, hadm_id AS hadm, "
        "NOT coalesce(first_careunit = last_careunit AND first_wardid = last_wardid, FALSE) AS moved, "
        "intime, outtime, los FROM icustays",
        admissions="SELECT hadm_id AS hadm, admittime AS admitted, dischtime AS discharged, deathtime, "
        f"hospital_expire_flag AS expired, {mimic.texts()} FROM admissions",
        patients="SELECT subject_id AS subject, trim(gender) AS sex, dob, dod FROM patients",
        age=f"CASE WHEN {_YEARS} > 150 THEN 90 ELSE {_EXACT} END",
        seed_age="epoch(s.intime - p.dob) / 86400 / 365",
        censored=f"{_YEARS} > 150",
        events=events,
        provenance={
            "data_set": "MIMIC-III",
            "version": version,
            "source": SOURCE,
            "citation": "Johnson et al., Scientific Data 2016; doi:10.1038/sdata.2016.35",
            "licence": "PhysioNet credentialed access; the demo: ODbL",
        },
    )
