"""Weights and an audit of a parquet file larger than memory should need, against polars' streaming engine."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from runner import MEGABYTE, Provider, in_own_process, parse_arguments, store, to_rows, watch_peak

from auscult.core.testing.benchmark import load, resident
from auscult.m3fair import jobs
from auscult.m3fair.attributes import Attribute

ATTRIBUTES = ["region", "sex"]
BLOCK = 1 << 20
REPEATS = 3


def main() -> None:
    chosen = parse_arguments(__doc__, rows=(5_000_000, 200_000, "rows of the file; 50000000 for the full size"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        in_own_process(write_rows, path, chosen.rows)
        print(f"{chosen.rows:,} rows, {path.stat().st_size / MEGABYTE:.0f} MB of parquet", flush=True)
        rows = []
        for job, runs in JOBS.items():
            providers = [Provider(name, str, run, ("polars", "pyarrow")) for name, run in runs.items()]
            found: dict[str, list[list[float]]] = {name: [] for name in runs}
            for _ in range(REPEATS):
                for name, run in runs.items():
                    found[name].append(in_own_process(partial(measure, run), path))
            note = f"{REPEATS} repeats, {load()} after"
            for metric, unit, place in (
                ("time", "s", 0),
                ("peak resident", "MB", 1),
                ("peak beyond libraries", "MB", 2),
            ):
                values = {name: [one[place] for one in measured] for name, measured in found.items()}
                rows += to_rows(f"stream, {job}", metric, unit, chosen.rows, providers, values, note=note)
        compare_weights(path)
    if not chosen.quick:
        store(rows)


def write_rows(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    names = {"region": [f"region {i}" for i in range(10)], "sex": ["female", "male"]}
    schema = pa.schema([*((name, pa.string()) for name in names), ("died", pa.int8()), ("predicted", pa.int8())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            codes = {name: rng.integers(0, len(values), size, dtype=np.int8) for name, values in names.items()}
            risk = 0.1 + 0.04 * codes["region"] + 0.1 * codes["sex"]
            died = rng.random(size) < risk
            predicted = rng.random(size) < 0.5 * risk + 0.4 * died
            columns = [
                pa.DictionaryArray.from_arrays(pa.array(codes[name]), pa.array(values)).dictionary_decode()
                for name, values in names.items()
            ]
            outcomes = [pa.array(outcome.astype(np.int8)) for outcome in (died, predicted)]
            writer.write_table(pa.Table.from_arrays([*columns, *outcomes], schema=schema))


def measure(run: Any, path: Path) -> list[float]:
    """Return seconds, peak resident and the peak beyond what the libraries take, in MB."""
    small = path.with_name("small.parquet")
    write_rows(small, 1000)
    run(small)
    watch_peak()
    before = resident()
    start = time.perf_counter()
    run(path)
    return [time.perf_counter() - start, resident("VmHWM"), resident("VmHWM") - before]


def weigh_polars(path: Path) -> None:
    keys, count = [*ATTRIBUTES, "died"], pl.col("count")
    frame = pl.scan_parquet(path)
    cells = frame.group_by(keys).agg(count=pl.len()).collect(engine="streaming").with_columns(count.cast(pl.Float64))
    factor = count.sum().over(ATTRIBUTES) * count.sum().over("died") / (count.sum() * count)
    weights = frame.join(cells.select(*keys, weight=factor).lazy(), on=keys, how="left", maintain_order="left")
    weights.select("weight").sink_parquet(path.with_name("polars.parquet"))


def weigh_files(path: Path) -> None:
    sensitive = [Attribute(name) for name in ATTRIBUTES]
    reweigher, _ = jobs.fit_files([path], "died", sensitive, mode="intersection")
    jobs.write_weights(path.with_name("m3fair.parquet"), [path], "died", sensitive, None, reweigher)


def count_polars(path: Path) -> None:
    keys = [*ATTRIBUTES, "died", "predicted"]
    pl.scan_parquet(path).group_by(keys).agg(pl.len()).collect(engine="streaming")


def audit_files(path: Path) -> None:
    jobs.audit_files([path], "died", "predicted", [Attribute(name) for name in ATTRIBUTES])


JOBS = {
    "weights to parquet": {"polars streaming": weigh_polars, "m3fair": weigh_files},
    "audit": {"polars streaming group-by": count_polars, "m3fair": audit_files},
}


def compare_weights(path: Path) -> None:
    """Check that both files of weights hold the same."""
    blocks = [pq.ParquetFile(path.with_name(name)).iter_batches(BLOCK) for name in ("polars.parquet", "m3fair.parquet")]
    for theirs, ours in zip(*blocks, strict=True):
        np.testing.assert_allclose(ours.column(0).to_numpy(), theirs.column(0).to_numpy(), rtol=1e-9)


if __name__ == "__main__":
    main()
