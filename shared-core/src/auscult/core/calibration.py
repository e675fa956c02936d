"""Whether predicted risks are as large as the risks that are observed.

Sources: Van Calster et al. (2016), J Clin Epidemiol 74:167, for slope and intercept; Naeini et al. (2015), AAAI,
for the expected calibration error.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.errors import InputError
from auscult.core.intervals import wilson

FloatArray = NDArray[np.float64]


class CalibrationCurve(NamedTuple):
    """Per bin: mean ``predicted`` and ``observed`` risk, how many (``n``), Wilson bounds of the observed."""

    predicted: FloatArray
    observed: FloatArray
    n: NDArray[np.int64]
    low: FloatArray
    high: FloatArray


def calibration_curve(
    label: ArrayLike, probability: ArrayLike, *, bins: int = 15, confidence: float = 0.95
) -> CalibrationCurve:
    """Return predicted against observed risk in bins of equal mass.

    The edges are quantiles of the probabilities, and a probability on an edge belongs to the bin below it: equal
    ones are never parted, so where many are equal the bins differ in size, and empty ones are left out.

    Parameters
    ----------
    label, probability
        [N] each.
    bins
        How many.
    confidence
        Of the bounds of the observed risk.

    Raises
    ------
    InputError
        Where lengths differ, a label is neither 0 nor 1, or a probability lies outside [0, 1].
    """
    y, p = checked_probabilities(label, probability)
    predicted, observed, n = _bins(y, p, _check_bins(bins))
    low, high = wilson(np.round(observed * n), n, confidence=confidence)
    return CalibrationCurve(predicted, observed, n, low, high)


def expected_calibration_error(label: ArrayLike, probability: ArrayLike, *, bins: int = 15) -> float:
    """Return the mean distance of predicted and observed risk over bins of equal mass, weighted by their size.

    The bins are those of :func:`calibration_curve`; parameters and errors too.
    """
    predicted, observed, n = _bins(*checked_probabilities(label, probability), _check_bins(bins))
    return float((n * np.abs(predicted - observed)).sum() / n.sum())


def calibration_slope(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the slope of a logistic regression of the label on the log-odds of the probability.

    1 is ideal; below it predictions are too extreme. Probabilities are kept 1e-6 away from 0 and 1.
    Parameters and errors are those of :func:`calibration_curve`; NaN where the slope is not defined: one class, one
    probability for all, or classes that a threshold separates.
    """
    y, p = checked_probabilities(label, probability)
    x = _log_odds(p)
    cases, others = x[y], x[~y]
    # Without overlap of the two classes the likelihood has no maximum.
    if not cases.size or not others.size or cases.min() >= others.max() or cases.max() <= others.min():
        return np.nan
    return float(_logistic(np.column_stack([np.ones_like(x), x]), y, np.zeros_like(x))[1])


def calibration_intercept(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the shift of the log-odds that makes predicted and observed cases equal in number.

    0 is ideal; above it risks are too low on the whole. Parameters and errors are those of
    :func:`calibration_slope`; NaN where all labels are equal.
    """
    y, p = checked_probabilities(label, probability)
    if y.all() or not y.any():
        return np.nan
    return float(_logistic(np.ones((len(y), 1)), y, _log_odds(p))[0])


def checked_scores(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return labels as booleans and scores as numbers, or say what is wrong with them."""
    y, s = np.asarray(label), np.asarray(score)
    if y.ndim != 1 or y.shape != s.shape or not y.size:
        raise InputError(f"labels of shape {y.shape} and scores of shape {s.shape}: give one score for each label")
    if y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        wrong = y[~np.isin(y, (0, 1))][:1].tolist() or y[:1].tolist()
        raise InputError(f"a label is {wrong[0]!r}: labels are 1 for cases and 0 for others; leave unknown ones out")
    if s.dtype.kind not in "biuf" or np.isnan(s).any():
        raise InputError("a score is missing or no number: leave such rows out, and say how many they are")
    return y.astype(np.bool_), s.astype(np.float64)


def checked_probabilities(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return labels as booleans and probabilities, or say what is wrong with them."""
    y, p = checked_scores(label, probability)
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"a probability is {p[(p < 0) | (p > 1)][0]:g}: probabilities lie between 0 and 1")
    return y, p


def _check_bins(bins: int) -> int:
    if not (bins >= 1 and float(bins).is_integer()):
        raise InputError(f"bins is {bins}: give a whole number, 1 at least")
    return int(bins)


def _bins(y: NDArray[np.bool_], p: FloatArray, bins: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    edges = np.quantile(p, np.arange(1, bins) / bins)
    number = np.searchsorted(edges, p)
    n = np.bincount(number, minlength=bins)
    held = n > 0
    predicted = np.bincount(number, weights=p, minlength=bins)[held] / n[held]
    return predicted, np.bincount(number, weights=y, minlength=bins)[held] / n[held], n[held]


def _log_odds(p: FloatArray) -> FloatArray:
    kept = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(kept / (1 - kept))


def _logistic(x: FloatArray, y: NDArray[np.bool_], offset: FloatArray) -> FloatArray:
    """Return the maximum-likelihood coefficients of a logistic regression, by Newton's method with short steps."""

    def loss(beta: FloatArray) -> float:
        z = x @ beta + offset
        return float(np.logaddexp(0, np.where(y, -z, z)).sum())

    beta = np.zeros(x.shape[1])
    here = loss(beta)
    for _ in range(100):
        with np.errstate(over="ignore"):
            risk = 1 / (1 + np.exp(-(x @ beta + offset)))
        try:
            step = np.linalg.solve((x * (risk * (1 - risk))[:, None]).T @ x, x.T @ (y - risk))
        except np.linalg.LinAlgError:  # so few rows overlap that the slope is as good as infinite
            return np.full_like(beta, np.nan)
        # Farther away risks are 0 and 1 in floating point, and no step leads back.
        step *= 4 / max(4, np.abs(x @ step).max())
        while (there := loss(beta + step)) > here + 1e-12 * abs(here) and np.abs(step).max() > 1e-12:
            step = step / 2
        beta, here = beta + step, there
        if np.abs(step).max() < 1e-12:
            break
    return beta
