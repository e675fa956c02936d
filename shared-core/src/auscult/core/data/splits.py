"""Splitting by person: the stays of one subject never lie on two sides."""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.errors import InputError, missing_dependency
from auscult.core.files import replace_atomically
from auscult.core.intervals import is_missing

USUAL_FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "validation": 0.1, "test": 0.2})


@dataclass(frozen=True, eq=False)
class Split:
    """Which subject is on which side.

    Parameters
    ----------
    subjects
        Name of the part -> its subject ids, sorted; no subject is in two parts.
    seed
        The seed that drew it.
    stratified
        Whether the draw kept the share of each class.
    """

    subjects: dict[str, NDArray[Any]]
    seed: int
    stratified: bool

    def __post_init__(self) -> None:
        everybody = np.concatenate([np.asarray(ids) for ids in self.subjects.values()])
        ids, counts = np.unique(everybody, return_counts=True)
        if (counts > 1).any():
            raise InputError(f"subject {ids[counts > 1][0]} is in two parts of the split: keep it in one")

    def index(self, subject_id: ArrayLike) -> dict[str, NDArray[np.int64]]:
        """Return for each part the positions in ``subject_id`` that belong to it.

        Raises
        ------
        InputError
            Where a subject is in no part: the split was made for other data.
        """
        ids = np.asarray(subject_id)
        index = {name: np.flatnonzero(np.isin(ids, part)) for name, part in self.subjects.items()}
        found = np.zeros(len(ids), dtype=bool)
        found[np.concatenate(list(index.values()))] = True
        if not found.all():
            raise InputError(f"subject {ids[~found][0]} is in no part of the split: split the data it belongs to")
        return index

    def save(self, path: Path) -> None:
        """Write the split as JSON, all or nothing."""
        subjects = {name: ids.tolist() for name, ids in self.subjects.items()}
        text = json.dumps({"seed": self.seed, "stratified": self.stratified, "subjects": subjects}, indent=1)
        replace_atomically(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))

    @classmethod
    def load(cls, path: Path) -> "Split":
        """Read what ``save`` wrote."""
        try:
            saved = json.loads(path.read_text("utf-8"))
            subjects = {name: np.array(ids) for name, ids in saved["subjects"].items()}
            return cls(subjects, int(saved["seed"]), bool(saved["stratified"]))
        except OSError as error:
            raise InputError(f"the split {path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is no saved split ({error}): give a file that Split.save wrote") from None


def split_subjects(
    subject_id: ArrayLike,
    *,
    stratify: ArrayLike | None = None,
    fractions: Mapping[str, float] = USUAL_FRACTIONS,
    seed: int,
) -> Split:
    """Divide the subjects at random; the order of the rows does not matter.

    The last part is drawn first from the sorted subjects, then the one before it from the rest, and so on;
    what remains is the first part. Sizes of drawn parts are rounded up. Each draw is scikit-learn's function
    ``train_test_split``. With ``fractions={"train": 0.3, "validation": 0.1, "test": 0.6}``, ``seed=42`` and
    the outcome as ``stratify`` this is the TJH split of Zhu et al. 2024 (arXiv 2402.01713).

    Parameters
    ----------
    subject_id
        [N] the subject of each record.
    stratify
        [N] a class whose share each part keeps. A subject with several records counts as the largest of its
        classes (died once: died).
    fractions
        Name -> share; they sum to 1.
    seed
        Of every draw.

    Raises
    ------
    InputError
        Where fractions do not sum to 1, a class is unknown, or there are too few subjects.

    Examples
    --------
    >>> split = split_subjects(np.arange(10), fractions={"train": 0.5, "test": 0.5}, seed=0)
    >>> {name: ids.tolist() for name, ids in split.subjects.items()}
    {'train': [0, 3, 5, 6, 7], 'test': [1, 2, 4, 8, 9]}
    """
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise missing_dependency("scikit-learn", purpose="splitting subjects", install="scikit-learn") from error
    if min(fractions.values(), default=0) <= 0 or not math.isclose(sum(fractions.values()), 1):
        raise InputError(f"fractions are {dict(fractions)}: give positive shares that sum to 1")
    subjects, classes = _class_of_subject(subject_id, stratify)
    parts: dict[str, NDArray[Any]] = {}
    rest, total = np.arange(len(subjects)), 1.0
    first, *others = fractions
    for name in reversed(others):
        # A quotient of decimal shares may lie a hair above the whole number it stands for.
        size = math.ceil(len(rest) * fractions[name] / total - 1e-9)
        by_class = None if stratify is None else classes[rest]
        try:
            rest, drawn = train_test_split(rest, test_size=size, random_state=seed, stratify=by_class)
        except ValueError as error:
            raise InputError(f"{len(rest)} subjects cannot give {size} to {name!r}: {error}") from None
        parts[name] = np.sort(subjects[drawn])
        total -= fractions[name]
    parts[first] = np.sort(subjects[rest])
    return Split({name: parts[name] for name in fractions}, seed, stratify is not None)


def few_shot(subject_id: ArrayLike, label: ArrayLike, *, per_class: int, seed: int) -> NDArray[Any]:
    """Draw the same number of subjects of each class, one class after the other, in the order drawn.

    The draw is that of Zhu et al. 2024 (arXiv 2402.01713): Python's ``random.Random(seed).sample`` from the
    sorted subjects of each class, lowest class first.

    Parameters
    ----------
    subject_id
        [N] the subject of each record, of the training part.
    label
        [N] the class of each record; a subject with several records counts as the largest of its classes.
    per_class
        Subjects to draw from each class.
    seed
        Of the draw.

    Raises
    ------
    InputError
        Where a class has fewer subjects than asked for, or ``per_class`` is below 1.
    """
    if per_class < 1:
        raise InputError(f"per_class is {per_class}: draw one subject of each class at least")
    subjects, classes = _class_of_subject(subject_id, label)
    generator = random.Random(seed)
    drawn: list[int] = []
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value).tolist()
        if len(members) < per_class:
            raise InputError(f"a class has {len(members)} subjects, fewer than per_class={per_class}: ask for fewer")
        drawn += generator.sample(members, per_class)
    return subjects[drawn]


def _class_of_subject(subject_id: ArrayLike, label: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted subjects and the largest class of each, as a code."""
    subjects, inverse = _coded("subject", np.asarray(subject_id))
    classes = np.zeros(len(subjects), dtype=np.int64)
    if label is not None:
        labels = np.asarray(label)
        if labels.shape != inverse.shape:
            raise InputError(f"{inverse.size} records have {labels.shape} classes: give one class per record")
        np.maximum.at(classes, inverse, _coded("class", labels)[1])
    return subjects, classes


def _coded(what: str, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted distinct values, and which of them each record has."""
    if values.ndim != 1:
        raise InputError(f"{what} of the records has shape {values.shape}: give one {what} for each record")
    if values.dtype.kind in "OfmM" and any(map(is_missing, values.tolist())):
        raise InputError(f"a record's {what} is missing: leave the record out or give it a {what} of its own")
    try:
        return np.unique(values, return_inverse=True)
    except TypeError:
        raise InputError(f"the records' {what} mixes types that have no order: make them all text or numbers") from None
