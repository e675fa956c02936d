"""The distinct values of a block of any kind of column, as plain Python values."""

from collections.abc import Hashable
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.intervals import is_missing

_INTEGER_SPAN = 1 << 8


def distinct(block: Any) -> tuple[npt.NDArray[Any], list[Hashable]]:
    """Return codes (n,) into the distinct values of a block, missing as None.

    Raises
    ------
    TypeError
        For values that have no equality to count by; it says what they are.
    """
    import pyarrow as pa

    if isinstance(block, nw.Series):
        block = _unwrap(block)
    if isinstance(block, np.ndarray) and block.dtype.kind in "iub":
        small = _distinct_integers(block)
        if small is not None:
            return small
    if isinstance(block, (pa.Array, pa.ChunkedArray)):
        return _distinct_arrow(block)
    try:
        array = pa.array(block, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return _distinct_objects(block)
    return _distinct_objects(block) if _is_opaque(array.type) else _distinct_arrow(array)


def clean_value(value: Any) -> Hashable:
    """Return a plain Python value; NaN, NaT and NA become None, bytes their text."""
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if is_missing(value):
        return None
    if isinstance(value, (str, bool, int, float)):
        return value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _unwrap(series: Any) -> Any:
    """Return a series as an array or an Arrow array, whichever costs less and loses nothing."""
    import pyarrow as pa

    if series.dtype in (nw.Int128, nw.UInt128) or (series.dtype == nw.Object and series.implementation.is_polars()):
        # Arrow has neither: polars would pass on the addresses of objects.
        return np.array([*series.to_list(), None], dtype=object)[:-1]
    if series.dtype.is_integer() and not series.null_count():
        return series.to_numpy()
    try:
        array = series.to_arrow()
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return series.to_numpy()
    if not _is_opaque(array.type):
        return array
    if isinstance(array.type, pa.DictionaryType):
        # As objects, pandas' whole intervals would become floats beside a missing value, so a name would depend
        # on the block.
        names = [str(value) for value in series.to_native().cat.categories]
        return pa.DictionaryArray.from_arrays(array.indices, names)
    return series.to_numpy()


def _is_opaque(arrow_type: Any) -> bool:
    """Whether Arrow holds values as the parts of something that it does not know, such as pandas' intervals."""
    import pyarrow as pa

    inner = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    return isinstance(inner, pa.BaseExtensionType)


def _distinct_integers(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[Hashable]] | None:
    if len(block) == 0:
        return block, []
    is_bool = block.dtype.kind == "b"
    numbers = block.view(np.uint8) if is_bool else block
    low, high = int(numbers.min()), int(numbers.max())
    if high - low >= _INTEGER_SPAN:
        return None
    # The difference of two int8 may need 8 bits without a sign.
    shifted = numbers if low == 0 else (numbers - numbers.dtype.type(low)).view(f"u{numbers.itemsize}")
    return shifted, [bool(value) if is_bool else value for value in range(low, high + 1)]


def _distinct_arrow(array: Any) -> tuple[npt.NDArray[Any], list[Hashable]]:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute as pc

        array = pc.run_end_decode(array)
    if not pa.types.is_dictionary(array.type):
        try:
            array = array.dictionary_encode()
        except pa.ArrowNotImplementedError:
            raise TypeError(f"of type {array.type}") from None
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
