"""Plots of an audit as matplotlib axes: the same in a notebook and in the HTML report."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.report import PALETTE
from auscult.m3fair.fitted import describe_cell
from auscult.m3fair.metrics.confusion import RATES
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.results import DisparityReport, check_measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE_HEIGHT = 0.36


def plot_rates(
    reports: Mapping[str, DisparityReport], metric: str, *, order: int = 1, ax: "Axes | None" = None
) -> "Axes":
    """Plot a metric of every group with its interval, one colour a report.

    Parameters
    ----------
    reports
        Name -> audit over the same groups, such as before and after.
    metric
        One of the audit's group metrics.
    order
        Groups of up to this many attributes.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    InputError
        For a metric that was not measured.
    """
    for report in reports.values():
        if metric not in report.overall.metrics:
            measured = ", ".join(report.overall.metrics)
            raise InputError(f"the metric {metric!r} was not measured, only {measured}: ask the audit for it")
    series = {
        name: {
            describe_cell(result.group) or "everyone": (result.metrics[metric], *result.intervals[metric])
            for result in (report.overall, *report.groups)
            if len(result.group) <= order
        }
        for name, report in reports.items()
    }
    ax = _dots(series, ax)
    ax.set_xlabel(metric.replace("_", " "))
    return ax


def plot_disparities(
    reports: Mapping[str, DisparityReport], metric: str, *, order: int = 1, ax: "Axes | None" = None
) -> "Axes":
    """Plot a disparity of every group against its reference, one colour a report; the line is no disparity.

    Ratios are drawn on a logarithmic scale. The parameters are those of :func:`plot_rates`.

    Raises
    ------
    InputError
        For a disparity that is unknown or was not measured.
    """
    check_measured(metric, reports.values())
    series: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, report in reports.items():
        series[name] = {}
        for item in report.comparisons:
            if item.metric == metric and item.comparison.group is not None and len(item.comparison.attributes) <= order:
                series[name][str(item.comparison)] = (item.value, item.low, item.high)
    neutral = DISPARITIES[metric].neutral
    ax = _dots(series, ax)
    if neutral == 1:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:.3g}")
        ax.xaxis.set_minor_formatter("{x:.3g}")
    ax.axvline(neutral, color=PALETTE[6], linewidth=1, linestyle=":")
    ax.set_xlabel(metric.replace("_", " "))
    return ax


def plot_factors(factors: Any, label: str, *, ax: "Axes | None" = None) -> "Axes":
    """Plot the factor of every combination and label of a fitted ``Reweigher.factors_``."""
    names = list(factors.columns[: list(factors.columns).index(label)])
    rows = [
        (describe_cell(dict(zip([*names, label], values, strict=True))), factor)
        for *values, factor in factors[[*names, label, "factor"]].itertuples(index=False, name=None)
    ]
    ax = _dots({"factor": {row: (factor, np.nan, np.nan) for row, factor in rows}}, ax)
    ax.axvline(1, color=PALETTE[6], linewidth=1, linestyle=":")
    ax.set_xlabel("factor of the prior weight")
    return ax


def plot_thresholds(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    group: Any,
    *,
    rate: str = "selection_rate",
    weight: npt.ArrayLike | None = None,
    thresholds: npt.ArrayLike | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot a rate of each group against the threshold t of the decision score >= t.

    The dotted line is where the balanced accuracy of everyone is best.

    Parameters
    ----------
    label, score, weight
        (n,) labels 0 or 1, scores, prior weights.
    group
        (n,) each row's group.
    rate
        One of :data:`auscult.m3fair.metrics.RATES`.
    thresholds
        By default 101 from the lowest to the highest score.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    InputError
        For an unknown rate, and rows that cannot be used.
    """
    from auscult.m3fair.metrics.ranking import threshold_sweep

    if rate not in RATES:
        raise InputError(f"the rate {rate!r} is unknown: choose from {', '.join(RATES)}")
    if thresholds is None:
        values = np.asarray(score, dtype=float)
        thresholds = np.linspace(values.min(), values.max(), 101)
    sweep = threshold_sweep(label, score, weight, group=group, thresholds=thresholds)
    ax = new_axes(ax, 3.4)
    for name, values, colour in _by_group(sweep.groups or (), sweep.confusion.rate(rate)):
        ax.plot(sweep.thresholds, values, color=colour, label=name)
    best, accuracy = sweep.best_balanced_accuracy()
    if np.isfinite(best):
        ax.axvline(best, color=PALETTE[6], linewidth=1, linestyle=":", label=f"balanced accuracy {accuracy:.2f}")
    ax.set_xlabel("threshold")
    ax.set_ylabel(rate.replace("_", " "))
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_calibration(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    group: Any,
    *,
    weight: npt.ArrayLike | None = None,
    bins: int = 10,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the rate of positives against the mean probability of each group, in bins of equal mass with intervals.

    The parameters are those of :func:`plot_thresholds`; scores are probabilities.

    Raises
    ------
    InputError
        For rows that cannot be used.
    """
    from auscult.core.intervals import wilson_proportion
    from auscult.m3fair.metrics.calibration import calibration_curve
    from auscult.m3fair.metrics.rows import check_rows, code_groups

    rows = check_rows(label, score, weight, probability=True)
    names, code = code_groups(group, rows.kept)
    ax = new_axes(ax, 4.2)
    ax.plot([0, 1], [0, 1], color=PALETTE[6], linewidth=1, linestyle=":")
    for name, members, colour in _by_group(names, [code == k for k in range(len(names))]):
        curve = calibration_curve(*(part[members] for part in (rows.label, rows.score, rows.weight)), bins=bins)
        low, high = wilson_proportion(curve.rate, curve.effective_n)
        ax.errorbar(
            curve.score, curve.rate, np.abs([curve.rate - low, high - curve.rate]), fmt="o-", color=colour, label=name
        )
    ax.set_xlabel("mean probability")
    ax.set_ylabel("rate of positives")
    ax.legend(frameon=False, fontsize="small")
    return ax


def _by_group(names: Any, values: Any) -> Any:
    """Yield each group's name as text, its values and its colour."""
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        yield "missing" if name is None else str(name), value, PALETTE[i % len(PALETTE)]


def new_axes(ax: "Axes | None", height: float) -> "Axes":
    """Return the axes, or those of a new figure of some height in inches."""
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(6.0, height), layout="constrained").subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _dots(series: Mapping[str, Mapping[str, tuple[float, float, float]]], ax: "Axes | None") -> "Axes":
    """Draw named rows of points with intervals; a row a name, the series beside each other within it."""
    rows = list(dict.fromkeys(row for values in series.values() for row in values))
    ax = new_axes(ax, 1.0 + _LINE_HEIGHT * len(rows))
    spread = np.linspace(-0.16, 0.16, len(series)) if len(series) > 1 else [0.0]
    for (name, values), shift, colour, marker in zip(series.items(), spread, PALETTE, "osD^v<>", strict=False):
        place = [rows.index(row) + shift for row in values]
        value, low, high = np.array(list(values.values()), dtype=float).reshape(-1, 3).T
        reach = np.nan_to_num(np.array([value - low, high - value]), nan=0.0, posinf=0.0).clip(min=0)
        ax.errorbar(value, place, xerr=reach, fmt=marker, color=colour, markersize=5, elinewidth=1.5, label=name)
    ax.set_yticks(range(len(rows)), rows, parse_math=False)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="#dddddd", linewidth=0.7)
    ax.set_axisbelow(True)
    if len(series) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series), frameon=False)
    return ax
