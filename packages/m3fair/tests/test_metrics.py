import math
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score

from auscult.core.errors import InputError
from auscult.core.intervals import katz, mover, newcombe, wilson
from auscult.m3fair.metrics import DISPARITIES, PROPORTIONS, RATES, Confusion, auroc


def draw(seed, n=200, weighted=False):
    rng = np.random.default_rng(seed)
    y, decision = rng.integers(0, 2, n), rng.integers(0, 2, n)
    score = rng.normal(y, 2).round(1)
    weight = rng.random(n) * rng.integers(0, 3, n) if weighted else np.ones(n)
    return y, decision, score, weight


def confusion(y, decision, weight):
    cells = [
        np.array([[part[(y == a) & (decision == b)].sum() for b in (0, 1)] for a in (0, 1)])
        for part in (weight, weight**2)
    ]
    return Confusion(*cells)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_rates_agree_with_scikit_learn(seed, weighted):
    y, decision, _, v = draw(seed, weighted=weighted)
    found = confusion(y, decision, v)
    tn, fp, fn, tp = confusion_matrix(y, decision, sample_weight=v).ravel()
    np.testing.assert_allclose(found.weight, [[tn, fp], [fn, tp]])
    expected = {
        "selection_rate": np.average(decision, weights=v),
        "base_rate": np.average(y, weights=v),
        "true_positive_rate": recall_score(y, decision, sample_weight=v),
        "true_negative_rate": recall_score(y, decision, pos_label=0, sample_weight=v),
        "false_positive_rate": fp / (fp + tn),
        "false_negative_rate": fn / (fn + tp),
        "precision": precision_score(y, decision, sample_weight=v),
        "negative_predictive_value": precision_score(y, decision, pos_label=0, sample_weight=v),
        "false_discovery_rate": fp / (fp + tp),
        "false_omission_rate": fn / (fn + tn),
        "accuracy": accuracy_score(y, decision, sample_weight=v),
        "error_rate": 1 - accuracy_score(y, decision, sample_weight=v),
        "f1": f1_score(y, decision, sample_weight=v),
        "treatment_ratio": fn / fp,
    }
    assert set(expected) == set(RATES)
    assert {name: float(found.rate(name)) for name in RATES} == pytest.approx(expected, rel=1e-12)
    assert found.balanced_accuracy() == pytest.approx(recall_score(y, decision, average="macro", sample_weight=v))


def test_stacks_are_measured_one_by_one():
    tables = np.random.default_rng(0).integers(0, 20, (3, 4, 2, 2)).astype(float)
    whole = Confusion(tables, tables)
    for name in RATES:
        for i, j in product(range(3), range(4)):
            one = Confusion(tables[i, j], tables[i, j])
            np.testing.assert_equal(whole.rate(name)[i, j], one.rate(name))
            if name in PROPORTIONS:
                np.testing.assert_array_equal([end[i, j] for end in whole.interval(name)], one.interval(name))


@pytest.mark.parametrize("name", sorted(PROPORTIONS))
def test_intervals_of_rates_are_wilsons_of_the_effective_rows(name):
    y, decision, _, _ = draw(1)
    counts = confusion(y, decision, np.ones(len(y)))
    above, below = (np.einsum("yp,yp->", counts.weight, part) for part in RATES[name])
    assert counts.interval(name, 0.9) == pytest.approx(wilson(above, below, confidence=0.9))
    v = np.random.default_rng(2).random(len(y))
    weighted = confusion(y, decision, v)
    inside = np.array([[((y == a) & (decision == b)) * (RATES[name][1][a, b] > 0) for b in (0, 1)] for a in (0, 1)])
    chosen = v[inside.any(axis=(0, 1))]
    n = chosen.sum() ** 2 / (chosen**2).sum()
    assert weighted.effective_n(name) == pytest.approx(n)
    assert weighted.interval(name) == pytest.approx(wilson(weighted.rate(name) * n, n))
    scaled = Confusion(weighted.weight * 5, weighted.weight_squared * 25)
    assert scaled.interval(name) == pytest.approx(weighted.interval(name))


@pytest.mark.parametrize("name", RATES)
def test_a_rate_of_nobody_is_undefined_and_never_zero(name):
    """The reference divides by zero."""
    nobody = Confusion(np.zeros((2, 2)), np.zeros((2, 2)))
    assert math.isnan(nobody.rate(name))
    if name in PROPORTIONS:
        assert np.isnan(nobody.interval(name)).all()


# Disparities.


def parts():
    first, second = (confusion(y, decision, v) for y, decision, _, v in (draw(3), draw(4, n=90)))
    return first, second


DIFFERENCES = {
    "statistical_parity_difference": "selection_rate",
    "equal_opportunity_difference": "true_positive_rate",
    "predictive_parity_difference": "precision",
    "false_positive_rate_difference": "false_positive_rate",
    "accuracy_difference": "accuracy",
    "error_rate_difference": "error_rate",
    "base_rate_difference": "base_rate",
}
AVERAGES = {
    "average_odds_difference": ("false_positive_rate", "true_positive_rate"),
    "average_predictive_value_difference": ("precision", "false_omission_rate"),
}


def sides(rate):
    return [number for part in parts() for number in (part.rate(rate), part.effective_n(rate))]


@pytest.mark.parametrize(("name", "rate"), DIFFERENCES.items())
def test_a_difference_is_signed_and_has_newcombes_interval(name, rate):
    """The reference takes some absolute and some signed; here all are signed, group minus reference."""
    group, reference = parts()
    p1, n1, p2, n2 = sides(rate)
    assert DISPARITIES[name].value(group, reference) == p1 - p2
    assert DISPARITIES[name].interval(group, reference, 0.9) == newcombe(p1, n1, p2, n2, confidence=0.9)


def test_a_ratio_has_katzs_interval():
    group, reference = parts()
    assert (
        DISPARITIES["disparate_impact"].value(group, reference)
        == sides("selection_rate")[0] / sides("selection_rate")[2]
    )
    assert DISPARITIES["disparate_impact"].interval(group, reference, 0.95) == katz(*sides("selection_rate"))
    assert DISPARITIES["disparate_impact"].neutral == 1


@pytest.mark.parametrize(("name", "rates"), AVERAGES.items())
def test_an_average_of_differences_joins_their_intervals(name, rates):
    group, reference = parts()
    differences = [sides(rate)[0] - sides(rate)[2] for rate in rates]
    assert DISPARITIES[name].value(group, reference) == pytest.approx(sum(differences) / 2)
    bounds = [newcombe(*sides(rate)) for rate in rates]
    expected = mover(differences, [low for low, _ in bounds], [high for _, high in bounds], [0.5, 0.5])
    assert DISPARITIES[name].interval(group, reference, 0.95) == pytest.approx(expected)


def test_the_absolute_average_cannot_cancel():
    group, reference = parts()
    gaps = [abs(sides(rate)[0] - sides(rate)[2]) for rate in AVERAGES["average_odds_difference"]]
    found = DISPARITIES["average_absolute_odds_difference"]
    assert found.value(group, reference) == pytest.approx(sum(gaps) / 2)
    assert found.interval is None


def test_every_disparity_is_tested_here():
    assert {*DIFFERENCES, *AVERAGES, "disparate_impact", "average_absolute_odds_difference"} == set(DISPARITIES)


@pytest.mark.parametrize("name", DISPARITIES)
def test_a_disparity_from_nobody_is_undefined_and_never_no_disparity(name):
    """Undefined is not fair."""
    nobody = Confusion(np.zeros((2, 2)), np.zeros((2, 2)))
    someone, _ = parts()
    for group, reference in ((nobody, someone), (someone, nobody), (nobody, nobody)):
        assert math.isnan(DISPARITIES[name].value(group, reference))
        if DISPARITIES[name].interval:
            assert np.isnan(DISPARITIES[name].interval(group, reference, 0.95)).all()


def test_a_ratio_to_a_rate_of_zero_is_infinite():
    nobody_selected, half = (Confusion(np.array(t), np.array(t)) for t in ([[5.0, 0], [5, 0]], [[3.0, 2], [2, 3]]))
    impact = DISPARITIES["disparate_impact"]
    assert impact.value(half, nobody_selected) == math.inf
    assert impact.value(nobody_selected, half) == 0
    assert math.isnan(impact.value(nobody_selected, nobody_selected))
    low, high = impact.interval(half, nobody_selected, 0.95)
    assert low > 0
    assert high == math.inf


# Ranking.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_auroc_agrees_with_scikit_learn(seed, weighted):
    y, _, score, v = draw(seed, weighted=weighted)
    assert auroc(y, score, v).value == pytest.approx(roc_auc_score(y, score, sample_weight=v), rel=1e-12)
    assert auroc(y, -score, v).value == pytest.approx(1 - auroc(y, score, v).value, rel=1e-12)


def delong(y, score):
    """Return the area and DeLong's variance by the sums over all pairs of his paper, O(n^2)."""
    x, z = score[y == 1], score[y == 0]
    kernel = (x[:, None] > z) + 0.5 * (x[:, None] == z)
    area = kernel.mean()
    return area, kernel.mean(axis=1).var(ddof=1) / len(x) + kernel.mean(axis=0).var(ddof=1) / len(z)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_auroc_is_delongs_on_the_logit_scale(seed, confidence):
    y, _, score, _ = draw(seed, n=60 + 40 * seed)
    area, variance = delong(y, score)
    z = {0.8: 1.2815515655446004, 0.95: 1.959963984540054}[confidence]
    half = z * math.sqrt(variance) / (area * (1 - area))
    expected = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + side * half))) for side in (-1, 1)]
    found = auroc(y, score, confidence=confidence)
    assert (found.value, found.low, found.high) == pytest.approx((area, *expected), rel=1e-12)


@pytest.mark.parametrize(("weighted", "sizes"), [(False, [60, 25]), (True, [300, 120])])
def test_the_interval_of_auroc_covers(weighted, sizes):
    """Nominal 95 %; the binomial error of 1500 samples is 0.6 points. Few rows of very unequal weights cover less."""
    rng = np.random.default_rng(11)
    covered = {0.5: 0, 0.76: 0, 0.95: 0}
    for truth in covered:
        # Normal scores of unit variance: the area is Phi(shift / sqrt 2).
        shift = {0.5: 0.0, 0.76: 0.9988, 0.95: 2.3262}[truth]
        for _ in range(1500):
            y = np.repeat([0, 1], sizes)
            found = auroc(y, rng.normal(y * shift), rng.exponential(size=len(y)) if weighted else None)
            covered[truth] += found.low <= truth <= found.high
    assert all(0.92 < count / 1500 < 0.975 for count in covered.values()), covered


def test_weights_that_vary_widen_the_interval():
    y, _, score, _ = draw(0)
    rng = np.random.default_rng(0)
    even = auroc(y, score)
    uneven = auroc(y, score, np.where(rng.random(len(y)) < 0.9, 0.05, 5.0))
    assert uneven.high - uneven.low > 1.5 * (even.high - even.low)
    scaled = auroc(y, score, np.full(len(y), 7.0))
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((even.value, even.low, even.high), rel=1e-12)


@pytest.mark.parametrize(
    ("y", "score", "value", "low", "high"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 1, wilson(2, 2)[0], 1),
        ([0, 0, 1, 1], [4, 3, 2, 1], 0, 0, wilson(0, 2)[1]),
        ([0, 0, 0, 1], [1, 1, 1, 1], 0.5, wilson(0.5, 1)[0], wilson(0.5, 1)[1]),
        ([1, 1], [1, 2], math.nan, math.nan, math.nan),
        ([0, 0], [1, 2], math.nan, math.nan, math.nan),
        ([], [], math.nan, math.nan, math.nan),
    ],
)
def test_auroc_at_the_ends(y, score, value, low, high):
    found = auroc(y, score)
    np.testing.assert_allclose([found.value, found.low, found.high], [value, low, high], rtol=1e-12)


def test_one_positive_has_a_wide_interval():
    found = auroc([0, 0, 0, 0, 1], [1, 2, 3, 5, 4])
    assert found.value == 0.75
    assert found.low < 0.5
    assert found.high > 0.9


def test_a_threshold_at_a_rate_is_not_an_area():
    """The reference takes the area over decisions, which is no more than balanced accuracy."""
    y, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(y, score).value == 0.75
    assert auroc(y, score >= 0.5).value == Confusion(*[np.array([[2.0, 0], [1, 1]])] * 2).balanced_accuracy()


@pytest.mark.parametrize(
    "arguments", [([0, 1], [1.0]), ([0, 2], [1, 2]), ([0, 1], [1, math.nan]), ([0, 1], [1, 2], [1, -1])]
)
def test_rows_that_cannot_be_ranked_are_refused(arguments):
    with pytest.raises(InputError):
        auroc(*arguments)
