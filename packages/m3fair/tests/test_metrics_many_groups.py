"""Metrics over many groups against loops over groups and pairs, and by their invariances."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auscult.core.errors import InputError
from auscult.m3fair.metrics import many
from auscult.m3fair.metrics.confusion import Confusion
from auscult.m3fair.metrics.disparity import DISPARITIES, symmetric_ratio
from auscult.m3fair.metrics.many import (
    bias_amplification,
    difference_to_overall,
    differential_fairness,
    equalized_odds_difference,
    equalized_odds_ratio,
    group_difference,
    group_ratio,
    group_standard_deviation,
    summarize,
    weighted_violations,
)

repeatable = settings(deadline=None, derandomize=True, max_examples=100)
rates = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=7)

# Adult (UCI), training and test file together, the 45,222 rows without a missing value: income up to and above
# 50K by race (American Indian or Eskimo, Asian or Pacific Islander, Black, Other, White) and sex (F, M).
ADULT = np.array(
    [
        [[152, 14], [230, 39]], [[371, 65], [563, 304]], [[1958, 126], [1736, 408]],
        [[117, 9], [191, 36]], [[10428, 1455], [18268, 8752]],
    ],
    dtype=float,
).reshape(10, 2)  # fmt: skip


def tables(seed, groups=5, size=40):
    cells = np.random.default_rng(seed).integers(0, size, (groups, 2, 2)).astype(float)
    return Confusion(cells, cells)


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(many).failed == 0


@repeatable
@given(rates)
def test_ranges_are_those_of_the_defined_groups(values):
    defined = [value for value in values if not math.isnan(value)]
    difference, ratio = float(group_difference(values)), float(group_ratio(values))
    if len(defined) < 2:
        assert math.isnan(difference)
        assert math.isnan(ratio)
        return
    assert difference == max(defined) - min(defined)
    if max(defined) == 0:
        assert math.isnan(ratio)
    else:
        assert ratio == min(defined) / max(defined)


@repeatable
@given(rates, st.floats(0, 1), st.randoms(use_true_random=False))
def test_no_order_of_groups_matters(values, overall, random):
    n = [10.0 * (g + 1) for g in range(len(values))]
    names = [f"g{g}" for g in range(len(values))]
    shuffled = list(range(len(values)))
    random.shuffle(shuffled)
    here = summarize(values, n, overall=overall, names=names)
    there = summarize(
        [values[g] for g in shuffled], [n[g] for g in shuffled], overall=overall, names=[names[g] for g in shuffled]
    )
    for field in ("difference", "ratio", "to_overall", "violation"):
        assert getattr(there, field) == pytest.approx(getattr(here, field), abs=0, rel=1e-12, nan_ok=True)
    assert there.standard_deviation == pytest.approx(here.standard_deviation, abs=1e-9, nan_ok=True)
    for field in ("lowest", "highest", "furthest"):
        assert set(getattr(there, field)) == set(getattr(here, field))
    assert set(there.undefined) == set(here.undefined)


def test_a_summary_names_the_groups():
    found = summarize(
        [0.2, 0.9, 0.5, math.nan, 0.2],
        [100, 4, 50, 3, 80],
        overall=0.4,
        names=["a", ("b", 1), "c", "nobody", "e"],
    )
    assert [(one.name, one.value, one.n) for one in found.lowest] == [("a", 0.2, 100), ("e", 0.2, 80)]
    assert [one.name for one in found.highest] == [("b", 1)]
    assert [one.name for one in found.furthest] == [("b", 1)]
    assert [one.name for one in found.violated] == ["a"]
    assert found.undefined == ("nobody",)
    assert found.difference == pytest.approx(0.7)
    assert found.ratio == pytest.approx(2 / 9)
    assert found.to_overall == pytest.approx(0.5)
    assert found.violation == pytest.approx(100 / 237 * 0.2)
    mean = (100 * 0.2 + 4 * 0.9 + 50 * 0.5 + 80 * 0.2) / 234
    variance = (180 * (0.2 - mean) ** 2 + 4 * (0.9 - mean) ** 2 + 50 * (0.5 - mean) ** 2) / 234
    assert found.standard_deviation == pytest.approx(math.sqrt(variance))


def test_overlapping_groups_take_everyone_as_total():
    violations = weighted_violations([0.2, 0.6], 0.4, [50, 50], total=50)
    assert violations == pytest.approx([0.2, 0.2])
    found = summarize([0.2, 0.6], [50, 50], overall=0.4, names=["a", "b"], weight=[25, 50], total=100)
    assert found.violation == pytest.approx(0.1)
    assert [one.name for one in found.violated] == ["b"]


@pytest.mark.parametrize("values", [[], [0.3], [0.3, math.nan], [math.nan, math.nan]])
def test_fewer_than_two_groups_are_no_comparison(values):
    found = summarize(values, [5] * len(values), overall=0.3, names=list(range(len(values))))
    for field in ("difference", "ratio", "to_overall", "standard_deviation", "violation"):
        assert math.isnan(getattr(found, field))
    assert len(found.lowest) == len([value for value in values if not math.isnan(value)])


def test_stacks_are_summarised_one_by_one():
    stack = np.random.default_rng(0).uniform(size=(6, 4, 5))
    stack[2, 1, 3:] = np.nan
    weight, overall = np.random.default_rng(1).uniform(1, 9, size=stack.shape), stack[..., 0]
    for at in itertools.product(range(6), range(4)):
        assert group_difference(stack)[at] == group_difference(stack[at])
        assert group_ratio(stack)[at] == group_ratio(stack[at])
        assert difference_to_overall(stack, overall)[at] == difference_to_overall(stack[at], overall[at])
        assert group_standard_deviation(stack, weight)[at] == pytest.approx(
            group_standard_deviation(stack[at], weight[at])
        )
        assert weighted_violations(stack, overall, weight)[at] == pytest.approx(
            weighted_violations(stack[at], overall[at], weight[at]), nan_ok=True
        )


@pytest.mark.parametrize("seed", range(5))
def test_equalized_odds_against_rates_counted_by_hand(seed):
    confusion = tables(seed)
    true = [cells[1, 1] / cells[1].sum() for cells in confusion.weight]
    false = [cells[0, 1] / cells[0].sum() for cells in confusion.weight]
    ranges = [max(true) - min(true), max(false) - min(false)]
    assert equalized_odds_difference(confusion) == pytest.approx(max(ranges))
    assert equalized_odds_difference(confusion, agg="mean") == pytest.approx(sum(ranges) / 2)
    assert equalized_odds_ratio(confusion) == pytest.approx(min(min(true) / max(true), min(false) / max(false)))


def test_unknown_true_positive_rates_are_no_equal_odds():
    cells = np.array([[[5.0, 5], [3, 1]], [[5, 5], [0, 0]]])
    assert math.isnan(equalized_odds_difference(Confusion(cells, cells)))
    assert math.isnan(equalized_odds_ratio(Confusion(cells, cells)))


def fairness_of_pairs(positive, total, c):
    rate = [(p + c / 2) / (t + c) for p, t in zip(positive, total, strict=True)]
    return max(max(abs(math.log(a / b)), abs(math.log((1 - a) / (1 - b)))) for a, b in itertools.permutations(rate, 2))


@pytest.mark.parametrize("concentration", [0.0, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_differential_fairness_is_the_worst_pair(seed, concentration):
    random = np.random.default_rng(seed)
    total = random.uniform(5, 50, 6)
    positive = total * random.uniform(0.05, 0.95, 6)
    expected = fairness_of_pairs(positive, total, concentration)
    assert differential_fairness(positive, total, concentration=concentration) == pytest.approx(expected)
    swapped = differential_fairness(total - positive, total, concentration=concentration)
    assert swapped == pytest.approx(expected)


def test_differential_fairness_of_adult_is_the_value_in_the_documentation_of_aif360():
    # BinaryLabelDatasetMetric.smoothed_empirical_differential_fairness: sex and five races, no weights, c = 1.
    assert differential_fairness(ADULT[:, 1], ADULT.sum(axis=1)) == pytest.approx(1.7547611985549287, rel=1e-14)


def test_differential_fairness_at_the_ends():
    assert differential_fairness([0, 0], [10, 20], concentration=0) == 0
    assert differential_fairness([10, 20], [10, 20], concentration=0) == 0
    assert differential_fairness([0, 5], [10, 20], concentration=0) == math.inf
    assert differential_fairness([5, 5, 0], [10, 20, 0]) == differential_fairness([5, 5], [10, 20])
    assert math.isnan(differential_fairness([5, 0], [10, 0]))
    with pytest.raises(InputError, match="concentration=-1"):
        differential_fairness([5, 0], [10, 10], concentration=-1)


@pytest.mark.parametrize("seed", range(4))
def test_bias_amplification_compares_decisions_with_labels(seed):
    confusion = tables(seed)
    total = confusion.weight.sum(axis=(1, 2))
    labels, decisions = confusion.weight[:, 1].sum(axis=1), confusion.weight[:, :, 1].sum(axis=1)
    expected = fairness_of_pairs(decisions, total, 1) - fairness_of_pairs(labels, total, 1)
    assert bias_amplification(confusion) == pytest.approx(expected)
    swapped = Confusion(np.swapaxes(confusion.weight, 1, 2), np.swapaxes(confusion.weight, 1, 2))
    assert bias_amplification(swapped) == pytest.approx(-expected)
    diagonal = np.einsum("gyp,yp->gyp", confusion.weight, np.eye(2))
    assert bias_amplification(Confusion(diagonal, diagonal)) == 0


@repeatable
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_no_scale_of_the_weights_matters_to_rates(seed, scale):
    confusion = tables(seed, size=9)
    scaled = Confusion(confusion.weight * scale, confusion.weight_squared * scale**2)
    assert equalized_odds_difference(scaled) == pytest.approx(equalized_odds_difference(confusion), nan_ok=True)
    values, weight = confusion.rate("selection_rate"), confusion.weight.sum(axis=(1, 2))
    assume(weight.sum() > 0)
    assert group_standard_deviation(values, weight * scale) == pytest.approx(
        group_standard_deviation(values, weight), abs=1e-9, nan_ok=True
    )
    assert weighted_violations(values, 0.5, weight * scale) == pytest.approx(
        weighted_violations(values, 0.5, weight), nan_ok=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_property_11_differences_are_antisymmetric_and_ratios_reciprocal(seed):
    confusion = tables(seed, groups=2)
    one, other = (Confusion(confusion.weight[g], confusion.weight_squared[g]) for g in (0, 1))
    for name in ("statistical_parity_difference", "error_rate_difference", "average_odds_difference"):
        value = DISPARITIES[name].value
        assert value(one, other) == pytest.approx(-value(other, one))
    impact = DISPARITIES["disparate_impact"].value
    assert impact(one, other) == pytest.approx(1 / impact(other, one))
    assert symmetric_ratio(impact(one, other)) == pytest.approx(symmetric_ratio(impact(other, one)))
    assert symmetric_ratio(impact(one, other)) == pytest.approx(group_ratio(confusion.rate("selection_rate")))
    assert one.rate("error_rate") == pytest.approx(1 - one.rate("accuracy"))


def test_a_symmetric_ratio_folds_both_ends_to_zero():
    assert symmetric_ratio([0.0, math.inf, 1.0]).tolist() == [0.0, 0.0, 1.0]
    assert math.isnan(symmetric_ratio(math.nan))


def test_zero_division_is_chosen():
    cells = np.array([[[4.0, 1], [0, 0]], [[2, 2], [1, 1]]])
    confusion = Confusion(cells, cells)
    assert confusion.rate("true_positive_rate") == pytest.approx([math.nan, 0.5], nan_ok=True)
    assert confusion.rate("true_positive_rate", zero_division=0).tolist() == [0, 0.5]
    assert confusion.rate("true_positive_rate", zero_division=1).tolist() == [1, 0.5]
    assert confusion.rate("accuracy", zero_division="raise").tolist() == pytest.approx([0.8, 0.5])
    with pytest.raises(InputError, match="true_positive_rate has a denominator of 0"):
        confusion.rate("true_positive_rate", zero_division="raise")


def test_bad_input_is_explained():
    with pytest.raises(InputError, match="one of each a group"):
        summarize([0.1, 0.2], [3], overall=0.1, names=["a", "b"])
    with pytest.raises(InputError, match="3 weights for 2 groups"):
        group_standard_deviation([0.1, 0.2], [1, 2, 3])
    with pytest.raises(InputError, match="no groups to compare"):
        group_difference(0.3)
    with pytest.raises(InputError, match="agg='median'"):
        equalized_odds_difference(tables(0), agg="median")
