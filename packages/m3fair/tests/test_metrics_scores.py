"""Ranking and calibration against scikit-learn, against loops, and by their invariances."""

import doctest
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as theirs
from sklearn.linear_model import LogisticRegression

from auscult.core.errors import InputError
from auscult.m3fair.metrics import calibration, ranking, rows
from auscult.m3fair.metrics.calibration import (
    brier_score,
    calibration_curve,
    calibration_in_the_large,
    expected_calibration_error,
    generalized_false_positive_rate,
    generalized_true_positive_rate,
    log_loss,
    logistic_recalibration,
)
from auscult.m3fair.metrics.ranking import (
    auroc,
    average_equality_gaps,
    average_precision,
    cross_auroc,
    min_sensitivity_precision,
    threshold_sweep,
)
from auscult.m3fair.metrics.rows import check_rows

SCALARS = {
    "auroc": lambda y, p, w: auroc(y, p, w).value,
    "average_precision": average_precision,
    "min_sensitivity_precision": min_sensitivity_precision,
    "calibration_in_the_large": calibration_in_the_large,
    "brier_score": brier_score,
    "log_loss": log_loss,
    "generalized_true_positive_rate": generalized_true_positive_rate,
    "generalized_false_positive_rate": generalized_false_positive_rate,
    "expected_calibration_error": lambda y, p, w: expected_calibration_error(y, p, w, bins=4),
    "recalibrated intercept": lambda y, p, w: logistic_recalibration(y, p, w).intercept,
    "recalibrated slope": lambda y, p, w: logistic_recalibration(y, p, w).slope,
    "intercept at slope 1": lambda y, p, w: logistic_recalibration(y, p, w, slope=1.0).intercept,
}
RANKINGS = ("auroc", "average_precision", "min_sensitivity_precision")


def sample(seed, n=80, levels=15):
    """Return labels, tied probabilities strictly inside (0, 1), whole weights of at least 1, groups."""
    random = np.random.default_rng(seed)
    p = random.integers(1, levels, n) / levels
    y = (random.uniform(size=n) < p**1.5).astype(int)
    return y, p, random.integers(1, 5, n).astype(float), np.array(["a", "b", "c"])[random.integers(0, 3, n)]


@pytest.mark.parametrize("module", [calibration, ranking, rows])
def test_the_examples_of_the_documentation_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("seed", range(3))
def test_a_duplicated_row_is_a_weight(name, seed):
    y, p, w, _ = sample(seed)
    m = w.astype(int)
    repeated = SCALARS[name](np.repeat(y, m), np.repeat(p, m), None)
    assert SCALARS[name](y, p, w) == pytest.approx(repeated, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_the_scale_of_weights_and_rows_without_weight_do_not_matter(name, seed):
    y, p, w, _ = sample(seed)
    expected = SCALARS[name](y, p, w)
    order = np.random.default_rng(seed).permutation(len(y))
    assert SCALARS[name](y[order], p[order], w[order]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert SCALARS[name](y, p, w * 0.3) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    padded = SCALARS[name](np.r_[y, 1, 0], np.r_[p, 0.0, 1.0], np.r_[w, 0, 0])
    assert padded == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert SCALARS[name](pd.Series(y == 1), pd.Series(p), pd.Series(w)) == expected


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_know_only_the_order_of_scores(name):
    y, p, w, _ = sample(7)
    assert SCALARS[name](y, np.exp(5 * p) - 40, w) == pytest.approx(SCALARS[name](y, p, w))


@pytest.mark.parametrize("name", SCALARS)
def test_nobody_is_undefined(name):
    assert math.isnan(SCALARS[name]([], [], None))
    assert math.isnan(SCALARS[name]([1, 0], [0.3, 0.4], [0, 0]))


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed):
    y, p, w, _ = sample(seed)
    assert auroc(y, p, w).value == pytest.approx(theirs.roc_auc_score(y, p, sample_weight=w))
    assert average_precision(y, p, w) == pytest.approx(theirs.average_precision_score(y, p, sample_weight=w))
    assert brier_score(y, p, w) == pytest.approx(theirs.brier_score_loss(y, p, sample_weight=w))
    assert log_loss(y, p, w) == pytest.approx(theirs.log_loss(y, p, sample_weight=w))
    precision, recall, _ = theirs.precision_recall_curve(y, p, sample_weight=w)
    assert min_sensitivity_precision(y, p, w) == pytest.approx(np.minimum(precision, recall).max())


def test_scores_at_the_ends():
    assert average_precision([1, 1], [0.2, 0.4]) == pytest.approx(1)
    assert math.isnan(average_precision([0, 0], [0.2, 0.4]))
    assert math.isnan(min_sensitivity_precision([0, 0], [0.2, 0.4]))
    assert log_loss([1, 0], [0.0, 0.5]) == math.inf
    assert log_loss([1, 0], [1.0, 0.0]) == 0
    assert math.isnan(generalized_true_positive_rate([0, 0], [0.2, 0.4]))
    assert math.isnan(generalized_false_positive_rate([1, 1], [0.2, 0.4]))


@pytest.mark.parametrize("seed", range(3))
def test_means_of_probabilities_agree_with_sums_over_rows(seed):
    y, p, w, _ = sample(seed)
    of = list(zip(y.tolist(), p.tolist(), w.tolist(), strict=True))
    total = sum(v for _, _, v in of)
    assert calibration_in_the_large(y, p, w) == pytest.approx(sum(v * (s - c) for c, s, v in of) / total)
    for label, found in ((1, generalized_true_positive_rate), (0, generalized_false_positive_rate)):
        among = [(s, v) for c, s, v in of if c == label]
        assert found(y, p, w) == pytest.approx(sum(s * v for s, v in among) / sum(v for _, v in among))


@pytest.mark.parametrize("seed", range(4))
def test_recalibration_agrees_with_unpenalised_logistic_regression(seed):
    y, p, w, _ = sample(seed)
    logit = np.log(p / (1 - p))[:, None]
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(logit, y, sample_weight=w)
    found = logistic_recalibration(y, p, w)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert found.intercept == pytest.approx(model.intercept_[0], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("slope", [None, 1.0, 0.3, -2.0, 60.0])
@pytest.mark.parametrize("spread", [1.0, 1e-6, 12.0])
def test_recalibration_solves_the_score_equations(slope, spread):
    y, p, w, _ = sample(3)
    p = 1 / (1 + ((1 - p) / p) ** spread)
    x = np.log(p) - np.log1p(-p)
    found = logistic_recalibration(y, p, w, slope=slope)
    residual = w * (y - np.exp(-np.logaddexp(0, -found.intercept - found.slope * x)))
    assert residual.sum() == pytest.approx(0, abs=1e-6)
    if slope is None:
        assert (residual * x).sum() == pytest.approx(0, abs=1e-6 * np.abs(x).max())
    else:
        assert found.slope == slope


def test_calibrated_probabilities_need_no_recalibration():
    p = np.repeat([0.2, 0.5, 0.75], 40)
    y = np.concatenate([np.arange(40) < 40 * share for share in (0.2, 0.5, 0.75)])
    found = logistic_recalibration(y, p)
    assert (found.intercept, found.slope) == pytest.approx((0, 1), abs=1e-9)
    too_extreme = p**2 / (p**2 + (1 - p) ** 2)
    assert logistic_recalibration(y, too_extreme).slope == pytest.approx(0.5)
    odds = 3 * p / (1 - p)
    assert logistic_recalibration(y, odds / (1 + odds), slope=1.0).intercept == pytest.approx(-math.log(3))
    assert expected_calibration_error(y, p) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("label", "score"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4]),
        ([0, 0, 1, 1], [0.1, 0.3, 0.3, 0.4]),
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]),
        ([1, 1, 1], [0.1, 0.3, 0.4]),
        ([0, 1, 0, 1], [0.0, 0.3, 0.4, 0.2]),
    ],
)
def test_recalibration_without_a_maximum_is_undefined(label, score):
    found = logistic_recalibration(label, score)
    assert math.isnan(found.slope)
    assert math.isnan(found.intercept)


def test_the_intercept_alone_is_defined_for_labels_that_a_threshold_separates():
    found = logistic_recalibration([0, 0, 1, 1], [0.2, 0.4, 0.6, 0.8], slope=1.0)
    assert found.intercept == pytest.approx(0, abs=1e-9)
    assert math.isnan(logistic_recalibration([0, 0], [0.2, 0.4], slope=1.0).intercept)


def bins_by_hand(y, p, w, bins):
    """Walk through the distinct probabilities and put each where the middle of its mass lies."""
    total, below, found = w.sum(), 0.0, {}
    for value in sorted(set(p.tolist())):
        there = p == value
        middle = below + w[there].sum() / 2
        b = max(k for k in range(bins) if k == 0 or middle >= k * total / bins - 1e-12)
        found.setdefault(b, []).append(there)
        below += w[there].sum()
    return [np.logical_or.reduce(parts) for _, parts in sorted(found.items())]


@pytest.mark.parametrize("bins", [1, 2, 5, 10, 40])
@pytest.mark.parametrize("seed", range(3))
def test_bins_of_equal_mass_against_a_walk(seed, bins):
    y, p, w, _ = sample(seed)
    curve = calibration_curve(y, p, w, bins=bins)
    parts = bins_by_hand(y, p, w, bins)
    assert curve.bins == bins
    assert curve.weight == pytest.approx([w[part].sum() for part in parts])
    assert curve.score == pytest.approx([np.average(p[part], weights=w[part]) for part in parts])
    assert curve.rate == pytest.approx([np.average(y[part], weights=w[part]) for part in parts])
    assert curve.effective_n == pytest.approx([w[part].sum() ** 2 / (w[part] ** 2).sum() for part in parts])
    error = sum(w[part].sum() * abs(np.average(p[part] - y[part], weights=w[part])) for part in parts) / w.sum()
    assert expected_calibration_error(y, p, w, bins=bins) == pytest.approx(error)


def test_bins_without_ties_hold_equal_mass():
    random = np.random.default_rng(0)
    curve = calibration_curve(random.integers(0, 2, 100), random.permutation(100) / 100, bins=10)
    assert curve.weight.tolist() == [10] * 10
    assert (np.diff(curve.score) > 0).all()


def test_one_probability_for_all_is_one_bin():
    curve = calibration_curve([0, 1, 1, 1], [0.4] * 4, bins=10)
    assert (curve.score.tolist(), curve.rate.tolist(), curve.weight.tolist()) == ([0.4], [0.75], [4])
    assert len(calibration_curve([], []).score) == 0


def naive_sweep(y, p, w, thresholds):
    tables = np.zeros((len(thresholds), 2, 2))
    for i, threshold in enumerate(thresholds):
        decided = p >= threshold
        for label, decision in itertools.product((0, 1), repeat=2):
            tables[i, label, decision] = w[(y == label) & (decided == decision)].sum()
    return tables


THRESHOLDS = {
    "a hundred": np.linspace(0.01, 1, 100),
    "at the scores": np.arange(16) / 15,
    "out of order, repeated, out of range": np.array([0.4, 2.0, -1.0, 0.4, np.inf, -np.inf, 6 / 15]),
    "all": None,
}


@pytest.mark.parametrize("thresholds", THRESHOLDS.values(), ids=THRESHOLDS)
@pytest.mark.parametrize("seed", range(3))
def test_property_15_the_sweep_equals_the_loop_over_thresholds_exactly(seed, thresholds):
    y, p, w, group = sample(seed)
    sweep = threshold_sweep(y, p, w, thresholds=thresholds)
    if thresholds is None:
        assert sweep.thresholds.tolist() == [*sorted(set(p.tolist())), np.inf]
    else:
        assert sweep.thresholds.tolist() == thresholds.tolist()
    assert np.array_equal(sweep.confusion.weight, naive_sweep(y, p, w, sweep.thresholds))
    assert np.array_equal(sweep.confusion.weight_squared, naive_sweep(y, p, w**2, sweep.thresholds))
    by_group = threshold_sweep(y, p, w, group=group, thresholds=thresholds)
    assert by_group.groups == ("a", "b", "c")
    for name, table in zip(by_group.groups, by_group.confusion.weight, strict=True):
        mine = group == name
        assert np.array_equal(table, naive_sweep(y[mine], p[mine], w[mine], by_group.thresholds))
    assert np.array_equal(by_group.confusion.weight.sum(axis=0), sweep.confusion.weight)
    assert by_group.best_balanced_accuracy() == sweep.best_balanced_accuracy()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.1 + 0.2, 0.5, 1.0])), max_size=12),
    st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.1 + 0.2, 0.5, 1.0, 1.5]), min_size=1, max_size=6),
)
def test_property_15_the_sweep_equals_the_loop_for_any_ties(drawn, thresholds):
    y, p = np.array([label for label, _ in drawn], dtype=int), np.array([score for _, score in drawn])
    sweep = threshold_sweep(y, p, thresholds=thresholds)
    assert np.array_equal(sweep.confusion.weight, naive_sweep(y, p, np.ones(len(y)), thresholds))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_has_the_best_balanced_accuracy(seed):
    y, p, w, _ = sample(seed)
    thresholds = np.linspace(0.01, 1, 100)
    accuracy = [theirs.balanced_accuracy_score(y, p >= t, sample_weight=w) for t in thresholds]
    threshold, best = threshold_sweep(y, p, w, thresholds=thresholds).best_balanced_accuracy()
    assert best == pytest.approx(max(accuracy))
    assert threshold == min(t for t, a in zip(thresholds, accuracy, strict=True) if a > max(accuracy) - 1e-9)
    all_of_them = threshold_sweep(y, p, w).best_balanced_accuracy()
    assert all_of_them[1] >= best - 1e-12


def test_the_best_threshold_needs_both_classes():
    assert all(math.isnan(value) for value in threshold_sweep([1, 1], [0.2, 0.4]).best_balanced_accuracy())


def wins_by_pairs(above, below):
    """Return the weighted share of pairs (score, weight) in which the first is higher, ties one half."""
    pairs = [(v * u, float(s > t) + (s == t) / 2) for (s, v), (t, u) in itertools.product(above, below)]
    return sum(v * win for v, win in pairs) / sum(v for v, _ in pairs) if pairs else math.nan


@pytest.mark.parametrize("seed", range(3))
def test_cross_auroc_counts_pairs_across_groups(seed):
    y, p, w, group = sample(seed, n=40)
    found = cross_auroc(y, p, group, w)
    assert found.groups == ("a", "b", "c")
    for (i, a), (j, b) in itertools.product(enumerate(found.groups), repeat=2):
        above = [(s, v) for s, v, c, g in zip(p, w, y, group, strict=True) if c == 1 and g == a]
        below = [(s, v) for s, v, c, g in zip(p, w, y, group, strict=True) if c == 0 and g == b]
        assert found.value[i, j] == pytest.approx(wins_by_pairs(above, below))
    for i, a in enumerate(found.groups):
        assert found.value[i, i] == pytest.approx(auroc(y[group == a], p[group == a], w[group == a]).value)
    positive, negative = (np.array([(w * c)[group == g].sum() for g in found.groups]) for c in (y, 1 - y))
    pooled = positive @ found.value @ negative / (positive.sum() * negative.sum())
    assert pooled == pytest.approx(auroc(y, p, w).value)
    flipped = cross_auroc(1 - y, -p, group, w)
    assert flipped.value == pytest.approx(found.value.T)


@pytest.mark.parametrize("seed", range(3))
def test_equality_gaps_agree_with_mann_whitney(seed):
    y, p, w, group = sample(seed)
    plain = average_equality_gaps(y, p, group)
    weighted = average_equality_gaps(y, p, group, w)
    m = w.astype(int)
    repeated = average_equality_gaps(np.repeat(y, m), np.repeat(p, m), np.repeat(group, m))
    for label, field in ((1, "positive"), (0, "negative")):
        assert getattr(weighted, field) == pytest.approx(getattr(repeated, field))
        for i, g in enumerate(plain.groups):
            inside, outside = p[(y == label) & (group == g)], p[(y == label) & (group != g)]
            u = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
            assert getattr(plain, field)[i] == pytest.approx(u - 0.5)
    two = np.where(group == "c", "b", group)
    gaps = average_equality_gaps(y, p, two, w)
    assert gaps.positive[0] == pytest.approx(-gaps.positive[1])
    assert gaps.negative[0] == pytest.approx(-gaps.negative[1])
    raised = average_equality_gaps(y, p + 0.2 * (two == "a"), two, w)
    assert raised.positive[0] > gaps.positive[0]


@pytest.mark.parametrize("seed", range(2))
def test_groups_follow_their_names_and_not_their_rows(seed):
    y, p, w, group = sample(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    renamed = pd.Series(group).map({"a": "z", "b": "y", "c": "x"})
    for metric, fields in ((cross_auroc, ("value",)), (average_equality_gaps, ("positive", "negative"))):
        found = metric(y, p, group, w)
        shuffled = metric(y[order], p[order], group[order], w[order])
        reversed_names = metric(y, p, renamed, w)
        assert reversed_names.groups == ("x", "y", "z")
        for field in fields:
            value = getattr(found, field)
            assert getattr(shuffled, field) == pytest.approx(value)
            axes = (slice(None, None, -1),) * value.ndim
            assert getattr(reversed_names, field) == pytest.approx(value[axes])


def test_comparisons_without_such_rows_are_undefined():
    found = cross_auroc([1, 1, 0], [0.3, 0.2, 0.1], ["a", "b", "b"])
    assert np.isnan(found.value).tolist() == [[True, False], [True, False]]
    gaps = average_equality_gaps([1, 1, 0], [0.3, 0.2, 0.1], ["a", "b", "b"])
    assert gaps.positive.tolist() == [0.5, -0.5]
    assert np.isnan(gaps.negative).all()
    assert cross_auroc([1, 0, 1], [0.3, 0.2, 0.1], ["a", "a", "b"], [1, 1, 0]).groups == ("a",)
    assert np.isnan(average_equality_gaps([1, 0], [0.3, 0.2], ["a", "a"]).positive).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2], [0.1, 0.2]), "the label of row 1 is 2"),
        (([0, math.nan], [0.1, 0.2]), "the label of row 1 is nan"),
        ((["no", "yes"], [0.1, 0.2]), "labels are not all numbers"),
        (([0, 1], [0.1, math.inf]), "the score of row 1 is inf"),
        (([0, 1], [[0.1, 0.2], [0.3, 0.4]]), r"scores have shape \(2, 2\)"),
        (([0, 1], [0.1]), "2 labels, 1 scores and 2 weights"),
        (([0, 1], [0.1, 0.2], [1, -1]), "the weight of row 1 is -1"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        check_rows(*arguments)
    with pytest.raises(InputError, match=message):
        threshold_sweep(*arguments)


def test_bad_options_are_explained():
    with pytest.raises(InputError, match=r"score of row 1 is 1\.5"):
        brier_score([0, 1], [0.5, 1.5])
    with pytest.raises(InputError, match="bins=0"):
        calibration_curve([0, 1], [0.5, 0.6], bins=0)
    with pytest.raises(InputError, match="no NaN"):
        threshold_sweep([0, 1], [0.5, 0.6], thresholds=[0.5, math.nan])
    with pytest.raises(InputError, match="at least one"):
        threshold_sweep([0, 1], [0.5, 0.6], thresholds=[])
    with pytest.raises(InputError, match="3 groups for 2 rows"):
        cross_auroc([0, 1], [0.5, 0.6], ["a", "b", "c"])
