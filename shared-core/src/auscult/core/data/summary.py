"""A cohort in numbers, and a picture of what is missing when."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import snapped
from auscult.core.errors import InputError
from auscult.core.intervals import Interval, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPANS = (1, 24, 168, 720, 8766)  # an hour, a day, a week, 30 days, a year
_MOST_BINS = 60
_CHUNK = 1024


class MissingOverTime(NamedTuple):
    """Of each bin of ``width`` hours, which begins at ``start`` [B]: what is missing of whom.

    ``rate`` [B, F] is the share of stays without a value of the feature in the bin, among the ``stays`` [B] that
    have a step in the bin or both before and after it; NaN where there are none.
    """

    start: NDArray[np.float64]
    width: float
    stays: NDArray[np.int64]
    rate: NDArray[np.float64]


def describe(cohort: Cohort) -> dict[str, Any]:
    """Return counts, time span, missing rates, labels and attrition, ready for JSON (None where undefined).

    Missing rates are over the steps that exist, padding left out. A label of stays that is 0 or 1 has a ``rate``
    with Wilson's interval, which takes the stays for independent. ``dates`` are the first and the last start of a
    stay; some sources shift them.

    Examples
    --------
    >>> from auscult.core.data import load_cohort
    >>> numbers = describe(load_cohort("tjh"))
    >>> numbers["steps"], round(numbers["missing_rate"], 3), numbers["hours"]["max"]
    (1704, 0.564, 528.0)
    >>> numbers["labels"]["mortality"]["rate"]["value"], numbers["dates"]["first"]
    (0.4598337950138504, '2020-01-10T00:00:00')
    """
    valid = cohort.valid
    over_time = missing_over_time(cohort)
    return {
        "records": len(cohort),
        "subjects": len(np.unique(cohort.subject_id)),
        "steps": int(cohort.length.sum()),
        "records_without_a_step": int((cohort.length == 0).sum()),
        "steps_per_record": _summary(cohort.length),
        "hours": _summary(cohort.time[valid]),
        "dates": _dates(cohort.anchor),
        "missing_rate": _missing(cohort.values[valid]),
        "missing_over_time": {
            "start_hours": over_time.start.tolist(),
            "width_hours": over_time.width,
            "records": over_time.stays.tolist(),
            "missing_rate": [_number(rate) for rate in over_time.rate.mean(axis=1)],
        },
        "features": _columns(cohort.features, cohort.values[valid]),
        "static": _columns(cohort.static_features, cohort.static),
        "labels": {name: _label(label, valid) for name, label in cohort.labels.items()},
        "attrition": [dataclasses.asdict(row) for row in cohort.attrition],
        "provenance": dict(cohort.provenance),
        "notes": list(cohort.notes),
        "fingerprint": cohort.fingerprint(),
    }


def missing_over_time(cohort: Cohort, *, width: float | None = None) -> MissingOverTime:
    """Return how much of each feature is missing as stays go on.

    Parameters
    ----------
    cohort
        The data.
    width
        Of a bin in hours; left out, the shortest of an hour, a day, a week, 30 days and a year that makes at most
        60 bins.

    Raises
    ------
    InputError
        Where ``width`` is no number above 0.

    Examples
    --------
    >>> from auscult.core.data import load_cohort
    >>> over_time = missing_over_time(load_cohort("tjh"))
    >>> over_time.width, len(over_time.start), over_time.stays[:3]
    (24, 23, array([183, 334, 308]))
    """
    if width is not None and not 0 < width < np.inf:
        raise InputError(f"width is {width!r}: give hours, a number above 0")
    time = cohort.time[cohort.valid]
    first, last = (float(time.min()), float(time.max())) if time.size else (0.0, 0.0)
    if width is None:
        width = next(
            (span for span in _SPANS if np.floor(last / span) - np.floor(first / span) < _MOST_BINS), _SPANS[-1]
        )
    lowest, highest = np.floor(snapped(ends := np.array([first, last]), width, ends))
    bins = int(highest - lowest) + 1
    stays = np.zeros(bins + 1, np.int64)
    found = np.zeros((bins, len(cohort.features)), np.int64)
    for begin in range(0, len(cohort), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        length = cohort.length[rows]
        time = cohort.time[rows]
        place = (np.nan_to_num(np.floor(snapped(time, width, time))) - lowest).astype(np.int64)
        has = np.flatnonzero(length)
        np.add.at(stays, place[has, 0], 1)
        np.add.at(stays, place[has, length[has] - 1] + 1, -1)
        record, step, feature = np.nonzero(cohort.observed[rows])
        hit = np.zeros((len(length), *found.shape), np.bool_)
        hit[record, place[record, step], feature] = True
        found += hit.sum(axis=0)
    present = np.cumsum(stays[:-1])
    with np.errstate(invalid="ignore"):
        rate = 1 - found / present[:, None]
    return MissingOverTime((lowest + np.arange(bins)) * width, width, present, rate)


def plot_missing(cohort: Cohort, *, ax: "Axes | None" = None, width: float | None = None) -> "Axes":
    """Draw :func:`missing_over_time`: a row a feature, the most complete one on top, dark where it is missing.

    Parameters
    ----------
    cohort, width
        As there.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    over_time = missing_over_time(cohort, width=width)
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(9, 1.6 + 0.16 * len(cohort.features)), layout="constrained").subplots()
    order = np.argsort(1 - cohort.observed.sum(axis=(0, 1)), kind="stable")
    end = over_time.start[-1] + over_time.width
    unit, hours = ("days", 24.0) if end - over_time.start[0] > 7 * 24 else ("hours", 1.0)
    image = ax.imshow(
        over_time.rate[:, order].T, vmin=0, vmax=1, cmap="viridis_r", aspect="auto", interpolation="nearest",
        extent=(over_time.start[0] / hours, end / hours, len(order) - 0.5, -0.5),
    )  # fmt: skip
    names = [cohort.features[i].display_name for i in order]
    ax.set_yticks(range(len(order)), names, fontsize=7 if len(order) > 20 else 9)
    ax.set_xlabel(f"{unit} since the start of the stay, in steps of {over_time.width / hours:g}")
    ax.set_title(f"missing, of {over_time.stays.max(initial=0):,} stays at most")
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=ax, label="share of stays without a value")
    return ax


def _columns(features: tuple[Feature, ...], values: NDArray[Any]) -> dict[str, dict[str, Any]]:
    return {
        feature.name: {"kind": feature.kind, "unit": feature.unit, "missing_rate": _missing(values[:, i])}
        for i, feature in enumerate(features)
    }


def _label(label: NDArray[Any], valid: NDArray[np.bool_]) -> dict[str, Any]:
    if label.ndim == 2:
        return {"per": "step", **_summary(label[valid])}
    known = label[~np.isnan(label)]
    described = {"per": "record", "unknown": int(len(label) - len(known)), **_summary(label)}
    if known.size and np.isin(known, (0, 1)).all():
        low, high = wilson(known.sum(), known.size)
        described["rate"] = Interval(float(known.mean()), float(low), float(high)).to_dict()
    return described


def _dates(anchor: NDArray[np.datetime64] | None) -> dict[str, str] | None:
    if anchor is None or not anchor.size:
        return None
    return {name: str(when.astype("datetime64[s]")) for name, when in (("first", anchor.min()), ("last", anchor.max()))}


def _missing(values: NDArray[Any]) -> float | None:
    return float(np.isnan(values).mean()) if values.size else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _summary(values: NDArray[Any]) -> dict[str, Any]:
    known = values[~np.isnan(values)].astype(np.float64)
    if not known.size:
        return {"n": 0, **dict.fromkeys(("mean", "min", "q1", "median", "q3", "max"))}
    quartiles = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {
        "n": known.size,
        "mean": float(known.mean()),
        **dict(zip(("min", "q1", "median", "q3", "max"), quartiles, strict=True)),
    }
