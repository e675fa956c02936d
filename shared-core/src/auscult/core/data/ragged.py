"""From rows in any order to the padded arrays of a cohort."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ragged(NamedTuple):
    """``time[N, T]`` and ``values[N, T, F]``, NaN beyond ``length[N]``."""

    time: NDArray[np.float32]
    values: NDArray[np.float32]
    length: NDArray[np.int64]


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
