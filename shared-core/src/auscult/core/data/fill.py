"""Filling gaps from the past, and scaling: fitted on the training stays alone, never looking ahead.

The rules are those of studies that predict from hospital records (Zhu et al. 2024, arXiv 2402.01713): the last
observation is carried forward; before the first one stands the median of the training data, trimmed at the
5 % and the 95 % quantile; mean and standard deviation of the trimmed values scale a column.

>>> from auscult.core.data import Filler, load_cohort
>>> cohort = load_cohort("tjh")
>>> filled = Filler(standardize=False).fit(cohort, slice(0, 300)).transform(cohort)
>>> bool(np.isnan(filled.values[cohort.valid]).any())
False
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature, ReferenceRange
from auscult.core.errors import InputError

# A scaled value as far out as this comes from a column without spread and says nothing.
_ABSURD = 1e4
_NO_ZERO = 1e-12


class ColumnStatistics(NamedTuple):
    """``mean``, sample ``sd`` and ``median`` of each column's trimmed values, and their number ``n``; NaN of none."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    median: NDArray[np.float64]
    n: NDArray[np.int64]


class TimeSince(NamedTuple):
    """``hours`` [N, T, F] since the last observation, infinite where ``never`` [N, T, F]; NaN beyond a stay."""

    hours: NDArray[np.float32]
    never: NDArray[np.bool_]


class StayStatistics(NamedTuple):
    """Lengths of stay in days, for scores of early prediction.

    ``mean``, ``sd`` and ``median`` are of all labels, trimmed; ``large_los`` is the 95 % quantile of the
    stays' longest, ``threshold`` half the mean of those within their 5 % and 95 % quantiles, bounds included.
    """

    mean: float
    sd: float
    median: float
    large_los: float
    threshold: float


class Filled(NamedTuple):
    """A cohort without gaps.

    ``values`` [N, T, F] and ``static`` [N, S]; ``observed`` [N, T, F] what was measured, ``carried``
    [N, T, F] what is an earlier value of the same stay. What is neither is the fitted fill value, except
    beyond a stay's length, where ``values`` is NaN.
    """

    values: NDArray[np.float32]
    static: NDArray[np.float32]
    observed: NDArray[np.bool_]
    carried: NDArray[np.bool_]


class Filler:
    """Fills and scales cohorts by what the training stays showed.

    Parameters
    ----------
    standardize
        Whether numeric and ordinal columns are scaled to (x - mean) / (sd + 1e-12), absurd results
        (beyond 10,000) to 0; without it values keep their units.
    unknown
        What stands for a categorical value that was not observed so far.
    preset
        ``"seed"`` takes 0 for a statistic that is undefined and counts a static value once a step; by default
        all values are taken where trimming leaves fewer than two, and a static value counts once a stay.

    Attributes
    ----------
    statistics_, static_statistics_ : ColumnStatistics
        Of the columns of ``values`` and of ``static``; NaN for categorical columns.
    presence_rate_ : ndarray of shape [F]
        Share of the training steps that hold a value.
    features_, static_features_ : tuple of Feature
        The columns that were fitted.
    """

    features_: tuple[Feature, ...]
    static_features_: tuple[Feature, ...]
    statistics_: ColumnStatistics
    static_statistics_: ColumnStatistics
    presence_rate_: NDArray[np.float64]

    def __init__(
        self, *, standardize: bool = True, unknown: float = -1.0, preset: Literal["seed"] | None = None
    ) -> None:
        if preset not in (None, "seed"):
            raise InputError(f"there is no preset {preset!r}: use 'seed', or leave it out")
        self.standardize = standardize
        self.unknown = unknown
        self.preset = preset

    def fit(self, cohort: Cohort, rows: Any = slice(None)) -> Self:
        """Learn the statistics of some stays.

        Parameters
        ----------
        cohort
            The data.
        rows
            Positions, a mask [N] or a slice: the training stays, such as ``split.index(...)["train"]``.

        Raises
        ------
        InputError
            Where these stays have no step.
        """
        train = cohort.select(rows)
        if not train.length.sum():
            raise InputError(f"the {len(train)} stays to fit on have no step: choose others")
        static = np.repeat(train.static, train.length, axis=0) if self.preset == "seed" else train.static
        self.features_, self.static_features_ = cohort.features, cohort.static_features
        self.presence_rate_ = presence_rate(train)
        self.statistics_ = self._fit_columns(train.values[train.valid], cohort.features)
        self.static_statistics_ = self._fit_columns(static, cohort.static_features)
        return self

    def transform(self, cohort: Cohort) -> Filled:
        """Return a cohort's values without gaps; each step is made from itself and earlier ones.

        Raises
        ------
        InputError
            Where the cohort's features are not those of the fit, or have other units or levels, or nothing was
            fitted.
        """
        if not hasattr(self, "statistics_"):
            raise InputError("this filler has seen no data: call fit first")
        for fitted, given in zip(self._columns(), (cohort.features, cohort.static_features), strict=True):
            if [(f.name, f.kind) for f in fitted] != [(f.name, f.kind) for f in given]:
                raise InputError("the cohort's features are not those that were fitted: fit on the same data set")
            for then, now in zip(fitted, given, strict=True):
                for what, was, has in (("unit", then.unit, now.unit), ("levels", then.levels, now.levels)):
                    if has != was and None not in (was, has):
                        raise InputError(f"{now.name!r} has the {what} {has!r}, and had {was!r} in the fit")
        values = carry_forward(cohort.values)
        known = ~np.isnan(values)
        values = self._fill_columns(values, cohort.features, self.statistics_)
        values[~cohort.valid] = np.nan
        static = self._fill_columns(cohort.static.copy(), cohort.static_features, self.static_statistics_)
        return Filled(values, static, cohort.observed, known & ~cohort.observed & cohort.valid[..., None])

    def to_dict(self) -> dict[str, Any]:
        """Return what was fitted, for JSON; numbers come back from it unchanged."""
        if not hasattr(self, "statistics_"):
            raise InputError("this filler has seen no data: call fit first")
        groups = zip(self._columns(), (self.statistics_, self.static_statistics_), strict=True)
        return {
            "standardize": self.standardize,
            "unknown": self.unknown,
            "preset": self.preset,
            "presence_rate": self.presence_rate_.tolist(),
            "columns": [
                {
                    "features": [dataclasses.asdict(feature) for feature in features],
                    **{name: column.tolist() for name, column in statistics._asdict().items()},
                }
                for features, statistics in groups
            ],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return the fitted filler that ``to_dict`` describes.

        Raises
        ------
        InputError
            Where something is missing from it.
        """
        try:
            filler = cls(standardize=saved["standardize"], unknown=saved["unknown"], preset=saved["preset"])
            filler.presence_rate_ = np.array(saved["presence_rate"], np.float64)
            dynamic, static = saved["columns"]
            filler.features_, filler.static_features_ = _features(dynamic["features"]), _features(static["features"])
            filler.statistics_, filler.static_statistics_ = _statistics(dynamic), _statistics(static)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no saved filler ({error!r}): give what to_dict returned") from None
        return filler

    def _columns(self) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
        return self.features_, self.static_features_

    def _fit_columns(self, values: NDArray[Any], features: tuple[Feature, ...]) -> ColumnStatistics:
        statistics = trimmed_statistics(values)
        if self.preset is None:
            few = statistics.n < 2
            for column, whole in zip(statistics, trimmed_statistics(values, trim=0.0), strict=True):
                column[few] = whole[few]
        categorical = np.array([feature.kind == "categorical" for feature in features], np.bool_)
        mean, sd, median = (np.where(categorical, np.nan, np.nan_to_num(column)) for column in statistics[:3])
        return ColumnStatistics(mean, sd, median, statistics.n)

    def _fill_columns(
        self, values: NDArray[np.float32], features: tuple[Feature, ...], statistics: ColumnStatistics
    ) -> NDArray[np.float32]:
        """Fill and scale the last axis in place."""
        for i, feature in enumerate(features):
            column = values[..., i].astype(np.float64)
            if feature.kind == "categorical":
                values[..., i] = np.where(np.isnan(column), self.unknown, column)
                continue
            column = np.where(np.isnan(column), statistics.median[i], column)
            if self.standardize:
                column = (column - statistics.mean[i]) / (statistics.sd[i] + _NO_ZERO)
                column[np.abs(column) > _ABSURD] = 0.0
            values[..., i] = column
        return values


def _features(saved: Sequence[Mapping[str, Any]]) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            **{
                **fields,
                "levels": tuple(fields["levels"]),
                "reference_ranges": tuple(ReferenceRange(**one) for one in fields["reference_ranges"]),
            }
        )
        for fields in saved
    )


def _statistics(saved: Mapping[str, Any]) -> ColumnStatistics:
    columns = [np.array(saved[name], np.float64) for name in ("mean", "sd", "median")]
    return ColumnStatistics(columns[0], columns[1], columns[2], np.array(saved["n"], np.int64))


def carry_forward(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``values`` [N, T, F] with every gap filled by the latest value before it; NaN before the first."""
    filled = np.array(values, np.float32)
    for step in range(1, filled.shape[1]):
        here = filled[:, step]
        np.copyto(here, filled[:, step - 1], where=np.isnan(here))
    return filled


def time_since_last(cohort: Cohort) -> TimeSince:
    """Return the hours since each feature was last observed: 0 where it is observed now.

    Where it never was the hours are infinite and ``never`` says so; no finite number stands for it, as one
    that is exact for one horizon is wrong for a longer one.
    """
    since = np.empty(cohort.values.shape, np.float32)
    last = np.full((len(cohort), len(cohort.features)), -np.inf)
    for step in range(cohort.time.shape[1]):
        now = cohort.time[:, step, None].astype(np.float64)
        np.copyto(last, now, where=cohort.observed[:, step])
        since[:, step] = now - last
    return TimeSince(since, np.isinf(since))


def presence_rate(cohort: Cohort) -> NDArray[np.float64]:
    """Return [F] the share of all steps that hold a value of each feature; NaN if there is no step."""
    steps = int(cohort.length.sum())
    return cohort.observed.sum((0, 1)) / steps if steps else np.full(len(cohort.features), np.nan)


def trimmed_statistics(values: ArrayLike, *, trim: float = 0.05) -> ColumnStatistics:
    """Return statistics of each column's values that lie strictly between two of its quantiles.

    Parameters
    ----------
    values
        [R, F], NaN where unknown.
    trim
        The quantiles are ``trim`` and ``1 - trim`` (interpolated linearly); with 0 all values count.
    """
    columns = np.asarray(values, np.float64)
    result = np.full((3, columns.shape[1]), np.nan)
    n = np.zeros(columns.shape[1], np.int64)
    for i in range(columns.shape[1]):
        known = columns[~np.isnan(columns[:, i]), i]
        if trim and known.size:
            low, high = np.quantile(known, [trim, 1 - trim])
            known = known[(known > low) & (known < high)]
        n[i] = known.size
        if known.size:
            sd = known.std(ddof=1) if known.size > 1 else np.nan
            result[:, i] = known.mean(), sd, np.median(known)
    return ColumnStatistics(result[0], result[1], result[2], n)


def stay_statistics(los_days: ArrayLike) -> StayStatistics:
    """Return what scores of early prediction need to know of the training stays.

    Parameters
    ----------
    los_days
        [N] or, remaining at each step, [N, T]: the label ``los_days`` of the training stays, NaN where
        unknown.

    Raises
    ------
    InputError
        Where no length of stay is known.
    """
    days = np.asarray(los_days, np.float64)
    days = days[:, None] if days.ndim == 1 else days
    longest = np.fmax.reduce(days, axis=1)
    longest = longest[~np.isnan(longest)]
    if not longest.size:
        raise InputError("no stay has a known length: give the label 'los_days' of the training stays")
    trimmed = trimmed_statistics(days.reshape(-1, 1))
    low, high = np.quantile(longest, [0.05, 0.95])
    within = longest[(longest >= low) & (longest <= high)]
    mean, sd, median = (float(column[0]) for column in trimmed[:3])
    return StayStatistics(mean, sd, median, large_los=float(high), threshold=float(within.mean() / 2))
