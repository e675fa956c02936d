"""The commands merge, report, mitigate and the limits of measure, on files."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest

from auscult.core.errors import InputError
from auscult.core.testing import assert_self_contained
from auscult.m3fair import Attribute, CountTable, audit
from auscult.m3fair.jobs import Limit
from auscult.m3fair.metrics import DISPARITIES, RATES


@pytest.fixture
def run(m3fair):
    """Run the command in the temporary folder; return its exit code, stdout and stderr."""

    def call(*arguments):
        done = m3fair(*arguments)
        return done.returncode, done.stdout, done.stderr

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


@pytest.fixture
def mixed(tmp_path):
    """The same numeric groups as text in one file and as numbers in another."""
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"s": rng.integers(0, 2, 300), "lactate": rng.normal(2, 1, 300).round(2)})
    rows["died"] = (rows["lactate"] + rows["s"] > 2.5).astype(int)
    rows["predicted"] = (rows["lactate"] > 2).astype(int)
    rows.to_csv(tmp_path / "all.csv", index=False)
    rows[:150].to_csv(tmp_path / "a.csv", index=False)
    rows[150:].astype({"s": float}).to_parquet(tmp_path / "b.parquet")
    return rows


def test_text_and_number_are_one_group(run, mixed, tmp_path):
    options = ["--label", "died", "--sensitive", "s=1"]
    measure = [*options, "--pred", "predicted", "--score", "lactate", "--json"]
    whole, parts = (json.loads(run("measure", *files, *measure)[1]) for files in (["all.csv"], ["a.csv", "b.parquet"]))
    assert [group["group"] for group in parts["groups"]] == [{"s": 0}, {"s": 1}]
    for one, other in zip(whole["groups"], parts["groups"], strict=True):
        assert {**one, "group": None} == {**other, "group": None}
    assert run("weights", "all.csv", *options, "--out", "whole.parquet")[0] == 0
    assert run("weights", "a.csv", "b.parquet", *options, "--out", "parts.parquet", "--table", "parts.json")[0] == 0
    expected = pd.read_parquet("whole.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("parts.parquet"), expected)
    assert len(CountTable.from_json(tmp_path / "parts.json")) == 4
    for name in ("a.csv", "b.parquet"):
        assert run("weights", name, *options, "--out", "x.parquet", "--table", f"{name}.json")[0] == 0
    assert run("merge", "a.csv.json", "b.parquet.json", "--out", "sum.json")[0] == 0
    assert CountTable.from_json(tmp_path / "sum.json") == CountTable.from_json(tmp_path / "parts.json")
    for table in ("sum.json", "parts.json"):
        for name, part in (("a.csv", expected[:150]), ("b.parquet", expected[150:])):
            assert run("weights", name, *options, "--out", "x.parquet", "--fit-on", table)[0] == 0
            pd.testing.assert_frame_equal(pd.read_parquet("x.parquet"), part.reset_index(drop=True))
    assert run("weights", "all.csv", *options, "--out", "x.parquet", "--table", "text.json")[0] == 0
    assert CountTable.from_json(tmp_path / "text.json").values[0] == ("0", "1")
    code, _, err = run("weights", "b.parquet", *options, "--out", "x.parquet", "--fit-on", "text.json")
    assert code == 0, err
    pd.testing.assert_frame_equal(pd.read_parquet("x.parquet"), expected[150:].reset_index(drop=True))


@pytest.mark.parametrize("train", [["a.csv"], ["a.csv", "b.parquet"], ["b.parquet"]])
@pytest.mark.parametrize("test", ["a.csv", "b.parquet"])
def test_mitigate_takes_text_and_number_as_one_group(run, mixed, tmp_path, train, test):
    options = ["--label", "died", "--sensitive", "s=1", "--out", "m.joblib", "--json"]
    code, out, err = run("mitigate", *train, "--test", test, *options)
    assert code == 0, err
    assert [str(group["group"]["s"])[:1] for group in json.loads(out)["after"]["groups"]] == ["0", "1"]
    assert len(joblib.load(tmp_path / "m.joblib").reweigher_.table_) == 4


@pytest.mark.parametrize("files", [("a.parquet", "all.csv"), ("all.csv", "a.parquet")])
def test_mitigate_takes_true_and_1_as_one_label(run, mixed, files):
    mixed.astype({"died": bool}).to_parquet("a.parquet")
    options = ["--label", "died", "--sensitive", "s=1", "--out", "m.joblib", "--json"]
    code, out, err = run("mitigate", files[0], "--test", files[1], *options)
    assert code == 0, err
    assert json.loads(out)["after"]["positive"] == 1


def test_texts_of_a_text_file_stay_apart(run, tmp_path):
    (tmp_path / "rows.csv").write_text("code,died\n01,0\n1,1\n01,1\n1,0\n", "utf-8")
    options = ["--label", "died", "--sensitive", "code", "--out", "w.csv", "--table", "t.json"]
    assert run("weights", "rows.csv", *options)[0] == 0
    assert CountTable.from_json(tmp_path / "t.json").values[0] == ("01", "1")


def test_a_table_is_neither_counted_twice_nor_written_over(run, stays, tmp_path):
    options = ["--label", "died", "--sensitive", "sex", "--out", "w.csv", "--table"]
    assert run("weights", "all.csv", *options, "t.json")[0] == 0
    before = (tmp_path / "t.json").read_bytes()
    assert run("merge", "t.json", "--out", "t2.parquet")[0] == 0
    for tables, words in (
        (["t.json", "t2.parquet", "--out", "t.json"], "--out 't.json' is also read"),
        (["t.json", "./t.json", "--out", "t3.json"], "'t.json' is read twice"),
        (["t.json", "*.json", "--out", "t3.json"], "for 't.json' and for '*.json'"),
    ):
        code, out, err = run("merge", *tables)
        assert (code, out) == (2, "")
        assert words in err
    assert (tmp_path / "t.json").read_bytes() == before
    code, _, err = run("weights", "all.csv", "al*.csv", *options, "t4.json")
    assert code == 2
    assert "'all.csv' is read twice" in err


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


@pytest.mark.parametrize(
    ("text", "exceeded"),
    [
        ("di<0.8", True), ("di<0.4", False), ("di>1.25", True), ("di>2", False), ("di>1.99", True),
        ("spd>0.3", True), ("spd>0.4", False), ("spd<-0.3", False), ("accuracy_difference<-0.2", True),
        ("accuracy_difference>0.2", True), ("accuracy_difference<-0.3", False),
    ],
)  # fmt: skip
def test_a_limit_in_either_direction(text, exceeded):
    """Of M a third is selected and every decision right, of F two thirds and three quarters of the decisions."""
    sex = ["M"] * 12 + ["F"] * 12
    y, p = [1] * 4 + [0] * 8 + [1] * 5 + [0] * 7, [1] * 4 + [0] * 8 + [1] * 8 + [0] * 4
    report = audit(
        y, p, sensitive_features={"sex": sex}, attributes=[Attribute("sex", "M")],
        disparities=("statistical_parity_difference", "disparate_impact", "accuracy_difference"),
    )  # fmt: skip
    assert bool(Limit.parse(text).exceeded_by(report)) == exceeded


@pytest.mark.parametrize(
    "text",
    ["di>0.8", "di<1.25", "di<0", "spd>-0.1", "spd<0.1", "spd>1", "eod<-1", "average_absolute_odds_difference<-0.1"],
)
def test_a_limit_that_makes_no_sense_is_refused(text):
    with pytest.raises(InputError, match="is no limit of"):
        Limit.parse(text)


def test_an_undefined_group_is_not_within_a_limit():
    sex = ["F", "F", "F", "M", "M", "M", "X"]
    report = audit([1, 0, 1, 1, 0, 1, 0], [1, 0, 1, 1, 0, 1, 0], sensitive_features={"sex": sex}, min_group=0)
    assert Limit.parse("eod>0.1").exceeded_by(report) == [
        "equal_opportunity_difference is undefined for sex: X against F (n=1)"
    ]
    assert Limit.parse("spd>0.9").exceeded_by(report) == []


def test_a_limit_on_nothing_defined_is_exceeded(stays):
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
    assert result["schema"] == result["before"]["schema"] == 2
    assert result["before"]["n"] == result["after"]["n"] == 200
    model = joblib.load(tmp_path / "model.joblib")
    features = stays[400:].drop(columns="died")
    assert model.predict(features).shape == (200,)
    rate = model.sample_weight_ @ (stays["died"][:400] * (stays["sex"][:400] == "M"))
    rate /= model.sample_weight_ @ (stays["sex"][:400] == "M")
    assert rate == pytest.approx(stays["died"][:400].mean())
    assert_self_contained((tmp_path / "page.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("names", "positive", "outcome"),
    [(None, "0", 0), (None, "1", 1), ({0: "survived", 1: "died"}, "survived", "survived")],
)
def test_mitigate_keeps_the_label_as_it_stands_in_the_file(run, stays, tmp_path, names, positive, outcome):
    stays = stays if names is None else stays.assign(died=stays["died"].map(names))
    stays[:400].to_csv("train.csv", index=False)
    stays[400:].to_parquet("test.parquet")
    options = ["--label", "died", "--sensitive", "sex=F", "--out", "m.joblib", "--positive", positive]
    files = ["--report", "page.html", "--card", "card.md"]
    code, out, err = run("mitigate", "train.csv", "--test", "test.parquet", *options, *files, "--json")
    assert code == 0, err
    found = json.loads(out)["after"]
    assert (found["label"], found["positive"]) == ("died", outcome)
    assert f"Positive outcome: died = {outcome}." in (tmp_path / "card.md").read_text("utf-8")
    assert f"positive is died = {outcome}" in (tmp_path / "page.html").read_text("utf-8")
    model = joblib.load(tmp_path / "m.joblib")
    test = stays[400:]
    assert set(model.classes_) == set(stays["died"])
    assert model.reweigher_.table_.columns == ("sex", "died")
    chosen = model.predict(test.drop(columns="died")) == outcome
    assert found["overall"]["selection_rate"]["value"] == pytest.approx(chosen.mean())
    score = model.predict_proba(test.drop(columns="died"))[:, list(model.classes_).index(outcome)]
    truth = (test["died"] == outcome).to_numpy()
    area = np.mean(score[truth][:, None] > score[~truth]) + np.mean(score[truth][:, None] == score[~truth]) / 2
    assert found["overall"]["auroc"]["value"] == pytest.approx(area)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--estimator", "forest"], "forest"),
        (["--estimator", "sklearn.linear_model:LinearRegression"], "is no scikit-learn classifier"),
        (["--estimator", "sklearn.cluster:KMeans"], "is no scikit-learn classifier"),
        (["--estimator", "sklearn.preprocessing:StandardScaler"], "is no scikit-learn classifier"),
        (
            ["--estimator", "sklearn.naive_bayes:MultinomialNB"],
            "MultinomialNB' cannot be fitted to these rows: Negative",
        ),
        (["--estimator", "sklearn.tree:Nothing"], "Nothing"),
        (["--estimator", "sklearn.neighbors:KNeighborsClassifier"], "ignores sample_weight"),
        (["--estimator", "pathlib:Path"], "pathlib:Path"),
        (["--estimator", "os:getcwd"], "getcwd is no class"),
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


def test_parts_are_weighed_by_the_counts_of_all_of_them(run, stays, tmp_path):
    """Count each part, merge, weigh each part: the weights of one run over all rows."""
    options = ["--label", "died", "--sensitive", "sex=F", "--sensitive", "unit", "--mode", "intersection"]
    parts = ["part1.csv", "part2.csv"]
    for name, part in zip(parts, (stays[:400], stays[400:]), strict=True):
        part.to_csv(name, index=False)
        assert run("weights", name, *options, "--out", "alone.parquet", "--table", f"{name}.json")[0] == 0
    assert run("merge", *(f"{name}.json" for name in parts), "--out", "all.json")[0] == 0
    for name in parts:
        assert run("weights", name, *options, "--fit-on", "all.json", "--out", f"{name}.parquet")[0] == 0
    assert run("weights", "all.csv", *options, "--out", "whole.parquet")[0] == 0
    merged = pd.concat([pd.read_parquet(f"{name}.parquet") for name in parts], ignore_index=True)
    pd.testing.assert_frame_equal(merged, pd.read_parquet("whole.parquet"))
    code, _, err = run("weights", "all.csv", *options[:4], "--fit-on", "all.json", "--out", "no.parquet")
    assert code == 2
    assert "counts ['sex', 'unit', 'died'], not ['sex', 'died']" in err


def test_numbers_are_cut_by_edges(run, stays):
    """As if the file held the names of the bins; the reference is the bin that holds the number."""
    cut = stays.assign(lactate=np.select([stays["lactate"] <= 1.5, stays["lactate"] <= 3], ["low", "mid"], "high"))
    cut.to_csv("cut.csv", index=False)
    common = ["--label", "died", "--sensitive", "sex=F", "--mode", "intersection", "--out"]
    bins = ["--bins", "lactate=1.5,3"]
    assert run("weights", "all.csv", *common, "a.parquet", "--sensitive", "lactate=2", *bins)[0] == 0
    assert run("weights", "cut.csv", *common, "b.parquet", "--sensitive", "lactate=mid")[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet("a.parquet"), pd.read_parquet("b.parquet"))
    audit = ["--label", "died", "--pred", "predicted", "--json", "--sensitive"]
    ours = json.loads(run("measure", "all.csv", *audit, "lactate=2", *bins)[1])
    named = json.loads(run("measure", "cut.csv", *audit, "lactate=mid")[1])
    assert {item["reference"] for item in ours["disparities"]} == {"1.5 to 3"}
    names = {"above 3": "high", "up to 1.5": "low", "everyone else": "everyone else"}
    values = [
        {(names.get(item["group"], item["group"]), item["metric"]): item["value"] for item in found["disparities"]}
        for found in (ours, named)
    ]
    assert values[0] == values[1]


def test_a_threshold_takes_the_place_of_decisions(run, stays):
    stays.assign(predicted=(stays["lactate"] >= 2.5).astype(int)).to_csv("decided.csv", index=False)
    options = ["--label", "died", "--score", "lactate", "--sensitive", "sex=F", "--json"]
    decided = json.loads(run("measure", "decided.csv", *options, "--pred", "predicted")[1])
    code, out, err = run("measure", "all.csv", *options, "--threshold", "2.5")
    assert code == 0, err
    found = json.loads(out)
    assert found.pop("decision") == "lactate >= 2.5"
    assert decided.pop("decision") == "predicted"
    assert found == decided


def test_metrics_are_chosen_and_limits_bring_theirs_along(run, stays):
    options = ["--label", "died", "--pred", "predicted", "--sensitive", "sex=F"]
    everything = json.loads(run("measure", "all.csv", *options, "--metrics", "all", "--json")[1])
    assert {item["metric"] for item in everything["disparities"]} == set(DISPARITIES)
    assert set(RATES) < set(everything["overall"])
    few = json.loads(run("measure", "all.csv", *options, "--metrics", "f1, di", "--json")[1])
    assert {item["metric"] for item in few["disparities"]} == {"disparate_impact"}
    assert set(few["overall"]) == {"group", "n", "weight", "f1"}
    code, _, err = run("measure", "all.csv", *options, "--metrics", "di", "--fail-on", "base_rate_difference>0.01")
    assert (code, "base_rate_difference is" in err) == (1, True)


def test_the_section_of_a_model_card(run, stays, tmp_path):
    common = ["--label", "died", "--sensitive", "sex=F"]
    options = ["--pred", "predicted", "--out", "a.csv", "--card", "audit.md"]
    assert run("report", "all.csv", *common, *options)[0] == 0
    card = (tmp_path / "audit.md").read_text("utf-8")
    assert "Audited on: all.csv, 600 rows; intervals at 95%" in card
    assert "Training weights" not in card
    assert set(pd.read_csv("a.csv")["metric"]) == {
        "statistical_parity_difference", "disparate_impact", "equal_opportunity_difference", "average_odds_difference",
    }  # fmt: skip
    stays.to_csv("test.csv", index=False)
    options = ["--test", "test.csv", "--out", "m.joblib", "--card", "model.md", "--sensitive", "lactate=2"]
    assert run("mitigate", "all.csv", *common, *options, "--bins", "lactate=3")[0] == 0
    card = (tmp_path / "model.md").read_text("utf-8")
    assert "Training weights: mode level with levels sex 1, lactate 2, " in card
    assert "lactate: above 3 against up to 3" in card


@pytest.mark.parametrize(
    ("mode", "option", "other"),
    [("lattice", ["--lattice-order", "2"], "intersection"), ("geometric", ["--importance", "unit=0"], None)],
)
def test_modes_have_their_options(run, stays, mode, option, other):
    options = ["--label", "died", "--sensitive", "sex=F", "--out"]
    both = ["--sensitive", "unit"]
    assert run("weights", "all.csv", *options, "a.parquet", *both, "--mode", mode, *option)[0] == 0
    alone = [*both, "--mode", other] if other else []
    assert run("weights", "all.csv", *options, "b.parquet", *alone)[0] == 0
    found, expected = (pd.read_parquet(name)["weight"] for name in ("a.parquet", "b.parquet"))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["weights", "--bins", "lactate=low"], "'lactate=low' is no cut"),
        (["weights", "--bins", "lactate=2"], "no --sensitive attribute"),
        (["weights", "--bins", "sex=2"], "the reference 'F' of 'sex', which has bins, is no number"),
        (["weights", "--sensitive", "unit", "--bins", "unit=2"], "'medical'"),
        (["weights", "--sensitive", "lactate", "--bins", "lactate=3,2"], "must be finite and increase"),
        (["weights", "--mode", "geometric", "--importance", "sex"], "write NAME=POWER"),
        (["weights", "--mode", "geometric", "--importance", "unit=1"], "name an attribute"),
        (["weights", "--importance", "sex=0.5"], "mode 'level' takes no importance"),
        (["weights", "--mode", "lattice", "--lattice-order", "2"], "to the 1 attributes"),
        (["weights", "--fit-on", "all.csv"], "not a count table"),
        (["measure", "--threshold", "2"], "the audit needs decisions"),
        (["measure"], "the audit needs decisions"),
        (["measure", "--pred", "predicted", "--score", "lactate", "--threshold", "2"], "the audit needs decisions"),
        (["measure", "--score", "lactate", "--threshold", "nan"], "give a number"),
        (["measure", "--pred", "predicted", "--metrics", "spd,nice"], "'nice', which is unknown"),
        (["report", "--pred", "predicted", "--out", "a.md", "--card", "a.md"], "is also --out"),
        (["report", "--pred", "predicted", "--out", "a.md", "--card", "a.txt"], "must end in .md"),
        (["report", "--pred", "predicted", "--out", "all.csv"], "is also read"),
    ],
)
def test_options_that_cannot_be_used(run, stays, tmp_path, options, words):
    command, *rest = options
    before = sorted(path.name for path in tmp_path.iterdir())
    out = ["--out", "w.parquet"] if command == "weights" else []
    code, out, err = run(command, "all.csv", "--label", "died", "--sensitive", "sex=F", *out, *rest)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="died"), "has no column 'died'"),
        (lambda rows: rows.drop(columns="sex"), "has no column 'sex'"),
        (lambda rows: rows.assign(died=rows["died"].map({0: "no", 1: "yes"})), "has the value 'no' in 'test.csv'"),
        (lambda rows: rows.assign(died=1), "it must have exactly two"),
        (lambda rows: rows.assign(lactate="high"), "'lactate' is numbers in the training rows and text in the test"),
        (lambda rows: rows.assign(unit=1), "'unit' is text in the training rows and numbers in the test"),
        (lambda rows: rows.assign(lactate=np.inf), "'lactate' has an infinite value"),
        (lambda rows: rows[:0], "has no rows"),
        (lambda rows: rows[rows["sex"] == "M"], "the reference value 'F' of 'sex' does not occur"),
    ],
)
def test_test_rows_that_cannot_be_used(run, stays, tmp_path, change, words):
    change(stays).to_csv("test.csv", index=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run(
        "mitigate", "all.csv", "--test", "test.csv", "--label", "died", "--sensitive", "sex=F", "--out", "m.joblib"
    )
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_feature_of_lists_is_refused(run, stays):
    stays.assign(unit=[["ward"]] * len(stays)).to_parquet("rows.parquet")
    options = ["--test", "rows.parquet", "--label", "died", "--sensitive", "sex=F", "--out", "m.joblib"]
    code, out, err = run("mitigate", "rows.parquet", *options)
    assert (code, out) == (2, "")
    assert "'unit' has values that are neither numbers nor text" in err
    assert len(err.strip().splitlines()) == 1
