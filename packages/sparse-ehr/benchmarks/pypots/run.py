"""Classifiers of PyPOTS on the splits of a comparison, stored beside ours in its folder.

They run in an environment of their own (requirements.txt), and arrays go there and back in files. Series are hourly
over 48 hours, static values beside them as series that never change, all scaled by the training part; each job stays in
``FOLDER/pypots`` as soon as it is done, so a run that was stopped goes on.
"""

import argparse
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.data import Binning, Cohort, load_cohort
from auscult.core.files import replace_atomically
from auscult.core.runs import record_key
from auscult.sparse_ehr.deletion import delete_observed
from auscult.sparse_ehr.labels import label_of
from auscult.sparse_ehr.trials import SEEDS, SHARES, open_store, parts_of

NAMES = {
    "GRUD": "GRU-D (PyPOTS)",
    "SAITS": "SAITS (PyPOTS)",
    "Raindrop": "Raindrop (PyPOTS)",
    "BRITS": "BRITS (PyPOTS)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the comparison: sparse-ehr compare --out FOLDER")
    parser.add_argument("--data", required=True, help="as for sparse-ehr compare")
    parser.add_argument("--python", type=Path, required=True, help="the interpreter of PyPOTS' environment")
    parser.add_argument("--task", default="mortality")
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--deletions", nargs="+", type=float, default=[0.0], help="in training and test part alike")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-store", action="store_true", help="fit nothing, store what is done")
    chosen = parser.parse_args()
    cohort = load_cohort(chosen.data)
    label = label_of(cohort, chosen.task)
    with open_store(cohort, chosen.folder, chosen.task) as store:
        known = set(store)
    for split in chosen.splits:
        for deletion in chosen.deletions:
            place = chosen.folder / "pypots" / f"{split}-{deletion:g}"
            wanted = [
                model
                for model in chosen.models
                if job_key(model, split, deletion) not in known and not (place / f"{model}.npz").exists()
            ]
            if wanted and not chosen.only_store:
                export(cohort, label, split, deletion, place / "arrays.npz")
            for model in wanted if not chosen.only_store else []:
                done = place / f"{model}.npz"
                partial = done.with_suffix(".part.npz")
                command = [chosen.python, Path(__file__).with_name("classify.py"), model, place / "arrays.npz", partial]
                more = ["--epochs", chosen.epochs, "--threads", chosen.threads]
                subprocess.run([str(word) for word in (*command, *more)], check=True)
                partial.replace(done)
    with open_store(cohort, chosen.folder, chosen.task) as store:
        for key, record in records(cohort, label, chosen):
            if key not in store:
                store.put(key, record)
                print(f"stored {record['tests'][0]['probability'].keys()} on split {record['split']}")


def export(cohort: Cohort, label: np.ndarray, split: int, deletion: float, path: Path) -> None:
    """Write the arrays of a split, once."""
    if path.exists():
        return
    grid, label = to_grid(cohort, label)
    rows = parts_of(grid, label, split)
    thinned = delete_observed(grid, deletion, seed=0)
    values = to_series(thinned)
    train = values[rows["train"]].reshape(-1, values.shape[2])
    mean, spread = np.nan_to_num(np.nanmean(train, 0)), np.nanstd(train, 0)
    spread[~(spread > 0)] = 1

    def scale(part: np.ndarray) -> np.ndarray:
        return ((part - mean) / spread).astype(np.float32)

    arrays = {f"X_{part}": scale(values[rows[part]]) for part in rows} | {f"y_{p}": label[rows[p]] for p in rows}
    for share in () if deletion else SHARES[1:]:
        arrays[f"X_test_{share:g}"] = scale(to_series(delete_observed(grid, share, seed=0).select(rows["test"])))
    replace_atomically(path, lambda partial: np.savez(partial, **arrays))


def records(cohort: Cohort, label: np.ndarray, chosen: argparse.Namespace) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield key and record of every job that is done."""
    grid, label = to_grid(cohort, label)
    for done in sorted((chosen.folder / "pypots").glob("*-*/*.npz")):
        split, _, deletion = done.parent.name.rpartition("-")
        if done.stem not in NAMES:
            continue
        found = np.load(done)
        test = parts_of(grid, label, int(split))["test"]
        shares = {"p_test": float(deletion)} | {f"p_test_{share:g}": share for share in SHARES[1:]}
        yield job_key(done.stem, int(split), float(deletion)), {
            "split": int(split), "deletion": float(deletion), "purpose": "comparison",
            "seconds": float(found["seconds"]),
            "options": {"pypots": str(found["version"]), "torch": str(found["torch"]), "fit": str(found["options"])},
            "record_id": grid.record_id[test], "subject_id": grid.subject_id[test], "label": label[test],
            "tests": [
                {"deletion": share, "probability": {NAMES[done.stem]: found[name].astype(np.float64)}}
                for name, share in shares.items()
                if name in found.files
            ],
        }  # fmt: skip


def job_key(model: str, split: int, deletion: float) -> str:
    """Return what the record of a job is stored under."""
    return record_key("pypots", model, split, deletion)


def to_grid(cohort: Cohort, label: np.ndarray) -> tuple[Cohort, np.ndarray]:
    known = ~np.isnan(np.asarray(label, np.float64))
    grid = Binning(hours=1.0, end=48.0, empty="keep").apply(cohort.select(known))
    return grid, np.asarray(label)[known].astype(np.int64)


def to_series(grid: Cohort) -> np.ndarray:
    """Return [N, T, F + S] series, static values as some that never change."""
    fixed = np.repeat(grid.static[:, None], grid.values.shape[1], axis=1)
    return np.concatenate([grid.values, fixed], axis=2).astype(np.float64)


if __name__ == "__main__":
    main()
