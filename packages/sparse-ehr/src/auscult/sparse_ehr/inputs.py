"""From stays as they are recorded to what the models see: steps of equal width, then filled and scaled tensors.

What is fitted is fitted on training stays alone, and a step never knows of a later one.

>>> import numpy as np
>>> grid = to_grid(np.array([[[80.0, np.nan], [np.nan, 2.1]]]))
>>> inputs = Preparer().fit(grid).transform(grid)
>>> inputs.values.shape, inputs.hours[0].tolist()
((1, 2, 6), [[0.0, inf], [1.0, 0.0]])
"""

import dataclasses
import difflib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.bins import Binning
from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.fill import Filler, time_since_last
from auscult.core.errors import InputError

FloatArray = NDArray[np.float32]

# Columns that say of a variable whether it is measured now, and how fresh its last value is.
_EXTRA = 2
# So many standard deviations from the mean a scaled value counts at most: laboratory values have long tails.
_LIMIT = 4.0


def to_grid(
    X: Cohort | ArrayLike, static: ArrayLike | None = None, *, bin_hours: float = 1.0, window_hours: float = 48.0
) -> Cohort:
    """Return stays on steps of equal width, all of the same number, with nothing imputed.

    Parameters
    ----------
    X
        A cohort, of which the hours from 0 to ``window_hours`` are put into bins of ``bin_hours`` (the last value of
        each counts); or an array [N, T, F] with NaN where nothing was measured, whose T steps stay as they are.
    static
        [N, S] of an array, NaN where unknown; a cohort has its own.
    bin_hours
        Width of a step.
    window_hours
        Where the window of a cohort ends.

    Returns
    -------
    Cohort
        Every stay has all T steps. The features of an array are called x0, x1, ... and static0, static1, ...

    Raises
    ------
    InputError
        For an array of another shape, infinite values, or ``static`` beside a cohort.
    """
    if isinstance(X, Cohort):
        _check(X, static)
        return Binning(hours=bin_hours, end=window_hours, empty="keep").apply(X)
    values = _numbers("X", X, 3, "[stays, steps, features]")
    count, steps, features = values.shape
    if not steps or not features:
        raise InputError(f"X has shape {values.shape}: give at least one step and one feature")
    fixed = np.empty((count, 0)) if static is None else _numbers("static", static, 2, "[stays, features]")
    if len(fixed) != count:
        raise InputError(f"static has {len(fixed)} rows for {count} stays: give one for each")
    return Cohort(
        record_id=np.arange(count),
        subject_id=np.arange(count),
        time=np.tile(np.arange(steps) * np.float32(bin_hours), (count, 1)),
        values=values,
        length=np.full(count, steps),
        features=tuple(Feature(f"x{i}") for i in range(features)),
        static=fixed.astype(np.float32),
        static_features=tuple(Feature(f"static{i}") for i in range(fixed.shape[1])),
    )


def in_chunks(
    X: Cohort | ArrayLike, static: ArrayLike | None, size: int, *, bin_hours: float = 1.0, window_hours: float = 48.0
) -> Iterator[Cohort]:
    """Yield what :func:`to_grid` returns a number of stays at a time, so that no large array is copied as a whole."""
    if isinstance(X, Cohort):
        _check(X, static)
        binning = Binning(hours=bin_hours, end=window_hours, empty="keep")
        for start in range(0, len(X), size):
            yield binning.apply(X.select(slice(start, start + size)))
        return
    array = np.asarray(X)
    fixed = None if static is None else np.asarray(static)
    if array.ndim != 3 or (fixed is not None and len(fixed) != len(array)):
        to_grid(array, fixed)  # says what is wrong
    for start in range(0, len(array), size):
        rows = slice(start, start + size)
        yield to_grid(array[rows], None if fixed is None else fixed[rows], bin_hours=bin_hours)


@dataclass(frozen=True)
class Inputs:
    """What PRISM sees of N stays.

    Parameters
    ----------
    values
        [N, T, sum of widths] filled and scaled.
    static
        [N, S] filled and scaled, categorical ones as one column a level.
    hours
        [N, T, L] since each variable was last measured, 0 where it is now, infinite where it never was.
    """

    values: FloatArray
    static: FloatArray
    hours: FloatArray

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> "Inputs":
        """Return some stays."""
        return Inputs(self.values[index], self.static[index], self.hours[index])


class Preparer:
    """Makes PRISM's inputs of stays on a grid (:func:`to_grid`), by what the training stays showed.

    Gaps are filled by the last observation, before the first one by the training median; numbers are scaled by
    trimmed statistics of the training stays and end at 4 standard deviations (ours); a categorical variable becomes
    one column a level.

    Parameters
    ----------
    unknown
        In all columns of a categorical variable that was not measured so far.
    missing_inputs
        Whether the encoder of each variable also sees if it is measured now (1 or 0) and how fresh its last value is
        (1 now, falling with time, 0 if never). An extension of ours; as released, it sees the filled value alone.
    every
        How many steps of the grid are one of the model, which sees what is known at the end of them. The last step
        is always one.

    Attributes
    ----------
    features_, static_features_ : tuple of Feature
    widths_ : tuple of int
        Columns of each variable.
    n_static_ : int
        Columns of the static values.
    presence_rate_ : ndarray [L]
    n_steps_ : int
        Of the grid.
    """

    def __init__(self, *, unknown: float = -1.0, missing_inputs: bool = True, every: int = 1) -> None:
        self.unknown = unknown
        self.missing_inputs = missing_inputs
        self.every = every

    def fit(self, grid: Cohort, rows: Any = slice(None)) -> Self:
        """Learn from some stays, the training ones."""
        self._filler = Filler().fit(grid, rows)
        return self._describe(grid.time.shape[1], _step_hours(grid))

    def align(self, grid: Cohort) -> Cohort:
        """Return a cohort's columns in the order of the fit, its categorical codes by the fitted levels.

        Raises
        ------
        InputError
            For a column that is missing, or that was not there at the fit.
        """
        if grid.time.shape[1] != self.n_steps_:
            raise InputError(f"these stays have {grid.time.shape[1]} steps, but those of the fit had {self.n_steps_}")
        if grid.features == self.features_ and grid.static_features == self.static_features_:
            return grid
        values, features = _aligned(grid.values, grid.features, self.features_)
        static, static_features = _aligned(grid.static, grid.static_features, self.static_features_)
        return dataclasses.replace(
            grid, values=values, features=features, static=static, static_features=static_features
        )

    def transform(self, grid: Cohort) -> Inputs:
        """Return what the model sees; ``grid`` has the columns of the fit (:meth:`align`)."""
        filled = self._filler.transform(grid)
        steps = self._steps()
        hours = time_since_last(grid).hours[:, steps]
        known = filled.values[:, steps]
        count, width = len(grid), self.every * self.horizon_ / self.n_steps_
        values = np.empty((count, len(steps), sum(self.widths_)), np.float32)
        column = 0
        for i, feature in enumerate(self.features_):
            for part in _columns(known[..., i], feature, self.unknown):
                values[..., column] = part
                column += 1
            if self.missing_inputs:
                values[..., column] = hours[..., i] < width
                # Half as fresh after an eighth of the window: six hours of two days.
                values[..., column + 1] = 1 / (1 + hours[..., i] * (8 / self.horizon_))
                column += _EXTRA
        static = [
            part
            for i, feature in enumerate(self.static_features_)
            for part in _columns(filled.static[:, i], feature, self.unknown)
        ]
        fixed = np.stack(static, axis=1) if static else np.empty((count, 0), np.float32)
        return Inputs(values, fixed.astype(np.float32), hours)

    def cells(self, grid: Cohort) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return for each step of the grid the hours [N, T, L] since a measurement, and [T] the model's step."""
        return time_since_last(grid).hours, np.searchsorted(self._steps(), np.arange(self.n_steps_))

    def column_names(self) -> tuple[str, ...]:
        """Return the names of the model's features: one a static column, then one a variable."""
        static = []
        for feature in self.static_features_:
            levels = feature.levels if feature.kind == "categorical" else ()
            static += [f"{feature.display_name}: {level}" for level in levels] or [feature.display_name]
        return (*static, *(feature.display_name for feature in self.features_))

    def to_dict(self) -> dict[str, Any]:
        """Return what was fitted, for JSON."""
        return {
            "unknown": self.unknown,
            "missing_inputs": self.missing_inputs,
            "every": self.every,
            "n_steps": self.n_steps_,
            "step_hours": self.horizon_ / self.n_steps_,
            "filler": self._filler.to_dict(),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return the fitted preparer that ``to_dict`` describes."""
        options = float(saved["unknown"]), bool(saved["missing_inputs"]), int(saved["every"])
        preparer = cls(unknown=options[0], missing_inputs=options[1], every=options[2])
        preparer._filler = Filler.from_dict(saved["filler"])
        return preparer._describe(int(saved["n_steps"]), float(saved["step_hours"]))

    def _steps(self) -> NDArray[np.int64]:
        """Return which steps of the grid the model sees."""
        return np.arange(self.n_steps_ - 1, -1, -self.every)[::-1]

    def _describe(self, steps: int, step_hours: float) -> Self:
        filler = self._filler
        self.features_, self.static_features_ = filler.features_, filler.static_features_
        extra = _EXTRA if self.missing_inputs else 0
        self.widths_ = tuple(_width(feature) + extra for feature in self.features_)
        self.n_static_ = sum(map(_width, self.static_features_))
        self.presence_rate_ = filler.presence_rate_
        self.n_steps_ = steps
        self.horizon_ = steps * step_hours
        return self


def _check(cohort: Cohort, static: ArrayLike | None) -> None:
    """Refuse static values beside those of a cohort, and say how much of it lies before its stays."""
    if static is not None:
        raise InputError("static was given beside a cohort, which has its own: leave it out")
    early = int((cohort.time < 0).sum())
    if early:
        warnings.warn(f"{early} steps lie before hour 0 of their stay and are left out", stacklevel=3)


def _numbers(name: str, given: ArrayLike, ndim: int, shape: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers ({error}): give {shape}, NaN where unknown") from None
    if array.ndim != ndim:
        raise InputError(f"{name} has {array.ndim} dimensions: give {shape}")
    return array


def _step_hours(grid: Cohort) -> float:
    return float(grid.time[0, 1] - grid.time[0, 0]) if grid.time.shape[1] > 1 else 1.0


def _width(feature: Feature) -> int:
    return len(feature.levels) if feature.kind == "categorical" else 1


def _columns(values: NDArray[Any], feature: Feature, unknown: float) -> Iterator[NDArray[Any]]:
    """Yield a numeric variable within limits, a categorical one as one column a level."""
    if feature.kind != "categorical":
        yield values.clip(-_LIMIT, _LIMIT)
        return
    for level in range(len(feature.levels)):
        yield np.where(values < 0, unknown, values == level)


def _aligned(
    values: FloatArray, given: tuple[Feature, ...], wanted: tuple[Feature, ...]
) -> tuple[FloatArray, tuple[Feature, ...]]:
    names, known = [feature.name for feature in given], [feature.name for feature in wanted]
    for name in known:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"the nearest there is {near[0]!r}" if near else f"give it, beside {', '.join(names) or 'no other'}"
            raise InputError(f"the column {name!r}, which the model was fitted on, is missing: {hint}")
    for name in names:
        if name not in known:
            raise InputError(f"the column {name!r} was not there when the model was fitted: leave it out")
    ordered = values[..., [names.index(name) for name in known]]
    for i, (feature, fitted) in enumerate((given[names.index(feature.name)], feature) for feature in wanted):
        if feature.kind != fitted.kind:
            raise InputError(f"the column {fitted.name!r} is {feature.kind}, but was {fitted.kind} at the fit")
        if feature.unit and fitted.unit and feature.unit != fitted.unit:
            raise InputError(
                f"the column {fitted.name!r} is in {feature.unit}, but was in {fitted.unit} at the fit: convert it"
            )
        if feature.levels != fitted.levels and fitted.kind == "categorical":
            ordered[..., i] = _recoded(ordered[..., i], feature, fitted)
    return ordered, wanted


def _recoded(codes: FloatArray, given: Feature, fitted: Feature) -> FloatArray:
    """Return codes of the fitted levels; a level that the fit did not know is missing."""
    lookup = np.array([fitted.levels.index(v) if v in fitted.levels else np.nan for v in given.levels], np.float32)
    known = ~np.isnan(codes)
    result = np.full_like(codes, np.nan)
    result[known] = lookup[codes[known].astype(np.int64)]
    lost = int(known.sum() - (~np.isnan(result)).sum())
    if lost:
        warnings.warn(
            f"{lost} values of {fitted.name!r} are levels that the fit did not know, and count as missing",
            stacklevel=4,
        )
    return result
