import json

import pytest

from auscult.core.errors import InputError
from auscult.core.testing import assert_one_sentence, assert_self_contained
from auscult.core.testing.server import ScriptedServer
from auscult.ehr_prompt.ablation import compare_runs, read_grid
from auscult.ehr_prompt.jobs import ablate

GRID = """
base:
  backend: openai
  model: m
  base_url: {url}
  panel: {panel}
  prompt: {{window: first}}
grid:
  layout: [string, list]
  missing: [nan, median_locf]
"""


def fixed(body, number):
    """Answer by the layout: where lists are shown, a little higher for women; else one number for all."""
    text = body["messages"][-1]["content"].split("The patient in question:")[1]
    return "0.6" if ": [" in text and "female" in text else "0.4"


@pytest.fixture(scope="module")
def ablation(tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("ablation")
    with ScriptedServer(fixed) as server:
        (folder / "grid.yaml").write_text(GRID.format(url=server.base_url, panel=few["panel"]))
        first = ablate(folder / "grid.yaml", folder / "out", {})
        asked = len(server.bodies)
        second = ablate(folder / "grid.yaml", folder / "out", {})
        assert len(server.bodies) == asked
    assert first == second
    return folder, first


def test_every_combination_is_run_and_compared_with_the_first(ablation):
    _, result = ablation
    names = list(result["conditions"])
    assert names == [
        f"layout={layout}, missing={missing}" for layout in ("string", "list") for missing in ("nan", "median_locf")
    ]
    rows = result["conditions"]
    assert rows[names[0]]["difference"] is None
    assert rows[names[1]]["difference"] == {"value": 0.0, "ci": [0.0, 0.0]}
    assert rows[names[2]]["auroc"]["value"] - rows[names[0]]["auroc"]["value"] == pytest.approx(
        rows[names[2]]["difference"]["value"]
    )
    assert rows[names[2]]["difference"]["ci"][0] < rows[names[2]]["difference"]["ci"][1]
    json.dumps(result, allow_nan=False)


def test_there_is_one_table_and_one_plot(ablation):
    folder, result = ablation
    page = (folder / "out/report.html").read_text("utf-8")
    assert_self_contained(page)
    assert page.count("<table") == 1
    assert page.count("<svg") == 1
    assert page.count("random forest, 10-shot") == 1
    lines = (folder / "out/table.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("layout,missing,n,coverage,auroc,auroc low,auroc high,")
    assert len(lines) == 5
    assert len({line.count(",") for line in lines}) == 1
    noted = json.loads((folder / "out/conditions.json").read_text())
    assert list(noted) == list(result["conditions"])
    assert all((folder / "out" / name / "manifest.json").exists() for name in noted.values())


def test_a_setting_may_be_nothing(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("base: {prompt: {window: first}}\ngrid: {context: [null, 9000]}\n")
    ablate(grid, tmp_path / "out", {})
    head, one, other = (tmp_path / "out/table.csv").read_text("utf-8").splitlines()
    assert head.count(",") == one.count(",") == other.count(",")
    assert one.startswith(",217,")
    assert other.startswith("9000,217,")


def test_windows_are_paired_by_stay(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("base: {prompt: {ranges: corrected}}\ngrid: {window: [first, last]}\n")
    rows = ablate(grid, tmp_path / "out", {})["conditions"]
    page = (tmp_path / "out/report.html").read_text("utf-8")
    for window in ("first", "last"):
        assert page.count(f"random forest, full (window={window})") == 1
    assert rows["window=last"]["difference"]["value"] == pytest.approx(0.02, abs=0.02)
    assert rows["window=last"]["difference"]["ci"][0] > -0.01


def test_each_condition_is_scored_against_its_own_labels(command, tmp_path):
    """Two horizons with opposite labels: the answers rank one as well as they fail the other."""
    labs = "".join(f"{who},0,LDH,{200 + 100 * (who % 2) + who}\n" for who in range(40))
    (tmp_path / "labs.csv").write_text("subject,time,code,value\n" + labs)
    labels = "".join(f"{who},{who % 2},{1 - who % 2}\n" for who in range(40))
    (tmp_path / "labels.csv").write_text("subject,mortality,mortality_1month\n" + labels)
    (tmp_path / "panel.yaml").write_text("name: p\npersona: P\nfeatures:\n- {name: LDH, range: 140 - 200}\n")
    base = {
        "data": f"table:{tmp_path}/labs.csv",
        "data_options": {"labels": f"{tmp_path}/labels.csv"},
        "panel": f"{tmp_path}/panel.yaml",
    }
    grid = {"horizon": ["discharge", "1month"], "window": ["first", "last"]}
    (tmp_path / "grid.yaml").write_text(json.dumps({"base": base, "grid": grid}))
    rows = ablate(tmp_path / "grid.yaml", tmp_path / "out", {})["conditions"]
    assert [row["auroc"]["value"] for row in rows.values()] == [1, 1, 0, 0]
    assert [row["difference"] and row["difference"]["value"] for row in rows.values()] == [None, 0, None, None]
    assert ["labels" in (row["unpaired"] or "") for row in rows.values()] == [False, False, True, True]
    lines = (tmp_path / "out/table.csv").read_text("utf-8").splitlines()
    assert lines[0].endswith(",unpaired")
    assert "labels" in lines[3]
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    page = tmp_path / "page.html"
    assert command("report", *sorted(folders)[:1], *sorted(folders)[-1:], "--out", page).returncode == 0
    assert "its labels are others" in page.read_text("utf-8")


def test_days_of_other_steps_are_not_paired(few, tmp_path):
    with ScriptedServer(lambda body, number: "3") as server:
        base = few | {"backend": "openai", "model": "m", "base_url": server.base_url}
        base["prompt"] = {"task": "los_causal"}
        (tmp_path / "grid.yaml").write_text(json.dumps({"base": base, "grid": {"bins": ["none", "days"]}}))
        first, other = ablate(tmp_path / "grid.yaml", tmp_path / "out", {})["conditions"].values()
    assert other["mae"]["value"] > 0
    assert (first["unpaired"], other["difference"]) == (None, None)
    assert "steps" in other["unpaired"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"grid": {"layuot": ["string"]}}, "layout"),
        ({"grid": {}}, "varies nothing"),
        ({"grid": {"layout": []}}, "one at least"),
        ({"grid": {"units": [True, True]}}, "each value once"),
        ({"grid": {"layout": ["strin"]}}, "layout"),
        ({"base": {"dta": "tjh"}, "grid": {"units": [True]}}, "data"),
        ({"base": {"prompt": [1]}, "grid": {"units": [True]}}, "base.prompt"),
        ({"bse": {}, "grid": {"units": [True]}}, "base"),
    ],
)
def test_a_wrong_grid_is_one_sentence(content, word):
    with pytest.raises(InputError, match=word):
        read_grid(content)


def test_a_folder_is_of_the_whole_configuration():
    """A mended base, such as the server's address, does not meet what an earlier one left behind."""
    folders = {
        read_grid({"base": {"prompt": {"window": window}}, "grid": {"units": [True]}})[0].folder
        for window in ("first", "last", "first")
    }
    assert len(folders) == 2
    assert all(name.startswith("units-true-") for name in folders)


def test_the_command_counts_and_refuses(command, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("grid: {window: [first, last], ranges: [paper, corrected]}\n")
    dry = command("ablate", grid, "--dry-run")
    assert dry.returncode == 0, dry
    assert "868 prompts" in dry.stdout
    assert list(tmp_path.iterdir()) == [grid]
    grid.write_text("grid: {windw: [first]}\n")
    assert_one_sentence(command("ablate", grid), "windw", "window")


def test_runs_about_different_things_are_not_compared(ablation, few, tmp_path):
    folder, _ = ablation
    grid = tmp_path / "grid.yaml"
    with ScriptedServer(lambda body, number: "3") as server:
        base = few | {"backend": "openai", "model": "m", "base_url": server.base_url}
        grid.write_text(json.dumps({"base": base, "grid": {"task": ["los_causal"]}}))
        ablate(grid, tmp_path / "out", {"concurrency": 8})
    one = next(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    other = next(path for path in (folder / "out").iterdir() if path.is_dir())
    with pytest.raises(InputError, match="like with like"):
        compare_runs({"a": one, "b": other})
