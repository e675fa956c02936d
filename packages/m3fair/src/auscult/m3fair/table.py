"""The count table: how often each combination of values occurs, and with what total weight.

It is the only statistic that reweighting and the confusion metrics need. Tables form a commutative
monoid: the table of two files is the sum of their tables, whatever the chunks and their order. Counts
add exactly; sums of weights add to rounding.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.m3fair.coding import (
    DENSE,
    CodedColumns,
    as_floats,
    as_frame,
    code_columns,
    free_names,
    get_column,
    joint_codes,
    sort_values,
)
from auscult.m3fair.distinct import clean_value
from auscult.m3fair.engine import LARGEST_WEIGHT, count_lazily

_STATISTICS = ("count", "weight", "weight_squared")
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class CountTable:
    """Counts and weight sums of the combinations of values that occur in some columns.

    The arrays are in canonical order (values as in :func:`~auscult.m3fair.coding.sort_values`, cells
    lexicographic, nothing that does not occur), so equal data give equal tables.

    Parameters
    ----------
    columns
        Names of the K columns.
    values
        Per column, its distinct values; missing is ``None``.
    codes
        (cells, K) positions in ``values``.
    count
        (cells,) number of rows.
    weight, weight_squared
        (cells,) sum of the rows' prior weights v, and of their squares; equal to ``count`` without weights.

    Examples
    --------
    >>> table = CountTable.count_rows({"sex": ["F", "M", "M"], "died": [0, 0, 1]}, ["sex", "died"])
    >>> table + table == CountTable.count_rows({"sex": ["M", "F", "M"] * 2, "died": [1, 0, 0] * 2}, ["sex", "died"])
    True
    """

    columns: tuple[str, ...]
    values: tuple[tuple[Hashable, ...], ...]
    codes: npt.NDArray[np.intp]
    count: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    weight_squared: npt.NDArray[np.float64]

    @classmethod
    def count_rows(cls, data: Any, by: Sequence[str], *, weight: str | npt.ArrayLike | None = None) -> "CountTable":
        """Count the rows of a frame.

        Parameters
        ----------
        data
            A frame that narwhals reads (pandas, polars eager or lazy, pyarrow, DuckDB relation, Dask, ...), a
            pyarrow RecordBatch, or a mapping from name to array (n,). A lazy frame is counted by its own engine.
        by
            The columns whose combinations are counted.
        weight
            The column, or an array (n,), of prior weights: finite and not negative.

        Raises
        ------
        InputError
            For absent columns, arrays of different lengths, and negative, missing or infinite weights.
        """
        if not by or len(set(by)) != len(by):
            raise InputError(f"the columns to count by are {list(by)}: name at least one, and each once")
        if not isinstance(data, Mapping):
            frame = as_frame(data)
            if isinstance(frame, nw.LazyFrame):
                if weight is not None and not isinstance(weight, str):
                    raise InputError("a lazy frame takes its weights from one of its columns: name it")
                coded, count, sums = count_lazily(frame, by, weight)
                cells = np.column_stack([np.asarray(codes, dtype=np.intp) for codes in coded.codes])
                return _canonical(tuple(by), coded.values, cells, count, *sums)
        weights = None
        if weight is not None:
            weights = check_weights(get_column(data, weight) if isinstance(weight, str) else weight)
        return cls.count_codes(code_columns(data, by), weights)

    @classmethod
    def count_codes(cls, coded: CodedColumns, weight: npt.NDArray[np.float64] | None = None) -> "CountTable":
        """Count rows that are coded already; ``weight`` (n,) has been checked."""
        if weight is not None and len(weight) != len(coded):
            raise InputError(f"there are {len(weight)} weights for {len(coded)} rows: give one weight a row")
        if prod(coded.sizes) > DENSE:
            row, cells = joint_codes(coded.codes, coded.sizes)
            count = np.bincount(row, minlength=len(cells))
            sums = [count.astype(float)] * 2
            if weight is not None:
                sums = [np.bincount(row, weight**power, minlength=len(cells)) for power in (1, 2)]
            return _canonical(coded.names, coded.values, cells, count, *sums)
        size = prod(coded.sizes)
        count = np.zeros(size, dtype=np.int64)
        sums = [np.zeros(size), np.zeros(size)]
        for rows, keys in coded.row_keys():
            count += np.bincount(keys, minlength=size)
            if weight is not None:
                for total, power in zip(sums, (1, 2), strict=True):
                    total += np.bincount(keys, weight[rows] ** power, minlength=size)
        if weight is None:
            sums = [count.astype(float)] * 2
        there = np.flatnonzero(count)
        cells = np.column_stack(np.unravel_index(there, coded.sizes)).astype(np.intp)
        return _canonical(coded.names, coded.values, cells, count[there], *(total[there] for total in sums))

    @classmethod
    def empty(cls, columns: Sequence[str]) -> "CountTable":
        """Return the table of no rows, the neutral element of ``+``."""
        zero = np.zeros(0)
        return cls(
            tuple(columns), tuple(() for _ in columns), np.zeros((0, len(columns)), dtype=np.intp),
            zero.astype(np.int64), zero, zero,
        )  # fmt: skip

    @classmethod
    def sum(cls, tables: Iterable["CountTable"]) -> "CountTable":
        """Return the sum of at least one table."""
        return reduce(CountTable.__add__, tables)

    def __add__(self, other: "CountTable") -> "CountTable":
        if not isinstance(other, CountTable):
            return NotImplemented
        if self.columns != other.columns:
            raise InputError(
                f"tables over {list(self.columns)} and {list(other.columns)} cannot be added: "
                "count the same columns in the same order"
            )
        values = tuple(
            tuple(sort_values(list(dict.fromkeys((*mine, *theirs)))))
            for mine, theirs in zip(self.values, other.values, strict=True)
        )
        cells = np.concatenate([_recode(table, values) for table in (self, other)])
        return _canonical(
            self.columns, values, cells,
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _STATISTICS),
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CountTable):
            return NotImplemented
        return (
            self.columns == other.columns
            and self.values == other.values
            and np.array_equal(self.codes, other.codes)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _STATISTICS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.count)

    @property
    def n(self) -> int:
        """The number of rows counted."""
        return int(self.count.sum())

    @property
    def total_weight(self) -> float:
        """The sum of the prior weights of all rows."""
        return float(self.weight.sum())

    def marginal(self, columns: Sequence[str]) -> "CountTable":
        """Return the table of some of the columns, in the order asked for.

        Raises
        ------
        InputError
            For a column that the table does not have.
        """
        absent = [name for name in columns if name not in self.columns]
        if absent:
            raise InputError(f"the table has no column {absent[0]!r}; it has {', '.join(map(repr, self.columns))}")
        positions = [self.columns.index(name) for name in columns]
        return _canonical(
            tuple(columns), tuple(self.values[i] for i in positions), self.codes[:, positions],
            self.count, self.weight, self.weight_squared,
        )  # fmt: skip

    def keep(self, cells: npt.NDArray[np.bool_]) -> "CountTable":
        """Return the table of some of the cells (a mask)."""
        return _canonical(
            self.columns, self.values, self.codes[cells], self.count[cells], self.weight[cells],
            self.weight_squared[cells],
        )  # fmt: skip

    def map_values(self, columns: Mapping[str, Mapping[Hashable, Hashable]]) -> "CountTable":
        """Return the table after replacing values, column by column; equal results are pooled."""
        codes = self.codes.copy()
        values = list(self.values)
        for name, mapping in columns.items():
            k = self.columns.index(name)
            new = [mapping.get(value, value) for value in self.values[k]]
            values[k] = tuple(sort_values(list(dict.fromkeys(new))))
            position = {value: i for i, value in enumerate(values[k])}
            codes[:, k] = np.array([position[value] for value in new], dtype=np.intp)[codes[:, k]]
        return _canonical(self.columns, tuple(values), codes, self.count, self.weight, self.weight_squared)

    def to_frame(self) -> Any:
        """Return a pandas frame: a row a cell, the columns' values, then count, weight, weight_squared.

        Those three get an underscore where a column has their name.
        """
        import pandas as pd

        decoded = [
            pd.Series([self.values[k][code] for code in self.codes[:, k]], dtype=object)
            for k in range(len(self.columns))
        ]
        statistics = [pd.Series(getattr(self, name)) for name in _STATISTICS]
        frame = pd.concat([*decoded, *statistics], axis=1)
        frame.columns = pd.Index([*self.columns, *free_names(_STATISTICS, self.columns)])
        return frame

    @classmethod
    def from_frame(cls, frame: Any) -> "CountTable":
        """Read back :meth:`to_frame`: its last columns are count, weight and weight_squared."""
        native = as_frame(frame, eager_only=True)
        names = list(native.columns)
        _check_names(names, "the frame")
        columns = [native.get_column(name).to_list() for name in names[:-3]]
        return cls._from_columns(names[:-3], columns, [native.get_column(name).to_numpy() for name in names[-3:]])

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the table as JSON text; with a path, also write it there."""
        cells = [
            [*(self.values[k][code] for k, code in enumerate(row)), int(count), float(weight), float(squared)]
            for row, count, weight, squared in zip(
                self.codes, self.count, self.weight, self.weight_squared, strict=True
            )
        ]
        text = json.dumps(
            {
                "schema": _SCHEMA,
                "columns": list(self.columns),
                "statistics": list(_STATISTICS),
                "cells": cells,
            },
            ensure_ascii=False,
        )
        if path is not None:
            replace_atomically(Path(path), lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> "CountTable":
        """Read :meth:`to_json` text, or the file at a :class:`~pathlib.Path`."""
        try:
            content = json.loads(source.read_text(encoding="utf-8") if isinstance(source, Path) else source)
            columns, cells = list(map(str, content["columns"])), content["cells"]
            width = len(columns) + len(_STATISTICS)
            if content["schema"] != _SCHEMA or any(len(cell) != width for cell in cells):
                raise ValueError("another schema")
            statistics = np.array([cell[len(columns) :] for cell in cells], dtype=float).reshape(-1, 3).T
            listed = [[cell[k] for cell in cells] for k in range(len(columns))]
            return cls._from_columns(columns, listed, list(statistics))
        except (ValueError, KeyError, TypeError) as error:
            place = f"{source}" if isinstance(source, Path) else "the text"
            raise InputError(f"{place} is not a count table of m3fair ({error}): write one with --table") from None

    def to_parquet(self, path: str | Path) -> None:
        """Write the table as JSON's columns in a parquet file (values as JSON text, so that any type fits)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = [
            pa.array(
                [json.dumps(self.values[k][code], ensure_ascii=False) for code in self.codes[:, k]],
                pa.string(),
            )
            for k in range(len(self.columns))
        ]
        arrays += [pa.array(getattr(self, name)) for name in _STATISTICS]
        names = [*self.columns, *free_names(_STATISTICS, self.columns)]
        content = pa.Table.from_arrays(arrays, names=names)
        replace_atomically(Path(path), lambda partial: pq.write_table(content, partial))

    @classmethod
    def from_parquet(cls, path: str | Path) -> "CountTable":
        """Read :meth:`to_parquet`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            content = pq.read_table(path)
            names = content.column_names
            _check_names(names, str(path))
            keys = [[json.loads(value) for value in content.column(k).to_pylist()] for k in range(len(names) - 3)]
            return cls._from_columns(names[:-3], keys, [content.column(k).to_numpy() for k in (-3, -2, -1)])
        except (pa.ArrowException, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is not a count table of m3fair ({reason}): write one with --table") from None

    @classmethod
    def _from_columns(
        cls, names: Sequence[str], columns: Sequence[Sequence[Any]], statistics: Sequence[npt.NDArray[Any]]
    ) -> "CountTable":
        """Return the table of cells listed column by column, checked: it may come from anywhere."""
        if len(set(names)) < len(names):
            raise InputError(f"the columns {list(names)} name one twice")
        count, weight, squared = (np.asarray(part, dtype=np.float64) for part in statistics)
        if not (np.isfinite([count, weight, squared]).all() and (count >= 1).all() and (count % 1 == 0).all()):
            raise InputError("a cell's counts are not whole numbers from 1 up, or its weights not finite")
        if not ((weight >= 0).all() and (squared >= 0).all()):
            raise InputError("a cell's weights are negative")
        cleaned = [[clean_value(value) for value in column] for column in columns]
        values = tuple(tuple(sort_values(list(dict.fromkeys(column)))) for column in cleaned)
        codes = np.zeros((len(count), len(names)), dtype=np.intp)
        for k, column in enumerate(cleaned):
            position = {value: i for i, value in enumerate(values[k])}
            codes[:, k] = [position[value] for value in column]
        return _canonical(tuple(names), values, codes, count.astype(np.int64), weight, squared)


def check_weights(weights: Any) -> npt.NDArray[np.float64]:
    """Return prior weights as float64 (n,).

    Raises
    ------
    InputError
        For weights that are not numbers, or negative, missing or infinite.
    """
    array = as_floats(weights, "weights")
    if array.ndim != 1:
        raise InputError(f"the weights have shape {array.shape}: give one weight a row")
    bad = np.flatnonzero(~((array >= 0) & (array <= LARGEST_WEIGHT)))
    if len(bad):
        raise InputError(
            f"the weight of row {bad[0]} is {array[bad[0]]} ({len(bad)} such): "
            f"weights must be finite, from 0 to {LARGEST_WEIGHT:g}"
        )
    return array


def _check_names(names: Sequence[str], place: str) -> None:
    if tuple(name.rstrip("_") for name in names[-3:]) != _STATISTICS:
        raise InputError(f"{place} ends in the columns {list(names[-3:])}, not in {', '.join(_STATISTICS)}")


def _recode(table: CountTable, values: Sequence[Sequence[Hashable]]) -> npt.NDArray[np.intp]:
    codes = np.empty_like(table.codes)
    for k, (old, new) in enumerate(zip(table.values, values, strict=True)):
        position = {value: i for i, value in enumerate(new)}
        codes[:, k] = np.array([position[value] for value in old], dtype=np.intp)[table.codes[:, k]]
    return codes


def _canonical(
    columns: tuple[str, ...],
    values: tuple[tuple[Hashable, ...], ...],
    codes: npt.NDArray[np.intp],
    count: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    weight_squared: npt.NDArray[Any],
) -> CountTable:
    """Pool equal cells, drop empty ones and unused values, sort."""
    kept = count > 0
    codes, count, weight, weight_squared = codes[kept], count[kept], weight[kept], weight_squared[kept]
    used = [np.unique(codes[:, k]) for k in range(len(columns))]
    values = tuple(tuple(mine[i] for i in there) for mine, there in zip(values, used, strict=True))
    ranks = [np.searchsorted(there, codes[:, k]) for k, there in enumerate(used)]
    if columns:
        cell, distinct = joint_codes(ranks, [len(there) for there in used])
    else:
        cell, distinct = np.zeros(len(count), dtype=np.intp), np.zeros((min(len(count), 1), 0), dtype=np.intp)
    counts = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(counts, cell, count)
    weights, squares = (np.bincount(cell, part, len(distinct)).astype(np.float64) for part in (weight, weight_squared))
    return CountTable(columns, values, distinct, counts, weights, squares)
