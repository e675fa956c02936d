"""On Ray: what :mod:`test_parallel` shows of local workers."""

import itertools
from pathlib import Path

import pytest

from auscult.core.errors import AuscultError, InputError
from auscult.core.parallel import map_records
from auscult.core.runs import RunStore

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def jobs():
    """Return the functions that workers compute, with a cluster of two cores that finds them."""
    import ray

    children = str(Path(__file__).parent / "children")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(children)
        patch.setenv("PYTHONPATH", children)
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)  # else Ray writes one into the home folder
        import record_jobs

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        yield record_jobs
        ray.shutdown()


def numbered(count):
    return {f"record {number}": number for number in range(count)}


def test_the_result_is_that_of_local_workers_in_the_order_of_the_input(jobs, tmp_path):
    expected = map_records(jobs.square, numbered(30))
    assert list(map_records(jobs.slow_square, iter(numbered(30).items()), workers=3, engine="ray").items()) == list(
        expected.items()
    )
    with RunStore.open(tmp_path, config={}) as run:
        run.put("record 1", {"from": "before"})
        new = []
        stored = map_records(
            jobs.square, numbered(30), store=run, workers=2, engine="ray", on_result=lambda key, _: new.append(key)
        )
        assert stored == expected | {"record 1": {"from": "before"}}
        assert dict(run) == stored
    assert sorted(new) == sorted(expected.keys() - {"record 1"})


def test_a_process_that_had_another_function_before_takes_the_new_one(jobs):
    for factor in (2, 3):
        made = map_records(jobs.Scaled(factor), numbered(4), workers=2, engine="ray")
        assert made == map_records(jobs.Scaled(factor), numbered(4))
    assert map_records(lambda number: number + 1, numbered(2), engine="ray") == {"record 0": 1, "record 1": 2}


def test_a_failure_names_the_record_and_the_cause_and_an_endless_iterable_is_read_as_fast_as_it_is_worked_off(
    jobs, tmp_path
):
    finished, ahead = [], []

    def endless():
        for number in itertools.count():
            ahead.append(number - len(finished))
            yield f"record {number}", number

    with RunStore.open(tmp_path, config={}) as run:
        with pytest.raises(AuscultError) as failure:
            map_records(
                jobs.fail_at_thirteen, endless(), store=run, workers=2, engine="ray",
                on_result=lambda key, _: finished.append(key),
            )  # fmt: skip
        assert {f"record {number}" for number in range(13)} <= set(run)
    assert type(failure.value) is AuscultError
    assert str(failure.value) == "record 'record 13' failed: ValueError: 13 is an unlucky number"
    assert "in fail_at_thirteen" in failure.value.__notes__[0]
    assert max(ahead) <= 2


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("refuse", "record 'record 0' failed: number is 0: use another"),
        ("raise_what_cannot_be_pickled", "record 'record 0' failed: LocalError: cannot travel"),
    ],
)
def test_any_exception_becomes_the_sentence_that_local_workers_give(jobs, job, message):
    with pytest.raises(AuscultError) as failure:
        map_records(getattr(jobs, job), numbered(1), engine="ray")
    assert str(failure.value) == message
    assert type(failure.value) is AuscultError


def test_what_cannot_be_sent_is_one_sentence(jobs):
    generator = (number for number in ())
    with pytest.raises(InputError, match=r"cannot be sent to a worker process .*generator.*: define it"):
        map_records(lambda number: generator, numbered(1), engine="ray")
    with pytest.raises(AuscultError, match=r"^record 'a' failed: .*generator"):
        map_records(jobs.square, {"a": generator}, engine="ray")
