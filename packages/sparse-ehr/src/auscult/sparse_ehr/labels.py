"""Labels of two classes, and the folds of stays that are held out."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError

_HELD_OUT_FOLDS = 8
_LEAST_FOLDS = 5


def label_of(cohort: Cohort, task: str) -> NDArray[np.float64]:
    """Return the label [N] of a task, NaN where it is unknown.

    Raises
    ------
    InputError
        Where the cohort has no such label, or one per step.
    """
    if task not in cohort.labels:
        known = ", ".join(cohort.labels) or "none"
        raise InputError(
            f"the data have no label {task!r} (there are: {known}): choose one of these, or give its labels"
        )
    label = cohort.labels[task]
    if label.ndim != 1:
        raise InputError(f"the label {task!r} is given per step: give one per stay")
    return label.astype(np.float64)


def check_labels(y: ArrayLike, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the two classes, and [N] which labels are the second.

    Raises
    ------
    InputError
        For missing labels, another shape, or not two classes.
    """
    classes = np.unique(_known(y, count))
    if len(classes) != 2:
        held = ", ".join(map(str, classes[:5].tolist()))
        several = "class" if len(classes) == 1 else "classes"
        raise InputError(f"the labels hold {len(classes)} {several} ({held}): two are needed to learn a risk")
    return classes, np.asarray(y) == classes[1]


def codes_of(y: ArrayLike, classes: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return [N] which labels, of a validation part, are the second of these classes.

    Raises
    ------
    InputError
        For missing labels, another shape, a label that is neither class, or one class alone.
    """
    labels = _known(y, count)
    foreign = labels[~np.isin(labels, classes)]
    if len(foreign):
        raise InputError(f"a label is {foreign[0]}, which is none of the classes {classes.tolist()} of the fit")
    second: NDArray[np.bool_] = labels == classes[1]
    if len(np.unique(second)) < 2:
        raise InputError("the validation part does not hold both classes: it cannot say how good a model is")
    return second


def deal_folds(
    persons: NDArray[Any], label: NDArray[np.bool_], members: int, *, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return for each member the positions that it is fitted on and those that are held out; nobody is on both sides.

    Parameters
    ----------
    persons
        [N] the person of each stay.
    label
        [N]; each fold has its share of either class, as far as persons allow.
    members
        One member holds out an eighth; more make as many folds as members, five at least.
    seed
        Of the draw.

    Raises
    ------
    InputError
        Where there are too few stays to hold any out.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = _HELD_OUT_FOLDS if members == 1 else max(members, _LEAST_FOLDS)
    codes = np.unique(persons, return_inverse=True)[1]
    folds = min(folds, len(np.unique(codes)), max(2, int(min(label.sum(), (~label).sum()))))
    if len(np.unique(codes)) < 2 or members > folds:
        raise InputError(
            f"{len(label)} stays of {len(np.unique(codes))} persons, {int(label.sum())} with the outcome, are too few "
            f"for {members} member{'s' * (members > 1)}: give more, or a validation part"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Two stays of a class are enough for one of them to be held out.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        parts = list(splitter.split(np.empty(len(label)), label, codes))[:members]
    if any(len(np.unique(label[side])) < 2 for part in parts for side in part):
        raise InputError(
            f"{int(label.sum())} of {len(label)} stays have the outcome: too few of either class to hold some out"
        )
    return parts


def _known(y: ArrayLike, count: int) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise InputError(f"{count} stays have labels of shape {labels.shape}: give one for each")
    missing = int(np.isnan(labels).sum()) if labels.dtype.kind == "f" else 0
    if labels.dtype.kind == "O":
        import pandas as pd

        missing = int(pd.isna(labels).sum())
    if missing:
        raise InputError(f"{missing} labels are missing (NaN): leave these stays out")
    return labels
