"""Disparities: how a group's rates differ from those of a reference group.

Signs follow AIF360: group minus reference, group over reference. What is undefined (a rate of nobody) is NaN,
never 0; a ratio to a rate of 0 is infinite.

Sources: disparate impact, Feldman et al. 2015; equal opportunity and odds, Hardt et al. 2016; predictive parity,
Chouldechova 2017; the averages and their names, Bellamy et al. 2019 (AIF360).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auscult.core.intervals import katz, mover, newcombe
from auscult.m3fair.metrics.confusion import Array, Confusion

Bounds = tuple[Array, Array]


@dataclass(frozen=True)
class Disparity:
    """A comparison of a group with a reference group.

    Parameters
    ----------
    value
        From the group's and the reference's confusion tables, broadcast against each other.
    interval
        Its closed-form interval at a confidence, or None where only resampling gives one.
    neutral
        The value that means no disparity.
    """

    value: Callable[[Confusion, Confusion], Array]
    interval: Callable[[Confusion, Confusion, float], Bounds] | None
    neutral: float = 0.0


def _difference(rate: str) -> Disparity:
    def value(group: Confusion, reference: Confusion) -> Array:
        return group.rate(rate) - reference.rate(rate)

    def interval(group: Confusion, reference: Confusion, confidence: float) -> Bounds:
        return newcombe(
            group.rate(rate), group.effective_n(rate), reference.rate(rate), reference.effective_n(rate),
            confidence=confidence,
        )  # fmt: skip

    return Disparity(value, interval)


def _ratio(rate: str) -> Disparity:
    def value(group: Confusion, reference: Confusion) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return group.rate(rate) / reference.rate(rate)

    def interval(group: Confusion, reference: Confusion, confidence: float) -> Bounds:
        return katz(
            group.rate(rate), group.effective_n(rate), reference.rate(rate), reference.effective_n(rate),
            confidence=confidence,
        )  # fmt: skip

    return Disparity(value, interval, neutral=1.0)


def _average(*rates: str) -> Disparity:
    """Return the mean of differences of rates that are taken over disjoint rows."""
    parts = [_difference(rate) for rate in rates]

    def value(group: Confusion, reference: Confusion) -> Array:
        return sum((part.value(group, reference) for part in parts), np.float64(0.0)) / len(parts)  # type: ignore[return-value]

    def interval(group: Confusion, reference: Confusion, confidence: float) -> Bounds:
        bounds = [part.interval(group, reference, confidence) for part in parts if part.interval]
        return mover(
            [part.value(group, reference) for part in parts], [low for low, _ in bounds], [high for _, high in bounds],
            [1 / len(parts)] * len(parts),
        )  # fmt: skip

    return Disparity(value, interval)


def _average_absolute(*rates: str) -> Disparity:
    def value(group: Confusion, reference: Confusion) -> Array:
        gaps = [np.abs(group.rate(rate) - reference.rate(rate)) for rate in rates]
        return sum(gaps, np.float64(0.0)) / len(gaps)  # type: ignore[return-value]

    return Disparity(value, None)


DISPARITIES: dict[str, Disparity] = {
    "statistical_parity_difference": _difference("selection_rate"),
    "disparate_impact": _ratio("selection_rate"),
    "equal_opportunity_difference": _difference("true_positive_rate"),
    "average_odds_difference": _average("false_positive_rate", "true_positive_rate"),
    "average_absolute_odds_difference": _average_absolute("false_positive_rate", "true_positive_rate"),
    "predictive_parity_difference": _difference("precision"),
    "average_predictive_value_difference": _average("precision", "false_omission_rate"),
    "false_positive_rate_difference": _difference("false_positive_rate"),
    "accuracy_difference": _difference("accuracy"),
    "error_rate_difference": _difference("error_rate"),
    "base_rate_difference": _difference("base_rate"),
}
"""Name -> comparison; each is documented by its parts in :mod:`auscult.m3fair.metrics.confusion`."""


def symmetric_ratio(ratio: npt.ArrayLike) -> Array:
    """Return min(r, 1 / r) of ratios, such as disparate impact: 1 is parity whichever group has more.

    Parameters
    ----------
    ratio
        (...) from 0 to infinity; both ends give 0, NaN stays NaN.

    Examples
    --------
    >>> symmetric_ratio([0.8, 1.25, np.inf, np.nan])
    array([0.8, 0.8, 0. , nan])
    """
    r = np.asarray(ratio, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.minimum(r, 1 / r)
