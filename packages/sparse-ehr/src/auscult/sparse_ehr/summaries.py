"""A sparse series as a row of numbers: what a model of tables sees of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.errors import InputError

SUMMARIES = ("first", "last", "mean", "min", "max", "std", "count")
"""What is taken of the observed values of each variable, in this order."""

_CHUNK = 1024


def summarize(values: ArrayLike) -> NDArray[np.float32]:
    """Return [N, 7 F] summaries of the observed values of each stay and variable, one variable after the other.

    Parameters
    ----------
    values
        [N, T, F] in the order of time, NaN where nothing was observed. Steps without any value change nothing.

    Returns
    -------
    ndarray
        :data:`SUMMARIES` of each variable; where it was never observed the count is 0 and the others are NaN. The
        standard deviation is that of the values themselves (0 of a single one).

    Raises
    ------
    InputError
        Where ``values`` has not three dimensions.

    Examples
    --------
    >>> summarize([[[2.0], [np.nan], [4.0]]]).tolist()
    [[2.0, 4.0, 3.0, 2.0, 4.0, 1.0, 2.0]]
    """
    given = np.asarray(values)
    if given.ndim != 3:
        raise InputError(f"values have {given.ndim} dimensions: give [stays, steps, variables]")
    stays, _, variables = given.shape
    result = np.empty((stays, variables, len(SUMMARIES)), np.float32)
    # In parts, because the float64 that sums need would double a large input.
    for start in range(0, stays, _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = _summarize(given[part].astype(np.float64))
    return result.reshape(stays, variables * len(SUMMARIES))


def summary_names(variables: Sequence[str]) -> list[str]:
    """Return the names of the columns of :func:`summarize`, such as ``"HR mean"``."""
    return [f"{variable} {summary}" for variable in variables for summary in SUMMARIES]


def _summarize(values: NDArray[np.float64]) -> NDArray[np.float64]:
    stays, steps, variables = values.shape
    result = np.full((stays, variables, len(SUMMARIES)), np.nan)
    observed = ~np.isnan(values)
    count = observed.sum(1)
    result[..., 6] = count
    if steps == 0:
        return result
    seen = count > 0
    known = np.where(observed, values, 0.0)
    safe = np.maximum(count, 1)
    mean = known.sum(1) / safe
    deviation = np.where(observed, values - mean[:, None], 0.0)
    ends = (observed.argmax(1), steps - 1 - observed[:, ::-1].argmax(1))
    columns = [np.take_along_axis(values, end[:, None], axis=1)[:, 0] for end in ends]
    low = np.where(observed, values, np.inf).min(1)
    high = np.where(observed, values, -np.inf).max(1)
    columns += [mean, low, high, np.sqrt((deviation**2).sum(1) / safe)]
    for place, column in enumerate(columns):
        result[..., place] = np.where(seen, column, np.nan)
    return result
