"""The command: what it writes and prints, and how it refuses what it cannot use."""

import json

import pytest

from auscult.core import cli
from auscult.core.runs import RunStore
from auscult.o2m_attack.cli import app
from auscult.o2m_attack.targets.tiny import tiny_llava

SMALL = ("--steps", "2", "--search-width", "6", "--topk", "8", "--suffix-length", "4", "--new-tokens", "4")


@pytest.fixture
def command(capsys):
    """Return a function that runs the command and returns exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.run(app, [str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


def test_from_a_run_to_a_report(command, tmp_path, encoders):
    run = tmp_path / "run"
    code, out, _ = command(
        "run", "--model", "tiny", "--data", "demo", "--limit", "2", "--conditions", "2m,normal", "--optimizer",
        "none,mcm", "--device", "cpu", "--epsilon", "8/255", "--out", run, *SMALL, "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == {"entries": 8, "done": 8, "failed": 0, "reasons": {}}
    code, out, _ = command("transfer", run, "--model", "tiny", "--defence", "jpeg", "--json")
    assert (code, json.loads(out)["entries"]) == (0, 8)
    code, out, _ = command("judge", run, "--json")
    assert code == 0
    rates = json.loads(out)["reference39"]["rates"]
    assert all(set(row["asr"]) == {"value", "ci"} for row in rates)
    code, out, _ = command("judge", run, "--judges", "prefix")
    assert code == 0
    assert "prefix: " in out
    assert "ASR" in out
    for options, names in (
        (("--text-encoder", encoders["text"]), {"text_score"}),
        (("--image-encoder", encoders["image"], "--scale", "cos100"), {"image_score"}),
    ):
        code, out, _ = command("relevance", run, *options, "--json")
        assert code == 0
        rows = json.loads(out)
        assert len(rows) == 8
        for row in rows:
            assert set(row) == {"model", "defence", "condition", "optimizer", "n"} | names
            assert all(set(row[name]) == {"value", "ci"} for name in names)
    code, out, _ = command("relevance", run, "--text-encoder", encoders["text"])
    assert (code, out.count("\n"), out.count(": text ")) == (0, 8, 8)
    code, out, _ = command("report", run, "--out", tmp_path / "page/report.html")
    assert code == 0
    written = {path.name for path in (tmp_path / "page").iterdir()}
    assert written == {
        "report.html", *(f"report-{table}.{kind}" for table in ("entries", "steps", "replies")
                         for kind in ("jsonl", "parquet")),
    }  # fmt: skip
    page = (tmp_path / "page/report.html").read_text()
    from auscult.o2m_attack.stand_ins import demo_records

    for record in demo_records()[:2]:
        assert record.harmful_prompt not in page


def test_settings_come_from_a_file_and_from_options(command, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "steps: 1\nsearch_width: 4\ntopk: 8\nsuffix_length: 3\nnew_tokens: 2\nepsilon: 0.1\n"
    )
    (tmp_path / "t.yaml").write_text('question: "A {modality} picture of {region}. {prompt}"\n')
    code, _, _ = command(
        "run", "--model", "tiny", "--limit", "1", "--settings", tmp_path / "s.yaml", "--seed", "4", "--templates",
        tmp_path / "t.yaml", "--shard", "1/2", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    manifest = json.loads((tmp_path / "run/shard-1-of-2/manifest.json").read_text())
    attack = manifest["config"]["attack"]
    assert (attack["steps"], attack["epsilon"], attack["seed"]) == (1, 0.1, 4)
    assert manifest["config"]["templates"]["question"].startswith("A {modality}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epsilon", "8"), "8/255 may be meant"),
        (("--epsilon", "eight"), "'eight' is no number"),
        (("--conditions", "both"), "no condition 'both'"),
        (("--optimizer", "adam"), "no optimizer 'adam'"),
        (("--preset", "best"), "no preset 'best'"),
        (("--accept", "worse"), "accept is 'worse'"),
        (("--shard", "3"), "write it like 2/4"),
        (("--shard", "\u00b2/2"), "write it like 2/4"),
        (("--shard", "3/2"), "shard 3/2"),
        (("--model", "nowhere"), "there is no folder 'nowhere'"),
        (("--model", "m", "--endpoint", "http://127.0.0.1:9/v1"), "a server gives no gradients"),
        (("--data", "nothing.parquet"), "nothing.parquet"),
        (("--limit", "0"), "ask for 1 record or more"),
        (("--device", "cuda", "--model", "tiny"), "device 'cuda' has no effect on the tiny model"),
        (("--dtype", "bfloat16"), "dtype 'bfloat16' has no effect on the tiny model"),
        (("--chat", "{turn}"), "chat '{turn}' has no effect on the tiny model"),
        (("--revision", "main", "--model", "demo"), "revision 'main' has no effect on the demo model"),
        (("--model", "m", "--endpoint", "http://127.0.0.1:9/v1", "--dtype", "float32"), "no effect on a server"),
        (("--preset", "reference", "--suffix-length", "7"), "--suffix-length 7 has no effect"),
        (("--preset", "paper", "--settings", "s.yaml"), "has no effect beside --settings"),
        (("--mismatch", "both"), "the demo's false claims are its own"),
        (("--model", "demo", "--preset", "reference"), "has its own wordings"),
        (("--device", "gpu"), "'gpu' is no device"),
    ],
)
def test_what_a_run_refuses_is_one_sentence(command, capsys, tmp_path, arguments, message):
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    base = {"--model": "tiny", "--limit": "1", "--out": str(tmp_path / "run")}
    model = given.get("--model", "tiny")
    if given.get("--device") == "gpu":
        given["--model"] = model = _saved(tmp_path)
        capsys.readouterr()
    flat = [part for pair in {**base, **given, "--model": model}.items() for part in pair]
    code, out, err = command("run", *flat)
    assert code == 2, (out, err)
    assert message in err
    assert err.count("\n") == 1
    assert not out
    assert not (tmp_path / "run").exists()


def _saved(folder):
    target = tiny_llava()
    target.model.save_pretrained(folder / "model")
    target.tokenizer.save_pretrained(folder / "model")
    return str(folder / "model")


def test_what_the_other_commands_refuse(command, tmp_path):
    RunStore.open(tmp_path / "run", config=dict.fromkeys(("attack", "templates", "model"))).close()
    RunStore.open(tmp_path / "foreign", config={}).close()
    for arguments, message in (
        (("judge", tmp_path), "holds no run"),
        (("transfer", tmp_path, "--model", "tiny"), "holds no run"),
        (("transfer", tmp_path, "--model", "tiny", "--defence", "wall"), "no defence 'wall'"),
        (("report", tmp_path), "holds no run"),
        (("report", tmp_path / "foreign"), "a run of another kind"),
        (("judge", tmp_path / "foreign"), "a run of another kind"),
        (("transfer", tmp_path / "foreign", "--model", "tiny"), "a run of another kind"),
        (("report", tmp_path, "--out", "page.pdf"), "must end in .html"),
        (("judge", tmp_path, "--judge-endpoint", "http://127.0.0.1:9/v1"), "give --judge-model"),
        (("judge", tmp_path, "--judge-model", "m"), "give --judge-endpoint"),
        (("transfer", tmp_path, "--model", "tiny", "--defence", "jpeg", "--seed", "1"), "--seed 1 has no effect"),
        (("build", tmp_path, "--out", tmp_path / "x", "--mismatch", "both"), "--mismatch 'both' has no effect"),
        (("build", tmp_path / "none", "--out", tmp_path / "x"), "none"),
        (("relevance", tmp_path), "give --text-encoder, --image-encoder or both"),
        (("relevance", tmp_path, "--text-encoder", tmp_path), "holds no run"),
        (("relevance", tmp_path / "run", "--text-encoder", tmp_path), "cannot be loaded"),
    ):
        code, _, err = command(*arguments)
        assert (code, err.count("\n")) == (2, 1), (arguments, err)
        assert message in err


def test_relevance_of_a_sharded_run_on_data_without_claims(command, tmp_path, encoders):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = []
    for number in (1, 2):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append({
            "id": number, "file_name": f"{number}.png", "original_attribute": "CT and Chest", "normal_prompt": "Which?",
            "harmful_prompt": "Which code word?", "key_phrases": "say it",
        })  # fmt: skip
    data, run = tmp_path / "rows.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for part in ("1/2", "2/2"):
        assert command(
            "run", "--model", "tiny", "--data", data, "--mismatch", "region_only", "--shard", part, "--out", run,
            "--optimizer", "none", "--new-tokens", 2,
        )[0] == 0  # fmt: skip
    code, out, _ = command("relevance", run, "--data", data, "--text-encoder", encoders["text"], "--json")
    assert (code, [row["n"] for row in json.loads(out)]) == (0, [2])


def test_a_failed_record_ends_with_code_1(command, tmp_path, monkeypatch):
    import dataclasses

    from auscult.o2m_attack import stand_ins

    first, second = stand_ins.demo_records()[:2]
    monkeypatch.setattr(stand_ins, "demo_records", lambda: [dataclasses.replace(first, key_phrases=None), second])
    code, out, err = command("run", "--model", "tiny", "--out", tmp_path / "run", *SMALL)
    assert code == 1
    assert "failed 1" in out
    assert "has no key_phrases" in err


@pytest.mark.serve
def test_what_servers_leave_open_is_said_and_ends_with_code_1(command, tmp_path):
    from auscult.core.testing.server import Fail, ScriptedServer

    run = tmp_path / "run"
    with ScriptedServer(lambda body, number: Fail(400) if number == 1 else "Red.") as server:
        replies = ("--endpoint", server.base_url, "--optimizer", "none", "--limit", 3)
        code, out, err = command("run", "--model", "m", "--out", run, *replies)
        assert (code, out) == (1, "entries 3, done 2, failed 1\n")
        assert "1 times failed: the server refused the request (status 400" in err
        assert command("run", "--model", "m", "--out", run, *replies)[:2] == (0, "entries 3, done 1, failed 0\n")
    with ScriptedServer(lambda body, number: Fail(400) if number == 1 else "Blue.") as server:
        transfer = ("transfer", run, "--model", "m", "--endpoint", server.base_url)
        assert command(*transfer)[0] == 0, "what failed once was asked again at once"
    with ScriptedServer(lambda body, number: "Perhaps." if number == 0 else "ANSWERED") as server:
        judge = ("judge", run, "--judge-endpoint", server.base_url, "--judge-model", "j")
        code, out, err = command(*judge)
        assert (code, out.count("llm j at")) == (1, 2)
        assert "gave no verdict on 1 replies" in err
        assert command(*judge)[0] == 0


def test_version_and_help(command):
    from auscult.o2m_attack import __version__

    assert command("--version") == (0, f"o2m-attack {__version__}\n", "")
    code, out, _ = command("--help")
    assert code == 0
    for name in ("run", "transfer", "judge", "relevance", "report", "build", "demo", "doctor"):
        assert name in out
