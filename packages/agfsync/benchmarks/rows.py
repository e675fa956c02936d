"""Rows of docs/benchmarks/agfsync.csv: one quantity of one provider, and its ratio to the baseline of the same run."""

import csv
import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from auscult.core.files import replace_atomically

ROWS = Path(__file__).parents[3] / "docs/benchmarks/agfsync.csv"
NAMES = (
    "benchmark", "provider", "metric", "p20", "p50", "p80", "unit", "baseline", "ratio", "versions", "machine", "date",
    "note",
)  # fmt: skip


def to_rows(
    benchmark: str, metric: str, unit: str, values: dict[str, Sequence[float]], *, note: str = ""
) -> list[dict[str, str]]:
    """Return a row a provider; the first is the baseline. Prints them."""
    names = ("agfsync", "torch", "diffusers", "transformers", "peft")
    versions = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])
    first = next(iter(values))
    baseline = float(np.median(values[first]))
    rows = []
    for provider, found in values.items():
        low, middle, high = np.percentile(found, [20, 50, 80])
        ratio = middle / baseline if baseline else float("nan")
        numbers = [f"{value:.5g}" for value in (low, middle, high)]
        rows.append(
            dict(zip(NAMES, (benchmark, provider, metric, *numbers, unit, first, f"{ratio:.4g}", versions, machine(),
                             datetime.datetime.now(tz=datetime.UTC).date().isoformat(), note), strict=True))
        )  # fmt: skip
        print(
            f"{benchmark}, {metric}: {provider} {middle:.4g} {unit} ({low:.4g} to {high:.4g}), "
            f"{ratio:.3g} x {first}; {note}",
            flush=True,
        )
    return rows


def store(rows: Sequence[dict[str, str]], path: Path = ROWS) -> None:
    """Replace rows of the same benchmark, metric and provider in the file, and add the others."""
    stored = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            stored = {(row["benchmark"], row["metric"], row["provider"]): row for row in csv.DictReader(file)}
    stored |= {(row["benchmark"], row["metric"], row["provider"]): row for row in rows}

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, NAMES, lineterminator="\n")
            writer.writeheader()
            writer.writerows(stored[key] for key in sorted(stored))

    replace_atomically(path, write)


def machine() -> str:
    """Return processor, cores and system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def load() -> str:
    """Return how busy the machine is, for a note."""
    return f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
