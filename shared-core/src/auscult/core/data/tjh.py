"""TJH: blood samples of COVID-19 patients of Tongji Hospital, Wuhan, January and February 2020.

Source: Yan et al., "An interpretable mortality prediction model for COVID-19 patients", Nature Machine
Intelligence 2020; data DOI 10.5281/zenodo.3766350; two workbooks of the repository HAIRLAB/Pre_Surv_COVID_19:

- ``time_series_375_prerpocess_en.xlsx``, sheet "375": 375 patients, sex, age, 74 laboratory columns;
- ``time_series_test_110_preprocess_en.xlsx``, sheet "110": 110 patients, three laboratory columns only.

Licence: MIT, (c) 2020 Huazhong Artificial Intelligence Lab (HAIL). Both sheets are bundled as parquet.

Cohort: one stay a patient, counted in hours from the midnight before admission; one step a calendar day with
records; the laboratory values of a day are averaged. These are the rules that studies of prediction on
longitudinal records use for this set, step by step in ``attrition``: 361 of the 375 patients, 1,704 days.
Label ``mortality`` (1 died) is per patient; ``los_days`` is per step, the days from that day to discharge, 0
where negative. Static: sex (1 male, 0 female) and age in years.

Patient numbers follow the outcome (survivors first): never give them, or the order of rows, to a model.
"""

import functools
import hashlib
import io
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import average_by_time
from auscult.core.errors import InputError, missing_dependency
from auscult.core.files import replace_atomically

PATIENT, RECORD, ADMISSION, DISCHARGE = "PATIENT_ID", "RE_DATE", "Admission time", "Discharge time"
OUTCOME, SEX, AGE = "outcome", "gender", "age"
TIMES = (RECORD, ADMISSION, DISCHARGE)
CONSTANT = "2019-nCoV nucleic acid detection"
SOURCE = "https://github.com/HAIRLAB/Pre_Surv_COVID_19"
PROVENANCE = {
    "data_set": "TJH",
    "source": SOURCE,
    "citation": "Yan et al., Nature Machine Intelligence 2020; doi:10.5281/zenodo.3766350",
    "licence": "MIT, (c) 2020 Huazhong Artificial Intelligence Lab (HAIL)",
}
DISPLAY_NAMES = {
    "Hypersensitive cardiac troponinI": "Hypersensitive cardiac troponin I",
    "eosinophils(%)": "eosinophils (%)",
    "basophil(%)": "basophils (%)",
    "monocytes(%)": "monocytes (%)",
    "neutrophils(%)": "neutrophils (%)",
    "(%)lymphocyte": "lymphocytes (%)",
    "Tumor necrosis factorα": "Tumor necrosis factor α",
    "basophil count(#)": "basophil count",
    "PH value": "pH value",
    "Amino-terminal brain natriuretic peptide precursor(NT-proBNP)": "NT-proBNP",
}
STATIC_FEATURES = (
    Feature("sex", kind="categorical", levels=("female", "male")),
    Feature("age", unit="years", decimals=0),
)

NUMBERS_NOTE = "patient numbers follow the outcome (survivors first): keep them and the order of rows from any model"
NOTES_375 = (
    NUMBERS_NOTE,
    "'PH value' mixes blood and urine",
    "'White blood cell count' and 'Red blood cell count' mix blood with microscopy of urine and stool",
    "many values pile up at detection limits (troponin, interleukins, D-D dimer, LDH, NT-proBNP, ferritin)",
)
NOTES_110 = (
    NUMBERS_NOTE,
    "the sheet has no sex and no age, and its patient numbers are not those of the sheet '375'",
)


def load(path: Path | None = None, *, sheet: str | int | None = None) -> Cohort:
    """Return the cohort of a bundled sheet or of an original workbook.

    Parameters
    ----------
    path
        One of the two workbooks; None for the bundled copy.
    sheet
        ``"375"`` (the default without ``path``) or ``"110"``. With ``path`` the workbook's columns decide,
        and another ``sheet`` than theirs is refused.

    Raises
    ------
    InputError
        Where the workbook cannot be read, is not one of the two, or contradicts itself.
    MissingDependencyError
        Where a workbook is given and openpyxl is not installed.
    """
    sheet = None if sheet is None else str(sheet)
    if sheet not in (None, "375", "110"):
        raise InputError(f"TJH has no sheet {sheet!r}: use '375' or '110'")
    name = f"tjh_{sheet or '375'}.parquet" if path is None else path.name
    content = _bundled(name) if path is None else _read_bytes(path)
    raw = _checked(_parquet(content) if path is None else _workbook(content, name), name)
    held = "375" if SEX in raw else "110"
    if sheet not in (None, held):
        raise InputError(f"{name} holds the sheet {held!r}, not {sheet!r}: give the other workbook or leave sheet out")
    provenance = {**PROVENANCE, "sheet": held, "file": name, "sha256": hashlib.sha256(content).hexdigest()}
    return _clean(raw, name, provenance)


def read_workbook(path: Path) -> pd.DataFrame:
    """Return an original workbook's sheet as it is: raw column names, blanks as NaN or NaT, nothing dropped.

    Numbers come as float64, times as datetime64[us]. Raises as ``load`` does.
    """
    return _checked(_workbook(_read_bytes(path), path.name), path.name)


def bundle(workbook: Path, target: Path) -> None:
    """Write an original workbook's sheet as parquet, cell for cell; this made the files in ``bundled/``.

    Examples
    --------
    >>> bundle(Path("time_series_375_prerpocess_en.xlsx"), Path("bundled/tjh_375.parquet"))  # doctest: +SKIP
    """
    frame = _workbook(_read_bytes(workbook), workbook.name).convert_dtypes()
    table = pa.Table.from_pandas(frame.astype(dict.fromkeys(TIMES, "datetime64[us]")), preserve_index=False)
    table = table.replace_schema_metadata(None)
    replace_atomically(target, lambda partial: pq.write_table(table, partial, compression="zstd", compression_level=19))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give one of the two workbooks of {SOURCE}"
        ) from None


def _bundled(name: str) -> bytes:
    return (resources.files("auscult.core.data") / "bundled" / name).read_bytes()


def _parquet(content: bytes) -> pd.DataFrame:
    frame: pd.DataFrame = pq.ParquetFile(io.BytesIO(content)).read().to_pandas()
    return frame


def _workbook(content: bytes, name: str) -> pd.DataFrame:
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise missing_dependency("openpyxl", purpose="reading .xlsx files", install="auscult-core[xlsx]") from error
    try:
        return pd.read_excel(io.BytesIO(content), engine="openpyxl")
    except Exception as error:  # a damaged archive fails in zipfile, zlib, the XML parser or openpyxl
        kind = type(error).__name__
        raise InputError(f"{name} is no readable .xlsx workbook ({kind}): get it again from {SOURCE}") from error


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the sheet with float64 numbers and datetime64[us] times, or say what is wrong with it."""
    full, small = (pq.read_schema(io.BytesIO(_bundled(f"tjh_{sheet}.parquet"))).names for sheet in ("375", "110"))
    wanted = full if set(frame.columns) & (set(full) - set(small)) else small
    missing = [column for column in wanted if column not in frame]
    unknown = [column for column in frame if column not in wanted]
    if missing or unknown:
        lacks = f"lacks {_some(missing)}" if missing else f"has the unknown {_some(unknown)}"
        raise InputError(f"{name} is not one of the two TJH workbooks, it {lacks}: get them from {SOURCE}")
    if frame.empty:
        raise InputError(f"{name} has a header and no rows: use the original workbook")
    for column in wanted:
        is_time = column in TIMES
        fits = pd.api.types.is_datetime64_dtype if is_time else pd.api.types.is_numeric_dtype
        if not fits(frame[column]):
            kind = "times" if is_time else "numbers"
            raise InputError(f"column {column!r} of {name} does not hold {kind} alone: use the original workbook")
    dtypes = {column: "datetime64[us]" if column in TIMES else "float64" for column in wanted}
    typed: pd.DataFrame = frame[wanted].astype(dtypes)
    return typed


def _some(names: list[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more columns" if len(names) > 3 else "")


def _clean(raw: pd.DataFrame, name: str, provenance: dict[str, str]) -> Cohort:
    """Turn a sheet as read into the cohort; the order of the steps is part of the definition."""
    attrition: list[AttritionRow] = []

    def count(step: str, changed: int, reason: str) -> None:
        attrition.append(AttritionRow(step, len(rows), rows[PATIENT].nunique(), changed, reason))

    rows = raw.assign(**{PATIENT: raw[PATIENT].ffill()})
    count("read", 0, f"every row of the sheet in {name}")
    count(
        "fill patient numbers",
        int(raw[PATIENT].isna().sum()),
        "rows: it stands on a patient's first row only",
    )
    has_static = SEX in rows
    if has_static:
        women = rows[SEX] == 2
        rows[SEX] = rows[SEX].mask(women, 0.0)
        count("recode sex", int(women.sum()), "rows: female is 2 in the sheet and becomes 0, male is 1")
    days = rows[[*TIMES]].apply(lambda column: column.dt.normalize())
    count(
        "truncate times to days",
        int((days < rows[[*TIMES]]).to_numpy().sum()),
        "times: stays go by calendar day",
    )
    notes = _odd_times(rows)
    rows[[*TIMES]] = days
    rows = rows.dropna(subset=[PATIENT, RECORD, DISCHARGE]).reset_index(drop=True)
    if rows.empty:
        raise InputError(f"{name} has no row with patient, record time and discharge: use the original workbook")
    lost = len(raw) - len(rows)
    count("drop rows without patient, record time or discharge", lost, "rows: they have no place in time")
    remaining = (rows[DISCHARGE] - rows[RECORD]).dt.days.to_numpy(np.float64)
    negative_stays = int((remaining < 0).sum())
    count("set negative remaining stays to 0", negative_stays, "rows: dated after the day of discharge")
    if CONSTANT in rows:
        constant = int(rows.pop(CONSTANT).notna().sum())
        count("drop the constant column", constant, f"cells: {CONSTANT!r} is -1 wherever it is not blank")
    labs = [str(column) for column in rows.columns if column not in (PATIENT, *TIMES, OUTCOME, SEX, AGE)]
    measured = [AGE, *labs] if has_static else labs
    negative = rows[measured] < 0
    rows[measured] = rows[measured].mask(negative)
    count("mark negative values as missing", int(negative.to_numpy().sum()), "cells: no measurement is negative")

    patients, patient = np.unique(rows[PATIENT], return_inverse=True)
    if (patients % 1).any():
        raise InputError(f"{PATIENT} of {name} holds {patients[patients % 1 > 0][0]}: patient numbers are whole")
    one = functools.partial(_one_per_patient, rows, name)
    admission = one(ADMISSION)
    one(DISCHARGE)
    mortality = one(OUTCOME, (0, 1))
    static = [one(SEX, (0, 1)), one(AGE)] if has_static else []
    hours = (rows[RECORD].to_numpy() - admission[patient]) / np.timedelta64(1, "h")
    daily = average_by_time(patient, hours, np.column_stack([rows[labs], np.maximum(remaining, 0)]))
    merged = AttritionRow(
        "average each day",
        int(daily.length.sum()),
        len(patients),
        len(rows),
        "rows: those of one day become one",
    )
    return Cohort(
        record_id=patients.astype(np.int64),
        subject_id=patients.astype(np.int64),
        anchor=admission,
        time=daily.time,
        values=daily.values[..., :-1],
        length=daily.length,
        features=tuple(Feature(lab, DISPLAY_NAMES.get(lab, "")) for lab in labs),
        static=np.array(static, np.float32).reshape(-1, len(patients)).T,
        static_features=STATIC_FEATURES if has_static else (),
        labels={"mortality": mortality.astype(np.int64), "los_days": daily.values[..., -1]},
        attrition=(*attrition, merged),
        provenance=provenance,
        notes=(*notes, *(NOTES_375 if has_static else NOTES_110)),
    )


def _odd_times(rows: pd.DataFrame) -> list[str]:
    """Say how many rows have a time that a reader would not expect."""
    late = rows[RECORD] > rows[DISCHARGE]
    twice = rows.duplicated([PATIENT, RECORD]) & rows[RECORD].notna()
    unsorted = rows.groupby(PATIENT)[RECORD].diff() < pd.Timedelta(0)
    reasons = {
        "are stamped after the discharge": late,
        "repeat a record time": twice,
        "are out of order": unsorted,
    }
    return [
        f"{odd.sum()} rows of {rows.loc[odd, PATIENT].nunique()} patients {reason}"
        for reason, odd in reasons.items()
        if odd.any()
    ]


def _one_per_patient(rows: pd.DataFrame, name: str, column: str, allowed: tuple[int, ...] = ()) -> NDArray[Any]:
    """Return what a column says of each patient, in order of patient number; it must say one thing."""
    groups = rows.groupby(PATIENT)[column]
    several = groups.nunique(dropna=False) > 1
    if several.any():
        patient = several.index[several][0]
        raise InputError(f"patient {patient:g} of {name} has more than one {column!r}: use the original workbook")
    said = groups.first()
    bad = ~said.isin(allowed) if allowed else said.isna() & (column != AGE)
    if bad.any():
        patient, value = said.index[bad][0], said[bad].iloc[0]
        raise InputError(f"patient {patient:g} of {name} has {column!r} = {value}: use the original workbook")
    return said.to_numpy()
