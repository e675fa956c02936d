"""Intervals and tests for rates, their differences and ratios, and for any statistic of patients.

Closed forms where a rate is all there is (:func:`wilson`, :func:`newcombe`, :func:`mover`, :func:`katz`),
the percentile bootstrap by subject for the rest (:func:`bootstrap`, :func:`paired_difference`), an exact sign
test and two adjustments for many tests. The closed forms broadcast over arrays; what is undefined (a rate of
nobody) is NaN, never an error, so that one empty group does not spoil a table of groups.

Sources: Wilson (1927), J Am Stat Assoc 22:209; Newcombe (1998), Stat Med 17:873; Zou and Donner (2008), Stat
Med 27:1693 (MOVER); Donner and Zou (2012), Stat Methods Med Res 21:347 (MOVER for ratios); Katz et al.
(1978), Biometrics 34:469; Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13; Holm
(1979), Scand J Stat 6:65; Benjamini and Hochberg (1995), J R Stat Soc B 57:289.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.errors import InputError

FloatArray = NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Interval:
    """A measured value with its confidence interval.

    Parameters
    ----------
    value, low, high
        The estimate and its bounds; NaN where undefined.
    confidence
        The nominal coverage.
    undefined
        How many bootstrap replicates had no value (a resample without positives, say) and were left out.

    Examples
    --------
    >>> Interval(0.5, 0.25, 0.75).to_dict()
    {'value': 0.5, 'ci': [0.25, 0.75]}
    """

    value: float
    low: float
    high: float
    confidence: float = 0.95
    undefined: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"value": x, "ci": [low, high]}``, as in every JSON of ours; NaN and infinity are None."""
        value, low, high = (float(x) if math.isfinite(x) else None for x in (self.value, self.low, self.high))
        return {"value": value, "ci": [low, high]}


def wilson(successes: ArrayLike, total: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return Wilson's score interval of a rate.

    Parameters
    ----------
    successes, total
        Counts, of any shapes that broadcast; they need not be whole (weighted or effective counts).
    confidence
        The nominal coverage.

    Returns
    -------
    low, high
        Arrays of the broadcast shape; NaN where ``total`` is 0.

    Raises
    ------
    InputError
        For a negative total, or successes outside [0, total].

    Examples
    --------
    >>> low, high = wilson(81, 263)
    >>> print(f"{low:.4f} {high:.4f}")
    0.2553 0.3662
    """
    n = np.asarray(total, dtype=np.float64)
    proportion = np.asarray(successes, dtype=np.float64) / np.where(n == 0, np.nan, n)
    return wilson_proportion(proportion, n, confidence=confidence)


def wilson_proportion(proportion: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return Wilson's score interval of a rate that is given with its (effective) sample size.

    For weighted data ``n`` is the effective size, the squared sum of weights over the sum of their squares.
    Parameters, result and errors are those of :func:`wilson`.
    """
    p, n = _rate(proportion, n)
    share = _normal_quantile(confidence) ** 2 / np.where(n > 0, n, np.nan)
    centre = p + share / 2
    half = np.sqrt(share * (p * (1 - p) + share / 4))
    low, high = (centre - half) / (1 + share), (centre + half) / (1 + share)
    # Rounding must neither leave a bound on the wrong side of the estimate nor miss an exact 0 or 1.
    low = np.where(p == 0, 0 * low, np.clip(low, 0, p))
    high = np.where(p == 1, 1 + 0 * high, np.clip(high, p, 1))
    return low[()], high[()]


def mover(
    values: Sequence[ArrayLike],
    lows: Sequence[ArrayLike],
    highs: Sequence[ArrayLike],
    coefficients: Sequence[float],
) -> Bounds:
    """Return the interval of a weighted sum of independent estimates from the interval of each.

    The distances from each estimate to the bound that matters add in squares (method of variance estimates
    recovery), so that each part keeps the asymmetry of its own interval.

    Parameters
    ----------
    values, lows, highs
        One entry a part: the estimates and the bounds of their intervals, of shapes that broadcast.
    coefficients
        The weight of each part.

    Returns
    -------
    low, high
        Arrays of the broadcast shape; NaN where any part is undefined.

    Examples
    --------
    The average odds difference is the mean of a difference among positives and one among negatives:

    >>> tpr, tpr_bounds = 0.10, newcombe(0.80, 50, 0.70, 60)
    >>> fpr, fpr_bounds = 0.05, newcombe(0.25, 90, 0.20, 80)
    >>> low, high = mover(
    ...     [tpr, fpr], [tpr_bounds[0], fpr_bounds[0]], [tpr_bounds[1], fpr_bounds[1]], [0.5, 0.5]
    ... )
    >>> print(f"{low:.3f} {high:.3f}")
    -0.029 0.173
    """
    total, below, above = np.zeros(()), np.zeros(()), np.zeros(())
    for value, low, high, coefficient in zip(values, lows, highs, coefficients, strict=True):
        part, *bounds = (coefficient * np.asarray(x, dtype=np.float64) for x in (value, low, high))
        lower, upper = bounds if coefficient >= 0 else bounds[::-1]
        total = total + part
        below = below + (part - lower) ** 2
        above = above + (upper - part) ** 2
    return (total - np.sqrt(below))[()], (total + np.sqrt(above))[()]


def newcombe(p1: ArrayLike, n1: ArrayLike, p2: ArrayLike, n2: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return Newcombe's hybrid score interval of ``p1 - p2``, two independent rates.

    Parameters
    ----------
    p1, p2
        The rates, of shapes that broadcast.
    n1, n2
        Their (effective) sample sizes.
    confidence
        The nominal coverage.

    Returns
    -------
    low, high
        Within [-1, 1]; NaN where either rate is undefined.

    Examples
    --------
    >>> low, high = newcombe(56 / 70, 70, 48 / 80, 80)
    >>> print(f"{low:.4f} {high:.4f}")
    0.0524 0.3339
    """
    (low1, high1), (low2, high2) = (wilson_proportion(p, n, confidence=confidence) for p, n in ((p1, n1), (p2, n2)))
    return mover([p1, p2], [low1, low2], [high1, high2], [1, -1])


def katz(p1: ArrayLike, n1: ArrayLike, p2: ArrayLike, n2: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the interval of the ratio ``p1 / p2`` of two independent rates.

    Between the ends it is Katz's: the logarithm of the ratio, with its delta-method error. Where a rate is
    exactly 0 or 1 that error is infinite or lacks a part, so there the interval joins the two Wilson
    intervals instead (MOVER for ratios): ``p1 = 0`` gives [0, upper], ``p2 = 0`` gives [lower, infinity],
    two rates of 1 give an interval around 1. Both rates 0 is undefined. Swapping the rates gives the
    reciprocal interval.

    Parameters and result are those of :func:`newcombe`, with bounds in [0, infinity].

    Examples
    --------
    >>> low, high = katz(0.3, 100, 0.2, 100)
    >>> print(f"{low:.3f} {high:.3f}")
    0.916 2.456
    """
    (p1, n1), (p2, n2) = _rate(p1, n1), _rate(p2, n2)
    p1, n1, p2, n2 = np.broadcast_arrays(p1, n1, p2, n2)
    inside = (p1 > 0) & (p1 < 1) & (p2 > 0) & (p2 < 1) & (n1 > 0) & (n2 > 0)
    rate1, rate2 = np.where(inside, p1, 0.5), np.where(inside, p2, 0.5)
    with np.errstate(divide="ignore"):
        error = np.sqrt((1 - rate1) / (rate1 * n1) + (1 - rate2) / (rate2 * n2))
    low, high = _mover_ratio(p1, n1, p2, n2, confidence)
    ratio, factor = rate1 / rate2, np.exp(_normal_quantile(confidence) * np.where(inside, error, 0))
    return np.where(inside, ratio / factor, low)[()], np.where(inside, ratio * factor, high)[()]


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    subjects: int | ArrayLike,
    *,
    n_boot: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Return a statistic of all rows with its percentile interval over resamples of subjects.

    Parameters
    ----------
    statistic
        Called with an integer array of row numbers, repeats included; returns a number, NaN where undefined.
    subjects
        The subject of each row, so that all rows of a patient are drawn together; or the number of rows,
        where each row is a subject of its own.
    n_boot
        The number of resamples.
    seed
        The same seed and the same set of subjects give the same resamples, in whatever order the rows are.
    confidence
        The nominal coverage.

    Returns
    -------
    Interval
        ``undefined`` counts the replicates that were NaN and left out.

    Raises
    ------
    InputError
        Without subjects, for a missing subject, or for fewer than one resample.

    Examples
    --------
    >>> lactate = np.array([1.0, 1.2, 4.0, 3.8, 2.1])
    >>> bootstrap(lambda rows: lactate[rows].mean(), [1, 1, 2, 2, 3], seed=0).value
    2.42
    """
    value, replicates = bootstrap_replicates(statistic, subjects, n_boot=n_boot, seed=seed)
    low, high = percentile_bounds(replicates, confidence=confidence)
    undefined = int(np.isnan(replicates).sum())
    return Interval(float(value), float(low), float(high), confidence, undefined)


def paired_difference(
    statistic_a: Callable[[NDArray[np.intp]], float],
    statistic_b: Callable[[NDArray[np.intp]], float],
    subjects: int | ArrayLike,
    *,
    n_boot: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Return ``statistic_a - statistic_b`` with its interval, both taken on the same resamples of subjects.

    Two systems that answer alike differ by exactly 0 in every resample. Parameters, result and errors are
    those of :func:`bootstrap`.
    """

    def difference(rows: NDArray[np.intp]) -> float:
        return float(statistic_a(rows)) - float(statistic_b(rows))

    return bootstrap(difference, subjects, n_boot=n_boot, seed=seed, confidence=confidence)


def bootstrap_replicates(
    statistic: Callable[[NDArray[np.intp]], Any], subjects: int | ArrayLike, *, n_boot: int = 1000, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return a statistic of all rows and its replicates, for a statistic that may be an array of several.

    Parameters and errors are those of :func:`bootstrap`, except that ``statistic`` may return an array.

    Returns
    -------
    value
        The statistic of all rows, of its own shape.
    replicates
        Shape [n_boot, *shape of value].
    """
    if n_boot < 1:
        raise InputError(f"n_boot is {n_boot}, but a bootstrap needs at least one resample: 1000 is usual")
    rows_of, starts, sizes = _rows_by_subject(subjects)
    rng = np.random.default_rng(seed)
    value = np.asarray(statistic(np.arange(len(rows_of))), dtype=np.float64)
    replicates = np.empty((n_boot, *value.shape))
    for b in range(n_boot):
        drawn = rng.integers(len(sizes), size=len(sizes))
        taken = sizes[drawn]
        first = np.repeat(starts[drawn] - (np.cumsum(taken) - taken), taken)
        replicates[b] = statistic(rows_of[first + np.arange(len(first))])
    return value, replicates


def percentile_bounds(replicates: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the percentile interval of bootstrap replicates along their first axis.

    With m replicates that are not NaN the bounds are the k-th smallest and the k-th largest, k the whole
    part of (m + 1) (1 - confidence) / 2 and at least 1. Order statistics let a ratio's infinite replicates
    count as what they are, and make the bounds of the negated statistic the negated bounds.

    Parameters
    ----------
    replicates
        Shape [n_boot, ...].
    confidence
        The nominal coverage.

    Returns
    -------
    low, high
        Arrays of the remaining shape; NaN where every replicate is NaN.
    """
    _normal_quantile(confidence)
    ordered = np.sort(np.asarray(replicates, dtype=np.float64), axis=0)
    if not len(ordered):
        raise InputError("there is no replicate to take bounds of: resample at least once, 1000 times is usual")
    m = np.count_nonzero(~np.isnan(ordered), axis=0)
    k = np.maximum(np.floor((m + 1) * (1 - confidence) / 2 + 1e-9).astype(np.intp), 1)
    low, high = (
        np.take_along_axis(ordered, np.asarray(np.clip(i, 0, None))[np.newaxis], axis=0)[0] for i in (k - 1, m - k)
    )
    return low[()], high[()]


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value of wins against losses, were both equally likely; ties are left out.

    Examples
    --------
    >>> sign_test(8, 2)
    0.109375
    """
    if not (wins >= 0 and losses >= 0 and float(wins).is_integer() and float(losses).is_integer()):
        raise InputError(f"a sign test counts whole wins and losses from 0 up, not {wins} and {losses}")
    n, fewer = int(wins) + int(losses), int(min(wins, losses))
    term, tail = 1, 1
    for k in range(1, fewer + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def holm(p: ArrayLike) -> FloatArray:
    """Return Holm's step-down adjusted p-values, which control the chance of any false finding.

    Parameters
    ----------
    p
        P-values of any shape; NaN is a test that was not made: it stays NaN and does not count.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """

    def adjust(ordered: FloatArray) -> FloatArray:
        return np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))

    return _adjusted(p, adjust)


def benjamini_hochberg(p: ArrayLike) -> FloatArray:
    """Return Benjamini and Hochberg's step-up adjusted p-values, which control the share of false findings.

    Parameters are those of :func:`holm`.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """

    def adjust(ordered: FloatArray) -> FloatArray:
        scaled = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, adjust)


def is_missing(value: Any) -> bool:
    """Return whether one value is a missing one: None, NaN, or pandas' NaT and NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA has no truth value
        return True
    except ValueError:  # nor has an array, which is not one value
        return False


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}, but it must lie between 0 and 1: 0.95 is usual")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _rate(proportion: ArrayLike, n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return a rate and its size as arrays; what lies outside [0, 1] by rounding alone is brought back."""
    p, size = np.asarray(proportion, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if np.any(size < 0):
        raise InputError(f"a sample size of {np.nanmin(size):g} is negative: pass counts or weights from 0 up")
    wrong = (p < -1e-9) | (p > 1 + 1e-9)
    if np.any(wrong):
        worst = p[wrong].flat[0]
        raise InputError(f"a rate of {worst:g} lies outside [0, 1]: successes cannot pass their total")
    return np.clip(p, 0, 1), size


def _mover_ratio(p1: FloatArray, n1: FloatArray, p2: FloatArray, n2: FloatArray, confidence: float) -> Bounds:
    """Return Donner and Zou's interval of p1 / p2: the ratios r where MOVER's bounds of p1 - r p2 are 0."""
    (low1, high1), (low2, high2) = (wilson_proportion(p, n, confidence=confidence) for p, n in ((p1, n1), (p2, n2)))
    product = p1 * p2
    with np.errstate(divide="ignore", invalid="ignore"):
        above, below = low1 * (2 * p1 - low1), high2 * (2 * p2 - high2)
        low = above / (product + np.sqrt(np.maximum(product**2 - above * below, 0)))
        above, below = high1 * (2 * p1 - high1), low2 * (2 * p2 - low2)
        high = (product + np.sqrt(np.maximum(product**2 - above * below, 0))) / below
    known = np.isfinite(low1 + low2)
    low = np.where(known & (p1 == 0) & (p2 > 0), 0, low)
    high = np.where(known & (p2 == 0) & (p1 > 0), np.inf, high)
    return low, high


def _rows_by_subject(subjects: int | ArrayLike) -> tuple[NDArray[np.intp], ...]:
    """Return the rows grouped by subject (subjects sorted), where each group starts, and its size."""
    labels = np.arange(subjects) if isinstance(subjects, (int, np.integer)) else np.asarray(subjects)
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"subjects of shape {labels.shape}: pass one subject for each of at least one row")
    missing = [is_missing(label) for label in labels] if labels.dtype.kind in "OfmM" else []
    if any(missing):
        raise InputError(f"row {missing.index(True)} has no subject: give it one or leave the row out")
    try:
        _, subject, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    except TypeError:
        raise InputError("subjects mix types that have no order: make them all text or all numbers") from None
    return np.argsort(subject, kind="stable"), np.cumsum(sizes) - sizes, sizes


def _adjusted(p: ArrayLike, adjust: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Apply an adjustment of sorted p-values to those that are not NaN."""
    values = np.array(p, dtype=np.float64)
    made = ~np.isnan(values)
    tested = values[made]
    if np.any((tested < 0) | (tested > 1)):
        raise InputError("a p-value lies outside [0, 1]: pass the unadjusted p-values")
    order = np.argsort(tested, kind="stable")
    tested[order] = np.minimum(adjust(tested[order]), 1)
    values[made] = tested
    return values
