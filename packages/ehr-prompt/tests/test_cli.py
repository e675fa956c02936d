"""The command: what it prints, and how it refuses what it cannot use."""

import json

import pytest

from auscult.core.testing import assert_one_sentence, files_below
from auscult.core.testing.server import Fail, ScriptedServer


def test_a_prompt_is_shown_as_it_would_be_sent(command):
    shown = command("render", "--subject", "12", "--window", "first", "--units", "--ranges", "corrected")
    assert shown.returncode == 0, shown
    assert "The patient in question:" in shown.stdout
    assert "tokens" in shown.stderr
    [one] = json.loads(command("render", "--subject", "12", "--window", "first", "--json").stdout)
    assert [message["role"] for message in one["messages"]] == ["system", "user"]
    assert one["fits"] is True
    assert one["tokens"] > 500


def test_every_setting_of_a_prompt_can_be_reached(command):
    shown = command(
        "render", "--subject", "12", "--window", "last_before", "--last-k", "2", "--before-hours", "48", "--layout",
        "list", "--missing", "delta", "--shots", "2", "--examples", "hand", "--example-variables", "2", "--reply",
        "json", "--reasoning", "--no-abstain", "--times", "dates", "--context", "8000", "--panel", "tjh",
    )  # fmt: skip
    assert shown.returncode == 0, shown
    assert shown.stdout.count("EXAMPLE") == 2
    assert "2020-" in shown.stdout
    assert "do not know" not in shown.stdout.split("TASK")[1].split("Reply")[0]


def test_a_dry_run_counts_and_prices_and_asks_nothing(command, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices: {m: {date: 2026-01-31, input: 2, output: 8}}\n")
    counted = command(
        "run", "--out", tmp_path / "run", "--window", "first", "--backend", "openai", "--model", "m", "--base-url",
        "http://127.0.0.1:9/v1", "--prices", prices, "--dry-run", "--json",
    )  # fmt: skip
    found = json.loads(counted.stdout)
    assert found["prompts"] == 217
    assert found["reply_tokens_at_most"] == 64 * found["prompts"]
    assert found["cost_at_most"] == pytest.approx((2 * found["tokens"] + 8 * found["reply_tokens_at_most"]) / 1e6)
    assert not (tmp_path / "run").exists()


MEASUREMENTS = "subject,time,code,value\n" + "".join(
    f"{who},{hour},LDH,{200 + 10 * who + hour}\n{who},{hour},K,{3 + who % 3}\n" for who in range(40) for hour in (0, 24)
)
LABELS = "subject,mortality,mortality_1month\n" + "".join(f"{who},{who % 2},{who % 2}\n" for who in range(40))


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.csv").write_text(MEASUREMENTS)
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "panel.yaml").write_text(
        "name: mine\npersona: You are a nephrologist.\nfeatures:\n"
        "- {name: LDH, display: lactate dehydrogenase, unit: U/L, range: '140 - 280'}\n"
    )
    data = ("--data", f"table:{tmp_path}/mine.csv", "--data-option", f"labels={tmp_path}/labels.csv")
    return (*data, "--panel", tmp_path / "panel.yaml")


def test_a_table_of_one_s_own_is_rendered_run_and_scored(command, own, tmp_path):
    shown = command("render", "--subject", "3", *own, "--units", "--horizon", "1month")
    assert shown.returncode == 0, shown
    assert '- lactate dehydrogenase: "230, 254"' in shown.stdout
    assert "within one month after it" in shown.stdout
    done = command("run", "--out", tmp_path / "run", *own, "--horizon", "1month")
    assert done.returncode == 0, done
    scored = json.loads(command("score", tmp_path / "run", "--json").stdout)
    assert scored["n"] == 24
    assert scored["coverage"] == 1.0
    assert set(scored) >= {"n", "coverage", "status", "policies", "baselines", "tokens", "cost"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("baselines.parquet", ["baselines.parquet", "missing", "start the run again"]),
        ("plan.parquet", ["plan.parquet", "missing", "start the run again"]),
        ("plan.json", ["plan.json", "missing", "start the run again"]),
        ("records.sqlite", ["lost its answers"]),
    ],
)
def test_a_damaged_folder_is_said_and_mended_where_it_can_be(command, own, tmp_path, name, words):
    folder = tmp_path / "run"
    assert command("run", "--out", folder, *own).returncode == 0
    before = command("score", folder, "--json").stdout
    (folder / name).unlink()
    for one in (("score", folder), ("report", folder, "--out", tmp_path / "page.html")):
        assert_one_sentence(command(*one), *words)
    if name != "records.sqlite":
        (folder / name).write_text("no such file")
        assert_one_sentence(command("score", folder), name, "damaged")
    assert command("run", "--out", folder, *own).returncode == 0
    assert command("score", folder, "--json").stdout == before
    assert_one_sentence(command("score", folder / "plan.json"), "no folder")


def test_a_score_is_readable_without_json(command, own, tmp_path):
    assert command("run", "--out", tmp_path / "run", *own).returncode == 0
    said = command("score", tmp_path / "run").stdout
    assert said.startswith("24 questions, 24 with a label, coverage 100.0%: ok 24\n")
    assert "\nrandom forest, full: auroc " in said
    assert "{" not in said
    assert command("report", tmp_path / "run", "--out", tmp_path / "page.html").returncode == 0
    assert "bundled cohort" not in (tmp_path / "page.html").read_text("utf-8")


def test_a_dry_run_counts_what_is_still_to_be_asked(command, few, tmp_path):
    parts = ("--split", few["split"], "--panel", few["panel"], "--attempts", "1", "--json")
    with ScriptedServer(lambda body, number: "0.5" if number < 2 else Fail(400)) as server:
        done = json.loads(command(*asked(server, tmp_path, *parts, "--concurrency", "1")).stdout)
        dry = json.loads(command(*asked(server, tmp_path, *parts, "--dry-run")).stdout)
    assert (done["stored"], done["failed"]) == (2, 4)
    assert (dry["prompts"], dry["reused"], dry["reply_tokens_at_most"]) == (4, 2, 4 * 64)


def test_a_page_names_every_run_it_was_given(command, own, tmp_path, monkeypatch):
    for name in ("a", "b"):
        assert command("run", "--out", tmp_path / name / "run", *own).returncode == 0
    page = tmp_path / "page.html"
    assert command("report", tmp_path / "a/run", tmp_path / "b/run", "--out", page).returncode == 0
    for name in ("a", "b"):
        assert f"Condition: {tmp_path}/{name}/run" in page.read_text("utf-8")
    monkeypatch.chdir(tmp_path / "a/run")
    assert command("report", ".", "--out", page).returncode == 0
    assert "Condition: run" in page.read_text("utf-8")


def test_a_score_says_how_many_have_a_label(command, own, tmp_path):
    lines = [line if int(line.split(",")[0]) % 5 else f"{line.split(',')[0]},," for line in LABELS.splitlines()[1:]]
    (tmp_path / "labels.csv").write_text("\n".join([LABELS.splitlines()[0], *lines]) + "\n")
    assert command("run", "--out", tmp_path / "run", *own).returncode == 0
    scored = json.loads(command("score", tmp_path / "run", "--json").stdout)
    assert (scored["n"], scored["coverage"]) == (24, 1.0)
    assert 0 < scored["labelled"] < 24
    assert command("report", tmp_path / "run", "--out", tmp_path / "page.html").returncode == 0
    assert "with a label" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--layout", "strin"], ["layout"]),
        (["--backend", "openai"], ["--model"]),
        (["--backend", "openai", "--model", "m"], ["base_url"]),
        (["--model", "m"], ["no model"]),
        (["--data", "tjhh"], ["tjh"]),
        (["--data-option", "sheet"], ["NAME=VALUE"]),
        (["--data-option", "sheet=["], ["--data-option", "no YAML"]),
        (["--request-field", "top_p={a: b: c}"], ["--request-field", "no YAML"]),
        (["--data-option", "shet=110"], ["shet", "sheet"]),
        (["--panel", "nope"], ["nope", "tjh"]),
        (["--horizon", "1month"], ["mortality_1month"]),
        (["--task", "readmission"], ["'readmission'"]),
        (["--shots", "500"], ["500 examples"]),
        (["--shots", "4", "--examples", "hand"], ["4 examples", "has 3"]),
        (["--split", "nowhere.json"], ["nowhere.json"]),
        (["--backend", "openai", "--model", "m", "--base-url", "localhost"], ["web address"]),
        (["--max-cost", "1"], ["price"]),
        (["--samples", "3", "--backend", "openai", "--model", "m", "--base-url", "http://x/v1"], ["temperature"]),
        (["--window", "first48h", "--bins", "12"], ["bins"]),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(command, tmp_path, arguments, words):
    assert_one_sentence(command("run", "--out", tmp_path / "run", *arguments), *words)
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("230\n", "high\n", ["'high'"]),
        ("subject,time,code,value", "patient,time,code,value", ["subject"]),
    ],
)
def test_a_wrong_table_is_one_sentence(command, own, tmp_path, old, new, words):
    (tmp_path / "mine.csv").write_text(MEASUREMENTS.replace(old, new, 1))
    before = files_below(tmp_path)
    assert_one_sentence(command("run", "--out", tmp_path / "run", *own), *words)
    assert files_below(tmp_path) == before


def test_an_unknown_feature_in_a_panel_names_the_nearest(command, tmp_path):
    (tmp_path / "panel.yaml").write_text("name: x\npersona: P\nfeatures:\n- {name: albumine}\n")
    refused = command("run", "--out", tmp_path / "run", "--panel", tmp_path / "panel.yaml")
    assert_one_sentence(refused, "albumine", "'albumin'")


def asked(server, tmp_path, *more):
    base = ("--window", "first", "--backend", "openai", "--model", "m", "--base-url", server.base_url)
    return ("run", "--out", tmp_path / "run", *base, *more)


@pytest.mark.parametrize(("status", "words"), [(404, ["/v1"]), (401, ["OPENAI_API_KEY"])])
def test_a_wrong_address_or_key_is_one_sentence_after_few_requests(command, tmp_path, status, words):
    with ScriptedServer(lambda body, number: Fail(status)) as server:
        assert_one_sentence(command(*asked(server, tmp_path)), *words)
        assert len(server.bodies) <= 32


def test_a_first_try_that_got_no_answer_does_not_claim_the_folder(command, few, tmp_path):
    parts = ("--split", few["split"], "--panel", few["panel"], "--attempts", "1")
    with ScriptedServer(lambda body, number: Fail(404)) as server:
        assert_one_sentence(command(*asked(server, tmp_path, *parts)), "/v1")
    assert (tmp_path / "run/manifest.json").exists()
    with ScriptedServer(lambda body, number: "0.5") as server:
        done = command(*asked(server, tmp_path, *parts, "--window", "last", "--json"))
        assert json.loads(done.stdout)["stored"] == 6
        assert_one_sentence(command(*asked(server, tmp_path, *parts)), "belongs to another run", "window")
        assert len(server.bodies) == 6
    scored = json.loads(command("score", tmp_path / "run", "--json").stdout)
    assert (scored["n"], scored["coverage"]) == (6, 1.0)


def test_a_folder_of_another_layout_is_refused_even_without_answers(command, own, tmp_path):
    assert command("run", "--out", tmp_path / "run", *own).returncode == 0
    manifest = tmp_path / "run/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 0'))
    (tmp_path / "run/records.sqlite").unlink()
    assert_one_sentence(command("run", "--out", tmp_path / "run", *own), "layout 0")
    assert '"schema": 0' in manifest.read_text()


@pytest.mark.parametrize("behave", ["I do not know.", Fail(500)])
def test_a_server_that_never_helps_ends_with_coverage_0_and_exit_code_1(command, tmp_path, behave):
    with ScriptedServer(lambda body, number: behave) as server:
        done = command(*asked(server, tmp_path, "--attempts", "1", "--json"))
    assert done.returncode == 1, done
    assert json.loads(done.stdout)["coverage"] == 0
    assert "no question has a usable answer" in done.stderr
    scored = command("score", tmp_path / "run", "--json")
    assert scored.returncode == 1
    found = json.loads(scored.stdout)
    assert found["coverage"] == 0
    assert set(found["policies"]["exclude"].values()) == {None}
    assert "no question has a usable answer" in scored.stderr


def test_a_grid_of_which_one_condition_has_no_answer_ends_with_exit_code_1(command, own, tmp_path):
    def behave(body, number):
        return "I do not know." if "U/L" in body["messages"][-1]["content"] else "0.5"

    _, data, _, option, _, panel = own
    with ScriptedServer(behave) as server:
        base = {
            "data": data, "data_options": {"labels": option.removeprefix("labels=")}, "panel": str(panel),
            "backend": "openai", "model": "m", "base_url": server.base_url,
        }  # fmt: skip
        (tmp_path / "grid.yaml").write_text(json.dumps({"base": base, "grid": {"units": [False, True]}}))
        done = command("ablate", tmp_path / "grid.yaml", "--out", tmp_path / "out", "--json")
    assert done.returncode == 1, done
    assert done.stderr.splitlines()[-1] == "units=true: failed: no question has a usable answer"
    assert {n: row["coverage"] for n, row in json.loads(done.stdout)["conditions"].items()} == {
        "units=false": 1.0, "units=true": 0.0,
    }  # fmt: skip


def test_a_context_too_small_for_a_patient_asks_nothing(command, tmp_path):
    with ScriptedServer(lambda body, number: "0.5") as server:
        done = command(*asked(server, tmp_path, "--context", "300"))
        assert server.bodies == []
    assert done.returncode == 1, done
    assert json.loads(command("score", tmp_path / "run", "--json").stdout)["status"] == {"too_long": 217}


def test_another_configuration_in_the_same_folder_is_refused(command, own, tmp_path):
    folder = tmp_path / "run"
    assert command("run", "--out", folder, *own).returncode == 0
    before = {name: digest for name, digest in files_below(folder).items() if "sqlite" not in name}
    refused = command("run", "--out", folder, *own, "--layout", "list")
    assert_one_sentence(refused, "layout", "another")
    assert {name: digest for name, digest in files_below(folder).items() if "sqlite" not in name} == before
    assert_one_sentence(command("score", tmp_path), "no run")
