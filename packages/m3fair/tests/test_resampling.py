"""Audits with bootstrap intervals, from Python and from the command."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, audit, audit_over_time, audit_table
from auscult.m3fair.cli import main


@pytest.fixture(scope="module")
def visits():
    """Return 300 persons with 1 to 4 alike visits each, numbered with gaps."""
    rng = np.random.default_rng(30)
    person = pd.DataFrame(
        {
            "person": 7 * np.arange(300) + 1000,
            "sex": rng.choice(["F", "M"], 300),
            "unit": rng.choice(["a", "b", None], 300, p=[0.5, 0.4, 0.1]),
            "died": rng.integers(0, 2, 300),
            "times": rng.integers(1, 5, 300),
        }
    )
    person["risk"] = (0.3 * person["died"] + 0.7 * rng.random(300)).round(3)
    person["alarm"] = (person["risk"] > 0.5).astype(int)
    person["v"] = rng.choice([0.5, 1.0, 3.0], 300)
    return person.loc[person.index.repeat(person["times"])].reset_index(drop=True)


def audit_visits(frame, **options):
    return audit(
        frame["died"], frame["alarm"], sensitive_features=frame[["sex", "unit"]], y_score=frame["risk"],
        attributes=[Attribute("sex", "M"), Attribute("unit", "a")], **options,
    )  # fmt: skip


def widths(report):
    found = [high - low for result in report.groups for low, high in result.intervals.values()]
    return np.array(found + [item.high - item.low for item in report.comparisons])


def test_values_are_those_of_the_closed_forms_and_intervals_are_close(visits):
    closed, resampled = audit_visits(visits), audit_visits(visits, ci="bootstrap")
    for one, other in zip((closed.overall, *closed.groups), (resampled.overall, *resampled.groups), strict=True):
        assert (one.group, one.n, one.metrics) == (other.group, other.n, other.metrics)
        assert list(one.intervals) == list(other.intervals)
    assert [item.value for item in closed.comparisons] == [item.value for item in resampled.comparisons]
    large = [g for g, result in enumerate(closed.groups) if result.n > 200]
    for g in large:
        for name in closed.groups[g].intervals:
            pair = [report.groups[g].intervals[name] for report in (closed, resampled)]
            assert pair[0] == pytest.approx(pair[1], abs=0.02)
    for one, other in zip(closed.comparisons, resampled.comparisons, strict=True):
        if one.n > 200:
            assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.05)


def test_intervals_hold_the_values(visits):
    report = audit_visits(visits, ci="bootstrap", sample_weight=visits["v"])
    for result in (report.overall, *report.groups):
        for name, (low, high) in result.intervals.items():
            assert low <= result.metrics[name] <= high
    for item in report.comparisons:
        assert item.low <= item.value <= item.high


def test_persons_are_drawn_with_all_their_rows(visits):
    by_row, by_person = (
        audit_visits(visits, ci="bootstrap", cluster=cluster) for cluster in (None, visits["person"].to_numpy())
    )
    rows_a_person = (visits.groupby("person").size() ** 2).sum() / len(visits)
    wide = widths(by_row) > 0
    assert np.median(widths(by_person)[wide] / widths(by_row)[wide]) == pytest.approx(np.sqrt(rows_a_person), rel=0.1)
    assert by_person.to_dict()["resampling"] == {"n_boot": 1000, "seed": 0, "n": 300, "clusters": True}
    assert by_row.resampling.n == len(visits)
    assert audit_visits(visits).to_dict()["resampling"] is None


def test_persons_may_have_any_names_and_order(visits):
    numbered = audit_visits(visits, ci="bootstrap", cluster=visits["person"], n_boot=50)
    named = visits.assign(person="p" + visits["person"].astype(str)).sample(frac=1, random_state=1)
    renamed = audit_visits(named, ci="bootstrap", cluster=named["person"], n_boot=50)
    for one, other in zip(numbered.groups, renamed.groups, strict=True):
        for name in ("selection_rate", "precision"):
            assert one.intervals[name] == other.intervals[name]
    assert numbered.comparisons[0].low < 0
    for one, other in zip(numbered.comparisons, renamed.comparisons, strict=True):
        assert (one.low, one.high) == (other.low, other.high)


def test_the_seed_decides(visits):
    first, again, other = (audit_visits(visits, ci="bootstrap", n_boot=200, seed=seed) for seed in (0, 0, 1))
    assert first.to_json() == again.to_json()
    assert not np.array_equal(widths(first), widths(other))
    shuffled = visits.sample(frac=1, random_state=0)
    table = CountTable.count_rows(shuffled, ["sex", "unit", "died", "alarm"])
    attributes = [Attribute("sex", "M"), Attribute("unit", "a")]
    report = audit_table(table, attributes, label="died", decision="alarm", ci="bootstrap", n_boot=200)
    assert [item.low for item in report.comparisons] == [item.low for item in first.comparisons]


def test_rows_one_by_one_agree_with_the_table_of_weights(visits):
    by_table, by_row = (
        audit_visits(visits, ci="bootstrap", sample_weight=visits["v"], cluster=cluster, n_boot=4000)
        for cluster in (None, np.arange(len(visits)))
    )
    large = np.array([item.n > 100 for item in by_table.comparisons])
    pairs = [np.array([(item.low, item.high) for item in report.comparisons])[large] for report in (by_table, by_row)]
    np.testing.assert_allclose(pairs[0], pairs[1], atol=0.05)


def test_what_resampling_cannot_tell_is_said():
    rows = pd.DataFrame({"sex": ["F"] * 6 + ["M"] * 40, "died": 0, "alarm": 0})
    rows.loc[[0, 10, 11, 12, 13], "died"] = 1
    rows.loc[[0, 2, 10, 11, 20, 21], "alarm"] = 1
    report = audit(
        rows["died"], rows["alarm"], sensitive_features=rows["sex"], ci="bootstrap", cluster=np.arange(46) // 3
    )
    text = "\n".join(report.warnings)
    assert "only 16 clusters were resampled" in text
    assert "of sex=F in " in text
    assert "intervals have no width" in text
    assert len(report.warnings) == len(audit(rows["died"], rows["alarm"], sensitive_features=rows["sex"]).warnings) + 3


def test_a_group_without_positives_stays_undefined():
    rows = pd.DataFrame({"sex": ["F"] * 20 + ["M"] * 40, "died": [0] * 20 + [0, 1] * 20, "alarm": [0, 1, 1, 0] * 15})
    report = audit(rows["died"], rows["alarm"], sensitive_features=rows["sex"], ci="bootstrap", n_boot=50)
    female = report.groups[0]
    assert np.isnan([female.metrics["true_positive_rate"], *female.intervals["true_positive_rate"]]).all()
    assert not any("true_positive_rate of sex=F in" in warning for warning in report.warnings)
    assert json.loads(report.to_json())["groups"][0]["true_positive_rate"] is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ci": "wald"}, "ci='wald' is unknown: choose closed or bootstrap"),
        ({"cluster": np.arange(4)}, "the closed forms take rows as independent"),
        ({"ci": "bootstrap", "cluster": np.zeros(4)}, "all rows are of one cluster"),
        ({"ci": "bootstrap", "cluster": np.arange(3)}, "3 clusters for 4 rows"),
        ({"ci": "bootstrap", "cluster": [1.0, 2.0, np.nan, 3.0]}, "some rows have no cluster"),
        ({"ci": "bootstrap", "n_boot": 0}, "n_boot is 0"),
        ({"ci": "bootstrap", "seed": -3}, "the seed is -3"),
    ],
)
def test_wrong_options(options, sentence):
    with pytest.raises(InputError, match=sentence):
        audit([0, 1, 0, 1], [0, 1, 1, 1], sensitive_features={"sex": ["F", "M", "F", "M"]}, **options)


def test_periods_take_the_persons_of_their_rows(visits):
    time = pd.to_datetime("2020-01-15") + pd.to_timedelta(40 * (np.arange(len(visits)) % 2), unit="D")
    options = {"sensitive_features": visits[["sex"]], "ci": "bootstrap", "n_boot": 50}
    slices = audit_over_time(visits["died"], visits["alarm"], time=time, cluster=visits["person"], **options)
    assert [report.resampling.clusters for report in slices.reports] == [True, True]
    assert all(200 < report.resampling.n <= 300 for report in slices.reports)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["m3fair", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    captured = capsys.readouterr()
    return ending.value.code or 0, captured.out, captured.err


COMMAND = [
    "--label", "died", "--pred", "alarm", "--score", "risk", "--sensitive", "sex=M", "--sensitive", "unit=a",
]  # fmt: skip


def test_the_command_gives_the_intervals_of_python(monkeypatch, capsys, tmp_path, visits):
    visits[:500].to_csv(tmp_path / "1.csv", index=False)
    visits[500:].to_csv(tmp_path / "2.csv", index=False)
    options = ["--ci", "bootstrap", "--cluster", "person", "--n-boot", "300", "--seed", "5", "--weight", "v", "--json"]
    code, out, err = run(monkeypatch, capsys, "measure", str(tmp_path / "?.csv"), *COMMAND, *options)
    assert (code, err) == (0, "")
    mine = audit_visits(visits, ci="bootstrap", cluster=visits["person"], n_boot=300, seed=5, sample_weight=visits["v"])
    theirs = json.loads(out)
    assert theirs["resampling"] == {"n_boot": 300, "seed": 5, "n": 300, "clusters": True}
    pairs = zip(mine.comparisons, theirs["disparities"], strict=True)
    assert all(item.low == pytest.approx(other["ci"][0], nan_ok=True) for item, other in pairs)
    for result, other in zip(mine.groups, theirs["groups"], strict=True):
        assert list(result.intervals["auroc"]) == pytest.approx(other["auroc"]["ci"])


def test_reports_say_how_intervals_were_made(monkeypatch, capsys, tmp_path, visits):
    visits.to_csv(tmp_path / "all.csv", index=False)
    out = tmp_path / "audit.md"
    options = ["--ci", "bootstrap", "--n-boot", "50", "--out", str(out)]
    assert run(monkeypatch, capsys, "report", str(tmp_path / "all.csv"), *COMMAND, *options)[0] == 0
    assert f"intervals at 95%, percentiles of 50 resamples of {len(visits)} rows, seed 0." in out.read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cluster", "person"], "ask for the bootstrap"),
        (["--ci", "bootstrap", "--cluster", "sex"], "given as --cluster and as --sensitive"),
        (["--ci", "bootstrap", "--cluster", "nobody"], "nobody"),
        (["--ci", "exact"], "ci='exact' is unknown"),
        (["--ci", "bootstrap", "--n-boot", "0"], "n-boot"),
    ],
)
def test_wrong_commands(monkeypatch, capsys, tmp_path, visits, options, sentence):
    visits.to_csv(tmp_path / "all.csv", index=False)
    code, out, err = run(monkeypatch, capsys, "measure", str(tmp_path / "all.csv"), *COMMAND, *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
