"""Rows of docs/benchmarks/sparse-ehr.csv: providers measured by turns in one process, ours against a baseline."""

import csv
import datetime
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.files import replace_atomically

ROWS = Path(__file__).parents[3] / "docs/benchmarks/sparse-ehr.csv"
_KEY = ("benchmark", "provider", "metric")


def measure(
    benchmark: str,
    providers: Mapping[str, Callable[[], Any]],
    *,
    repeats: int = 9,
    seconds: float = 60.0,
    wait: Callable[[], Any] | None = None,
) -> list[dict[str, Any]]:
    """Return rows of the time of each provider; the first is the baseline of the others.

    On a CPU there are two: of the wall clock, and of the processor, over all threads, which other jobs on the machine
    disturb less.

    Parameters
    ----------
    benchmark
        What it is, sizes included.
    providers
        Name -> what to measure. They take turns, so that a busy moment falls on all of them, after one unmeasured
        turn.
    repeats, seconds
        As many turns, fewer where they would take longer, but at least 3.
    wait
        For a device to have finished; then only the wall clock counts.
    """
    import torch

    load = os.getloadavg()[0]
    times: dict[str, list[float]] = {name: [] for name in providers}
    busy: dict[str, list[float]] = {name: [] for name in providers}
    for run in providers.values():
        run()
    begin = time.perf_counter()
    while (done := len(next(iter(times.values())))) < 3 or (
        done < repeats and (time.perf_counter() - begin) * (done + 1) / done < seconds
    ):
        for name, run in providers.items():
            start, processor = time.perf_counter(), time.process_time()
            run()
            if wait is not None:
                wait()
            times[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - processor)
    note = f"{len(times[name])} repeats, {torch.get_num_threads()} threads, load {load:.1f} of {os.cpu_count()} before"
    rows = to_rows(benchmark, "time", "s", times, note=note)
    return rows if wait is not None else rows + to_rows(benchmark, "processor time", "s", busy, note=note)


def to_rows(
    benchmark: str, metric: str, unit: str, values: Mapping[str, Sequence[float]], *, note: str = ""
) -> list[dict[str, Any]]:
    """Return a row a provider, the first being the baseline, and print them."""
    baseline = next(iter(values))
    rows = []
    for provider, found in values.items():
        low, middle, high = (float(value) for value in np.percentile(found, [20, 50, 80]))
        ratio = middle / float(np.median(values[baseline]))
        libraries = ("sparse-ehr", "auscult-core", "torch", "numpy")
        versions = [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)]
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        rows.append({
            "benchmark": benchmark, "provider": provider, "metric": metric, "p20": low, "p50": middle, "p80": high,
            "unit": unit, "baseline": baseline, "ratio": ratio, "versions": ", ".join(versions), "machine": machine(),
            "date": today, "note": note,
        })  # fmt: skip
        print(f"{benchmark}: {provider} {metric} {middle:.4g} {unit}, {ratio:.3g} x {baseline}; {note}", flush=True)
    return rows


def store(rows: Iterable[Mapping[str, Any]], path: Path = ROWS) -> None:
    """Replace the rows of the same benchmark, provider and metric in the file, and add the others."""
    stored: dict[tuple[str, ...], Mapping[str, Any]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            stored = {tuple(row[name] for name in _KEY): row for row in csv.DictReader(file)}
    for row in rows:
        texts = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        stored[tuple(texts[name] for name in _KEY)] = texts

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(next(iter(stored.values()))), lineterminator="\n")
            writer.writeheader()
            writer.writerows(stored[place] for place in sorted(stored))

    replace_atomically(path, write)


def machine() -> str:
    """Return processor or CUDA device, cores, memory and system."""
    import torch

    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    device = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{device}{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"
