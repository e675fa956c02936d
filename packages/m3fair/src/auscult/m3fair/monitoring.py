"""An audit for every period of time, to see whether a disparity grows after deployment."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.auditing import AuditRows, reference_notes
from auscult.m3fair.cells import ConfusionCells
from auscult.m3fair.coding import one_dimensional
from auscult.m3fair.outcome import unify_outcomes
from auscult.m3fair.results import DisparityReport, check_measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Period = Literal["day", "week", "month", "quarter", "year"]
_UNIT = {"day": "D", "week": "W", "month": "M", "year": "Y"}


@dataclass(frozen=True)
class TimeSlices:
    """Audits of consecutive periods.

    Parameters
    ----------
    periods
        The first day of each period that was audited, as ISO dates, in order.
    reports
        The audit of each.
    skipped
        Period -> why it has no audit.
    """

    periods: tuple[str, ...]
    reports: tuple[DisparityReport, ...]
    skipped: dict[str, str]

    def to_frame(self) -> Any:
        """Return a pandas frame: the disparities of every period, with a column ``period``."""
        import pandas as pd

        frames = [
            report.disparities.assign(period=period, n=report.n)
            for period, report in zip(self.periods, self.reports, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    def plot(self, metric: str = "statistical_parity_difference", *, ax: "Axes | None" = None) -> "Axes":
        """Plot a disparity of each single attribute's groups over the periods, with intervals."""
        from auscult.core.report import PALETTE
        from auscult.m3fair.metrics.disparity import DISPARITIES
        from auscult.m3fair.plots import new_axes

        check_measured(metric, self.reports)
        ax = new_axes(ax, 3.2)
        place = {period: i for i, period in enumerate(self.periods)}
        lines: dict[str, list[tuple[int, float, float, float]]] = {}
        for period, report in zip(self.periods, self.reports, strict=True):
            for item in report.comparisons:
                if item.metric == metric and item.comparison.group is not None and len(item.comparison.attributes) == 1:
                    lines.setdefault(str(item.comparison), []).append((place[period], item.value, item.low, item.high))
        for (name, points), colour in zip(lines.items(), PALETTE * (1 + len(lines) // len(PALETTE)), strict=False):
            x, value, low, high = np.array(points, dtype=float).T
            ax.plot(x, value, "o-", color=colour, label=name, markersize=4)
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(DISPARITIES[metric].neutral, color=PALETTE[6], linewidth=1, linestyle=":")
        ax.set_xticks(range(len(self.periods)), self.periods, rotation=30, ha="right")
        ax.set_ylabel(metric.replace("_", " "))
        ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1))
        return ax


def audit_over_time(
    y_true: Any,
    y_pred: Any,
    *,
    time: Any,
    every: Period = "month",
    sensitive_features: Any,
    attributes: Sequence[Attribute | str] | Attribute | str | None = None,
    y_score: Any = None,
    sample_weight: Any = None,
    cluster: Any = None,
    positive: Hashable = None,
    order: int = 1,
    **options: Any,
) -> TimeSlices:
    """Audit the decisions of each period apart.

    Rows are checked, bins learnt and reference groups chosen over all periods. One in which a label or a reference
    group does not occur, or whose rows are all of one cluster, has no audit and is named in ``skipped``.

    Parameters
    ----------
    time
        (n,) dates or times; no missing one.
    every
        The length of a period; a week starts on Monday.
    options
        Further arguments of :func:`auscult.m3fair.audit`.

    Raises
    ------
    InputError
        As :func:`auscult.m3fair.audit`, for a missing time, an unknown period, and when no period can be audited.
    """
    start = _period_start(one_dimensional(time, "time"), every)
    everything = AuditRows.of(
        y_true, y_pred, sensitive_features=sensitive_features, attributes=attributes, y_score=y_score,
        sample_weight=sample_weight, cluster=cluster,
    )  # fmt: skip
    if len(start) != len(everything.coded):
        raise InputError(f"there are {len(start)} times for {len(everything.coded)} rows: give one a row")
    named = None if positive is None else str(positive)
    whole = ConfusionCells.of(
        everything.count(), everything.attributes, label=everything.label, decision=everything.decision, positive=named
    )
    references = [names if isinstance(names, tuple) else (names,) for names, _ in whole.groups.references()]
    fixed = [
        Attribute(attribute.name, frozenset(names).__contains__)
        for attribute, names in zip(everything.attributes, references, strict=True)
    ]
    notes = tuple(reference_notes(whole.groups))
    periods, reports, skipped = [], [], {}
    for period in np.unique(start):
        part = everything.take(start == period)
        lacking = _lacking(part, references)
        if lacking:
            skipped[str(period)] = lacking
            continue
        report = part.audit(fixed, positive=named, order=order, **options)
        periods.append(str(period))
        reports.append(replace(report, warnings=(*report.warnings, *notes)))
    if not reports:
        first = next(iter(skipped.items()), None)
        raise InputError(f"no period can be audited ({': '.join(first) if first else 'there are no rows'})")
    return TimeSlices(tuple(periods), tuple(reports), skipped)


def _lacking(part: AuditRows, references: Sequence[tuple[Hashable, ...]]) -> str:
    """Return what a period has no audit without: a label, a reference group, a second cluster; empty if all occur."""
    table = unify_outcomes(part.count(), part.label, part.decision)
    if len(table.values[-2]) < 2:
        return f"the label {part.label!r} is {table.values[-2][0]!r} in all {table.n} rows"
    for attribute, values, wanted in zip(part.attributes, table.values, references, strict=False):
        if not set(values) & set(wanted):
            names = " or ".join(map(str, wanted)) or "group"
            return f"the reference {names} of {attribute.name!r} does not occur"
    return "all rows are of one cluster" if part.cluster is not None and len(np.unique(part.cluster)) == 1 else ""


def _array(column: Any) -> Any:
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def _period_start(time: Any, every: str) -> npt.NDArray[np.datetime64]:
    """Return the first day (n,) of the period of each time."""
    if every not in (*_UNIT, "quarter"):
        raise InputError(f"every={every!r} is unknown: choose one of day, week, month, quarter, year")
    try:
        days = np.asarray(_array(time)).astype("datetime64[D]")
    except (TypeError, ValueError):
        raise InputError("the times are no dates: give datetimes or ISO texts such as 2020-02-18") from None
    if np.isnat(days).any():
        raise InputError(
            f"the time of row {int(np.flatnonzero(np.isnat(days))[0])} is missing: drop or fill these rows"
        )
    if every == "week":
        # Day 0, 1 January 1970, was a Thursday.
        return np.asarray(days - ((days.astype(np.int64) + 3) % 7))
    if every == "quarter":
        months = days.astype("datetime64[M]").astype(np.int64)
        return np.asarray((months - months % 3).astype("datetime64[M]").astype("datetime64[D]"))
    return np.asarray(days.astype(f"datetime64[{_UNIT[every]}]").astype("datetime64[D]"))
