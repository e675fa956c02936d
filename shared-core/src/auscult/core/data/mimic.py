"""What the readers of MIMIC-III and MIMIC-IV share: stays, cohort rules, labels, static features.

The rules are those of the benchmark of Harutyunyan et al. (Scientific Data 2019) in its order; labels and ages are
corrected where its successors' scripts go wrong. ``preset="seed"`` makes their values again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.events import EventTable, Rules, read_events
from auscult.core.data.feature import Feature
from auscult.core.data.panel import Panel
from auscult.core.data.ragged import Ragged
from auscult.core.data.stays import coded, keep_stays, numbers, occurring
from auscult.core.data.tree import Tree
from auscult.core.errors import InputError

Preset = Literal["default", "seed"]
CohortRule = Literal["benchmark", "all"]
DeadRule = Literal["exclude", "positive", "negative"]
StaticName = Literal[
    "sex", "age", "ethnicity", "ethnicity_group", "insurance", "language", "marital_status"
]  # fmt: skip
GROUPS = ("other or unknown", "Asian", "Black", "Hispanic", "White")
# What stands before the first of these separators names the group.
_GROUP_WORDS = {
    "ASIAN": 1, "BLACK": 2, "CARIBBEAN ISLAND": 2, "HISPANIC": 3, "SOUTH AMERICAN": 3, "WHITE": 4, "MIDDLE EASTERN": 4,
    "PORTUGUESE": 4,
}  # fmt: skip
NOTES = (
    "dates are shifted, for each patient by another span: compare them within a patient only",
    "scores of the verbal response that a tube made untestable are 1, in the total score too",
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Which stays, labels and static features a reader gives; its ``load`` explains them."""

    preset: Preset = "default"
    cohort: CohortRule = "benchmark"
    min_hours: float | None = None
    dead: DeadRule = "exclude"
    count_death: bool = False
    static: Sequence[str] = ("sex", "age")

    def __post_init__(self) -> None:
        for name, known in {"preset": Preset, "cohort": CohortRule, "dead": DeadRule}.items():
            if getattr(self, name) not in get_args(known):
                raise InputError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(get_args(known))}")
        if self.preset == "seed" and self.cohort != "benchmark":
            raise InputError(f"preset='seed' with cohort={self.cohort!r}: the seeds used 'benchmark' alone")
        if self.preset == "seed" and (self.dead, self.count_death) != ("exclude", False):
            raise InputError("preset='seed' has its own rule for readmission: leave dead and count_death out")
        if self.min_hours is not None and not 0 <= self.min_hours < 1e6:
            raise InputError(f"min_hours is {self.min_hours!r}: give a number of hours, 0 for stays of any length")
        unknown = [name for name in self.static if name not in get_args(StaticName)]
        if unknown or isinstance(self.static, str) or len(set(self.static)) < len(self.static):
            raise InputError(
                f"static is {self.static!r}: give a list of different names among {', '.join(get_args(StaticName))}"
            )


@dataclass(frozen=True, kw_only=True)
class Release:
    """What differs between the databases, in SQL over the views that the reader has opened.

    Parameters
    ----------
    stays
        Selects ``stay, subject, hadm, moved, intime, outtime, los``; ``moved`` says whether the stay began and
        ended in another unit.
    admissions
        Selects ``hadm, admitted, discharged, deathtime, expired, ethnicity, insurance, language, marital_status``.
    patients
        Selects ``subject, sex, dod`` and what the ages need.
    age, seed_age
        Expressions for the age in years at the start of a stay, of ``s`` (stays), ``a`` and ``p``.
    censored
        Expression that says whether the real age is hidden.
    events
        The tables of events that the panel reads.
    provenance
        What the cohort says of its source.
    """

    stays: str
    admissions: str
    patients: str
    age: str
    seed_age: str
    censored: str
    events: Sequence[EventTable]
    provenance: Mapping[str, str]


def build(tree: Tree, release: Release, panel: Panel, rules: Rules, choices: Choices) -> Cohort:
    """Return the cohort of a release."""
    seed = choices.preset == "seed"
    min_hours = choices.min_hours if choices.min_hours is not None else rules.hours or 0.0
    attrition = _choose_stays(tree, release, choices, min_hours, tree.folder.name)
    records = attrition[-1].records
    # The scripts find a stay by its admission, and a time decides nothing.
    person, by_time = ("hadm", "FALSE") if seed else ("subject", "TRUE")
    tree.run(
        f"CREATE TEMP TABLE stays AS SELECT record, {person}::BIGINT AS person, stay, epoch_us(intime) AS start, "
        f"epoch_us(outtime) AS stop, {by_time} AS by_time FROM chosen"
    )
    read, counted = read_events(tree, release.events, panel, rules, records=records)
    attrition += counted
    columns = _columns(tree, choices)
    if seed:
        kept = read.length > 0
        lost = records - int(kept.sum())
        left = counted[-1].rows
        attrition.append(AttritionRow("drop stays without events", left, records - lost, lost, "stays: of length 0"))
        read = Ragged(read.time[kept], read.values[kept], read.length[kept])
        columns = columns.filter(pa.array(kept))
    static_features, static = _static(tree, columns, choices.static)
    provenance = {
        **release.provenance,
        "panel": panel.name,
        "preset": choices.preset,
        "cohort": choices.cohort,
        **{name: str(value) for name, value in vars(rules).items()},
        "min_hours": f"{min_hours:g}",
    }
    return Cohort(
        record_id=columns["stay"].to_numpy(),
        subject_id=columns["subject"].to_numpy(),
        anchor=columns["intime"].to_numpy(),
        time=read.time,
        values=read.values,
        length=read.length,
        features=panel.features,
        static=static,
        static_features=static_features,
        labels={name: numbers(columns, name) for name in ("mortality", "mortality_unit", "readmission", "los_days")},
        attrition=tuple(attrition),
        provenance=provenance,
        notes=(*NOTES, *tree.notes, *_notes(tree)),
    )


def _choose_stays(tree: Tree, release: Release, choices: Choices, min_hours: float, folder: str) -> list[AttritionRow]:
    """Create the table ``chosen`` of the stays that the rules leave, and ``every_stay``."""
    tree.run(f"CREATE TEMP TABLE every_stay AS {release.stays}")
    tree.run(f"CREATE TEMP TABLE admissions_ AS {release.admissions}")
    tree.run(f"CREATE TEMP TABLE patients_ AS {release.patients}")
    for table, key in (("every_stay", "stay"), ("admissions_", "hadm"), ("patients_", "subject")):
        odd = tree.rows(f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1 OR {key} IS NULL LIMIT 1")
        if odd:
            what = table.rstrip("_").replace("every_stay", "icustays")
            said = f"has a row without {key}" if odd[0][0] is None else f"names the {key} {odd[0][0]} twice"
            raise InputError(f"{what} of {folder} {said}: get it again from {tree.source}")
    age = release.seed_age if choices.preset == "seed" else release.age
    tree.run(f"""
        CREATE TEMP TABLE candidates AS
        WITH ordered AS (
            SELECT *, lead(intime) OVER subject_stays AS next_in, lead(hadm) OVER subject_stays AS next_hadm
            FROM every_stay WINDOW subject_stays AS (PARTITION BY subject ORDER BY intime, stay)
        )
        SELECT s.*, a.* EXCLUDE (hadm), p.* EXCLUDE (subject), ({age})::DOUBLE AS age,
            coalesce({release.censored}, FALSE) AS censored,
            a.hadm IS NOT NULL AND p.subject IS NOT NULL AS joined
        FROM ordered s LEFT JOIN admissions_ a ON s.hadm = a.hadm LEFT JOIN patients_ p ON s.subject = p.subject
    """)
    left = tree.count("candidates")
    read = AttritionRow("read ICU stays", left, left, 0, "stays: every one of the table")
    one = "hadm IN (SELECT hadm FROM candidates GROUP BY hadm HAVING count(*) = 1)"
    benchmark = [
        ("drop transfers", "NOT moved", "stays: moved to another unit before they ended"),
        ("join admissions and patients", "joined", "stays: without an admission or a patient"),
        ("one stay per admission", one, "stays: of admissions that have several left"),
        ("adults", "age >= 18", "stays: younger than 18 at the start, or of unknown age"),
    ]
    steps = (benchmark if choices.cohort == "benchmark" else benchmark[1:2]) + [
        ("drop stays without an end", "intime IS NOT NULL AND outtime IS NOT NULL", "stays: they lack a time"),
        ("drop impossible times", "intime < outtime", "stays: they end before they start"),
    ]
    if min_hours:
        long_enough = f"epoch_us(outtime) - epoch_us(intime) >= {round(min_hours * 3.6e9)}"
        steps.append(("drop short stays", long_enough, f"stays: shorter than {min_hours:g} h"))
    attrition = keep_stays(tree, steps, read)
    tree.run("CREATE TEMP TABLE chosen AS SELECT row_number() OVER (ORDER BY stay) - 1 AS record, * FROM candidates")
    return attrition


def _columns(tree: Tree, choices: Choices) -> pa.Table:
    """Return what is known of each chosen stay, labels included, in order of record."""
    if choices.preset == "seed":
        died, died_in_unit = (
            f"coalesce({_between('dod', *span)}, FALSE) OR coalesce({_between('deathtime', *span)}, FALSE)"
            for span in (("admitted", "discharged"), ("intime", "outtime"))
        )
        # Whole days, rounded down: 30 days and 23 hours count, and so does an earlier start.
        again = (
            "floor(epoch(coalesce(next_seen, deathtime) - outtime) / 86400) <= 30 AND coalesce(next_seen, deathtime) "
            "IS NOT NULL"
        )
    else:
        died = "CASE WHEN expired = 1 OR deathtime IS NOT NULL THEN TRUE WHEN expired IS NOT NULL THEN FALSE END"
        died_in_unit = (
            f"({died}) AND (coalesce({_between('deathtime', 'intime', 'outtime + INTERVAL 6 HOUR')}, FALSE) "
            "OR coalesce(abs(epoch(discharged - outtime)) <= 3600, FALSE))"
        )
        ends = f"({died}) AND hadm IS DISTINCT FROM next_hadm"
        value = {"exclude": "NULL", "positive": "TRUE", "negative": "FALSE"}[choices.dead]
        back = "next_in > outtime AND next_in <= outtime + INTERVAL 30 DAY"
        if choices.count_death:
            back = f"coalesce({back}, FALSE) OR dod > outtime AND dod <= outtime + INTERVAL 30 DAY"
        again = f"CASE WHEN {ends} THEN {value} ELSE coalesce({back}, FALSE) END"
    # Fates 0 and 7 of the events: kept, or later in the stay than the window.
    return tree.batches(f"""
        WITH seen AS (SELECT DISTINCT record FROM cells WHERE fate IN (0, 7)), following AS (
            SELECT record, lead(intime) OVER (PARTITION BY subject ORDER BY intime, stay) AS next_seen
            FROM chosen JOIN seen USING (record)
        )
        SELECT stay, subject, intime, sex, age, ethnicity, insurance, language, marital_status,
            ({died})::INTEGER AS mortality, ({died_in_unit})::INTEGER AS mortality_unit,
            ({again})::INTEGER AS readmission, (epoch_us(outtime) - epoch_us(intime)) / 8.64e10 AS los_days
        FROM chosen LEFT JOIN following USING (record) ORDER BY record
    """).read_all()


def texts(ethnicity: str = "ethnicity") -> str:
    """Return the texts of an admission as ``Release.admissions`` needs them, blanks as NULL."""
    columns = {"ethnicity": ethnicity, **{name: name for name in ("insurance", "language", "marital_status")}}
    return ", ".join(f"nullif(trim({column}), '') AS {name}" for name, column in columns.items())


def _between(time: str, start: str, end: str) -> str:
    return f"({time} >= {start} AND {time} <= {end})"


def _static(tree: Tree, columns: pa.Table, names: Sequence[str]) -> tuple[tuple[Feature, ...], NDArray[np.float32]]:
    """Return the static features asked for; what a text stands for does not depend on the stays chosen."""
    features, values = [], []
    for name in names:
        if name == "age":
            features.append(Feature("age", unit="years", decimals=0))
            values.append(numbers(columns, "age"))
        elif name == "sex":
            features.append(Feature("sex", kind="categorical", levels=("female", "male")))
            values.append(coded(columns, "sex", ("F", "M"))[1])
        elif name == "ethnicity_group":
            features.append(Feature(name, kind="categorical", levels=GROUPS))
            texts = columns["ethnicity"].to_pylist()
            values.append(np.array([np.nan if text is None else _group(text) for text in texts]))
        else:
            feature, codes = coded(columns, name, occurring(tree, "admissions_", name))
            features.append(feature)
            values.append(codes)
    static = np.array(values, np.float32).reshape(len(features), columns.num_rows).T
    return tuple(features), static


def _group(ethnicity: str) -> int:
    word = ethnicity.upper()
    for separator in (" - ", "/", " OR "):
        word = word.partition(separator)[0]
    return _GROUP_WORDS.get(word.strip(), 0)


def _notes(tree: Tree) -> list[str]:
    """Say what a user should know of these stays."""
    censored, odd = tree.rows(
        "SELECT count(*) FILTER (censored), count(*) FILTER (abs(los * 24 - epoch(outtime - intime) / 3600) > 1) "
        "FROM chosen"
    )[0]
    notes = [f"{censored} stays are of patients over 89, whose real age is hidden"] if censored else []
    return notes + ([f"{odd} stays have a length in the source that is not their end minus their start"] if odd else [])
