"""Rows of docs/benchmarks/o2m-attack.csv: providers measured by turns in one process, ours against a baseline."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from auscult.core.testing import benchmark

to_rows = partial(benchmark.to_rows, libraries=("o2m-attack", "auscult-core", "torch", "transformers", "numpy"))
store = partial(benchmark.store, path=Path(__file__).parents[3] / "docs/benchmarks/o2m-attack.csv")


def measure(name: str, providers: Mapping[str, Callable[[], Any]], *, repeats: int = 9) -> list[dict[str, str]]:
    """Return a row of the time of each provider; the first is the baseline of the others."""
    found = benchmark.alternate(providers, repeats=repeats, seconds=120.0)
    return to_rows(name, "time", "s", found.wall, note=f"{found.note}, {torch.get_num_threads()} threads")
