"""Rows of docs/benchmarks/ehr-prompt.csv: what was measured, beside what, in one run."""

from functools import partial
from pathlib import Path

from auscult.core.testing import benchmark

to_rows = partial(benchmark.to_rows, libraries=("ehr-prompt", "auscult-core", "numpy", "scikit-learn", "aiohttp"))
store = partial(benchmark.store, path=Path(__file__).parents[3] / "docs/benchmarks/ehr-prompt.csv")
