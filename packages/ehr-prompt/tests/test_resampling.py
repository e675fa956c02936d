import numpy as np
import pytest

from auscult.core.intervals import bootstrap
from auscult.core.risk import compare, evaluate
from auscult.ehr_prompt import resampling
from auscult.ehr_prompt.resampling import RISK_METRICS, evaluate_days, evaluate_risks


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 190).astype(float)
    few = np.round(np.clip(rng.normal(0.3 + 0.3 * label, 0.2), 0, 1), 1)
    return label, {"few": few, "many": rng.random(190)}, rng.integers(0, 140, 190)


def test_estimates_and_intervals_are_the_core_s(data):
    label, risks, subjects = data
    found, differences = evaluate_risks(label, risks, subjects, pairs=[("few", "many")], n_boot=150, seed=3)
    for name, risk in risks.items():
        expected = evaluate(label, risk, subjects, metrics=tuple(RISK_METRICS.values()), n_boot=150, seed=3)
        for short, long in RISK_METRICS.items():
            one, other = found[name][short], expected[long]
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-7)
    other = compare(label, risks["few"], risks["many"], subjects, metrics=("auroc",), n_boot=150, seed=3)["auroc"]
    one = differences["few", "many"]
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_a_system_differs_from_itself_by_nothing(data):
    label, risks, subjects = data
    twice = {"one": risks["few"], "other": risks["few"].copy()}
    _, differences = evaluate_risks(label, twice, subjects, pairs=[("one", "other")], n_boot=100)
    assert differences["one", "other"].to_dict() == {"value": 0, "ci": [0, 0]}
    _, differences = evaluate_days(label, twice, subjects, pairs=[("one", "other")], n_boot=100)
    assert differences["one", "other"].to_dict() == {"value": 0, "ci": [0, 0]}


def test_rows_without_an_answer_count_for_neither_of_a_pair(data):
    label, risks, subjects = data
    holes = np.where(np.arange(190) % 3 == 0, np.nan, risks["few"])
    found, differences = evaluate_risks(
        label, {"holes": holes, "many": risks["many"]}, subjects, pairs=[("holes", "many")], n_boot=20
    )
    known = ~np.isnan(holes)
    value = compare(label[known], holes[known], risks["many"][known], metrics=("auroc",), n_boot=5, seed=0)["auroc"]
    assert differences["holes", "many"].value == pytest.approx(value.value)
    assert found["many"]["auroc"].value == evaluate(label, risks["many"], n_boot=5, seed=0)["auroc"].value


def test_nothing_is_undefined_and_no_crash():
    nothing = np.full(4, np.nan)
    found, differences = evaluate_risks(
        np.array([0.0, 1, 0, 1]), {"a": nothing, "b": nothing}, np.arange(4), pairs=[("a", "b")], n_boot=10
    )
    assert all(np.isnan(one.value) for one in found["a"].values())
    assert np.isnan(differences["a", "b"].value)
    one_class, _ = evaluate_risks(np.ones(4), {"a": np.linspace(0, 1, 4)}, np.arange(4), n_boot=10)
    assert np.isnan(one_class["a"]["auroc"].value)
    days, _ = evaluate_days(np.ones(4), {"a": nothing}, np.arange(4), n_boot=10)
    assert np.isnan(days["a"]["mae"].value)


def test_cells_that_neighbours_share_move_no_bound_far(data, monkeypatch):
    label, risks, subjects = data
    whole, _ = evaluate_risks(label, risks, subjects, n_boot=200)
    monkeypatch.setattr(resampling, "CELLS", 60)
    shared, _ = evaluate_risks(label, risks, subjects, n_boot=200)
    for metric in RISK_METRICS:
        assert shared["many"][metric].value == whole["many"][metric].value
    for metric in ("auroc", "auprc", "brier"):
        assert shared["many"][metric].low == pytest.approx(whole["many"][metric].low, abs=0.02)


def test_days_are_measured_as_they_are_defined(data):
    label, risks, subjects = data
    days = {"a": 10 * risks["many"], "b": 10 * risks["few"]}
    truth = 10 * label
    found, differences = evaluate_days(truth, days, subjects, pairs=[("a", "b")], n_boot=60, seed=2)
    error = {name: value - truth for name, value in days.items()}

    def by_patient(rows):
        groups = [np.abs(error["a"][rows[subjects[rows] == one]]).mean() for one in np.unique(subjects[rows])]
        return np.mean(groups)

    expected = {
        "mae": lambda rows: np.abs(error["a"][rows]).mean(),
        "mse": lambda rows: (error["a"][rows] ** 2).mean(),
        "rmse": lambda rows: (error["a"][rows] ** 2).mean() ** 0.5,
        "r2": lambda rows: 1 - (error["a"][rows] ** 2).sum() / ((truth[rows] - truth[rows].mean()) ** 2).sum(),
    }
    for metric, statistic in expected.items():
        other = bootstrap(statistic, subjects, n_boot=60, seed=2)
        one = found["a"][metric]
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert found["a"]["mae_by_patient"].value == pytest.approx(by_patient(np.arange(190)))
    gap = bootstrap(
        lambda rows: np.abs(error["a"][rows]).mean() - np.abs(error["b"][rows]).mean(), subjects, n_boot=60, seed=2
    )
    one = differences["a", "b"]
    assert (one.value, one.low, one.high) == pytest.approx((gap.value, gap.low, gap.high))
