"""One data set as arrays: patients x time x features, ragged over time."""

import dataclasses
import difflib
import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.feature import Feature
from auscult.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AttritionRow:
    """What one step of reading left, and why.

    Parameters
    ----------
    step
        The step's name.
    rows
        Rows of the source left after it.
    records
        Stays left after it.
    changed
        How many rows, cells or times (``reason`` says which) it dropped or altered.
    reason
        Why.
    """

    step: str
    rows: int
    records: int
    changed: int
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cohort:
    """Patients x time x features, ragged over time, as read: nothing is imputed.

    One row is one stay; several stays of a person share ``subject_id``. N stays, at most T steps each
    (T >= 1), F features, S static features. The arrays are read-only.

    Parameters
    ----------
    record_id
        [N] the stay; integers or text, unique.
    subject_id
        [N] the person: what splits and confidence intervals go by.
    time
        [N, T] hours since the stay's anchor, strictly increasing, NaN beyond ``length``.
    values
        [N, T, F] measured values (codes of levels where categorical), NaN where nothing was observed.
    length
        [N] number of steps, 0 for a stay without any.
    features
        The F columns of ``values``.
    static
        [N, S] what does not change within a stay, NaN where unknown.
    static_features
        The S columns of ``static``.
    labels
        Name -> [N] per stay, or [N, T] per step (NaN beyond ``length``). Every reader uses the same names:
        ``mortality`` (1 died), ``readmission``, ``los_days`` (remaining days where per step).
    anchor
        [N] the time that hours count from, where the source has real times: for showing dates and for export,
        never a model's input. Add hours to it in float64: float32 has no room for microseconds.
    attrition
        What each step of reading left.
    provenance
        Source, licence, file and its digest.
    notes
        What a user of these data should know: duplicates, odd times.

    Raises
    ------
    InputError
        Where shapes disagree, an id is missing or repeated, a time is out of order, a value is infinite or no
        code of its feature, or something lies beyond a stay's length.

    Examples
    --------
    >>> cohort = Cohort(
    ...     record_id=[7, 9],
    ...     subject_id=[1, 1],
    ...     time=[[0, 1], [0, np.nan]],
    ...     values=[[[80], [np.nan]], [[95], [np.nan]]],
    ...     length=[2, 1],
    ...     features=(Feature("heart rate", unit="/min"),),
    ...     labels={"mortality": [0, 1]},
    ... )
    >>> cohort
    Cohort(2 records, 1 subjects, 3 steps, 1 features)
    >>> cohort.select(cohort.labels["mortality"] == 1).record_id
    array([9])
    """

    record_id: NDArray[Any]
    subject_id: NDArray[Any]
    time: NDArray[np.float32]
    values: NDArray[np.float32]
    length: NDArray[np.int64]
    features: tuple[Feature, ...]
    static: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    static_features: tuple[Feature, ...] = ()
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    anchor: NDArray[np.datetime64] | None = None
    attrition: tuple[AttritionRow, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        static = self.static if self.static_features or np.size(self.static) else np.empty((len(self.record_id), 0))
        anchor = None if self.anchor is None else _anchors(self.anchor)
        converted = {
            "record_id": _ids("record_id", self.record_id),
            "subject_id": _ids("subject_id", self.subject_id),
            "time": _floats("time", self.time),
            "values": _floats("values", self.values),
            "length": _counts("length", self.length),
            "features": tuple(self.features),
            "static": _floats("static", static),
            "static_features": tuple(self.static_features),
            "labels": {name: _label(name, label) for name, label in self.labels.items()},
            "anchor": anchor,
            "attrition": tuple(self.attrition),
            "provenance": dict(self.provenance),
            "notes": tuple(self.notes),
        }
        for name, value in converted.items():
            object.__setattr__(self, name, _read_only(value) if isinstance(value, np.ndarray) else value)
        _check_shapes(self)
        _check_names(self)
        _check_content(self)

    def __len__(self) -> int:
        return len(self.record_id)

    def __repr__(self) -> str:
        subjects, steps = len(np.unique(self.subject_id)), int(self.length.sum())
        return f"Cohort({len(self)} records, {subjects} subjects, {steps} steps, {len(self.features)} features)"

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, T, F): with this and ``cohort[rows]`` the tools of scikit-learn split a cohort as they split an array."""
        return self.values.shape

    def __getitem__(self, rows: Any) -> "Cohort":
        """Return what :meth:`select` does; ``cohort[rows, ...]`` is the same."""
        return self.select(rows[0] if isinstance(rows, tuple) and rows[1:] == (Ellipsis,) else rows)

    @functools.cached_property
    def observed(self) -> NDArray[np.bool_]:
        """[N, T, F] where a value was measured: exactly where ``values`` is not NaN."""
        observed: NDArray[np.bool_] = _read_only(~np.isnan(self.values))
        return observed

    @functools.cached_property
    def valid(self) -> NDArray[np.bool_]:
        """[N, T] steps that exist: those before ``length``."""
        valid: NDArray[np.bool_] = _read_only(np.arange(self.time.shape[1]) < self.length[:, None])
        return valid

    def feature_index(self, name: str) -> int:
        """Return the column of ``values`` that holds a feature, by its name or its display name."""
        for names in ([f.name for f in self.features], [f.display_name for f in self.features]):
            if name in names:
                return names.index(name)
        near = difflib.get_close_matches(name, [f.name for f in self.features], n=1, cutoff=0.5)
        hint = f"the nearest is {near[0]!r}" if near else f"there are {[f.name for f in self.features]}"
        raise InputError(f"there is no feature {name!r}; {hint}")

    def select(self, rows: Any) -> "Cohort":
        """Return the cohort of some stays, in the order asked for; T stays as it is.

        Parameters
        ----------
        rows
            Positions, a mask [N] or a slice. A position that comes twice is refused: resample indices, not
            cohorts.
        """
        try:
            positions = np.arange(len(self))[rows]
        except IndexError as error:
            raise InputError(f"these rows cannot be selected from {len(self)} records: {error}") from None
        if positions.ndim != 1:
            raise InputError(f"rows to select must be a flat list or mask, and have {positions.ndim} dimensions")
        arrays = ("record_id", "subject_id", "time", "values", "length", "static")
        picked = {name: getattr(self, name)[positions] for name in arrays}
        left, dropped = len(positions), len(self) - len(positions)
        row = AttritionRow("select", int(picked["length"].sum()), left, dropped, "records: the others were selected")
        return dataclasses.replace(
            self,
            **picked,
            labels={name: label[positions] for name, label in self.labels.items()},
            anchor=None if self.anchor is None else self.anchor[positions],
            attrition=(*self.attrition, row),
        )

    def to_frame(self) -> "pd.DataFrame":
        """Return the observed values, one a row: record_id, subject_id, time (hours), feature, value.

        Rows go by stay, then time, then feature. ``feature`` is categorical in the order of ``features``.
        """
        import pandas as pd

        record, step, feature = np.nonzero(self.observed)
        return pd.DataFrame(
            {
                "record_id": self.record_id[record],
                "subject_id": self.subject_id[record],
                "time": self.time[record, step],
                "feature": pd.Categorical.from_codes(feature, categories=pd.Index([f.name for f in self.features])),
                "value": self.values[record, step, feature],
            }
        )

    def first_visit(self) -> "pd.DataFrame":
        """Return one row a stay: subject_id, static columns, the values of its first step, the labels.

        Columns carry the raw names; categorical ones hold codes. A value is NaN where the first step lacks
        it, even if a later step has it (the first value *per column* would mix visits); a label per step is
        that of the first step. The index is ``record_id``.
        """
        import pandas as pd

        index = pd.Index(self.record_id, name="record_id")
        columns: dict[str, NDArray[Any]] = {"subject_id": self.subject_id}
        columns |= {f.name: self.static[:, i] for i, f in enumerate(self.static_features)}
        columns |= {f.name: self.values[:, 0, i] for i, f in enumerate(self.features)}
        columns |= {name: label if label.ndim == 1 else label[:, 0] for name, label in self.labels.items()}
        return pd.DataFrame(columns, index=index)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hexadecimal) of the content: ids, times, values, static data, labels, anchors.

        Neither the order of the stays nor T changes it. The order of the features does (it changes a model),
        and so do their names, kinds, units and levels; display names, reference ranges, attrition, provenance
        and notes do not.
        """
        order = np.argsort(self.record_id)
        labels = sorted(self.labels)
        meaning = [[f.name, f.kind, f.unit, f.levels] for f in (*self.features, *self.static_features)]
        header = [meaning, len(self.features), [[name, self.labels[name].ndim] for name in labels]]
        header += [
            self.anchor is not None,
            self.record_id[order].tolist(),
            self.subject_id[order].tolist(),
            self.length[order].tolist(),
        ]
        digest = hashlib.sha256(json.dumps(header).encode())
        if self.anchor is not None:
            digest.update(self.anchor[order].astype("<i8").tobytes())
        arrays: list[tuple[NDArray[Any], bool]] = [
            (self.time, True),
            (self.values, True),
            (self.static, False),
        ]
        arrays += [(self.labels[name], self.labels[name].ndim == 2) for name in labels]
        for array, steps in arrays:
            for start in range(0, len(order), 1024):
                part = order[start : start + 1024]
                cells = array[part][self.valid[part]] if steps else array[part]
                canonical = np.where(np.isnan(cells), np.nan, cells) + 0.0  # one NaN, no negative zero
                digest.update(canonical.astype("<f8").tobytes())
        return digest.hexdigest()


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.setflags(write=False)
    return view


def _ids(name: str, ids: ArrayLike) -> NDArray[Any]:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise InputError(f"{name} has {array.ndim} dimensions: give one id per stay")
    if array.dtype.kind in "iu" or array.size == 0:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise InputError(f"{name} holds {array.max()}, more than 64 bits with a sign hold: give ids as text")
        return array.astype(np.int64)
    if array.dtype.kind not in "UO" or any(not isinstance(value, str) or not value for value in array.tolist()):
        raise InputError(f"{name} holds {array[:3].tolist()}: ids are whole numbers or text, and none may be missing")
    return array.astype(np.str_)


def _anchors(anchor: ArrayLike) -> NDArray[np.datetime64]:
    try:
        return np.asarray(anchor).astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise InputError(f"anchor is no array of times: {error}") from None


def _counts(name: str, numbers: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(numbers)
    if array.dtype.kind not in "iu" and array.size:
        raise InputError(f"{name} is of type {array.dtype}: give whole numbers")
    return array.astype(np.int64)


def _floats(name: str, numbers: ArrayLike) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(numbers).astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers: {error}") from None
    if np.isinf(array).any():
        raise InputError(f"{name} holds an infinite value: mark what was not observed as NaN")
    return array


def _label(name: str, label: ArrayLike) -> NDArray[Any]:
    array = np.asarray(label)
    if array.dtype.kind not in "biuf":
        raise InputError(f"label {name!r} is of type {array.dtype}: give numbers, NaN where unknown")
    return _read_only(array)


def _check_shapes(cohort: Cohort) -> None:
    n, t = len(cohort.record_id), cohort.time.shape[-1] if cohort.time.ndim else 0
    wanted: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "subject_id": (cohort.subject_id, (n,)),
        "time": (cohort.time, (n, t)),
        "values": (cohort.values, (n, t, len(cohort.features))),
        "length": (cohort.length, (n,)),
        "static": (cohort.static, (n, len(cohort.static_features))),
    }
    if cohort.anchor is not None:
        wanted["anchor"] = (cohort.anchor, (n,))
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise InputError(f"{name} has shape {array.shape}; {n} records, {t} steps and the features need {shape}")
    for name, label in cohort.labels.items():
        if label.shape not in ((n,), (n, t)):
            raise InputError(f"label {name!r} has shape {label.shape}: give {(n,)} per stay or {(n, t)} per step")
    if t == 0:
        raise InputError("time has room for no step: give one column at least, NaN for stays of length 0")


def _check_names(cohort: Cohort) -> None:
    names = [f.name for f in (*cohort.features, *cohort.static_features)] + list(cohort.labels)
    names += ["record_id", "subject_id", "time"]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(
            f"the name {twice[0]!r} is used twice among features, static features, labels and ids: rename one"
        )


def _check_content(cohort: Cohort) -> None:
    record_id, valid = cohort.record_id, cohort.valid
    ids, counts = np.unique(record_id, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"record_id {ids[counts > 1][0]} occurs {counts.max()} times: one row is one stay")
    if ((cohort.length < 0) | (cohort.length > cohort.time.shape[1])).any():
        raise InputError(f"length must lie between 0 and {cohort.time.shape[1]}, the number of steps in time")
    if cohort.anchor is not None and np.isnat(cohort.anchor).any():
        raise InputError("a stay has no anchor (NaT): give every stay one, or anchor=None")
    per_step = {"time": cohort.time, "values": cohort.values} | {
        f"label {name!r}": label for name, label in cohort.labels.items() if label.ndim == 2
    }
    for name, array in per_step.items():
        if (~np.isnan(array[~valid])).any():
            raise InputError(f"{name} holds something beyond a stay's length: fill it with NaN there")
    if np.isnan(cohort.time[valid]).any():
        raise InputError("time is NaN within a stay's length: every step needs one")
    backwards = np.diff(cohort.time, axis=1) <= 0
    if backwards.any():
        stay = record_id[np.nonzero(backwards)[0][0]]
        raise InputError(f"times of record {stay} do not increase: sort its steps and merge those of one time")
    for array, features in ((cohort.values, cohort.features), (cohort.static, cohort.static_features)):
        for i, feature in enumerate(features):
            if feature.levels:
                codes = array[..., i][~np.isnan(array[..., i])]
                if ((codes != np.round(codes)) | (codes < 0) | (codes >= len(feature.levels))).any():
                    last = len(feature.levels) - 1
                    raise InputError(f"feature {feature.name!r} holds a value that is no code of a level, 0 to {last}")
