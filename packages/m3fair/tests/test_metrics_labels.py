"""Label metrics against scikit-learn and scipy, on the tables of the paper's data, and after reweighting."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score

from auscult.core.errors import InputError
from auscult.m3fair.metrics import labels
from auscult.m3fair.metrics.labels import (
    conditional_demographic_disparity,
    cramers_v,
    demographic_disparity,
    kl_divergence,
    label_disparities,
    mass_array,
    mutual_information,
)
from auscult.m3fair.table import CountTable
from auscult.m3fair.weights import factors, reweighing

repeatable = settings(deadline=None, derandomize=True, max_examples=100)
whole = arrays(float, (4, 3), elements=st.integers(0, 20).map(float))

# Adult (UCI), the 45,222 rows without a missing value: income up to and above 50K by race (other, white) and sex
# (F, M).
ADULT = np.array([[[2598, 214], [2720, 787]], [[10428, 1455], [18268, 8752]]], dtype=float)
CELLS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def adult_weights(mode):
    mass = ADULT.reshape(4, 2)
    return mass * factors(mass, CELLS, mode=mode, groups=np.arange(4))


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(labels).failed == 0


def test_label_disparities_of_adult():
    by_race, by_sex = ADULT.sum(axis=1), ADULT.sum(axis=0)
    # By sex, the numbers that the notebooks of the reference print.
    sex, race = label_disparities(by_sex, reference=1), label_disparities(by_race, reference=1)
    assert sex.ratio[0] == pytest.approx(0.3634695423643793, rel=1e-12)
    assert sex.difference[0] == pytest.approx(-0.198901432678815, rel=1e-12)
    assert race.ratio[0] == pytest.approx((1001 / 6319) / (10207 / 38903), rel=1e-12)
    assert race.difference[0] == pytest.approx(1001 / 6319 - 10207 / 38903, rel=1e-12)
    assert sex.base_rate @ by_sex.sum(axis=1) / by_sex.sum() == pytest.approx(0.2478439697, abs=1e-10)
    assert sex.difference[1] == 0
    assert sex.ratio[1] == 1


def test_swapping_the_reference_negates_and_inverts():
    by_sex = ADULT.sum(axis=0)
    one, other = label_disparities(by_sex, reference=0), label_disparities(by_sex, reference=1)
    assert one.difference[1] == pytest.approx(-other.difference[0])
    assert one.ratio[1] == pytest.approx(1 / other.ratio[0])
    swapped = label_disparities(by_sex, reference=1, positive=0)
    assert swapped.difference == pytest.approx(-other.difference)


def test_a_group_without_mass_has_no_rate():
    found = label_disparities([[5.0, 5.0], [0.0, 0.0], [5.0, 0.0]], reference=2)
    assert math.isnan(found.base_rate[1])
    assert math.isnan(found.difference[1])
    assert found.ratio[0] == math.inf
    assert math.isnan(found.ratio[2])


@pytest.mark.parametrize("mode", ["intersection", "marginal"])
def test_after_reweighting_label_and_group_are_independent(mode):
    after = adult_weights(mode).reshape(2, 2, 2)
    for table, before in ((after.sum(axis=1), ADULT.sum(axis=1)), (after.sum(axis=0), ADULT.sum(axis=0))):
        assert mutual_information(before) > 1e-3
        assert mutual_information(table) == pytest.approx(0, abs=1e-12)
        assert cramers_v(table) == pytest.approx(0, abs=1e-6)
        assert label_disparities(table, reference=1).ratio == pytest.approx(1)
        assert demographic_disparity(table) == pytest.approx(0, abs=1e-9)
        assert table.sum(axis=1) == pytest.approx(before.sum(axis=1))
    if mode == "intersection":
        assert mutual_information(after.reshape(4, 2)) == pytest.approx(0, abs=1e-12)


def test_kl_of_the_reweighted_adult_table():
    original = ADULT.reshape(4, 2)
    joint, marginal = (kl_divergence(adult_weights(mode), original) for mode in ("intersection", "marginal"))
    assert joint == pytest.approx(0.0324217, abs=5e-8)
    assert marginal == pytest.approx(0.0322992, abs=5e-8)
    assert marginal < joint


@repeatable
@given(arrays(float, (4, 3), elements=st.integers(1, 20).map(float)))
def test_reweighing_any_full_table_leaves_no_information(mass):
    after = mass * reweighing(mass, np.arange(4))
    assert mutual_information(after) == pytest.approx(0, abs=1e-12)
    assert kl_divergence(after, mass) >= 0


@repeatable
@given(whole)
def test_information_and_association_agree_with_scikit_learn_and_scipy(mass):
    if mass.sum() == 0:
        assert math.isnan(mutual_information(mass))
        assert math.isnan(cramers_v(mass))
        return
    assert mutual_information(mass) == pytest.approx(max(mutual_info_score(None, None, contingency=mass), 0), abs=1e-12)
    occurring = mass[mass.sum(axis=1) > 0][:, mass.sum(axis=0) > 0]
    if min(occurring.shape) < 2:
        assert math.isnan(cramers_v(mass))
    else:
        assert cramers_v(mass) == pytest.approx(association(occurring.astype(int), method="cramer"), abs=1e-9)


@repeatable
@given(whole, st.floats(0.01, 100), st.permutations(range(4)))
def test_scale_and_order_of_groups_do_not_matter(mass, scale, order):
    for metric in (mutual_information, cramers_v):
        found = metric(mass)
        assert metric(mass * scale) == pytest.approx(found, abs=1e-9, nan_ok=True)
        assert metric(mass[order]) == pytest.approx(found, abs=1e-9, nan_ok=True)
        assert metric(mass.T) == pytest.approx(found, abs=1e-9, nan_ok=True)
    disparity = demographic_disparity(mass)
    assert demographic_disparity(mass[order]) == pytest.approx(disparity[order], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_divergence_agrees_with_scipy(seed):
    one, other = np.random.default_rng(seed).uniform(0.1, 5, (2, 4, 3))
    assert kl_divergence(one, other) == pytest.approx(stats.entropy(one.ravel(), other.ravel()))
    assert kl_divergence(one, one * 3) == pytest.approx(0, abs=1e-12)


def test_divergence_at_the_ends():
    assert kl_divergence([[1.0, 1.0]], [[1.0, 0.0]]) == math.inf
    assert kl_divergence([[1.0, 0.0]], [[1.0, 1.0]]) == pytest.approx(math.log(2))
    assert math.isnan(kl_divergence([[0.0, 0.0]], [[1.0, 1.0]]))


def disparity_by_hand(cells):
    accepted, rejected = [cell[1] for cell in cells], [cell[0] for cell in cells]
    return [r / sum(rejected) - a / sum(accepted) for r, a in zip(rejected, accepted, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_demographic_disparity_within_strata(seed):
    mass = np.random.default_rng(seed).uniform(0.5, 9, (4, 3, 2))
    found = conditional_demographic_disparity(mass)
    by_hand = [disparity_by_hand(stratum.tolist()) for stratum in mass]
    assert found.by_stratum == pytest.approx(np.array(by_hand))
    assert found.value == pytest.approx(np.average(by_hand, axis=0, weights=mass.sum(axis=(1, 2))))
    assert found.value.sum() == pytest.approx(0, abs=1e-12)
    assert found.undefined == ()
    assert conditional_demographic_disparity(mass[:1]).value == pytest.approx(demographic_disparity(mass[0]))
    assert conditional_demographic_disparity(mass[[2, 0, 3, 1]]).value == pytest.approx(found.value)
    swapped = conditional_demographic_disparity(mass[..., ::-1])
    assert swapped.value == pytest.approx(-found.value)


def test_a_stratum_where_all_are_accepted_is_left_out_and_named():
    mass = np.array([[[0.0, 5.0], [0.0, 3.0]], [[4.0, 1.0], [1.0, 4.0]]])
    found = conditional_demographic_disparity(mass)
    assert found.undefined == (0,)
    assert found.value == pytest.approx([0.6, -0.6])
    nothing = conditional_demographic_disparity(mass[:1])
    assert np.isnan(nothing.value).all()
    assert nothing.undefined == (0,)


def test_masses_of_a_count_table_follow_the_axes():
    rows = {
        "ward": ["x", "y", "x", "y", "x"],
        "sex": ["F", "M", "M", None, "F"],
        "race": ["a", "a", "b", "a", "a"],
        "y": [0, 1, 1, 0, 1],
    }
    v = np.array([1.0, 2.0, 0.5, 3.0, 4.0])
    table = CountTable.count_rows(rows, list(rows), weight=v)
    names, mass = mass_array(table, ["ward", ["sex", "race"], "y"])
    assert names == (("x", "y"), (("F", "a"), ("M", "a"), ("M", "b"), (None, "a")), (0, 1))
    for i, ward in enumerate(names[0]):
        for j, pair in enumerate(names[1]):
            for c in (0, 1):
                there = [
                    w == ward and (s, r) == pair and y == c
                    for w, s, r, y in zip(rows["ward"], rows["sex"], rows["race"], rows["y"], strict=True)
                ]
                assert mass[i, j, c] == v[there].sum()
    with pytest.raises(InputError, match="no column 'age'"):
        mass_array(table, ["age", "y"])


def test_a_duplicated_row_is_a_weight():
    random = np.random.default_rng(0)
    rows = {name: random.integers(0, levels, 50) for name, levels in (("ward", 3), ("group", 4), ("y", 2))}
    m = random.integers(1, 4, 50)
    weighted = CountTable.count_rows(rows, list(rows), weight=m.astype(float))
    repeated = CountTable.count_rows({name: np.repeat(column, m) for name, column in rows.items()}, list(rows))
    (names, mass), (same, again) = (mass_array(table, list(rows)) for table in (weighted, repeated))
    assert names == same
    assert np.array_equal(mass, again)


@pytest.mark.parametrize("mass", [[1.0, 2.0], [[1.0, -1.0]], [[1.0, math.nan]], [[1.0, math.inf]]])
def test_what_is_no_mass_is_refused(mass):
    for metric in (mutual_information, cramers_v, demographic_disparity, lambda m: label_disparities(m, 0)):
        with pytest.raises(InputError, match="give sums of weights"):
            metric(mass)


def test_shapes_are_explained():
    with pytest.raises(InputError, match="by stratum, group and label"):
        conditional_demographic_disparity([[1.0, 2.0]])
    with pytest.raises(InputError, match="by group and label"):
        mutual_information(np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="give the same cells"):
        kl_divergence(np.ones((2, 2)), np.ones((2, 3)))
