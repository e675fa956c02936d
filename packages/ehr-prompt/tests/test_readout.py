"""Probabilities from log-probabilities, through a server and from the text of tokens."""

import math

import pytest

from auscult.core.testing.server import Completion, ScriptedServer
from auscult.ehr_prompt import PromptConfig, RunConfig, prepare, read_probability, run, score


def logs(**shares):
    return {token.replace("_", " "): math.log(share) for token, share in shares.items()}


@pytest.mark.parametrize(
    ("form", "places", "status", "value"),
    [
        ("yes_no", [logs(Yes=0.6, No=0.2)], "ok", 0.75),
        ("yes_no", [logs(_yes=0.3, YES=0.3, No=0.2)], "ok", 0.75),
        ("yes_no", [logs(No=0.9)], "ok", 0.0),
        ("yes_no", [{"\n": math.log(0.9), "x": -9.0}, logs(Yes=0.5, No=0.5)], "ok", 0.5),
        ("yes_no", [logs(The=0.9, a=0.05), logs(Yes=0.9)], "malformed", None),
        ("yes_no", [], "malformed", None),
        ("digit", [logs(**{"0": 0.25, "9": 0.75})], "ok", 0.75),
        ("digit", [logs(**{"3": 0.5, "6": 0.5, "x": 0.1})], "ok", 0.5),
    ],
)
def test_the_share_of_the_words_is_the_probability(form, places, status, value):
    parsed = read_probability("x", places, form)
    assert parsed.status == status
    assert parsed.value == (None if value is None else (pytest.approx(value),))
    assert bool(parsed.reason) is (value is None)


def test_a_run_reads_them(tmp_path, tjh):
    def behave(body, number):
        assert body["logprobs"] is True
        assert '"Yes" if you expect' in body["messages"][-1]["content"]
        if number == 0:
            return "I do not know."
        return Completion("Yes", logprobs=[logs(Yes=0.8, No=0.2)])

    with ScriptedServer(behave) as server:
        prompt = PromptConfig(window="first", reply="yes_no")
        config = RunConfig(backend="openai", model="m", base_url=server.base_url, prompt=prompt)
        run(config, tmp_path, prepared=prepare(config, tjh))
    result = score(tmp_path, n_boot=10)
    assert result["status"] == {"abstained": 1, "ok": 216}
    assert result["policies"]["exclude"]["brier"]["value"] == pytest.approx(
        (0.2**2 * 100 + 0.8**2 * 117) / 217, abs=0.01
    )


def test_a_server_without_log_probabilities_gives_no_number(tmp_path, tjh):
    with ScriptedServer(lambda body, number: "Yes") as server:
        prompt = PromptConfig(window="first", reply="digit")
        config = RunConfig(backend="openai", model="m", base_url=server.base_url, prompt=prompt)
        run(config, tmp_path, prepared=prepare(config, tjh))
    assert score(tmp_path, n_boot=10)["status"] == {"malformed": 217}
