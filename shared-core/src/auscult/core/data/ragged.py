"""From rows in any order to the padded arrays of a cohort."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import InputError

Combine = Literal["mean", "sum", "min", "max", "first", "last"]


class Ragged(NamedTuple):
    """``time[N, T]`` and ``values[N, T, F]``, NaN beyond ``length[N]``."""

    time: NDArray[np.float32]
    values: NDArray[np.float32]
    length: NDArray[np.int64]


def snapped(hours: NDArray[Any], width: float, doubt: NDArray[Any]) -> NDArray[np.float64]:
    """Return hours as multiples of a width, whole where they are so but for their rounding to float32.

    Parameters
    ----------
    hours
        Times in hours, or differences of such.
    width
        In hours.
    doubt
        The times in float32 that ``hours`` come from, whose rounding is in doubt; of several the larger.
    """
    multiple = np.asarray(hours, np.float64) / width
    whole = np.round(multiple)
    near = np.abs(multiple - whole) * width <= np.spacing(np.abs(doubt).astype(np.float32)) * 0.5000001
    return np.where(near, whole, multiple)


def average_by_time(record: NDArray[np.int64], time: NDArray[Any], values: NDArray[np.float64]) -> Ragged:
    """Gather the rows of each record in order of time; rows of one record and time become their mean.

    The mean of a feature is over the rows that hold it. Values are summed in float64 and in order of size, so
    the order of the rows never changes a digit.

    Parameters
    ----------
    record
        [R] which record a row belongs to: 0 to N - 1, each at least once.
    time
        [R] the row's time, a number that is not NaN.
    values
        [R, F] the row's values, NaN where not observed.
    """
    order = np.lexsort((time, record))
    record, time, values = record[order], np.asarray(time, np.float64)[order], values[order]
    starts_step = np.concatenate([[True], (np.diff(record) != 0) | (np.diff(time) != 0)])
    step = np.cumsum(starts_step) - 1
    step_record = record[starts_step]

    row, feature = np.nonzero(~np.isnan(values))
    cell, value = step[row] * values.shape[1] + feature, values[row, feature]
    by_size = np.lexsort((value, cell))
    cells, starts = np.unique(cell[by_size], return_index=True)
    means = np.full((len(step_record), values.shape[1]), np.nan)
    if len(cells):
        counts = np.diff(starts, append=len(cell))
        means.flat[cells] = np.add.reduceat(value[by_size], starts) / counts

    length = np.bincount(step_record)
    position = np.arange(len(step_record)) - (np.cumsum(length) - length)[step_record]
    shape = (len(length), int(length.max()))
    padded = Ragged(np.full(shape, np.nan, np.float32), np.full((*shape, values.shape[1]), np.nan, np.float32), length)
    padded.time[step_record, position] = time[starts_step]
    padded.values[step_record, position] = means
    return padded


def gather(
    record: NDArray[Any],
    time: NDArray[Any],
    feature: NDArray[Any],
    value: NDArray[Any],
    *,
    records: int,
    features: int,
    combine: Sequence[Combine] | Combine = "mean",
) -> Ragged:
    """Gather single measurements, one a row, by record and time; several of one cell are combined.

    Times count as equal where they are so in float32, a cohort's precision. Means and sums are taken in
    float64 and in order of size, so that they, as the smallest and the largest, do not depend on the order of
    the rows; ``first`` and ``last`` follow that order.

    Parameters
    ----------
    record, feature
        [R] which record and feature a row belongs to: from 0 to below ``records`` and ``features``; a record
        without a row gets length 0.
    time
        [R] hours, not NaN.
    value
        [R] the value; rows with NaN still make a step.
    records, features
        N and F.
    combine
        How values of one cell become one: for all features, or one entry a feature.
    """
    order = np.lexsort((hours := np.asarray(time).astype(np.float32), record))
    record, hours = np.asarray(record)[order], hours[order]
    starts_step = np.ones(len(order), np.bool_)
    starts_step[1:] = (np.diff(record) != 0) | (np.diff(hours) != 0)
    step = np.cumsum(starts_step) - 1
    step_record = record[starts_step]

    length = np.bincount(step_record, minlength=records)
    position = np.arange(len(step_record)) - (np.cumsum(length) - length)[step_record]
    shape = (records, max(int(length.max(initial=0)), 1))
    padded = Ragged(np.full(shape, np.nan, np.float32), np.full((*shape, features), np.nan, np.float32), length)
    padded.time[step_record, position] = hours[starts_step]

    feature, value = np.asarray(feature)[order], np.asarray(value, np.float64)[order]
    known = ~np.isnan(value)
    step, feature, value = step[known], feature[known], value[known]
    how = np.array([combine] * features if isinstance(combine, str) else combine, dtype=np.str_)
    if len(how) != features:
        raise InputError(f"{features} features have {len(how)} ways to combine values: give one for each")
    for way in np.unique(how):
        taken = (how == way)[feature]
        step_taken, feature_taken, combined = _combine_cells(way, step[taken], feature[taken], value[taken])
        padded.values[step_record[step_taken], position[step_taken], feature_taken] = combined
    return padded


def _combine_cells(
    way: str, step: NDArray[Any], feature: NDArray[Any], value: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Return step, feature and combined value of each cell; rows come in source order within a step."""
    order = np.lexsort((feature, step) if way in ("first", "last") else (value, feature, step))
    step, feature, value = step[order], feature[order], value[order]
    starts = np.flatnonzero(np.diff(step, prepend=-1) | np.diff(feature, prepend=-1))
    if not len(starts):
        return step, feature, value
    ends = np.append(starts[1:], len(value))
    if way in ("first", "min"):
        combined = value[starts]
    elif way in ("last", "max"):
        combined = value[ends - 1]
    else:
        combined = np.add.reduceat(value, starts)
        combined = combined / (ends - starts) if way == "mean" else combined
    return step[starts], feature[starts], combined
