"""Predictions for 50,000 stays as a stream, with their peak memory, and similar patients among 50,000.

The model is fitted on a few made-up stays: time and memory do not depend on what it has learnt. Linux only.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from rows import store, to_rows

from auscult.core.testing.benchmark import in_own_process, load, resident

STEPS, FEATURES = 48, 37
BLOCK = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stays", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="200 stays, nothing stored: does it run?")
    chosen = parser.parse_args()
    stays = 200 if chosen.quick else chosen.stays
    for benchmark in (predict, find_similar):
        rows = in_own_process(benchmark, stays)
        if not chosen.quick:
            store(rows)


def predict(stays: int) -> list[dict[str, Any]]:
    """Measure ``predict_proba`` over an array on disk, so that the input itself is not in memory."""
    from tempfile import TemporaryDirectory

    model = fit()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stays.npy"
        array = np.lib.format.open_memmap(path, "w+", np.float32, (stays, STEPS, FEATURES))
        for start in range(0, stays, BLOCK):
            part = array[start : start + BLOCK]
            part[:] = make_stays(len(part), seed=start)
        del array, part
        values = np.load(path, mmap_mode="r")
        begin, before = time.perf_counter(), load()
        risk = model.predict_proba(values)[:, 1]
        seconds = time.perf_counter() - begin
    again = model.predict_proba(make_stays(min(BLOCK, stays), seed=0)[:3])[:, 1]
    np.testing.assert_allclose(risk[:3], again, rtol=1e-6)
    note = f"once, {before} before; the whole process, imports included"
    name = f"predict_proba, {stays} stays of {STEPS} x {FEATURES}, one member with trees"
    found = {"peak resident memory": ("MB", resident("VmHWM")), "time": ("s", seconds)}
    return [
        row
        for metric, (unit, value) in found.items()
        for row in to_rows(name, metric, unit, {"PrismClassifier": [value]}, baseline=False, note=note)
    ]


def find_similar(stays: int) -> list[dict[str, Any]]:
    """Measure the ten most similar of so many patients for each, and against one product a block of rows for fewer."""
    import torch

    from auscult.core.kernels.confident_similarity import confident_similarity, most_similar

    generator = torch.Generator().manual_seed(0)
    features, zeta, k = FEATURES + 5, torch.tensor(0.05), 10
    x, c = torch.randn(stays, features, generator=generator), torch.rand(stays, features, generator=generator)

    def dense(n: int) -> None:
        for start in range(0, n, 512):
            p = slice(start, min(start + 512, n))
            confident_similarity(x[p], c[p], x[:n], c[:n], zeta).topk(k)

    def streaming(n: int) -> None:
        most_similar(x[:n], c[:n], x[:n], c[:n], zeta, k=k)

    rows = []
    few = min(stays, 5_000)
    for n, runs in (
        (few, {"rows of the whole matrix, torch.topk": dense, "streaming top-k": streaming}),
        (stays, {"streaming top-k": streaming}),
    ):
        wall, busy = {}, {}
        before = load()
        for name, run in runs.items():
            begin, processor = time.perf_counter(), time.process_time()
            run(n)
            wall[name], busy[name] = [time.perf_counter() - begin], [time.process_time() - processor]
        note = f"once each, {torch.get_num_threads()} threads, {before} before"
        name = f"top {k} similar of {n} patients for each, F={features}, float32, CPU"
        rows += to_rows(name, "time", "s", wall, note=note) + to_rows(name, "processor time", "s", busy, note=note)
    return rows


def fit() -> Any:
    from auscult.sparse_ehr import PrismClassifier

    values = make_stays(400, seed=1)
    label = (np.nan_to_num(values[:, :, 0]).mean(1) > 0).astype(int)
    return PrismClassifier(n_members=1, max_epochs=1, step_hours=4, device="cpu").fit(values, label)


def make_stays(count: int, seed: int) -> np.ndarray:
    """Return [count, T, F] of which 80 % is missing."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, STEPS, FEATURES), np.float32)
    values[rng.random(values.shape, np.float32) < 0.8] = np.nan
    return values


if __name__ == "__main__":
    main()
