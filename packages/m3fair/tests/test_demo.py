import json
from pathlib import Path

import pandas as pd
import pytest

from auscult.core.testing import assert_self_contained
from auscult.m3fair import CountTable
from auscult.m3fair.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_the_cells_and_weights_are_the_paper_s(demo):
    """The cohort's cells and the extreme factors as printed by the reference's TJH notebook."""
    table = CountTable.from_json(Path(demo["table"]))
    assert table.n == 361
    assert sorted(table.count.tolist()) == [7, 22, 31, 37, 39, 55, 72, 98]
    weights = pd.read_parquet(demo["weights"])["weight"]
    assert len(weights) == 361
    assert weights.min() == pytest.approx(0.5926823638, rel=1e-9)
    assert weights.max() == pytest.approx(79 * 166 / (361 * 7), rel=1e-12)


def test_label_disparities_before_are_the_published_ones_for_death_and_vanish_after(demo):
    """Notebook values count death as the outcome; survival is its complement."""
    published = {"age": 0.27816769605090774, "sex": 0.545413870246085}
    before, after = (
        {
            (item["attribute"], item["metric"]): item["value"]
            for item in demo["labels"][name]["disparities"]
            if item["pooled"] and item["metric"] in ("statistical_parity_difference", "disparate_impact")
        }
        for name in ("before", "after")
    )
    rates = {
        (next(iter(one["group"])), next(iter(one["group"].values()))): one["selection_rate"]["value"]
        for one in demo["labels"]["before"]["groups"]
        if len(one["group"]) == 1
    }
    # The reference's privileged groups are ours turned round: older and male die more often.
    for name, low, high in (("age", "up to", "above"), ("sex", "female", "male")):
        (survival_low,) = [rate for (a, value), rate in rates.items() if a == name and value.startswith(low)]
        (survival_high,) = [rate for (a, value), rate in rates.items() if a == name and value.startswith(high)]
        assert (1 - survival_low) / (1 - survival_high) == pytest.approx(published[name], rel=1e-12)
    for (_, metric), value in after.items():
        assert value == pytest.approx(1.0 if metric == "disparate_impact" else 0.0, abs=1e-12)
    assert before.keys() == after.keys()
    assert before["age", "disparate_impact"] < 0.8


def test_the_files_agree_with_the_result_and_the_page_stands_alone(demo):
    stored = json.loads(Path(demo["audit"]).read_text("utf-8"))
    assert stored["predictions"]["after"]["n"] == 361
    assert len(stored["changes"]) == 6
    for row in stored["changes"]:
        assert row["after"] - row["before"] == pytest.approx(row["change"]["value"])
        assert row["change"]["ci"][0] <= row["change"]["value"] <= row["change"]["ci"][1]
    page = Path(demo["report"]).read_text("utf-8")
    assert_self_contained(page)
    assert "favourable outcome is survival" in page


def test_the_same_bytes_again(demo, tmp_path):
    again = run_demo(tmp_path)
    for name in ("report", "audit", "table"):
        assert Path(again[name]).read_bytes() == Path(demo[name]).read_bytes(), name


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_in_a_browser(demo, width):
    from auscult.core.testing.browser import find_chromium, open_in_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on the path")
    page = open_in_chromium(Path(demo["report"]), width)
    assert page.console_errors == []
    assert page.requests == []
    assert page.scroll_width <= width
