"""Time and memory of ours and of a baseline, each run in a process of its own, as rows of docs/benchmarks/data.csv."""

import argparse
import csv
import datetime
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auscult.core.files import replace_atomically

ROWS = Path(__file__).parents[2] / "docs/benchmarks/data.csv"
_KEY = ("benchmark", "n", "metric", "provider")


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
    benchmark: str,
    providers: Mapping[str, Callable[..., Any]],
    *arguments: Any,
    n: int,
    unit: str,
    repeats: int,
    prepare: Callable[..., Any] | None = None,
    distributions: tuple[str, ...] = (),
    note: str = "",
) -> list[dict[str, Any]]:
    """Measure providers on the same job and check that they find the same; the first is the baseline.

    Parameters
    ----------
    benchmark
        Its name.
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
    load = os.getloadavg()[0]
    runs: dict[str, list[Run]] = {name: [] for name in providers}
    for _ in range(repeats):
        for name, function in providers.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                runs[name].append(pool.submit(_measure, function, arguments, prepare).result())
    found = [run.found for measured in runs.values() for run in measured]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9, err_msg=f"the providers of {benchmark} disagree")
    figures: dict[tuple[str, str], Callable[[Run], float]] = {
        ("time", "s"): lambda run: run.seconds,
        ("processor time", "s"): lambda run: run.processor,
        ("throughput", f"{unit}/s"): lambda run: n / run.seconds,
        ("peak resident memory", "MB"): lambda run: run.peak,
    }
    versions = [f"{name} {version(name)}" for name in ("auscult-core", *distributions)]
    first = next(iter(providers))
    rows = []
    for (metric, of), figure in figures.items():
        baseline = float(np.median([figure(run) for run in runs[first]]))
        for name, measured in runs.items():
            low, middle, high = (float(x) for x in np.percentile([figure(run) for run in measured], [20, 50, 80]))
            rows.append({
                "benchmark": benchmark, "provider": name, "n": n, "metric": metric, "p20": low, "p50": middle,
                "p80": high, "unit": of, "baseline": first, "ratio": middle / baseline,
                "versions": ", ".join([f"python {platform.python_version()}", *versions]), "machine": machine(),
                "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
                "note": f"{repeats} repeats, load {load:.1f} of {os.cpu_count()} cores before" + (note and f", {note}"),
            })  # fmt: skip
            print(f"{benchmark}, {n:,} {unit}: {name}, {metric} {middle:,.4g} {of}, {middle / baseline:.3g} x {first}",
                  flush=True)  # fmt: skip
    return rows


def _measure(function: Callable[..., Any], arguments: tuple[Any, ...], prepare: Callable[..., Any] | None) -> Run:
    if prepare is not None:
        arguments = (prepare(*arguments),)
    gc.collect()
    processor, start = time.process_time(), time.perf_counter()
    found = function(*arguments)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    return Run(seconds, processor, peak, found)


def total(values: Any) -> tuple[int, float]:
    """Return how many values an array holds and their sum: enough to tell whether two providers agree."""
    return int((~np.isnan(values)).sum()), float(np.nansum(values, dtype=np.float64))


def machine() -> str:
    """Return processor, cores, memory and system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def store(rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the same benchmark, provider, n and metric in the file, and add the others."""
    stored: dict[tuple[str, ...], dict[str, str]] = {}
    if ROWS.exists():
        with ROWS.open(encoding="utf-8", newline="") as file:
            stored = {tuple(row[name] for name in _KEY): row for row in csv.DictReader(file)}
    for row in rows:
        texts = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        stored[tuple(texts[name] for name in _KEY)] = texts

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(stored[place] for place in sorted(stored))

    replace_atomically(ROWS, write)
