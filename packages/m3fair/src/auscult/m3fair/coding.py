"""Columns of any data frame as small integer codes, block by block.

Everything that m3fair computes is a function of how often each combination of values occurs, so the only
thing ever done row by row is to replace values by codes. Work goes in blocks of rows: beyond its input, a
coded column costs one byte a row for up to 256 distinct values.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError

BLOCK = 1 << 18
DENSE = 1 << 22
_INTEGER_SPAN = 1 << 8


@dataclass(frozen=True)
class CodedColumns:
    """Rows of several columns as codes into each column's values.

    Parameters
    ----------
    names
        Column names.
    values
        Per column, values in canonical order (see :func:`sort_values`); missing is ``None``. Every value
        that occurs is there; an integer inside the range of a column may be there without occurring.
    codes
        Per column, an unsigned integer array (n,) of positions in ``values``.
    """

    names: tuple[str, ...]
    values: tuple[tuple[Hashable, ...], ...]
    codes: tuple[npt.NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.codes[0]) if self.codes else 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each column."""
        return tuple(len(values) for values in self.values)

    def row_keys(self) -> Iterator[tuple[slice, npt.NDArray[np.intp]]]:
        """Yield blocks of rows with their combinations as mixed-radix numbers below ``prod(sizes)``."""
        for start in range(0, len(self), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self)))
            keys = np.zeros(rows.stop - start, dtype=np.intp)
            for codes, size in zip(self.codes, self.sizes, strict=True):
                keys *= size
                keys += codes[rows]
            yield rows, keys

    def take(self, names: Sequence[str]) -> "CodedColumns":
        """Return some of the columns, in the order asked for."""
        positions = [self.names.index(name) for name in names]
        return CodedColumns(
            tuple(names), tuple(self.values[i] for i in positions), tuple(self.codes[i] for i in positions)
        )


class ColumnCoder:
    """Codes for the values of one column, learnt as blocks arrive."""

    def __init__(self) -> None:
        self.positions: dict[Hashable, int] = {}

    def encode(self, block: Any) -> npt.NDArray[Any]:
        """Return the codes (n,) of a block: an array, a narwhals series or an Arrow array."""
        local, values = _distinct(block)
        lookup = np.array([self.positions.setdefault(value, len(self.positions)) for value in values], dtype=np.int64)
        smallest = np.min_scalar_type(len(self.positions))
        if np.array_equal(lookup, np.arange(len(lookup))):
            return np.asarray(local, dtype=smallest)
        return np.take(lookup.astype(smallest), local)


def code_columns(data: Any, names: Sequence[str]) -> CodedColumns:
    """Return columns of a frame, or of a mapping from name to array, as codes.

    Parameters
    ----------
    data
        An eager frame that narwhals reads (pandas, polars, pyarrow, ...) or a mapping of equally long
        arrays (n,).
    names
        The columns to take.

    Raises
    ------
    InputError
        For a column that is absent, and for arrays of different lengths.
    """
    columns = [(name, get_column(data, name)) for name in names]
    lengths = {name: len(column) for name, column in columns}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns have different lengths, {lengths}: give one value a row for each")
    coded = [_code_column(column) for _, column in columns]
    return CodedColumns(tuple(names), tuple(values for values, _ in coded), tuple(codes for _, codes in coded))


def named_columns(data: Any) -> tuple[Any, list[str]]:
    """Return data as a frame or a mapping from name to array, and its column names.

    One array or series (n,) becomes one column with its own name, or ``x0``; an array (n, K), or a frame
    whose names are no text, becomes ``x0`` to ``x{K-1}``.

    Raises
    ------
    InputError
        For a lazy frame, which must be counted by its engine instead.
    """
    if isinstance(data, Mapping):
        return data, [str(name) for name in data]
    native = nw.from_native(data, allow_series=True, pass_through=True)
    if isinstance(native, nw.DataFrame):
        names = list(native.columns)
        if names and not any(isinstance(name, str) for name in names):
            return {f"x{k}": native[:, k] for k in range(len(names))}, [f"x{k}" for k in range(len(names))]
        return data, names
    if isinstance(native, nw.LazyFrame):
        raise InputError(
            "a lazy frame has no rows yet: count it with CountTable.count_rows(frame, columns) and use fit_table, "
            "or collect it first"
        )
    if isinstance(native, nw.Series):
        return {native.name or "x0": native}, [native.name or "x0"]
    array = data if hasattr(data, "dictionary_encode") else np.asarray(data)
    if getattr(array, "ndim", 1) == 2:
        names = [f"x{k}" for k in range(array.shape[1])]
        return {name: array[:, k] for k, name in enumerate(names)}, names
    return {"x0": array}, ["x0"]


def get_column(data: Any, name: str) -> Any:
    """Return one column of a frame (as a narwhals series) or of a mapping (as an array or a series)."""
    names = list(data) if isinstance(data, Mapping) else list(nw.from_native(data, eager_only=True).columns)
    if name not in names:
        raise InputError(f"there is no column {name!r}; there are {', '.join(map(repr, names)) or 'none'}")
    if isinstance(data, Mapping):
        return one_dimensional(data[name], name)
    return nw.from_native(data, eager_only=True).get_column(name)


def one_dimensional(values: Any, name: str) -> Any:
    """Return values as a narwhals series where they are one, else as an array (n,)."""
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series
    array = values if hasattr(values, "dictionary_encode") else np.asarray(values)
    if getattr(array, "ndim", 1) == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if getattr(array, "ndim", 1) != 1:
        raise InputError(f"{name} has shape {array.shape}: give one value a row")
    return array


def in_type_of(like: Any, values: npt.NDArray[np.float64], name: str) -> Any:
    """Return values (n,) as a series of ``like``'s library, with its index if it has one, else as they are.

    ``like`` is a series, an eager frame or anything else.
    """
    native = nw.from_native(like, allow_series=True, pass_through=True)
    if not isinstance(native, (nw.Series, nw.DataFrame)):
        return values
    result = nw.new_series(name, values, nw.Float64, backend=native.implementation).to_native()
    index = nw.maybe_get_index(native)
    if index is not None:
        # narwhals.maybe_set_index goes through an index label by label.
        result.index = index
    return result


def sort_values(values: Sequence[Hashable]) -> list[Hashable]:
    """Return values in canonical order: numbers, then text, then the rest by their text, missing last."""

    def key(value: Any) -> tuple[int, Any]:
        if value is None:
            return 3, 0
        if isinstance(value, (bool, int, float)):
            return 0, value
        return (1, value) if isinstance(value, str) else (2, str(value))

    return sorted(values, key=key)


def joint_codes(
    codes: Sequence[npt.NDArray[Any]], sizes: Sequence[int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return a number for each combination of several coded columns.

    Parameters
    ----------
    codes
        K arrays (n,) of codes, each below its entry of ``sizes``.
    sizes
        How many values each column has.

    Returns
    -------
    row, combination
        ``row`` (n,) is the number of each row's combination; ``combination`` (m, K) has the codes of each
        number. Every combination occurs, in lexicographic order.
    """
    n = len(codes[0]) if codes else 0
    joint = np.zeros(n, dtype=np.intp)
    distinct = np.zeros((1 if n else 0, 0), dtype=np.intp)
    for column, size in zip(codes, sizes, strict=True):
        keys = joint * size + column
        if len(distinct) * size <= DENSE:
            present = np.flatnonzero(np.bincount(keys, minlength=len(distinct) * size))
            number = np.zeros(len(distinct) * size, dtype=np.intp)
            number[present] = np.arange(len(present))
            joint = number[keys]
        else:
            present, joint = np.unique(keys, return_inverse=True)
        distinct = np.column_stack([distinct[present // size], present % size])
    return joint, distinct


def _code_column(column: Any) -> tuple[tuple[Hashable, ...], npt.NDArray[Any]]:
    coder = ColumnCoder()
    blocks = [coder.encode(column[start : start + BLOCK]) for start in range(0, len(column), BLOCK)]
    values = list(coder.positions)
    ordered = sort_values(values)
    position = {value: i for i, value in enumerate(ordered)}
    smallest = np.min_scalar_type(max(len(values) - 1, 0))
    rank = np.array([position[value] for value in values], dtype=smallest)
    codes = np.empty(len(column), dtype=smallest)
    start = 0
    for block in blocks:
        codes[start : start + len(block)] = block if ordered == values else rank[block]
        start += len(block)
    return tuple(ordered), codes


def _distinct(block: Any) -> tuple[npt.NDArray[Any], list[Hashable]]:
    """Return codes (n,) into the distinct values of a block, missing as None."""
    if isinstance(block, nw.Series):
        plain = block.dtype.is_integer() and not block.null_count()
        block = block.to_numpy() if plain else block.to_arrow()
    if isinstance(block, np.ndarray) and block.dtype.kind in "iub":
        small = _distinct_integers(block)
        if small is not None:
            return small
    return _distinct_arrow(block)


def _distinct_integers(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[Hashable]] | None:
    if len(block) == 0:
        return block, []
    low, high = int(block.min()), int(block.max())
    if high - low >= _INTEGER_SPAN:
        return None
    shifted = block if low == 0 else block - block.dtype.type(low)
    is_bool = block.dtype.kind == "b"
    return shifted.view(np.uint8) if is_bool else shifted, [
        bool(value) if is_bool else value for value in range(low, high + 1)
    ]


def _distinct_arrow(block: Any) -> tuple[npt.NDArray[Any], list[Hashable]]:
    import pyarrow as pa

    try:
        array = block if isinstance(block, (pa.Array, pa.ChunkedArray)) else pa.array(block, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return _distinct_objects(block)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = [clean_value(value) for value in array.dictionary.to_pylist()]
    indices = array.indices
    if indices.null_count:
        indices = (
            indices.fill_null(len(values)) if len(values) < 127 else indices.cast(pa.int64()).fill_null(len(values))
        )
        values.append(None)
    return indices.to_numpy(zero_copy_only=False), values


def _distinct_objects(block: Any) -> tuple[npt.NDArray[Any], list[Hashable]]:
    import pandas as pd

    codes, values = pd.factorize(np.asarray(block, dtype=object), use_na_sentinel=True)
    distinct: list[Hashable] = [clean_value(value) for value in values]
    return np.where(codes < 0, len(distinct), codes), [*distinct, None]


def clean_value(value: Any) -> Hashable:
    """Return a plain Python value; NaN, NaT and NA become None."""
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if value is None or value != value:
        return None
    if isinstance(value, (str, bool, int, float)):
        return value
    return str(value)
