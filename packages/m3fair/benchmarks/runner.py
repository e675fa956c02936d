"""Time and memory of ours and of baselines in one run, as rows of docs/benchmarks/m3fair.csv."""

import argparse
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from auscult.core.testing import benchmark

store = partial(benchmark.store, path=Path(__file__).parents[3] / "docs/benchmarks/m3fair.csv")
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
    name: str,
    providers: Sequence[Provider],
    n: int,
    *,
    check: Callable[[Any, Any], None] | None = None,
    memory: bool = True,
    repeats: int = 9,
    seconds: float = 60.0,
) -> list[dict[str, str]]:
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
    jobs = {provider.name: partial(provider.run, inputs[provider.make]) for provider in providers}
    found = benchmark.alternate(jobs, repeats=repeats, seconds=seconds)
    del inputs, jobs
    gc.collect()
    rows = to_rows(name, "time", "s", n, providers, found.wall, note=found.note)
    if memory and Path("/proc/self/clear_refs").exists():
        peaks = {provider.name: [in_own_process(_peak_beyond, provider, n)] for provider in providers}
        rows += to_rows(name, "peak beyond input and result", "MB", n, providers, peaks)
    return rows


def to_rows(
    name: str,
    metric: str,
    unit: str,
    n: int,
    providers: Sequence[Provider],
    values: dict[str, list[float]],
    *,
    note: str = "",
) -> list[dict[str, str]]:
    """Return a row a provider from its values, the first provider's being the baseline; print them."""
    libraries = ("m3fair", *dict.fromkeys(one for provider in providers for one in provider.distributions))
    ordered = {provider.name: values[provider.name] for provider in providers}
    return benchmark.to_rows(name, metric, unit, ordered, n=n, libraries=libraries, note=note)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a fresh process, whose allocators keep no freed memory."""
    return benchmark.in_own_process(function, *arguments, **_GIVE_BACK)


def watch_peak() -> None:
    """Let VmHWM start again from what is resident now. Linux only."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_beyond(provider: Provider, n: int) -> float:
    """Return the peak of one run in MB, less what was resident before and the size of the result."""
    provider.run(provider.make(_WARM_UP_ROWS))
    data = provider.make(n)
    watch_peak()
    before = benchmark.resident()
    result = provider.run(data)
    size = result.estimated_size() if hasattr(result, "estimated_size") else getattr(result, "nbytes", 0)
    return benchmark.resident("VmHWM") - before - size / MEGABYTE
