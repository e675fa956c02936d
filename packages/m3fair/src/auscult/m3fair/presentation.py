"""An audit for people: tables for the terminal, Markdown and the HTML report."""

from collections.abc import Mapping
from typing import Any

from auscult.core.intervals import Interval
from auscult.m3fair.audit import DisparityReport
from auscult.m3fair.fitted import describe_cell


def group_rows(report: DisparityReport, *, order: int = 2) -> list[dict[str, Any]]:
    """Return a row a group: its name, n, and each metric with its interval; everyone first."""
    return [
        {
            "group": describe_cell(result.group) or "everyone",
            "n": result.n,
            **{
                name.replace("_", " "): Interval(value, *result.intervals[name], confidence=report.confidence)
                for name, value in result.metrics.items()
            },
        }
        for result in (report.overall, *report.groups)
        if len(result.group) <= order
    ]


def disparity_rows(
    reports: Mapping[str, DisparityReport], *, order: int = 2, pooled: bool = False
) -> list[dict[str, Any]]:
    """Return a row a group, reference and disparity, with a column of values and intervals a report.

    ``pooled`` includes everyone outside the reference group where that is more than one group.
    """
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, report in reports.items():
        alone = {
            (item.comparison.attributes, item.comparison.members.tobytes())
            for item in report.comparisons
            if item.comparison.group is not None
        }
        for item in report.comparisons:
            if len(item.comparison.attributes) > order:
                continue
            key = (item.comparison.attributes, item.comparison.members.tobytes())
            if item.comparison.group is None and (not pooled or key in alone):
                continue
            names = item.comparison.names()
            disparity = item.metric.replace("_", " ")
            row = rows.setdefault((*names.values(), disparity), {**names, "disparity": disparity})
            row[name] = Interval(item.value, item.low, item.high, confidence=report.confidence)
    return list(rows.values())


def print_report(report: DisparityReport) -> None:
    """Print an audit as tables."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from auscult.core.formatting import format_value

    # A pipe or a file has no width of its own; folding at 80 columns would make the tables hard to read.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    title = f"{report.n} rows; positive: {report.label} = {report.positive}; decision: {report.decision}"
    for caption, rows in (
        (title, group_rows(report)),
        ("Each group, and everyone else pooled, against the reference", disparity_rows({"value": report}, pooled=True)),
    ):
        table = Table(title=caption, title_justify="left")
        for name in rows[0] if rows else ():
            table.add_column(name)
        for row in rows:
            table.add_row(*(value if isinstance(value, str) else format_value(value) for value in row.values()))
        console.print(table)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
