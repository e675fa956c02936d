import json
import math
from itertools import combinations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, audit, audit_table
from auscult.m3fair.auditing import GROUP_DISPARITIES, GROUP_METRICS
from auscult.m3fair.coding import code_columns
from auscult.m3fair.groups import POOLED
from auscult.m3fair.rows import Rows


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    n = 500
    frame = pd.DataFrame(
        {
            "sex": rng.choice(np.array(["F", "M", None], dtype=object), n, p=[0.5, 0.4, 0.1]),
            "race": rng.choice(["A", "B", "W"], n, p=[0.2, 0.3, 0.5]),
            "y": rng.integers(0, 2, n),
            "v": rng.integers(0, 4, n) / 2,
            "score": rng.random(n).round(2),
        }
    )
    return frame.assign(p=(frame["score"] + 0.1 * frame["y"] > 0.6).astype(int))


def rates(rows, v):
    """Return the metrics of rows by their definitions, NaN for nobody."""
    y, p = rows["y"] == 1, rows["p"] == 1

    def share(inside, of):
        total = v[of].sum()
        return v[inside & of].sum() / total if total > 0 else math.nan

    return {
        "selection_rate": share(p, y | ~y),
        "true_positive_rate": share(p, y),
        "false_positive_rate": share(p, ~y),
        "precision": share(y, p),
        "accuracy": share(y == p, y | ~y),
    }


def compare(group, reference):
    def ratio(a, b):
        return a / b if b else math.inf if a > 0 else math.nan

    d = {name: group[name] - reference[name] for name in group}
    return {
        "statistical_parity_difference": d["selection_rate"],
        "disparate_impact": ratio(group["selection_rate"], reference["selection_rate"]),
        "equal_opportunity_difference": d["true_positive_rate"],
        "average_odds_difference": (d["false_positive_rate"] + d["true_positive_rate"]) / 2,
    }


def brute_force(rows, references, order, v):
    """Return every group's rows, metrics and disparities, each found by a filter of the rows."""
    v = pd.Series(1.0, rows.index) if v is None else v

    def equal(name, value):
        return rows[name].isna() if value is None else rows[name] == value

    groups, disparities = {}, {}
    for k in range(1, order + 1):
        for names in combinations(references, k):
            inside = np.logical_and.reduce([rows[name].isin(references[name]) for name in names])
            reference = rates(rows[inside], v[inside])
            values = rows[list(names)].astype(object).where(rows[list(names)].notna(), None)
            for group in set(values.itertuples(index=False, name=None)):
                mine = np.logical_and.reduce([equal(*pair) for pair in zip(names, group, strict=True)])
                measured = rates(rows[mine], v[mine])
                groups[tuple(zip(names, group, strict=True))] = (int(mine.sum()), measured)
                if not (mine & inside).any():
                    disparities[names, group] = compare(measured, reference)
            if not inside.all():
                disparities[names, POOLED] = compare(rates(rows[~inside], v[~inside]), reference)
    return groups, disparities


def assert_equals_brute_force(report, rows, references, order, v=None):
    groups, disparities = brute_force(rows, references, order, v)
    found = {tuple(result.group.items()): (result.n, result.metrics) for result in report.groups}
    assert found.keys() == groups.keys()
    for key, (n, metrics) in groups.items():
        assert found[key][0] == n
        assert {name: found[key][1][name] for name in metrics} == pytest.approx(metrics, nan_ok=True, rel=1e-9)
    seen = {}
    for item in report.comparisons:
        group = POOLED if item.comparison.group is None else tuple(item.comparison.group.values())
        seen.setdefault((item.comparison.attributes, group), {})[item.metric] = item.value
    assert seen.keys() == disparities.keys()
    for key, expected in disparities.items():
        assert seen[key] == pytest.approx(expected, nan_ok=True, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("weight", [None, "v"])
@pytest.mark.parametrize("order", [1, 2])
def test_every_group_and_disparity_against_a_filter_of_the_rows(rows, order, weight):
    v = None if weight is None else rows[weight]
    attributes = [Attribute("sex", "M"), Attribute("race", {"W", "B"})]
    report = audit(rows["y"], rows["p"], sensitive_features=rows, attributes=attributes, order=order, sample_weight=v)
    assert_equals_brute_force(report, rows, {"sex": ["M"], "race": ["W", "B"]}, order, v)
    assert report.n == len(rows)
    assert report.overall.metrics == pytest.approx(rates(rows, pd.Series(1.0, rows.index) if v is None else v))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["F", "M", None]), st.sampled_from([1, 2, None]), st.sampled_from(["x", "y"]),
            st.integers(0, 1), st.integers(0, 1), st.sampled_from([0.0, 0.5, 2.0]),
        ),
        min_size=1, max_size=25,
    ),
    st.integers(1, 4),
)  # fmt: skip
def test_small_and_degenerate_data(drawn, order):
    drawn = [*drawn, ("M", 1, "x", 0, 1, 1.0), ("F", 2, "y", 1, 0, 1.0)]
    rows = pd.DataFrame(drawn, columns=["a", "b", "c", "y", "p", "v"])
    rows["b"] = rows["b"].astype(object).where(rows["b"].notna(), None)
    attributes = [Attribute("a", "M"), Attribute("b", 1), Attribute("c", lambda value: value == "x")]
    report = audit(
        rows["y"].tolist(), rows["p"].tolist(), sensitive_features=rows[["a", "b", "c"]], attributes=attributes,
        order=order, sample_weight=rows["v"], min_group=0,
    )  # fmt: skip
    assert_equals_brute_force(report, rows, {"a": ["M"], "b": [1], "c": ["x"]}, min(order, 3), rows["v"])
    undefined = [item for item in (report.overall, *report.groups) if any(map(math.isnan, item.metrics.values()))]
    said = sum(warning.startswith("undefined in the group") for warning in report.warnings)
    assert said == len(undefined)


def test_property_11_swapping_sides_negates_differences_and_inverts_ratios(rows):
    known = rows[rows["sex"].notna()]

    def measured(privileged):
        report = audit(known["y"], known["p"], sensitive_features=known["sex"], attributes=Attribute("sex", privileged))
        return {item.metric: item for item in report.comparisons if item.comparison.group is not None}

    one, other = measured("M"), measured("F")
    for name in GROUP_DISPARITIES:
        if name == "disparate_impact":
            expected = (1 / other[name].value, 1 / other[name].high, 1 / other[name].low)
        else:
            expected = (-other[name].value, -other[name].high, -other[name].low)
        assert (one[name].value, one[name].low, one[name].high) == pytest.approx(expected)


# References, missing values, the pool.


def test_without_a_reference_the_heaviest_group_is_taken_and_named(rows):
    by_count = audit(rows["y"], rows["p"], sensitive_features=rows[["race"]])
    assert {item.comparison.reference["race"] for item in by_count.comparisons} == {"W"}
    assert "the attribute race has no reference value: its largest group, W, is used" in by_count.warnings
    v = np.where(rows["race"] == "A", 100.0, 1.0)
    by_weight = audit(rows["y"], rows["p"], sensitive_features=rows[["race"]], sample_weight=v)
    assert {item.comparison.reference["race"] for item in by_weight.comparisons} == {"A"}


def test_missing_is_a_group_but_never_the_reference():
    """A defect of the reference: whatever is not privileged, missing too, is merged."""
    sex = [None] * 6 + ["F", "M"]
    report = audit([0, 1] * 4, [1, 0] * 4, sensitive_features={"sex": sex}, min_group=0)
    assert [result.group for result in report.groups] == [{"sex": "F"}, {"sex": "M"}, {"sex": None}]
    assert report.groups[2].n == 6
    assert {item.comparison.reference["sex"] for item in report.comparisons} == {"F"}
    assert f"6 rows without sex are a group of their own, and part of '{POOLED}'" in report.warnings
    pooled = next(item for item in report.comparisons if item.comparison.group is None)
    assert pooled.n == 7
    assert audit([0, 1], [0, 1], sensitive_features={"sex": ["F", "M"]}).to_dict()["groups"][0]["group"] == {"sex": "F"}


def test_several_reference_values_are_pooled(rows):
    report = audit(rows["y"], rows["p"], sensitive_features=rows, attributes=Attribute("race", ["B", "W"]))
    inside = rows["race"] != "A"
    assert report.comparisons[0].value == pytest.approx(rows["p"][~inside].mean() - rows["p"][inside].mean())
    assert report.to_dict()["disparities"][0]["reference"] == ("B", "W")
    assert report.disparities["reference"].unique().tolist() == ["B or W"]
    # One group outside the reference: it and everyone else are the same rows.
    values = [item.value for item in report.comparisons]
    assert values[: len(values) // 2] == values[len(values) // 2 :]


def test_values_that_all_are_the_reference_leave_nothing_to_compare(rows):
    report = audit(rows["y"], rows["p"], sensitive_features=rows, attributes=Attribute("race", lambda race: True))
    assert report.comparisons == ()
    assert len(report.groups) == 3
    assert report.disparities.empty


def test_a_reference_group_of_nobody_is_undefined_and_said(rows):
    rows = rows[~((rows["sex"] == "M") & (rows["race"] == "W"))]
    report = audit(
        rows["y"], rows["p"], sensitive_features=rows, attributes=[Attribute("sex", "M"), Attribute("race", "W")]
    )
    both = [item for item in report.comparisons if len(item.comparison.attributes) == 2]
    assert both
    assert all(math.isnan(item.value) and math.isnan(item.low) for item in both)
    assert any("against M & W" in warning for warning in report.warnings)


def test_undefined_is_null_and_never_zero():
    """The reference divides by zero: nobody positive in a group, nobody selected in the reference."""
    y, p, sex = [0, 0, 1, 0, 1], [0, 1, 0, 0, 0], ["F", "F", "M", "M", "M"]
    report = audit(y, p, sensitive_features={"sex": sex}, attributes=Attribute("sex", "M"), min_group=0)
    content = json.loads(report.to_json())
    women = content["groups"][0]
    assert women["true_positive_rate"] is None
    assert women["precision"] == {"value": 0, "ci": [0, pytest.approx(0.793, abs=1e-3)]}
    values = {item["metric"]: item["value"] for item in content["disparities"] if not item["pooled"]}
    assert values == {
        "statistical_parity_difference": 0.5, "disparate_impact": None, "equal_opportunity_difference": None,
        "average_odds_difference": None,
    }  # fmt: skip
    assert any("sex=F (n=2): true_positive_rate" in warning for warning in report.warnings)
    assert "undefined for sex: F against M: equal_opportunity_difference, average_odds_difference" in report.warnings
    assert "infinite for sex: F against M, as the rate of the reference is 0: disparate_impact" in report.warnings


def test_a_group_without_weight_is_undefined():
    report = audit(
        [0, 1, 0, 1], [0, 1, 1, 1], sensitive_features={"sex": list("FFMM")}, sample_weight=[0, 0, 1, 1],
        y_score=[0.1, 0.9, 0.2, 0.8], min_group=0,
    )  # fmt: skip
    women = report.groups[0]
    assert (women.n, women.weight) == (2, 0)
    assert all(math.isnan(value) for value in women.metrics.values())


def test_small_groups_are_warned_about(rows):
    counts = rows["race"].value_counts()
    limit = int(counts.min()) + 1
    report = audit(rows["y"], rows["p"], sensitive_features=rows["race"], min_group=limit)
    small = [warning for warning in report.warnings if "rates say little" in warning]
    assert small == [f"the group race={counts.idxmin()} has only {counts.min()} rows: its rates say little"]


# Scores, outcomes, forms.


def test_the_area_of_each_group(rows):
    report = audit(
        rows["y"], rows["p"], sensitive_features=rows[["sex", "race"]], y_score=rows["score"], sample_weight=rows["v"]
    )
    for result in (report.overall, *report.groups):
        mine = np.ones(len(rows), dtype=bool)
        for name, value in result.group.items():
            mine &= rows[name].isna() if value is None else rows[name] == value
        expected = roc_auc_score(rows["y"][mine], rows["score"][mine], sample_weight=rows["v"][mine])
        assert result.metrics["auroc"] == pytest.approx(expected)
        low, high = result.intervals["auroc"]
        assert low <= expected <= high


@pytest.mark.parametrize(
    ("values", "positive", "place", "shown"),
    [
        ((0, 1), None, 1, 1),
        ((0, 1), 0, 0, 0),
        ((0.0, 1.0), 1, 1, 1.0),
        ((-1, 1), None, 1, 1),
        ((False, True), None, 1, True),
        (("0", "1"), None, 1, 1),
        (("false", "true"), None, 1, "true"),
        (("no", "yes"), "yes", 1, "yes"),
        (("no", "yes"), "no", 0, "no"),
        ((1, 2), 2, 1, 2),
        (("1", "2"), "1", 0, 1),
    ],
)
def test_the_positive_value(values, positive, place, shown):
    y, p = [values[i] for i in (0, 1, 1, 0)], [values[i] for i in (0, 1, 0, 0)]
    report = audit(y, p, sensitive_features={"sex": list("FFMM")}, positive=positive, min_group=0)
    assert report.positive == shown
    assert type(report.positive) is type(shown)
    assert report.overall.metrics["selection_rate"] == [0.75, 0.25][place]
    assert report.overall.metrics["true_positive_rate"] == [1.0, 0.5][place]


@pytest.mark.parametrize("values", [("no", "yes"), (1, 2), (0, 2), ("1", "2"), (True, None)])
def test_who_is_positive_is_not_guessed(values):
    """A defect of the reference: death was favourable because it was coded as 1."""
    with pytest.raises(InputError, match=r"say which is positive|missing in some rows"):
        audit(list(values), list(values), sensitive_features={"sex": ["F", "M"]})


def test_outcomes_written_differently_are_the_same(rows):
    expected = audit(rows["y"], rows["p"], sensitive_features=rows["race"])
    for y, p in (
        (rows["y"].astype(str), rows["p"].astype(float)),
        (rows["y"] == 1, rows["p"]),
        (rows["y"], rows["p"] == 1),
    ):
        found = audit(y, p, sensitive_features=rows["race"])
        assert found.by_group.equals(expected.by_group)
    texts = audit(rows["y"].map({0: "0", 1: "1"}), rows["p"].map({0: "0.0", 1: "1.0"}), sensitive_features=rows["race"])
    assert texts.by_group.equals(expected.by_group)


FORMS = {
    "pandas": lambda rows: rows,
    "nullable": lambda rows: rows.convert_dtypes(),
    "polars": lambda rows: pl.from_pandas(rows),
    "pyarrow": lambda rows: pa.Table.from_pandas(rows),
    "mapping": lambda rows: {name: rows[name].tolist() for name in rows},
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_any_frame_gives_the_same_audit(rows, make):
    expected = audit(rows["y"], rows["p"], sensitive_features=rows[["sex", "race"]], y_score=rows["score"])
    frame = make(rows)
    found = audit(frame["y"], frame["p"], sensitive_features=frame, attributes=["sex", "race"], y_score=frame["score"])
    assert found.by_group.equals(expected.by_group)
    assert found.disparities.equals(expected.disparities)


def test_a_count_table_is_all_that_is_needed(rows):
    names = ["sex", "race", "y", "p"]
    parts = [CountTable.count_rows(part, names, weight="v") for part in (rows[:100], rows[100:350], rows[350:])]
    attributes = [Attribute("sex", "M"), Attribute("race", "W")]
    found = audit_table(CountTable.sum(parts), attributes, label="y", decision="p")
    expected = audit(rows["y"], rows["p"], sensitive_features=rows, attributes=attributes, sample_weight=rows["v"])
    assert found.to_json() == expected.to_json()


def test_a_table_is_read_by_name(rows):
    names = ["sex", "y", "v", "p", "race"]
    table = CountTable.count_rows(rows, names)
    attributes = [Attribute("race", "W"), Attribute("sex", "M")]
    one_by_one = Rows()
    one_by_one.add(code_columns(rows, names), score=rows["score"].to_numpy())
    found = audit_table(table, attributes, label="y", decision="p", rows=one_by_one)
    expected = audit(rows["y"], rows["p"], sensitive_features=rows, attributes=attributes, y_score=rows["score"])
    assert found.to_json() == expected.to_json()
    turned = audit_table(table, attributes, label="p", decision="y")
    assert turned.overall.metrics["selection_rate"] == rows["y"].mean()
    with pytest.raises(InputError, match="the table has no column 'age'; it has 'sex', 'y', 'v', 'p', 'race'"):
        audit_table(table, [Attribute("age")], label="y", decision="p")
    with pytest.raises(InputError, match="the table has no column 'died'"):
        audit_table(table, attributes, label="died", decision="p")
    with pytest.raises(InputError, match="'v' has bins, but a count table has no rows left to cut"):
        audit_table(table, [Attribute("v", bins=[1.0])], label="y", decision="p")


def test_bins_are_groups(rows):
    age = rows["score"] * 100
    report = audit(
        rows["y"], rows["p"], sensitive_features={"age": age}, attributes=Attribute("age", 10, bins=[30, 60])
    )
    names = np.select([age <= 30, age <= 60], ["up to 30", "30 to 60"], "above 60")
    assert {result.group["age"]: result.n for result in report.groups} == pd.Series(names).value_counts().to_dict()
    assert report.to_dict()["disparities"][0]["reference"] == "up to 30"


def test_columns_may_be_called_like_ours(rows):
    names = ["n", "group", "weight", "label", "decision"]
    frame = pd.DataFrame(dict.fromkeys(names, rows["race"]))
    y, p = rows["y"].rename("label"), rows["p"].rename("n")
    report = audit(y, p, sensitive_features=frame, y_score=rows["score"], order=1)
    expected = audit(rows["y"], rows["p"], sensitive_features=rows["race"], y_score=rows["score"], order=1)
    assert report.n == len(rows)
    for k, name in enumerate(names):
        part = report.groups[3 * k : 3 * k + 3]
        assert [result.group for result in part] == [{name: value} for value in "ABW"]
        assert [result.metrics for result in part] == [result.metrics for result in expected.groups]
    content = json.loads(report.to_json())
    assert content["groups"][0]["group"] == {"n": "A"}
    assert content["groups"][0]["n"] == expected.groups[0].n


def test_values_that_are_no_text_stay_what_they_are():
    frame = pd.DataFrame({"a": [1, 2, 1, 2], "b": [True, False, True, True], "c": [0.5, np.nan, 0.5, 1.5]})
    report = audit([0, 1, 0, 1], [0, 1, 1, 1], sensitive_features=frame, order=1, min_group=0)
    groups = [result["group"] for result in json.loads(report.to_json())["groups"]]
    assert groups == [{"a": 1}, {"a": 2}, {"b": False}, {"b": True}, {"c": 0.5}, {"c": 1.5}, {"c": None}]


def test_the_plain_form_has_the_contracts_keys(rows):
    report = audit(rows["y"], rows["p"], sensitive_features=rows[["sex", "race"]], y_score=rows["score"])
    content = json.loads(report.to_json())
    assert {"n", "groups", "disparities", "warnings"} <= content.keys()
    for result in content["groups"]:
        assert result.keys() == {"group", "n", "weight", *GROUP_METRICS, "auroc"}
        assert result["accuracy"].keys() == {"value", "ci"}
    for item in content["disparities"]:
        assert {"attribute", "group", "reference", "metric", "value", "ci"} <= item.keys()
        assert item["metric"] in GROUP_DISPARITIES
        assert len(item["ci"]) == 2
    pairs = [item for item in content["disparities"] if item["attribute"] == "sex & race" and not item["pooled"]]
    assert all(item["group"].keys() == {"sex", "race"} for item in pairs)
    assert len(report.by_group) == len(report.groups)
    assert len(report.disparities) == len(report.comparisons)


def test_intervals_hold_their_values(rows):
    report = audit(
        rows["y"], rows["p"], sensitive_features=rows[["sex", "race"]], y_score=rows["score"], confidence=0.5
    )
    for result in report.groups:
        for name, value in result.metrics.items():
            low, high = result.intervals[name]
            assert math.isnan(value) or low <= value <= high
    for item in report.comparisons:
        assert math.isnan(item.value) or item.low <= item.value <= item.high


# What is refused.


def test_identifiers_are_no_groups():
    """A matrix of groups and combinations of identifiers would not fit in memory."""
    n = 20_000
    with pytest.raises(InputError, match="id forms 20000 groups"):
        audit(np.arange(n) % 2, np.arange(n) % 2, sensitive_features={"id": np.arange(n)})


def test_scores_in_the_place_of_decisions_are_named_at_once():
    """With a search for each distinct value, this takes minutes."""
    n = 200_000
    with pytest.raises(InputError, match=r"has the value 0\.0, which|as y_score or --score"):
        audit(np.arange(n) % 2, np.arange(n) / n, sensitive_features={"a": np.arange(n) % 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 0}, "order=0"),
        ({"confidence": 1.0}, "confidence=1"),
        ({"confidence": math.nan}, "confidence=nan"),
        ({"attributes": "x"}, "no column 'x'"),
        ({"attributes": ["sex", "sex"]}, "named twice"),
        ({"attributes": Attribute("sex", "X")}, "'X' of 'sex' does not occur"),
        ({"attributes": Attribute("sex", bins=2)}, "not all numbers"),
        ({"positive": 7}, "positive value '7'"),
        ({"y_true": [0, 1, 0]}, "different lengths"),
        ({"y_true": [0, 0, 0, 0]}, "has 1 value"),
        ({"y_true": [0, 1, 2, 0]}, "has 3 values"),
        ({"y_true": [0, 1, None, 0]}, "label 'label' is missing"),
        ({"y_true": [[0, 1]] * 4}, "y_true has shape"),
        ({"y_pred": [0, 1, None, 0]}, "decision 'decision' is missing"),
        ({"y_pred": [0, 1, 0.5, 0]}, "has the value 0.5"),
        ({"y_score": [0, 1]}, "scores have shape"),
        ({"y_score": [0, 1, math.nan, 1]}, "score of row 2 is nan"),
        ({"y_score": [0, 1, math.inf, 1]}, "score of row 2 is inf"),
        ({"y_score": ["a"] * 4}, "scores are not all numbers"),
        ({"y_score": pd.to_datetime(["2020"] * 4)}, "scores are not all numbers"),
        ({"sample_weight": [1, 2]}, "2 weights for 4 rows"),
        ({"sample_weight": [1, 2, -1, 1]}, "weight of row 2 is -1"),
        ({"sample_weight": [1, 2, math.nan, 1]}, "weight of row 2 is nan"),
        ({"sensitive_features": {"sex": [None] * 4}}, "no value at all"),
        ({"sensitive_features": {"sex": ["F"]}}, "different lengths"),
        ({"sensitive_features": pl.LazyFrame({"sex": ["F"] * 4})}, "lazy frame"),
        ({"metrics": ["x"]}, "metric 'x' is unknown"),
        ({"disparities": ["x"]}, "disparity 'x' is unknown"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(options, message):
    arguments = {"y_true": [0, 1, 0, 1], "y_pred": [0, 1, 1, 1], "sensitive_features": {"sex": list("FFMM")}}
    with pytest.raises(InputError) as caught:
        audit(**{**arguments, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="no rows"):
        audit([], [], sensitive_features={"sex": []})
