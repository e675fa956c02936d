import asyncio
import json
import math
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import AuscultError, InputError, RunLockedError, RunMismatchError
from auscult.core.runs import RunStore, record_key

CHILDREN = Path(__file__).parent / "children"
posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and permission bits are POSIX")


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILDREN / script), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hold(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    child = start("hold_run.py", folder, *arguments)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


# ---------------------------------------------------------------- records


def test_a_record_comes_back_and_the_store_is_a_mapping_in_insertion_order(tmp_path):
    with RunStore.open(tmp_path / "run", config={"beta": 0.1}, seed=0) as run:
        run.put("z", {"value": 1})
        run.put("a", {"value": [1, 2.5, None, "x"]})
        assert len(run) == 2
        assert "z" in run
        assert "y" not in run
        assert list(run) == ["z", "a"]
        assert list(run.items()) == [("z", {"value": 1}), ("a", {"value": [1, 2.5, None, "x"]})]
        assert run["a"] == {"value": [1, 2.5, None, "x"]}
        assert run.get("y") is None
        with pytest.raises(KeyError):
            run["y"]


def test_more_records_than_a_page_are_walked_in_order(tmp_path):
    keys = [record_key(number) for number in range(1201)]
    with RunStore.open(tmp_path, config={}) as run:
        with run.batch():
            for key in keys:
                run.put(key, {"key": key})
        assert list(run) == keys
        assert [record["key"] for _, record in run.items()] == keys
        assert run.missing([*reversed(keys), "new", "new"]) == ["new"]


def test_missing_keeps_the_order_given_and_names_each_key_once(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        run.put("b", {})
        assert run.missing(iter(["c", "b", "a", "c"])) == ["c", "a"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(value=json_values)
def test_any_json_value_survives_storing_and_a_strict_parser_reads_its_export(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("run")
    with RunStore.open(folder, config={}) as run:
        run.put("key", {"value": value})
        stored = run["key"]["value"]
        run.export_jsonl(folder / "records.jsonl")
    assert repr(stored) == repr(value)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    (line,) = (folder / "records.jsonl").read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    assert json.loads(line, parse_constant=refuse)["record_key"] == "key"


def test_numpy_values_tuples_and_dataclasses_are_stored_as_plain_ones(tmp_path):
    @dataclass(frozen=True)
    class Point:
        x: float

    with RunStore.open(tmp_path, config={}) as run:
        run.put("a", {"n": np.int64(3), "v": np.array([1.5, np.nan]), "t": (1, 2), "p": Point(0.5)})
        stored = run["a"]
    assert math.isnan(stored["v"].pop())
    assert stored == {"n": 3, "v": [1.5], "t": [1, 2], "p": {"x": 0.5}}
    assert type(stored["n"]) is int


def test_a_key_is_put_once(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        run.put("a", {"value": 1})
        with pytest.raises(InputError, match=r"record 'a' is in .* already: a record is put once"):
            run.put("a", {"value": 2})
        assert run["a"] == {"value": 1}


@pytest.mark.parametrize(
    ("key", "record", "message"),
    [
        ("a", [1], "a text key and a mapping, not str and list"),
        (1, {}, "a text key and a mapping, not int and dict"),
        ("a", {1: 2}, "has a field 1: a field's name is text"),
        ("a", {"record_key": 2}, "has a field 'record_key'"),
        ("a", {"image": b"\x00"}, "a value of type bytes cannot be stored"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_nothing_is_stored(tmp_path, key, record, message):
    with RunStore.open(tmp_path, config={}) as run:
        with pytest.raises(InputError, match=message):
            run.put(key, record)
        assert len(run) == 0


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        with run.batch():
            run.put("a", {"step": 0})
            with RunStore.read(tmp_path) as reader:
                assert len(reader) == 0
            run.put("b", {"step": 1})

        def fail_midway():
            with run.batch():
                run.put("c", {"step": 2})
                raise OSError("the caller's own")

        with pytest.raises(OSError, match=r"^the caller's own$"):
            fail_midway()
        assert list(run) == ["a", "b"]
        run.put("c", {"step": 2})
    with RunStore.read(tmp_path) as reader:
        assert list(reader) == ["a", "b", "c"]


def test_threads_of_the_driver_share_the_store(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:

        def put(thread):
            for number in range(50):
                run.put(f"{thread}/{number}", {"thread": thread})

        threads = [threading.Thread(target=put, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(run) == sorted(f"{thread}/{number}" for thread in range(4) for number in range(50))


def test_an_asynchronous_driver_puts_records_as_they_complete(tmp_path):
    async def drive(run):
        async def ask(number):
            await asyncio.sleep(0.001 * (5 - number))
            run.put(str(number), {"answer": number})

        await asyncio.gather(*(ask(number) for number in range(5)))

    keys = [str(number) for number in range(5)]
    with RunStore.open(tmp_path, config={}) as run:
        asyncio.run(drive(run))
        assert sorted(run) == keys
        run.export_jsonl(tmp_path / "records.jsonl", keys)
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert rows == [{"record_key": key, "answer": int(key)} for key in keys]


def test_record_key_is_a_hash_of_the_content():
    parts = ("patient-7", {"model": "m", "temperature": 0, "messages": [{"role": "user"}]})
    same = ("patient-7", {"messages": [{"role": "user"}], "temperature": 0.0, "model": "m"})
    assert record_key(*parts) == record_key(*same)
    assert len(record_key(*parts)) == 64
    assert len({record_key("ab", "c"), record_key("a", "bc"), record_key("abc"), record_key(["ab", "c"])}) == 4


# ---------------------------------------------------------------- exports


def test_jsonl_writes_null_for_nan_and_replaces_in_one_step(tmp_path):
    target = tmp_path / "out" / "records.jsonl"
    with RunStore.open(tmp_path / "run", config={}) as run:
        run.put("a", {"risk": float("nan"), "name": "体温"})
        run.export_jsonl(target)
        run.put("b", {"risk": float("inf")})
        run.export_jsonl(target)
        with pytest.raises(InputError, match="has no record 'c'"):
            run.export_jsonl(target, ["a", "c"])
    assert target.read_text("utf-8").splitlines() == [
        '{"record_key": "a", "risk": null, "name": "体温"}',
        '{"record_key": "b", "risk": null}',
    ]
    assert list(target.parent.iterdir()) == [target]


def test_parquet_holds_numbers_as_numbers_and_the_rest_as_json(tmp_path):
    target = tmp_path / "records.parquet"
    with RunStore.open(tmp_path / "run", config={}) as run:
        run.put("a", {"risk": 0.5, "mixed": 1, "counts": {"ok": 1}, "tokens": [1, 2]})
        run.put("b", {"risk": None, "mixed": "one", "counts": {}, "late": True, "empty": None})
        run.export_parquet(target)
        table = pyarrow.parquet.read_table(target)
        run.export_parquet(target, ["b"])
        assert pyarrow.parquet.read_table(target).column("record_key").to_pylist() == ["b"]
    assert str(table.schema.field("risk").type) == "double"
    assert table.to_pydict() == {
        "record_key": ["a", "b"],
        "risk": [0.5, None],
        "mixed": ["1", '"one"'],
        "counts": ['{"ok": 1}', "{}"],
        "tokens": [[1, 2], None],
        "late": [None, True],
        "empty": [None, None],
    }


def test_an_empty_run_exports(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        run.export_jsonl(tmp_path / "records.jsonl")
        run.export_parquet(tmp_path / "records.parquet")
    assert (tmp_path / "records.jsonl").read_bytes() == b""
    assert pyarrow.parquet.read_table(tmp_path / "records.parquet").num_rows == 0


# ---------------------------------------------------------------- one run a folder


def test_the_manifest_says_what_the_run_is(tmp_path):
    config = {"beta": 0.1, "data": Path("cohort.parquet")}
    with RunStore.open(tmp_path, config=config, seed=7, data_fingerprint="sha256:00", device="cpu") as run:
        manifest = run.manifest
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert manifest["config"] == {"beta": 0.1, "data": "cohort.parquet"}
    assert (manifest["seed"], manifest["data_fingerprint"], manifest["device"]) == (7, "sha256:00", "cpu")
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["schema"] == 1
    assert len(manifest["config_digest"]) == 64


def test_the_same_run_goes_on_also_elsewhere(tmp_path):
    with RunStore.open(tmp_path, config={"beta": 1, "layers": (1, 2)}, device="cuda") as run:
        run.put("a", {})
        first = run.manifest
    with RunStore.open(tmp_path, config={"layers": [1, 2], "beta": 1.0}, device="cpu") as run:
        run.put("b", {})
        assert run.manifest == first
    with RunStore.read(tmp_path) as run:
        assert list(run) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"training": {"beta": 0.2}, "k": 3}}, r"config\.training\.beta: 0\.1 -> 0\.2 \(old -> new\)"),
        ({"config": {"training": {"beta": 0.1}}}, r"config\.k: 3 -> \(absent\)"),
        ({"config": {"training": {"beta": 0.1}, "k": 3, "new": True}}, r"config\.new: \(absent\) -> true"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"data_fingerprint": "b"}, 'data_fingerprint: "a" -> "b"'),
    ],
)
def test_another_run_in_the_folder_is_refused_with_the_difference(tmp_path, change, message):
    settings = {"config": {"training": {"beta": 0.1}, "k": 3}, "seed": 0, "data_fingerprint": "a"}
    with RunStore.open(tmp_path, **settings) as run:
        run.put("a", {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunMismatchError, match=message) as refusal:
        RunStore.open(tmp_path, **{**settings, **change})
    assert "choose another folder" in str(refusal.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with RunStore.open(tmp_path, **settings) as run:  # the refusal has let go of the lock
        assert list(run) == ["a"]


def test_another_layout_is_refused(tmp_path):
    RunStore.open(tmp_path, config={}).close()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "schema": 2}))
    with pytest.raises(RunMismatchError, match="has layout 2, but this version of auscult-core uses 1"):
        RunStore.open(tmp_path, config={})
    with pytest.raises(RunMismatchError, match="has layout 2"):
        RunStore.read(tmp_path)


@pytest.mark.parametrize("content", [None, "", '{"schema": 1, "conf'])
def test_a_lost_or_half_manifest_blocks_only_where_records_would_be_mixed(tmp_path, content):
    RunStore.open(tmp_path, config={"beta": 1}).close()

    def damage():
        (tmp_path / "manifest.json").unlink()
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)

    damage()
    with RunStore.open(tmp_path, config={"beta": 2}) as run:
        assert run.manifest["config"] == {"beta": 2}
        run.put("a", {})
    damage()
    with pytest.raises(RunMismatchError, match="holds 1 records but no valid manifest"):
        RunStore.open(tmp_path, config={"beta": 2})


# ---------------------------------------------------------------- one driver


def test_a_second_driver_is_refused_at_once_and_a_reader_is_not(tmp_path):
    child = hold(tmp_path)
    try:
        with pytest.raises(RunLockedError, match=f"being written by process {child.pid} on ") as refusal:
            RunStore.open(tmp_path, config={})
        assert str(tmp_path) in str(refusal.value)
        with RunStore.read(tmp_path) as run:
            assert dict(run) == {"first": {"value": 1}}
            with pytest.raises(InputError, match=r"only the process that called RunStore\.open"):
                run.put("second", {})
    finally:
        end(child)


def test_a_second_store_in_the_same_process_is_refused_and_leaves_the_lock_alone(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"):
            RunStore.open(tmp_path, config={})
        with RunStore.read(tmp_path):
            pass
        # A POSIX lock goes when its process closes any handle on the file: another process must still be refused.
        other = subprocess.run(
            [sys.executable, str(CHILDREN / "hold_run.py"), str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "RunLockedError" in other.stderr
        run.put("a", {})
    RunStore.open(tmp_path, config={}).close()


def test_a_reader_sees_records_arrive(tmp_path):
    with RunStore.open(tmp_path, config={}) as run, RunStore.read(tmp_path) as reader:
        for number in range(3):
            run.put(str(number), {"number": number})
            assert list(reader) == [str(earlier) for earlier in range(number + 1)]


def test_records_put_while_walking_are_walked_too(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        run.put("0", {})
        walked = []
        for key in run:
            walked.append(key)
            if len(walked) < 3:
                run.put(str(len(walked)), {})
        assert walked[0] == "0"
        assert len(run) == 3


@posix
def test_a_killed_driver_leaves_the_folder_free(tmp_path):
    child = hold(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with RunStore.read(tmp_path) as run:
        assert dict(run) == {"first": {"value": 1}}
    with RunStore.open(tmp_path, config={}) as run:
        assert dict(run) == {"first": {"value": 1}}


@posix
def test_an_orphaned_fork_of_a_killed_driver_does_not_hold_the_folder(tmp_path):
    child = hold(tmp_path, "fork")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"  # the fork's own
    child.send_signal(signal.SIGKILL)
    child.wait()
    readable, _, _ = select.select([child.stdout], [], [], 0)
    assert not readable, "the fork has ended too: this test would prove nothing"
    with RunStore.open(tmp_path, config={}) as run:
        run.put("second", {})
        assert list(run) == ["first", "second"]
    child.communicate()  # ends the fork's stdin, and waits for the end of its stdout
    with RunStore.open(tmp_path, config={}) as run:
        assert list(run) == ["first", "second"]


@posix
def test_a_fork_can_neither_write_nor_release_its_parent_s_run(tmp_path):
    child = start("fork_run.py", tmp_path)
    child.communicate(timeout=60)
    assert child.returncode == 0
    with RunStore.read(tmp_path) as run:
        assert list(run) == ["from the driver"]


# ---------------------------------------------------------------- kill -9


@posix
def test_a_job_killed_at_random_stores_every_record_once_and_repeats_nothing(tmp_path):
    count, kills = 600, 25
    moments = random.Random(0)
    folder, log = tmp_path / "run", tmp_path / "log"
    log.touch()
    restarts = []  # (lines in the log, keys in the store) before each start

    def logged():
        return log.read_text().split()

    for _ in range(kills):
        restarts.append((len(logged()), stored_keys(folder)))
        size, progress = log.stat().st_size, 65 * moments.randrange(20)
        child = start("run_job.py", folder, log, count, moments.randrange(10**6))
        if moments.random() < 0.3:
            time.sleep(moments.uniform(0, 0.2))  # while it starts: it may not even have opened the run
        else:
            while log.stat().st_size <= size + progress and child.poll() is None:
                time.sleep(0.0003)
            time.sleep(moments.uniform(0, 0.003))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    restarts.append((len(logged()), stored_keys(folder)))
    assert 0 < len(restarts[-1][1]) < count, "the kills did not fall into the job"

    last = start("run_job.py", folder, log, count, 0)
    last.communicate(timeout=60)
    assert last.returncode == 0
    undisturbed = start("run_job.py", tmp_path / "other", tmp_path / "other_log", count, 1)
    undisturbed.communicate(timeout=60)
    assert undisturbed.returncode == 0

    computed = logged()
    for start_of_run, stored in restarts:
        assert not stored.intersection(computed[start_of_run:]), "a stored record was computed again"
    assert count <= len(computed) <= count + kills, "more was lost than the record in flight"
    with RunStore.read(folder) as run, RunStore.read(tmp_path / "other") as other:
        assert list(run) == [record_key(number) for number in range(count)]
        assert list(run.items()) == list(other.items())


def stored_keys(folder: Path) -> set[str]:
    try:
        with RunStore.read(folder) as run:
            return set(run)
    except InputError as error:
        if "holds no run" not in str(error):
            raise
        return set()


@posix
def test_a_driver_may_die_at_every_line_of_its_code(tmp_path):
    child = start("kill_at_every_line.py", tmp_path)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    assert int(output) > 100


# ---------------------------------------------------------------- what the system refuses


def test_a_full_disk_is_one_sentence_and_keeps_what_was_stored(tmp_path):
    with RunStore.open(tmp_path, config={}) as run:
        run.put("a", {"value": 1})
        (pages,) = run._database.execute("PRAGMA page_count").fetchone()
        run._database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(AuscultError, match=r"no space is left for .*: free some and start again") as failure:
            run.put("b", {"value": "x" * 100_000})
        assert not isinstance(failure.value, InputError)

        def put_many():
            with run.batch():
                for number in range(10_000):
                    run.put(str(number), {})

        with pytest.raises(AuscultError, match="no space is left"):
            put_many()
        run._database.execute("PRAGMA max_page_count=1000000")
        run.put("b", {"value": 2})
    with RunStore.read(tmp_path) as run:
        assert dict(run) == {"a": {"value": 1}, "b": {"value": 2}}


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match=r"run cannot be used .*: choose a place that can be written"):
        RunStore.open(tmp_path / "run", config={})
    with pytest.raises(InputError, match=r"Not a directory|cannot find the path"):
        RunStore.open(tmp_path / "run" / "inner", config={})
    with pytest.raises(InputError):
        RunStore.read(tmp_path / "run")


def test_a_folder_without_a_run_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"holds no run \(no valid manifest.json\)"):
        RunStore.read(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_records_are_one_sentence(tmp_path):
    (tmp_path / "records.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="are damaged"):
        RunStore.open(tmp_path, config={})


def test_a_read_only_folder_is_one_sentence_for_the_driver_and_readable(tmp_path):
    folder = tmp_path / "run"
    with RunStore.open(folder, config={}) as run:
        run.put("a", {})
    folder.chmod(0o555)
    for path in folder.iterdir():
        path.chmod(0o444)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write to read-only folders")
        with RunStore.read(folder) as run:
            assert list(run) == ["a"]
        with pytest.raises(InputError, match="choose a folder that can be written"):
            RunStore.open(folder, config={})
    finally:
        folder.chmod(0o755)


@posix
def test_a_private_run_is_private_in_every_file(tmp_path):
    folder = tmp_path / "run"
    old = os.umask(0)
    try:
        with RunStore.open(folder, config={}, mode=0o600) as run:
            run.put("a", {})
            run.export_jsonl(tmp_path / "records.jsonl")
            run.export_parquet(tmp_path / "records.parquet")
            names = {path.name for path in folder.iterdir()}
            assert {"manifest.json", "records.sqlite", "records.sqlite-wal", "driver.lock"} <= names
            for path in (*folder.iterdir(), tmp_path / "records.jsonl", tmp_path / "records.parquet"):
                assert path.stat().st_mode & 0o777 == 0o600, path
        assert folder.stat().st_mode & 0o777 == 0o700
        RunStore.open(tmp_path / "public", config={}).close()
        assert (tmp_path / "public" / "records.sqlite").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(old)
    with pytest.raises(RunMismatchError, match="others may read or write"):
        RunStore.open(tmp_path / "public", config={}, mode=0o600)
