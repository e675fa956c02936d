"""Intervals against independent formulas, against simulation, and by their invariances."""

import doctest
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import relative_risk

from auscult.core import intervals
from auscult.core.errors import InputError
from auscult.core.intervals import (
    Interval,
    benjamini_hochberg,
    bootstrap,
    bootstrap_replicates,
    holm,
    katz,
    mover,
    newcombe,
    paired_difference,
    percentile_bounds,
    sign_test,
    wilson,
    wilson_proportion,
)

rates = st.floats(0, 1)
sizes = st.floats(0.5, 1e6)
repeatable = settings(deadline=None, derandomize=True, max_examples=200)


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(intervals).failed == 0


def coverage(bounds, truth):
    low, high = bounds
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "total"), [(0, 12), (1, 1), (3, 40), (20, 40), (40, 40), (81, 263)])
def test_wilson_agrees_with_scipy(successes, total, confidence):
    theirs = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    low, high = wilson(successes, total, confidence=confidence)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_bounds_solve_the_score_equation():
    z = stats.norm.ppf(0.975)
    for bound in wilson_proportion(0.3, 17.5):
        assert abs(0.3 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 17.5), abs=1e-12)


def test_an_empty_group_is_undefined_and_spoils_no_other():
    low, high = wilson([[0, 5], [2, 0]], [[0, 10], [4, 10]])
    assert low.shape == high.shape == (2, 2)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [[True, False], [False, False]]
    for pair in (newcombe, katz):
        low, high = pair([0.5, np.nan, 0.5], [10, 0, 10], [0.25, 0.25, 0.25], [8, 8, 0])
        assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, True]


@repeatable
@given(rates, sizes)
def test_wilson_holds_the_estimate_and_mirrors(p, n):
    low, high = wilson_proportion(p, n)
    assert 0 <= low <= p <= high <= 1
    assert low < high
    mirrored = wilson_proportion(1 - p, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)


def test_wilson_ends_exactly():
    assert wilson(0, 30)[0] == 0
    assert wilson(30, 30)[1] == 1
    assert wilson_proportion(0.3, np.inf) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wilson(5, 4), "1.25"),
        (lambda: wilson(-1, 4), "-0.25"),
        (lambda: wilson_proportion(0.5, -3), "-3"),
        (lambda: wilson(1, 2, confidence=95), "95"),
        (lambda: percentile_bounds([1.0], confidence=0), "confidence is 0"),
        (lambda: percentile_bounds([]), "there is no replicate"),
        (lambda: bootstrap(len, 0, seed=0), "at least one row"),
        (lambda: bootstrap(len, 5, seed=0, n_boot=0), "n_boot is 0"),
        (lambda: bootstrap(len, ["a", None, "b"], seed=0), "row 1 has no subject"),
        (lambda: bootstrap(len, [1.0, 2.0, np.nan], seed=0), "row 2 has no subject"),
        (lambda: bootstrap(len, pd.Series(["a", pd.NA], dtype=object), seed=0), "row 1 has no subject"),
        (lambda: bootstrap(len, np.array(["a", 1], dtype=object), seed=0), "mix types"),
        (lambda: sign_test(-1, 2), "-1 and 2"),
        (lambda: sign_test(1.5, 2), "1.5 and 2"),
        (lambda: sign_test(math.nan, 2), "nan and 2"),
        (lambda: holm([0.5, 1.5]), r"outside \[0, 1\]"),
    ],
)
def test_impossible_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_newcombe_by_hand():
    # 8/10 against 5/10, z = 1.959964: Wilson limits (0.490162, 0.943318) and (0.236593, 0.763407), hence
    # 0.3 - sqrt(0.309838^2 + 0.263407^2) and 0.3 + sqrt(0.143318^2 + 0.263407^2).
    assert newcombe(0.8, 10, 0.5, 10) == pytest.approx((-0.106673, 0.599870), abs=1e-5)


@repeatable
@given(rates, sizes, rates, sizes)
def test_newcombe_is_antisymmetric_and_stays_in_range(p1, n1, p2, n2):
    low, high = newcombe(p1, n1, p2, n2)
    assert -1 - 1e-12 <= low <= p1 - p2 <= high <= 1 + 1e-12
    assert newcombe(p2, n2, p1, n1) == pytest.approx((-high, -low), abs=1e-12)


def test_mover_of_four_rates_equals_mover_of_two_differences():
    (a, b, c, d), n = (0.8, 0.7, 0.3, 0.1), (30, 40, 50, 60)
    limits = [wilson_proportion(p, m) for p, m in zip((a, b, c, d), n, strict=True)]
    lows, highs = zip(*limits, strict=True)
    at_once = mover([a, b, c, d], lows, highs, [0.5, -0.5, 0.5, -0.5])
    first, second = newcombe(a, 30, b, 40), newcombe(c, 50, d, 60)
    nested = mover([a - b, c - d], [first[0], second[0]], [first[1], second[1]], [0.5, 0.5])
    assert at_once == pytest.approx(nested, abs=1e-12)


def test_mover_of_symmetric_intervals_adds_variances():
    assert mover([1.0, 2.0], [-2.0, -2.0], [4.0, 6.0], [1, 1]) == pytest.approx((-2.0, 8.0))
    assert mover([1.0], [-2.0], [6.0], [-2]) == pytest.approx((-12.0, 4.0))


@pytest.mark.parametrize(("a", "n1", "b", "n2"), [(30, 100, 20, 100), (1, 7, 3, 11), (500, 900, 499, 901)])
def test_katz_agrees_with_scipy(a, n1, b, n2):
    theirs = relative_risk(a, n1, b, n2).confidence_interval(0.95)
    assert katz(a / n1, n1, b / n2, n2) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_katz_with_a_zero_or_a_full_rate_is_not_degenerate():
    low, high = katz(0.0, 20, 0.5, 20)
    assert low == 0
    assert 0 < high < 1
    low, high = katz(0.5, 20, 0.0, 20)
    assert 1 < low < math.inf
    assert high == math.inf
    low, high = katz(1.0, 20, 1.0, 30)
    assert 0.8 < low < 1 < high < 1.25
    assert np.isnan(katz(0.0, 20, 0.0, 20)).all()


@repeatable
@given(st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(2, 200), st.floats(0.05, 1), st.integers(2, 200))
def test_katz_is_reciprocal_under_swapping(p1, n1, p2, n2):
    low, high = katz(p1, n1, p2, n2)
    swapped_low, swapped_high = katz(p2, n2, p1, n1)
    assert low <= p1 / p2 * (1 + 1e-12)
    assert high >= p1 / p2 * (1 - 1e-12)
    assert high * swapped_low == pytest.approx(1)
    if p1 == 0:
        assert (low, swapped_high) == (0, math.inf)
    else:
        assert low * swapped_high == pytest.approx(1)


@pytest.mark.parametrize(("p1", "p2"), [(1.0, 1.0), (1.0, 0.4), (0.6, 1.0)])
def test_the_ratio_of_wilson_limits_solves_its_definition(p1, p2):
    n1, n2 = 25, 40
    (l1, u1), (l2, u2) = wilson_proportion(p1, n1), wilson_proportion(p2, n2)
    for bound, side in zip(katz(p1, n1, p2, n2), (0, 1), strict=True):
        assert mover([p1, p2], [l1, l2], [u1, u2], [1, -bound])[side] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("low_rate", [0.02, 0.2])
def test_closed_forms_cover_as_promised(low_rate):
    # True rates and sizes vary from one simulation to the next: the coverage of any discrete interval jumps
    # with a single rate.
    rng = np.random.default_rng(20)
    n = rng.integers(60, 200, size=(4, 20_000))
    p = rng.uniform(low_rate, 0.6, size=(4, 20_000))
    r = rng.binomial(n, p) / n
    assert 0.93 <= coverage(wilson_proportion(r[0], n[0]), p[0]) <= 0.97
    assert 0.93 <= coverage(newcombe(r[0], n[0], r[1], n[1]), p[0] - p[1]) <= 0.97
    assert 0.93 <= coverage(katz(r[0], n[0], r[1], n[1]), p[0] / p[1]) <= 0.97
    one, two = newcombe(r[0], n[0], r[1], n[1]), newcombe(r[2], n[2], r[3], n[3])
    parts = [r[0] - r[1], r[2] - r[3]], [one[0], two[0]], [one[1], two[1]]
    assert 0.93 <= coverage(mover(*parts, [0.5, 0.5]), (p[0] - p[1] + p[2] - p[3]) / 2) <= 0.97


def test_rare_events_keep_the_ratio_covered():
    # Here every fifth sample or so has a zero numerator, where the log interval alone would not exist.
    rng = np.random.default_rng(21)
    r1, r2 = (rng.binomial(80, rate, 20_000) / 80 for rate in (0.02, 0.3))
    assert 0.15 < np.mean(r1 == 0) < 0.25
    assert 0.93 <= coverage(katz(r1, 80, r2, 80), 0.02 / 0.3) <= 0.97


def test_the_bootstrap_covers_as_promised_when_rows_come_in_subjects():
    # 2 000 data sets side by side: 80 patients with one to four visits that share a patient effect.
    rng = np.random.default_rng(22)
    subject = np.repeat(np.arange(80), rng.integers(1, 5, size=80))
    visits = rng.normal(size=(80, 2000))[subject] + rng.normal(size=(len(subject), 2000))
    statistic = lambda rows: visits[rows].mean(axis=0)  # noqa: E731
    _, by_subject = bootstrap_replicates(statistic, subject, n_boot=400, seed=1)
    _, by_row = bootstrap_replicates(statistic, len(subject), n_boot=400, seed=1)
    assert 0.93 <= coverage(percentile_bounds(by_subject), 0) <= 0.97
    assert coverage(percentile_bounds(by_row), 0) < 0.90


def test_the_bootstrap_repeats_per_seed_and_keeps_subjects_whole():
    values = np.arange(12.0)
    subject = np.array(list("aabbbccccddd"))
    seen = []

    def mean(rows):
        seen.append(rows)
        return values[rows].mean()

    first = bootstrap(mean, subject, seed=3, n_boot=50)
    assert bootstrap(mean, subject, seed=3, n_boot=50) == first
    assert bootstrap(mean, subject, seed=4, n_boot=50) != first
    assert first.value == values.mean()
    assert first.low <= first.value <= first.high
    for rows in seen:
        counts = np.bincount(rows, minlength=12)
        assert all(len(set(counts[subject == s])) == 1 for s in "abcd")
        assert sum(counts[subject == s][0] for s in "abcd") == 4


@pytest.mark.parametrize("container", [np.asarray, list, pd.Series])
def test_the_bootstrap_does_not_depend_on_the_order_of_rows(container):
    rng = np.random.default_rng(0)
    values, subject = rng.normal(size=60), rng.integers(0, 15, size=60)
    expected = bootstrap(lambda rows: values[rows].mean(), subject, seed=0, n_boot=100)
    order = rng.permutation(60)
    shuffled = values[order]
    got = bootstrap(lambda rows: shuffled[rows].mean(), container(subject[order]), seed=0, n_boot=100)
    assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_the_bootstrap_of_a_mean_has_its_textbook_error():
    values = np.random.default_rng(5).exponential(size=300)
    _, replicates = bootstrap_replicates(lambda rows: values[rows].mean(), 300, n_boot=4000, seed=5)
    assert replicates.std() == pytest.approx(values.std() / math.sqrt(300), rel=0.04)


def test_undefined_replicates_are_left_out_and_counted():
    y = np.array([1] + [0] * 9)

    def sensitivity(rows):
        positives = y[rows].sum()
        return 1.0 if positives else math.nan

    found = bootstrap(sensitivity, len(y), seed=0, n_boot=2000)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert found.undefined == pytest.approx(2000 * 0.9**10, rel=0.1)
    nothing = bootstrap(lambda rows: math.nan, 5, seed=0, n_boot=10)
    assert nothing.undefined == 10
    assert nothing.to_dict() == {"value": None, "ci": [None, None]}


def test_percentile_bounds_are_order_statistics():
    replicates = np.random.default_rng(0).permutation(999)
    assert percentile_bounds(replicates) == (24, 974)
    table = np.array([[1.0, np.nan, np.inf], [2.0, np.nan, 1.0], [np.nan, np.nan, 2.0]])
    low, high = percentile_bounds(table)
    np.testing.assert_equal(low, [1.0, np.nan, 1.0])
    np.testing.assert_equal(high, [2.0, np.nan, np.inf])
    low, high = percentile_bounds(-table)
    np.testing.assert_equal(low, [-2.0, np.nan, -np.inf])
    np.testing.assert_equal(high, [-1.0, np.nan, -1.0])


def test_a_system_does_not_differ_from_itself():
    scores = np.random.default_rng(0).normal(size=50)
    same = paired_difference(lambda r: scores[r].mean(), lambda r: scores[r].mean(), 50, seed=0)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_pairing_removes_what_both_systems_share():
    rng = np.random.default_rng(0)
    case = rng.normal(scale=5, size=200)
    a, b = case + rng.normal(size=200) + 0.5, case + rng.normal(size=200)
    paired = paired_difference(lambda r: a[r].mean(), lambda r: b[r].mean(), 200, seed=0)
    swapped = paired_difference(lambda r: b[r].mean(), lambda r: a[r].mean(), 200, seed=0)
    alone = bootstrap(lambda r: a[r].mean(), 200, seed=0)
    assert paired.low > 0
    assert (paired.high - paired.low) < (alone.high - alone.low) / 2
    assert (swapped.low, swapped.high) == (-paired.high, -paired.low)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (8, 2), (2, 8), (5, 5), (60, 41), (3000, 2800)])
def test_sign_test_agrees_with_scipy(wins, losses):
    expected = stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)
    assert sign_test(np.int64(wins), float(losses)) == sign_test(losses, wins)


def test_sign_test_is_exact_far_in_the_tail():
    assert sign_test(0, 1000) == 2.0**-999
    assert sign_test(0, 5000) == 0


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@repeatable
@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p, method="bh"), abs=1e-12)


@repeatable
@given(p_values, st.floats(0.01, 0.5))
def test_holm_rejects_what_its_procedure_rejects(p, level):
    rejected = set()
    for step, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[index] * (len(p) - step) > level:
            break
        rejected.add(index)
    assert set(np.flatnonzero(holm(p) <= level)) == rejected


def test_adjustments_leave_out_tests_that_were_not_made():
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    before = p.copy()
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p)
        assert adjusted.shape == p.shape
        assert np.isnan(adjusted[0, 1])
        np.testing.assert_array_equal(adjusted[~np.isnan(p)], adjust([0.01, 0.04, 0.03]))
        assert adjust([np.nan]).tolist() == pytest.approx([np.nan], nan_ok=True)
        assert adjust([]).size == 0
    np.testing.assert_array_equal(p, before)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_an_interval_is_json_in_the_one_form_of_ours():
    assert json.dumps(Interval(np.float64(0.5), 0.25, np.float64(0.75)).to_dict()) == (
        '{"value": 0.5, "ci": [0.25, 0.75]}'
    )
    assert Interval(math.nan, 0.25, math.inf).to_dict() == {"value": None, "ci": [0.25, None]}


def test_every_closed_form_takes_lists_series_and_scalars():
    for p1, n1 in itertools.product((0.5, [0.5, 0.25], pd.Series([0.5, 0.25])), (20, [20, 30])):
        for pair in (newcombe, katz):
            low, high = pair(p1, n1, 0.4, 25)
            assert np.ravel(low)[0] == pair(0.5, 20, 0.4, 25)[0]
            assert np.ravel(high)[0] == pair(0.5, 20, 0.4, 25)[1]
