"""The commands weights and measure as other programs call them."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auscult.core.testing import assert_one_sentence, files_below, run_command
from auscult.m3fair import Attribute, CountTable, Reweigher, audit, reading
from auscult.m3fair.jobs import parse_sensitive


@pytest.fixture
def rows():
    rng = np.random.default_rng(9)
    n = 300
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["Male", "Female"], n),
            "race": rng.choice(["White", "Black", "Asian", ""], n, p=[0.5, 0.25, 0.15, 0.1]),
            "y": rng.integers(0, 2, n),
            "s": rng.random(n).round(3),
            "w": rng.integers(1, 5, n) / 2,
        }
    )
    return frame.assign(p=(frame["s"] > 0.5).astype(int))


@pytest.fixture
def file(rows, tmp_path):
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return "rows.csv"


def missing(rows):
    """Return the rows with an empty race as missing, the other values as they stand in a file."""
    return rows.assign(race=rows["race"].where(rows["race"] != "", None))


WEIGHTS = ["--label", "y", "--sensitive", "sex=Male:2", "--sensitive", "race=White:1", "--out", "w.parquet"]
MEASURE = ["--label", "y", "--pred", "p", "--sensitive", "sex=Male", "--sensitive", "race=White", "--json"]


# weights


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("mode", ["level", "intersection"])
def test_weights_are_the_reweighers_in_row_order(m3fair, rows, file, mode, weight):
    done = m3fair("weights", file, *WEIGHTS, "--mode", mode, *(["--weight", weight] if weight else []))
    assert done.returncode == 0
    attributes = [Attribute("sex", "Male", level=2), Attribute("race", "White", level=1)]
    expected = Reweigher(attributes, mode=mode).fit_weights(
        missing(rows), rows["y"], sample_weight=rows[weight] if weight else None
    )
    table = pq.read_table("w.parquet")
    assert table.schema.equals(pa.schema([pa.field("weight", pa.float64(), nullable=False)]))
    np.testing.assert_allclose(table["weight"].to_numpy(), expected, rtol=1e-13)


def test_weights_as_text(m3fair, file):
    assert m3fair("weights", file, *WEIGHTS).returncode == 0
    assert m3fair("weights", file, *WEIGHTS[:-1], "w.csv").returncode == 0
    np.testing.assert_array_equal(pd.read_csv("w.csv")["weight"], pd.read_parquet("w.parquet")["weight"])


@pytest.mark.parametrize("block", [64, 1 << 24])
def test_several_files_and_blocks_keep_the_order_of_rows(m3fair, rows, file, monkeypatch, block):
    assert m3fair("weights", file, *WEIGHTS).returncode == 0
    expected = pd.read_parquet("w.parquet")["weight"]
    rows[:100].to_csv("part-1.csv", index=False)
    rows[:0].to_csv("part-2.csv", index=False)
    rows[100:101].to_csv("part-3.csv.gz", index=False)
    rows[101:].assign(y=rows["y"].astype(str)).to_parquet("part-4.parquet")
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    monkeypatch.setattr(reading, "BLOCK_ROWS", block)
    done = m3fair("weights", "part-*", *WEIGHTS[:-2], "--out", "parts.parquet")
    # The parquet file holds an empty text for race where a text file can only hold nothing.
    assert done.returncode == 0
    rows[101:].assign(y=rows["y"].astype(str), race=missing(rows)["race"]).to_parquet("part-4.parquet")
    done = m3fair("weights", "part-*", *WEIGHTS[:-2], "--out", "parts.parquet")
    assert done.returncode == 0
    np.testing.assert_allclose(pd.read_parquet("parts.parquet")["weight"], expected, rtol=1e-13)
    done = m3fair("weights", "part-4.parquet", "part-[123].*", *WEIGHTS[:-2], "--out", "turned.parquet")
    assert done.returncode == 0
    turned = pd.concat([expected[101:], expected[:101]], ignore_index=True)
    np.testing.assert_allclose(pd.read_parquet("turned.parquet")["weight"], turned, rtol=1e-13)


@pytest.mark.parametrize("name", ["t.json", "t.parquet"])
def test_the_count_table(m3fair, rows, file, name):
    assert m3fair("weights", file, *WEIGHTS, "--weight", "w", "--table", name).returncode == 0
    read = CountTable.from_json if name.endswith("json") else CountTable.from_parquet
    texts = missing(rows).assign(y=rows["y"].astype(str))
    expected = CountTable.count_rows(texts, ["sex", "race", "y"], weight="w")
    assert read(Path(name)) == expected


def test_weights_tell_what_they_did(m3fair, rows, file):
    done = m3fair("weights", file, *WEIGHTS, "--json")
    content = json.loads(done.stdout)
    assert content["schema"] == 2
    assert content["mode"] == "level"
    assert content["levels"] == {"sex": 2, "race": 1}
    assert content["n"] == 300
    assert content["warnings"] == []
    assert sum(row["count"] for row in content["factors"]) == 300
    assert {"sex": "Male", "race": None} in [{k: row[k] for k in ("sex", "race")} for row in content["factors"]]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("sensitive", "levels"),
    [
        (["sex=Male", "race=White"], {"sex": 1, "race": 2}),
        (["race=White", "sex"], {"race": 1, "sex": 2}),
        (["sex=Male:2", "race=White"], {"sex": 2, "race": 4}),
        (["sex=Male", "race=White:3"], {"sex": 4, "race": 3}),
        (["sex=:4", "race=White:1"], {"sex": 4, "race": 1}),
        (["race", "sex"], {"race": 1, "sex": 4}),
    ],
)
def test_levels_by_default_never_collide(m3fair, file, sensitive, levels):
    options = [part for name in sensitive for part in ("--sensitive", name)]
    done = m3fair("weights", file, "--label", "y", *options, "--out", "w.parquet", "--json")
    content = json.loads(done.stdout)
    assert content["levels"] == levels
    assert content["collisions"] == []
    assert content["warnings"] == []


def test_a_collision_that_was_asked_for_is_done_and_named(m3fair, rows, file):
    """A defect of the reference: it is done without a word."""
    options = ["--label", "y", "--sensitive", "sex=Male:1", "--sensitive", "race=White:1", "--out", "w.parquet"]
    done = m3fair("weights", file, *options)
    assert done.returncode == 0
    assert "warning: " in done.stderr
    for merged in ("sex=Female, race=White", "sex=Male, race=Asian", "sex=Male, race=Black"):
        assert merged in done.stderr
    content = json.loads(m3fair("weights", file, *options, "--json").stdout)
    (warning,) = content["warnings"]
    assert "sex=Female, race=White" in warning
    (merged,) = content["collisions"]
    assert len(merged) == 3
    weight = pd.read_parquet("w.parquet")["weight"]
    level = (rows["sex"] == "Male").astype(int) + (rows["race"] == "White")
    group = level.where(rows["race"] != "", -1 - level)
    n, n_g, n_y, n_gy = 300, *(rows.groupby(by)["y"].transform("size") for by in (group, rows["y"], [group, rows["y"]]))
    np.testing.assert_allclose(weight, n_g * n_y / (n * n_gy), rtol=1e-12)


def test_columns_may_be_called_like_options_and_like_ours(m3fair, rows):
    names = {"sex": "--json", "race": "-x", "y": "--label", "p": "count", "s": "group", "w": "weight"}
    rows.rename(columns=names).to_csv("odd.csv", index=False)
    common = ["--label", "--label", "--sensitive", "--json=Male", "--sensitive", "-x=White"]
    done = m3fair("weights", "odd.csv", *common, "--out", "w.parquet", "--weight", "weight", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["levels"] == {"--json": 1, "-x": 2}
    done = m3fair("measure", "odd.csv", *common, "--pred", "count", "--score", "group", "--weight", "weight", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["groups"][0]["group"] == {"--json": "Female"}
    done = m3fair(
        "weights",
        "odd.csv",
        "--label=--label",
        "--sensitive=count=1",
        "--sensitive=weight",
        "--out=w.parquet",
        "--json",
    )
    assert done.returncode == 0
    factor = json.loads(done.stdout)["factors"][0]
    assert factor.keys() == {"count", "weight", "--label", "count_", "weight_", "group", "factor"}


# measure


def test_measure_prints_what_the_audit_found(m3fair, rows, file):
    done = m3fair("measure", file, *MEASURE, "--score", "s", "--weight", "w", "--order", "2")
    assert done.returncode == 0
    assert done.stderr == ""
    content = json.loads(done.stdout)
    frame = missing(rows)
    attributes = [Attribute("sex", "Male"), Attribute("race", "White")]
    expected = audit(
        frame["y"], frame["p"], sensitive_features=frame, attributes=attributes, y_score=frame["s"],
        sample_weight=frame["w"],
    )  # fmt: skip
    same = json.loads(expected.to_json())
    assert content == {**same, "label": "y", "decision": "p"}
    assert {"race": None} in [group["group"] for group in content["groups"]]


def test_the_keys_of_measure(m3fair, file):
    content = json.loads(m3fair("measure", file, *MEASURE, "--score", "s").stdout)
    assert {"n", "groups", "disparities", "warnings"} <= content.keys()
    metrics = {"selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy", "auroc"}
    for group in content["groups"]:
        assert group.keys() == {"group", "n", "weight", *metrics}
        assert all(group[name] is None or isinstance(group[name]["value"], float) for name in metrics)
    kinds = {
        "statistical_parity_difference", "disparate_impact", "equal_opportunity_difference", "average_odds_difference",
    }  # fmt: skip
    assert {item["metric"] for item in content["disparities"]} == kinds
    for item in content["disparities"]:
        assert {"attribute", "group", "reference", "metric", "value", "ci"} <= item.keys()
        assert item["value"] is None or isinstance(item["value"], float)
    orders = {len(group["group"]) for group in content["groups"]}
    assert orders == {1, 2}
    single = json.loads(m3fair("measure", file, *MEASURE, "--order", "1").stdout)
    assert {len(group["group"]) for group in single["groups"]} == {1}
    assert "auroc" not in single["groups"][0]
    pooled = [item["group"] for item in single["disparities"] if item["attribute"] == "race"]
    assert set(pooled) == {"Asian", "Black", None, "everyone else"}


def test_the_forms_of_the_same_rows_measure_the_same(m3fair, rows, file):
    expected = m3fair("measure", file, *MEASURE, "--score", "s").stdout
    rows.assign(s=[f"[{1 - s:.3f}, {s:.3f}]" for s in rows["s"]]).to_csv("brackets.csv", index=False)
    rows.assign(s=[f"[{1 - s:.3f} {s:.3f}]" for s in rows["s"]]).to_csv("brackets.csv.xz", index=False)
    missing(rows).to_parquet("rows.parquet")
    rows[:70].to_csv("p1.csv", index=False)
    rows[70:].to_csv("p2.csv", index=False)
    for files in (["brackets.csv"], ["brackets.csv.xz"], ["rows.parquet"], ["p1.csv", "p2.csv"], ["p?.csv"]):
        assert m3fair("measure", *files, *MEASURE, "--score", "s").stdout == expected


@pytest.mark.parametrize("block", [64, 500])
def test_blocks_measure_the_same(m3fair, file, monkeypatch, block):
    expected = json.loads(m3fair("measure", file, *MEASURE, "--score", "s", "--weight", "w").stdout)
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    found = json.loads(m3fair("measure", file, *MEASURE, "--score", "s", "--weight", "w").stdout)
    assert found == expected


def test_decisions_and_labels_written_differently_agree(m3fair, rows, file):
    expected = json.loads(m3fair("measure", file, *MEASURE).stdout)
    rows.assign(p=rows["p"].astype(float)).to_csv("float.csv", index=False)
    assert json.loads(m3fair("measure", "float.csv", *MEASURE).stdout) == expected
    words = rows.assign(y=rows["y"].map({0: "no", 1: "yes"}), p=rows["p"].map({0: "no", 1: "yes"}))
    words.to_csv("words.csv", index=False)
    assert_one_sentence(m3fair("measure", "words.csv", *MEASURE), "'no', 'yes'", "--positive")
    found = json.loads(m3fair("measure", "words.csv", *MEASURE, "--positive", "yes").stdout)
    assert found["groups"] == expected["groups"]


def test_a_table_for_people(m3fair, file, tmp_path):
    """And no picture beside it: a defect of the reference, which prints and writes into the working folder."""
    done = m3fair("measure", file, *MEASURE[:-1])
    assert list(files_below(tmp_path)) == [file]
    assert done.returncode == 0
    assert "sex=Female" in done.stdout
    assert "race=missing" in done.stdout
    assert "everyone else" in done.stdout


def test_warnings_go_to_stderr(m3fair, file):
    done = m3fair("measure", file, *MEASURE[:-1], "--min-group", "1000")
    assert "warning: the group sex=Female has only" in done.stderr
    quiet = m3fair("measure", file, *MEASURE, "--min-group", "1000")
    assert quiet.stderr == ""
    assert any("has only" in warning for warning in json.loads(quiet.stdout)["warnings"])


# Bad input: one sentence, exit code 2, and no file.

GOOD = "sex,race,y,p,s,w\nMale,White,1,1,0.9,1\nMale,Black,0,0,0.2,1\nFemale,White,1,0,0.4,1\nFemale,Black,0,1,0.7,1\n"
OUT = ["--out", "w.parquet", "--table", "t.json"]
COMMON = ["rows.csv", "--label", "y", "--sensitive", "sex=Male", "--sensitive", "race", "--weight", "w"]
ROLES = {
    "weights": ["weights", *COMMON, *OUT],
    "measure": ["measure", *COMMON, "--pred", "p", "--score", "s", "--json"],
}
CODE = "__import__('pathlib').Path('RUN').touch()"
BAD_ROWS = {
    "no column": (GOOD.replace("race", "ethnicity"), "no column 'race'"),
    "no label": (GOOD.replace("y", "z", 1), "no column 'y'"),
    "no weight": (GOOD.replace("w\n", "v\n"), "no column 'w'"),
    "empty file": ("", "empty"),
    "no rows": (GOOD[:17], "no rows"),
    "attribute without values": (GOOD.replace("Female,", ",").replace("Male,", ","), "'sex' has no value"),
    "label with one value": (GOOD.replace("e,0,", "e,1,").replace("k,0,", "k,1,"), "'y' has 1 value"),
    "label with three values": (GOOD + "Male,White,2,1,0.9,1\n", "'y' has 3 values"),
    "label missing": (GOOD + "Male,White,,1,0.9,1\n", "'y' is missing"),
    "short row": (GOOD + "Male,White,1\n", "Expected 6 columns, got 3"),
    "long row": (GOOD + "Male,White,1,1,0.9,1,7\n", "Expected 6 columns, got 7"),
    "negative weight": (GOOD + "Male,White,1,1,0.9,-1\n", "the weight -1"),
    "NaN weight": (GOOD + "Male,White,1,1,0.9,nan\n", "the weight nan"),
    "missing weight": (GOOD + "Male,White,1,1,0.9,\n", "the weight nan"),
    "infinite weight": (GOOD + "Male,White,1,1,0.9,inf\n", "the weight inf"),
    "weight of text": (GOOD + "Male,White,1,1,0.9,heavy\n", "'heavy', which is not a number"),
    "code in a weight": (GOOD + f"Male,White,1,1,0.9,{CODE}\n", "which is not a number"),
    "reference that does not occur": (GOOD.replace("Male", "M").replace("FeM", "F"), "'Male' of 'sex' does not occur"),
    "twice the same column": (GOOD.replace("race", "sex"), "several columns called 'sex'"),
    "not UTF-8": (GOOD.encode() + b"Male,Wh\xefte,1,1,0.9,1\n", "not UTF-8: byte 0xef in line 6"),
    "not UTF-8 in a column of no role": (
        b"note," + GOOD.replace("\n", "\na,").encode()[:-2] + b"\xef,Male,White,1,1,0.9,1\n", "not UTF-8: byte 0xef",
    ),
    "no end of a quote": (GOOD + '"Male,White,1,1,0.9,1\n', "Expected 6 columns"),
}  # fmt: skip
BAD_DECISIONS = {
    "decision missing": (GOOD + "Male,White,1,,0.9,1\n", "'p' is missing"),
    "decision of another value": (GOOD + "Male,White,1,0.5,0.9,1\n", "the value 0.5"),
    "score missing": (GOOD + "Male,White,1,1,,1\n", "'s' has 1 missing or infinite"),
    "score infinite": (GOOD + "Male,White,1,1,inf,1\n", "'s' has 1 missing or infinite"),
    "score of text": (GOOD + "Male,White,1,1,high,1\n", "'high', which is not a number"),
    "code as a score": (GOOD + f"Male,White,1,1,{CODE},1\n", "which is not a number"),
    "code in brackets": (GOOD + f'Male,White,1,1,"[0.2, {CODE}]",1\n', "which is not a number"),
    "code among bracketed scores": (
        GOOD + f'Male,White,1,1,"[0.2, 0.8]",1\nMale,White,1,1,{CODE},1\n', "which is not a number",
    ),
    "three probabilities": (GOOD + 'Male,White,1,1,"[0.1, 0.2, 0.7]",1\n', "which is not a number"),
}  # fmt: skip


@pytest.fixture
def assert_refused(m3fair, tmp_path):
    """Run a command that must fail in one sentence and leave every file as it was."""

    def call(arguments, *words):
        before = files_below(tmp_path)
        assert_one_sentence(m3fair(*arguments), *words)
        assert files_below(tmp_path) == before

    return call


@pytest.mark.parametrize("command", ROLES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("content", "words"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_cannot_be_used(assert_refused, tmp_path, command, packed, content, words):
    """Code in cells among them, which the reference runs."""
    content = content if isinstance(content, bytes) else content.encode()
    name = "rows.csv"
    if packed:
        content, name = gzip.compress(content), "rows.csv.gz"
    (tmp_path / name).write_bytes(content)
    (tmp_path / "w.parquet").write_bytes(b"what was there before")
    arguments = [name if part == "rows.csv" else part for part in ROLES[command]]
    assert_refused(arguments, words)


@pytest.mark.parametrize(("content", "words"), BAD_DECISIONS.values(), ids=BAD_DECISIONS)
def test_decisions_and_scores_that_cannot_be_used(assert_refused, tmp_path, content, words):
    (tmp_path / "rows.csv").write_text(content)
    assert_refused(ROLES["measure"], words)
    assert not (tmp_path / "RUN").exists()


def test_weights_of_zero_leave_nothing_to_weigh_and_every_metric_undefined(m3fair, assert_refused, tmp_path):
    (tmp_path / "rows.csv").write_text(GOOD.replace(",1\n", ",0\n"))
    assert_refused(ROLES["weights"], "weights are all 0")
    done = m3fair(*ROLES["measure"])
    assert done.returncode == 0
    content = json.loads(done.stdout)
    assert all(group["selection_rate"] is None for group in content["groups"])
    assert all(item["value"] is None for item in content["disparities"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--sensitive", "age=1"], "no column 'age'"),
        (["--sensitive", "s:1"], "no column 's:1'"),
        (["--sensitive", "s=0.9:-1"], "the level -1 of 's' must be a whole number of at least 0"),
        (["--sensitive", "s=0.9:1.5"], "the level 1.5 of 's'"),
        (["--sensitive", "s=0.9:-0.5"], "the level -0.5 of 's'"),
        (["--sensitive", "s=0.9:1e2"], "the level 1e2 of 's'"),
        (["--sensitive", "s=0.9:two"], "'0.9:two' of 's' does not occur"),
        (["--sensitive", "s=7"], "'7' of 's' does not occur"),
        (["--sensitive", "=1"], "lacks a name or a value"),
        (["--sensitive", "s="], "lacks a name or a value"),
        (["--sensitive", ""], "lacks a name or a value"),
        (["--sensitive", "sex"], "'sex' is given as --sensitive and as --sensitive"),
        (["--sensitive", "y"], "'y' is given as --label and as --sensitive"),
        (["--positive", "2"], "positive value '2' of 'y' does not occur"),
        (["--nonsense"], "--nonsense"),
    ],
)
@pytest.mark.parametrize("command", ROLES)
def test_options_that_cannot_be_used(assert_refused, tmp_path, command, option, words):
    (tmp_path / "rows.csv").write_text(GOOD)
    arguments = [part for part in ROLES[command] if part not in ("--score", "s")]
    assert_refused([*arguments, *option], words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--mode", "best"], "mode='best' is unknown"),
        (["--out", "w.txt"], "must end in .parquet or .csv"),
        (["--table", "t.csv"], "must end in .json or .parquet"),
        (["--out", "rows.csv"], "'rows.csv' is also read"),
        (["--out", "../{folder}/rows.csv"], "is also read"),
        (["--out", "t.parquet", "--table", "t.parquet"], "is also --out"),
        (["--smoothing", "-1"], "smoothing=-1"),
        (["--smoothing", "much"], "--smoothing"),
        (["--label", "race"], "'race' is given as --label and as --sensitive"),
    ],
)
def test_options_of_weights(assert_refused, tmp_path, option, words):
    (tmp_path / "rows.csv").write_text(GOOD)
    assert_refused([*ROLES["weights"], *(part.format(folder=tmp_path.name) for part in option)], words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--order", "0"], "--order"),
        (["--order", "two"], "--order"),
        (["--confidence", "1"], "confidence=1"),
        (["--min-group", "-1"], "--min-group"),
        (["--score", "race"], "'race' is given as"),
        (["--pred", "y"], "'y' is given as --label and as --pred"),
        (["--pred", "s"], "the value 0.2, which the label 'y' does not have"),
    ],
)
def test_options_of_measure(assert_refused, tmp_path, option, words):
    (tmp_path / "rows.csv").write_text(GOOD)
    arguments = [part for part in ROLES["measure"] if part not in ("--score", "s")]
    assert_refused([*arguments, *option], words)


@pytest.mark.parametrize("command", ROLES)
def test_files_that_are_not_there(assert_refused, tmp_path, command):
    (tmp_path / "folder").mkdir()
    for name, words in (("none.csv", "no file 'none.csv'"), ("*.csv", "no file '*.csv'"), ("folder", "is a folder")):
        assert_refused([name if part == "rows.csv" else part for part in ROLES[command]], words)


@pytest.mark.parametrize("command", ROLES)
def test_columns_of_parquet_that_are_no_groups(assert_refused, tmp_path, command):
    frame = pd.DataFrame(
        {"sex": [["Male"], ["Female"]] * 2, "race": list("abab"), "y": [0, 1, 1, 0], "p": [0, 1, 0, 1]}
    )
    frame.assign(s=0.5, w=1.0).to_parquet(tmp_path / "rows.parquet")
    arguments = ["rows.parquet" if part == "rows.csv" else part for part in ROLES[command]]
    assert_refused(arguments, "'sex' has values that are no groups")


def test_nothing_is_half_written(m3fair, file, tmp_path, monkeypatch):
    """A failure between the blocks leaves the old file and no other."""
    assert m3fair("weights", file, *WEIGHTS).returncode == 0
    before = files_below(tmp_path)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 64)
    blocks, read = [], reading.read_blocks

    def fail_on_the_second_pass(paths, columns):
        for i, block in enumerate(read(paths, columns)):
            if i == 0:
                blocks.append(None)
            if len(blocks) == 2 and i == 3:
                raise OSError(28, "No space left on device")
            yield block

    monkeypatch.setattr(reading, "read_blocks", fail_on_the_second_pass)
    done = m3fair("weights", file, *WEIGHTS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the system refused: No space left on device\n"
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sex", Attribute("sex")),
        ("sex=Male", Attribute("sex", "Male")),
        ("sex=Male:2", Attribute("sex", "Male", level=2)),
        ("sex=Male:+2", Attribute("sex", "Male", level=2)),
        ("sex=Male:0", Attribute("sex", "Male", level=0)),
        ("sex=:2", Attribute("sex", level=2)),
        ("race=a=b", Attribute("race", "a=b")),
        ("race=a:b", Attribute("race", "a:b")),
        ("race=a:b:1", Attribute("race", "a:b", level=1)),
        ("--json=-x", Attribute("--json", "-x")),
        ("sex:1", Attribute("sex:1")),
    ],
)
def test_the_words_of_sensitive(text, expected):
    assert parse_sensitive(text) == expected


# As a program of its own.


def test_as_a_program(rows, file, tmp_path):
    done = run_command("m3fair", "weights", file, *WEIGHTS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(pq.read_table(tmp_path / "w.parquet")) == 300
    done = run_command("m3fair", "measure", file, *MEASURE, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["n"] == 300


def test_refusals_as_a_program(tmp_path):
    (tmp_path / "rows.csv").write_text(GOOD + f"Male,White,1,1,{CODE},1\n")
    assert_one_sentence(run_command("m3fair", *ROLES["measure"], cwd=tmp_path), "which is not a number")
    (tmp_path / "rows.csv").write_bytes(GOOD.encode() + b"\xff,White,1,1,0.9,1\n")
    assert_one_sentence(run_command("m3fair", *ROLES["weights"], cwd=tmp_path), "not UTF-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv"]


def test_a_refused_file_is_let_go_before_python_ends(tmp_path):
    """Arrow's threads that still read it then would abort the process."""
    (tmp_path / "rows.csv").write_text(GOOD + "Male,White,1,1,high,1\n")
    script = (
        "import atexit, sys; from auscult.m3fair import cli, reading; sys.argv = ['m3fair', *sys.argv[1:]]; "
        "old = reading._wait_for_release; reading._wait_for_release = lambda file: (old(file), print('let go')); "
        "atexit.register(print, 'end'); cli.main()"
    )
    command = [sys.executable, "-c", script, *ROLES["measure"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split("\n")[-3:]) == (2, ["let go", "end", ""])
