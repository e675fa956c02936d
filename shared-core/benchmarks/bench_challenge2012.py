"""3,200 stays of the PhysioNet Challenge 2012 from their text files to arrays, against pandas file by file.

The text files are written from the table in the tests' data (ODC-By 1.0), as the set has them. Rows go to
docs/benchmarks/data.csv. Linux only.

    python bench_challenge2012.py
"""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import runner

from auscult.core.data import load_cohort

TABLE = Path(__file__).parents[1] / "tests/data/physionet2012/set-a.long.parquet"


def main() -> None:
    chosen = runner.parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as made:
        rows = write_set(Path(made) / "set-a", 200 if chosen.quick else None)
        measured = runner.compare(
            "challenge2012 text files", {"pandas file by file": read_pandas, "auscult": read_ours}, Path(made),
            n=rows, unit="rows", repeats=chosen.repeats, distributions=("pandas", "pyarrow"),
            note=f"{len(list((Path(made) / 'set-a').iterdir())):,} stays",
        )  # fmt: skip
    if not chosen.quick:
        runner.store(measured)


def write_set(folder: Path, stays: int | None) -> int:
    """Write a file a stay; return the number of rows."""
    folder.mkdir()
    table = pd.read_parquet(TABLE)
    time = (table["Minutes"] // 60).map("{:02d}".format) + ":" + (table["Minutes"] % 60).map("{:02d}".format)
    lines = time + "," + table["Parameter"].astype(str) + "," + table["Value"].map("{:g}".format)
    written = 0
    for record, of_stay in list(lines.groupby(table["RecordID"], sort=True))[:stays]:
        body = "\n".join(of_stay)
        (folder / f"{record}.txt").write_text(f"Time,Parameter,Value\n00:00,RecordID,{record}\n{body}\n", "ascii")
        written += len(of_stay)
    return written


def read_ours(folder: Path) -> Any:
    cohort = load_cohort(f"challenge2012:{folder}", range="none")
    return runner.total(cohort.values[..., cohort.feature_index("HR")])


def read_pandas(folder: Path) -> Any:
    """Read each file, pivot it, and stack the stays, as notebooks on this set do."""
    stays = []
    for path in sorted((folder / "set-a").iterdir()):
        rows = pd.read_csv(path)
        minutes = rows["Time"].str.split(":").map(lambda part: int(part[0]) * 60 + int(part[1]))
        wide = rows.assign(Minutes=minutes).pivot_table(index="Minutes", columns="Parameter", values="Value")
        stays.append(wide.reset_index().assign(RecordID=int(path.stem)))
    return runner.total(pd.concat(stays)["HR"].to_numpy("float32"))


if __name__ == "__main__":
    main()
