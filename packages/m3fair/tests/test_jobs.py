"""The commands merge, report, mitigate and the limits of measure, on files."""

import json
import sys

import joblib
import numpy as np
import pandas as pd
import pytest

from auscult.core.errors import InputError
from auscult.core.testing import assert_self_contained
from auscult.m3fair import CountTable
from auscult.m3fair.cli import main
from auscult.m3fair.jobs import Limit


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in the temporary folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["m3fair", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def stays(tmp_path):
    rng = np.random.default_rng(1)
    n = 600
    sex = rng.choice(["F", "M"], n)
    unit = rng.choice(["medical", "surgical", ""], n, p=[0.5, 0.4, 0.1])
    lactate = rng.normal(2 + (sex == "M"), 1).round(2)
    died = (rng.random(n) < 1 / (1 + np.exp(3 - lactate))).astype(int)
    predicted = (lactate > 3).astype(int)
    frame = pd.DataFrame({"sex": sex, "unit": unit, "lactate": lactate, "died": died, "predicted": predicted})
    frame.to_csv(tmp_path / "all.csv", index=False)
    frame[:400].to_csv(tmp_path / "part1.csv.gz", index=False)
    frame[400:].to_parquet(tmp_path / "part2.parquet")
    return frame


def test_merged_tables_equal_one_run(run, stays, tmp_path):
    options = ["--label", "died", "--sensitive", "sex=F", "--sensitive", "lactate", "--out", "w.parquet"]
    stays.assign(lactate=stays["lactate"].astype(str)).to_csv("all.csv", index=False)
    for name, part in (("1", stays[:400]), ("2", stays[400:])):
        part.to_csv(f"{name}.csv", index=False)
        assert run("weights", f"{name}.csv", *options, "--table", f"{name}.json")[0] == 0
    assert run("weights", "all.csv", *options, "--table", "whole.json")[0] == 0
    code, out, _ = run("merge", "2.json", "1.json", "--out", "sum.parquet")
    assert code == 0
    assert "600 rows" in out
    assert CountTable.from_parquet(tmp_path / "sum.parquet") == CountTable.from_json(tmp_path / "whole.json")


def test_merging_different_columns_is_refused(run, stays):
    for name in ("sex", "unit"):
        run("weights", "all.csv", "--label", "died", "--sensitive", name, "--out", "w.csv", "--table", f"{name}.json")
    code, out, err = run("merge", "sex.json", "unit.json", "--out", "sum.json")
    assert (code, out) == (2, "")
    assert "cannot be added" in err


def test_report_in_three_formats(run, stays, tmp_path):
    options = [
        "--label",
        "died",
        "--pred",
        "predicted",
        "--score",
        "lactate",
        "--sensitive",
        "sex=F",
        "--sensitive",
        "unit",
    ]
    for suffix in ("html", "md", "json"):
        code, out, _ = run("report", "all.csv", *options, "--out", f"audit.{suffix}")
        assert (code, out.strip()) == (0, f"audit.{suffix}")
    assert_self_contained((tmp_path / "audit.html").read_text("utf-8"))
    markdown = (tmp_path / "audit.md").read_text("utf-8")
    assert "| sex=F |" in markdown
    assert "rows without unit are a group of their own" in markdown
    measured = json.loads(run("measure", "all.csv", *options, "--json")[1])
    assert json.loads((tmp_path / "audit.json").read_text("utf-8")) == measured


def test_a_limit_ends_with_code_1_and_says_where(run, stays):
    options = ["measure", "all.csv", "--label", "died", "--pred", "predicted", "--sensitive", "sex=F", "--json"]
    code, out, err = run(*options, "--fail-on", "spd>0.1")
    assert code == 1
    assert json.loads(out)["n"] == 600
    assert "for sex: M against F" in err
    assert run(*options, "--fail-on", "spd>0.99", "--fail-on", "disparate_impact<0.01")[0] == 0
    assert run(*options, "--fail-on", "di<0.8")[0] == 1
    code, _, err = run(*options, "--fail-on", "parity>0.1")
    assert code == 2
    assert "parity>0.1" in err


def test_a_limit_on_nothing_defined_is_exceeded(stays):
    from auscult.m3fair import audit

    report = audit([1, 0, 1, 0], [1, 0, 1, 0], sensitive_features={"sex": ["F", "F", "F", "F"]}, min_group=0)
    assert Limit.parse("eod>0.1").exceeded_by(report) == ["equal_opportunity_difference is undefined for every group"]
    with pytest.raises(InputError, match="no limit"):
        Limit.parse("spd=0.1")


@pytest.mark.parametrize("estimator", ["logistic", "hgb", "sklearn.tree:DecisionTreeClassifier"])
def test_mitigate_trains_saves_and_compares(run, stays, tmp_path, estimator):
    stays[:400].to_csv("train.csv", index=False)
    stays[400:].to_parquet("test.parquet")
    options = ["--label", "died", "--sensitive", "sex=F", "--estimator", estimator, "--out", "model.joblib"]
    code, out, err = run("mitigate", "train.csv", "--test", "test.parquet", *options, "--report", "page.html", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["before"]["n"] == result["after"]["n"] == 200
    model = joblib.load(tmp_path / "model.joblib")
    features = stays[400:].drop(columns="died")
    assert model.predict(features).shape == (200,)
    rate = model.sample_weight_ @ (stays["died"][:400] * (stays["sex"][:400] == "M"))
    rate /= model.sample_weight_ @ (stays["sex"][:400] == "M")
    assert rate == pytest.approx(stays["died"][:400].mean())
    assert_self_contained((tmp_path / "page.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--estimator", "forest"], "forest"),
        (["--estimator", "sklearn.tree:Nothing"], "Nothing"),
        (["--estimator", "sklearn.neighbors:KNeighborsClassifier"], "ignores sample_weight"),
        (["--estimator", "pathlib:Path"], "pathlib:Path"),
        (["--out", "model.pickle"], ".joblib"),
    ],
)
def test_mitigate_refuses_with_a_sentence_and_writes_nothing(run, stays, tmp_path, arguments, words):
    options = {"--test": "all.csv", "--label": "died", "--sensitive": "sex=F", "--out": "model.joblib"}
    options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run("mitigate", "all.csv", *(part for pair in options.items() for part in pair))
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_mitigate_names_a_column_that_the_test_rows_lack(run, stays):
    stays.drop(columns="lactate").to_csv("test.csv", index=False)
    code, _, err = run(
        "mitigate", "all.csv", "--test", "test.csv", "--label", "died", "--sensitive", "sex", "--out", "m.joblib"
    )
    assert code == 2
    assert "'lactate'" in err
