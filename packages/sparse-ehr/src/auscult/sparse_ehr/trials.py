"""One model fitted on one split: the unit that comparisons and sweeps are made of, stored and never repeated."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.bins import Binning
from auscult.core.data.cohort import Cohort
from auscult.core.data.splits import split_subjects
from auscult.core.errors import InputError
from auscult.core.progress import progress
from auscult.core.runs import RunStore, record_key
from auscult.sparse_ehr.baselines import LightGBMBaseline, LogisticBaseline
from auscult.sparse_ehr.deletion import delete_observed

STACK, PRISM, BAGGED = "PRISM + summaries", "PRISM", "LightGBM, bagged"
LIGHTGBM, LOGISTIC = "LightGBM", "logistic regression"

SEEDS = (42, 0, 1, 2, 3)
"""Of the usual five splits."""

SHARES = (0.0, 0.5, 0.8)
"""Of the observed cells of the test part that are deleted, one after the other, for a model that saw all to train."""


@dataclass(frozen=True)
class Trial:
    """A model to fit.

    Parameters
    ----------
    model
        ``"prism"`` (alone, and stacked unless ``options`` say otherwise), ``"lightgbm"`` or ``"logistic"``.
    split
        Seed of the split by subject: 70 % to train, 10 % to validate, 20 % to test, stratified.
    deletion
        Share of the observed cells that is deleted before anything else.
    tests
        Shares of deletion of the test part to predict at; by default that of ``deletion`` itself, or :data:`SHARES`
        for a model that saw everything.
    options
        Of the model.
    purpose
        ``"comparison"``, or another word for what is to be left out of comparisons.
    """

    model: str
    split: int
    deletion: float = 0.0
    tests: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = "comparison"

    def __post_init__(self) -> None:
        if self.model not in ("prism", "lightgbm", "logistic"):
            raise InputError(f"there is no model {self.model!r}: use prism, lightgbm or logistic")
        object.__setattr__(self, "tests", self.tests or ((self.deletion,) if self.deletion else SHARES))

    @property
    def key(self) -> str:
        """What a record of it is stored under."""
        return record_key("trial", asdict(self))


@dataclass(frozen=True)
class Outcome:
    """What a model said of the test part of a split.

    Parameters
    ----------
    model
        As it is shown.
    split, deletion, test_deletion
        As in :class:`Trial`.
    record_id, subject_id, label, probability
        [n] of the test part.
    details
        Seconds, options, versions: what a reader may want to know.
    """

    model: str
    split: int
    deletion: float
    test_deletion: float
    record_id: NDArray[Any]
    subject_id: NDArray[Any]
    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    details: Mapping[str, Any]


def open_store(cohort: Cohort, folder: str | Path, task: str) -> RunStore:
    """Open the folder of a comparison; another task or other data are refused."""
    return RunStore.open(folder, config={"task": task}, data_fingerprint=cohort.fingerprint(), package="sparse-ehr")


def run_trials(cohort: Cohort, label: NDArray[Any], trials: Sequence[Trial], store: RunStore) -> list[Outcome]:
    """Fit what is not stored yet, one after the other, and return the outcomes of all.

    Parameters
    ----------
    cohort
        As loaded; it is binned hourly to 48 hours.
    label
        [N] 0 or 1, NaN where unknown; such stays are left out.
    trials
        What to fit.
    store
        Where records go. Killed at any moment, at most one fit is begun again, PRISM's from its last epoch.
    """
    missing = set(store.missing([trial.key for trial in trials]))
    if missing:
        known = ~np.isnan(np.asarray(label, np.float64))
        grid = Binning(hours=1.0, end=48.0, empty="keep").apply(cohort.select(known))
        outcome = np.asarray(label)[known].astype(np.int64)
        with progress("Fitting", len(missing)) as advance:
            for trial in trials:
                if trial.key in missing:
                    unfinished = store.folder / "unfinished" / trial.key[:16]
                    store.put(trial.key, _fit(trial, grid, outcome, unfinished))
                    shutil.rmtree(unfinished, ignore_errors=True)
                    missing.discard(trial.key)
                    advance(1)
    return [outcome for trial in trials for outcome in to_outcomes(store[trial.key])]


def to_outcomes(record: Mapping[str, Any]) -> Iterable[Outcome]:
    """Yield the outcomes of a stored record, one for each model and deletion that it was tested with."""
    ids = (np.array(record["record_id"]), np.array(record["subject_id"]), np.array(record["label"], np.int64))
    details = {name: record[name] for name in ("seconds", "options") if name in record}
    for test in record["tests"]:
        for model, probability in test["probability"].items():
            where = (record["split"], record["deletion"], test["deletion"])
            yield Outcome(model, *where, *ids, np.array(probability, np.float64), details)


def parts_of(grid: Cohort, label: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.int64]]:
    """Return the rows of the parts of a split: train, validation, test."""
    return split_subjects(grid.subject_id, stratify=label, seed=seed).index(grid.subject_id)


def _fit(trial: Trial, grid: Cohort, label: NDArray[np.int64], unfinished: Path) -> dict[str, Any]:
    rows = parts_of(grid, label, trial.split)
    thinned = delete_observed(grid, trial.deletion, seed=0)
    begin = time.perf_counter()
    predict = _FITS[trial.model](trial, thinned, label, rows, unfinished)
    seconds = time.perf_counter() - begin
    test = rows["test"]
    return {
        "split": trial.split, "deletion": trial.deletion, "options": dict(trial.options), "purpose": trial.purpose,
        "seconds": seconds,
        "record_id": grid.record_id[test], "subject_id": grid.subject_id[test], "label": label[test],
        "tests": [
            {"deletion": share, "probability": predict(delete_observed(grid, share, seed=0).select(test))}
            for share in trial.tests
        ],
    }  # fmt: skip


def _fit_baseline(trial: Trial, grid: Cohort, label: NDArray[np.int64], rows: Mapping[str, Any], _: Path) -> Any:
    make, name = {"lightgbm": (LightGBMBaseline, LIGHTGBM), "logistic": (LogisticBaseline, LOGISTIC)}[trial.model]
    train, held_out = rows["train"], rows["validation"]
    model = make(**trial.options).fit(
        grid.select(train), label[train], validation=(grid.select(held_out), label[held_out])
    )
    return lambda test: {name: model.predict_proba(test)[:, 1]}


def _fit_prism(trial: Trial, grid: Cohort, label: NDArray[np.int64], rows: Mapping[str, Any], unfinished: Path) -> Any:
    """Fit PRISM on training and validation part together, of which it holds out folds itself."""
    from auscult.sparse_ehr.estimator import PrismClassifier

    both = np.concatenate([rows["train"], rows["validation"]])
    options = {"random_state": trial.split, **trial.options, "checkpoint": str(unfinished)}
    model = PrismClassifier(**options).fit(grid.select(both), label[both])

    def predict(test: Cohort) -> dict[str, NDArray[np.float64]]:
        network, trees = model.log_odds(test)
        stacked = model.predict_proba(test)[:, 1]
        if trees is None:
            return {PRISM: stacked}
        return {STACK: stacked, PRISM: 1 / (1 + np.exp(-network)), BAGGED: 1 / (1 + np.exp(-trees))}

    return predict


_FITS = {"lightgbm": _fit_baseline, "logistic": _fit_baseline, "prism": _fit_prism}
