"""CDSL: patients of HM Hospitales, Spain, admitted with COVID-19 between December 2019 and early 2021.

Three releases of the same data are read, told apart by their files: that of 19 April 2021 (``COVID_DSL_01.CSV``
patients, ``_02`` vital signs, ``_06_v2`` laboratory; code page 850, though often read as ISO-8859-1), that of
20 July 2020 (``CDSL_01.csv``, ``_03``, ``_04``; bilingual headers) and PhysioNet's "COVID Data for Shared Learning"
1.0.0 (``patient_01.csv``, ``vital_signs_04.csv``, ``lab_06*.csv``; English). Access: on request to HM Hospitales, or
PhysioNet's contributor review; nothing of it is openly licensed.

Cohort: one stay an admission, counted in hours from it; measurements of the emergency department come before,
at negative hours. Label ``mortality`` (1 died in hospital) is per stay; ``los_days`` is per step, the days that
remain to discharge. Static: sex (1 male, 0 female) and age.

The data number admissions, not persons: who was admitted twice has two numbers, so that splits can only go by
admission.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cdsl_files import SOURCE, Rows, find, read
from auscult.core.data.cdsl_lab import Count, Values, fixed_panel, read_lab, study_panel
from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import Combine, gather
from auscult.core.errors import InputError

HOUR = np.timedelta64(3_600_000_000, "us")


class Vital(NamedTuple):
    """A vital sign: its column, its name in published studies, and the plausible values, bounds included."""

    feature: Feature
    study_name: str
    low: float
    high: float


VITALS = (
    Vital(Feature("TA_MAX", "systolic blood pressure", unit="mmHg"), "MAX_BLOOD_PRESSURE", 30, 300),
    Vital(Feature("TA_MIN", "diastolic blood pressure", unit="mmHg"), "MIN_BLOOD_PRESSURE", 10, 200),
    Vital(Feature("TEMP", "temperature", unit="°C"), "TEMPERATURE", 30, 43),
    Vital(Feature("FC", "heart rate", unit="/min"), "HEART_RATE", 20, 250),
    Vital(Feature("SAT_02", "oxygen saturation", unit="%"), "OXYGEN_SATURATION", 1, 100),
)
DIED = ("fallecimiento", "death")
ELSEWHERE = (
    "traslado al hospital",
    "traslado a un centro sociosanitario",
    "alta voluntaria",
    "fuga",
    "transfer to hospital",
    "transfer to a socio-sanitary center",
    "voluntary discharge",
    "absconded",
)
HOME = ("domicilio", "home")
STATIC_FEATURES = (
    Feature("sex", kind="categorical", levels=("female", "male")),
    Feature("age", unit="years", decimals=0),
)
NO_PERSONS = "the data number admissions, not persons: a person with two admissions counts as two subjects"
MIXED_GASES = "PH and PO2 of this release mix arterial with venous samples, whose names became one in translation"


class _Admissions(NamedTuple):
    ids: NDArray[np.str_]
    admitted: NDArray[np.datetime64]
    discharged: NDArray[np.datetime64]
    died: NDArray[np.int64]
    static: NDArray[np.float32]


def load(
    path: Path | None = None,
    *,
    preset: Literal["default", "seed"] = "default",
    range: Literal["drop", "none"] = "drop",
    pre_anchor: Literal["keep", "drop"] = "keep",
    min_age: float | None = None,
    units: Mapping[str, str] | None = None,
) -> Cohort:
    """Return the cohort of a folder with the files of one release.

    Parameters
    ----------
    path
        The folder, or the one above it.
    preset
        ``"seed"``: the rules of the published studies (pyehr, M3Fair), faults included: a laboratory column for
        each written name that more than a tenth of all patients have, results as
        :func:`~auscult.core.data.cdsl_items.result_of_studies` reads them, only heart rates above 220 and saturations
        above 100 implausible, rows after discharge kept. Names are those of the studies, accents broken as there;
        display names are right. ``"default"``: a fixed list of 71 laboratory codes, whatever the analyser.
    range
        ``"drop"`` makes implausible vital signs missing (:data:`VITALS`; both pressures where they contradict each
        other), ``"none"`` keeps them. A vital sign of 0 is always missing: that is how the data write it.
    pre_anchor
        Whether to keep measurements before the admission, from the emergency department.
    min_age
        Leave out younger patients (there is a paediatric department).
    units
        Laboratory code -> the one unit whose results count (``{"DD": "ng/mL"}``); a note names every code that comes in
        several.

    Raises
    ------
    InputError
        Where no release is found, a table or column is missing, a number or a time cannot be read, or an
        admission stands there twice.
    """
    for name, value, known in (
        ("preset", preset, ("default", "seed")),
        ("range", range, ("drop", "none")),
        ("pre_anchor", pre_anchor, ("keep", "drop")),
    ):
        if value not in known:
            raise InputError(f"{name} is {value!r}: use {' or '.join(map(repr, known))}")
    release, files = find(path)
    if preset == "seed" and release.english:
        raise InputError("preset='seed' is of studies that read the release of 2021: leave it out with PhysioNet's")
    others = {"lab": ("result_text",) if release.english else ()}
    tables = {name: read(files[name], name, release.encoding, others=others.get(name, ())) for name in files}
    seed, count, notes = preset == "seed", Count(), [NO_PERSONS]
    admissions = _admissions(tables["patient"], min_age, count, notes)
    names = [
        Feature(vital.study_name, vital.feature.display_name, unit=vital.feature.unit) if seed else vital.feature
        for vital in VITALS
    ]
    panel = study_panel(tables["lab"], tuple(names)) if seed else fixed_panel(tables["lab"], tuple(names), release)
    broken = sum(table.odd for name, table in tables.items() if name != "patient")
    cells = sum(int((tables["vitals"].columns[vital.feature.name].code >= 0).sum()) for vital in VITALS)
    count.start("read measurements", cells + len(tables["lab"]) + broken, "values: every vital sign and result")
    count.drop("skip broken lines", broken, "values: lines with another number of fields than the header")
    vitals = _vitals(tables["vitals"], _stay(tables["vitals"], admissions), range == "drop", seed, count)
    lab, features = read_lab(tables["lab"], _stay(tables["lab"], admissions), panel, units or {}, count, notes)
    values = Values(*(np.concatenate(pair) for pair in zip(vitals, lab, strict=True)))
    values = _placed(values, admissions, keep_late=seed, keep_early=pre_anchor == "keep", count=count)

    hours = (values.at - admissions.admitted[values.stay]) / HOUR
    combine: list[Combine] = ["last" if feature.levels else "mean" for feature in features]
    order = np.argsort(values.value, kind="stable")
    gathered = gather(
        *(column[order] for column in (values.stay, hours, values.feature, values.value)),
        records=len(admissions.ids),
        features=len(features),
        combine=combine,
    )
    cells = int((~np.isnan(gathered.values)).sum())
    count.drop("merge values of one time", len(values.value) - cells, "values: several a cell")
    stay_hours = (admissions.discharged - admissions.admitted) / HOUR
    remaining = np.maximum(stay_hours[:, None] - gathered.time.astype(np.float64), 0) / 24
    if release.english:
        notes.append(MIXED_GASES)
    ids = admissions.ids
    return Cohort(
        record_id=ids.astype(np.int64) if all(text.isdigit() for text in ids.tolist()) else ids,
        subject_id=ids.astype(np.int64) if all(text.isdigit() for text in ids.tolist()) else ids,
        time=gathered.time,
        values=gathered.values,
        length=gathered.length,
        features=features,
        static=admissions.static,
        static_features=STATIC_FEATURES,
        labels={"mortality": admissions.died, "los_days": remaining.astype(np.float32)},
        anchor=admissions.admitted,
        attrition=tuple(count.table),
        provenance={
            "data_set": "CDSL",
            "release": release.name,
            "source": SOURCE,
            "licence": "by agreement with the source; not to be passed on",
            "files": ", ".join(table.file for table in tables.values()),
            "preset": preset,
        },
        notes=tuple(notes),
    )


def _admissions(rows: Rows, min_age: float | None, count: Count, notes: list[str]) -> _Admissions:
    columns = rows.columns
    ids = columns["id"].map(str, "", "U")
    admitted, discharged = rows.times("admitted"), rows.times("discharged")
    age = rows.numbers("age")
    destination = columns["destination"].map(lambda text: " ".join(text.split()).casefold(), "", "U")
    sex = columns["sex"].map(lambda text: {"female": 0.0, "male": 1.0}.get(text.casefold(), np.nan), np.nan, "f8")
    named, times = np.unique(ids[ids != ""], return_counts=True)
    if (times > 1).any():
        raise InputError(f"{rows.file} has admission {named[times > 1][0]} {times.max()} times: keep one row of it")

    count.start("read admissions", len(rows) + rows.odd, f"admissions: every row of {rows.file}")
    count.drop("skip broken lines", rows.odd, "admissions: lines with another number of fields than the header")
    left = np.ones(len(rows), np.bool_)
    for step, kept, reason in (
        (
            "drop incomplete admissions",
            (ids != "") & ~np.isnat(admitted) & ~np.isnat(discharged) & (destination != ""),
            "admissions: no number, admission, discharge or outcome",
        ),
        ("drop impossible stays", ~(discharged < admitted), "admissions: discharge before admission"),
        ("keep ages", (age >= min_age) if min_age is not None else left, f"admissions: under {min_age} or of no age"),
    ):
        if step != "keep ages" or min_age is not None:
            count.drop(step, int((left & ~kept).sum()), reason)
        left = left & kept
    if not left.any():
        raise InputError(f"{rows.file} has no admission that can be used: it needs number, times and outcome")
    count.records = int(left.sum())

    unknown = left & ~np.isin(destination, [*DIED, *ELSEWHERE, *HOME])
    other_sex = left & np.isnan(sex) & (columns["sex"].code >= 0)
    for mask, said in (
        (left & np.isin(destination, ELSEWHERE), "stays end in a transfer or by leaving: what came after is not known"),
        (unknown, "stays end in a way that is not in the list of outcomes: they count as survived"),
        (other_sex, "stays have a sex other than male and female: it is missing here"),
    ):
        notes += [f"{mask.sum()} {said}"] if mask.any() else []
    kept_rows = np.flatnonzero(left)
    numbers = [(int(text) if text.isdigit() else 0, text) for text in ids[kept_rows].tolist()]
    kept_rows = kept_rows[sorted(range(len(numbers)), key=numbers.__getitem__)]
    return _Admissions(
        ids[kept_rows],
        admitted[kept_rows],
        discharged[kept_rows],
        np.isin(destination, DIED)[kept_rows].astype(np.int64),
        np.column_stack([sex, age])[kept_rows].astype(np.float32),
    )


def _stay(rows: Rows, admissions: _Admissions) -> NDArray[np.int64]:
    """Return which admission each row belongs to, -1 for none."""
    stay_of = {text: i for i, text in enumerate(admissions.ids.tolist())}
    return rows.columns["id"].map(lambda text: stay_of.get(text, -1), -1, "i8")


def _vitals(rows: Rows, stay: NDArray[np.int64], check: bool, seed: bool, count: Count) -> Values:
    at = rows.times("date", "clock")
    values = np.column_stack([rows.numbers(vital.feature.name) for vital in VITALS])
    nothing = values == 0
    values[nothing] = np.nan
    count.drop("mark 0 as missing", int(nothing.sum()), "values: a vital sign of 0 was not measured")
    if check:
        low = np.array([-np.inf if seed else vital.low for vital in VITALS])
        high = np.array([vital.high for vital in VITALS])
        if seed:
            high = np.array([np.inf, np.inf, np.inf, 220, 100])
        odd = (values < low) | (values > high)
        if not seed:
            odd[:, :2] |= (values[:, 0] < values[:, 1])[:, None]
        count.drop("check the range", int(odd.sum()), "values: vital signs that are not plausible")
        values[odd] = np.nan
    row, feature = np.nonzero(~np.isnan(values))
    return Values(stay[row], at[row], feature, values[row, feature])


def _placed(values: Values, admissions: _Admissions, *, keep_late: bool, keep_early: bool, count: Count) -> Values:
    """Drop what belongs to no admission, has no time, or lies outside the stay."""
    kept = values.stay >= 0
    count.drop("find the admission", int((~kept).sum()), "values: of no admission of the cohort")
    values = values.only(kept)
    kept = ~np.isnat(values.at)
    count.drop("drop values without a time", int((~kept).sum()), "values: no day or no hour")
    values = values.only(kept)
    if not keep_early:
        kept = values.at >= admissions.admitted[values.stay]
        count.drop("drop what precedes the stay", int((~kept).sum()), "values: before the admission")
        values = values.only(kept)
    if not keep_late:
        kept = values.at <= admissions.discharged[values.stay]
        count.drop("drop what follows the stay", int((~kept).sum()), "values: after the discharge")
        values = values.only(kept)
    return values
