"""A real server: transformers serve, with a tiny model made on the spot."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from auscult.ehr_prompt import PromptConfig, RunConfig, prepare, run, score

pytestmark = pytest.mark.serve


@pytest.fixture(scope="module")
def base_url(tiny_model, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "hub").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(tiny_model), "--host", "127.0.0.1"]
    log = home / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], stdout=file, stderr=file,
            env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    try:
        until = time.monotonic() + 240
        while True:
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, f"not ready: {log.read_text()[-2000:]}"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.parametrize("reply", ["text", "json"])
def test_every_answer_of_a_real_server_is_stored_and_has_a_status(base_url, tiny_model, few, tmp_path, tjh, reply):
    """The model is random, so its answers are, too: what counts is that each is there and read for what it is."""
    config = RunConfig(
        backend="openai", model=str(tiny_model), base_url=base_url, max_tokens=6, **few,
        prompt=PromptConfig(window="first", reply=reply),
    )  # fmt: skip
    outcome = run(config, tmp_path, prepared=prepare(config, tjh))
    assert (outcome.stored, outcome.failed) == (6, 0)
    result = score(tmp_path, n_boot=10)
    assert sum(result["status"].values()) == 6
    assert "transport_error" not in result["status"]
    assert result["tokens"]["completion"] > 0
