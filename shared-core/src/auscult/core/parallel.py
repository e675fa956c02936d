"""Map over records, with local processes or on Ray: the same results, in the same order, for any number of workers."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar

from auscult.core.errors import AuscultError, InputError, missing_dependency
from auscult.core.progress import progress as show_progress
from auscult.core.runs import RunStore

T = TypeVar("T")
R = TypeVar("R")

_PER_WORKER = 4


def map_records(
    function: Callable[[T], R],
    items: Mapping[str, T] | Iterable[tuple[str, T]],
    *,
    store: RunStore | None = None,
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    on_result: Callable[[str, R], object] | None = None,
    progress: str | None = None,
) -> dict[str, R]:
    """Apply a function to every record.

    Parameters
    ----------
    function
        Gets a record's item and returns its result. With more than one worker it is pickled, with what it
        carries, once a worker; items and results are pickled one by one. Randomness has to come from the item
        (see :func:`auscult.core.device.derive_seed`).
    items
        Key -> item, or pairs of both; a lazy iterable is read only as fast as it is worked off.
    store
        Where results, which are then mappings, are put as they are done. Stored keys are not computed again,
        and what is returned is what the store holds.
    workers
        Records that are computed at a time. Locally, 1 computes in this process, and more are processes that are
        started anew (spawned): a script needs its ``if __name__ == "__main__":``.
    engine
        ``ray`` (extra ``ray``) makes every record a task of one core on the cluster of ``ray.init`` or
        ``RAY_ADDRESS``, else on one that Ray starts here. The cluster needs the function's modules. Ray computes
        again what it loses with a machine.
    on_result
        Called here with each new key and result, in the order of completion, after it was stored.
    progress
        The label of a progress bar on stderr; None for no bar.

    Returns
    -------
    dict[str, R]
        Key -> result, in the order of the input.

    Raises
    ------
    AuscultError
        The function failed; the message names the record and the cause. Records under way are finished and
        stored first.
    InputError
        A key occurs twice, ``workers`` is less than 1, the engine is unknown, or the function cannot be sent to a
        worker.
    MissingDependencyError
        The engine is ``ray``, which is not installed.

    Examples
    --------
    >>> map_records(len, {"a": "xyz", "b": ""})
    {'a': 3, 'b': 0}
    """
    if workers < 1:
        raise InputError(f"workers is {workers}: use 1 or more")
    if engine not in ("local", "ray"):
        raise InputError(f"engine is {engine!r}: use 'local' or 'ray'")
    results: dict[str, Any] = {}
    total = len(items) if isinstance(items, Mapping) else None
    with show_progress(progress, total) if progress else contextlib.nullcontext(_ignore) as advance:

        def unfinished() -> Iterator[tuple[str, T]]:
            for key, item in items.items() if isinstance(items, Mapping) else items:
                if key in results:
                    raise InputError(f"the key {key!r} occurs twice in the records: give each its own")
                results[key] = None  # keeps the order of the input
                if store is not None and key in store:
                    advance(1)
                else:
                    yield key, item

        def finish(key: str, result: R) -> None:
            if store is None:
                results[key] = result
            else:
                store.put(key, result)  # type: ignore[arg-type]  # put checks that it is a mapping
            if on_result is not None:
                on_result(key, result)
            advance(1)

        if engine == "ray":
            _map_on_ray(function, unfinished(), finish, workers)
        elif workers == 1:
            _map_here(function, unfinished(), finish)
        else:
            _map_in_workers(function, unfinished(), finish, workers)
    return results if store is None else {key: store[key] for key in results}  # type: ignore[misc]


def _ignore(_: int) -> None:
    pass


def _map_here(function: Callable[[T], R], pairs: Iterator[tuple[str, T]], finish: Callable[[str, R], None]) -> None:
    for key, item in pairs:
        try:
            result = function(item)
        except Exception as error:
            raise _failure(key, _described(error)) from error
        finish(key, result)


def _map_in_workers(
    function: Callable[[T], R], pairs: Iterator[tuple[str, T]], finish: Callable[[str, R], None], workers: int
) -> None:
    content = _pickled(function, pickle.dumps)
    _refuse_what_workers_cannot_find(function, content)
    context = multiprocessing.get_context("spawn")
    leash, hold = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (leash, content))
    try:
        failure = _send(lambda item: pool.submit(_work, item), pairs, finish, workers * _PER_WORKER)
    except BaseException:
        hold.close()  # workers end when this pipe does: an interrupted job does not wait for those under way
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        hold.close()
        leash.close()
    if failure is not None:
        raise failure


def _map_on_ray(
    function: Callable[[T], R], pairs: Iterator[tuple[str, T]], finish: Callable[[str, R], None], workers: int
) -> None:
    try:
        import ray
    except ImportError as error:
        raise missing_dependency("ray", purpose="engine='ray'", install="auscult-core[ray]") from error

    job, content = uuid.uuid4().hex, ray.put(_pickled(function, ray.cloudpickle.dumps))
    work = ray.remote(_work_on_ray)

    def submit(item: T) -> Future[Any]:
        future: Future[Any] = work.remote(job, content, item).future()
        future.set_running_or_notify_cancel()  # what was sent is under way: it is waited for
        return future

    failure = _send(submit, pairs, finish, workers)
    if failure is not None:
        raise failure


def _send(
    submit: Callable[[T], Future[Any]], pairs: Iterator[tuple[str, T]], finish: Callable[[str, R], None], ahead: int
) -> AuscultError | None:
    """Submit every item, at most so many ahead, and finish what is done; return the first failure, by position."""
    waiting: dict[Future[Any], tuple[int, str]] = {}
    failures: list[tuple[int, str, BaseException]] = []

    def collect_some() -> None:
        for future in concurrent.futures.wait(waiting, return_when="FIRST_COMPLETED").done:
            position, key = waiting.pop(future)
            if future.cancelled():
                continue
            if (error := future.exception()) is not None:
                failures.append((position, key, error))
            else:
                finish(key, future.result())

    for position, (key, item) in enumerate(pairs):
        try:
            waiting[submit(item)] = position, key
        except Exception as error:
            failures.append((position, key, error))
        if len(waiting) >= ahead:
            collect_some()
        if failures:
            break
    while waiting:
        if failures:
            for future in waiting:
                future.cancel()
        collect_some()
    return _worker_failure(*min(failures, key=lambda failure: failure[0])[1:]) if failures else None


def _worker_failure(key: str, error: BaseException) -> AuscultError:
    error = getattr(error, "cause", error)  # Ray wraps what a task raised
    if isinstance(error, BrokenProcessPool):
        failure = AuscultError(
            f"a worker process died, perhaps while it computed record {key!r} (was there enough memory, and does "
            'the script start its work under if __name__ == "__main__"?): use workers=1 to see the cause'
        )
    elif isinstance(error, _WorkerError):
        failure = _failure(key, error.args[0])
        failure.add_note(f"In the worker:\n{error.args[1]}")
    else:
        failure = _failure(key, _described(error))
    failure.__cause__ = error
    return failure


def _failure(key: str, cause: str) -> AuscultError:
    return AuscultError(f"record {key!r} failed: {cause}")


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AuscultError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _pickled(function: Callable[..., Any], dumps: Callable[[Any], bytes]) -> bytes:
    try:
        return dumps(function)
    except Exception as error:
        raise InputError(
            f"{_name(function)} cannot be sent to a worker process ({_described(error)}): "
            "define it at the top level of a module, or use one local worker"
        ) from error


def _refuse_what_workers_cannot_find(function: Callable[..., Any], content: bytes) -> None:
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    lost = b"__main__" in content if file is None else main.__spec__ is None and not os.path.exists(file)
    if lost:
        raise InputError(
            f"{_name(function)} cannot be found by worker processes, which cannot read what was typed into this "
            "session: define it in a module and start from a file, or use workers=1"
        )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


class _WorkerError(Exception):
    """What a worker sends in place of its exception, which might not survive pickling: cause, traceback."""


_function: bytes | Callable[[Any], Any] = b""
_job = ""


def _start_worker(leash: multiprocessing.connection.Connection, function: bytes) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    parent = multiprocessing.parent_process()
    ends: list[Any] = [leash] if parent is None else [leash, parent.sentinel]

    def watch() -> None:
        multiprocessing.connection.wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(item: Any) -> Any:
    global _function
    try:
        if isinstance(_function, bytes):
            _function = pickle.loads(_function)
        return _function(item)  # type: ignore[operator]  # no longer bytes
    except Exception as error:
        raise _WorkerError(_described(error), traceback.format_exc()) from None


def _work_on_ray(job: str, content: bytes, item: Any) -> Any:
    global _job, _function
    if job != _job:  # Ray gives its processes the tasks of any job
        _job, _function = job, content
    return _work(item)
