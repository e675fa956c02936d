"""What the commands do, as functions over a run's folder."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import os
import shutil
import typing
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.config import load_config
from auscult.core.data.cohort import Cohort
from auscult.core.data.open import load_cohort
from auscult.core.device import choose_device
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.risk import evaluate
from auscult.core.runs import RunStore
from auscult.sparse_ehr.estimator import PrismClassifier
from auscult.sparse_ehr.labels import check_labels, label_of

MEASURES = {
    "auroc": "auroc",
    "auprc": "auprc",
    "minpse": "min_precision_sensitivity",
    "brier": "brier",
    "ece": "expected_calibration_error",
    "log_loss": "log_loss",
}
"""Name in a result -> name in :data:`auscult.core.risk.METRICS`."""

_MODEL, _CHECKPOINTS, _SUMMARY, _SUBJECTS = "model", "checkpoints", "summary", "subjects"
# Set by options of the command, or by the run's folder.
_NOT_IN_CONFIG = ("random_state", "checkpoint")


def train_run(
    data: str,
    task: str,
    out: Path,
    *,
    seed: int = 0,
    config: Path | None = None,
    summary_stack: bool | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit a model on all stays whose label is known, into a run's folder, and return what came of it.

    A run that was killed goes on; one that is finished is only read. Of several processes of one group only the
    first writes.

    Parameters
    ----------
    data
        What :func:`~auscult.core.data.load_cohort` takes.
    task
        The label.
    out
        The run's folder.
    seed
        Of everything random.
    config
        A YAML file with parameters of :class:`~auscult.sparse_ehr.PrismClassifier`.
    summary_stack
        Overrides the parameter of this name.
    data_options
        Of the data's reader: further arguments of :func:`~auscult.core.data.load_cohort`.

    Raises
    ------
    InputError
        For data without the label, a wrong configuration, or a folder that belongs to another run.
    """
    parameters = read_parameters(config)
    if summary_stack is not None:
        parameters["summary_stack"] = summary_stack
    options = dict(data_options or {})
    cohort = load_labelled(data, task, options)
    label = label_of(cohort, task)
    known = ~np.isnan(label)
    if not known.all():
        warnings.warn(f"{int((~known).sum())} stays have no label and are left out", stacklevel=2)
    identity = {"data": data, "data_options": options, "task": task, "parameters": parameters}
    model = PrismClassifier(**parameters, random_state=seed, checkpoint=str(out / _CHECKPOINTS))
    # Before a folder is made.
    model.member_config()
    choose_device(model.device)
    chosen, outcome = cohort.select(known), label[known].astype(np.int64)

    def fit() -> dict[str, Any]:
        model.fit(chosen, outcome)
        return {
            "run": str(out), "data": data, "task": task, "n": len(chosen), "events": int(outcome.sum()),
            "unknown_labels": int((~known).sum()), "members": len(model.members_),
            "epochs": [len(history) for history in model.history_],
            "held_out": _measure(model.validation_["label"], model.validation_["probability"], None),
        }  # fmt: skip

    if not is_first_process():
        if not (out / _MODEL).exists():
            return fit()
        with RunStore.read(out) as store:
            return store[_SUMMARY]
    fingerprint = cohort.fingerprint()
    with (
        _leaving_nothing_where_refused(out),
        RunStore.open(out, config=identity, seed=seed, data_fingerprint=fingerprint, package="sparse-ehr") as store,
    ):
        if _SUMMARY in store and (out / _MODEL).exists():
            PrismClassifier.load(out / _MODEL)  # says so where it is damaged
            return store[_SUMMARY]
        summary = fit()
        model.set_params(checkpoint=None)
        model.save(out / _MODEL)
        if _SUMMARY not in store:
            with store.batch():
                store.put(_SUBJECTS, {"digests": sorted({_digest(s) for s in chosen.subject_id.tolist()})})
                store.put(_SUMMARY, summary)
    shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    return summary


def is_first_process() -> bool:
    """Return whether this process is the only one, or the first of the group that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


def load_labelled(data: str, task: str, data_options: Mapping[str, Any] | None = None) -> Cohort:
    """Return data in which a label of two classes is known for some stays.

    Raises
    ------
    InputError
        For other data.
    """
    cohort = load_cohort(data, **(data_options or {}))
    label = label_of(cohort, task)
    known = label[~np.isnan(label)]
    if not len(known):
        raise InputError(f"the label {task!r} of {data!r} is unknown for all {len(cohort)} stays: give data with it")
    check_labels(known.astype(np.int64), len(known))
    return cohort


def predict_run(run: Path, data: str, out: Path, *, data_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write ``subject_id`` and ``probability`` of every stay, in the data's order; labels are not needed."""
    if out.suffix != ".parquet":
        raise InputError(f"--out {str(out)!r}: the name must end in .parquet")
    model = load_model(run)
    cohort = load_cohort(data, **(data_options or {}))
    probability = model.predict_proba(cohort)[:, 1]
    write_predictions(out, cohort.subject_id, probability)
    return {"predictions": str(out), "n": len(cohort)}


def write_predictions(path: Path, subject_id: NDArray[Any], probability: NDArray[np.float64]) -> None:
    """Write predictions as parquet, all or nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"subject_id": pa.array(subject_id.tolist()), "probability": pa.array(probability, pa.float64())})
    replace_atomically(path, lambda partial: pq.write_table(table, partial))


def evaluate_run(
    run: Path, data: str, *, data_options: Mapping[str, Any] | None = None, n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return ``n``, ``events`` and the measures of :data:`MEASURES` with intervals of resampled subjects.

    Warns
    -----
    UserWarning
        Where the model was fitted on some of these subjects.
    """
    model = load_model(run)
    cohort = load_cohort(data, **(data_options or {}))
    label = label_of(cohort, _task(run))
    known = ~np.isnan(label)
    if not known.any():
        raise InputError(f"the labels of {data!r} are all unknown: give data with them, or use predict")
    if not known.all():
        warnings.warn(f"{int((~known).sum())} stays have no label and are left out", stacklevel=2)
    cohort, label = cohort.select(known), label[known]
    seen = _seen(run, cohort.subject_id)
    if seen:
        warnings.warn(
            f"the model was fitted on {seen} of these {len(np.unique(cohort.subject_id))} subjects: "
            "what is measured on them says little about others",
            stacklevel=2,
        )
    probability = model.predict_proba(cohort)[:, 1]
    measured = _measure(label, probability, cohort.subject_id, n_boot=n_boot, seed=seed)
    return {"n": len(cohort), "events": int(label.sum()), **measured}


def explain_run(
    run: Path,
    subject: str,
    *,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    out: Path | None = None,
    k: int = 10,
) -> dict[str, Any]:
    """Write a page about a subject's last stay, and return what it shows.

    Parameters
    ----------
    run
        The run's folder.
    subject
        The subject's id.
    data
        Where the subject is; by default the data that the model was fitted on.
    data_options
        Of the reader of ``data``.
    out
        The page; by default in the run's folder.
    k
        How many similar patients.

    Raises
    ------
    InputError
        For an unknown subject, or where the data that the model was fitted on cannot be read or have changed.
    """
    from auscult.sparse_ehr.explanation import explain
    from auscult.sparse_ehr.presentation import write_explanation

    model = load_model(run)
    reference = _fitted_on(run)
    cohort = reference if data is None else load_cohort(data, **(data_options or {}))
    ids = [str(one) for one in cohort.subject_id.tolist()]
    if subject not in ids:
        known = ", ".join(ids[:5])
        raise InputError(f"there is no subject {subject!r} in the data: use another, such as {known}")
    row = len(ids) - 1 - ids[::-1].index(subject)
    found = explain(model, cohort, row, reference=reference, k=min(k, len(model.reference_) - 1))
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in subject)
    page = out or run / f"explain-{name}.html"
    if page.suffix != ".html":
        raise InputError(f"--out {str(page)!r}: the name must end in .html")
    write_explanation(found, page)
    return {"page": str(page), **found.to_dict()}


def load_model(run: Path) -> PrismClassifier:
    """Return the model of a run's folder.

    Raises
    ------
    InputError
        Where there is none.
    """
    if not run.is_dir():
        raise InputError(f"there is no run in {str(run)!r}: give the folder that 'sparse-ehr train --out' wrote")
    _manifest(run)  # of this version
    if not (run / _MODEL).exists():
        raise InputError(f"the run in {str(run)!r} has no model yet: let its training end, or start it again")
    return PrismClassifier.load(run / _MODEL)


def read_parameters(config: Path | None) -> dict[str, Any]:
    """Return parameters of the estimator from a YAML file, checked; none without a file."""
    if config is None:
        return {}
    given = load_config(_parameters_class(), config)
    defaults = _parameters_class()()
    return {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(given)
        if getattr(given, field.name) != getattr(defaults, field.name)
    }


@functools.cache
def _parameters_class() -> type[Any]:
    """Return the estimator's parameters as a dataclass, which a configuration is checked against."""
    hints = typing.get_type_hints(PrismClassifier.__init__)
    parameters = inspect.signature(PrismClassifier.__init__).parameters
    fields = [
        (name, hints[name], dataclasses.field(default=parameter.default))
        for name, parameter in parameters.items()
        if name not in ("self", *_NOT_IN_CONFIG)
    ]
    return dataclasses.make_dataclass("Parameters", fields, frozen=True)


def _measure(
    label: NDArray[Any], probability: NDArray[Any], subjects: NDArray[Any] | None, *, n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    found = evaluate(label, probability, subjects, metrics=tuple(MEASURES.values()), n_boot=n_boot, seed=seed)
    return {name: found[measure].to_dict() for name, measure in MEASURES.items()}


@contextlib.contextmanager
def _leaving_nothing_where_refused(folder: Path) -> Iterator[None]:
    """Remove what a run whose input is refused has put into its folder, unless a training has begun there."""
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except InputError:
        if folder.is_dir() and not (folder / _CHECKPOINTS).exists():
            for path in set(folder.iterdir()) - (before or set()):
                path.unlink()
            if before is None:
                folder.rmdir()
        raise


def _manifest(run: Path) -> dict[str, Any]:
    with RunStore.read(run) as store:
        return store.manifest


def _fitted_on(run: Path) -> Cohort:
    """Return the data that a model was fitted on, whose rows its similar patients are."""
    manifest = _manifest(run)
    data, options = manifest["config"]["data"], manifest["config"]["data_options"]
    try:
        cohort = load_cohort(data, **options)
    except InputError as error:
        raise InputError(
            f"the data that this run was fitted on, {data!r}, cannot be read ({error}): start where 'train' was started"
        ) from error
    if cohort.fingerprint() != manifest["data_fingerprint"]:
        raise InputError(
            f"{data!r} has changed since this run was fitted on it, so its stays cannot be shown: restore it, or train "
            "again"
        )
    return cohort


def _task(run: Path) -> str:
    return str(_manifest(run)["config"]["task"])


def _seen(run: Path, subject_id: NDArray[Any]) -> int:
    """Return how many of some subjects the model was fitted on."""
    with RunStore.read(run) as store:
        known = set(store[_SUBJECTS]["digests"])
    return len(known & {_digest(subject) for subject in subject_id.tolist()})


def _digest(subject: Any) -> str:
    return hashlib.sha256(str(subject).encode()).hexdigest()[:16]
