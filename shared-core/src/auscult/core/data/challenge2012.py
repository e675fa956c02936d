"""PhysioNet Challenge 2012: the first 48 hours of 12,000 adult intensive-care stays, in three sets of 4,000.

Source: Silva et al., "Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in Cardiology
Challenge 2012", Computing in Cardiology 2012; https://physionet.org/content/challenge-2012/1.0.0/. Licence: ODC-By 1.0.

On disk, any of:

- folders ``set-a``, ``set-b``, ``set-c`` of text files ``132539.txt`` (header ``Time,Parameter,Value``, times
  HH:MM up to 48:00), or these folders packed as ``.tar.gz`` or ``.zip``;
- long tables ``set-a.long.parquet`` or ``.csv`` (RecordID, Minutes, Parameter, Value);

beside them, if at hand, ``Outcomes-a.txt`` (or ``.csv``): RecordID, SAPS-I, SOFA, Length_of_stay, Survival,
In-hospital_death.

Cohort: one record is one stay of one person; hour 0 is the admission to intensive care. Static: sex (1 male), age in
years (90 and older as 90), height, unit and weight at admission, -1 being missing. Values that are not plausible are
dropped, a lost decimal point of a pH and a height in metres are repaired. Several values of one minute: urine is
summed, the rest averaged. Labels: ``mortality`` (death in hospital, as given), ``los_days``, ``survival_days`` (days to
death where one is recorded) and the scores ``saps_i`` and ``sofa``, to compare with; all NaN where -1.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.challenge2012_files import SOURCE, Measurements, Set, find_sets, read_outcomes, read_set
from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import Combine, Ragged, gather
from auscult.core.errors import InputError

PROVENANCE = {
    "data_set": "PhysioNet Challenge 2012",
    "source": SOURCE,
    "citation": "Silva et al., Computing in Cardiology 2012, 39:245-248",
    "licence": "Open Data Commons Attribution License 1.0 (ODC-By 1.0)",
}


class Parameter(NamedTuple):
    """A series: its unit and the bounds of plausible values."""

    unit: str | None
    low: float
    high: float
    kind: Literal["numeric", "ordinal", "categorical"] = "numeric"


_POSITIVE = float(np.nextafter(0.0, 1.0))  # a pressure or a rate of exactly 0 is an artefact

PARAMETERS = {
    "Albumin": Parameter("g/dL", 0.5, 10),
    "ALP": Parameter("IU/L", 0, 10_000),
    "ALT": Parameter("IU/L", 0, 20_000),
    "AST": Parameter("IU/L", 0, 30_000),
    "Bilirubin": Parameter("mg/dL", 0, 100),
    "BUN": Parameter("mg/dL", 0, 300),
    "Cholesterol": Parameter("mg/dL", 10, 1000),
    "Creatinine": Parameter("mg/dL", 0, 50),
    "DiasABP": Parameter("mmHg", _POSITIVE, 250),
    "FiO2": Parameter("fraction", 0.2, 1),
    "GCS": Parameter(None, 3, 15, "ordinal"),
    "Glucose": Parameter("mg/dL", 10, 2000),
    "HCO3": Parameter("mmol/L", 2, 60),
    "HCT": Parameter("%", 5, 75),
    "HR": Parameter("/min", 10, 300),
    "K": Parameter("mEq/L", 1, 12),
    "Lactate": Parameter("mmol/L", 0, 40),
    "MAP": Parameter("mmHg", _POSITIVE, 300),
    "MechVent": Parameter(None, 0, 1, "categorical"),
    "Mg": Parameter("mmol/L", 0.3, 12),
    "Na": Parameter("mEq/L", 90, 200),
    "NIDiasABP": Parameter("mmHg", _POSITIVE, 250),
    "NIMAP": Parameter("mmHg", _POSITIVE, 300),
    "NISysABP": Parameter("mmHg", _POSITIVE, 300),
    "PaCO2": Parameter("mmHg", 5, 150),
    "PaO2": Parameter("mmHg", 15, 720),
    "pH": Parameter(None, 6.5, 8),
    "Platelets": Parameter("cells/nL", 1, 2000),
    "RespRate": Parameter("/min", _POSITIVE, 80),
    "SaO2": Parameter("%", 20, 100),
    "SysABP": Parameter("mmHg", _POSITIVE, 300),
    "Temp": Parameter("°C", 25, 45),
    "TroponinI": Parameter("µg/L", 0, 100),
    "TroponinT": Parameter("µg/L", 0, 100),
    "Urine": Parameter("mL", 0, 5000),
    "WBC": Parameter("cells/nL", 0, 1000),
    "Weight": Parameter("kg", 20, 300),
}
COMBINE: dict[str, Combine] = {"Urine": "sum", "GCS": "min", "MechVent": "max"}
# What the published preparation of this set leaves out.
SEED_WITHOUT = ("Cholesterol", "Weight")

STATIC_FEATURES = (
    Feature("sex", kind="categorical", levels=("female", "male")),
    Feature("age", unit="years", decimals=0),
    Feature("height", unit="cm", decimals=1),
    Feature(
        "icu_type",
        display_name="ICU type",
        kind="categorical",
        levels=("coronary care", "cardiac surgery recovery", "medical", "surgical"),
    ),
    Feature("admission_weight", display_name="weight at admission", unit="kg", decimals=1),
)
# Of each static feature: its name in the source, the number of its first level, the bounds.
_DESCRIPTORS = (
    ("Gender", 0, 0, 1),
    ("Age", 0, 0, 120),
    ("Height", 0, 100, 230),
    ("ICUType", 1, 1, 4),
    ("Weight", 0, 20, 300),
)
_LABELS = {"los_days": "Length_of_stay", "survival_days": "Survival", "saps_i": "SAPS-I", "sofa": "SOFA"}

NOTES = (
    "ages of 90 and more are given as 90",
    "'MechVent' is only ever recorded as 1: a stay without it is not known to breathe unaided",
    "'Mg' is documented in mmol/L, and its values read as mg/dL",
    "'saps_i' and 'sofa' are scores of the first day, to compare with: labels, not inputs",
)


def load(
    path: Path | None = None,
    *,
    range: Literal["drop", "none"] = "drop",
    preset: Literal["seed"] | None = None,
) -> Cohort:
    """Return the cohort of one set or of all sets of a folder.

    Parameters
    ----------
    path
        A set (a folder of text files, an archive or a long table), or a folder of sets.
    range
        ``drop`` makes implausible values missing, after repairs; ``none`` leaves them, unrepaired.
    preset
        ``"seed"``: the preparation of published code, which has no range rule and leaves out Cholesterol and the series
        of Weight.

    Raises
    ------
    InputError
        Where there is no set, or a file is damaged, of another data set, or contradicts itself.
    """
    if path is None:
        raise InputError(f"challenge2012 brings no data: give challenge2012:FOLDER with sets from {SOURCE}")
    if range not in ("drop", "none"):
        raise InputError(f"range is {range!r}: use 'drop' or 'none'")
    if preset not in (None, "seed"):
        raise InputError(f"there is no preset {preset!r}: use 'seed', or leave it out")
    checked = range == "drop" and preset is None
    names = [name for name in PARAMETERS if not (preset and name in SEED_WITHOUT)]
    sets = find_sets(path)
    parts = {part.path.name: read_set(part.path) for part in sets}
    rows = _joined([part for part, _ in parts.values()])
    if not set(rows.parameters) & set(PARAMETERS):
        held = ", ".join(map(repr, rows.parameters[:3])) or "no row"
        raise InputError(f"{path} holds {held} and none of the Challenge's parameters: get it from {SOURCE}")

    static, descriptor, contradictions = _static(rows, checked)
    gathered, attrition = _series(rows, descriptor, names, checked)
    read = AttritionRow("read", len(rows.record), len(rows.record_id), 0, f"every row of {' and '.join(parts)}")
    labels, notes = _labels(rows.record_id, sets)
    if empty := int((gathered.length == 0).sum()):
        notes.append(f"{empty} stays have no measurement: their length is 0")
    return Cohort(
        record_id=rows.record_id,
        subject_id=rows.record_id,
        time=gathered.time,
        values=gathered.values,
        length=gathered.length,
        features=tuple(_feature(name) for name in names),
        static=static.astype(np.float32),
        static_features=STATIC_FEATURES,
        labels=labels,
        attrition=(read, *attrition),
        provenance={**PROVENANCE, **{f"sha256 of {name}": digest for name, (_, digest) in parts.items()}},
        notes=(*NOTES, *contradictions, *notes),
    )


def _feature(name: str) -> Feature:
    parameter = PARAMETERS[name]
    levels = ("off", "on") if parameter.kind == "categorical" else ()
    return Feature(name, kind=parameter.kind, unit=parameter.unit, levels=levels)


def _joined(parts: list[Measurements]) -> Measurements:
    """Put the rows of several sets below each other; a record is in one of them only."""
    record_id, counts = np.unique(np.concatenate([part.record_id for part in parts]), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"record {record_id[counts > 1][0]} is in two sets: keep each set once")
    names = tuple(dict.fromkeys(name for part in parts for name in part.parameters))
    codes = [np.array([names.index(name) for name in part.parameters], np.int64)[part.parameter] for part in parts]
    return Measurements(
        record_id,
        np.concatenate([np.searchsorted(record_id, part.record_id)[part.record] for part in parts]),
        np.concatenate([part.minutes for part in parts]),
        np.concatenate(codes),
        np.concatenate([part.value for part in parts]),
        names,
    )


def _static(rows: Measurements, checked: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Return the static columns, which rows they took, and where these contradict each other."""
    static = np.full((len(rows.record_id), len(_DESCRIPTORS)), np.nan)
    taken = np.zeros(len(rows.record), np.bool_)
    notes = []
    for column, (name, first, low, high) in enumerate(_DESCRIPTORS):
        if name not in rows.parameters:
            continue
        here = rows.parameter == rows.parameters.index(name)
        if name == "Weight":
            here &= rows.minutes == 0
        taken |= here
        value = np.where(rows.value == -1, np.nan, rows.value)[here]
        if checked and name == "Height":
            value = np.where((value >= 1.3) & (value <= 2.3), value * 100, value)
        if checked or name in ("Gender", "ICUType"):
            value = np.where((value >= low) & (value <= high), value, np.nan)
        known = ~np.isnan(value)
        record, value = rows.record[here][known], value[known]
        static[record, column] = value - first
        if several := len(np.unique(record[static[record, column] != value - first])):
            notes.append(f"{several} stays have several values of the descriptor {name!r}: the last one counts")
    return static, taken, notes


def _series(
    rows: Measurements, descriptor: NDArray[np.bool_], names: list[str], checked: bool
) -> tuple[Ragged, list[AttritionRow]]:
    """Return the series of the named parameters, and what became of the other rows."""
    attrition: list[AttritionRow] = []

    def count(step: str, left: int, changed: int, reason: str) -> None:
        attrition.append(AttritionRow(step, left, len(rows.record_id), changed, reason))

    def keep(step: str, kept: NDArray[np.bool_], plausible: NDArray[np.bool_], reason: str) -> NDArray[np.bool_]:
        left = kept & plausible
        count(step, int(left.sum()), int((kept & ~plausible).sum()), f"rows: {reason}")
        return left

    kept = keep("set descriptors apart", np.ones_like(descriptor), ~descriptor, "they describe the stay")
    feature = np.array([names.index(name) if name in names else -1 for name in rows.parameters])[rows.parameter]
    kept = keep("drop other parameters", kept, feature >= 0, "of none of the parameters of this cohort")
    kept = keep("drop rows without a value", kept, np.isfinite(rows.value), "nothing was measured")
    value = rows.value.copy()
    if checked:
        shifted = kept & (feature == names.index("pH")) & (value >= 650) & (value <= 800)
        value[shifted] /= 100
        count("repair the decimal point of pH", int(kept.sum()), int(shifted.sum()), "rows: 735 is 7.35")
        low, high = (np.array([getattr(PARAMETERS[name], side) for name in names])[feature] for side in ("low", "high"))
        kept = keep("drop implausible values", kept, (value >= low) & (value <= high), "out of bounds")
    gathered = gather(
        rows.record[kept],
        rows.minutes[kept] / 60,
        feature[kept],
        value[kept],
        records=len(rows.record_id),
        features=len(names),
        combine=[COMBINE.get(name, "mean") for name in names],
    )
    cells, left = int((~np.isnan(gathered.values)).sum()), int(kept.sum())
    count("combine values of one minute", cells, left - cells, "rows: urine is summed, the rest averaged")
    return gathered, attrition


def _labels(record_id: NDArray[np.int64], sets: list[Set]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the labels of the records, and what a user should know of them."""
    tables = [read_outcomes(part.outcomes) for part in sets if part.outcomes]
    if not tables:
        return {}, ["there is no file of outcomes, so there are no labels"]
    outcomes = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    ids, place = np.unique(outcomes["RecordID"], return_index=True)
    known = np.isin(record_id, ids)
    files = " and ".join(part.outcomes.name for part in sets if part.outcomes)
    if not known.any():
        raise InputError(f"{files} has outcomes of none of the records read: put the outcomes of this set beside it")
    row = place[np.searchsorted(ids, record_id[known])]

    def label(column: str) -> NDArray[np.float64]:
        values = np.full(len(record_id), np.nan)
        values[known] = np.where(outcomes[column][row] == -1, np.nan, outcomes[column][row])
        return values

    labels: dict[str, NDArray[Any]] = {"mortality": label("In-hospital_death")}
    notes = []
    if known.all():
        labels["mortality"] = labels["mortality"].astype(np.int64)
    else:
        notes.append(f"{(~known).sum()} records have no outcome: their labels are unknown")
    if foreign := int((~np.isin(ids, record_id)).sum()):
        notes.append(f"{foreign} outcomes of {files} are of records that are not in the data: they are left out")
    return labels | {name: label(column) for name, column in _LABELS.items()}, notes
