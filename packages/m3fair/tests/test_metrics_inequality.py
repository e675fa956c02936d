"""Generalized entropy against its formula, its decomposition and its invariances."""

import doctest
import math

import numpy as np
import pytest
from scipy import stats

from auscult.core.errors import InputError
from auscult.m3fair.metrics import inequality
from auscult.m3fair.metrics.inequality import (
    benefits,
    between_group_entropy,
    coefficient_of_variation,
    generalized_entropy,
    theil_index,
)

ALPHAS = [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0]


def sample(seed, n=60, lowest=0.1):
    random = np.random.default_rng(seed)
    return (
        random.uniform(lowest, 3, n), random.integers(1, 5, n).astype(float),
        np.array(["a", "b", "c"])[random.integers(0, 3, n)],
    )  # fmt: skip


def entropy_by_sum(b, w, alpha):
    total = sum(w)
    mu = sum(v * x for x, v in zip(b, w, strict=True)) / total
    if alpha == 1:
        terms = [(x / mu) * math.log(x / mu) if x else 0.0 for x in b]
    elif alpha == 0:
        terms = [-math.log(x / mu) for x in b]
    else:
        terms = [((x / mu) ** alpha - 1) / (alpha * (alpha - 1)) for x in b]
    return sum(v * term for v, term in zip(w, terms, strict=True)) / total


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(inequality).failed == 0


def test_the_benefit_is_two_one_or_nothing():
    assert benefits([0, 0, 1, 1], [0, 1, 0, 1]).tolist() == [1, 2, 0, 1]
    assert benefits([1], [0.25]).tolist() == [0.25]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(3))
def test_entropy_against_the_formula(alpha, seed):
    b, w, _ = sample(seed)
    assert generalized_entropy(b, w, alpha=alpha) == pytest.approx(entropy_by_sum(b, w, alpha))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_entropy_of_decisions_counts_false_negatives_as_zero(alpha):
    b = benefits([0, 0, 1, 1, 1], [0, 1, 0, 1, 1])
    assert generalized_entropy(b, alpha=alpha) == pytest.approx(entropy_by_sum(b.tolist(), [1] * 5, alpha))


@pytest.mark.parametrize("alpha", [-1.0, 0.0])
def test_one_false_negative_makes_it_infinite(alpha):
    assert generalized_entropy(benefits([1, 1], [0, 1]), alpha=alpha) == math.inf
    assert generalized_entropy(benefits([1, 1], [0, 1]), [0, 1], alpha=alpha) == 0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equal_benefits_are_no_inequality_and_only_false_negatives_are_undefined(alpha):
    assert generalized_entropy([0.3] * 7, alpha=alpha) == pytest.approx(0, abs=1e-15)
    assert math.isnan(generalized_entropy([0.0, 0.0], alpha=alpha))
    assert math.isnan(generalized_entropy([], alpha=alpha))
    assert math.isnan(generalized_entropy([1.0], [0.0], alpha=alpha))
    assert math.isnan(between_group_entropy([], [], alpha=alpha))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(2))
def test_a_duplicated_row_is_a_weight_and_order_and_scale_do_not_matter(alpha, seed):
    b, w, group = sample(seed)
    m, order = w.astype(int), np.random.default_rng(seed).permutation(len(b))
    for metric, more in ((generalized_entropy, []), (between_group_entropy, [group])):
        found = metric(b, *more, w, alpha=alpha)
        assert metric(np.repeat(b, m), *(np.repeat(x, m) for x in more), alpha=alpha) == pytest.approx(found)
        assert metric(b[order], *(x[order] for x in more), w[order], alpha=alpha) == pytest.approx(found)
        assert metric(b * 7, *more, w * 0.2, alpha=alpha) == pytest.approx(found)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(2))
def test_inequality_is_that_between_groups_plus_that_within(alpha, seed):
    b, w, group = sample(seed)
    mu, within = np.average(b, weights=w), 0.0
    for g in "abc":
        mine = group == g
        share, mean = w[mine].sum() / w.sum(), np.average(b[mine], weights=w[mine])
        within += share * (mean / mu) ** alpha * generalized_entropy(b[mine], w[mine], alpha=alpha)
    between = between_group_entropy(b, group, w, alpha=alpha)
    assert generalized_entropy(b, w, alpha=alpha) == pytest.approx(between + within)


def test_groups_of_one_carry_all_inequality_and_one_group_none():
    b, w, _ = sample(0)
    assert between_group_entropy(b, np.arange(len(b)), w) == pytest.approx(generalized_entropy(b, w))
    assert between_group_entropy(b, ["all"] * len(b), w) == pytest.approx(0, abs=1e-15)


def test_theil_and_coefficient_of_variation_are_members_of_the_family():
    b, w, _ = sample(1)
    assert theil_index(b, w) == generalized_entropy(b, w, alpha=1)
    assert coefficient_of_variation(b) == pytest.approx(stats.variation(b))
    assert coefficient_of_variation(b, w) == pytest.approx(stats.variation(np.repeat(b, w.astype(int))))
    assert coefficient_of_variation([0.3] * 7) == pytest.approx(0, abs=1e-7)
    assert math.isnan(coefficient_of_variation([0.0]))


def test_bad_input_is_explained():
    with pytest.raises(InputError, match="a benefit is -1"):
        generalized_entropy([1, -1])
    with pytest.raises(InputError, match="alpha=nan"):
        generalized_entropy([1, 1], alpha=math.nan)
    with pytest.raises(InputError, match="3 weights for 2 rows"):
        generalized_entropy([1, 1], [1, 1, 1])
    with pytest.raises(InputError, match="1 labels and 2 decisions"):
        benefits([1], [1, 0])
    with pytest.raises(InputError, match="the decision of row 1 is 3"):
        benefits([1, 0], [1, 3])
