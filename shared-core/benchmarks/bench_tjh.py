"""The TJH workbook to values without gaps, in the three parts of its split, against the way of published scripts.

That way: pandas reads the sheet and averages each day; then, part by part, patient by patient and column by column, a
loop over the rows fills a gap with the value before it, or with the training median. Rows go to
docs/benchmarks/data.csv. Linux only.

    python bench_tjh.py
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import runner

from auscult.core.data import Cohort, Filler, load_cohort, split_subjects

WORKBOOK = Path(__file__).parents[1] / "tests/data/tjh/time_series_375_prerpocess_en.xlsx"
FRACTIONS = {"train": 0.3, "validation": 0.1, "test": 0.6}
CELLS = 1704 * 73


def main() -> None:
    chosen = runner.parse_arguments(__doc__)
    rows = []
    for benchmark, providers, arguments, prepare in (
        ("tjh workbook to daily values", {"pandas": read_pandas, "auscult": read_ours}, (WORKBOOK,), None),
        ("tjh imputation of three parts", {"row by row": fill_loops, "auscult": fill_ours}, (), parts),
    ):
        rows += runner.compare(
            benchmark, providers, *arguments, n=CELLS, unit="cells", repeats=chosen.repeats, prepare=prepare,
            distributions=("pandas", "openpyxl"), note="361 patients, 1,704 days, 73 variables",
        )  # fmt: skip
    if not chosen.quick:
        runner.store(rows)


def read_ours(workbook: Path) -> Any:
    return runner.total(load_cohort(f"tjh:{workbook}").values)


def read_pandas(workbook: Path) -> Any:
    """Follow the published steps: fill patient numbers, cut to days, drop what has no time, average each day."""
    frame = pd.read_excel(workbook)
    frame["PATIENT_ID"] = frame["PATIENT_ID"].ffill()
    times = ["RE_DATE", "Admission time", "Discharge time"]
    frame[times] = frame[times].apply(lambda column: column.dt.normalize())
    frame = frame.dropna(subset=["PATIENT_ID", "RE_DATE", "Discharge time"])
    labs = list(frame.columns[7:].drop("2019-nCoV nucleic acid detection"))
    frame[labs] = frame[labs].mask(frame[labs] < 0)
    return runner.total(frame.groupby(["PATIENT_ID", *times])[labs].mean().to_numpy(np.float32))


def parts() -> tuple[Cohort, dict[str, Any]]:
    cohort = load_cohort("tjh")
    split = split_subjects(cohort.subject_id, stratify=cohort.labels["mortality"], fractions=FRACTIONS, seed=42)
    return cohort, split.index(cohort.subject_id)


def fill_ours(prepared: tuple[Cohort, dict[str, Any]]) -> Any:
    cohort, rows = prepared
    filler = Filler(standardize=False).fit(cohort, rows["train"])
    found = [filler.transform(cohort.select(part)).values for part in rows.values()]
    return [runner.total(values) for values in found]


def fill_loops(prepared: tuple[Cohort, dict[str, Any]]) -> Any:
    cohort, rows = prepared
    names = [feature.name for feature in cohort.features]
    days = {
        part: [pd.DataFrame(cohort.values[i, : cohort.length[i]].astype(np.float64), columns=names) for i in rows[part]]
        for part in rows
    }
    train = pd.concat(days["train"])
    medians = {}
    for name in names:
        low, high = train[name].quantile([0.05, 0.95])
        kept = train[name][(train[name] > low) & (train[name] < high)]
        medians[name] = kept.median() if len(kept) > 1 else train[name].median()
    found = []
    for patients in days.values():
        filled = []
        for patient in patients:
            for name in names:
                for row in range(len(patient)):
                    if pd.isna(patient.loc[row, name]):
                        patient.loc[row, name] = patient.loc[row - 1, name] if row else medians[name]
            filled.append(patient)
        found.append(runner.total(pd.concat(filled).to_numpy(np.float32)))
    return found


if __name__ == "__main__":
    main()
