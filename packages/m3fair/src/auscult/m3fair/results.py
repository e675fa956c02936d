"""What an audit measured, as values, frames, JSON, Markdown and a page."""

import json
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from auscult.core.canonical import finite
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.m3fair.fitted import describe_cell
from auscult.m3fair.groups import Comparison, Group
from auscult.m3fair.metrics.disparity import DISPARITIES

SCHEMA = 2
"""Of every JSON that the command prints or writes, count tables aside."""


@dataclass(frozen=True)
class GroupResult:
    """What was measured in one group.

    Parameters
    ----------
    group
        Attribute -> value; empty for everyone. Missing is None.
    n
        Rows.
    weight
        Sum of the prior weights.
    metrics
        Name -> value, NaN where undefined.
    intervals
        Name -> (low, high).
    """

    group: Group
    n: int
    weight: float
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class DisparityResult:
    """One disparity of a group of ``n`` rows against the reference group of the same attributes."""

    comparison: Comparison
    metric: str
    value: float
    low: float
    high: float
    n: int

    @property
    def distance(self) -> float:
        """How far the value is from no disparity: |value|, or 1 - min(r, 1 / r) for a ratio; NaN if undefined."""
        if DISPARITIES[self.metric].neutral == 0:
            return abs(self.value)
        return 1.0 if self.value == 0 else 1 - min(self.value, 1 / self.value)


@dataclass(frozen=True)
class Resampling:
    """How bootstrap intervals were made.

    Parameters
    ----------
    n_boot
        Number of resamples.
    seed
        The seed.
    n
        Number of rows or clusters that were drawn.
    clusters
        Whether clusters were.
    """

    n_boot: int
    seed: int
    n: int
    clusters: bool

    def __str__(self) -> str:
        units = "clusters" if self.clusters else "rows"
        return f"percentiles of {self.n_boot} resamples of {self.n} {units}, seed {self.seed}"


@dataclass(frozen=True)
class DisparityReport:
    """The result of :func:`audit`.

    Parameters
    ----------
    n
        Rows.
    positive
        The label's value that the rates count as positive.
    label, decision
        Names of the columns.
    confidence
        Nominal coverage of the intervals.
    overall
        What was measured on everyone.
    groups
        What was measured in each group, single attributes first.
    comparisons
        Each group, and everyone else pooled, against the reference.
    warnings
        What is undefined, small, or pooled with care.
    resampling
        How the intervals were resampled; None for closed forms.
    """

    n: int
    positive: Hashable
    label: str
    decision: str
    confidence: float
    overall: GroupResult
    groups: tuple[GroupResult, ...]
    comparisons: tuple[DisparityResult, ...]
    warnings: tuple[str, ...] = field(default=())
    resampling: Resampling | None = None

    @property
    def by_group(self) -> Any:
        """A pandas frame: a row a group with n, and each metric with its bounds."""
        import pandas as pd

        rows = [
            {"group": describe_cell(result.group), "n": result.n, **result.metrics}
            | {
                f"{name}_{end}": bound
                for name, pair in result.intervals.items()
                for end, bound in zip(("low", "high"), pair, strict=True)
            }
            for result in self.groups
        ]
        return pd.DataFrame(rows)

    @property
    def disparities(self) -> Any:
        """A pandas frame: attribute, group, reference, metric, value, low, high."""
        import pandas as pd

        rows = [
            {**item.comparison.names(), "metric": item.metric, "value": item.value, "low": item.low, "high": item.high}
            for item in self.comparisons
        ]  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def summary(self) -> Any:
        """A pandas frame: a row for every set of attributes and metric, over its groups.

        Range (``difference``, ``ratio``), largest distance from everyone (``to_overall``), weighted standard
        deviation, largest prevalence-weighted distance (``violation``), the lowest and highest group, and the
        groups that are undefined and count in none of these.
        """
        import pandas as pd

        from auscult.m3fair.metrics.many import summarize

        by_attributes: dict[tuple[str, ...], list[GroupResult]] = {}
        for result in self.groups:
            by_attributes.setdefault(tuple(result.group), []).append(result)
        rows = []
        for attributes, results in by_attributes.items():
            names = [describe_cell(result.group) for result in results]
            for metric, overall in self.overall.metrics.items():
                found = summarize(
                    [result.metrics[metric] for result in results], [result.n for result in results], overall=overall,
                    names=names, weight=[result.weight for result in results], total=self.overall.weight,
                )  # fmt: skip
                rows.append(
                    {
                        "attributes": " & ".join(attributes), "metric": metric, "overall": found.overall,
                        "difference": found.difference, "ratio": found.ratio, "to_overall": found.to_overall,
                        "standard_deviation": found.standard_deviation, "violation": found.violation,
                        "lowest": "; ".join(str(group.name) for group in found.lowest),
                        "highest": "; ".join(str(group.name) for group in found.highest),
                        "undefined": "; ".join(map(str, found.undefined)),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def worst(self, k: int = 5, metric: str = "statistical_parity_difference") -> tuple[DisparityResult, ...]:
        """Return the k groups furthest from their reference, the furthest first; undefined ones are left out.

        Raises
        ------
        InputError
            For a disparity that is unknown or was not measured.
        """
        check_measured(metric, [self])
        found = [item for item in self.comparisons if item.metric == metric and item.comparison.group is not None]
        defined = sorted((item for item in found if item.value == item.value), key=lambda item: -item.distance)
        return tuple(defined[:k])

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the JSON of ``m3fair measure``; with a path, also write it there."""
        text = json.dumps(finite(self.to_dict()), ensure_ascii=False, allow_nan=False)
        return _written(text + "\n", path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return tables of groups, disparities and warnings; with a path, also write them there."""
        from auscult.m3fair.presentation import to_markdown

        return _written(to_markdown({"value": self}), path)

    def to_html(
        self, path: str | Path | None = None, *, title: str = "Disparity audit", subtitle: str | None = None
    ) -> str:
        """Return a self-contained page with plots; with a path, also write it there."""
        from auscult.m3fair.presentation import to_page

        return _written(to_page({"value": self}, title=title, subtitle=subtitle).html(), path)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as plain values: the JSON of ``m3fair measure``, in which NaN and infinity are null.

        A rate is ``{"value": x, "ci": [low, high]}``, None where it is undefined.
        """
        return {
            "schema": SCHEMA,
            "n": self.n,
            "positive": self.positive,
            "label": self.label,
            "decision": self.decision,
            "confidence": self.confidence,
            "resampling": None if self.resampling is None else asdict(self.resampling),
            "overall": _group_dict(self.overall),
            "groups": [_group_dict(result) for result in self.groups],
            "disparities": [
                {
                    **item.comparison.to_dict(), "metric": item.metric, "value": item.value,
                    "ci": [item.low, item.high],
                }
                for item in self.comparisons
            ],
            "warnings": list(self.warnings),
        }  # fmt: skip


def check_measured(metric: str, reports: Iterable[DisparityReport]) -> None:
    """Refuse the name of a disparity that is unknown, or that a report with comparisons lacks."""
    if metric not in DISPARITIES:
        raise InputError(f"the disparity {metric!r} is unknown: choose from {', '.join(DISPARITIES)}")
    for report in reports:
        measured = dict.fromkeys(item.metric for item in report.comparisons)
        if measured and metric not in measured:
            raise InputError(
                f"the disparity {metric!r} was not measured, only {', '.join(measured)}: ask the audit for it"
            )


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        replace_atomically(Path(path), lambda partial: partial.write_text(text, encoding="utf-8"))
    return text


def _group_dict(result: GroupResult) -> dict[str, Any]:
    measured = {
        name: None if isnan(value) else {"value": value, "ci": list(result.intervals[name])}
        for name, value in result.metrics.items()
    }
    return {"group": result.group, "n": result.n, "weight": result.weight, **measured}
