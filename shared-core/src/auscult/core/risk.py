"""How good predicted risks are: ranking, decisions, calibration and early prediction, with intervals by subject.

A label is 1 where the event happened, else 0; a probability is the predicted risk of it. What is undefined (a
ranking of one class, say) is NaN, never an error. Tied scores count as ties throughout, as predicted risks often
cluster on a few values.

Sources: Davis and Goadrich (2006), ICML, for precision and recall; the benchmark of COVID-19 prediction by Gao,
Zhu et al. (2024), Patterns, code ``yhzhu99/pyehr``, for ES and OSMAE; :mod:`auscult.core.calibration` for the
measures of calibration, which can be used from here too.

>>> evaluate([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], n_boot=200, seed=0)["auroc"].value
0.75
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.calibration import (
    CalibrationCurve,
    calibration_curve,
    calibration_intercept,
    calibration_slope,
    checked_probabilities,
    checked_scores,
    expected_calibration_error,
)
from auscult.core.errors import InputError
from auscult.core.intervals import Interval, bootstrap_replicates, percentile_bounds

__all__ = [
    "METRICS",
    "CalibrationCurve",
    "accuracy",
    "auprc",
    "auroc",
    "brier",
    "calibration_curve",
    "calibration_intercept",
    "calibration_slope",
    "compare",
    "early_score",
    "evaluate",
    "expected_calibration_error",
    "f1",
    "log_loss",
    "min_precision_sensitivity",
    "osmae",
]

FloatArray = NDArray[np.float64]


def auroc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the chance that a case scores above a non-case, ties counting one half.

    Parameters
    ----------
    label
        [N] 1 for cases, else 0.
    score
        [N] any numbers, higher where a case is more likely.

    Returns
    -------
    float
        NaN where all labels are equal.

    Raises
    ------
    InputError
        Where lengths differ, a label is neither 0 nor 1 or a score is no number.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.9])
    0.875
    """
    return _auroc(*_curve(*checked_scores(label, score)))


def auprc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the average precision: the precision at each threshold, weighted by what it adds to the recall.

    Parameters and errors are those of :func:`auroc`; NaN without a case.
    """
    return _auprc(*_curve(*checked_scores(label, score)))


def min_precision_sensitivity(label: ArrayLike, score: ArrayLike) -> float:
    """Return min(P+, Se): the best smaller one of precision and sensitivity over all thresholds.

    Parameters and errors are those of :func:`auroc`; NaN without a case.
    """
    return _min_precision_sensitivity(*_curve(*checked_scores(label, score)))


def f1(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> float:
    """Return the harmonic mean of precision and sensitivity of ``probability > threshold``.

    Parameters and errors are those of :func:`auroc`; NaN where there is neither a case nor a positive.
    """
    return _f1(*checked_scores(label, probability), threshold)


def accuracy(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> float:
    """Return how often ``probability > threshold`` is right. Parameters and errors are those of :func:`auroc`."""
    y, p = checked_scores(label, probability)
    return float(np.mean((p > threshold) == y))


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean squared difference of probability and label.

    Parameters and errors are those of :func:`auroc`; a probability outside [0, 1] is an error too.
    """
    return _brier(*checked_probabilities(label, probability))


def log_loss(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean negative log-likelihood; probabilities are kept 2.2e-16 away from 0 and 1.

    Parameters and errors are those of :func:`brier`.
    """
    return _log_loss(*checked_probabilities(label, probability))


def early_score(
    label: ArrayLike, probability: ArrayLike, remaining: ArrayLike, *, threshold: float, decision: float = 0.5
) -> float:
    """Return ES, the early prediction score of predictions made at every step of a stay.

    A case found earns min(1, L / threshold), L its remaining stay; one that is missed loses 1 - L / threshold,
    and nothing from ``threshold`` on; a false alarm loses 0.1. The sum is divided by that of perfect predictions, at
    least -1, and 0 where there is no case.

    Parameters
    ----------
    label, probability
        [V] of each step.
    remaining
        [V] remaining stay, in the unit of ``threshold``, from 0 up.
    threshold
        From this remaining stay on a prediction is early;
        :attr:`~auscult.core.data.fill.StayStatistics.threshold` of the training stays.
    decision
        The probability above which a case is predicted.

    Examples
    --------
    >>> early_score([0, 1], [0.7, 0.7], [5, 5], threshold=10)
    0.8
    """
    y, p = checked_scores(label, probability)
    share = np.minimum(_stays("remaining", remaining, len(y)) / _positive("threshold", threshold), 1)
    predicted = p > decision
    earned = np.where(y, np.where(predicted, share, share - 1), np.where(predicted, -0.1, 0))
    possible = share[y].sum()
    return float(max(-1.0, earned.sum() / possible)) if possible > 0 else 0.0


def osmae(
    label: ArrayLike,
    remaining: ArrayLike,
    probability: ArrayLike,
    predicted_remaining: ArrayLike,
    *,
    large_los: float,
    threshold: float,
    decision: float = 0.5,
) -> float:
    """Return OSMAE, the outcome-specific error of the remaining stay.

    A step counts fully up to ``threshold`` and linearly less from there to nothing at ``large_los``. Where the
    outcome is predicted right the error is that of the stay; where it is not, predicted and true stay are
    taken to lie on opposite sides of ``large_los`` and their distances to it add.

    Parameters
    ----------
    label, probability
        [V] of each step.
    remaining, predicted_remaining
        [V] true and predicted remaining stay, from 0 up, in the unit of the next two.
    large_los, threshold
        Of the training stays, see :class:`~auscult.core.data.fill.StayStatistics`.
    decision
        The probability above which a case is predicted.

    Examples
    --------
    >>> osmae([1], [60], [0.7], [10], large_los=110, threshold=10)
    25.0
    """
    y, p = checked_scores(label, probability)
    true = _stays("remaining", remaining, len(y))
    predicted = _stays("predicted_remaining", predicted_remaining, len(y))
    if not threshold < large_los:
        raise InputError(f"large_los is {large_los} and threshold {threshold}: large_los must be the larger one")
    beyond = np.maximum(0, (true - large_los) / (_positive("threshold", threshold) - large_los))
    weight = np.where(true <= threshold, 1, beyond)
    wrong = np.maximum(0, large_los - predicted) + np.maximum(0, large_los - true)
    return float(np.mean(weight * np.where((p > decision) == y, np.abs(predicted - true), wrong)))


METRICS: dict[str, Callable[[NDArray[np.bool_], FloatArray], float]] = {
    "auroc": lambda y, p: _auroc(*_curve(y, p)),
    "auprc": lambda y, p: _auprc(*_curve(y, p)),
    "min_precision_sensitivity": lambda y, p: _min_precision_sensitivity(*_curve(y, p)),
    "f1": lambda y, p: _f1(y, p, 0.5),
    "accuracy": lambda y, p: float(np.mean((p > 0.5) == y)),
    "brier": lambda y, p: _brier(y, p),
    "log_loss": lambda y, p: _log_loss(y, p),
    "expected_calibration_error": expected_calibration_error,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
}
"""What :func:`evaluate` and :func:`compare` measure, by name."""


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    subjects: ArrayLike | None = None,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    n_boot: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return metrics with percentile intervals of resampled subjects; all metrics share the resamples.

    Parameters
    ----------
    label, probability
        [N] each.
    subjects
        [N] whom a row belongs to; without it every row is a subject.
    metrics
        Names in :data:`METRICS`; all by default.
    n_boot, seed, confidence
        As in :func:`auscult.core.intervals.bootstrap`.

    Raises
    ------
    InputError
        Where lengths differ, a label is neither 0 nor 1, a probability lies outside [0, 1], a metric is unknown or
        a subject is missing.
    """
    y, p = checked_probabilities(label, probability)
    functions = _functions(metrics)

    def statistic(rows: NDArray[np.intp]) -> list[float]:
        return [function(y[rows], p[rows]) for function in functions]

    return _intervals(statistic, metrics, subjects, len(y), n_boot, seed, confidence)


def compare(
    label: ArrayLike,
    probability_a: ArrayLike,
    probability_b: ArrayLike,
    subjects: ArrayLike | None = None,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    n_boot: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return each metric of ``a`` minus that of ``b``, with intervals from the same resamples of subjects.

    Parameters, result and errors are those of :func:`evaluate`.
    """
    y, a = checked_probabilities(label, probability_a)
    _, b = checked_probabilities(label, probability_b)
    functions = _functions(metrics)

    def statistic(rows: NDArray[np.intp]) -> list[float]:
        return [function(y[rows], a[rows]) - function(y[rows], b[rows]) for function in functions]

    return _intervals(statistic, metrics, subjects, len(y), n_boot, seed, confidence)


def _functions(metrics: Sequence[str]) -> list[Callable[[NDArray[np.bool_], FloatArray], float]]:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"there is no metric {unknown[0]!r}: known are {', '.join(METRICS)}")
    return [METRICS[name] for name in metrics]


def _intervals(
    statistic: Callable[[NDArray[np.intp]], Any],
    names: Sequence[str],
    subjects: ArrayLike | None,
    n: int,
    n_boot: int,
    seed: int,
    confidence: float,
) -> dict[str, Interval]:
    by = n if subjects is None else np.asarray(subjects)
    if np.size(by) not in (1, n) or (subjects is not None and np.size(by) != n):
        raise InputError(f"{n} rows have {np.size(by)} subjects: give one for each row")
    value, replicates = bootstrap_replicates(statistic, by, n_boot=n_boot, seed=seed)
    low, high = percentile_bounds(replicates, confidence=confidence)
    undefined = np.isnan(replicates).sum(axis=0)
    return {
        name: Interval(float(value[i]), float(low[i]), float(high[i]), confidence, int(undefined[i]))
        for i, name in enumerate(names)
    }


def _stays(name: str, days: ArrayLike, n: int) -> FloatArray:
    array = np.asarray(days, np.float64)
    if array.shape != (n,) or not (array >= 0).all():
        raise InputError(f"{name} must hold {n} lengths from 0 up, one for each label")
    return array


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise InputError(f"{name} is {value}: give a length above 0")
    return value


def _curve(y: NDArray[np.bool_], score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return true and false positives at each distinct threshold, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    true = np.cumsum(y[order], dtype=np.float64)[last]
    return true, last + 1 - true


def _auroc(true: FloatArray, false: FloatArray) -> float:
    if not true[-1] or not false[-1]:
        return np.nan
    below = np.diff(false, prepend=0.0) * (np.append(0.0, true[:-1]) + true) / 2
    return float(below.sum() / (true[-1] * false[-1]))


def _auprc(true: FloatArray, false: FloatArray) -> float:
    if not true[-1]:
        return np.nan
    return float((np.diff(true, prepend=0.0) * true / (true + false)).sum() / true[-1])


def _min_precision_sensitivity(true: FloatArray, false: FloatArray) -> float:
    if not true[-1]:
        return np.nan
    return float(np.minimum(true / (true + false), true / true[-1]).max())


def _f1(y: NDArray[np.bool_], p: FloatArray, threshold: float) -> float:
    predicted = p > threshold
    both = int(y.sum()) + int(predicted.sum())
    return 2 * int((y & predicted).sum()) / both if both else np.nan


def _brier(y: NDArray[np.bool_], p: FloatArray) -> float:
    return float(np.mean((p - y) ** 2))


def _log_loss(y: NDArray[np.bool_], p: FloatArray) -> float:
    tiny = np.finfo(np.float64).eps
    kept = np.clip(p, tiny, 1 - tiny)
    return float(-np.mean(np.log(np.where(y, kept, 1 - kept))))
