"""MIMIC-IV's chartevents to a cohort of 17 variables over 48 hours, against pandas in chunks.

The table is made up by DuckDB in a temporary folder: 4,300 rows a stay, 40 % of them of the 17 variables, charted on
the hour or the quarters after it. Rows go to docs/benchmarks/data.csv. Linux only.

    python bench_mimic4.py                                # 10 million rows, parquet and csv.gz
    python bench_mimic4.py --rows 100000000 --form parquet
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import runner

from auscult.core.data import load_cohort
from auscult.core.data.ragged import gather

PER_STAY = 4300
HOURS = 48
# Item: feature, least value, spread.
NUMERIC = {
    220045: ("Heart Rate", 60, 60), 220179: ("Systolic blood pressure", 90, 70),
    220180: ("Diastolic blood pressure", 50, 40), 220181: ("Mean blood pressure", 60, 40),
    220210: ("Respiratory rate", 10, 20), 220277: ("Oxygen saturation", 90, 11), 223762: ("Temperature", 35, 4),
    225664: ("Glucose", 80, 120),
}  # fmt: skip
# Item: feature, the word in the table, its level.
SCALES = {
    220739: ("Glascow coma scale eye opening", "Spontaneously", 4),
    223901: ("Glascow coma scale motor response", "Obeys Commands", 6),
    223900: ("Glascow coma scale verbal response", "Oriented", 5),
}
NAMES = [name for name, *_ in (*NUMERIC.values(), *SCALES.values())]
COLUMNS = ["subject_id", "stay_id", "charttime", "itemid", "value", "valuenum"]


def main() -> None:
    chosen = runner.parse_arguments(
        __doc__,
        rows={"type": int, "default": 10_000_000, "help": "of chartevents (10,000,000)"},
        form={"choices": ["parquet", "csv.gz", "csv"], "action": "append", "help": "of the table"},
        tree={"type": Path, "help": "a tree of an earlier run, of this form"},
    )
    n = 100_000 if chosen.quick else chosen.rows
    for form in chosen.form or ["parquet", "csv.gz"]:
        with tempfile.TemporaryDirectory() as made:
            folder = chosen.tree or Path(made)
            if not chosen.tree:
                write_tree(folder, n, form)
            size = sum(path.stat().st_size for path in folder.rglob("chartevents.*")) / 1e9
            rows = runner.compare(
                f"mimic4 chartevents, {form}", {"pandas in chunks": read_pandas, "auscult": read_ours}, folder,
                n=n, unit="rows", repeats=chosen.repeats, distributions=("duckdb", "pandas", "pyarrow"),
                note=f"table of {size:.2f} GB, 11 variables in it",
            )  # fmt: skip
        if not chosen.quick:
            runner.store(rows)


def read_ours(folder: Path) -> Any:
    cohort = load_cohort(f"mimic4:{folder}", hours=HOURS, threads=2)
    return runner.total(cohort.values[..., [cohort.feature_index(name) for name in NAMES]])


def read_pandas(folder: Path) -> Any:
    """Read in chunks, as pandas users do: rows of the items, joined to their stays, averaged, as an array."""
    stays = pd.read_csv(folder / "icu/icustays.csv", parse_dates=["intime", "outtime"])
    stays = stays[stays["outtime"] - stays["intime"] >= pd.Timedelta(hours=HOURS)].reset_index(drop=True)
    stays["record"] = np.arange(len(stays))
    columns = {item: i for i, item in enumerate((*NUMERIC, *SCALES))}
    levels = {word: level for _, word, level in SCALES.values()}
    kept = []
    for chunk in chunks(next(folder.glob("icu/chartevents.*"))):
        rows = chunk[chunk["itemid"].isin(columns)]
        rows = rows.merge(stays[["stay_id", "record", "intime", "outtime"]], on="stay_id")
        hours = (rows["charttime"] - rows["intime"]) / pd.Timedelta(hours=1)
        number = rows["valuenum"].fillna(rows["value"].map(levels))
        rows = rows.assign(hours=hours, feature=rows["itemid"].map(columns), number=number)
        rows = rows[(hours >= 0) & (hours <= HOURS) & (rows["charttime"] <= rows["outtime"]) & number.notna()]
        kept.append(rows[["record", "hours", "feature", "number"]])
    means = pd.concat(kept).groupby(["record", "hours", "feature"])["number"].mean().reset_index()
    arrays = (means[name].to_numpy() for name in ("record", "hours", "feature", "number"))
    return runner.total(gather(*arrays, records=len(stays), features=len(NAMES)).values)


def chunks(path: Path, size: int = 1_000_000) -> Iterator[pd.DataFrame]:
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(size, columns=COLUMNS):
            yield batch.to_pandas()
    else:
        with pd.read_csv(path, usecols=COLUMNS, parse_dates=["charttime"], chunksize=size) as reader:
            yield from reader


def write_tree(folder: Path, n: int, form: str) -> None:
    """Write the five tables that the reader needs; the same rows for the same ``n``."""
    stays = max(n // PER_STAY, 1)
    known = [*NUMERIC, *SCALES]
    first, spread, words = (
        f"CASE item {' '.join(f'WHEN {item} THEN {about[place]!r}' for item, about in items.items())} END"
        for items, place in ((NUMERIC, 1), (NUMERIC, 2), (SCALES, 1))
    )
    number = f"coalesce({first}, 0) + b % coalesce({spread}, 100)"
    for name in ("hosp", "icu"):
        (folder / name).mkdir()
    options = {"parquet": "FORMAT parquet", "csv": "HEADER", "csv.gz": "HEADER, COMPRESSION gzip"}[form]
    with duckdb.connect(config={"threads": 2, "memory_limit": "3GB", "temp_directory": f"{folder}/spill"}) as database:
        database.execute(f"""
            CREATE TABLE stays AS SELECT 10000000 + i * 3 // 4 AS subject_id, 20000000 + i AS hadm_id,
                30000000 + i AS stay_id, 'MICU' AS first_careunit, 'MICU' AS last_careunit,
                TIMESTAMP '2150-01-01' + INTERVAL (hash(i) % 1000000) MINUTE AS intime,
                (30 + hash(i + 1) % 150)::INTEGER AS hours
            FROM range({stays}) t(i)
        """)
        database.execute(f"""
            COPY (SELECT subject_id, hadm_id, stay_id, first_careunit, last_careunit, intime,
                intime + INTERVAL (hours) HOUR AS outtime, hours / 24.0 AS los FROM stays ORDER BY stay_id)
            TO '{folder}/icu/icustays.csv' (HEADER)
        """)
        database.execute(f"""
            COPY (SELECT subject_id, hadm_id, intime - INTERVAL 2 HOUR AS admittime,
                intime + INTERVAL (hours + 24) HOUR AS dischtime, NULL AS deathtime, 'Other' AS insurance,
                'English' AS language, 'SINGLE' AS marital_status, 'WHITE' AS race, 0 AS hospital_expire_flag
                FROM stays)
            TO '{folder}/hosp/admissions.csv' (HEADER)
        """)
        database.execute(f"""
            COPY (SELECT DISTINCT subject_id, 'F' AS gender, 50 AS anchor_age, 2150 AS anchor_year,
                '2017 - 2019' AS anchor_year_group, NULL AS dod FROM stays)
            TO '{folder}/hosp/patients.csv' (HEADER)
        """)
        database.execute(f"""
            COPY (
                WITH drawn AS (
                    SELECT 30000000 + i * {stays} // {n} AS stay_id, hash(i, 1) AS a, hash(i, 2) AS b,
                        CASE WHEN hash(i, 3) % 10 < 4 THEN {known}[1 + (hash(i, 4) % {len(known)})::INTEGER]
                            ELSE 230000 + (hash(i, 4) % 500)::INTEGER END AS item
                    FROM range({n}) t(i)
                ), timed AS (
                    SELECT *, intime + INTERVAL
                        (a % hours * 60 + CASE WHEN b % 10 < 7 THEN 0 ELSE b % 4 * 15 END) MINUTE AS charttime
                    FROM drawn JOIN stays USING (stay_id)
                )
                SELECT subject_id, hadm_id, stay_id, 1000 AS caregiver_id, charttime,
                    charttime + INTERVAL 7 MINUTE AS storetime, item AS itemid,
                    coalesce({words}, ({number})::VARCHAR) AS value,
                    CASE WHEN ({words}) IS NULL THEN ({number})::DOUBLE END AS valuenum, 'unit' AS valueuom,
                    0 AS warning
                FROM timed
            ) TO '{folder}/icu/chartevents.{form}' ({options})
        """)


if __name__ == "__main__":
    main()
