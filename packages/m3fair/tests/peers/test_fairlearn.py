"""Metrics of groups, their ranges and their intervals equal those of fairlearn on the same arrays."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, zero_one_loss

from auscult.m3fair import audit
from auscult.m3fair.metrics import (
    RATES,
    Confusion,
    difference_to_overall,
    equalized_odds_difference,
    equalized_odds_ratio,
    group_difference,
    group_ratio,
)

fairlearn = pytest.importorskip("fairlearn.metrics")

FUNCTIONS = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "false_negative_rate": fairlearn.false_negative_rate,
    "true_negative_rate": fairlearn.true_negative_rate,
    "precision": partial(precision_score, zero_division=np.nan),
    "accuracy": accuracy_score,
    "error_rate": zero_one_loss,
    "f1": f1_score,
}


@pytest.fixture
def frame(rows, weight):
    """Their frame over the intersection of both attributes."""
    return fairlearn.MetricFrame(
        metrics=FUNCTIONS, y_true=rows["y"], y_pred=rows["decision"], sensitive_features=rows[["sex", "race"]],
        sample_params=None if weight is None else {name: {"sample_weight": weight} for name in FUNCTIONS},
    )  # fmt: skip


@pytest.fixture
def table(rows, weight):
    """Our tables of the same groups, in the same order."""
    v = np.ones(len(rows)) if weight is None else np.asarray(weight)
    cells = np.zeros((8, 2, 2))
    np.add.at(cells, (rows["sex"] * 4 + rows["race"], rows["y"], rows["decision"]), v)
    return Confusion(cells, cells)


def test_property_11_by_group_and_overall(rows, weight, frame, table):
    report = audit(
        rows["y"],
        rows["decision"],
        sensitive_features=rows[["sex", "race"]],
        sample_weight=weight,
        metrics=tuple(RATES),
    )
    ours = {tuple(result.group.values()): result.metrics for result in report.groups if len(result.group) == 2}
    for name in FUNCTIONS:
        expected = frame.by_group[name].to_numpy(dtype=float)
        np.testing.assert_allclose(table.rate(name), expected, rtol=1e-12)
        np.testing.assert_allclose([ours[group][name] for group in frame.by_group.index], expected, rtol=1e-12)
        assert report.overall.metrics[name] == pytest.approx(frame.overall[name], rel=1e-12)


def test_property_11_ranges(frame, table):
    for name in FUNCTIONS:
        rates = table.rate(name)
        assert group_difference(rates) == pytest.approx(frame.difference()[name], rel=1e-12)
        assert group_ratio(rates) == pytest.approx(frame.ratio()[name], rel=1e-12)
        assert difference_to_overall(rates, frame.overall[name]) == pytest.approx(
            frame.difference(method="to_overall")[name], rel=1e-12
        )


def test_property_11_parity_and_odds(rows, weight, table):
    given = {"sensitive_features": rows[["sex", "race"]], "sample_weight": weight}
    arrays = rows["y"], rows["decision"]
    rates = table.rate("selection_rate")
    assert group_difference(rates) == pytest.approx(fairlearn.demographic_parity_difference(*arrays, **given))
    assert group_ratio(rates) == pytest.approx(fairlearn.demographic_parity_ratio(*arrays, **given))
    for agg in ("worst_case", "mean"):
        assert equalized_odds_difference(table, agg=agg) == pytest.approx(
            fairlearn.equalized_odds_difference(*arrays, agg=agg, **given)
        )
    assert equalized_odds_ratio(table) == pytest.approx(fairlearn.equalized_odds_ratio(*arrays, **given))
    assert group_difference(table.rate("true_positive_rate")) == pytest.approx(
        fairlearn.equal_opportunity_difference(*arrays, **given)
    )


def test_property_12_their_bootstrap_of_rows_and_ours_of_the_table(rows):
    quantiles = [0.1, 0.9]
    theirs = fairlearn.MetricFrame(
        metrics={"selection_rate": fairlearn.selection_rate}, y_true=rows["y"], y_pred=rows["decision"],
        sensitive_features=rows[["sex"]], n_boot=400, ci_quantiles=quantiles, random_state=0,
    )  # fmt: skip
    low, high = (pd.Series(bound.iloc[:, 0]) for bound in theirs.by_group_ci)
    ours = audit(
        rows["y"], rows["decision"], sensitive_features=rows[["sex"]], ci="bootstrap", n_boot=4000, confidence=0.8
    )
    for result in ours.groups:
        group = result.group["sex"]
        width = high[group] - low[group]
        # A quantile of 400 replicates at 10 % has a standard error of about 0.085 standard deviations, 0.033 widths.
        assert result.intervals["selection_rate"] == pytest.approx((low[group], high[group]), abs=0.13 * width)
