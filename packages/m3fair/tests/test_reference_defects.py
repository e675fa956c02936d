"""A regression test for each of the fourteen faults of the published reference code: docs/m3fair.md lists them.

The numbers are those of that list. Fault 10, values of different visits mixed in one row, is also a test of the
core's cohorts.
"""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, Reweigher, ReweightedClassifier, audit
from auscult.m3fair.metrics import DISPARITIES, Confusion, auroc, benefits, theil_index, threshold_sweep


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    n = 400
    frame = pd.DataFrame({"sex": rng.choice(["F", "M"], n), "race": rng.choice(["A", "B", "W"], n)})
    frame["age"] = rng.normal(60, 15, n)
    frame["y"] = (rng.random(n) < 0.2 + 0.3 * (frame["sex"] == "M") + 0.2 * (frame["race"] == "W")).astype(int)
    frame["score"] = np.clip(rng.normal(0.3 + 0.3 * frame["y"], 0.2), 0, 1)
    frame["decision"] = (frame["score"] >= 0.5).astype(int)
    return frame


def test_defect_1_levels_do_not_merge_groups_by_default_and_importance_can_be_graded(rows):
    attributes = [Attribute("sex", "M"), Attribute("race", "W")]
    default = Reweigher(attributes).fit(rows, rows["y"])
    assert default.diagnostics_.collisions == ()
    graded = [
        Reweigher(attributes, mode="geometric", importance={"sex": power, "race": 0}).fit(rows, rows["y"])
        for power in (0, 0.5, 1)
    ]
    left = [one.diagnostics_.residual["sex"] for one in graded]
    assert left[0] > left[1] > left[2]
    assert left[2] == pytest.approx(0, abs=1e-12)


def test_defect_2_text_of_a_file_is_never_evaluated(m3fair, tmp_path):
    witness = tmp_path / "witness"
    cell = f"[__import__('pathlib').Path({str(witness)!r}).touch(), 1]"
    pd.DataFrame({"sex": ["F", "M"], "y": [0, 1], "p": [0, 1], "s": [cell, "[0.5, 0.5]"]}).to_csv("bad.csv")
    options = ["--label", "y", "--pred", "p", "--score", "s", "--sensitive", "sex"]
    done = m3fair("measure", "bad.csv", *options)
    assert (done.returncode, done.stdout, witness.exists()) == (2, "", False)
    assert "__import__" in done.stderr


def test_defect_3_an_audit_takes_many_groups_returns_its_numbers_and_writes_and_prints_nothing(
    rows, tmp_path, monkeypatch, capsys
):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    report = audit(rows["y"], rows["decision"], sensitive_features=rows[["sex", "race"]], y_score=rows["score"])
    assert len(report.groups) == 2 + 3 + 6
    report.to_html()
    assert plt.get_fignums() == []
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_defect_4_no_python_runs_row_by_row():
    """Ten times the rows make not one more call of a Python function: what grows is inside numpy."""
    calls = {}
    for n in (2_000, 20_000):
        rng = np.random.default_rng(0)
        sex, y, p = rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 101, n) / 100
        for job, run in {
            "weights": lambda sex=sex, y=y: Reweigher().fit_weights(sex, y),
            "audit": lambda sex=sex, y=y, p=p: audit(y, p >= 0.5, sensitive_features=sex, y_score=p, positive=1),
            "sweep": lambda sex=sex, y=y, p=p: threshold_sweep(y, p, group=sex, thresholds=np.linspace(0.01, 1, 100)),
        }.items():
            run()
            calls.setdefault(job, []).append(count_calls(run))
    for job, (few, many) in calls.items():
        assert few == many, job


def count_calls(run):
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def test_defect_5_nothing_divides_by_zero(rows):
    lonely = pd.concat([rows, rows[:1].assign(sex="X", y=1, decision=1)], ignore_index=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        reweigher = Reweigher(["sex"], mode="intersection", empty="ignore").fit(lonely, lonely["y"])
        weights = reweigher.compute_weights(lonely, lonely["y"])
        report = audit(lonely["y"], lonely["decision"], sensitive_features=lonely["sex"])
    assert np.isfinite(weights).all()
    with pytest.raises(InputError, match="sex=X, y=0 did not occur in fit"):
        reweigher.compute_weights(lonely[-1:], 1 - lonely["y"][-1:])
    (alone,) = [result for result in report.groups if result.group == {"sex": "X"}]
    assert np.isnan(alone.metrics["false_positive_rate"])


def test_defect_6_groups_are_not_thrown_together_and_missing_is_one_of_them(rows):
    with_missing = rows.assign(race=rows["race"].where(rows["age"] > 50))
    reweigher = Reweigher([Attribute("race", "W")], mode="intersection").fit(with_missing, rows["y"])
    assert set(reweigher.factors_["race"]) == {"A", "B", "W", None}
    by_level = Reweigher([Attribute("race", "W")], mode="level").fit(with_missing, rows["y"]).factors_
    assert by_level.groupby("group")["race"].agg(set).tolist() == [{"A", "B"}, {None}, {"W"}]
    report = audit(
        rows["y"], rows["decision"], sensitive_features=with_missing, attributes=[Attribute("race", {"W", "A"})]
    )
    assert {result.group["race"] for result in report.groups} == {"A", "B", "W", None}


def test_defect_7_areas_are_those_of_scores_in_float64(rows):
    area = auroc(rows["y"], rows["score"]).value
    assert area != pytest.approx(auroc(rows["y"], rows["decision"]).value, abs=1e-3)
    many = np.full(1 << 25, 1, dtype=np.uint8)
    table = CountTable.count_rows({"y": many}, ["y"]) + CountTable.count_rows({"y": many[:1]}, ["y"])
    assert table.n == (1 << 25) + 1  # float32 has no such number
    assert table.total_weight == (1 << 25) + 1
    tied = threshold_sweep([0, 1], [0.5, 0.5], thresholds=[0.5])
    assert tied.confusion.weight.tolist() == [[[0, 1], [0, 1]]]  # a score at the threshold is a positive decision


def test_defect_8_nothing_is_chosen_on_the_test_rows(rows):
    from auscult.m3fair.mitigation import mitigate

    def run(test):
        return mitigate(
            rows[:250].drop(columns="decision"), test.drop(columns="decision"), label="y", positive=1,
            reweigher=Reweigher(["sex"]), attributes=[Attribute("sex")],
        )  # fmt: skip

    test = rows[250:]
    found, again, flipped = run(test), run(test), run(test.assign(y=1 - test["y"]))
    assert again.after.to_json() == found.after.to_json()
    for one in (again, flipped):
        np.testing.assert_array_equal(one.model.predict_proba(test), found.model.predict_proba(test))
    decided = [mitigation.after.overall.metrics["selection_rate"] for mitigation in (found, flipped)]
    assert decided[0] == decided[1]


def test_defect_9_who_is_favoured_is_said_and_never_guessed(rows):
    died = rows["y"].map({0: "survived", 1: "died"})
    predicted = rows["decision"].map({0: "survived", 1: "died"})
    with pytest.raises(InputError, match="say which is positive"):
        audit(died, predicted, sensitive_features=rows["sex"])
    report = audit(died, predicted, sensitive_features=rows["sex"], positive="survived")
    assert "positive is y = survived" in report.to_markdown()
    other = audit(died, predicted, sensitive_features=rows["sex"], positive="died")
    difference = [one.worst(1)[0].value for one in (report, other)]
    assert difference[0] == pytest.approx(-difference[1])
    # The weights are the same whichever of both is called favourable.
    pd.testing.assert_series_equal(
        Reweigher(["sex"]).fit_weights(rows, died), Reweigher(["sex"]).fit_weights(rows, rows["y"])
    )


def test_defect_10_cuts_are_learnt_on_the_rows_of_fit_alone(rows):
    attribute = Attribute("age", bins="mean", privileged=0)
    reweigher = Reweigher([attribute]).fit(rows[:200], rows["y"][:200])
    assert reweigher.cuts_["age"].edges == (pytest.approx(rows["age"][:200].mean()),)
    before = reweigher.compute_weights(rows[200:], rows["y"][200:])
    shifted = rows.assign(age=rows["age"].where(rows.index < 200, rows["age"] + 1e-9))
    pd.testing.assert_series_equal(reweigher.compute_weights(shifted[200:], rows["y"][200:]), before)


def test_defect_11_a_disparity_has_one_definition_wherever_it_is_read(rows, m3fair):
    rows.to_csv("rows.csv", index=False)
    report = audit(
        rows["y"], rows["decision"], sensitive_features=rows["sex"], attributes=[Attribute("sex", "M")]
    )  # fmt: skip
    done = m3fair(
        "measure", "rows.csv", "--label", "y", "--pred", "decision", "--sensitive", "sex=M", "--json"
    )  # fmt: skip
    tables = {
        sex: Confusion(cells, cells)
        for sex, part in rows.groupby("sex")
        for cells in [pd.crosstab(part["y"], part["decision"]).to_numpy(dtype=float)]
    }
    for item in report.comparisons:
        if item.comparison.group == {"sex": "F"}:
            assert item.value == DISPARITIES[item.metric].value(tables["F"], tables["M"])
            assert f'"metric": "{item.metric}", "value": {item.value}' in done.stdout
    assert {item.value < 0 for item in report.comparisons if item.metric == "statistical_parity_difference"} == {True}


def test_defect_12_the_estimators_have_the_methods_that_everyone_expects_spelt_so(rows):
    model = ReweightedClassifier(LogisticRegression(), Reweigher(["sex"]))
    X = rows.assign(sex=rows["sex"] == "M")[["sex", "age"]]
    fitted = model.fit(X, rows["y"])
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function", "score", "get_params"):
        assert callable(getattr(fitted, method))
    assert fitted.predict(X).shape == (len(X),)
    package = Path(sys.modules["auscult.m3fair.auditing"].__file__).parent
    sources = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    assert not re.search(r"predic_prob|\bEDO\b|negetive|\baif360\.", sources)


def test_defect_13_the_sum_of_weights_and_the_effective_sample_size_are_told(rows):
    with pytest.warns(UserWarning, match="never occur"):
        reweigher = Reweigher(["race"], mode="intersection").fit(
            rows.assign(race=np.where(rows.index == 0, "rare", rows["race"])), rows["y"]
        )
    found = reweigher.diagnostics_
    weights = reweigher.fitted_.mass * np.nan_to_num(reweigher.fitted_.factor)
    assert found.weighted_total == pytest.approx(weights.sum())
    assert found.weighted_total + found.lost_mass == pytest.approx(len(rows))
    assert found.lost_mass > 0
    assert found.effective_sample_size < len(rows)
    assert {"race": "rare", "y": rows["y"][0]} in found.small_cells
    kept = Reweigher(["race"], mode="intersection", normalize="sum").fit_weights(rows, rows["y"])
    assert kept.sum() == pytest.approx(len(rows))


def test_defect_14_inequality_takes_the_prior_weights(rows):
    benefit = benefits(rows["y"], rows["decision"])
    times = np.random.default_rng(0).integers(1, 4, len(rows))
    weighted = theil_index(benefit, times)
    assert weighted == pytest.approx(theil_index(np.repeat(benefit, times)))
    assert weighted != pytest.approx(theil_index(benefit), rel=1e-4)


def test_every_property_and_every_defect_has_a_test():
    """Of the lists in docs/m3fair.md: properties 1 to 15, faults 1 to 14."""
    here = Path(__file__).parent
    sources = "\n".join(path.read_text("utf-8") for path in here.rglob("test_*.py"))
    properties = re.findall(r"^def test_property_(\d+)(?:_and_(\d+))?_", sources, re.MULTILINE)
    assert {int(number) for pair in properties for number in pair if number} == set(range(1, 16))
    defects = [int(number) for number in re.findall(r"^def test_defect_(\d+)_", sources, re.MULTILINE)]
    assert sorted(defects) == list(range(1, 15))
