"""Rows of docs/benchmarks/agfsync.csv: one quantity of one provider, and its ratio to the baseline of the same run."""

from functools import partial
from pathlib import Path

from auscult.core.testing import benchmark

to_rows = partial(benchmark.to_rows, libraries=("agfsync", "torch", "diffusers", "transformers", "peft"))
store = partial(benchmark.store, path=Path(__file__).parents[3] / "docs/benchmarks/agfsync.csv")
