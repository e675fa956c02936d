import json

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from auscult.core.errors import InputError
from auscult.core.risk import auroc, log_loss
from auscult.sparse_ehr.calibration import Calibrator, Stack, log_odds, probability


def make(count=3000, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, count)
    return truth, (rng.random(count) < probability(truth)).astype(int), rng


def test_log_odds_and_back():
    p = np.array([0.0, 1e-3, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(probability(log_odds(p)), np.clip(p, 1e-6, 1 - 1e-6), rtol=1e-9)
    assert np.isfinite(probability(np.array([-1e4, 1e4]))).all()


def test_a_temperature_undoes_exaggeration():
    truth, label, _ = make()
    calibrator = Calibrator.fit("temperature", truth * 3, label)
    assert calibrator.points[0][0] == pytest.approx(3, rel=0.1)
    assert log_loss(label, calibrator(truth * 3)) < log_loss(label, probability(truth * 3)) - 0.05


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_calibrator_never_turns_the_order_and_comes_back_from_json(method):
    truth, label, rng = make()
    calibrator = Calibrator.fit(method, truth**3, label)
    grid = np.sort(rng.normal(0, 20, 200))
    assert (np.diff(calibrator(grid)) >= 0).all()
    assert ((calibrator(grid) >= 0) & (calibrator(grid) <= 1)).all()
    loaded = Calibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())))
    assert loaded(grid).tobytes() == calibrator(grid).tobytes()
    with pytest.raises(InputError, match="platt"):
        Calibrator.fit("platt", truth, label)


def test_isotonic_is_scikit_learn_s():
    from sklearn.isotonic import IsotonicRegression

    truth, label, rng = make()
    expected = IsotonicRegression(out_of_bounds="clip").fit(truth, label)
    new = rng.normal(0, 3, 500)
    np.testing.assert_allclose(Calibrator.fit("isotonic", truth, label)(new), expected.predict(new), atol=1e-12)


def test_a_stack_prefers_the_better_model_and_loses_to_neither():
    truth, label, rng = make()
    good, bad = truth + rng.normal(0, 0.3, len(truth)), rng.normal(0, 1, len(truth))
    stack = Stack.fit(good, bad, label)
    assert stack.weights[0] > 5 * stack.weights[1]
    one, two = truth + rng.normal(0, 1.5, len(truth)), truth + rng.normal(0, 1.5, len(truth))
    both = Stack.fit(one, two, label)
    assert auroc(label, both(one, two)) > max(auroc(label, one), auroc(label, two)) + 0.01
    assert both.weights[0] == pytest.approx(both.weights[1], rel=0.3)
    loaded = Stack.from_dict(json.loads(json.dumps(both.to_dict())))
    assert loaded == both


def test_few_stays_that_are_parted_perfectly_ask_for_no_certainty():
    score, label = np.array([-3.0, -2.5, 2.0, 3.0]), np.array([0, 0, 1, 1])
    stack = Stack.fit(score, score, label)
    np.testing.assert_allclose(stack.weights, 0.5, atol=0.15)
    assert Calibrator.fit("temperature", score, label).points[0][0] == pytest.approx(1, abs=0.15)


def test_a_stack_s_weights_are_where_the_likelihood_is_flat():
    truth, label, rng = make(400)
    one, two = truth + rng.normal(0, 1, 400), truth + rng.normal(0, 1, 400)
    stack = Stack.fit(one, two, label)

    def loss(parameters):
        z = parameters[0] * one + parameters[1] * two + parameters[2]
        return np.logaddexp(0, z).sum() - label @ z + 5 * ((parameters[:2] - 0.5) ** 2).sum()

    slope = approx_fprime(np.array([*stack.weights, stack.intercept]), loss, 1e-6)
    np.testing.assert_allclose(slope, 0, atol=0.05)
