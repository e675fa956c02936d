"""Percentile intervals of rates and disparities, by resampling the confusion table instead of its rows.

How often each cell occurs among n rows drawn with replacement is multinomial, so a replicate of every rate of
every group costs one draw a cell, whatever n is. Where rows are not independent, several visits of one patient,
the patients are drawn instead: :class:`ClusterTables`.

A bootstrap cannot show what did not occur: where a rate is exactly 0 or 1 its interval has no width, and in
groups of a few rows it is too short. The closed forms of :mod:`auscult.m3fair.metrics` do better there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.intervals import percentile_bounds
from auscult.m3fair.groups import Mask
from auscult.m3fair.metrics.confusion import Array, Confusion
from auscult.m3fair.metrics.disparity import DISPARITIES

_NUMBERS_AT_ONCE = 1 << 22
_EQUAL_WEIGHTS = 1e-9


@dataclass(frozen=True)
class Percentiles:
    """Percentile intervals of several statistics.

    Parameters
    ----------
    low, high
        The bounds; NaN where no replicate is defined.
    undefined
        How many replicates had no value (a resample without positives of a group, say) and were left out.
    """

    low: Array
    high: Array
    undefined: npt.NDArray[np.intp]

    @classmethod
    def of(cls, replicates: Array, confidence: float) -> "Percentiles":
        """Return the intervals of replicates along their first axis."""
        low, high = percentile_bounds(replicates, confidence=confidence)
        return cls(np.asarray(low), np.asarray(high), np.asarray(np.isnan(replicates).sum(axis=0)))


@dataclass(frozen=True)
class ClusterTables:
    """The confusion tables of clusters (patients with several rows), equal ones stored once.

    Parameters
    ----------
    repeats
        (T,) how many clusters have each of the T distinct tables.
    table, cell, weight
        (entries,) the nonzero entries of the tables, sorted by cell: which table, which cell, its sum of weights.
    shape
        The shape of all cells, such as (P, 2, 2).
    """

    repeats: npt.NDArray[np.intp]
    table: npt.NDArray[np.intp]
    cell: npt.NDArray[np.intp]
    weight: Array
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        cluster: npt.NDArray[np.integer],
        cell: npt.NDArray[np.integer],
        shape: tuple[int, ...],
        weight: Array | None = None,
    ) -> "ClusterTables":
        """Return the tables of rows.

        Parameters
        ----------
        cluster
            (n,) numbers from 0, each of which occurs; the row's own number resamples rows.
        cell
            (n,) the row's position among all cells, in C order of ``shape``.
        weight
            (n,) prior weights, 1 by default.
        """
        size = int(np.prod(shape))
        keys, entry = np.unique(cluster.astype(np.int64) * size + cell, return_inverse=True)
        sums = np.bincount(entry, weight, len(keys)).astype(np.float64)
        owner, cells = np.divmod(keys, size)
        lengths = np.bincount(owner)
        starts = np.cumsum(lengths) - lengths
        repeats: list[npt.NDArray[np.intp]] = []
        parts: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]] = []
        found = 0
        for length in np.unique(lengths):
            entries = starts[lengths == length][:, None] + np.arange(length)
            columns = [*cells[entries].T, *sums[entries].T]
            order = np.lexsort(columns)
            changes = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
            first = np.flatnonzero(np.r_[True, changes])
            repeats.append(np.diff(np.r_[first, len(order)]))
            kept = entries[order[first]]
            tables = np.repeat(found + np.arange(len(first)), length)
            parts.append((tables, cells[kept].ravel(), sums[kept].ravel()))
            found += len(first)
        table, cells, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
        by_cell = np.argsort(cells, kind="stable")
        return cls(np.concatenate(repeats), table[by_cell], cells[by_cell], sums[by_cell], shape)

    @property
    def n(self) -> int:
        """The number of clusters."""
        return int(self.repeats.sum())


@dataclass(frozen=True)
class AuditPercentiles:
    """Bootstrap intervals of an audit: name -> intervals (G,) of group metrics, (J,) of disparities."""

    metrics: dict[str, Percentiles]
    disparities: dict[str, Percentiles]


def bootstrap_audit(
    count: Array,
    weight: Array,
    weight_squared: Array,
    members: npt.NDArray[np.bool_],
    comparisons: Sequence[tuple[Mask, Mask]],
    *,
    metrics: Sequence[str],
    disparities: Sequence[str],
    clusters: ClusterTables | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> AuditPercentiles:
    """Return percentile intervals of all rates and disparities of an audit, from the same resamples.

    Parameters
    ----------
    count, weight, weight_squared
        (P, 2, 2) statistics by combination, label and decision: see
        :class:`~auscult.m3fair.cells.ConfusionCells`.
    members
        (G, P) which combinations belong to each group.
    comparisons
        J pairs of masks (P,): a group and its reference.
    metrics
        Names of rates in :data:`~auscult.m3fair.metrics.confusion.RATES`.
    disparities
        Names in :data:`~auscult.m3fair.metrics.disparity.DISPARITIES`.
    clusters
        Resample these instead of rows.
    n_boot
        Number of resamples.
    seed
        The same seed and table give the same intervals.
    confidence
        Nominal coverage.

    Raises
    ------
    InputError
        For fewer than one resample, a negative seed, and a single cluster.
    """
    check_resampling(n_boot, seed)
    draw: Callable[[int, np.random.Generator], Array]
    if clusters is None:
        draw, width = partial(resample_table, count, weight, weight_squared), count.size
    else:
        draw, width = partial(resample_clusters, clusters), len(clusters.cell) + count.size
    asked = np.array([*members, *(mask for pair in comparisons for mask in pair)], dtype=bool)
    masks, where = np.unique(asked.reshape(-1, len(count)), axis=0, return_inverse=True)
    replicates = Confusion(*[_pooled(draw, masks, n_boot, width, np.random.default_rng(seed))] * 2)
    where = where.ravel()
    groups = where[: len(members)]
    group, reference = (_take(replicates, where[len(members) + side :: 2]) for side in (0, 1))
    return AuditPercentiles(
        {name: Percentiles.of(replicates.rate(name)[:, groups], confidence) for name in metrics},
        {name: Percentiles.of(DISPARITIES[name].value(group, reference), confidence) for name in disparities},
    )


def resample_table(count: Array, weight: Array, weight_squared: Array, n_boot: int, rng: np.random.Generator) -> Array:
    """Return the weight sums of cells in resamples of the rows, without the rows.

    The number of rows m of a cell is multinomial, exactly as if rows were drawn. Where a cell's rows have equal
    weights its sum is m times that weight, exactly again. Where they differ, the sum of m draws is replaced by a
    gamma variable of the same mean and variance, ``m mu`` and ``m sigma^2`` for the mean and the variance of
    weights within the cell; so all first and second moments are those of the row bootstrap, sums stay positive,
    and what is approximate is the shape, in cells of few rows. :class:`ClusterTables` of single rows is exact.

    Parameters
    ----------
    count, weight, weight_squared
        Arrays of one shape: rows, sum of their weights, and of the squares.
    n_boot
        Number of resamples.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (n_boot, *shape).

    Examples
    --------
    >>> sums = resample_table(*[np.array([30.0, 70.0])] * 3, 5, np.random.default_rng(0))
    >>> sums.sum(axis=1)
    array([100., 100., 100., 100., 100.])
    """
    there = np.flatnonzero(count)
    n, v, v2 = (np.asarray(part, dtype=np.float64).ravel()[there] for part in (count, weight, weight_squared))
    drawn = rng.multinomial(int(n.sum()), n / n.sum(), size=n_boot)
    mean = v / n
    sums = drawn * mean
    relative_variance = n * v2 / np.where(v > 0, v, np.inf) ** 2 - 1
    differ = relative_variance > _EQUAL_WEIGHTS
    if differ.any():
        spread = relative_variance[differ]
        sums[:, differ] = rng.standard_gamma(drawn[:, differ] / spread) * (mean[differ] * spread)
    replicates = np.zeros((n_boot, count.size))
    replicates[:, there] = sums
    return replicates.reshape(n_boot, *count.shape)


def resample_clusters(clusters: ClusterTables, n_boot: int, rng: np.random.Generator) -> Array:
    """Return the weight sums of cells in resamples of clusters.

    Each cluster enters a resample Poisson(1) times, with all its rows (the Poisson bootstrap: Hanley and
    MacGibbon 2006, Comput Methods Programs Biomed 83:57). The sum of N such numbers is Poisson(N), so clusters of
    equal tables are drawn together, at the cost of one.

    Parameters
    ----------
    clusters
        The clusters' tables.
    n_boot
        Number of resamples.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (n_boot, *shape).
    """
    times = rng.poisson(clusters.repeats, size=(n_boot, len(clusters.repeats)))
    starts = np.flatnonzero(np.r_[True, clusters.cell[1:] != clusters.cell[:-1]])
    replicates = np.zeros((n_boot, int(np.prod(clusters.shape))))
    sums = np.add.reduceat(np.take(times, clusters.table, axis=1) * clusters.weight, starts, axis=1)
    replicates[:, clusters.cell[starts]] = sums
    return replicates.reshape(n_boot, *clusters.shape)


def check_resampling(times: int, seed: int, name: str = "n_boot") -> None:
    """Refuse fewer than one resample and a negative seed."""
    if times < 1:
        raise InputError(f"{name} is {times}: it must be at least 1, and 1000 is usual")
    if seed < 0:
        raise InputError(f"the seed is {seed}: give a whole number from 0 up")


def _pooled(
    draw: Callable[[int, np.random.Generator], Array],
    masks: npt.NDArray[np.bool_],
    n_boot: int,
    width: int,
    rng: np.random.Generator,
) -> Array:
    """Return the replicates of the tables of groups, (n_boot, groups, 2, 2), a block of replicates at a time."""
    block = max(_NUMBERS_AT_ONCE // width, 1)
    belongs = masks.astype(np.float64)
    pooled = np.empty((n_boot, len(masks), 4))
    for start in range(0, n_boot, block):
        size = min(block, n_boot - start)
        cells = draw(size, rng).reshape(size, masks.shape[1], 4)
        sums = belongs @ cells.transpose(1, 0, 2).reshape(masks.shape[1], size * 4)
        pooled[start : start + size] = sums.reshape(len(masks), size, 4).transpose(1, 0, 2)
    return pooled.reshape(n_boot, len(masks), 2, 2)


def _take(replicates: Confusion, groups: npt.NDArray[np.intp]) -> Confusion:
    return Confusion(*[replicates.weight[:, groups]] * 2)
