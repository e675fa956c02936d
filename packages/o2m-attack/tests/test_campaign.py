"""Runs over records, conditions and optimisers: what the folder holds, how it goes on, what it refuses."""

import json
import os
import runpy
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from auscult.core.endpoint import RequestFailedError
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.runs import RunStore
from auscult.o2m_attack import AttackConfig, campaign, run
from auscult.o2m_attack.exports import PRIVATE_FIELDS, export_run, redact
from auscult.o2m_attack.optimise.difference import describe_difference

SMALL = AttackConfig(
    steps=3, search_width=8, topk=16, suffix_length=5, epsilon=8 / 255, alpha=1.3 / 255, image_steps=1, new_tokens=6
)  # fmt: skip
CHILD = Path(__file__).parent / "children" / "attack.py"


class Replies:
    """A model that gives replies alone."""

    name = "replies"

    def generate(self, queries, *, max_new_tokens=64):
        return [f"{query.image.shape} {query.suffix}" for query in queries]


@pytest.fixture(scope="module")
def records(new_record):
    return [new_record(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def folder(llava, records, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    result = run(
        llava, records, out, conditions=("2m", "mismatched"), optimizers=("none", "gcg", "pgd", "mcm"), config=SMALL
    )
    assert result == {"entries": 16, "done": 16, "failed": 0, "reasons": {}}
    return out


def test_an_entry_holds_what_was_asked_and_answered(folder, llava, records):
    entries = list(campaign.read_entries(folder))
    assert len(entries) == 16
    by_id = {record.id: record for record in records}
    for entry in entries:
        clean, record = campaign.read_png(entry["clean_image"]), by_id[entry["record_id"]]
        pixels = campaign.read_png(entry["image"]) if entry["image"] else clean
        assert (entry["image"] is None) == (entry["optimizer"] in ("none", "gcg"))
        assert np.abs(pixels.astype(int) - clean).max() <= 8
        assert (entry["suffix"] == "") == (entry["optimizer"] in ("none", "pgd"))
        # Property 2: what is reported is the loss of the file.
        image = llava.preprocessor.clean(pixels)
        loss = float(llava.loss(image, entry["suffix_ids"], record, entry["condition"]))
        assert entry["final_loss"] == pytest.approx(loss, abs=1e-4)
        assert entry["question"].startswith("This image is about MRI and Brain. ")
        assert entry["status"] == "ok"
        assert len(entry["history"]) == (0 if entry["optimizer"] == "none" else 3)
        query = campaign.Query(pixels, entry["question"], entry["suffix"])
        assert llava.generate([query], max_new_tokens=6) == [entry["response"]]


def test_nothing_in_the_folder_is_for_others(folder):
    for path in folder.rglob("*"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
    assert not list((folder / "states").glob("*")) if (folder / "states").exists() else True


def test_a_second_call_does_nothing_and_further_entries_join(folder, llava, records):
    again = run(llava, records, folder, conditions=("2m",), optimizers=("mcm",), config=SMALL)
    assert (again["entries"], again["done"]) == (2, 0)
    more = run(llava, records, folder, conditions=("normal",), optimizers=("none",), config=SMALL)
    assert more["done"] == 2


def test_another_run_s_folder_is_refused(folder, llava, records, new_record):
    with pytest.raises(RunMismatchError, match=r"attack\.steps"):
        run(llava, records, folder, config=AttackConfig(steps=4))
    with pytest.raises(RunMismatchError, match="data_fingerprint"):
        run(llava, [new_record(7)], folder, config=SMALL)


def test_exports_are_redacted_and_equal_for_equal_runs(folder, llava, records, tmp_path):
    files = export_run(folder, tmp_path / "a")
    run(llava, records[::-1], tmp_path / "again", conditions=("2m",), optimizers=("mcm",), config=SMALL)
    other = export_run(tmp_path / "again", tmp_path / "b")
    rows = [json.loads(line) for line in (tmp_path / "a/entries.jsonl").read_text().splitlines()]
    again = [json.loads(line) for line in (tmp_path / "b/entries.jsonl").read_text().splitlines()]
    assert [row for row in rows if (row["condition"], row["optimizer"]) == ("2m", "mcm")] == again
    assert {path.name for path in files} == {path.name for path in other}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = (tmp_path / "a/entries.jsonl").read_text() + (tmp_path / "a/steps.jsonl").read_text()
    for record in records:
        assert record.harmful_prompt not in text
    assert "seconds" not in text
    for row in rows:
        assert all(set(row[name]) == {"sha256", "length"} for name in PRIVATE_FIELDS if row.get(name) is not None)
    shown = export_run(folder, tmp_path / "c", show_text=True)
    assert records[0].harmful_prompt in shown[0].read_text()
    steps = pyarrow.parquet.read_table(tmp_path / "a/steps.parquet").to_pandas()
    assert {"record_id", "step", "accepted", "loss", "seconds"} <= set(steps.columns)
    assert redact({"response": None}) == {"response": None}


def test_shards_are_the_whole(llava, records, folder, tmp_path):
    for part in (1, 2):
        result = run(llava, records, tmp_path, optimizers=("mcm",), config=SMALL, shard=(part, 2))
        assert result["entries"] == 1
    assert len(campaign.run_parts(tmp_path)) == 2
    losses = {entry["record_id"]: entry["final_loss"] for entry in campaign.read_entries(tmp_path)}
    whole = {
        entry["record_id"]: entry["final_loss"]
        for entry in campaign.read_entries(folder)
        if (entry["condition"], entry["optimizer"]) == ("2m", "mcm")
    }
    assert losses == whole
    with pytest.raises(InputError, match="shard 3/2"):
        run(llava, records, tmp_path, config=SMALL, shard=(3, 2))


def test_folders_are_parts_of_one_run_or_refused(records, new_record, tmp_path):
    """Before, shards of other settings were counted together, and records of a whole run and a shard twice."""
    options = {"optimizers": ("none",), "config": SMALL}
    run(Replies(), records, tmp_path / "a", shard=(1, 2), **options)
    for changes, why in (
        ({"shard": (2, 2), "config": replace(SMALL, epsilon=0.1)}, r"attack\.epsilon"),
        ({"shard": (2, 2), "records": [records[0], new_record(7)]}, "data_fingerprint"),
        ({"shard": (1, 1)}, "shards overlap"),
        ({"shard": (1, 4)}, "shards overlap"),
    ):
        given = {"records": records, **options, **changes}
        with pytest.raises(RunMismatchError, match=f"is no part of this run .*{why}"):
            run(Replies(), out=tmp_path / "a", **given)
    assert len(campaign.run_parts(tmp_path / "a")) == 1
    assert run(Replies(), records, tmp_path / "a", shard=(2, 2), **options)["done"] == 1
    run(Replies(), records, tmp_path / "b", **{**options, "config": replace(SMALL, seed=3)})
    (tmp_path / "b").rename(tmp_path / "a/shard-3-of-2")
    with pytest.raises(InputError, match=r"no parts of one run .*seed: 0 -> 3"):
        list(campaign.read_entries(tmp_path / "a"))


def test_a_shard_without_records_has_nothing_to_do(records, tmp_path):
    result = run(Replies(), records, tmp_path, optimizers=("none",), config=SMALL, shard=(3, 4))
    assert result == {"entries": 0, "done": 0, "failed": 0, "reasons": {}}


def test_a_folder_of_another_kind_of_run_is_refused(tmp_path):
    RunStore.open(tmp_path, config={"model": "m"}).close()
    with pytest.raises(InputError, match="a run of another kind"):
        campaign.run_parts(tmp_path)


def test_a_model_with_replies_alone(records, tmp_path):
    result = run(Replies(), records, tmp_path, conditions=("normal", "2m"), optimizers=("none",), config=SMALL)
    assert result["done"] == 4
    assert {entry["response"] for entry in campaign.read_entries(tmp_path)} == {"(40, 33, 3) "}
    with pytest.raises(InputError, match="gives replies but no gradients"):
        run(Replies(), records, tmp_path / "x", config=SMALL)
    assert not (tmp_path / "x").exists()


def test_a_damaged_state_costs_its_iterations_alone(llava, records, folder, tmp_path):
    options = {"conditions": ("2m",), "optimizers": ("mcm",), "config": SMALL}
    whole = next(entry for entry in campaign.read_entries(folder) if entry["optimizer"] == "mcm")
    state = tmp_path / "states" / f"{whole['key'][:24]}.npz"
    state.parent.mkdir()
    state.write_bytes(b"PK cut off")
    assert run(llava, records, tmp_path, **options) == {"entries": 2, "done": 2, "failed": 0, "reasons": {}}
    losses = {entry["key"]: entry["final_loss"] for entry in campaign.read_entries(tmp_path)}
    assert losses[whole["key"]] == whole["final_loss"]
    assert not state.exists()


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_lost_or_damaged_image_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"the run's image .*a\.png is missing or damaged"):
        campaign.read_png(tmp_path / "a.png")


def test_what_a_server_left_unanswered_is_asked_again(new_record, tmp_path):
    class Server(Replies):
        def __init__(self, error, calls):
            self.error, self.calls = error, calls

        def generate(self, queries, *, max_new_tokens=64):
            self.calls -= 1
            if self.calls in (1, 2):
                raise self.error
            return super().generate(queries)

    records = [new_record(seed) for seed in range(5)]
    options = {"optimizers": ("none",), "config": SMALL}
    first = run(Server(RequestFailedError("status 400"), 4), records, tmp_path / "a", **options)
    assert (first["done"], first["failed"], first["reasons"]) == (3, 2, {"failed: status 400": 2})
    assert run(Server(None, 0), records, tmp_path / "a", **options) == {
        "entries": 5, "done": 2, "failed": 0, "reasons": {}}  # fmt: skip
    with pytest.raises(InputError, match=r"no server answers \(at record 'r1'\)"):
        run(Server(InputError("no server answers"), 4), records, tmp_path / "b", **options)
    assert run(Server(None, 0), records, tmp_path / "b", **options)["done"] == 4


def test_settings_that_cannot_be_used_leave_the_folder_to_others(llava, records, tmp_path):
    with pytest.raises(InputError, match="neither image nor suffix can change"):
        run(llava, records, tmp_path, optimizers=("pgd",), config=replace(SMALL, epsilon=0))
    assert run(llava, records, tmp_path, optimizers=("pgd",), config=SMALL)["done"] == 2


def test_one_bad_record_is_noted_and_the_others_go_on(llava, records, new_record, tmp_path):
    bad = new_record(5, key_phrases=None)
    result = run(llava, [bad, records[0]], tmp_path, config=SMALL)
    assert (result["done"], result["failed"]) == (2, 1)
    assert "has no key_phrases" in next(iter(result["reasons"]))
    assert run(llava, [bad, records[0]], tmp_path, config=SMALL)["done"] == 0
    with pytest.raises(InputError, match="has no key_phrases"):
        run(llava, [bad], tmp_path / "alone", config=SMALL)
    assert not (tmp_path / "alone").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": ("both",)}, "condition 'both'"),
        ({"optimizers": ("adam",)}, "optimizer 'adam': use none, gcg, pgd, mcm"),
        ({"optimizers": ()}, "there are no optimizers"),
        ({"records": []}, "there are no records"),
    ],
)
def test_what_cannot_be_run(llava, records, tmp_path, changes, message):
    given = {"records": records, "config": SMALL, **changes}
    with pytest.raises(InputError, match=message):
        run(llava, out=tmp_path / "x", **given)
    assert not (tmp_path / "x").exists()


def test_ids_that_occur_twice(llava, new_record, tmp_path):
    with pytest.raises(InputError, match="'r1' occurs twice"):
        run(llava, [new_record(1), new_record(1)], tmp_path / "x", config=SMALL)


def test_a_killed_run_goes_on_and_ends_equal(tmp_path):
    """Property 12: killed in the middle of an optimisation, then finished by another process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path / "killed"), "0.15"], env=environment)
    states = tmp_path / "killed" / "states"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        child.send_signal(signal.SIGSTOP)  # a state goes with its record: look while nothing moves
        if any(states.glob("[!.]*.npz")):
            break
        child.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert any(states.glob("[!.]*.npz")), "the child was killed too late or never saved a state"
    attack = runpy.run_path(str(CHILD))["attack"]
    exported = []
    for name in ("whole", "killed"):
        attack(tmp_path / name)
        export_run(tmp_path / name, show_text=True)
        exported.append([(tmp_path / name / f"{stem}.jsonl").read_bytes() for stem in ("entries", "steps")])
        images = sorted((tmp_path / name / "images").glob("*.png"))
        exported[-1] += [path.read_bytes() for path in images]
    assert exported[0] == exported[1]
    assert not any(states.glob("[!.]*.npz"))


def test_distances_of_images():
    rng = np.random.default_rng(0)
    clean = rng.integers(50, 200, (24, 20, 3), dtype=np.uint8)
    same = describe_difference(clean, clean)
    assert (same["linf_255"], same["l2_255"], same["psnr"]) == (0, 0, float("inf"))
    assert same["ssim"] == pytest.approx(1)
    moved = describe_difference(clean + 2, clean)
    assert (moved["linf_255"], moved["l2_255"]) == (2, pytest.approx(2 * (24 * 20 * 3) ** 0.5))
    assert moved["psnr"] == pytest.approx(10 * np.log10(255**2 / 4))
    noisy = describe_difference(np.clip(clean + rng.integers(-30, 30, clean.shape), 0, 255).astype(np.uint8), clean)
    assert 0 < noisy["ssim"] < moved["ssim"] <= 1
    assert np.isnan(describe_difference(clean[:5], clean[:5])["ssim"])
