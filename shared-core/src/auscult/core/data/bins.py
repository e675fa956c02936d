"""Coarser steps: bins of some hours, the first steps of a stay, the last ones.

Nothing is imputed: a bin without a measurement of a feature holds NaN there. Several values of a feature in one
bin become one by a rule of one's choice; the states of a categorical feature are never averaged.

>>> from auscult.core.data import Binning, load_cohort
>>> cohort = load_cohort("tjh")
>>> weekly = Binning(hours=168, aggregate="mean").apply(cohort)
>>> int(cohort.length.sum()), int(weekly.length.sum())
(1704, 666)
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import Combine, Ragged, gather, snapped
from auscult.core.errors import InputError

# The preparation that studies with hourly intensive-care panels share: bins counted from the first event, the
# last value of each, a time on an edge in the bin before it, empty bins written out.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seed": {"hours": 1.0, "origin": "first_event", "aggregate": "last", "edge": "previous", "empty": "keep"}
}
# What the seeds subtract from a time, in bins, so that an edge falls into the bin before it.
_EDGE = 1e-6
_CHUNK = 2048


@dataclass(frozen=True, kw_only=True)
class Binning:
    """How the steps of a stay become bins; a bin's time is its left edge.

    Parameters
    ----------
    hours
        Width of a bin.
    origin
        Where bins are counted from: the stay's ``anchor`` (hour 0), its ``first_event`` (first step), or the
        ``midnight`` before the anchor (with ``hours=24``: calendar days; needs ``cohort.anchor``).
    aggregate
        How the values of a feature in one bin become one: ``mean``, ``sum``, ``min``, ``max``, ``first`` or
        ``last``, for all features or by name (those not named: ``last``). Categorical features take ``last``
        where another rule is given for all, and so do ordinal ones for ``mean`` and ``sum``. Labels per step
        are those of the bin's last step.
    pre_anchor
        What becomes of steps before the origin: ``drop``, ``keep`` (negative bins; never towards zero) or
        ``fold_into_0`` (the first bin).
    edge
        Whether a time on an edge belongs to the ``next`` bin or the ``previous`` one; time 0 is in bin 0.
    end
        Hours from the origin after which steps are left out; a step at the end itself belongs to the last
        bin. None keeps all.
    empty
        Whether bins without a step are left out (``drop``) or written out (``keep``): from bin 0 to the one
        before ``end``, or without an end to the stay's last.

    Examples
    --------
    The windows of Zhu et al. 2024 (arXiv 2402.01713) on intensive-care stays, with nothing after hour 48:

    >>> Binning(hours=12, end=48, aggregate="mean").end
    48
    """

    hours: float = 1.0
    origin: Literal["anchor", "first_event", "midnight"] = "anchor"
    aggregate: Combine | Mapping[str, Combine] = "last"
    pre_anchor: Literal["drop", "keep", "fold_into_0"] = "drop"
    edge: Literal["next", "previous"] = "next"
    end: float | None = None
    empty: Literal["drop", "keep"] = "drop"

    def __post_init__(self) -> None:
        for field in ("origin", "pre_anchor", "edge", "empty"):
            known = get_args(type(self).__annotations__[field])
            if getattr(self, field) not in known:
                raise InputError(f"{field} is {getattr(self, field)!r}: use one of {', '.join(known)}")
        if not (self.hours > 0 and math.isfinite(self.hours)):
            raise InputError(f"hours is {self.hours}: give the width of a bin, a number above 0")
        if self.end is not None and not (self.end > 0 and math.isfinite(self.end)):
            raise InputError(f"end is {self.end}: give hours from the origin, a number above 0, or None")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return a named set of options, some of them changed.

        Parameters
        ----------
        name
            ``"seed"``: the preparation that studies with hourly intensive-care panels share.
        **changes
            Options that differ from it.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r}: known are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def apply(self, cohort: Cohort) -> Cohort:
        """Return the cohort with one step a bin.

        Raises
        ------
        InputError
            Where ``aggregate`` names an unknown feature or averages a categorical one, or ``origin`` needs
            anchors that the cohort lacks.
        """
        offset = self._offset(cohort)
        position = self._position(cohort, offset)
        early = position < 0 if self.pre_anchor == "drop" else np.zeros(position.shape, np.bool_)
        late = position > (np.inf if self.end is None else self._widths_to_end())
        dropped = early | late
        index = np.where(dropped, np.nan, self._index(position))
        time = offset[:, None] + index * self.hours
        grid = self._grid(index, offset) if self.empty == "keep" else None
        binned = _regroup(cohort, time, self.aggregate, grid)
        rows = [
            AttritionRow(
                "drop steps outside the window",
                int(cohort.length.sum() - dropped.sum()),
                len(cohort),
                int(dropped.sum()),
                f"steps: {early.sum()} lie before the origin, {late.sum()} after the end",
            ),
            AttritionRow(
                "bin",
                int(binned.length.sum()),
                len(cohort),
                int(cohort.length.sum() - dropped.sum()),
                f"steps: those of one bin of {self.hours:g} h become one",
            ),
        ]
        return dataclasses.replace(binned, attrition=(*cohort.attrition, *rows))

    def _offset(self, cohort: Cohort) -> NDArray[np.float64]:
        """Return [N] the hours from the anchor to the origin."""
        if self.origin == "anchor":
            return np.zeros(len(cohort))
        if self.origin == "first_event":
            return np.nan_to_num(cohort.time[:, 0].astype(np.float64))
        if cohort.anchor is None:
            raise InputError("origin='midnight' needs the time of each stay's start, which this cohort lacks")
        midnight = cohort.anchor.astype("datetime64[D]")
        offset: NDArray[np.float64] = (midnight - cohort.anchor) / np.timedelta64(1, "h")
        return offset

    def _position(self, cohort: Cohort, offset: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [N, T] the widths between the origin and each step; an edge is one, however float32 rounded it."""
        # The first event's time is rounded too.
        rounded = 2 * np.fmax(*np.broadcast_arrays(abs(cohort.time), abs(offset[:, None])))
        doubt = rounded if self.origin == "first_event" else cohort.time
        return snapped(cohort.time - offset[:, None], self.hours, doubt)

    def _widths_to_end(self) -> float:
        end = np.array(self.end, np.float32)
        return float(snapped(end, self.hours, end))

    def _index(self, position: NDArray[Any]) -> NDArray[Any]:
        """Return [N, T] the bin of each step, NaN beyond a stay's length."""
        index = np.floor(position) if self.edge == "next" else np.ceil(position - _EDGE) - 1
        index = np.where(position >= 0, np.maximum(index, 0), index)
        if self.end is not None:
            index = np.minimum(index, math.ceil(self._widths_to_end()) - 1)
        return np.maximum(index, 0) if self.pre_anchor == "fold_into_0" else index

    def _grid(self, index: NDArray[Any], offset: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [N, bins] the time of every bin of a stay, NaN beyond its last."""
        last = np.fmax.reduce(index, axis=1, initial=-1.0) if self.end is None else np.full(len(index), np.inf)
        count = math.ceil(self._widths_to_end()) if self.end is not None else int(last.max(initial=-1.0)) + 1
        bins = np.arange(count)
        return np.where(bins <= last[:, None], offset[:, None] + bins * self.hours, np.nan)


def first_steps(cohort: Cohort, steps: int) -> Cohort:
    """Return the cohort with at most the first so many steps of each stay."""
    _check_steps(steps)
    time = np.where(np.arange(cohort.time.shape[1]) < steps, cohort.time, np.nan)
    return _counted(cohort, _regroup(cohort, time, "last"), "first steps", f"steps: only the first {steps} are kept")


def last_steps(
    cohort: Cohort,
    steps: int,
    *,
    fold_earlier: bool = False,
    aggregate: Combine | Mapping[str, Combine] = "last",
) -> Cohort:
    """Return the cohort with at most the last so many steps of each stay.

    Parameters
    ----------
    cohort
        Often of calendar days: ``Binning(hours=24, origin="midnight").apply(cohort)``.
    steps
        How many to keep.
    fold_earlier
        Whether all earlier steps become one more step in front, at the time of the latest of them.
    aggregate
        How its values are made, as in :class:`Binning`.
    """
    _check_steps(steps)
    first = (cohort.length - steps)[:, None]
    earlier = np.arange(cohort.time.shape[1]) < first
    folded = np.take_along_axis(cohort.time, np.clip(first - 1, 0, None), axis=1) if fold_earlier else np.nan
    time = np.where(earlier, folded, cohort.time)
    what = "become one" if fold_earlier else "are left out"
    return _counted(cohort, _regroup(cohort, time, aggregate), "last steps", f"steps: those before {what}")


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"steps is {steps}: keep one step at least")


def _counted(cohort: Cohort, result: Cohort, step: str, reason: str) -> Cohort:
    left = int(result.length.sum())
    row = AttritionRow(step, left, len(cohort), int(cohort.length.sum()) - left, reason)
    return dataclasses.replace(result, attrition=(*cohort.attrition, row))


def _regroup(
    cohort: Cohort,
    time: NDArray[Any],
    aggregate: Combine | Mapping[str, Combine],
    grid: NDArray[np.float64] | None = None,
) -> Cohort:
    """Give each step another time (NaN: leave it out) and merge those of one; ``grid`` [N, B] are times to be."""
    per_step = [name for name, label in cohort.labels.items() if label.ndim == 2]
    labels: list[Combine] = ["last"] * len(per_step)
    combine = _combine(cohort.features, aggregate) + labels
    parts: list[Ragged] = []
    # In parts, because the values one by one need several times the room of the padded array.
    for start in range(0, len(cohort), _CHUNK):
        rows = slice(start, start + _CHUNK)
        cells = np.dstack([cohort.values[rows], *(cohort.labels[name][rows].astype(np.float64) for name in per_step)])
        placed = ~np.isnan(time[rows])
        record, step, feature = np.nonzero(~np.isnan(cells) & placed[..., None])
        value = cells[record, step, feature]
        kept_record, kept_step = np.nonzero(placed)
        times = [time[rows][record, step], time[rows][kept_record, kept_step]]
        records = [record, kept_record]
        if grid is not None:
            grid_record, grid_bin = np.nonzero(~np.isnan(grid[rows]))
            times.append(grid[rows][grid_record, grid_bin])
            records.append(grid_record)
        blank = sum(map(len, records[1:]))
        parts.append(
            gather(
                np.concatenate(records),
                np.concatenate(times),
                np.concatenate([feature, np.zeros(blank, np.intp)]),
                np.concatenate([value, np.full(blank, np.nan)]),
                records=len(cells),
                features=len(combine),
                combine=combine,
            )
        )
    joined = _join(parts, len(combine))
    return dataclasses.replace(
        cohort,
        time=joined.time,
        values=joined.values[..., : len(cohort.features)],
        length=joined.length,
        labels={
            name: joined.values[..., len(cohort.features) + per_step.index(name)] if label.ndim == 2 else label
            for name, label in cohort.labels.items()
        },
    )


def _join(parts: list[Ragged], columns: int) -> Ragged:
    """Put parts of one cohort below each other, padded to the longest stay."""
    length = np.concatenate([part.length for part in parts]) if parts else np.empty(0, np.int64)
    shape = (len(length), max((part.time.shape[1] for part in parts), default=1))
    joined = Ragged(np.full(shape, np.nan, np.float32), np.full((*shape, columns), np.nan, np.float32), length)
    start = 0
    for part in parts:
        rows, steps = part.time.shape
        joined.time[start : start + rows, :steps] = part.time
        joined.values[start : start + rows, :steps] = part.values
        start += rows
    return joined


def _combine(features: tuple[Feature, ...], aggregate: Combine | Mapping[str, Combine]) -> list[Combine]:
    """Return how the values of each feature become one."""
    names = [feature.name for feature in features]
    named = aggregate if isinstance(aggregate, Mapping) else {}
    for name, way in [*named.items(), *([] if isinstance(aggregate, Mapping) else [("", aggregate)])]:
        if way not in get_args(Combine):
            raise InputError(f"aggregate is {way!r}: use one of {', '.join(get_args(Combine))}")
        if name and name not in names:
            raise InputError(f"aggregate names the feature {name!r}, but the features are {names}")

    def way_of(feature: Feature) -> Combine:
        way: Combine = named.get(feature.name, "last") if isinstance(aggregate, Mapping) else aggregate
        states = {"categorical": ("mean", "sum", "min", "max"), "ordinal": ("mean", "sum")}
        if way not in states.get(feature.kind, ()):
            return way
        if feature.name in named:
            raise InputError(f"the {way} of {feature.name!r}, which is {feature.kind}, has no meaning: use 'last'")
        return "last"

    return [way_of(feature) for feature in features]
