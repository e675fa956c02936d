"""An audit for every period of time, to see whether a disparity grows after deployment."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.auditing import audit
from auscult.m3fair.coding import get_column, named_columns, one_dimensional
from auscult.m3fair.results import DisparityReport

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
        The first day of each period that has rows, as ISO dates, in order.
    reports
        The audit of each.
    """

    periods: tuple[str, ...]
    reports: tuple[DisparityReport, ...]

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

    A period in which a label or the reference group does not occur has no audit and is left out.

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
        For a missing time, an unknown period, or when no period can be audited.
    """
    start = _period_start(one_dimensional(time, "time"), every)
    columns, names = named_columns(sensitive_features)
    sensitive = {name: np.asarray(_array(get_column(columns, name)), dtype=object) for name in names}
    label, decision = (np.asarray(_array(one_dimensional(y, "y")), dtype=object) for y in (y_true, y_pred))
    if not len(start) == len(label) == len(decision):
        raise InputError(f"there are {len(start)} times for {len(label)} labels: give one a row")
    score = None if y_score is None else np.asarray(_array(y_score), dtype=float)
    weight = None if sample_weight is None else np.asarray(_array(sample_weight), dtype=float)
    person = None if cluster is None else np.asarray(_array(cluster), dtype=object)
    periods, reports, reasons = [], [], []
    for period in np.unique(start):
        rows = start == period
        try:
            report = audit(
                label[rows], decision[rows], sensitive_features={name: v[rows] for name, v in sensitive.items()},
                attributes=attributes, y_score=None if score is None else score[rows],
                sample_weight=None if weight is None else weight[rows], positive=positive, order=order,
                cluster=None if person is None else person[rows], **options,
            )  # fmt: skip
        except InputError as error:
            reasons.append(f"{period}: {error}")
            continue
        periods.append(str(period))
        reports.append(report)
    if not reports:
        raise InputError(f"no period can be audited ({reasons[0] if reasons else 'there are no rows'})")
    return TimeSlices(tuple(periods), tuple(reports))


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
