"""Rows of docs/benchmarks/sparse-ehr.csv: providers measured by turns in one process, ours against a baseline."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from auscult.core.testing import benchmark

to_rows = partial(benchmark.to_rows, libraries=("sparse-ehr", "auscult-core", "torch", "numpy"))
store = partial(benchmark.store, path=Path(__file__).parents[3] / "docs/benchmarks/sparse-ehr.csv")


def measure(name: str, providers: Mapping[str, Callable[[], Any]], **options: Any) -> list[dict[str, str]]:
    """Return rows of the time of each provider, the first being the baseline.

    On a CPU there are two: of the wall clock, and of the processor over all threads, which other jobs on the machine
    disturb less. Options are those of :func:`auscult.core.testing.benchmark.alternate`; with ``wait``, for a device,
    only the wall clock counts.
    """
    found = benchmark.alternate(providers, **options)
    note = f"{found.note}, {torch.get_num_threads()} threads"
    rows = to_rows(name, "time", "s", found.wall, note=note)
    return rows if "wait" in options else rows + to_rows(name, "processor time", "s", found.processor, note=note)
