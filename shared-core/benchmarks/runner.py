"""Time and memory of ours and of a baseline, each run in a process of its own, as rows of docs/benchmarks/data.csv."""

import argparse
import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auscult.core.testing import benchmark

store = partial(benchmark.store, path=Path(__file__).parents[2] / "docs/benchmarks/data.csv")


class Run(NamedTuple):
    """Wall-clock and processor seconds of one run, peak resident memory of its process, and what it found."""

    seconds: float
    processor: float
    peak: float
    found: Any


def parse_arguments(description: str, **options: Any) -> argparse.Namespace:
    """Return a script's options: --quick, --repeats, and those given as keywords of ``add_argument``."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="little data, nothing stored: does it run?")
    parser.add_argument("--repeats", type=int, default=3, help="of each provider, alternating (3)")
    for name, how in options.items():
        parser.add_argument(f"--{name}", **how)
    chosen = parser.parse_args()
    chosen.repeats = 1 if chosen.quick else chosen.repeats
    return chosen


def compare(
    name: str,
    providers: Mapping[str, Callable[..., Any]],
    *arguments: Any,
    n: int,
    unit: str,
    repeats: int,
    prepare: Callable[..., Any] | None = None,
    distributions: tuple[str, ...] = (),
    note: str = "",
) -> list[dict[str, str]]:
    """Measure providers on the same job and check that they find the same; the first is the baseline.

    Parameters
    ----------
    name
        Of the benchmark.
    providers
        Name -> function of ``arguments``, at the top of a module; what it returns must be the same for all, to
        nine digits.
    arguments
        What each is given.
    n, unit
        How much there is to read, and of what; throughput is in it.
    repeats
        Of each provider; they alternate, so that a busy moment of the machine falls on all.
    prepare
        Function of ``arguments`` whose result the providers are given instead; not measured.
    distributions
        Whose versions a row names.
    note
        What else a row says.
    """
    before = benchmark.load()
    runs: dict[str, list[Run]] = {name: [] for name in providers}
    for _ in range(repeats):
        for provider, function in providers.items():
            runs[provider].append(benchmark.in_own_process(_measure, function, arguments, prepare))
    found = [run.found for measured in runs.values() for run in measured]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9, err_msg=f"the providers of {name} disagree")
    figures: dict[tuple[str, str], Callable[[Run], float]] = {
        ("time", "s"): lambda run: run.seconds,
        ("processor time", "s"): lambda run: run.processor,
        ("throughput", f"{unit}/s"): lambda run: n / run.seconds,
        ("peak resident memory", "MB"): lambda run: run.peak,
    }
    note = f"{repeats} repeats, {before} before" + (note and f", {note}")
    rows = []
    for (metric, of), figure in figures.items():
        values = {provider: [figure(run) for run in measured] for provider, measured in runs.items()}
        libraries = ("auscult-core", *distributions)
        rows += benchmark.to_rows(name, metric, of, values, n=n, libraries=libraries, note=note)
    return rows


def _measure(function: Callable[..., Any], arguments: tuple[Any, ...], prepare: Callable[..., Any] | None) -> Run:
    if prepare is not None:
        arguments = (prepare(*arguments),)
    gc.collect()
    processor, start = time.process_time(), time.perf_counter()
    found = function(*arguments)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return Run(seconds, processor, benchmark.resident("VmHWM"), found)


def total(values: Any) -> tuple[int, float]:
    """Return how many values an array holds and their sum: enough to tell whether two providers agree."""
    return int((~np.isnan(values)).sum()), float(np.nansum(values, dtype=np.float64))
