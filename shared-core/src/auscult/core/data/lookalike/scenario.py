"""What the writers of look-alike folders share: rows, the truth about them, files."""

import csv
import dataclasses
import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically

Form = Literal["csv.gz", "csv", "parquet"]
# What a column holds: whole numbers, numbers, times or text.
Kind = Literal["int", "float", "time", "text"]
_ARROW = {"int": pa.int64(), "float": pa.float64(), "time": pa.timestamp("us"), "text": pa.string()}


@dataclass(frozen=True)
class Truth:
    """What a reader with its default options must make of a look-alike folder.

    Parameters
    ----------
    stays
        Stay -> what is known of it: ``subject``, ``sex``, ``age``, and its labels; None for NaN.
    cells
        Stay, hours, feature, value: every cell, of the panel that the reader takes by default.
    attrition
        Step -> how many rows or stays it drops or adds; steps that change nothing may be left out.
    seed
        Stay -> labels and age with ``preset="seed"``, where they differ.
    seed_cells
        Stay, hours, feature, value (or the text of a state; None where there is no value) with ``preset="seed"``:
        the ones that show its habits.
    """

    stays: dict[int, dict[str, Any]]
    cells: list[tuple[int, float, str, float]]
    attrition: dict[str, int]
    seed: dict[int, dict[str, Any]]
    seed_cells: list[tuple[int, float, str, float | str | None]]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the ``truth.json`` of a folder."""
        saved = json.loads((Path(folder) / "truth.json").read_text("utf-8"))
        stays, seed = ({int(stay): about for stay, about in saved[name].items()} for name in ("stays", "seed"))
        cells, seed_cells = ([tuple(cell) for cell in saved[name]] for name in ("cells", "seed_cells"))
        return cls(stays, cells, saved["attrition"], seed, seed_cells)


@dataclass
class Stay:
    """A stay in the making."""

    stay: int
    subject: int
    hadm: int
    start: datetime
    hours: float

    @property
    def end(self) -> datetime:
        """When it ends."""
        return self.start + timedelta(hours=self.hours)


@dataclass
class Scenario:
    """Rows of tables, and what becomes of them.

    Parameters
    ----------
    columns
        Table (a path without suffix) -> column, in lower case -> what it holds.
    """

    columns: Mapping[str, Mapping[str, Kind]]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stays: dict[int, dict[str, Any]] = field(default_factory=dict)
    seed: dict[int, dict[str, Any]] = field(default_factory=dict)
    seed_cells: list[tuple[int, float, str, float | str | None]] = field(default_factory=list)
    _values: dict[tuple[int, float, str], list[float]] = field(default_factory=dict)
    _settled: dict[tuple[int, float, str], float] = field(default_factory=dict)
    _changed: Counter[str] = field(default_factory=Counter)

    def add(self, table: str, **values: Any) -> None:
        """Add a row; columns that are not named stay empty, but for the row's number."""
        unknown = set(values) - set(self.columns[table])
        if unknown:
            raise InputError(f"the look-alike of {table} has no column {sorted(unknown)[0]!r}: name one that it has")
        rows = self.rows.setdefault(table, [])
        number = {name: len(rows) + 1 for name in ("row_id", "labevent_id") if name in self.columns[table]}
        rows.append(number | values)

    def lose(self, step: str, count: int = 1) -> None:
        """Say that a step of the reader drops so many rows or stays."""
        self._changed[step] += count

    def keep(self, stay: int, minutes: float, feature: str, value: float) -> None:
        """Say that a row's value reaches the cohort; values of one time are averaged unless it is settled."""
        self._values.setdefault((stay, minutes / 60, feature), []).append(value)

    def settle(self, stay: int, minutes: float, feature: str, value: float, *, summed: bool = False) -> None:
        """Say what the cell is: one of several values, or a sum of other cells."""
        self._settled[stay, minutes / 60, feature] = value
        if summed:
            self._changed["sum scores"] += 1

    def truth(self) -> Truth:
        """Return all that was said."""
        cells = {key: sum(values) / len(values) for key, values in self._values.items()} | self._settled
        rows = sum(map(len, self._values.values()))
        changed = {**self._changed, "merge values of one time": rows - len(self._values)}
        in_order = sorted((*key, value) for key, value in cells.items())
        return Truth(dict(sorted(self.stays.items())), in_order, changed, self.seed, self.seed_cells)

    def write(self, folder: Path, form: Form, *, upper: bool = False) -> Truth:
        """Write the tables and ``truth.json``; ``upper``: names of files and columns in capitals."""
        if form not in ("csv.gz", "csv", "parquet"):
            raise InputError(f"form is {form!r}: use 'csv.gz', 'csv' or 'parquet'")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{str(folder)!r} is there already: name a folder that is new or empty")
        truth = self.truth()
        for table, columns in self.columns.items():
            rows = self.rows.get(table, [])
            names = {column: column.upper() if upper else column for column in columns}
            *place, name = table.split("/")
            path = folder.joinpath(*place, f"{name.upper() if upper and not place else name}.{form}")
            replace_atomically(path, _writer(names, columns, rows, form))
        text = json.dumps(dataclasses.asdict(truth), indent=1, ensure_ascii=False)
        replace_atomically(folder / "truth.json", lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
        return truth


def _writer(names: Mapping[str, str], columns: Mapping[str, Kind], rows: Sequence[dict[str, Any]], form: Form) -> Any:
    """Return the function that writes a table to a path; the same rows give the same bytes."""
    if form == "parquet":
        arrays = [pa.array([row.get(column) for row in rows], _ARROW[kind]) for column, kind in columns.items()]
        table = pa.Table.from_arrays(arrays, names=list(names.values()))
        return lambda partial: pq.write_table(table, partial)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names.values())
    writer.writerows([[_shown(row.get(column)) for column in columns] for row in rows])
    content = text.getvalue().encode()
    packed = gzip.compress(content, mtime=0) if form == "csv.gz" else content
    return lambda partial: partial.write_bytes(packed)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
