"""Rows of benchmarks: percentiles and ratios, and a file in which a new row replaces the old one."""

import csv
import doctest

import pytest

from auscult.core.testing import benchmark
from auscult.core.testing.benchmark import alternate, in_own_process, resident, store, to_rows


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(benchmark).failed == 0


def test_a_row_has_percentiles_and_its_ratio_to_the_first_provider():
    slow, fast = to_rows("b", "time", "s", {"slow": [1, 2, 3, 4, 10], "fast": [1.5]}, libraries=("numpy",), note="n")
    assert [float(slow[name]) for name in ("p20", "p50", "p80")] == pytest.approx([1.8, 3, 5.2])
    assert (slow["baseline"], slow["ratio"], fast["ratio"]) == ("slow", "1", "0.5")
    assert "numpy 2" in slow["versions"]
    assert slow["n"] == ""
    assert to_rows("b", "t", "s", {"x": [1]}, versions={"x": "x 7"})[0]["versions"] == "x 7"
    (alone,) = to_rows("b", "t", "s", {"x": [1]}, baseline=False)
    assert alone["baseline"] == alone["ratio"] == ""


def test_a_stored_row_replaces_its_predecessor_and_no_other(tmp_path):
    path = tmp_path / "rows.csv"
    store(to_rows("b", "time", "s", {"x": [1], "y": [2]}, n=10), path)
    store(to_rows("b", "time", "s", {"x": [3]}, n=10) + to_rows("b", "time", "s", {"x": [4]}, n=20), path)
    with path.open(encoding="utf-8", newline="") as file:
        found = [(row["provider"], row["n"], row["p50"]) for row in csv.DictReader(file)]
    assert found == [("x", "10", "3"), ("y", "10", "2"), ("x", "20", "4")]


def test_providers_take_turns_after_one_that_does_not_count():
    seen = []
    found = alternate({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, repeats=4, wait=lambda: None)
    assert seen == ["a", "b"] * 5
    assert {len(values) for values in (*found.wall.values(), *found.processor.values())} == {4}
    assert found.note.startswith("4 repeats, load ")


def test_a_process_of_its_own_says_how_large_it_was():
    assert 0 < in_own_process(resident, "VmRSS") <= in_own_process(resident, "VmHWM") * 1.5
