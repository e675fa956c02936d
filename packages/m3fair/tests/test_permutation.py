import numpy as np
import pytest
from scipy.stats import hypergeom

from auscult.core.errors import InputError
from auscult.core.intervals import benjamini_hochberg, holm
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.permutation import permutation_test, permute_outcomes
from auscult.m3fair.table import CountTable


def unit(cells):
    return np.array([cells] * 3, dtype=float)


def p_value(group, reference, metric, n_permutations=999, seed=0):
    return permute_outcomes(group, reference, metric, n_permutations, np.random.default_rng(seed))[1]


def assert_uniform(p):
    """Compare p-values with the uniform distribution by Kolmogorov and Smirnov, at the 0.1 % level."""
    ordered = np.sort(p)
    steps = np.arange(len(p) + 1) / len(p)
    assert max((ordered - steps[:-1]).max(), (steps[1:] - ordered).max()) < 1.95 / np.sqrt(len(p))


def test_one_rate_is_fishers_exact_test():
    group, reference = np.array([[9, 8], [6, 12]]), np.array([[16, 9], [14, 9]])
    n, m = group.sum(), reference.sum()
    selected = group[:, 1].sum() + reference[:, 1].sum()
    drawn = np.arange(min(n, selected) + 1)
    gaps = drawn / n - (selected - drawn) / m
    far = np.abs(gaps) >= abs(gaps[group[:, 1].sum()]) - 1e-12
    exact = hypergeom(n + m, selected, n).pmf(drawn)[far].sum()
    found = p_value(unit(group), unit(reference), "statistical_parity_difference", 40_000)
    assert 0.05 < exact < 0.3
    assert found == pytest.approx(exact, abs=5 * np.sqrt(exact / 40_000))


@pytest.mark.parametrize("metric", sorted(DISPARITIES))
def test_p_values_are_uniform_without_disparity(metric):
    rng = np.random.default_rng(2)
    chances = np.array([0.45, 0.12, 0.13, 0.30])
    p = [
        p_value(unit(a.reshape(2, 2)), unit(b.reshape(2, 2)), metric, 199, seed)
        for seed, (a, b) in enumerate(
            zip(rng.multinomial(4000, chances, 1000), rng.multinomial(7000, chances, 1000), strict=True)
        )
    ]
    assert_uniform(p)


def test_equal_sensitivity_is_tested_whatever_the_base_rates():
    rng = np.random.default_rng(2)
    p = []
    for seed in range(500):
        sides = [
            unit([rng.multinomial(n - positives, [0.9, 0.1]), rng.multinomial(positives, [0.3, 0.7])])
            for n, positives in ((6000, 4000), (9000, 1000))
        ]
        p.append(p_value(*sides, "equal_opportunity_difference", 199, seed))
        assert p_value(*sides, "statistical_parity_difference", 99, seed) == 0.01
    assert_uniform(p)


def test_groups_may_differ_in_their_weights():
    rng = np.random.default_rng(3)
    p = []
    for seed in range(500):
        sides = []
        for n, weights in ((300, [1.0, 8.0]), (2000, [0.5, 0.6])):
            label, decision = rng.random(n) < 0.5, rng.random(n) < 0.3
            v = rng.choice(weights, n)
            cell = 2 * label + decision
            sides.append(np.array([np.bincount(cell, v**power, 4).reshape(2, 2) for power in (0, 1, 2)]))
        p.append(p_value(*sides, "statistical_parity_difference", 199, seed))
    assert_uniform(p)


def test_equal_weights_change_nothing():
    group, reference = np.array([[9, 8], [6, 12]]), np.array([[16, 9], [14, 9]])
    heavy = [np.array([side, 3.0 * side, 9.0 * side]) for side in (group, reference)]
    plain = [unit(side) for side in (group, reference)]
    assert p_value(*heavy, "average_odds_difference") == p_value(*plain, "average_odds_difference")


def test_weight_in_one_row_alone_is_a_test_of_one_row():
    group = np.array([[[5, 4], [0, 0]], [[0, 1e6], [0, 0]], [[0, 1e12], [0, 0]]])
    assert p_value(group, unit([[50, 50], [0, 0]]), "statistical_parity_difference") > 0.3


@pytest.mark.parametrize("metric", sorted(DISPARITIES))
def test_a_strong_disparity_has_the_smallest_p_value(metric):
    group, reference = unit([[300, 40], [100, 10]]), unit([[30, 20], [30, 370]])
    assert p_value(group, reference, metric) == 0.001


def test_a_ratio_to_nobody_is_as_far_as_it_gets():
    group, reference = unit([[20, 20], [0, 0]]), unit([[40, 0], [0, 0]])
    assert p_value(group, reference, "disparate_impact") == 0.001
    nobody = unit([[5, 0], [0, 0]])
    assert p_value(nobody, unit([[40, 1], [0, 0]]), "disparate_impact") > 0.8


def table_of(columns, n=600, seed=4):
    rng = np.random.default_rng(seed)
    rows = {"race": rng.choice(["a", "b", "c", "d"], n), "died": rng.integers(0, 2, n)}
    rows["alarm"] = (rng.random(n) < np.where(rows["race"] == "d", 0.8, 0.3)).astype(int)
    rows["sex"] = rng.choice(["F", "M"], n)
    return CountTable.count_rows({name: rows[name] for name in columns}, columns)


def test_every_group_is_tested_and_adjusted():
    table = table_of(["race", "died", "alarm"])
    found = permutation_test(table, [Attribute("race", "a")], label="died", decision="alarm", n_permutations=999)
    assert [item.group for item in found.comparisons] == [{"race": "b"}, {"race": "c"}, {"race": "d"}]
    assert found.p_value[2] == 0.001
    assert found.p_value[:2].min() > 0.01
    assert np.array_equal(found.holm, holm(found.p_value))
    assert np.array_equal(found.benjamini_hochberg, benjamini_hochberg(found.p_value))
    assert found.holm[2] == pytest.approx(0.003)


def test_the_table_is_read_by_name():
    table = table_of(["sex", "alarm", "race", "died"])
    options = {"label": "died", "decision": "alarm", "n_permutations": 99}
    found = permutation_test(table, [Attribute("race", "a")], **options)
    expected = permutation_test(table_of(["race", "died", "alarm"]), [Attribute("race", "a")], **options)
    assert np.array_equal(found.value, expected.value)
    assert np.array_equal(found.p_value, expected.p_value)
    with pytest.raises(InputError, match="the table has no column 'age'"):
        permutation_test(table, [Attribute("age")], **options)


def test_the_seed_decides():
    table = table_of(["race", "sex", "died", "alarm"])
    attributes = [Attribute("race", "a"), Attribute("sex", "M")]
    found = [
        permutation_test(table, attributes, label="died", decision="alarm", n_permutations=99, seed=seed).p_value
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert len(found[0]) == 3 + 1 + (4 * 2 - 1)


def test_an_undefined_disparity_is_not_tested():
    rows = {"sex": ["F"] * 4 + ["M"] * 4, "died": [0, 0, 0, 0, 0, 1, 0, 1], "alarm": [0, 1] * 4}
    table = CountTable.count_rows(rows, list(rows))
    found = permutation_test(
        table, [Attribute("sex", "M")], "equal_opportunity_difference", label="died", decision="alarm"
    )
    assert np.isnan([found.value[0], found.p_value[0], found.holm[0]]).all()


def test_wrong_input():
    table = table_of(["race", "died", "alarm"])
    options = {"label": "died", "decision": "alarm"}
    with pytest.raises(InputError, match="there is no disparity 'spd'"):
        permutation_test(table, [Attribute("race")], "spd", **options)
    with pytest.raises(InputError, match="n_permutations is 0"):
        permutation_test(table, [Attribute("race")], n_permutations=0, **options)
    with pytest.raises(InputError, match=r"fewer than 10\^9 rows"):
        p_value(unit([[1e9, 1], [1, 1]]), unit([[1, 1], [1, 1]]), "accuracy_difference")
