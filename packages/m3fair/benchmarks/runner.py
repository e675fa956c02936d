"""Time and memory of ours and of baselines in one run, as rows of docs/benchmarks/m3fair.csv."""

import argparse
import csv
import datetime
import gc
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.files import replace_atomically

ROWS = Path(__file__).parents[3] / "docs/benchmarks/m3fair.csv"
MEGABYTE = 1e6
_WARM_UP_ROWS = 1000
# Freed memory that an allocator keeps would hide what a run needs: glibc's, pyarrow's and polars' give it back.
_GIVE_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
}


@dataclass(frozen=True)
class Provider:
    """Somebody's way of doing a job.

    Parameters
    ----------
    name
        Such as ``m3fair`` or ``numpy``.
    make
        Returns the input of a number of rows; not measured.
    run
        What is measured: a function of the input. Both functions stand at the top of a module, so that a process
        of their own can find them.
    distributions
        Whose versions a row names.
    """

    name: str
    make: Callable[[int], Any]
    run: Callable[[Any], Any]
    distributions: tuple[str, ...] = ("numpy",)


@dataclass(frozen=True)
class Row:
    """One measured quantity: percentiles over repeats, and its ratio to the same quantity of the baseline."""

    benchmark: str
    provider: str
    n: int
    metric: str
    p20: float
    p50: float
    p80: float
    unit: str
    baseline: str
    ratio: float
    versions: str
    machine: str
    date: str
    note: str


def parse_arguments(description: str, **options: tuple[int, int, str]) -> argparse.Namespace:
    """Return a script's options: --quick, and --NAME with (value, quick value, help)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing stored: does it run?")
    for name, (usual, quick, text) in options.items():
        parser.add_argument(f"--{name}", type=int, help=f"{text} ({usual:,}; with --quick {quick:,})")
    chosen = parser.parse_args()
    for name, (usual, quick, _) in options.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, quick if chosen.quick else usual)
    return chosen


def compare(
    benchmark: str,
    providers: Sequence[Provider],
    n: int,
    *,
    check: Callable[[Any, Any], None] | None = None,
    memory: bool = True,
    repeats: int = 9,
    seconds: float = 60.0,
) -> list[Row]:
    """Measure providers on the same job; the first is the baseline of the others.

    Repeats of all providers alternate, so that a busy moment of the machine falls on all of them.

    Parameters
    ----------
    n
        Rows of the input.
    check
        Compares the baseline's result with another's, on a small input, and raises where they differ.
    memory
        Also measure each provider's peak beyond input and result, in a process of its own.
    repeats, seconds
        As many repeats, fewer where they would take longer, but at least 3.
    """
    small = {provider.name: provider.run(provider.make(min(n, _WARM_UP_ROWS))) for provider in providers}
    if check is not None:
        for provider in providers[1:]:
            check(small[providers[0].name], small[provider.name])
    inputs = {make: make(n) for make in {provider.make for provider in providers}}
    note = f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores before"
    times: dict[str, list[float]] = {provider.name: [] for provider in providers}
    begin = time.perf_counter()
    done = 0
    while done < 3 or (done < repeats and (time.perf_counter() - begin) * (done + 1) / done < seconds):
        for provider in providers:
            start = time.perf_counter()
            provider.run(inputs[provider.make])
            times[provider.name].append(time.perf_counter() - start)
        done += 1
    del inputs
    gc.collect()
    rows = to_rows(benchmark, "time", "s", n, providers, times, note=f"{done} repeats, {note}")
    if memory and Path("/proc/self/clear_refs").exists():
        peaks = {provider.name: [in_own_process(_peak_beyond, provider, n)] for provider in providers}
        rows += to_rows(benchmark, "peak beyond input and result", "MB", n, providers, peaks)
    return rows


def to_rows(
    benchmark: str,
    metric: str,
    unit: str,
    n: int,
    providers: Sequence[Provider],
    values: dict[str, list[float]],
    *,
    note: str = "",
) -> list[Row]:
    """Return a row a provider from its values, the first provider's being the baseline; print them."""
    baseline = float(np.median(values[providers[0].name]))
    rows = []
    for provider in providers:
        low, middle, high = (float(value) for value in np.percentile(values[provider.name], [20, 50, 80]))
        ratio = middle / baseline if baseline > 0 else float("nan")
        installed = ("m3fair", *provider.distributions)
        versions = [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in installed)]
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        rows.append(
            Row(
                benchmark, provider.name, n, metric, low, middle, high, unit, providers[0].name, ratio,
                ", ".join(versions), machine(), today, note,
            )
        )  # fmt: skip
        print(
            f"{benchmark}, {metric}, n={n:,}: {provider.name} {middle:.4g} {unit} ({low:.4g} to {high:.4g}), "
            f"{ratio:.3g} x {providers[0].name}; {note}",
            flush=True,
        )
    return rows


def store(rows: Iterable[Row], path: Path = ROWS) -> None:
    """Replace the rows of the same benchmark, provider, n and metric in the file, and add the others."""
    key = ("benchmark", "provider", "n", "metric")
    names = [field.name for field in fields(Row)]
    stored: dict[tuple[str, ...], dict[str, str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            stored = {tuple(row[name] for name in key): row for row in csv.DictReader(file)}
    for row in rows:
        texts = {
            name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in asdict(row).items()
        }
        stored[tuple(texts[name] for name in key)] = texts

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                stored[place] for place in sorted(stored, key=lambda place: (place[0], place[3], place[1]))
            )

    replace_atomically(path, write)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a fresh process, whose allocators keep no freed memory."""
    os.environ.update(_GIVE_BACK)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def watch_peak() -> None:
    """Let VmHWM start again from what is resident now. Linux only."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident(name: str = "VmRSS") -> float:
    """Return a memory figure of this process in MB: VmRSS, or VmHWM for its peak. Linux only."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    found = next(line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) * 1024 / MEGABYTE


def machine() -> str:
    """Return processor, cores, memory and system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def _peak_beyond(provider: Provider, n: int) -> float:
    """Return the peak of one run in MB, less what was resident before and the size of the result."""
    provider.run(provider.make(_WARM_UP_ROWS))
    data = provider.make(n)
    watch_peak()
    before = resident()
    result = provider.run(data)
    size = result.estimated_size() if hasattr(result, "estimated_size") else getattr(result, "nbytes", 0)
    return resident("VmHWM") - before - size / MEGABYTE
