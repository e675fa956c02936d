"""A folder of raw tables (CSV, CSV.gz or parquet) as relations of DuckDB, out of core and with declared types.

Tables are found whatever the case of their names; columns are chosen by name, whatever their case and order.
Types are declared, never guessed from a sample, so that a text in a column of numbers is an error with its line.
Nothing is downloaded, and nothing is written but DuckDB's temporary files, which go when the tree is closed.
"""

import csv
import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from auscult.core.data.conversions import literal
from auscult.core.data.csv_blocks import CsvBlocks
from auscult.core.errors import AuscultError, InputError, MissingDependencyError, missing_dependency

# In order of preference: the fastest form first.
SUFFIXES = (".parquet", ".csv", ".csv.gz")
_ARROW = {
    "BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
}  # fmt: skip
# Where DuckDB believes that somebody is typing, it writes a progress bar to stdout.
_SILENT = "SET enable_progress_bar = false"
# What a folder of each data set holds, to tell a user who named the wrong one: its name here and its tables.
SIGNATURES = {
    "MIMIC-IV": ("mimic4", ("hosp/patients", "icu/icustays")),
    "MIMIC-III": ("mimic3", ("patients", "icustays", "chartevents")),
    "eICU": ("eicu", ("patient", "vitalperiodic")),
    "CDSL": ("cdsl", ("19_04_2021/covid_dsl_01",)),
}


@dataclass(frozen=True)
class Table:
    """A table of a data set: where it stands and what a reader needs of it.

    Parameters
    ----------
    name
        Its path within the folder, in lower case and without suffix: ``"hosp/labevents"``. The view of it goes
        by the last part.
    columns
        Column, in lower case -> SQL type. All must be there.
    optional
        The same for columns that some releases lack; they are NULL there.
    """

    name: str
    columns: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)

    @property
    def view(self) -> str:
        """The name that SQL knows the table by."""
        return self.name.rpartition("/")[2]


class Tree:
    """The folder of a data set, open for SQL; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    folder
        Where the tables are.
    data_set, source
        What the messages call the data and where they say to get them: a name and an address.
    memory
        How much memory DuckDB may take before it writes to temporary files: ``"2GB"``.
    threads
        Of DuckDB; all cores by default. No result depends on it.

    Raises
    ------
    InputError
        Where the folder is none or is empty, or ``memory`` or ``threads`` cannot be used.
    MissingDependencyError
        Where DuckDB is not installed, or only an older one.
    """

    def __init__(
        self, folder: Path | None, *, data_set: str, source: str, memory: str = "2GB", threads: int | None = None
    ) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise missing_dependency(
                "duckdb", purpose=f"reading the tables of {data_set}", install="auscult-core[data]"
            ) from error
        if int(duckdb.__version__.partition(".")[0]) < 2:
            raise MissingDependencyError(
                f"reading the tables of {data_set} needs duckdb 2, and {duckdb.__version__}, which is installed, takes "
                "a cut-off .csv.gz for a whole one: pip install -U 'auscult-core[data]'"
            )
        if folder is None:
            raise InputError(f"{data_set} does not come with this library: name its folder, from {source}")
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise InputError(f"{str(folder)!r} {what}: name the folder of {data_set}, from {source}")
        if not any(folder.iterdir()):
            raise InputError(f"the folder {str(folder)!r} is empty: put the tables of {data_set} there, from {source}")
        self.folder, self.data_set, self.source, self.memory = folder, data_set, source, memory
        self.threads = threads or os.cpu_count() or 1
        self._files: dict[str, tuple[Path, str, list[str], dict[str, str]]] = {}
        self.notes: list[str] = []
        self._errors: Any = duckdb
        self._scratch = tempfile.TemporaryDirectory(prefix="auscult-")
        settings: dict[str, Any] = {
            "memory_limit": memory,
            "temp_directory": self._scratch.name,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        } | ({} if threads is None else {"threads": threads})
        try:
            self._connection = duckdb.connect(config=settings)
            self._connection.execute(_SILENT)
        except duckdb.Error as error:
            self._scratch.cleanup()
            raise InputError(
                f"memory={memory!r} and threads={threads!r} do not suit DuckDB ({_first_line(error)}): "
                "give something like memory='2GB', threads=2"
            ) from None

    def __enter__(self) -> "Tree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and remove DuckDB's temporary files."""
        self._connection.close()
        self._scratch.cleanup()

    def find(self, name: str) -> Path | None:
        """Return the file of a table, None if there is none; ``name`` as in :class:`Table`."""
        place, *rest = self.folder, *name.split("/")
        for i, part in enumerate(rest):
            wanted = [part + suffix for suffix in SUFFIXES] if i == len(rest) - 1 else [part]
            found = {child.name.lower(): child for child in sorted(place.iterdir())} if place.is_dir() else {}
            hits = [found[option] for option in wanted if option in found]
            if not hits:
                return None
            place = hits[0]
            if len(hits) > 1:
                note = f"{name} is there as {' and '.join(hit.name for hit in hits)}: {place.name} was read"
                self.notes += [note] if note not in self.notes else []
        return place

    def open(self, table: Table) -> str:
        """Create the view of a table, with the declared columns and types alone, and return its name.

        Raises
        ------
        InputError
            Where the table or a column is missing, named with what was found instead, or the file is damaged.
        """
        path = self.find(table.name)
        if path is None:
            raise InputError(
                f"{self.data_set} needs the table {table.name} ({', '.join(SUFFIXES)}), and {str(self.folder)!r} "
                f"holds {self._contents()}{self._hint()}: get it from {self.source}"
            )
        header = self._header(path)
        names = {name.strip().lower(): name for name in header}
        if len(names) < len(header):
            raise InputError(f"{path.name} has two columns of one name: get the file again from {self.source}")
        missing = [column for column in table.columns if column not in names]
        if missing:
            raise InputError(
                f"{path.name} lacks the column {missing[0]!r} that {self.data_set} has; it holds "
                f"{_some(header)}: get the file again from {self.source}"
            )
        types = {**table.columns, **table.optional}
        if path.suffix == ".parquet":
            relation = f"read_parquet({_exact(path)})"
        else:
            declared = ", ".join(f"{literal(name)}: '{types.get(name.strip().lower(), 'VARCHAR')}'" for name in header)
            # Every setting is given: a dialect guessed from a sample can be wrong for the rows after it.
            relation = (
                f"read_csv({_exact(path)}, auto_detect = false, header = true, delim = ',', quote = '\"', "
                f"escape = '\"', columns = {{{declared}}})"
            )
        self._files[table.view] = path, relation, header, types
        self._show(table.view, relation)
        return table.view

    def _show(self, view: str, relation: str, types: Mapping[str, str] | None = None) -> None:
        """Create the view of a table over what holds its columns, or some of them; those that it lacks are NULL."""
        *_, header, all_types = self._files[view]
        types = all_types if types is None else types
        names = {name.strip().lower(): name for name in header}
        chosen = [
            f"{_quoted(names[column])}::{kind} AS {column}" if column in names else f"NULL::{kind} AS {column}"
            for column, kind in types.items()
        ]
        self.run(f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT {', '.join(chosen)} FROM {relation}")

    def consume(self, sql: str, view: str, only: tuple[str, Sequence[Any]] | None = None) -> int:
        """Execute a statement that reads the view of a table once, and return how many rows the table has.

        Parameters
        ----------
        sql
            The statement; it names every column that it needs.
        view
            As ``open`` returned it.
        only
            A column, and the values of it that the statement needs; rows with others may be kept from it.
        """
        if view in self._files and self._files[view][0].suffix != ".parquet":
            path, relation, header, types = self._files[view]
            held = {name.strip().lower(): name for name in header}
            named = set(re.findall(r"\w+", sql.lower())) | ({only[0]} if only else set())
            types = {column: kind for column, kind in types.items() if column in named} or types
            columns = {held[column]: _ARROW[kind] for column, kind in types.items() if column in held}
            wanted = None if only is None else (held[only[0]], only[1])
            blocks = CsvBlocks(path, header, columns, wanted, threads=self.threads)
            try:
                self._connection.register("csv_blocks", blocks.reader())
                self._show(view, "csv_blocks", types)
                # Nobody knows how many rows will come, so a join is not turned round to keep them all in memory.
                self._connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
                self._connection.execute(sql)
                return blocks.rows
            except self._errors.Error as error:
                if blocks.error is None:
                    raise self._explained(error) from error
            finally:
                self._connection.execute("RESET disabled_optimizers")
                self._show(view, relation)
                self._connection.unregister("csv_blocks")
        # DuckDB reads what that one refuses, or says what is wrong with it.
        self.run(sql)
        return self.count(view)

    def run(self, sql: str) -> None:
        """Execute a statement."""
        try:
            self._connection.execute(sql)
        except self._errors.Error as error:
            raise self._explained(error) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a small result as tuples."""
        try:
            result: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        except self._errors.Error as error:
            raise self._explained(error) from error
        return result

    def count(self, relation: str) -> int:
        """Return the number of rows of a table or view."""
        return int(self.rows(f"SELECT count(*) FROM {relation}")[0][0])

    def batches(self, sql: str) -> pa.RecordBatchReader:
        """Return a result as Arrow batches. Let it read temporary tables alone: errors of files come in ``run``."""
        return pa.RecordBatchReader.from_stream(self._connection.sql(sql))

    def _header(self, path: Path) -> list[str]:
        again = f"get the file again from {self.source}"
        try:
            if path.suffix == ".parquet":
                return list(pq.read_schema(path).names)
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
                text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
                return next(csv.reader(text))
        except StopIteration:
            raise InputError(f"{path.name} is empty: {again}") from None
        except (EOFError, zlib.error):
            raise InputError(f"{path.name} is cut off or damaged: {again}") from None
        except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            raise InputError(f"{path.name} cannot be read ({_first_line(error)}): {again}") from None

    def _contents(self) -> str:
        """Name what the folder holds, one level deep."""
        names = []
        for child in sorted(self.folder.iterdir()):
            inside = sorted(grandchild.name for grandchild in child.iterdir()) if child.is_dir() else []
            names += [f"{child.name}/{name}" for name in inside] or [child.name]
        return _some(names)

    def _hint(self) -> str:
        """Say which other data set the folder looks like."""
        known = [(name, spec) for name, (spec, tables) in SIGNATURES.items() if all(map(self.find, tables))]
        return f" (this looks like {known[0][1]}:)" if known and known[0][0] != self.data_set else ""

    def _explained(self, error: Exception) -> Exception:
        """Turn what DuckDB says of a file into one sentence; a fault of our own SQL stays as it is."""
        text, again = str(error), f"get the file again from {self.source}"
        if isinstance(error, self._errors.OutOfMemoryException):
            return AuscultError(
                f"{self.data_set} did not fit into memory={self.memory!r} and the space for temporary files: "
                "give more memory, or set TMPDIR to a larger disk"
            )
        if not isinstance(
            error, self._errors.ConversionException | self._errors.InvalidInputException | self._errors.IOException
        ):
            return error
        named = re.search(r"^\s*file = (.+)$", text, re.MULTILINE) or re.search(r"stream: (.+)$", text, re.MULTILINE)
        place = Path(named[1].strip()).name if named else f"a table of {self.data_set}"
        if line := re.search(r"CSV Error on Line: (\d+)", text):
            place += f", line {line[1]},"
        if "GZIP" in text:
            return InputError(f"{place} is cut off or damaged: {again}")
        if wrong := re.search(r"""Could not convert string ["'](.*)["'] to '?(\w+)""", text):
            column = re.search(r'(?:converting column|source column) "?(\w+)', text)
            where = f" in column {column[1]!r}" if column else ""
            return InputError(f"{place} holds {wrong[1]!r}{where}, which is no {_kind(wrong[2])}: {again}")
        if fields := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
            return InputError(f"{place} has {fields[2]} fields, and the header names {fields[1]}: {again}")
        if "unicode" in text:
            return InputError(f"{place} is not UTF-8: {again}")
        if "unterminated quote" in text:
            return InputError(f"{place} opens a quote that is never closed: {again}")
        return InputError(f"{place} cannot be read ({_first_line(error)}): {again}")


def _kind(sql_type: str) -> str:
    if sql_type.startswith(("TIME", "DATE")):
        return "time"
    return "whole number" if "INT" in sql_type else "number"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "nothing"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _exact(path: Path) -> str:
    """Return the path as a text of SQL that DuckDB does not take for a pattern."""
    return literal("".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path)))
