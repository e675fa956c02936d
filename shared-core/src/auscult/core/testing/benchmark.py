"""Rows of a benchmark: what was measured of ours and of a baseline in one run, kept as CSV.

A row is one quantity of one provider: percentiles over repeats, and the ratio of its median to the baseline's, which is
what counts; versions, machine and load stand beside it.
"""

import csv
import datetime
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auscult.core.files import replace_atomically

COLUMNS = (
    "benchmark", "provider", "n", "metric", "p20", "p50", "p80", "unit", "baseline", "ratio", "versions", "machine",
    "date", "note",
)  # fmt: skip
KEY = ("benchmark", "n", "metric", "provider")


class Timings(NamedTuple):
    """Seconds of each repeat of each provider, by the clock and of the processor over all threads; and a note."""

    wall: dict[str, list[float]]
    processor: dict[str, list[float]]
    note: str


def alternate(
    providers: Mapping[str, Callable[[], Any]],
    *,
    repeats: int = 9,
    seconds: float = 60.0,
    wait: Callable[[], Any] | None = None,
) -> Timings:
    """Time providers by turns, so that a busy moment of the machine falls on all of them.

    Parameters
    ----------
    providers
        Name -> what to time, after one turn that does not count.
    repeats, seconds
        As many turns, fewer where they would take longer, but at least 3.
    wait
        For a device to have finished.

    Examples
    --------
    >>> found = alternate({"sum": lambda: sum(range(10))}, repeats=3)
    >>> len(found.wall["sum"]), len(found.processor["sum"])
    (3, 3)
    """
    before = load()
    wall: dict[str, list[float]] = {name: [] for name in providers}
    processor: dict[str, list[float]] = {name: [] for name in providers}
    for run in providers.values():
        run()
    begin, done = time.perf_counter(), 0
    while done < 3 or (done < repeats and (time.perf_counter() - begin) * (done + 1) / done < seconds):
        for name, run in providers.items():
            start, busy = time.perf_counter(), time.process_time()
            run()
            if wait is not None:
                wait()
            wall[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - busy)
        done += 1
    return Timings(wall, processor, f"{done} repeats, {before} before")


def to_rows(
    benchmark: str,
    metric: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    *,
    n: int | None = None,
    baseline: bool = True,
    libraries: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
    note: str = "",
) -> list[dict[str, str]]:
    """Return a row a provider, and print it.

    Parameters
    ----------
    benchmark
        What it is, sizes included.
    metric, unit
        What was measured.
    values
        Provider -> one value a repeat. The first provider is the baseline of all.
    n
        How large the data are, where a benchmark has several sizes.
    baseline
        False where there is nothing to compare with.
    libraries
        Distributions whose versions a row names.
    versions
        Provider -> the same as text, for one that runs in an environment of its own.
    note
        What else there is to say.

    Examples
    --------
    >>> rows = to_rows("sorting", "time", "s", {"bubble": [8.0, 9.0, 10.0], "ours": [3.0]}, n=100)
    sorting, n=100: bubble time 9 s (8.4 to 9.6), 1 x bubble
    sorting, n=100: ours time 3 s (3 to 3), 0.333 x bubble
    """
    first = next(iter(values))
    middle_of_first = float(np.median(values[first]))
    installed = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)])
    size = "" if n is None else f"{n}"
    rows = []
    for provider, found in values.items():
        low, middle, high = (float(value) for value in np.percentile(found, [20, 50, 80]))
        ratio = middle / middle_of_first if middle_of_first else float("nan")
        cells = (
            benchmark, provider, size, metric, f"{low:.6g}", f"{middle:.6g}", f"{high:.6g}", unit,
            first if baseline else "", f"{ratio:.4g}" if baseline else "", (versions or {}).get(provider, installed),
            machine(), datetime.datetime.now(tz=datetime.UTC).date().isoformat(), note,
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
        shown = f"{benchmark}{size and f', n={n:,}'}: {provider} {metric} {middle:.4g} {unit} ({low:.4g} to {high:.4g})"
        print(shown + (f", {ratio:.3g} x {first}" if baseline else "") + (note and f"; {note}"), flush=True)
    return rows


def store(rows: Iterable[Mapping[str, str]], path: Path) -> None:
    """Replace the rows of the same benchmark, n, metric and provider in a CSV file, and add the others."""
    stored: dict[tuple[str, ...], Mapping[str, str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            stored = {tuple(row[name] for name in KEY): row for row in csv.DictReader(file)}
    stored |= {tuple(row[name] for name in KEY): row for row in rows}

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(stored[key] for key in sorted(stored))

    replace_atomically(path, write)


def machine() -> str:
    """Return CUDA device, if torch is in use and has one, processor, cores, memory and system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    torch = sys.modules.get("torch")
    device = f"{torch.cuda.get_device_name()}, " if torch is not None and torch.cuda.is_available() else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{device}{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def load() -> str:
    """Return how busy the machine is, for a note."""
    return f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"


def in_own_process(function: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """Return the result of a function that runs in a fresh process, with more environment variables."""
    os.environ.update(environment)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident(name: str = "VmRSS") -> float:
    """Return a memory figure of this process in MB: VmRSS, or VmHWM for its peak. Linux only."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024 / 1e6
