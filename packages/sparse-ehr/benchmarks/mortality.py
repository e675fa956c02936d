"""Mortality in the Challenge 2012 stays of the core's test data: models on five splits, deletion, ablations.

About three hours on two cores, PyPOTS' models (``pypots/run.py``) some more. Stopped at any moment it goes on from its
folder, and a new folder begins with the predictions that docs/benchmarks/sparse-ehr-predictions.parquet keeps, from
which every figure can be computed again::

    python mortality.py OUT                     # everything
    python mortality.py OUT --splits 42         # one split
    python mortality.py OUT --report            # nothing fitted: what the folder has, into docs/benchmarks

No severity score and no outcome is an input: the cohort's labels hold them. Rows go to
docs/benchmarks/sparse-ehr-mortality.csv (one a model, split and deletion), -comparison.csv and -sweep.csv (means over
the splits, with 95 % intervals of resampled subjects) and -ablations.csv.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet

from auscult.core.data import Cohort, load_cohort
from auscult.core.intervals import Interval
from auscult.core.runs import RunStore
from auscult.sparse_ehr.comparison import (
    compare_models,
    compare_outcomes,
    replicate_means,
    stored_outcomes,
    to_interval,
    to_row,
    write_rows,
)
from auscult.sparse_ehr.sweep import ABLATIONS, ablate, sweep_missingness, to_sweep
from auscult.sparse_ehr.trials import SEEDS, Outcome, open_store, to_outcomes

ROOT = Path(__file__).parents[3]
DATA = f"challenge2012:{ROOT / 'shared-core/tests/data/physionet2012'}"
ROWS = ROOT / "docs/benchmarks"
ABLATED = 42
ONE_NETWORK = {"n_members": 1, "summary_stack": False}
RELEASED = "as released"
PREDICTIONS = ROWS / "sparse-ehr-predictions.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--members", type=int, default=5, help="networks that PRISM averages (5)")
    parser.add_argument("--report", action="store_true", help="fit nothing, write what the folder has")
    chosen = parser.parse_args()
    cohort = load_cohort(DATA)
    recall(cohort, chosen.out)
    if not chosen.report:
        options = {"prism": {"n_members": chosen.members}}
        for seed in chosen.splits:
            compare_models(cohort, chosen.out, splits=[seed], options=options, n_boot=10)
        sweep_missingness(cohort, chosen.out, splits=chosen.splits, options=options, n_boot=10)
        if ABLATED in chosen.splits:
            ablate(cohort, chosen.out, split=ABLATED, options=ONE_NETWORK)
    with RunStore.read(chosen.out) as store:
        report(store)


def recall(cohort: Cohort, folder: Path) -> None:
    """Put the records that are kept beside the rows into a folder that lacks them."""
    if PREDICTIONS.exists():
        with open_store(cohort, folder, "mortality") as store:
            for row in pyarrow.parquet.read_table(PREDICTIONS).to_pylist():
                key = row.pop("record_key")
                if key not in store:
                    # Fields that hold mappings are JSON text in an export.
                    store.put(key, row | {name: json.loads(row[name]) for name in ("options", "tests")})


def report(store: RunStore) -> None:
    """Write and print what a folder has."""
    store.export_parquet(PREDICTIONS)
    outcomes = stored_outcomes(store)
    rows = [
        {**to_row(o), "deleted": o.deletion, "deleted in test": o.test_deletion}
        for o in sorted(outcomes, key=lambda o: (o.model, o.split, o.deletion, o.test_deletion))
    ]
    write_rows(ROWS / "sparse-ehr-mortality.csv", rows)
    whole = [o for o in outcomes if o.deletion == o.test_deletion == 0]
    shown = compared(whole) + [row | {"split": ABLATED} for row in compared([o for o in whole if o.split == ABLATED])]
    write_rows(ROWS / "sparse-ehr-comparison.csv", shown)
    swept = to_sweep(outcomes)
    points = [
        {
            "model": p.model, "against": "", "deleted in": p.where, "share": p.share, "splits": len(p.splits),
            **flat({"auprc": p.auprc, "loss": p.loss}),
        }
        for p in swept.points
    ]  # fmt: skip
    points += [
        {"model": one, "against": other, "deleted in": where, "share": share, **flat({"loss": interval})}
        for (one, other, where, share), interval in swept.excess.items()
    ]
    write_rows(ROWS / "sparse-ehr-sweep.csv", points)
    ablated = ablations(store)
    write_rows(ROWS / "sparse-ehr-ablations.csv", ablated)
    for table in (shown, points, ablated):
        print_rows(table)


def compared(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row a model, and one a pair of models, with means over the splits."""
    found = compare_outcomes(outcomes)
    splits = {model: {row["split"] for row in found.rows if row["model"] == model} for model in found.measures}
    rows = [{"model": one, "against": "", "splits": len(splits[one]), **flat(m)} for one, m in found.measures.items()]
    return rows + [
        {"model": one, "against": other, "splits": len(splits[one] & splits[other]), **flat(measures)}
        for (one, other), measures in found.differences.items()
    ]


def ablations(store: RunStore) -> list[dict[str, Any]]:
    """Return a row a network: what it reached, and by how much it differs from another on the same stays."""
    found: dict[str, Outcome] = {}
    for record in store.values():
        if record["purpose"] == "ablation":
            options = {name: value for name, value in record["options"].items() if name not in ONE_NETWORK}
            name = next(name for name, changed in ABLATIONS.items() if changed == options)
            (found[name],) = to_outcomes(record)
    rows = []
    for name, outcome in found.items():
        against = found[RELEASED if name.startswith(f"{RELEASED}, ") else "PRISM"]
        split = outcome.split
        value, drawn = replicate_means([{split: outcome}, {split: against}], ["auroc", "auprc"], n_boot=1000, seed=0)
        row: dict[str, Any] = {"model": name, "against": next(n for n, o in found.items() if o is against)}
        for i, measure in enumerate(("auroc", "auprc")):
            difference = to_interval(value[0, i] - value[1, i], drawn[:, 0, i] - drawn[:, 1, i])
            row |= {measure: float(value[0, i])} | flat({f"{measure} difference": difference})
        rows.append(row | {"largest change of a risk": float(abs(outcome.probability - against.probability).max())})
    return rows


def flat(measures: Mapping[str, Interval]) -> dict[str, float]:
    """Return value and bounds of each measure as columns."""
    return {
        f"{measure}{bound}": getattr(interval, part)
        for measure, interval in measures.items()
        for bound, part in (("", "value"), (" low", "low"), (" high", "high"))
    }


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        print(
            "  ".join(
                f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values() if value != ""
            )
        )


if __name__ == "__main__":
    main()
