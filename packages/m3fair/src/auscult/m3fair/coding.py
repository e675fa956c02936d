"""Columns of any data frame as small integer codes, block by block.

Everything that m3fair computes is a function of how often each combination of values occurs, so the only
thing ever done row by row is to replace values by codes. Work goes in blocks of rows: beyond its input, a
coded column costs one byte a row for up to 256 distinct values.
"""

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.distinct import clean_value as clean_value
from auscult.m3fair.distinct import distinct

BLOCK = 1 << 18
DENSE = 1 << 22


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
    """Codes for the values of one column, learnt as blocks arrive.

    Parameters
    ----------
    name
        The column, for messages.
    """

    def __init__(self, name: str = "values") -> None:
        self.name = name
        self.positions: dict[Hashable, int] = {}

    def encode(self, block: Any) -> npt.NDArray[Any]:
        """Return the codes (n,) of a block: an array, a narwhals series or an Arrow array.

        Raises
        ------
        InputError
            For values that cannot be told apart, such as lists.
        """
        try:
            local, values = distinct(block)
        except TypeError as error:
            raise InputError(
                f"the column {self.name!r} has values that are no groups ({error}): give numbers, text or dates"
            ) from None
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
        For a column that is absent, arrays of different lengths, and values that are lists or structures.
    """
    columns = [(name, get_column(data, name)) for name in names]
    lengths = {name: len(column) for name, column in columns}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns have different lengths, {lengths}: give one value a row for each")
    coded = [_code_column(*pair) for pair in columns]
    return CodedColumns(tuple(names), tuple(values for values, _ in coded), tuple(codes for _, codes in coded))


def named_columns(data: Any) -> tuple[Any, list[str]]:
    """Return data as a frame or a mapping from name to array, and its column names.

    One array or series (n,) becomes one column with its own name, or ``x0``; an array (n, K), or a frame
    none of whose names is text, becomes ``x0`` to ``x{K-1}``.

    Raises
    ------
    InputError
        For a lazy frame, which must be counted by its engine instead.
    """
    if isinstance(data, Mapping):
        return {str(name): column for name, column in data.items()}, [str(name) for name in data]
    native = as_frame(data, allow_series=True, pass_through=True)
    if isinstance(native, nw.DataFrame):
        given = list(native.columns)
        if all(isinstance(name, str) for name in given):
            return data, given
        named = any(isinstance(name, str) for name in given)
        names = [str(name) if named else f"x{k}" for k, name in enumerate(given)]
        return {name: native[:, k] for k, name in enumerate(names)}, names
    if isinstance(native, nw.LazyFrame):
        raise InputError(
            "a lazy frame has no rows yet: count it with CountTable.count_rows(frame, columns) and use fit_table, "
            "or collect it first"
        )
    if isinstance(native, nw.Series):
        name = "x0" if native.name in (None, "") else str(native.name)
        return {name: native}, [name]
    array = data if hasattr(data, "dictionary_encode") else _as_array(data)
    if getattr(array, "ndim", 1) == 2:
        names = [f"x{k}" for k in range(array.shape[1])]
        return {name: array[:, k] for k, name in enumerate(names)}, names
    return {"x0": array}, ["x0"]


def get_column(data: Any, name: str) -> Any:
    """Return one column of a frame (as a narwhals series) or of a mapping (as an array or a series)."""
    frame: Any = data if isinstance(data, Mapping) else as_frame(data, eager_only=True)
    names = list(data if isinstance(data, Mapping) else frame.columns)
    if name not in names:
        raise InputError(f"there is no column {name!r}; there are {', '.join(map(repr, names)) or 'none'}")
    return one_dimensional(data[name], name) if isinstance(data, Mapping) else frame.get_column(name)


def as_frame(data: Any, **options: bool) -> Any:
    """Return a frame as narwhals' own, with the options of its ``from_native``; a pyarrow RecordBatch as a table.

    Raises
    ------
    InputError
        For what narwhals does not read, and for a column name that occurs twice.
    """
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(data, pyarrow.RecordBatch):
        data = pyarrow.Table.from_batches([data])
    try:
        return nw.from_native(data, **options)
    except nw.exceptions.DuplicateError as error:
        raise InputError(f"{' '.join(str(error).split())}: rename all but one") from None
    except TypeError:
        raise InputError(
            f"a {type(data).__name__} is no frame: give a pandas, polars or DuckDB one, or a mapping of columns"
        ) from None


def one_dimensional(values: Any, name: str) -> Any:
    """Return values as a narwhals series where they are one, else as an array (n,)."""
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series
    array = values if hasattr(values, "dictionary_encode") else _as_array(values)
    if getattr(array, "ndim", 1) == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if getattr(array, "ndim", 1) != 1:
        raise InputError(f"{name} has shape {array.shape}: give one value a row")
    return array


def as_floats(values: Any, name: str) -> npt.NDArray[np.float64]:
    """Return numbers of any kind of column, or an array of them, as float64; missing is NaN.

    Raises
    ------
    InputError
        For anything else than numbers, dates among them.
    """
    native = nw.from_native(values, series_only=True, pass_through=True)
    array = native.to_numpy() if isinstance(native, nw.Series) else _as_array(values)
    try:
        if array.dtype.kind in "mMc":
            raise TypeError
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the {name} are not all numbers: give one number a row") from None


def in_type_of(like: Any, values: npt.NDArray[np.float64], name: str) -> Any:
    """Return values (n,) as a series of ``like``'s library, with its index if it has one, else as they are.

    ``like`` is a series, an eager frame or anything else.
    """
    native = as_frame(like, allow_series=True, pass_through=True)
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


def free_names(wanted: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return names with underscores added until they differ from those taken."""
    names = []
    for name in wanted:
        while name in taken:
            name += "_"
        names.append(name)
    return names


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


def _as_array(values: Any) -> npt.NDArray[Any]:
    """Return values as an array in which whatever is missing can be told."""
    if isinstance(values, np.ma.MaskedArray):
        array = values.data.astype(object)
        array[np.ma.getmaskarray(values)] = None
        return array
    try:
        array = np.asarray(values)
        # numpy would turn NaN, None and numbers beside text into text.
        return np.asarray(values, dtype=object) if array.dtype.kind in "US" and array is not values else array
    except ValueError:
        raise InputError("rows differ in their number of values: give the same number for each") from None


def _code_column(name: str, column: Any) -> tuple[tuple[Hashable, ...], npt.NDArray[Any]]:
    coder = ColumnCoder(name)
    blocks = [coder.encode(column[start : start + BLOCK]) for start in range(0, len(column), BLOCK)]
    values = list(coder.positions)
    ordered = sort_values(values)
    position = {value: i for i, value in enumerate(ordered)}
    smallest = np.min_scalar_type(max(len(values) - 1, 0))
    rank = np.array([position[value] for value in values], dtype=smallest)
    in_order = ordered == values
    codes = np.empty(len(column), dtype=smallest)
    start = 0
    for block in blocks:
        codes[start : start + len(block)] = block if in_order else rank[block]
        start += len(block)
    return tuple(ordered), codes
