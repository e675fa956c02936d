import functools
import itertools
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from auscult.core.errors import AuscultError, InputError, MissingDependencyError
from auscult.core.parallel import map_records
from auscult.core.runs import RunStore

CHILDREN = Path(__file__).parent / "children"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and named pipes are POSIX")


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(CHILDREN))
    import record_jobs

    return record_jobs


def numbered(count):
    return {f"record {number}": number for number in range(count)}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_result_is_in_input_order_and_the_same_for_any_number_of_workers(jobs, tmp_path, workers):
    expected = {key: jobs.square(number) for key, number in numbered(30).items()}
    pairs = iter(numbered(30).items())
    result = map_records(jobs.slow_square, pairs, workers=workers)
    assert list(result.items()) == list(expected.items())
    with RunStore.open(tmp_path, config={}) as run:
        stored = map_records(jobs.slow_square, numbered(30), store=run, workers=workers)
        assert list(stored.items()) == list(expected.items())
        assert dict(run) == expected
        run.export_jsonl(tmp_path / "records.jsonl", stored)
    with RunStore.open(tmp_path / "one", config={}) as run:
        map_records(jobs.square, numbered(30), store=run)
        run.export_jsonl(tmp_path / "one.jsonl")
    assert (tmp_path / "records.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_workers_are_other_processes_and_one_worker_is_this_one(jobs):
    here = jobs.process_name(0)
    assert set(map_records(jobs.process_name, numbered(3)).values()) == {here}
    assert here not in set(map_records(jobs.process_name, numbered(3), workers=2).values())


def test_a_function_may_carry_something(jobs):
    assert map_records(jobs.Scaled(3), numbered(3), workers=2) == map_records(jobs.Scaled(3), numbered(3))
    assert map_records(functools.partial(pow, 2), numbered(3), workers=2) == {
        "record 0": 1, "record 1": 2, "record 2": 4,
    }  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
def test_stored_records_are_not_computed_again(jobs, tmp_path, workers):
    computed = []
    with RunStore.open(tmp_path, config={}) as run:
        run.put("record 1", {"from": "before"})
        result = map_records(
            jobs.square, numbered(4), store=run, workers=workers, on_result=lambda key, _: computed.append(key)
        )
    assert sorted(computed) == ["record 0", "record 2", "record 3"]
    assert list(result) == list(numbered(4))
    assert result["record 1"] == {"from": "before"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_result_is_the_stored_one_even_where_storing_changes_it(tmp_path, jobs, workers):
    with RunStore.open(tmp_path, config={}) as run:
        result = map_records(functools.partial(dict, pair=(1, 2)), {"a": {}}, store=run, workers=workers)
    assert result == {"a": {"pair": [1, 2]}}


@pytest.mark.parametrize("workers", [1, 2])
def test_no_records_no_results(jobs, workers):
    assert map_records(jobs.square, {}, workers=workers) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_endless_iterable_is_read_only_as_fast_as_it_is_worked_off(jobs, workers):
    finished, ahead = [], []

    def endless():
        for number in itertools.count():
            ahead.append(number - len(finished))
            yield str(number), number

    with pytest.raises(AuscultError, match="record '13' failed"):
        map_records(jobs.fail_at_thirteen, endless(), workers=workers, on_result=lambda key, _: finished.append(key))
    assert max(ahead) <= 4 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_names_the_record_and_the_cause_and_keeps_what_was_done(jobs, tmp_path, workers):
    with RunStore.open(tmp_path, config={}) as run:
        with pytest.raises(AuscultError, match=r"^record 'record 13' failed: ValueError: 13 is an unlucky number"):
            map_records(jobs.fail_at_thirteen, numbered(40), store=run, workers=workers)
        done = set(run)
        assert {f"record {number}" for number in range(13)} <= done
        again = []
        result = map_records(
            jobs.square, numbered(40), store=run, workers=workers, on_result=lambda key, _: again.append(key)
        )
    assert done.isdisjoint(again)
    assert result == {key: jobs.square(number) for key, number in numbered(40).items()}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("refuse", "record 'record 0' failed: number is 0: use another"),
        ("raise_what_cannot_be_pickled", "record 'record 0' failed: LocalError: cannot travel"),
    ],
)
def test_any_exception_becomes_the_same_sentence_here_and_in_workers(jobs, workers, job, message):
    with pytest.raises(AuscultError) as failure:
        map_records(getattr(jobs, job), numbered(1), workers=workers)
    assert str(failure.value) == message
    assert type(failure.value) is AuscultError


def test_the_worker_s_traceback_is_kept_as_a_note(jobs):
    with pytest.raises(AuscultError) as failure:
        map_records(jobs.fail_at_thirteen, {"a": 13}, workers=2)
    assert "in fail_at_thirteen" in failure.value.__notes__[0]


def test_what_cannot_be_pickled_is_one_sentence(jobs):
    with pytest.raises(InputError, match=r"<lambda> cannot be sent to a worker process .*: define it at the top level"):
        map_records(lambda number: number, numbered(2), workers=2)
    with pytest.raises(AuscultError, match=r"record 'record 0' failed: .*pickle"):
        map_records(jobs.return_what_cannot_be_pickled, numbered(1), workers=2)
    with pytest.raises(AuscultError, match=r"record 'a' failed: .*pickle"):
        map_records(jobs.square, {"a": lambda: 0}, workers=2)


def test_a_function_typed_into_a_session_is_one_sentence(tmp_path):
    lines = "from auscult.core.parallel import map_records\ndef f(x): return x\nmap_records(f, {'a': 1}, workers=2)\n"
    for command, typed in ((["-c", lines], ""), (["-"], lines)):
        session = subprocess.run(
            [sys.executable, *command], input=typed, capture_output=True, text=True, check=False, timeout=60
        )
        assert "InputError: f cannot be found by worker processes" in session.stderr


def test_a_worker_that_dies_is_one_sentence(jobs):
    with pytest.raises(AuscultError, match=r"a worker process died.*use workers=1 to see the cause"):
        map_records(jobs.die, numbered(20), workers=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_wrong_input_is_one_sentence(jobs, tmp_path, workers):
    with pytest.raises(InputError, match="the key 'a' occurs twice"):
        map_records(jobs.square, [("a", 1), ("b", 2), ("a", 3)], workers=workers)
    with RunStore.open(tmp_path, config={}) as run, pytest.raises(InputError, match="not str and int"):
        map_records(abs, {"a": 1}, store=run, workers=workers)


def test_workers_and_engine_are_checked(jobs, monkeypatch):
    with pytest.raises(InputError, match="workers is 0: use 1 or more"):
        map_records(jobs.square, numbered(1), workers=0)
    with pytest.raises(InputError, match="engine is 'dask': use 'local' or 'ray'"):
        map_records(jobs.square, numbered(1), engine="dask")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"engine='ray' needs ray.*pip install 'auscult-core\[ray\]'"):
        map_records(jobs.square, numbered(1), engine="ray")


@posix
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_driver_and_the_run_goes_on(tmp_path, ending):
    """The workers hold a pipe that only their end closes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    driver = subprocess.Popen(
        [sys.executable, str(CHILDREN / "drive_workers.py"), str(tmp_path / "run"), str(fifo)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A job in the background is started with SIGINT ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    for _ in range(2):
        assert select.select([reader], [], [], 60)[0]
        assert os.read(reader, 1) == b"x"
    if ending == signal.SIGINT:
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its workers
    else:
        driver.send_signal(signal.SIGKILL)
    assert select.select([reader], [], [], 60)[0], "the workers live on"
    assert os.read(reader, 1) == b"", "a worker started another record"
    os.close(reader)
    _, complaints = driver.communicate(timeout=60)
    assert driver.returncode == (130 if ending == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in complaints
    with RunStore.open(tmp_path / "run", config={}) as run:
        assert run["first"] == {"number": 1, "square": 1, "ratio": 1 / 7}
