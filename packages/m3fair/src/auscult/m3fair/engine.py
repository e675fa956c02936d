"""Counting where the rows are: a lazy frame's own engine (polars, DuckDB, Dask, Spark) groups and sums."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import CodedColumns, code_columns

LARGEST_WEIGHT = 1e150
"""The square of a larger weight, summed, would leave the range of float64."""


def count_lazily(
    frame: Any, by: Sequence[str], weight: str | None
) -> tuple[CodedColumns, npt.NDArray[np.int64], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return the combinations of values that occur in a lazy frame, and what each holds.

    Parameters
    ----------
    frame
        A narwhals lazy frame.
    by
        The columns whose combinations are counted.
    weight
        The column of prior weights, or None for 1.

    Returns
    -------
    The combinations as rows of coded columns, how many rows each has, and the sums of their weights and squares.

    Raises
    ------
    InputError
        For absent columns, and for weights that are no numbers, negative, missing or infinite.
    """
    schema = frame.collect_schema()
    absent = [name for name in (*by, *([weight] if weight else [])) if name not in schema.names()]
    if absent:
        raise InputError(f"there is no column {absent[0]!r}; there are {', '.join(map(repr, schema.names()))}")
    keys = [f"key{i}" for i in range(len(by))]
    chosen = frame.select(
        *(nw.col(name).alias(key) for key, name in zip(keys, by, strict=True)),
        *([nw.col(weight).alias("v")] if weight else []),
    )
    measures = [nw.len().alias("count")]
    if weight is not None:
        if not (schema[weight].is_numeric() or schema[weight] == nw.Boolean):
            raise InputError(f"the weights in column {weight!r} are {schema[weight]}: give numbers")
        v = nw.col("v")
        bad = v.is_null() | v.is_nan() | (v < 0) | (v > LARGEST_WEIGHT)
        # Dask sums columns and no expressions, Spark no truth values.
        chosen = chosen.with_columns(v.cast(nw.Float64))
        chosen = chosen.with_columns((v * v).alias("squared"), bad.cast(nw.Int64).alias("bad"))
        measures += [nw.col(name).sum() for name in ("v", "squared", "bad")]
    counted = chosen.group_by(keys).agg(*measures).collect("pyarrow")
    count = counted.get_column("count").to_numpy().astype(np.int64)
    sums = count.astype(float), count.astype(float)
    if weight is not None:
        if sum(counted.get_column("bad").to_list()):
            raise InputError(f"the weights in column {weight!r} must be numbers from 0 to {LARGEST_WEIGHT:g}")
        sums = counted.get_column("v").to_numpy(), counted.get_column("squared").to_numpy()
    return code_columns(counted.to_native(), keys), count, sums
