"""The files of the PhysioNet Challenge 2012: which sets a path holds, and their rows as arrays."""

import csv
import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core.errors import InputError

SOURCE = "https://physionet.org/content/challenge-2012/1.0.0/"
LAST_MINUTE = 48 * 60
HEADER = b"Time,Parameter,Value"
LONG_COLUMNS = {"RecordID": pa.int64(), "Minutes": pa.int64(), "Parameter": pa.string(), "Value": pa.float64()}
OUTCOME_COLUMNS = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")

_TIME = re.compile(r"(\d{2,}):([0-5]\d)")
_STAY = re.compile(r"(\d+)\.txt")
_ARCHIVES = (".tar.gz", ".tgz", ".zip")
_TABLES = (".parquet", ".csv", ".csv.gz")
# In order of preference, where a folder holds a set in several forms.
_FORMS = ("", ".long.parquet", ".long.csv", ".long.csv.gz", *_ARCHIVES)
_AGAIN = f"get it again from {SOURCE}"


class Set(NamedTuple):
    """One set on disk and its outcomes, if there are any."""

    path: Path
    outcomes: Path | None


class Measurements(NamedTuple):
    """The rows of sets: ``minutes`` [R] since admission and ``value`` [R], NaN where empty.

    ``record`` [R] and ``parameter`` [R] are positions in ``record_id`` and ``parameters``.
    """

    record_id: NDArray[np.int64]
    record: NDArray[np.int64]
    minutes: NDArray[np.int64]
    parameter: NDArray[np.int64]
    value: NDArray[np.float64]
    parameters: tuple[str, ...]


def find_sets(path: Path) -> list[Set]:
    """Return the sets that a path holds: itself, or those of a folder in order of their letters.

    Raises
    ------
    InputError
        Where there is none.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a folder with sets from {SOURCE}")
    if path.is_file():
        if not path.name.endswith((*_ARCHIVES, *_TABLES)):
            raise InputError(f"{path.name} is no set of the Challenge 2012: give a folder, an archive or a long table")
        return [Set(path, _find_outcomes(path))]
    if any(_STAY.fullmatch(child.name) for child in path.iterdir()):
        return [Set(path, _find_outcomes(path))]
    forms = [[path / f"set-{letter}{form}" for form in _FORMS] for letter in "abc"]
    found = [next((p for p in paths if p.exists()), None) for paths in forms]
    sets = [Set(part, _find_outcomes(part)) for part in found if part]
    if not sets:
        names = sorted(child.name for child in path.iterdir())
        holds = f"holds {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "is empty"
        raise InputError(
            f"{path} {holds}: a set of the Challenge 2012 is a folder of files such as 132539.txt, an archive "
            f"set-a.tar.gz or a table set-a.long.parquet; get it from {SOURCE}"
        )
    return sets


def read_set(path: Path) -> tuple[Measurements, str]:
    """Return the rows of a set and the SHA-256 (hexadecimal) of what was read.

    Raises
    ------
    InputError
        Where a file is damaged or of another data set; the sentence names file and line.
    """
    if path.is_file() and path.name.endswith(_TABLES):
        with path.open("rb") as file:
            return _read_table(path), hashlib.file_digest(file, "sha256").hexdigest()
    if path.is_dir():
        files = sorted(child for child in path.iterdir() if _STAY.fullmatch(child.name))
        return _read_texts(path.name, ((file.name, file.read_bytes()) for file in files))
    return _read_texts(path.name, _unpacked(path))


def read_outcomes(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of an outcome file as they are, -1 included.

    Raises
    ------
    InputError
        Where a column is missing, a value is no number, a record comes twice or a death is neither 0 nor 1.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read ({error}): {_AGAIN}") from None
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in OUTCOME_COLUMNS if name not in header]
    if missing:
        raise InputError(f"{path.name} lacks the column {missing[0]!r}, it holds {header}: {_AGAIN}")
    columns: dict[str, NDArray[np.float64]] = {}
    for name in OUTCOME_COLUMNS:
        place = header.index(name)
        try:
            columns[name] = np.array([float(line[place]) for line in lines[1:]])
        except (ValueError, IndexError):
            number = next(i for i, line in enumerate(lines[1:], start=2) if not _is_number(line, place))
            raise InputError(f"line {number} of {path.name} has no number as {name}: {_AGAIN}") from None
    ids, counts = np.unique(columns["RecordID"], return_counts=True)
    if (counts > 1).any():
        raise InputError(f"record {ids[counts > 1][0]:g} comes {counts.max()} times in {path.name}: {_AGAIN}")
    death = columns["In-hospital_death"]
    if not np.isin(death, (0, 1)).all():
        raise InputError(f"{path.name} has the In-hospital_death {death[~np.isin(death, (0, 1))][0]:g}: use 0 or 1")
    return columns


def _find_outcomes(path: Path) -> Path | None:
    letter = re.match(r"set-([abc])\b", path.name)
    folders = ([path] if path.is_dir() else []) + [path.parent]
    pattern = f"Outcomes-{letter[1] if letter else '[abc]'}."
    for folder in folders:
        found = sorted(child for suffix in ("txt", "csv") for child in folder.glob(pattern + suffix))
        if len({child.stem for child in found}) > 1:
            raise InputError(f"{folder} has the outcomes of several sets: name the folder of the stays set-a, -b or -c")
        if found:
            return found[-1]
    return None


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of an archive's text files, in order of their names."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if _STAY.fullmatch(name.rpartition("/")[2])]
                for name in sorted(names):
                    yield name.rpartition("/")[2], archive.read(name)
        else:
            with tarfile.open(path) as packed:
                members = [m for m in packed.getmembers() if _STAY.fullmatch(m.name.rpartition("/")[2]) and m.isfile()]
                for member in sorted(members, key=lambda m: m.name):
                    content = packed.extractfile(member)
                    assert content is not None
                    yield member.name.rpartition("/")[2], content.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is damaged or cut off ({type(error).__name__}): {_AGAIN}") from error


def _read_texts(name: str, files: Iterable[tuple[str, bytes]]) -> tuple[Measurements, str]:
    """Read text files in one go: each is checked by its first line, all are parsed together."""
    stems: list[int] = []
    bodies: list[bytes] = []
    rows: list[int] = []
    for file, content in files:
        header, _, body = content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
        if header.strip() != HEADER:
            begin = header.strip()[:40].decode(errors="replace")
            raise InputError(f"{file} in {name} begins with {begin!r}, not with {HEADER.decode()!r}: {_AGAIN}")
        stems.append(int(Path(file).stem))
        bodies.append(body.strip())
        rows.append(bodies[-1].count(b"\n") + 1 if bodies[-1] else 0)
    if not stems:
        raise InputError(f"{name} holds no file such as 132539.txt: {_AGAIN}")
    record_id, order = np.unique(stems, return_index=True)
    if len(record_id) < len(stems):
        raise InputError(f"{name} holds two files of one record: {_AGAIN}")
    joined = b"\n".join(body for body in bodies if body) + b"\n"
    position = np.argsort(order)
    record = np.repeat(position, rows)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(joined),
            read_options=pacsv.ReadOptions(column_names=["time", "parameter", "value"]),
            parse_options=pacsv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types={
                    "time": pa.dictionary(pa.int32(), pa.string()),
                    "parameter": pa.dictionary(pa.int32(), pa.string()),
                    "value": pa.float64(),
                },
                null_values=[""],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _explain(stems, bodies, error)
    time, parameter = (column.unify_dictionaries().combine_chunks() for column in table.columns[:2])
    minutes = [_minutes(text) for text in time.dictionary.to_pylist()]
    if None in minutes:
        _explain(stems, bodies, None)
    found = Measurements(
        record_id,
        record,
        np.array(minutes, np.int64)[time.indices.to_numpy()],
        parameter.indices.to_numpy().astype(np.int64),
        table["value"].to_numpy(),
        tuple(parameter.dictionary.to_pylist()),
    )
    return _without_record_ids(found), hashlib.sha256(joined).hexdigest()


def _without_record_ids(rows: Measurements) -> Measurements:
    """Drop the line of each file that repeats its number, after comparing the two."""
    if "RecordID" not in rows.parameters:
        return rows
    here = rows.parameter == rows.parameters.index("RecordID")
    said, is_in = rows.value[here], rows.record_id[rows.record[here]]
    if (said != is_in).any():
        wrong = np.flatnonzero(said != is_in)[0]
        raise InputError(f"{is_in[wrong]}.txt says that it is record {said[wrong]:g}: {_AGAIN}")
    kept = {name: getattr(rows, name)[~here] for name in ("record", "minutes", "parameter", "value")}
    return rows._replace(**kept)


def _explain(stems: list[int], bodies: list[bytes], error: Exception | None) -> NoReturn:
    """Raise an error that names the first line that cannot be read."""
    for stem, body in zip(stems, bodies, strict=True):
        for number, line in enumerate(body.decode(errors="replace").split("\n"), start=2):
            where, fields = f"line {number} of {stem}.txt", line.rstrip("\r").split(",")
            if len(fields) != 3:
                raise InputError(f"{where} is {line.strip()[:40]!r}, not Time,Parameter,Value: {_AGAIN}") from error
            if _minutes(fields[0]) is None:
                raise InputError(f"{where} has the time {fields[0]!r}: times go from 00:00 to 48:00") from error
            if fields[2] and not _is_number(fields, 2):
                raise InputError(f"{where} has the {fields[1]} {fields[2]!r}, which is no number: {_AGAIN}") from error
    raise InputError(f"the text files cannot be read ({error}): {_AGAIN}") from error


def _minutes(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    minutes = int(match[1]) * 60 + int(match[2]) if match else LAST_MINUTE + 1
    return minutes if minutes <= LAST_MINUTE else None


def _is_number(fields: list[str], place: int) -> bool:
    try:
        float(fields[place])
    except (ValueError, IndexError):
        return False
    return True


def _read_table(path: Path) -> Measurements:
    try:
        if path.suffix == ".parquet":
            held = pq.read_schema(path).names
            table = pq.read_table(path, columns=[name for name in LONG_COLUMNS if name in held])
        else:
            options = pacsv.ConvertOptions(column_types=LONG_COLUMNS, null_values=[""])
            table = pacsv.read_csv(path, convert_options=options)
            held = table.column_names
        missing = [name for name in LONG_COLUMNS if name not in held]
        if missing:
            raise InputError(f"{path.name} lacks the column {missing[0]!r}, it holds {held}: {_AGAIN}")
        columns = {name: table[name].cast(kind) for name, kind in LONG_COLUMNS.items()}
    except (pa.ArrowException, OSError, EOFError) as error:
        raise InputError(f"{path.name} cannot be read ({' '.join(str(error).split())[:200]}): {_AGAIN}") from error
    empty = [name for name in ("RecordID", "Minutes") if columns[name].null_count]
    if empty:
        raise InputError(f"{path.name} has a row without {empty[0]}: {_AGAIN}")
    minutes = columns["Minutes"].to_numpy()
    if ((minutes < 0) | (minutes > LAST_MINUTE)).any():
        wrong = minutes[(minutes < 0) | (minutes > LAST_MINUTE)][0]
        raise InputError(f"{path.name} has the time {wrong} minutes: times go from 0 to {LAST_MINUTE}")
    record_id, record = np.unique(columns["RecordID"].to_numpy(), return_inverse=True)
    parameter = columns["Parameter"].fill_null("").combine_chunks().dictionary_encode()
    return Measurements(
        record_id,
        record,
        minutes,
        parameter.indices.to_numpy().astype(np.int64),
        columns["Value"].to_numpy(),
        tuple(parameter.dictionary.to_pylist()),
    )
