"""Poisson bootstrap of the area under the ROC curve: rows are sorted once, each replicate only counts.

A row, or a cluster of rows, enters a replicate Poisson(1) times (Hanley and MacGibbon 2006, Comput Methods
Programs Biomed 83:57). How often depends on the seed, the replicate and the row's number alone, so the work can
be cut in blocks of any size.
"""

from math import exp, factorial

import numpy as np
import numpy.typing as npt

from auscult.m3fair.metrics.confusion import Array

_NUMBERS_AT_ONCE = 1 << 22
_STEPS = 1 << 16


def multiplicities(n: int, replicates: range, seed: int) -> npt.NDArray[np.uint8]:
    """Return how often each of n units enters each replicate, (replicates, n).

    Poisson(1) to within 0.0003 in each probability, with mean and variance exactly 1; each replicate has a
    random stream of its own.

    Parameters
    ----------
    n
        Number of units (rows or clusters).
    replicates
        Which replicates.
    seed
        From 0 up.

    Examples
    --------
    >>> np.array_equal(multiplicities(50, range(2, 4), 0), multiplicities(50, range(4), 0)[2:])
    True
    """
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    times = np.empty((len(replicates), n), dtype=np.uint8)
    for row, replicate in zip(times, replicates, strict=True):
        stream = np.random.Philox(key=key, counter=[0, replicate, 0, 0])
        np.take(_POISSON, stream.random_raw(-(-n // 4)).view(np.uint16)[:n], out=row)
    return times


def auroc_replicates(
    label: npt.NDArray[np.bool_],
    score: Array,
    combination: npt.NDArray[np.integer],
    members: npt.NDArray[np.bool_],
    *,
    weight: Array | None = None,
    cluster: npt.NDArray[np.integer] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    block: int | None = None,
) -> Array:
    """Return bootstrap replicates of the AUROC of every group.

    Parameters
    ----------
    label
        (n,) whether positive.
    score
        (n,) finite.
    combination
        (n,) the combination of each row.
    members
        (G, P) which combinations belong to each group.
    weight
        (n,) prior weights, 1 by default.
    cluster
        (n,) numbers from 0: rows of one number are drawn together. Default: each row by itself.
    n_boot
        Number of resamples.
    seed
        The same seed gives the same replicates.
    block
        Replicates worked on at a time; changes memory, not the result.

    Returns
    -------
    numpy.ndarray
        (n_boot, G); NaN where a resample of a group lacks a class.
    """
    order = np.argsort(score, kind="stable")
    label, score, combination = label[order], score[order], combination[order]
    weight = None if weight is None else weight[order]
    cluster = None if cluster is None else cluster[order]
    # Counts are summed as integers, several times faster than as floats; no row is drawn more than 8 times.
    whole = np.int32 if 2 * 8 * len(label) < np.iinfo(np.int32).max else np.int64
    units = len(label) if cluster is None else int(cluster.max()) + 1
    groups = []
    for mask in members:
        there = mask[combination]
        positives, negatives = np.flatnonzero(there & label), np.flatnonzero(there & ~label)
        below = np.searchsorted(score[negatives], score[positives], side="left")
        up_to = np.searchsorted(score[negatives], score[positives], side="right")
        groups.append((positives, negatives, below, up_to))
    areas = np.full((n_boot, len(members)), np.nan)
    block = block or max(_NUMBERS_AT_ONCE // len(label), 1)
    for start in range(0, n_boot, block):
        replicates = range(start, min(start + block, n_boot))
        times = multiplicities(units, replicates, seed)
        counts = times if cluster is None else np.take(times, cluster, axis=1)
        drawn = counts if weight is None else counts * weight
        for g, (positives, negatives, below, up_to) in enumerate(groups):
            ahead = np.zeros((len(replicates), len(negatives) + 1), dtype=whole if weight is None else np.float64)
            np.cumsum(np.take(drawn, negatives, axis=1), axis=1, dtype=ahead.dtype, out=ahead[:, 1:])
            positive = np.take(drawn, positives, axis=1).astype(np.float64)
            won = (positive * (np.take(ahead, below, axis=1) + np.take(ahead, up_to, axis=1))).sum(axis=1) / 2
            pairs = positive.sum(axis=1) * ahead[:, -1]
            np.divide(won, pairs, out=areas[start : replicates.stop, g], where=pairs > 0)
    return areas


def _poisson_table() -> npt.NDArray[np.uint8]:
    """Return the values of Poisson(1) as often as they occur among 2**16, with exact mean and variance."""
    often = np.array([round(_STEPS * exp(-1) / factorial(k)) for k in range(9)])
    often[:3] = 0
    k = np.arange(9)
    moments = [_STEPS - often.sum(), _STEPS - (k * often).sum(), 2 * _STEPS - (k**2 * often).sum()]
    often[2] = (moments[2] - moments[1]) // 2
    often[1] = moments[1] - 2 * often[2]
    often[0] = moments[0] - often[1] - often[2]
    return np.repeat(k.astype(np.uint8), often)


_POISSON = _poisson_table()
