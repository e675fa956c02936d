"""The files of CDSL: three releases, with their names, separators, encodings and headers."""

import csv
import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core.errors import InputError

SOURCE = "HM Hospitales (on request) or PhysioNet (COVID Data for Shared Learning)"
SUFFIXES = (".csv", ".csv.gz", ".parquet")
# Column here -> its names in the releases of 2021 (V3) and 2020 (V2) and on PhysioNet.
COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "patient": {
        "id": ("IDINGRESO", "PATIENT ID", "patient_id"),
        "age": ("EDAD", "EDAD/AGE", "age"),
        "sex": ("SEX", "SEXO/SEX"),
        "admitted": ("F_INGRESO_ING", "F_INGRESO/ADMISSION_D_ING/INPAT", "admission_d_inpat"),
        "discharged": ("F_ALTA_ING", "F_ALTA/DISCHARGE_DATE_ING", "discharge_date"),
        "destination": ("MOTIVO_ALTA_ING", "MOTIVO_ALTA/DESTINY_DISCHARGE_ING", "destin_discharge"),
    },
    "vitals": {
        "id": ("IDINGRESO", "PATIENT ID", "patient_id"),
        "date": ("CONSTANTS_ING_DATE", "CONSTANTS_ING/INPAT_FECHA/DATE"),
        "clock": ("CONSTANTS_ING_TIME", "CONSTANTS_ING/INPAT_HORA/TIME"),
        "TA_MAX": ("TA_MAX_ING", "TA_MAX_ING/INPAT", "bp_max_ing"),
        "TA_MIN": ("TA_MIN_ING", "TA_MIN_ING/INPAT", "bp_min_ing"),
        "TEMP": ("TEMP_ING", "TEMP_ING/INPAT"),
        "FC": ("FC_HR_ING", "FC/HR_ING/INPAT", "hr_ing"),
        "SAT_02": ("SAT_02_ING", "SAT_02_ING/INPAT"),
    },
    "lab": {
        "id": ("IDINGRESO", "PATIENT ID", "patient_id"),
        "number": ("LAB_NUMBER", "PETICION_LABORATORIO/LAB_NUMBER"),
        "date": ("LAB_DATE", "FECHA_PETICION/LAB_DATE"),
        "clock": ("TIME_LAB", "HORA_PETICION/TIME_LAB"),
        "item": ("ITEM_LAB", "DETERMINACION/ITEM_LAB"),
        "result": ("VAL_RESULT", "RESULTADO/VAL_RESULT"),
        "unit": ("UD_RESULT", "UNIDADES/UD_RESULT"),
    },
}
TIME = re.compile(
    r"(?:(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})|(?P<d2>\d{1,2})[/-](?P<m2>\d{1,2})[/-](?P<y2>\d{4}))"
    r"(?:[ T](?P<clock>\d{1,2}:\d{2}(?::\d{2})?)(?:\.0+)?)?"
)
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.0+)?")


@dataclass(frozen=True)
class Release:
    """One form in which the data are handed out: the names of its three tables, and what its bytes mean."""

    name: str
    tables: Mapping[str, tuple[str, ...]]
    encoding: str
    english: bool = False


RELEASES = (
    Release(
        "HM Hospitales, 19 April 2021 (V3)",
        {"patient": ("covid_dsl_01",), "vitals": ("covid_dsl_02",), "lab": ("covid_dsl_06_v2", "covid_dsl_06")},
        "cp850",
    ),
    Release(
        "HM Hospitales, 20 July 2020 (V2)",
        {"patient": ("cdsl_01",), "vitals": ("cdsl_03",), "lab": ("cdsl_04",)},
        "latin-1",
    ),
    Release(
        "PhysioNet 1.0.0",
        {"patient": ("patient_01",), "vitals": ("vital_signs_04",), "lab": ("lab_06",)},
        "latin-1",
        english=True,
    ),
)


class Texts(NamedTuple):
    """A column of texts: the distinct ones, and which of them each row holds (-1: none)."""

    code: NDArray[np.int64]
    words: list[str]

    def map(self, read: Callable[[str], Any], missing: Any, dtype: str) -> NDArray[Any]:
        """Return what ``read`` makes of each row."""
        return np.array([*map(read, self.words), missing], dtype)[self.code]


class Rows(NamedTuple):
    """A table: its columns, the files' names, and lines that had another number of fields and were left out."""

    file: str
    columns: dict[str, Texts]
    odd: int

    def __len__(self) -> int:
        return len(self.columns["id"].code)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers, with a decimal point or comma; empty is NaN."""
        column = self.columns[name]
        values = column.map(_number, np.nan, "f8")
        wrong = np.flatnonzero(np.isposinf(values))
        if len(wrong):
            text = column.words[column.code[wrong[0]]]
            raise InputError(f"row {wrong[0] + 1} of {self.file} has {name} = {text!r}, which is no number: correct it")
        return values

    def times(self, date: str, clock: str | None = None) -> NDArray[np.datetime64]:
        """Return times from a column, or from one of days and one of hours; NaT where one is empty."""
        days, hours = self.columns[date], self.columns[clock] if clock else None
        count = len(hours.words) + 1 if hours else 1
        key = days.code * count + (hours.code if hours else 0)
        key[(days.code < 0) | (False if hours is None else hours.code < 0)] = -1
        keys, inverse = np.unique(key, return_inverse=True)
        found = np.full(len(keys), np.datetime64("NaT"), "M8[us]")
        for i, one in enumerate(keys.tolist()):
            if one >= 0:
                text = days.words[one // count]
                at = _time(text, hours.words[one % count] if hours else None)
                if at is None:
                    row = int(np.flatnonzero(inverse == i)[0]) + 1
                    said = text if hours is None else f"{text} {hours.words[one % count]}"
                    raise InputError(f"row {row} of {self.file} has {date} = {said!r}, which is no time: correct it")
                found[i] = at
        return found[inverse]


def find(path: Path | None) -> tuple[Release, dict[str, list[Path]]]:
    """Return which release lies in a folder, or one below it, and the files of its tables."""
    if path is None:
        raise InputError(f"CDSL does not come with this library: give cdsl:FOLDER, with the files of {SOURCE}")
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give the one with the files of CDSL, from {SOURCE}")
    for folder in (path, *sorted(item for item in path.iterdir() if item.is_dir())):
        held = {item.name.lower(): item for item in sorted(folder.iterdir()) if item.is_file()}
        for release in RELEASES:
            found = {table: _files(held, stems) for table, stems in release.tables.items()}
            lacking = [table for table, files in found.items() if not files]
            if not lacking:
                return release, found
            if len(lacking) < len(found):
                stem = release.tables[lacking[0]][0]
                raise InputError(
                    f"{folder} looks like CDSL, {release.name}, but has no {stem} ({', '.join(SUFFIXES)}), it holds "
                    f"{', '.join(held)}: get the file from {SOURCE}"
                )
    names = ", ".join(sorted(item.name for item in path.iterdir())[:8]) or "nothing"
    raise InputError(f"{path} holds no release of CDSL, it holds {names}: give the folder with the files of {SOURCE}")


def _files(held: Mapping[str, Path], stems: tuple[str, ...]) -> list[Path]:
    """Return the file of the first stem that is there; parts of one table (lab_06_1, lab_06_2) together."""
    for stem in stems:
        for suffix in SUFFIXES:
            if stem + suffix in held:
                return [held[stem + suffix]]
    parts = re.compile(re.escape(stems[-1]) + r"[_-]?(part)?[_-]?\d+(" + "|".join(map(re.escape, SUFFIXES)) + ")")
    return [file for name, file in held.items() if parts.fullmatch(name)]


def read(files: list[Path], table: str, encoding: str, *, others: tuple[str, ...] = ()) -> Rows:
    """Return a table, from one file or several parts of it.

    Parameters
    ----------
    files
        The table's files.
    table
        Its name in :data:`COLUMNS`.
    encoding
        What its bytes mean where they are neither UTF-8 nor UTF-16.
    others
        Further columns, by their own names, to read where they are there.
    """
    odd: list[int] = []
    parts = [_read_file(file, table, encoding, others, odd) for file in files]
    joined = pa.concat_tables(parts)
    columns = {}
    for name in joined.column_names:
        encoded = joined[name].combine_chunks().dictionary_encode()
        words = encoded.dictionary.to_pylist()
        code = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        stripped = {word: word.strip(" \t\r\n") for word in words}
        blank = np.array([not text for text in stripped.values()] + [True], np.bool_)
        columns[name] = Texts(np.where(blank[code], -1, code), words if name == "item" else list(stripped.values()))
    return Rows(" and ".join(file.name for file in files), columns, sum(odd))


def _read_file(path: Path, table: str, encoding: str, others: tuple[str, ...], odd: list[int]) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            names = _names(path, table, pq.read_schema(path).names, others)
            content = pq.ParquetFile(path).read(columns=list(names.values()))
        else:
            first, coding = _first_line(path, encoding)
            separator = max("|;,", key=first.count)
            names = _names(path, table, next(csv.reader([first], delimiter=separator)), others)
            try:
                content = _parse(path, names, separator, coding, odd)
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise
                content = _parse(path, names, separator, encoding, odd)
    except (pa.ArrowException, OSError, EOFError, UnicodeError, csv.Error) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} cannot be read ({said}): get it again from {SOURCE}") from None
    arrays = [content[name].cast(pa.string()) for name in names.values()]
    return pa.table(dict(zip(names, arrays, strict=True)))


def _parse(path: Path, names: Mapping[str, str], separator: str, encoding: str, odd: list[int]) -> pa.Table:
    skipped = 0

    def skip(row: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    content = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(encoding=encoding),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(names.values()),
            column_types=dict.fromkeys(names.values(), pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    odd.append(skipped)
    return content


def _first_line(path: Path, encoding: str) -> tuple[str, str]:
    """Return the header line and the encoding to try first."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        start = stream.read(1 << 16)
    if not start:
        raise EOFError("it is empty")
    coding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf8"
    text = start[: len(start) // 2 * 2].decode(coding, "ignore") if coding == "utf-16" else start.decode(encoding)
    return text.removeprefix("ï»¿").removeprefix("´╗┐").splitlines()[0], coding


def _names(path: Path, table: str, header: list[str], others: tuple[str, ...]) -> dict[str, str]:
    """Return the names in the file of the columns of a table."""
    held: dict[str, str] = {}
    for name in header:
        held.setdefault(name.strip().lower(), name)
    names = {}
    for column, options in COLUMNS[table].items():
        found = [held[option.lower()] for option in options if option.lower() in held]
        if not found:
            raise InputError(
                f"{path} has no column {options[0]!r}, it has {', '.join(header)}: get it again from {SOURCE}"
            )
        names[column] = found[0]
    return names | {other: held[other] for other in others if other in held}


def _number(text: str) -> float:
    """Return a number; infinity stands for a text that is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return np.inf
    return value if np.isfinite(value) else np.inf


def _time(day: str, clock: str | None) -> np.datetime64 | None:
    found = TIME.fullmatch(day)
    if not found:
        return None
    part = found.groupdict()
    year, month, date = (part[name] or part[name + "2"] for name in ("y", "m", "d"))
    hour = CLOCK.fullmatch(clock if clock is not None else part["clock"] or "00:00")
    if not hour:
        return None
    try:
        second = hour[3] or "00"
        return np.datetime64(f"{year}-{month:0>2}-{date:0>2}T{hour[1]:0>2}:{hour[2]}:{second}", "us")
    except ValueError:
        return None
