"""Rows of docs/benchmarks/ehr-prompt.csv: what was measured, beside what, in one run."""

import csv
import datetime
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np

from auscult.core.files import replace_atomically

ROWS = Path(__file__).parents[3] / "docs/benchmarks/ehr-prompt.csv"
COLUMNS = (
    "benchmark", "provider", "n", "metric", "p20", "p50", "p80", "unit", "baseline", "ratio", "versions", "machine",
    "date", "note",
)  # fmt: skip


def row(
    benchmark: str,
    provider: str,
    n: int,
    metric: str,
    values: Sequence[float],
    unit: str,
    *,
    baseline: tuple[str, Sequence[float]] | None = None,
    note: str = "",
    distributions: Sequence[str] = (),
) -> dict[str, str]:
    """Return and print one row: percentiles of the values, and the ratio of their median to the baseline's."""
    low, middle, high = (float(one) for one in np.percentile(values, [20, 50, 80]))
    name, ratio = (baseline[0], middle / float(np.median(baseline[1]))) if baseline else ("", float("nan"))
    installed = ("ehr-prompt", "numpy", *distributions)
    versions = [f"python {platform.python_version()}", *(f"{one} {version(one)}" for one in installed)]
    load = f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    numbers = [f"{one:.6g}" for one in (low, middle, high)]
    found = [
        benchmark, provider, str(n), metric, *numbers, unit, name, f"{ratio:.4g}" if baseline else "",
        ", ".join(versions), machine(), today, f"{note}; {load}" if note else load,
    ]  # fmt: skip
    print(f"{benchmark}, {provider}, n={n:,}: {metric} {middle:.4g} {unit} ({low:.4g} to {high:.4g})", end="")
    print(f", {ratio:.3g} x {name}" if baseline else "", f"({load})", flush=True)
    return dict(zip(COLUMNS, found, strict=True))


def store(rows: Sequence[dict[str, str]], path: Path = ROWS) -> None:
    """Replace the rows of the same benchmark, provider, n and metric in the file, and add the others."""
    key = ("benchmark", "provider", "n", "metric")
    stored = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            stored = {tuple(one[name] for name in key): one for one in csv.DictReader(file)}
    stored |= {tuple(one[name] for name in key): one for one in rows}

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(stored[place] for place in sorted(stored))

    replace_atomically(path, write)


def machine() -> str:
    """Return processor, cores, memory and system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def resident() -> float:
    """Return the memory that this process holds, in MB. Linux only."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
