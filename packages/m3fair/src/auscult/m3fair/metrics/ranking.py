"""Ranking by a score, weighted, with ties, each from one sort: areas, comparisons across groups, all thresholds.

A row is decided positive where its score is at least the threshold. Labels (n,) are 0 or 1, scores (n,) finite
and higher for positive, weights (n,) prior weights, 1 by default; rows of weight 0 do not count. Labels, scores
or weights that cannot be used raise an :class:`~auscult.core.errors.InputError`; what is undefined is NaN.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.intervals import wilson_proportion
from auscult.m3fair.metrics.confusion import Array, Confusion
from auscult.m3fair.metrics.rows import as_numbers, check_rows, code_groups


@dataclass(frozen=True)
class Auroc:
    """Probability that a positive scores above a negative, ties counting one half; NaN without both classes."""

    value: float
    low: float
    high: float


def auroc(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Auroc:
    """Return the weighted area under the ROC curve with its interval.

    The interval is DeLong's on the logit scale (DeLong et al. 1988), its structural components weighted; where
    the ranking is perfect and the variance 0, it is Wilson's for the smaller class, each member of which ranked
    right.

    Parameters
    ----------
    label
        (n,) 1 for positive, 0 for negative.
    score
        (n,) finite; higher means more likely positive.
    weight
        (n,) prior weights, 1 by default; rows of weight 0 do not count.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value
    0.75
    """
    y, s, w, _ = check_rows(label, score, weight)
    positive, negative = float((w * y).sum()), float((w * (1 - y)).sum())
    if positive <= 0 or negative <= 0:
        return Auroc(np.nan, np.nan, np.nan)
    order = np.argsort(s, kind="stable")
    y, s, w = y[order], s[order], w[order]
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    pos, neg, pos2, neg2 = (np.add.reduceat(part, starts) for part in (w * y, w * (1 - y), w**2 * y, w**2 * (1 - y)))
    beaten = (np.cumsum(neg) - neg / 2) / negative
    beating = (positive - np.cumsum(pos) + pos / 2) / positive
    area = float((pos * beaten).sum() / positive)
    sizes = [positive**2 / pos2.sum(), negative**2 / neg2.sum()]
    variance = sum(
        (squared * (placement - area) ** 2).sum() / total**2 * size / max(size - 1, 0.5)
        for squared, placement, total, size in (
            (pos2, beaten, positive, sizes[0]),
            (neg2, beating, negative, sizes[1]),
        )
    )
    if variance > 0 and 0 < area < 1:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        logit, half = np.log(area / (1 - area)), z * np.sqrt(variance) / (area * (1 - area))
        low, high = (1 / (1 + np.exp(-np.clip(end, -700, 700))) for end in (logit - half, logit + half))
    else:
        low, high = wilson_proportion(area, min(sizes), confidence=confidence)
    return Auroc(area, float(low), float(high))


def average_precision(label: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the area under the precision-recall curve as average precision, scikit-learn's definition.

    The sum over thresholds of the precision times the gain in recall, without interpolation; NaN without
    positives.

    Examples
    --------
    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    recall, precision = _precision_recall(label, score, weight)
    return float(-np.diff(recall, append=0.0) @ precision) if len(recall) else float("nan")


def min_sensitivity_precision(label: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return min(Se, +P): over all thresholds, the best smaller one of sensitivity and precision (Silva et al. 2012).

    Examples
    --------
    >>> round(min_sensitivity_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.6667
    """
    recall, precision = _precision_recall(label, score, weight)
    return float(np.minimum(recall, precision).max(initial=0.0)) if len(recall) else float("nan")


@dataclass(frozen=True)
class CrossAuroc:
    """Areas under the ROC curve across groups.

    Parameters
    ----------
    groups
        The G groups.
    value
        (G, G) probability that a positive of the row's group scores above a negative of the column's group, ties
        counting one half; the diagonal is each group's own AUROC. NaN without such rows.
    """

    groups: tuple[Hashable, ...]
    value: Array


def cross_auroc(
    label: npt.ArrayLike, score: npt.ArrayLike, group: Any, weight: npt.ArrayLike | None = None
) -> CrossAuroc:
    """Return the AUROC of each group's positives against each group's negatives (xAUC, Kallus and Zhou 2019).

    The disparity of two groups is ``value[a, b] - value[b, a]``: above 0, positives of a are more often ranked
    above negatives of b than the other way round.

    Parameters
    ----------
    group
        (n,) each row's group.

    Examples
    --------
    >>> cross_auroc([1, 0, 1, 0], [0.9, 0.6, 0.5, 0.1], ["a", "a", "b", "b"]).value
    array([[1., 1.],
           [0., 1.]])
    """
    y, s, w, kept = check_rows(label, score, weight)
    groups, code = code_groups(group, kept)
    positive, negative = (np.bincount(code, part, len(groups)) for part in (w * y, w * (1 - y)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = _wins(s, code, w * y, w * (1 - y), len(groups)) / np.outer(positive, negative)
    return CrossAuroc(groups, value)


@dataclass(frozen=True)
class EqualityGaps:
    """Average equality gaps: how far a group's scores are shifted against everyone else's of the same label.

    Parameters
    ----------
    groups
        The G groups.
    positive, negative
        (G,) in [-1/2, 1/2], 0 for no shift, above 0 where the group scores higher. NaN where the group or the
        others have no such rows.
    """

    groups: tuple[Hashable, ...]
    positive: Array
    negative: Array


def average_equality_gaps(
    label: npt.ArrayLike, score: npt.ArrayLike, group: Any, weight: npt.ArrayLike | None = None
) -> EqualityGaps:
    """Return, for positives and for negatives, P(a score of the group is above one of the others) - 1/2.

    Also the area between the diagonal and the curve of the group's true (false) positive rate over that of the
    others, all thresholds taken (Borkan et al. 2019, whose integral has the opposite sign). Ties count one half.

    Parameters
    ----------
    group
        (n,) each row's group.

    Examples
    --------
    >>> average_equality_gaps([1, 1, 1, 1], [0.9, 0.6, 0.5, 0.1], ["a", "a", "b", "b"]).positive
    array([ 0.5, -0.5])
    """
    y, s, w, kept = check_rows(label, score, weight)
    groups, code = code_groups(group, kept)

    def gaps(mass: Array) -> Array:
        wins = _wins(s, code, mass, mass, len(groups))
        np.fill_diagonal(wins, 0.0)
        inside = np.bincount(code, mass, len(groups))
        others = [np.delete(inside, g).sum() for g in range(len(groups))]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(wins.sum(axis=1) / (inside * others) - 0.5)

    return EqualityGaps(groups, gaps(w * y), gaps(w * (1 - y)))


@dataclass(frozen=True)
class ThresholdSweep:
    """Confusion tables at many thresholds; the result of :func:`threshold_sweep`.

    Parameters
    ----------
    thresholds
        (T,)
    confusion
        Tables (T, 2, 2), or (G, T, 2, 2) with groups.
    groups
        The G groups, or None.
    """

    thresholds: Array
    confusion: Confusion
    groups: tuple[Hashable, ...] | None

    def best_balanced_accuracy(self) -> tuple[float, float]:
        """Return the threshold with the best balanced accuracy of everyone, and that; the lowest where several tie.

        NaN without both classes. Chosen on the rows that are then judged, it flatters: choose it on others.
        """
        everyone = self.confusion
        if self.groups is not None:
            everyone = Confusion(everyone.weight.sum(axis=0), everyone.weight_squared.sum(axis=0))
        accuracy = everyone.balanced_accuracy()
        best = float(accuracy.max())
        tied = self.thresholds[accuracy >= best - 1e-12]
        return float(tied.min(initial=np.inf)) if len(tied) else float("nan"), best


def threshold_sweep(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    group: Any = None,
    thresholds: npt.ArrayLike | None = None,
) -> ThresholdSweep:
    """Return the confusion tables of the decision score >= t at every threshold t, from one sort.

    Parameters
    ----------
    group
        (n,) each row's group; one table for everyone by default.
    thresholds
        (T,) in any order, compared with the scores as float64. Default: every distinct score, ascending, and
        infinity, at which nobody is positive.

    Raises
    ------
    InputError
        Also for thresholds that are no numbers, missing, or none.

    Examples
    --------
    >>> sweep = threshold_sweep([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], thresholds=[0.35, 0.5])
    >>> sweep.confusion.rate("true_positive_rate"), sweep.best_balanced_accuracy()
    (array([1. , 0.5]), (0.35, 0.75))
    """
    y, s, w, kept = check_rows(label, score, weight)
    cuts = np.append(np.unique(s), np.inf) if thresholds is None else as_numbers(thresholds, "thresholds")
    if not len(cuts) or np.isnan(cuts).any():
        raise InputError("thresholds are missing: give at least one, and no NaN")
    groups, code = (None, 0) if group is None else code_groups(group, kept)
    distinct, place = np.unique(cuts, return_inverse=True)
    reached = np.searchsorted(distinct, s, side="right")
    shape = (1 if groups is None else len(groups), len(distinct) + 1, 2)
    key = (code * shape[1] + reached) * 2 + y.astype(np.intp)

    def tables(mass: Array) -> Array:
        cells = np.bincount(key, mass, int(np.prod(shape))).reshape(shape)
        rejected = cells.cumsum(axis=1)[:, :-1]
        selected = cells[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        stacked = np.stack([rejected, selected], axis=-1)[:, place]
        return np.asarray(stacked[0] if groups is None else stacked)

    return ThresholdSweep(cuts, Confusion(tables(w), tables(w**2)), groups)


def _precision_recall(label: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None) -> tuple[Array, Array]:
    """Return recall and precision at every distinct score, ascending; both empty without positives."""
    found = threshold_sweep(label, score, weight).confusion
    recall, precision = found.rate("true_positive_rate")[:-1], found.rate("precision")[:-1]
    return (recall[:0], precision[:0]) if np.isnan(recall).any() else (recall, precision)


def _wins(score: Array, code: npt.NDArray[np.intp], above: Array, below: Array, count: int) -> Array:
    """Return (G, G): the mass of pairs in which the row group's score is higher, ties one half.

    ``above`` and ``below`` (n,) are the weights of the rows as the one and as the other member of a pair.
    """
    _, place = np.unique(score, return_inverse=True)
    wins = np.zeros((count, count))
    for b in range(count):
        mass = np.bincount(place, below * (code == b))
        wins[:, b] = np.bincount(code, above * (np.cumsum(mass) - mass / 2)[place], count)
    return wins
