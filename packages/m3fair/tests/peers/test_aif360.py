"""Weights and metrics equal those of AIF360 on the same arrays."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.m3fair import Attribute, Reweigher, audit
from auscult.m3fair.metrics import (
    DISPARITIES,
    RATES,
    Confusion,
    benefits,
    between_group_entropy,
    bias_amplification,
    coefficient_of_variation,
    consistency,
    differential_fairness,
    generalized_entropy,
    generalized_false_positive_rate,
    generalized_true_positive_rate,
    symmetric_ratio,
    theil_index,
)

# It warns about each optional package that is absent, and its code is older than today's pandas.
logging.getLogger().setLevel(logging.ERROR)
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
pytest.importorskip("aif360")


def dataset(rows, weight, label="y", score=None):
    from aif360.datasets import BinaryLabelDataset

    frame = rows[["sex", "race", label]].astype(float).rename(columns={label: "y"})
    made = BinaryLabelDataset(
        df=frame.assign(v=1.0 if weight is None else np.asarray(weight)), label_names=["y"],
        protected_attribute_names=["sex", "race"], instance_weights_name="v",
    )  # fmt: skip
    if score is not None:
        made.scores = np.asarray(score).reshape(-1, 1)
    return made


@pytest.fixture
def metric(rows, weight):
    from aif360.metrics import ClassificationMetric

    return ClassificationMetric(
        dataset(rows, weight), dataset(rows, weight, "decision", rows["score"]),
        unprivileged_groups=[{"sex": 0}], privileged_groups=[{"sex": 1}],
    )  # fmt: skip


def confusion(rows, weight, groups=None):
    """Return our table of each group (G, 2, 2)."""
    v = np.ones(len(rows)) if weight is None else np.asarray(weight)
    group = np.zeros(len(rows), dtype=int) if groups is None else groups
    parts = np.zeros((2, group.max() + 1, 2, 2))
    for part, power in zip(parts, (1, 2), strict=True):
        np.add.at(part, (group, rows["y"], rows["decision"]), v**power)
    return Confusion(*parts)


def one(table, group):
    return Confusion(table.weight[group], table.weight_squared[group])


def test_property_4_weights_of_one_attribute(rows, weight):
    from aif360.algorithms.preprocessing import Reweighing

    theirs = Reweighing([{"sex": 0}], [{"sex": 1}]).fit_transform(dataset(rows, weight)).instance_weights
    for mode in ("level", "intersection", "sequential", "marginal"):
        ours = Reweigher([Attribute("sex", 1)], mode=mode).fit_weights(rows, rows["y"], sample_weight=weight)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_property_4_weights_of_an_intersection(rows, weight):
    from aif360.sklearn.preprocessing import Reweighing

    index = pd.MultiIndex.from_frame(rows[["sex", "race"]])
    _, theirs = Reweighing(["sex", "race"]).fit_transform(
        rows[["score"]].set_axis(index), rows["y"].set_axis(index),
        None if weight is None else np.asarray(weight),
    )  # fmt: skip
    ours = Reweigher(["sex", "race"], mode="intersection").fit_weights(rows, rows["y"], sample_weight=weight)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 9)), min_size=4, max_size=40).filter(
        lambda drawn: {row[:2] for row in drawn} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    )
)
def test_property_4_weights_of_any_rows_without_an_empty_cell(drawn):
    from aif360.algorithms.preprocessing import Reweighing

    frame = pd.DataFrame(drawn, columns=["sex", "y", "v"]).assign(race=0)
    theirs = Reweighing([{"sex": 0}], [{"sex": 1}]).fit_transform(dataset(frame, frame["v"])).instance_weights
    ours = Reweigher(["sex"]).fit_weights(frame, frame["y"], sample_weight=frame["v"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


TWO_GROUPS = {
    "statistical_parity_difference": "statistical_parity_difference",
    "disparate_impact": "disparate_impact",
    "equal_opportunity_difference": "equal_opportunity_difference",
    "average_odds_difference": "average_odds_difference",
    "average_absolute_odds_difference": "average_abs_odds_difference",
    "average_predictive_value_difference": "average_predictive_value_difference",
    "false_positive_rate_difference": "false_positive_rate_difference",
    "error_rate_difference": "error_rate_difference",
}


@pytest.mark.parametrize(("ours", "theirs"), TWO_GROUPS.items())
def test_property_11_disparities_of_two_groups(rows, weight, metric, ours, theirs):
    table = confusion(rows, weight, rows["sex"])
    expected = getattr(metric, theirs)()
    assert DISPARITIES[ours].value(one(table, 0), one(table, 1)) == pytest.approx(expected, rel=1e-12, abs=1e-14)
    report = audit(
        rows["y"], rows["decision"], sensitive_features=rows, attributes=[Attribute("sex", 1)], sample_weight=weight,
        disparities=[ours],
    )  # fmt: skip
    assert report.comparisons[0].value == pytest.approx(expected, rel=1e-12, abs=1e-14)


RATE_NAMES = {
    "selection_rate": "selection_rate",
    "base_rate": "base_rate",
    "true_positive_rate": "true_positive_rate",
    "false_positive_rate": "false_positive_rate",
    "false_negative_rate": "false_negative_rate",
    "true_negative_rate": "true_negative_rate",
    "precision": "positive_predictive_value",
    "negative_predictive_value": "negative_predictive_value",
    "false_discovery_rate": "false_discovery_rate",
    "false_omission_rate": "false_omission_rate",
    "accuracy": "accuracy",
    "error_rate": "error_rate",
}


def test_property_11_rates_of_groups(rows, weight, metric):
    assert set(RATE_NAMES) == set(RATES) - {"f1", "treatment_ratio"}
    table, everyone = confusion(rows, weight, rows["sex"]), confusion(rows, weight)
    for ours, theirs in RATE_NAMES.items():
        function = getattr(metric, theirs)
        assert table.rate(ours) == pytest.approx([function(privileged=False), function(privileged=True)], rel=1e-12)
        assert one(everyone, 0).rate(ours) == pytest.approx(function(), rel=1e-12)


def test_property_11_the_spread_of_scores(rows, weight, metric):
    for privileged in (False, True):
        mine = rows[rows["sex"] == privileged]
        v = None if weight is None else weight[mine.index]
        assert generalized_true_positive_rate(mine["y"], mine["score"], v) == pytest.approx(
            metric.generalized_true_positive_rate(privileged=privileged), rel=1e-12
        )
        assert generalized_false_positive_rate(mine["y"], mine["score"], v) == pytest.approx(
            metric.generalized_false_positive_rate(privileged=privileged), rel=1e-12
        )


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 3])
def test_property_11_inequality_which_they_do_not_weight(rows, metric, alpha):
    benefit = benefits(rows["y"], rows["decision"])
    assert generalized_entropy(benefit, alpha=alpha) == pytest.approx(metric.generalized_entropy_index(alpha), rel=1e-9)
    assert between_group_entropy(benefit, rows["sex"], alpha=alpha) == pytest.approx(
        metric.between_group_generalized_entropy_index(alpha), rel=1e-9
    )
    assert theil_index(benefit) == pytest.approx(metric.theil_index(), rel=1e-9)
    assert coefficient_of_variation(benefit) == pytest.approx(metric.coefficient_of_variation(), rel=1e-9)


def test_property_11_differential_fairness(rows):
    from aif360.metrics import ClassificationMetric

    groups = rows["sex"] * 4 + rows["race"]
    metric = ClassificationMetric(
        dataset(rows, None), dataset(rows, None, "decision"),
        unprivileged_groups=[{"sex": 0}], privileged_groups=[{"sex": 1}],
    )  # fmt: skip
    table = confusion(rows, None, groups).weight
    of_labels = differential_fairness(table[:, 1].sum(axis=1), table.sum(axis=(1, 2)))
    assert of_labels == pytest.approx(metric.smoothed_empirical_differential_fairness(), rel=1e-9)
    assert bias_amplification(confusion(rows, None, groups)) == pytest.approx(
        metric.differential_fairness_bias_amplification(), rel=1e-9
    )


def test_property_11_consistency_as_they_define_it(rows):
    from aif360.metrics import BinaryLabelDatasetMetric

    made = dataset(rows.assign(sex=rows["score"]), None)
    theirs = BinaryLabelDatasetMetric(made).consistency()
    ours = consistency(made.features, rows["y"], compat="aif360")
    assert ours == pytest.approx(float(np.ravel(theirs)[0]), rel=1e-12)


def test_the_four_fifths_rule_is_the_smaller_of_both_ratios(metric):
    ratio = metric.disparate_impact()
    assert symmetric_ratio(ratio) == min(ratio, 1 / ratio)
