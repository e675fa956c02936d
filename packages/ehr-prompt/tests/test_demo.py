from pathlib import Path

import pytest

from auscult.core.testing import assert_one_sentence, assert_self_contained, files_below, run_command
from auscult.ehr_prompt.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_the_page_stands_alone_and_says_that_no_model_was_asked(demo):
    page = Path(demo["report"]).read_text("utf-8")
    assert_self_contained(page)
    assert "No language model was asked" in page
    for words in ("first visit", "last visit", "random forest, 10-shot", "Lactate dehydrogenase", "abstained"):
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


def test_the_commands(demo, tmp_path):
    folder = demo["runs"]["first visit"]
    shown = run_command("-m", "auscult.ehr_prompt", "render", "--subject", "12", "--window", "first")
    assert shown.returncode == 0, shown
    assert "The patient in question:" in shown.stdout
    assert "tokens" in shown.stderr
    scored = run_command("-m", "auscult.ehr_prompt", "score", folder, "--json")
    assert scored.returncode == 0
    assert '"coverage"' in scored.stdout
    page = tmp_path / "page.html"
    assert run_command("-m", "auscult.ehr_prompt", "report", folder, "--out", page).returncode == 0
    assert_self_contained(page.read_text("utf-8"))
    dry = run_command("-m", "auscult.ehr_prompt", "run", "--out", tmp_path / "x", "--dry-run")
    assert "prompts 217" in dry.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--layout", "strin"], "layout"),
        (["--backend", "openai"], "--model"),
        (["--model", "m"], "--backend openai"),
        (["--data", "tjhh"], "tjh"),
        (["--panel", "nope"], "nope"),
        (["--horizon", "1month"], "mortality_1month"),
        (["--shots", "500"], "500 examples"),
        (["--split", "nowhere.json"], "nowhere.json"),
        (["--backend", "openai", "--model", "m", "--base-url", "localhost"], "web address"),
        (["--max-cost", "1"], "price"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, word):
    assert_one_sentence(run_command("-m", "auscult.ehr_prompt", "run", "--out", tmp_path / "run", *arguments), word)
    assert files_below(tmp_path) == {}


def test_another_configuration_in_the_same_folder_is_refused(demo):
    folder = Path(demo["runs"]["first visit"])
    before = files_below(folder)
    refused = run_command("-m", "auscult.ehr_prompt", "run", "--out", folder, "--layout", "list")
    assert_one_sentence(refused, "layout", "another")
    after = files_below(folder)
    assert {name: after[name] for name in before if "sqlite" not in name} == {
        name: digest for name, digest in before.items() if "sqlite" not in name
    }


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
