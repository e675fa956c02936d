"""Calibration of predicted probabilities, weighted: in the large, by logistic recalibration, by bins, by score.

Every function takes labels (n,) of 0 and 1, probabilities (n,) and prior weights (n,), 1 by default; rows of
weight 0 do not count, and labels, scores or weights that cannot be used raise an
:class:`~auscult.core.errors.InputError`. What is undefined is NaN.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.metrics.rows import Array, check_rows

Numbers = npt.ArrayLike


def calibration_in_the_large(label: Numbers, score: Numbers, weight: Numbers | None = None) -> float:
    """Return the mean probability minus the rate of positives; above 0, risk is overestimated.

    Examples
    --------
    >>> calibration_in_the_large([0, 1], [0.5, 1.0])
    0.25
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    return _mean(p - y, w)


def brier_score(label: Numbers, score: Numbers, weight: Numbers | None = None) -> float:
    """Return the mean squared distance of the probability from the label (Brier 1950).

    Examples
    --------
    >>> brier_score([0, 1], [0.5, 1.0])
    0.125
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    return _mean((p - y) ** 2, w)


def log_loss(label: Numbers, score: Numbers, weight: Numbers | None = None) -> float:
    """Return the mean negative logarithm of the probability given to what happened; infinite where it was 0.

    Examples
    --------
    >>> round(log_loss([0, 1], [0.5, 1.0]), 4)
    0.3466
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    with np.errstate(divide="ignore"):
        return _mean(np.where(y == 1, -np.log(p), -np.log1p(-p)), w)


def generalized_true_positive_rate(label: Numbers, score: Numbers, weight: Numbers | None = None) -> float:
    """Return the mean probability among positives, a true positive rate without threshold (Pleiss et al. 2017).

    Examples
    --------
    >>> generalized_true_positive_rate([0, 1, 1], [0.5, 1.0, 0.5])
    0.75
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    return _mean(p[y == 1], w[y == 1])


def generalized_false_positive_rate(label: Numbers, score: Numbers, weight: Numbers | None = None) -> float:
    """Return the mean probability among negatives, a false positive rate without threshold (Pleiss et al. 2017).

    Examples
    --------
    >>> generalized_false_positive_rate([0, 1, 1], [0.5, 1.0, 0.5])
    0.5
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    return _mean(p[y == 0], w[y == 0])


@dataclass(frozen=True)
class CalibrationCurve:
    """Probabilities and what happened, by bins of equal mass; the bins that hold rows, lowest first.

    Parameters
    ----------
    score
        (B,) mean probability.
    rate
        (B,) rate of positives.
    weight
        (B,) sum of prior weights.
    effective_n
        (B,) effective number of rows, (sum v)^2 / sum v^2, for an interval of the rate.
    bins
        The number of bins asked for; B is smaller where tied probabilities fill several.
    """

    score: Array
    rate: Array
    weight: Array
    effective_n: Array
    bins: int

    @property
    def expected_error(self) -> float:
        """The weighted mean distance of a bin's mean probability from its rate; NaN without rows."""
        return _mean(np.abs(self.score - self.rate), self.weight)


def calibration_curve(
    label: Numbers, score: Numbers, weight: Numbers | None = None, *, bins: int = 10
) -> CalibrationCurve:
    """Return the calibration curve in bins of equal mass.

    Rows are ordered by probability, and each goes to the bin in which the middle of its mass lies; rows with
    the same probability lie together, in one bin, so that the order of rows does not matter.

    Parameters
    ----------
    bins
        The number of bins, at least 1.

    Examples
    --------
    >>> calibration_curve([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2).rate
    array([0., 1.])
    """
    if bins < 1:
        raise InputError(f"bins={bins}: give at least 1 bin, such as 10")
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    _, place = np.unique(p, return_inverse=True)
    mass = np.bincount(place, w)
    # The tolerance puts a middle that lies on an edge above it, however the sum was rounded.
    middle = (np.cumsum(mass) - mass / 2) * bins / max(mass.sum(), np.finfo(float).tiny)
    row_bin = np.minimum(np.floor(middle + 1e-9).astype(np.intp), bins - 1)[place]
    sums = [np.bincount(row_bin, part, bins) for part in (w, w * p, w * y, w**2)]
    total, scores, positives, squared = (part[sums[0] > 0] for part in sums)
    return CalibrationCurve(scores / total, positives / total, np.asarray(total, float), total**2 / squared, bins)


def expected_calibration_error(
    label: Numbers, score: Numbers, weight: Numbers | None = None, *, bins: int = 10
) -> float:
    """Return the expected calibration error (Naeini et al. 2015) over the bins of :func:`calibration_curve`.

    It grows with the number of bins and with the noise of small groups: state ``bins``, and compare groups of
    different sizes with care.

    Examples
    --------
    >>> round(expected_calibration_error([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2), 3)
    0.25
    """
    return calibration_curve(label, score, weight, bins=bins).expected_error


@dataclass(frozen=True)
class Recalibration:
    """The line, on the logit scale, that maps probabilities to what happened: 0 and 1 where they are calibrated."""

    intercept: float
    slope: float


def logistic_recalibration(
    label: Numbers, score: Numbers, weight: Numbers | None = None, *, slope: float | None = None
) -> Recalibration:
    """Return the maximum likelihood intercept and slope of logit P(y = 1) = a + b logit(score) (Cox 1958).

    A slope below 1 means predictions that are too extreme. With the slope fixed at 1 the intercept is
    calibration in the large on the logit scale: above 0, risk is underestimated.

    Parameters
    ----------
    slope
        Fix the slope and fit the intercept alone.

    Returns
    -------
    NaN where the likelihood has no maximum: one class only, labels that a threshold separates (a constant
    score included), or a score of exactly 0 or 1, whose logit is infinite.

    Examples
    --------
    >>> found = logistic_recalibration([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    >>> round(found.slope, 3), abs(round(found.intercept, 3))
    (0.899, 0.0)
    """
    y, p, w, _ = check_rows(label, score, weight, probability=True)
    with np.errstate(divide="ignore"):
        x = np.log(p) - np.log1p(-p)
    above, below = x[y == 1], x[y == 0]
    undefined = Recalibration(float("nan"), float("nan") if slope is None else slope)
    if not (len(above) and len(below) and np.isfinite(x).all()):
        return undefined
    base = np.log(w[y == 1].sum() / w[y == 0].sum())
    centre = np.average(x, weights=w)
    if slope is not None:
        shift = _fit_logistic(np.ones((len(x), 1)), slope * (x - centre), y, w, base)
        return Recalibration(float(shift[0] - slope * centre), slope)
    if below.max() <= above.min() or above.max() <= below.min():
        return undefined
    spread = np.sqrt(np.average((x - centre) ** 2, weights=w))
    fitted = _fit_logistic(np.column_stack([np.ones(len(x)), (x - centre) / spread]), np.zeros(len(x)), y, w, base)
    b = fitted[1] / spread
    return Recalibration(float(fitted[0] - b * centre), float(b))


def _fit_logistic(design: Array, offset: Array, y: Array, w: Array, intercept: float) -> Array:
    """Return the coefficients of a weighted logistic regression that has a maximum, by Newton with halved steps."""
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = intercept

    def loss(at: Array) -> float:
        eta = offset + design @ at
        return float(w @ (np.logaddexp(0, eta) - y * eta))

    for _ in range(100):
        eta = offset + design @ coefficients
        probability = np.exp(-np.logaddexp(0, -eta))
        gradient = design.T @ (w * (y - probability))
        curvature = (design.T * (w * probability * (1 - probability))) @ design
        step = np.linalg.solve(curvature, gradient)
        reached = float(gradient @ step) <= 1e-18 * w.sum()
        now = loss(coefficients)
        while not loss(coefficients + step) <= now * (1 + 1e-12):
            step = step / 2
        coefficients = coefficients + step
        if reached:
            return coefficients
    return np.full_like(coefficients, np.nan)


def _mean(values: Array, weight: Array) -> float:
    return float(weight @ values / weight.sum()) if len(values) else float("nan")
