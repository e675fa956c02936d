"""A user's table as it is: a CSV file, a parquet file or a frame, its columns not yet understood."""

import csv
import difflib
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core.errors import InputError

# What stands for an empty cell.
EMPTY = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
SUFFIXES = (".csv", ".csv.gz", ".parquet")


class Sheet(NamedTuple):
    """A table, what to call it in a sentence, how to name its row 0, and the digest of its file, if it has one."""

    table: pa.Table
    name: str
    line: str
    first: int
    digest: str | None = None

    def where(self, row: Any) -> str:
        """Return a row's place for a sentence."""
        return f"{self.line} {int(row) + self.first} of {self.name}"

    def find(self, roles: Mapping[str, str], role: str, *, otherwise: tuple[str, ...] = ()) -> str | None:
        """Return the column of a role: the one that was named, or the first of some usual names that is there.

        Raises
        ------
        InputError
            Where a named column is not there.
        """
        held = self.table.column_names
        named = roles.get(role)
        if named is not None and named not in held:
            near = difflib.get_close_matches(named, held, n=1)
            hint = f"did you mean {near[0]!r}? It" if near else "it"
            raise InputError(f"{self.name} has no column {named!r} for {role}; {hint} holds {_some(held)}")
        return named or next((name for name in otherwise if name in held), None)

    def need(self, roles: Mapping[str, str], role: str, *, otherwise: tuple[str, ...]) -> str:
        """Return the column of a role, or say that it is missing."""
        found = self.find(roles, role, otherwise=otherwise)
        if found is None:
            held = _some(self.table.column_names)
            raise InputError(f"{self.name} has no column {otherwise[0]!r}, it holds {held}: name it as {role}=COLUMN")
        return found

    def texts(self, column: str, *, also: tuple[str, ...] = ()) -> tuple[NDArray[np.int64], list[str]]:
        """Return for each row which of some texts it holds, -1 where it holds none, and the texts, stripped.

        What stands for an empty cell is none, unless ``also`` lists it.
        """
        cells = self.table[column]
        try:
            if not pa.types.is_dictionary(cells.type):
                cells = cells.cast(pa.string()).dictionary_encode()
            cells = cells.unify_dictionaries().combine_chunks()
            held = [text.strip() for text in cells.dictionary.cast(pa.string()).to_pylist()]
        except pa.ArrowException:
            raise InputError(f"column {column!r} of {self.name} holds {cells.type}: give numbers or text") from None
        unique = sorted({text for text in held if text in also or text not in EMPTY})
        place = {text: i for i, text in enumerate(unique)}
        codes = np.array([place.get(text, -1) for text in held] + [-1], np.int64)
        return codes[cells.indices.fill_null(-1).to_numpy(zero_copy_only=False)], unique


def read_sheet(path: Path) -> Sheet:
    """Read a table from a file; the cells of a CSV file stay text.

    Raises
    ------
    InputError
        Where the file does not exist, is of another kind, is cut off or has no row.
    """
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}: give a table, a file of one of {', '.join(SUFFIXES)}")
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path.name} is no table that can be read: give a file of one of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            sheet = Sheet(pq.ParquetFile(path).read(), path.name, "row", 1)
        else:
            sheet = Sheet(_read_csv(path), path.name, "line", 2)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path.name} cannot be read ({reason}): is it complete, and UTF-8?") from error
    return _checked(sheet._replace(digest=digest))


def as_sheet(frame: Any, name: str) -> Sheet:
    """Return a frame (pandas, Polars, Arrow) as a table.

    Raises
    ------
    InputError
        Where it is no frame, a column mixes types, or there is no row.
    """
    try:
        if hasattr(frame, "to_numpy") and hasattr(frame, "reset_index"):
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{name} cannot be read as a table of columns of one type each ({reason})") from error
    return _checked(Sheet(table, name, "row", 0))


def _checked(sheet: Sheet) -> Sheet:
    held = sheet.table.column_names
    twice = [name for name in held if held.count(name) > 1]
    if twice:
        raise InputError(f"{sheet.name} has two columns {twice[0]!r}: rename one")
    if not sheet.table.num_rows:
        raise InputError(f"{sheet.name} has no row")
    return sheet


def _read_csv(path: Path) -> pa.Table:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.readline().decode("utf-8-sig")
    delimiter = max(",;\t", key=head.count)
    header = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    return pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(column_names=header, skip_rows=1),
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    )


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
