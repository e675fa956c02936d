"""Permutation tests of "no disparity", from the count table alone.

Under the hypothesis, who belongs to the group and who to its reference says nothing about the outcome. The test
deals the outcomes of both out anew and asks how often the disparity is as large as observed. Counts dealt out
are hypergeometric, so a permutation costs one draw a cell, whatever the number of rows; for one rate and equal
weights it is Fisher's exact test by simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.intervals import benjamini_hochberg, holm
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.bootstrap import check_resampling
from auscult.m3fair.cells import ConfusionCells
from auscult.m3fair.groups import Comparison
from auscult.m3fair.metrics.confusion import Array, Confusion
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.table import CountTable

_TN, _FP, _FN, _TP = range(4)
_EVERYONE, _BY_LABEL, _BY_DECISION = ((_TN, _FP, _FN, _TP),), ((_TN, _FP), (_FN, _TP)), ((_TN, _FN), (_FP, _TP))
_STRATA: dict[str, tuple[tuple[int, ...], ...]] = {
    "statistical_parity_difference": _EVERYONE,
    "disparate_impact": _EVERYONE,
    "equal_opportunity_difference": _BY_LABEL,
    "average_odds_difference": _BY_LABEL,
    "average_absolute_odds_difference": _BY_LABEL,
    "predictive_parity_difference": _BY_DECISION,
    "average_predictive_value_difference": _BY_DECISION,
    "false_positive_rate_difference": _BY_LABEL,
    "accuracy_difference": _EVERYONE,
    "error_rate_difference": _EVERYONE,
    "base_rate_difference": _EVERYONE,
}
"""The rows among which outcomes are exchangeable: the denominators of a disparity's rates."""
_LIMIT = 10**9


@dataclass(frozen=True)
class PermutationTest:
    """Tests of one disparity in several comparisons.

    Parameters
    ----------
    metric
        The disparity's name.
    comparisons
        The J groups, each against its reference.
    value
        (J,) observed disparities.
    p_value
        (J,) two-sided, at least 1 / (permutations + 1); NaN where the disparity is undefined.
    holm, benjamini_hochberg
        (J,) adjusted for J tests: of any false finding, of the share of false findings.
    """

    metric: str
    comparisons: tuple[Comparison, ...]
    value: Array
    p_value: Array
    holm: Array
    benjamini_hochberg: Array


def permutation_test(
    table: CountTable,
    attributes: Sequence[Attribute],
    metric: str = "statistical_parity_difference",
    *,
    label: str,
    decision: str,
    positive: str | None = None,
    order: int = 2,
    n_permutations: int = 9999,
    seed: int = 0,
) -> PermutationTest:
    """Test each group of an audit against its reference.

    Rows must be independent: with several rows a patient the p-values are too small. Everyone else pooled is not
    tested, being the groups again.

    Parameters
    ----------
    table
        Among its columns are the attributes' names, ``label`` and ``decision``.
    attributes
        The sensitive attributes.
    metric
        Name in :data:`~auscult.m3fair.metrics.disparity.DISPARITIES`. Error rates are tested among rows of one
        label, predictive values among rows of one decision, so that groups may differ in the other rates.
    label, decision
        Names of two of its columns.
    positive
        The positive value as text.
    order
        Groups are formed by every 1 to ``order`` attributes.
    n_permutations
        Number of permutations.
    seed
        The same seed and table give the same p-values.

    Raises
    ------
    InputError
        For an absent column, an unknown metric, fewer than one permutation, and 10^9 or more rows in a comparison.

    Examples
    --------
    >>> rows = {"sex": ["F", "M"] * 20, "died": [0, 0, 1, 1] * 10, "alarm": [0, 1] * 20}
    >>> table = CountTable.count_rows(rows, list(rows))
    >>> test = permutation_test(table, [Attribute("sex", "M")], label="died", decision="alarm", n_permutations=999)
    >>> print(test.value, test.p_value)
    [-1.] [0.001]
    """
    if metric not in DISPARITIES:
        raise InputError(f"there is no disparity {metric!r}: choose one of {', '.join(DISPARITIES)}")
    check_resampling(n_permutations, seed, "n_permutations")
    cells = ConfusionCells.of(table, attributes, label=label, decision=decision, positive=positive)
    rng = np.random.default_rng(seed)
    comparisons = tuple(item for item in cells.groups.comparisons(order) if item.group is not None)
    value, p_value = np.full((2, len(comparisons)), np.nan)
    for j, comparison in enumerate(comparisons):
        sides = [
            np.array([part[members].sum(axis=0) for part in (cells.count, cells.weight, cells.weight_squared)])
            for members in (comparison.members, comparison.reference_members)
        ]
        value[j], p_value[j] = permute_outcomes(sides[0], sides[1], metric, n_permutations, rng)
    return PermutationTest(metric, comparisons, value, p_value, holm(p_value), benjamini_hochberg(p_value))


def permute_outcomes(
    group: Array, reference: Array, metric: str, n_permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return a disparity and its two-sided p-value.

    Weights stay with the group: only outcomes are dealt out, so that groups may differ in their weights. How the
    weight of a group's rows is split between outcomes has, given the counts, the mean and the variance of drawing
    rows without replacement, and the shape of a Dirichlet distribution.

    Parameters
    ----------
    group, reference
        (3, 2, 2) count, sum of weights and of their squares, by label and decision.
    metric
        Name of the disparity.
    n_permutations
        Number of permutations B; p is (1 + those at least as far from no disparity) / (1 + B).
    rng
        Source of randomness.
    """
    if group[0].sum() + reference[0].sum() >= _LIMIT:
        raise InputError("a permutation test takes fewer than 10^9 rows: for more, read the disparity's interval")
    disparity = DISPARITIES[metric]
    flat = [side.reshape(3, 4) for side in (group, reference)]
    permuted = np.zeros((2, n_permutations, 4))
    for stratum in map(list, _STRATA[metric]):
        pooled = (flat[0][0, stratum] + flat[1][0, stratum]).astype(np.int64)
        size = int(flat[0][0, stratum].sum())
        drawn = rng.multivariate_hypergeometric(pooled, size, size=n_permutations)
        for side, counts in enumerate((drawn, pooled - drawn)):
            permuted[side][:, stratum] = _split_weight(counts, flat[side][:, stratum].sum(axis=1), rng)
    far = [
        _distance(np.asarray(disparity.value(*(Confusion(part, part) for part in pair))), disparity.neutral)
        for pair in ((group[1], reference[1]), permuted.reshape(2, n_permutations, 2, 2))
    ]
    value = float(disparity.value(Confusion(group[1], group[2]), Confusion(reference[1], reference[2])))
    if np.isnan(value):
        return value, np.nan
    rounding = 1e-9 * max(1.0, float(far[0])) if np.isfinite(far[0]) else 0.0
    extreme = ~(far[1] < far[0] - rounding)
    return value, (1 + int(extreme.sum())) / (1 + n_permutations)


def _split_weight(counts: npt.NDArray[np.int64], totals: Array, rng: np.random.Generator) -> Array:
    """Return how the weight of rows falls on outcomes (B, c) that ``counts`` (B, c) of them have.

    ``totals`` (3,) are the number of rows, the sum of their weights and of the squares.
    """
    n, weight, squared = totals
    if n == 0 or weight == 0:
        return np.zeros(counts.shape)
    shares = counts / n
    unequal = (n * squared / weight**2 - 1) / max(n - 1, 1)
    if unequal > 1e-9:
        parts = rng.standard_gamma(shares * max(1 / unequal - 1, 1e-2))
        total = parts.sum(axis=1, keepdims=True)
        shares = np.where(total > 0, parts / np.where(total > 0, total, 1), shares)
    split: Array = shares * weight
    return split


def _distance(value: Array, neutral: float) -> Array:
    """Return how far values are from no disparity, ratios in logarithm."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.abs(np.log(value)) if neutral == 1 else np.abs(value - neutral))
