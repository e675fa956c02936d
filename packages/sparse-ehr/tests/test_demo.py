"""The demonstration and its page."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult.core.data import load_cohort
from auscult.core.risk import auroc
from auscult.core.testing import assert_self_contained
from auscult.sparse_ehr import PrismClassifier, demo


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Run it with a small network: the page is the same, the numbers are not."""
    patch = pytest.MonkeyPatch()
    patch.setattr(demo, "OPTIONS", {**demo.OPTIONS, "n_members": 1, "channel": 3, "hidden": 4, "max_epochs": 2})
    yield demo.run_demo(tmp_path_factory.mktemp("demo"))
    patch.undo()


def test_only_patients_at_risk_count_and_nothing_later_is_known():
    cohort = load_cohort("tjh")
    chosen = demo.at_risk(cohort, 4)
    assert len(chosen) == 284
    assert set(chosen.labels) == {"mortality"}
    last = {
        r: np.nanmax(cohort.time[i] / 24 + cohort.labels["los_days"][i])
        for i, r in enumerate(cohort.record_id.tolist())
    }
    assert all(last[record] > 4 for record in chosen.record_id.tolist())
    assert np.nanmax(chosen.time) == 72
    early = cohort.select(np.isin(cohort.record_id, chosen.record_id))
    late = np.where((early.time >= 96)[..., None] & ~np.isnan(early.values), early.values + 1.0, early.values)
    again = demo.at_risk(dataclasses.replace(early, values=late), 4)
    np.testing.assert_array_equal(np.sort(again.values.ravel()), np.sort(chosen.values.ravel()))


def test_the_page_shows_all_that_it_should(result):
    page = Path(result["report"]).read_text("utf-8")
    assert_self_contained(page)
    for words in ("Discrimination", "Calibration", "How far each value was trusted", "Similar patients", "Prototypes",
                  "logistic regression", "What this does not say"):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") == 4


def test_its_numbers_are_those_of_its_files(result):
    assert (result["n"], result["events"]) == (284, 107)
    assert json.loads(json.dumps(result)) == result
    assert set(result["measures"]) == {"stack", "PRISM alone", "LightGBM alone", "logistic regression"}
    for measured in result["measures"].values():
        assert all(m["ci"][0] <= m["value"] <= m["ci"][1] for m in measured.values())
    table = pd.read_parquet(result["predictions"])
    assert len(table) == 284
    cohort = load_cohort("tjh")
    label = dict(zip(cohort.subject_id.tolist(), cohort.labels["mortality"].tolist(), strict=True))
    found = auroc([label[s] for s in table["subject_id"]], table["probability"])
    assert found == pytest.approx(result["measures"]["stack"]["auroc"]["value"])
    assert PrismClassifier.load(result["model"]).n_steps_in_ == 4


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_in_a_browser(result, width):
    from auscult.core.testing.browser import find_chromium, open_in_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on the path")
    page = open_in_chromium(Path(result["report"]), width)
    assert page.console_errors == []
    assert page.requests == []
    assert page.scroll_width <= width
