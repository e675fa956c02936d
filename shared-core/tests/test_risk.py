import doctest
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve as sk_calibration_curve
from sklearn.linear_model import LogisticRegression

from auscult.core import calibration, risk
from auscult.core.errors import InputError

some = settings(deadline=None, derandomize=True, max_examples=150)


@st.composite
def predictions(draw, both_classes=True):
    """Draw labels and probabilities, many of them equal."""
    label = draw(st.lists(st.integers(0, 1), min_size=2, max_size=60))
    if both_classes:
        label += [0, 1]
    grid = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.5000001, 0.7, 0.99, 1.0])
    value = st.one_of(grid, st.floats(0, 1))
    return np.array(label), np.array([draw(value) for _ in label])


@some
@given(predictions())
def test_ranking_metrics_are_those_of_scikit_learn(drawn):
    y, p = drawn
    assert risk.auroc(y, p) == pytest.approx(sk.roc_auc_score(y, p), abs=1e-12)
    assert risk.auprc(y, p) == pytest.approx(sk.average_precision_score(y, p), abs=1e-12)
    precision, recall, _ = sk.precision_recall_curve(y, p)
    expected = np.minimum(precision, recall).max()
    assert risk.min_precision_sensitivity(y, p) == pytest.approx(expected, abs=1e-12)
    # Any strictly increasing map of the scores ranks alike.
    assert risk.auroc(y, np.round(p * 1e6) - 7) == pytest.approx(sk.roc_auc_score(y, np.round(p * 1e6)), abs=1e-12)
    assert risk.auroc(1 - y, -p) == pytest.approx(risk.auroc(y, p), abs=1e-12)


@some
@given(predictions())
def test_decisions_and_losses_are_those_of_scikit_learn(drawn):
    y, p = drawn
    assert risk.f1(y, p) == pytest.approx(sk.f1_score(y, p > 0.5), abs=1e-12)
    assert risk.f1(y, p, threshold=0.25) == pytest.approx(sk.f1_score(y, p > 0.25), abs=1e-12)
    assert risk.accuracy(y, p) == pytest.approx(sk.accuracy_score(y, p > 0.5), abs=1e-12)
    assert risk.brier(y, p) == pytest.approx(sk.brier_score_loss(y, p), abs=1e-12)
    assert risk.log_loss(y, p) == pytest.approx(sk.log_loss(y, p), rel=1e-12)


@some
@given(predictions(), st.sampled_from([1, 2, 5, 15]))
def test_the_calibration_curve_is_that_of_scikit_learn(drawn, bins):
    y, p = drawn
    curve = risk.calibration_curve(y, p, bins=bins)
    observed, predicted = sk_calibration_curve(y, p, n_bins=bins, strategy="quantile")
    np.testing.assert_allclose(curve.observed, observed, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.predicted, predicted, rtol=0, atol=1e-12)
    assert curve.n.sum() == len(y)
    assert ((curve.low <= curve.observed) & (curve.observed <= curve.high)).all()
    error = (np.abs(observed - predicted) * curve.n).sum() / len(y)
    assert risk.expected_calibration_error(y, p, bins=bins) == pytest.approx(error, abs=1e-12)


def test_equal_probabilities_share_a_bin():
    p = np.repeat([0.2, 0.9], [7, 3])
    curve = risk.calibration_curve([0, 1] * 5, p)
    assert curve.n.tolist() == [7, 3]
    order = np.random.default_rng(0).permutation(10)
    again = risk.calibration_curve(np.array([0, 1] * 5)[order], p[order])
    np.testing.assert_allclose(np.stack(again), np.stack(curve), rtol=1e-12)
    assert risk.expected_calibration_error([0, 1] * 5, [0.5] * 10) == 0


def test_slope_and_intercept_are_those_of_a_regression():
    rng = np.random.default_rng(1)
    z = rng.normal(-1, 1.5, 3000)
    y = rng.random(3000) < 1 / (1 + np.exp(-(0.4 + 0.6 * z)))
    p = 1 / (1 + np.exp(-z))
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(z[:, None], y)
    assert risk.calibration_slope(y, p) == pytest.approx(fitted.coef_[0, 0], rel=1e-6)
    assert risk.calibration_slope(y, p) == pytest.approx(0.6, abs=0.1)
    # The shift that balances the books, found by bisection.
    low, high = -5.0, 5.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-(z + middle)))).sum() < y.sum() else (low, middle)
    assert risk.calibration_intercept(y, p) == pytest.approx(low, abs=1e-8)


@some
@given(predictions())
def test_a_recalibrated_prediction_is_calibrated(drawn):
    y, p = drawn
    shift, slope = risk.calibration_intercept(y, p), risk.calibration_slope(y, p)
    kept = np.clip(p, 1e-6, 1 - 1e-6)
    shifted = 1 / (1 + np.exp(-(np.log(kept / (1 - kept)) + shift)))
    assert shifted.mean() == pytest.approx(y.mean(), abs=1e-6)
    overlap = p[y == 1].min() < p[y == 0].max() and p[y == 1].max() > p[y == 0].min()
    assert np.isfinite(slope) <= overlap
    if len(set(p[(p > 1e-3) & (p < 0.999)])) > 5 and overlap:
        assert np.isfinite(slope)


@given(predictions(both_classes=False))
@some
def test_what_is_undefined_is_nan(drawn):
    y, p = drawn
    for name, function in risk.METRICS.items():
        value = function(y, p)
        ranking = name in ("auroc", "calibration_slope", "calibration_intercept") and len(set(y)) == 1
        caseless = name in ("auprc", "min_precision_sensitivity") and not y.any()
        nothing = name == "f1" and not y.any() and not (p > 0.5).any()
        if ranking or caseless or nothing:
            assert np.isnan(value)
        elif name != "calibration_slope":
            assert np.isfinite(value)


@pytest.mark.parametrize("p", [1e-6, 0.001, 0.999, 1 - 1e-6])
def test_the_intercept_of_risks_that_are_far_off_is_found(p):
    for y in ([1] + [0] * 999, [0] + [1] * 999):
        rate = np.mean(y)
        shift = np.log(rate / (1 - rate)) - np.log(p / (1 - p))
        assert risk.calibration_intercept(y, [p] * 1000) == pytest.approx(shift, abs=1e-6)


def test_separated_classes_have_no_slope():
    assert np.isnan(risk.calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.9]))
    assert np.isnan(risk.calibration_slope([0, 1, 0, 1], [0.4, 0.4, 0.4, 0.4]))
    assert risk.calibration_slope([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9]) > 0


# Golden values: made with the reference implementation of both scores.


def test_early_score_gives_the_golden_values():
    assert risk.early_score([0, 1], [0.7, 0.7], [5, 5], threshold=10) == pytest.approx(0.8, abs=1e-12)
    score = risk.early_score([1, 1, 0, 0], [0.9, 0.2, 0.6, 0.1], [8, 2, 3, 9], threshold=5)
    assert score == pytest.approx(0.2142857, abs=5e-8)


def test_osmae_gives_the_golden_values():
    assert risk.osmae([1], [60], [0.7], [10], large_los=110, threshold=10) == pytest.approx(25, abs=1e-12)
    found = risk.osmae([1, 0], [4, 20], [0.9, 0.8], [6, 10], large_los=27, threshold=5)
    assert found == pytest.approx(4.8181818, abs=5e-8)


def slow_early_score(y, p, remaining, threshold):
    total = best = 0
    for label, probability, stay in zip(y, p, remaining, strict=True):
        if label:
            best += min(1, stay / threshold)
            if probability > 0.5:
                total += min(1, stay / threshold)
            elif stay < threshold:
                total += stay / threshold - 1
        elif probability > 0.5:
            total -= 0.1
    return max(-1, total / best) if best > 0 else 0


def slow_osmae(y, remaining, p, predicted, large, threshold):
    errors = []
    for label, stay, probability, guess in zip(y, remaining, p, predicted, strict=True):
        weight = 1 if stay <= threshold else max(0, (stay - large) / (threshold - large))
        if (probability > 0.5) == bool(label):
            errors.append(weight * abs(guess - stay))
        else:
            errors.append(weight * (max(0, large - guess) + max(0, large - stay)))
    return np.mean(errors)


@some
@given(predictions(both_classes=False), st.randoms(use_true_random=False))
def test_scores_of_early_prediction_are_the_slow_ones(drawn, random):
    y, p = drawn
    remaining, predicted = ([random.choice([0, 1.5, 4, 5, 20, 27, 40]) for _ in y] for _ in range(2))
    found = risk.early_score(y, p, remaining, threshold=5)
    assert found == pytest.approx(slow_early_score(y, p, remaining, 5), abs=1e-12)
    perfect = risk.early_score(y, y * 1.0, remaining, threshold=5)
    assert perfect == pytest.approx(float((y * np.array(remaining)).any()))
    found = risk.osmae(y, remaining, p, predicted, large_los=27, threshold=5)
    assert found == pytest.approx(slow_osmae(y, remaining, p, predicted, 27, 5), abs=1e-12)
    assert risk.osmae(y, remaining, y * 1.0, remaining, large_los=27, threshold=5) == 0


# Intervals.


@pytest.fixture(scope="module")
def stays():
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(60), rng.integers(1, 5, 60))
    y = (rng.random(60) < 0.4)[subjects].astype(int)
    p = np.clip(0.3 * y + rng.random(len(y)) * 0.6, 0, 1)
    return y, p, subjects


def test_intervals_resample_subjects_and_are_reproducible(stays):
    y, p, subjects = stays
    found = risk.evaluate(y, p, subjects, n_boot=100, seed=0)
    assert list(found) == list(risk.METRICS)
    for name, interval in found.items():
        assert interval.value == pytest.approx(risk.METRICS[name](y, p))
        assert interval.low <= interval.value <= interval.high or name == "expected_calibration_error"
    assert risk.evaluate(y, p, subjects, n_boot=100, seed=0) == found
    assert risk.evaluate(y, p, subjects, metrics=["brier"], n_boot=100, seed=0)["brier"] == found["brier"]
    assert risk.evaluate(y, p, subjects, n_boot=100, seed=1) != found
    # A repeated row is no new information where subjects are resampled.
    twice = risk.evaluate(*(np.repeat(a, 2) for a in stays), metrics=["auroc"], n_boot=100, seed=0)
    assert twice["auroc"] == found["auroc"]
    apart = risk.evaluate(np.repeat(y, 9), np.repeat(p, 9), metrics=["auroc"], n_boot=100, seed=0)["auroc"]
    assert apart.high - apart.low < found["auroc"].high - found["auroc"].low


def test_resamples_of_one_class_are_counted():
    found = risk.evaluate([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4], n_boot=200, seed=0, metrics=["auroc", "brier"])
    assert found["auroc"].value == 1
    assert found["auroc"].undefined == pytest.approx(200 * (3 / 4) ** 4, abs=25)
    assert found["brier"].undefined == 0


def test_a_system_does_not_differ_from_itself(stays):
    y, p, subjects = stays
    same = risk.compare(y, p, p.copy(), subjects, n_boot=50, seed=0)
    assert {(interval.value, interval.low, interval.high) for interval in same.values()} == {(0, 0, 0)}
    worse = np.random.default_rng(0).permutation(p)
    found = risk.compare(y, p, worse, subjects, metrics=["auroc"], n_boot=50, seed=0)["auroc"]
    assert found.value == pytest.approx(risk.auroc(y, p) - risk.auroc(y, worse))
    assert found.low > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: risk.auroc([0, 1], [0.5]), r"labels of shape \(2,\) and scores of shape \(1,\)"),
        (lambda: risk.auroc([], []), "give one score for each label"),
        (lambda: risk.auroc([0, 2], [0.5, 0.5]), "a label is 2: labels are 1 for cases"),
        (lambda: risk.auroc([0, np.nan], [0.5, 0.5]), "a label is nan"),
        (lambda: risk.auroc(["no", "yes"], [0.5, 0.5]), "a label is 'no'"),
        (lambda: risk.auroc([0, 1], [0.5, np.nan]), "a score is missing or no number"),
        (lambda: risk.auroc([0, 1], ["a", "b"]), "a score is missing or no number"),
        (lambda: risk.brier([0, 1], [0.5, 1.5]), "a probability is 1.5: probabilities lie between 0 and 1"),
        (lambda: risk.calibration_curve([0, 1], [0.5, 0.5], bins=0), "bins is 0"),
        (lambda: risk.calibration_curve([0, 1], [0.5, 0.5], bins=1.5), "bins is 1.5: give a whole number"),
        (lambda: risk.early_score([0], [0.5], [-1], threshold=1), "remaining must hold 1 lengths from 0 up"),
        (lambda: risk.early_score([0], [0.5], [1], threshold=0), "threshold is 0: give a length above 0"),
        (lambda: risk.osmae([0], [1], [0.5], [1], large_los=1, threshold=2), "large_los must be the larger one"),
        (lambda: risk.evaluate([0], [0.5], metrics=["auc"], seed=0), "no metric 'auc': known are auroc"),
        (lambda: risk.evaluate([0, 1], [0.5, 0.5], [1], seed=0), "2 rows have 1 subjects"),
        (lambda: risk.compare([0, 1], [0.5, 0.5], [0.5, 2], seed=0), "a probability is 2"),
    ],
)
def test_wrong_input_is_explained(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_examples_run():
    assert [doctest.testmod(module).failed for module in (risk, calibration)] == [0, 0]


def test_metrics_need_no_scikit_learn():
    code = "import sys; from auscult.core import risk; risk.brier([0], [1]); sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
