from pathlib import Path

import pytest

from auscult.core.testing import assert_self_contained, run_command
from auscult.ehr_prompt.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_the_page_stands_alone_and_says_that_no_model_was_asked(demo):
    page = Path(demo["report"]).read_text("utf-8")
    assert_self_contained(page)
    assert "No language model was asked" in page
    for words in (
        "bundled cohort",
        "first visit",
        "last visit",
        "random forest, 10-shot",
        "Lactate dehydrogenase",
        "abstained",
    ):
        assert words in page


def test_the_scores_are_complete(demo):
    for result in demo["scores"].values():
        assert result["n"] == 217
        assert 0.9 < result["coverage"] <= 1
        assert sum(result["status"].values()) == 217
        for metrics in (*result["policies"].values(), *result["baselines"].values()):
            assert set(metrics) == {"auroc", "auprc", "minpse", "f1", "accuracy", "brier", "ece"}
            assert all(m["ci"][0] <= m["value"] <= m["ci"][1] for m in metrics.values())


def test_again_it_reuses_the_runs_and_writes_the_same_page(demo):
    page = Path(demo["report"])
    before = page.read_bytes()
    assert run_demo(page.parent) == demo
    assert page.read_bytes() == before


def test_the_commands(demo, command, tmp_path):
    folder = demo["runs"]["first visit"]
    scored = run_command("-m", "auscult.ehr_prompt", "score", folder, "--json")
    assert scored.returncode == 0
    assert '"coverage"' in scored.stdout
    page = tmp_path / "page.html"
    both = (folder, demo["runs"]["last visit"])
    assert command("report", *both, "--out", page).returncode == 0
    assert_self_contained(page.read_text("utf-8"))
    assert "AUROC minus that of first" in page.read_text("utf-8")


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
