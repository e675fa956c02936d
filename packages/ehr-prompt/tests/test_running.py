import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from auscult.core.config import load_config
from auscult.core.errors import InputError
from auscult.core.runs import RunStore
from auscult.core.testing.server import Fail, Hang, Reset, ScriptedServer
from auscult.ehr_prompt import baselines
from auscult.ehr_prompt.ablation import read_grid
from auscult.ehr_prompt.config import PromptConfig, RunConfig
from auscult.ehr_prompt.costs import Price, find_price
from auscult.ehr_prompt.planning import plan_questions, prepare
from auscult.ehr_prompt.running import make_backend, run
from auscult.ehr_prompt.scoring import read_answers, score

SERVER = {"first_wait": 0.001, "timeout": 5.0, "attempts": 4}
MADE = {}  # baselines, trained once for all runs with the same window and task


def ldh(body):
    """Return the last LDH value that the prompt shows, in whatever layout."""
    text = body["messages"][-1]["content"].split("The patient in question:")[1]
    values = re.findall(r"- Lactate dehydrogenase: (.+)", text)[-1]
    return float(re.findall(r"[\d.]+", values)[-1])


def oracle(body, number):
    return f"{ldh(body) / 2000:.6f}"


def settings(server, **prompt):
    return RunConfig(backend="openai", model="m", base_url=server.base_url, prompt=PromptConfig(**prompt))


def ask(config, folder, tjh=None, **options):
    prepared = prepare(config, tjh)
    return run(config, folder, make_backend(config, prepared, **SERVER), prepared=prepared, baselines=MADE, **options)


@pytest.mark.parametrize("layout", ["string", "list", "batches"])
@pytest.mark.parametrize(("window", "expected"), [("last", 0.9933), ("first", 0.9334)])
def test_a_server_that_reads_ldh_ranks_as_ldh_does(tmp_path, tjh, window, expected, layout):
    """Rendering, transport, parsing and scoring at once; the numbers are those of the variable alone."""
    with ScriptedServer(oracle) as server:
        outcome = ask(settings(server, window=window, layout=layout, units=True, ranges="paper"), tmp_path, tjh)
    result = score(tmp_path, n_boot=20)
    assert (outcome.planned, outcome.failed, result["n"], result["coverage"]) == (217, 0, 217, 1.0)
    assert result["policies"]["exclude"]["auroc"]["value"] == pytest.approx(expected, abs=5e-5)
    assert len(server.bodies) == outcome.stored <= 217


def test_a_troubled_server_gives_the_same_table(tmp_path, tjh):
    dice = random.Random(3)

    def troubled(body, number):
        faults = [Fail(500), Fail(429, {"Retry-After": "0.01"}), Fail(503), Reset(), Reset(5), Hang(0.6, "late")]
        return dice.choice(faults) if dice.random() < 0.3 else oracle(body, number)

    tables = []
    for name, behave in (("clean", oracle), ("troubled", troubled)):
        with ScriptedServer(behave) as server:
            prepared = prepare(settings(server, window="first"), tjh)
            backend = make_backend(settings(server), prepared, first_wait=0.001, attempts=20, timeout=0.5)
            run(settings(server, window="first"), tmp_path / name, backend, prepared=prepared, baselines=MADE)
        tables.append(read_answers(tmp_path / name).table.drop(columns="key"))
    assert tables[0].equals(tables[1])


def test_the_key_is_in_no_file_of_a_run(tmp_path, tjh, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-0123456789abcdef")
    with ScriptedServer(oracle) as server:
        config = settings(server, window="first").model_copy(update={"request": {"top_p": 0.9, "max_tokens": None}})
        prepared = prepare(config, tjh)
        run(
            config,
            tmp_path / "run",
            make_backend(config, prepared, api_key_env="MY_KEY"),
            prepared=prepared,
            baselines=MADE,
        )
        assert server.headers[0]["Authorization"] == "Bearer sk-secret-0123456789abcdef"
        assert server.bodies[0]["top_p"] == 0.9
        assert "max_tokens" not in server.bodies[0]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_numbers_beyond_their_range_count_only_where_that_is_asked_for(tmp_path, tjh):
    with ScriptedServer(lambda body, number: "1.2" if number % 2 else "0,25") as server:
        ask(settings(server, window="first"), tmp_path, tjh)
    assert score(tmp_path, n_boot=10)["coverage"] == 0
    assert score(tmp_path, n_boot=10, clamp=True, decimal_comma=True)["coverage"] == 1


def test_a_second_call_asks_nothing(tmp_path, tjh):
    with ScriptedServer(oracle) as server:
        first = ask(settings(server, window="first"), tmp_path, tjh)
        asked = len(server.bodies)
        second = ask(settings(server, window="first"), tmp_path, tjh)
        assert len(server.bodies) == asked
    assert (second.stored, second.reused) == (0, first.stored)


def test_failures_are_asked_again_and_nothing_else_is(tmp_path, tjh):
    with ScriptedServer(lambda body, number: Fail(400) if number % 3 == 0 else oracle(body, number)) as server:
        config = settings(server, window="first")
        first = ask(config, tmp_path, tjh)
        result = score(tmp_path, n_boot=20)
        assert result["status"] == {"ok": 217 - first.failed, "transport_error": first.failed}
        server._behave = oracle
        second = ask(config, tmp_path, tjh)
    assert first.failed > 50
    assert (second.stored, second.failed) == (first.failed, 0)
    assert score(tmp_path, n_boot=20)["coverage"] == 1.0


@pytest.mark.parametrize(("behave", "status"), [("I do not know.", "abstained"), (Fail(500), "transport_error")])
def test_a_server_that_never_helps_gives_no_metric_and_no_crash(tmp_path, tjh, behave, status):
    with ScriptedServer(lambda body, number: behave) as server:
        ask(settings(server, window="first"), tmp_path, tjh)
    result = score(tmp_path, n_boot=20)
    assert (result["n"], result["coverage"], result["status"]) == (217, 0.0, {status: 217})
    assert set(result["policies"]["exclude"].values()) == {None}
    assert result["policies"]["impute_half"]["accuracy"]["value"] == pytest.approx(100 / 217)
    assert result["policies"]["impute_half"]["f1"]["value"] == pytest.approx(200 / 317)
    assert result["policies"]["worst_case"]["auroc"]["value"] == 0
    assert result["baselines"]["random forest, full"]["auroc"]["value"] > 0.9
    json.dumps(result, allow_nan=False)


LIVES = """
import json, os, sys
from pathlib import Path
import aiohttp  # once, for all lives
from auscult.ehr_prompt import RunConfig, prepare, run
config = RunConfig.model_validate_json(sys.argv[1])
prepared = prepare(config)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(config, Path(sys.argv[2]), prepared=prepared)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_twenty_times_it_repeats_no_stored_call_and_ends_with_the_same_table(tmp_path, tjh, few):
    """2,170 prompts; each life of the run is a process that is killed (SIGKILL) at a random moment."""
    dice = random.Random(11)
    with ScriptedServer(lambda body, number: Hang(0.002, oracle(body, number))) as server:
        config = settings(server, window="first").model_copy(
            update={"samples": 10, "temperature": 1.0, "panel": few["panel"]}
        )
        prepared = prepare(config, tjh)
        run(config, tmp_path / "whole", prepared=prepared, baselines=MADE)
        plan = plan_questions(config, prepared)
        sent = {}
        for row, sample, key in zip(plan["row"], plan["sample"], plan["key"], strict=True):
            [case] = prepared.renderer.cases([row])
            sent[key] = (prepared.renderer.prompt(case).user, sample)
        assert len(plan) == 2170
        assert len(server.bodies) == len(sent) > 2000
        command = [sys.executable, "-c", LIVES, config.model_dump_json(), str(tmp_path / "killed")]
        driver = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        stored, kills, done = set(), 0, None
        while done != 0:
            start = len(server.bodies)
            driver.stdin.write("live\n")
            driver.stdin.flush()
            child = int(driver.stdout.readline())
            if kills < 20:
                wanted, until = start + dice.randint(0, 90), time.monotonic() + 60
                while len(server.bodies) < wanted and time.monotonic() < until:
                    time.sleep(0.002)
                time.sleep(dice.random() * 0.02)
                os.kill(child, signal.SIGKILL)
                kills += 1
            done = int(driver.stdout.readline())
            time.sleep(0.05)  # what the dead process had sent still arrives
            asked = [(body["messages"][-1]["content"], body["seed"]) for body in server.bodies[start:]]
            assert not set(asked) & {sent[key] for key in stored}
            if (tmp_path / "killed/manifest.json").exists():
                with RunStore.read(tmp_path / "killed") as store:
                    stored = set(store)
        driver.stdin.close()
        driver.stdout.close()
        driver.wait()
    assert kills == 20
    one, other = (read_answers(tmp_path / name).table for name in ("whole", "killed"))
    assert one.equals(other)


def _cases(prepared):
    return prepared.renderer.cases(prepared.parts["test"])


def test_a_cost_limit_is_not_passed(tmp_path, tjh):
    price = Price(date="2024-01-25", input=10.0, output=30.0)
    with ScriptedServer(oracle) as server:
        config = settings(server, window="first")
        outcome = ask(config, tmp_path, tjh, price=price, max_cost=0.5)
        assert 0 < outcome.stored < 217
        assert "0.5 USD" in outcome.stopped
        result = score(tmp_path, price=price, n_boot=20)
        assert result["cost"] <= 0.5
        assert result["tokens"]["estimated"] == 0
        with pytest.raises(InputError, match="price of 'm'"):
            ask(config, tmp_path, tjh, max_cost=1)
    assert find_price("gpt-4-1106-preview").cost(1000, 1000) == pytest.approx(0.04)
    assert find_price("unheard-of") is None


def test_a_server_that_does_not_count_takes_no_run_beyond_its_limit(tmp_path, tjh):
    price = Price(date="2024-01-25", input=10.0, output=30.0)
    uncounted = Fail(200, {}, '{"choices": [{"message": {"content": "0.3"}, "finish_reason": "stop"}]}')
    with ScriptedServer(lambda body, number: uncounted) as server:
        config = settings(server, window="first")
        first = ask(config, tmp_path, tjh, price=price, max_cost=0.5)
        again = ask(config, tmp_path, tjh, price=price, max_cost=0.5)
    assert 0 < first.stored < 217
    assert (again.stored, again.cost) == (0, pytest.approx(first.cost))
    result = score(tmp_path, price=price, n_boot=20)
    assert result["cost"] == pytest.approx(first.cost)
    assert result["tokens"]["estimated"] == first.stored
    assert result["tokens"]["completion"] == 64 * first.stored


def test_a_context_that_is_too_small_asks_nothing(tmp_path, tjh):
    with ScriptedServer(oracle) as server:
        config = settings(server, window="full").model_copy(update={"context": 300})
        outcome = ask(config, tmp_path, tjh)
        assert server.bodies == []
    assert outcome.stored == 0
    assert score(tmp_path, n_boot=20)["status"] == {"too_long": 217}


def test_samples_are_separate_questions_and_their_mean_counts(tmp_path, tjh):
    answers = ["0.2", "0.4", "I do not know"]
    with ScriptedServer(lambda body, number: answers[body["seed"]]) as server:
        config = settings(server, window="first").model_copy(update={"samples": 3, "temperature": 1.0})
        outcome = ask(config, tmp_path, tjh)
    assert outcome.planned == 3 * 217
    table = read_answers(tmp_path).table
    assert len(table) == 217
    assert [value[0] for value in table["value"]] == pytest.approx([0.3] * 217)


def test_lengths_of_stay_as_a_list_and_causally(tmp_path, tjh):
    """The constant 6 has the mean absolute error of the TJH test visits that the method's notes give: 5.09."""

    def six(body, number):
        visits = re.findall(r"Visits: (\d+)", body["messages"][-1]["content"])[-1]
        return ", ".join(["6"] * int(visits))

    for task, behave, n in (("los", six, 217), ("los_causal", lambda body, number: "6", 986)):
        with ScriptedServer(behave) as server:
            ask(settings(server, task=task), tmp_path / task, tjh)
        result = score(tmp_path / task, n_boot=20)
        assert (result["n"], result["labelled"], result["coverage"]) == (n, n, 1.0)
        assert result["policies"]["exclude"]["mae"]["value"] == pytest.approx(5.09, abs=0.005)
        assert result["baselines"]["train median"]["mae"]["value"] == pytest.approx(5.09, abs=0.005)


def test_a_list_of_the_wrong_length_is_said(tmp_path, tjh):
    with ScriptedServer(lambda body, number: "6, 6") as server:
        ask(settings(server, task="los"), tmp_path, tjh)
    status = score(tmp_path, n_boot=20)["status"]
    fitting = int((tjh.length[_test_rows(tjh)] == 2).sum())
    assert status == {"ok": fitting, "wrong_length": 217 - fitting}


def _test_rows(tjh):
    return prepare(RunConfig(), tjh).parts["test"]


def test_the_baselines_are_those_of_the_paper_s_split(tmp_path, tjh, monkeypatch):
    """Values of the same models on the same split and input, from the method's notes."""
    monkeypatch.setattr(baselines, "TREES", 100)
    for window, expected in (
        ("last", {"random forest, 10-shot": 0.991, "random forest, full": 0.998, "boosting, 10-shot": 0.944,
                  "Lactate dehydrogenase alone": 0.9933}),
        ("first", {}),
    ):  # fmt: skip
        config = RunConfig(prompt=PromptConfig(window=window))
        prepared = prepare(config, tjh)
        run(config, tmp_path / window, make_backend(config, prepared), prepared=prepared)
        found = score(tmp_path / window, n_boot=20)["baselines"]
        assert len(found) == 7
        for name, value in expected.items():
            assert found[name]["auroc"]["value"] == pytest.approx(value, abs=0.006)


def test_identical_systems_differ_by_nothing(tmp_path, tjh):
    from auscult.core.risk import compare

    rng = np.random.default_rng(0)
    label, risk = rng.integers(0, 2, 80), rng.random(80)
    assert compare(label, risk, risk, metrics=("auroc",), n_boot=50, seed=0)["auroc"].to_dict() == {
        "value": 0,
        "ci": [0, 0],
    }


def test_the_reference_range_scorer_is_the_mean_deviation(tjh):
    from auscult.ehr_prompt.backends.reference_range import deviation

    config = RunConfig(prompt=PromptConfig(window="first"))
    prepared = prepare(config, tjh)
    backend = make_backend(config, prepared)
    described = prepared.renderer.panel.describe(tjh, "corrected")
    for case in _cases(prepared)[:30]:
        sex = ("female", "male")[int(tjh.static[case.row, 0])]
        found = []
        for column, one in described.items():
            value = tjh.values[case.row, 0, column]
            for bounds in one.ranges:
                if not np.isnan(value) and bounds.sex in (None, sex):
                    found.append(deviation(float(value), bounds.low, bounds.high))
        assert backend.score(case) == (pytest.approx(np.mean(found)) if found else None)
    assert [deviation(v, 10, 20) for v in (10, 15, 20, 40, 400, 5, 0)] == [0, 0, 0, 1, 1, 1, 1]


def test_reasoning_has_room_wherever_a_configuration_comes_from():
    thinking = {"reasoning": True}
    assert RunConfig().max_tokens == RunConfig(max_tokens=None).max_tokens == 64
    assert RunConfig(prompt=PromptConfig(**thinking)).max_tokens == 2048
    assert RunConfig(prompt=PromptConfig(**thinking), max_tokens=100).max_tokens == 100
    assert load_config(RunConfig, {"prompt": thinking, "max_tokens": None}).max_tokens == 2048
    conditions = read_grid({"grid": {"reasoning": [False, True]}})
    assert [one.config.max_tokens for one in conditions] == [64, 2048]


def test_wrong_settings_are_one_sentence(tmp_path, tjh):
    for wrong, word in [
        ({"backend": "openai", "model": "m"}, "base_url"),
        ({"prompt": {"task": "los"}}, "one risk"),
        ({"model": "m"}, "no model"),
        ({"base_url": "http://x/v1"}, "backend openai"),
        ({"backend": "local", "model": "m", "samples": 3}, "temperature above 0"),
        ({"prompt": {"reply": "digit"}}, "ask a model"),
        ({"request": {"max_tokens": None, "max_completion_tokens": 500}}, "both the same number"),
        ({"prompt": {"reply": "yes_no"}}, "ask a model"),
        ({"backend": "local", "model": "m", "prompt": {"task": "los", "reply": "digit"}}, "one event"),
    ]:
        with pytest.raises(InputError, match=word):
            load_config(RunConfig, wrong)
    with pytest.raises(InputError, match="no run"):
        read_answers(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        prepare(RunConfig(split=str(tmp_path / "none.json")), tjh)
