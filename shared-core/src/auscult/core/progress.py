"""A progress bar on stderr for what takes longer than two seconds; nothing where stderr is no terminal."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

_DELAY_SECONDS = 2.0


@contextlib.contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how far a job is, from its third second on.

    Parameters
    ----------
    label
        What is being done: ``"Scoring"``.
    total
        The number of steps, if it is known.

    Yields
    ------
    Callable[[int], None]
        Call it with the number of steps done since the last call.

    Examples
    --------
    >>> with progress("Scoring", total=2) as advance:
    ...     for _ in range(2):
    ...         advance(1)
    """
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task(label, total=total)
    timer = threading.Timer(_DELAY_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda steps: bar.advance(task, steps)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
