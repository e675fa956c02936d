"""The files of a MEDS 0.4 data set: finding them, and checking what MEDS promises of them.

Schemas: Medical-Event-Data-Standard/meds, ``src/meds/schema.py``, version 0.4.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core.errors import InputError

VALUES = ("boolean_value", "integer_value", "float_value", "categorical_value")
NO_UNIT = ("UNK", "")
STATIC_TIME = np.iinfo(np.int64).min
IS_TIME: tuple[Callable[[Any], bool], str] = (
    lambda type_: pa.types.is_timestamp(type_) and type_.tz is None,
    "timestamps without a zone",
)
TYPES = {
    "subject_id": (pa.types.is_integer, "int64"),
    "time": IS_TIME,
    "prediction_time": IS_TIME,
    "code": (
        lambda type_: type_ in (pa.string(), pa.large_string()) or pa.types.is_dictionary(type_),
        "text",
    ),
    "numeric_value": (pa.types.is_floating, "float32"),
}

MEANT = {"subject_id": pa.int64(), "time": pa.timestamp("us"), "prediction_time": pa.timestamp("us")}


class Codes(NamedTuple):
    """The codes of a data set: rows (0 where only the metadata list it), unit, how many the metadata lack."""

    rows: dict[str, int]
    unit: dict[str, str | None]
    unlisted: int


class Tasks(NamedTuple):
    """The labels of a task in order of subject and time (microseconds)."""

    name: str
    subject: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[Any]
    notes: tuple[str, ...]


def find(path: Path | None) -> tuple[Path, list[Path], dict[str, Any]]:
    """Return the root of a data set, its files of events, and what ``dataset.json`` says of it."""
    if path is None:
        raise InputError("MEDS data need their folder: give meds:FOLDER")
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give the root of a MEDS data set, with data/ and metadata/ in it")
    files = sorted(path.glob("data/**/*.parquet"))
    if not files:
        held = ", ".join(sorted(item.name for item in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path} has no data/**/*.parquet, it holds {held}: give the root of a MEDS data set")
    described = path / "metadata" / "dataset.json"
    try:
        metadata = json.loads(described.read_text("utf-8")) if described.is_file() else {}
    except ValueError as error:
        raise InputError(f"{described} is no JSON ({error}): convert the data set again") from None
    version = str(metadata.get("meds_version", "0.4"))
    if re.match(r"0\.[0-3](\D|$)", version):
        raise InputError(f"{path} is in MEDS {version}, whose columns differ: convert it to MEDS 0.4")
    return path, files, metadata


def scan(root: Path, files: list[Path]) -> Codes:
    """Check what MEDS promises of every file, and count the rows of each code."""
    rows: dict[str, int] = {}
    home: dict[int, str] = {}
    for file in files:
        name = file.relative_to(root).as_posix()
        table = read(file, ["subject_id", "time", "code"])
        for entry in pc.value_counts(table["code"]).to_pylist():
            rows[entry["values"]] = rows.get(entry["values"], 0) + entry["counts"]
        subject, time = keys(table)
        for number in subject[starts(subject)].tolist():
            if number in home:
                where = f"in two parts of {name}" if home[number] == name else f"in {home[number]} and in {name}"
                raise InputError(f"subject {number} is {where}: MEDS keeps the rows of a subject together")
            home[number] = name
        backwards = (time[1:] < time[:-1]) & (subject[1:] == subject[:-1])
        if backwards.any():
            number = subject[1:][backwards][0]
            raise InputError(f"subject {number} of {name} is not sorted by time: sort its events, static ones first")
    unit: dict[str, str | None] = {code: _unit(code) for code in rows}
    listed = root / "metadata" / "codes.parquet"
    if not listed.is_file():
        return Codes(rows, unit, len(rows))
    known = read(listed, ["code"], others=["unit"])
    names = known["code"].to_pylist()
    said = known["unit"].to_pylist() if "unit" in known.column_names else [None] * len(names)
    units = [told or _unit(name) for name, told in zip(names, said, strict=True)]
    return Codes(
        {**dict.fromkeys(names, 0), **rows},
        {**unit, **dict(zip(names, units, strict=True))},
        len(set(rows) - set(names)),
    )


def _unit(code: str) -> str | None:
    parts = code.split("//")
    return parts[-1] if len(parts) > 2 and parts[-1] not in NO_UNIT else None


def read_tasks(path: Path) -> Tasks:
    """Return the labels of a label file or of a folder of them, under its name; texts become codes."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no parquet file: give a MEDS label file or a folder of them")
    tables = [read(file, ["subject_id", "prediction_time"], others=VALUES, closed=True) for file in files]
    names = {name for table in tables for name in table.column_names[2:]}
    if len(names) != 1:
        held = ", ".join(sorted(names)) or "none"
        raise InputError(f"{path} must hold one column of labels of {', '.join(VALUES)}; it has {held}")
    column = names.pop()
    for table in tables:
        for name in table.column_names:
            if table[name].null_count:
                empty = table[name].null_count
                raise InputError(f"{path} has {empty} empty cells in {name}: a MEDS label file has none")
    pairs = [keys(table.rename_columns(["subject_id", "time", column])) for table in tables]
    subject, time = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    value = np.concatenate([table[column].to_numpy() for table in tables])
    order = np.lexsort((time, subject))
    subject, time, value = subject[order], time[order], value[order]
    again = (subject[1:] == subject[:-1]) & (time[1:] == time[:-1])
    if again.any():
        raise InputError(f"{path} has two labels of subject {subject[1:][again][0]} at one time: keep one")
    task, notes = path.name if path.is_dir() else path.stem, []
    if column == "categorical_value":
        levels, value = np.unique(value.astype(np.str_), return_inverse=True)
        notes = [f"label {task!r}: " + ", ".join(f"{code} = {level}" for code, level in enumerate(levels))]
    elif column == "boolean_value":
        value = value.astype(np.int64)
    return Tasks(task, subject, time, value, tuple(notes))


def is_code(wanted: str, code: str) -> bool:
    """Say whether a code is the wanted one, alone or as its prefix."""
    return code == wanted or code.startswith(wanted + "//")


def starts(subject: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions at which another subject begins."""
    return np.flatnonzero(np.concatenate([[True], subject[1:] != subject[:-1]])) if len(subject) else subject


def keys(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return subject and microseconds of each row; a null time is the least number there is."""
    time = pc.fill_null(table["time"].cast(pa.int64()), STATIC_TIME)
    return table["subject_id"].to_numpy(), time.to_numpy()


def read(file: Path, names: list[str], others: Iterable[str] = (), *, closed: bool = False) -> pa.Table:
    """Return columns of a parquet file, after checking that they are there and of MEDS's types.

    Parameters
    ----------
    file
        The file.
    names
        Columns that must be there; ids and codes among them without nulls.
    others
        Columns to read where they are there.
    closed
        Whether any other column is a fault.
    """
    try:
        schema = pq.read_schema(file)
        missing = [name for name in names if name not in schema.names]
        if missing and {"patient_id", "measurements", "events"} & set(schema.names):
            raise InputError(f"{file} is in the form of MEDS 0.3 or earlier: convert it to MEDS 0.4")
        if missing:
            held = ", ".join(schema.names)
            raise InputError(f"{file} has no column {missing[0]!r}, it has {held}: MEDS 0.4 needs it")
        wanted = [name for name in (*names, *others) if name in schema.names]
        surplus = [name for name in schema.names if name not in wanted]
        if closed and surplus:
            raise InputError(f"{file} has the column {surplus[0]!r}, which a MEDS label file cannot have: drop it")
        for name in set(wanted) & set(TYPES):
            fits, needed = TYPES[name]
            if not fits(found := schema.field(name).type):
                raise InputError(f"column {name!r} of {file} is of type {found}: MEDS 0.4 has {needed} there")
        table = pq.ParquetFile(file).read(columns=wanted)
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: give a parquet file") from None
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{file} is no readable parquet file ({first}): get it again") from None
    for name, kind in MEANT.items():
        if name in wanted:
            try:
                table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
            except pa.ArrowInvalid as error:
                raise InputError(f"{name!r} of {file} is not {kind}, as MEDS 0.4 has it ({error})") from None
    for name in {"subject_id", "code"} & set(wanted):
        if table[name].null_count:
            raise InputError(f"{file} has {table[name].null_count} rows without {name}: MEDS 0.4 has none")
    return table
