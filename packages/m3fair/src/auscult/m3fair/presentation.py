"""An audit for people: tables for the terminal, Markdown, the HTML report and a model card's section."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auscult.core.formatting import format_value
from auscult.core.intervals import Interval
from auscult.m3fair.fitted import describe_cell
from auscult.m3fair.results import DisparityReport

if TYPE_CHECKING:
    from auscult.core.report import Report
    from auscult.m3fair.reweigher import Reweigher

CAUTION = (
    "A disparity is a question to ask, not a proof of unfairness, and its absence is no proof of good care. "
    "The numbers hold for these rows."
)


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
    """Return a row a comparison and disparity, with a column of values and intervals a report.

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
            comparison, disparity = str(item.comparison), item.metric.replace("_", " ")
            row = rows.setdefault((comparison, disparity), {"comparison": comparison, "disparity": disparity})
            row[name] = Interval(item.value, item.low, item.high, confidence=report.confidence)
    return list(rows.values())


def worst_rows(report: DisparityReport, k: int, metric: str = "statistical_parity_difference") -> list[dict[str, Any]]:
    """Return a row for each of the k groups that lie furthest from their reference by a disparity."""
    return [
        {
            "comparison": str(item.comparison),
            "n": item.n,
            metric.replace("_", " "): Interval(item.value, item.low, item.high, confidence=report.confidence),
        }
        for item in report.worst(k, metric)
    ]


def print_report(report: DisparityReport) -> None:
    """Print an audit as tables; warnings go to stderr."""
    from rich.console import Console
    from rich.table import Table

    # A pipe or a file has no width of its own; folding at 80 columns would make the tables hard to read.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for caption, rows in (
        (_measured(report), group_rows(report)),
        ("Each group, and everyone else pooled, against the reference", disparity_rows({"value": report}, pooled=True)),
    ):
        table = Table(title=caption, title_justify="left")
        for name in rows[0] if rows else ():
            table.add_column(name)
        for row in rows:
            table.add_row(*map(format_value, row.values()))
        console.print(table)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def to_markdown(reports: Mapping[str, DisparityReport]) -> str:
    """Return one audit, or several over the same groups side by side, as Markdown tables."""
    parts = []
    for name, report in reports.items():
        heading = f"## Groups: {name}" if len(reports) > 1 else "## Groups"
        parts += [heading, _measured(report), _markdown_table(group_rows(report))]
    parts += ["## Disparities", _markdown_table(disparity_rows(reports, pooled=True))]
    warnings = dict.fromkeys(warning for report in reports.values() for warning in report.warnings)
    if warnings:
        parts += ["## Warnings", "\n".join(f"- {warning}" for warning in warnings)]
    return "\n\n".join([*parts, CAUTION]) + "\n"


def to_page(
    reports: Mapping[str, DisparityReport], *, title: str = "Disparity audit", subtitle: str | None = None
) -> "Report":
    """Return one audit, or several over the same groups side by side, as a page.

    Parameters
    ----------
    reports
        Name -> audit, such as ``{"before": ..., "after": ...}``.
    title, subtitle
        What was audited, on what.
    """
    from auscult.core.report import Report
    from auscult.m3fair.plots import plot_disparities, plot_rates

    page = Report(title, subtitle=subtitle).section("What was measured")
    for name, report in reports.items():
        page.text(f"{name}: {_measured(report)}" if len(reports) > 1 else _measured(report))
    page.note(CAUTION)
    for warning in dict.fromkeys(warning for report in reports.values() for warning in report.warnings):
        page.note(warning, kind="warning")
    first = next(iter(reports.values()))
    page.section("Groups")
    for metric in first.overall.metrics:
        page.figure(
            plot_rates(reports, metric, order=1), caption=f"{_words(metric)} by group.",
            alt=f"{_words(metric)} of everyone and of each group, with intervals; the table below has the numbers.",
        )  # fmt: skip
    for name, report in reports.items():
        page.table(group_rows(report), caption=f"Groups: {name}." if len(reports) > 1 else "Groups.")
    for name, report in reports.items():
        page.table(report.summary, caption=f"Range over the groups{_of(name, reports)}.")
    page.section(
        "Disparities", "Each group, and everyone else pooled, against the reference group of the same attributes."
    )
    for metric in dict.fromkeys(item.metric for item in first.comparisons):
        page.figure(
            plot_disparities(reports, metric, order=1), caption=f"{_words(metric)}.",
            alt=f"{_words(metric)} of each group against its reference, with intervals and a line at no disparity.",
        )  # fmt: skip
    ranked = next((item.metric for item in first.comparisons), "statistical_parity_difference")
    for name, report in reports.items():
        page.table(
            worst_rows(report, 5, ranked), caption=f"The five groups furthest from their reference{_of(name, reports)}."
        )
    return page.table(disparity_rows(reports, pooled=True), caption="All disparities.")


def model_card(report: DisparityReport, reweigher: "Reweigher | None" = None, *, data: str = "not stated") -> str:
    """Return a section of a model card in Markdown: data, attributes, weights, what is left, limits.

    Parameters
    ----------
    report
        The audit of the model's decisions.
    reweigher
        The fitted reweigher, if the model was trained on its weights.
    data
        What the audit was measured on, in words.
    """
    attributes = dict.fromkeys(name for result in report.groups for name in result.group)
    lines = [
        "## Fairness",
        f"- Audited on: {data}, {report.n} rows; intervals at {report.confidence:.0%}.",
        f"- Positive outcome: {report.label} = {report.positive}.",
        f"- Sensitive attributes: {', '.join(attributes)}.",
    ]
    if reweigher is not None:
        found = reweigher.diagnostics_
        levels = ", ".join(f"{name} {level}" for name, level in reweigher.levels_.items())
        lines += [
            f"- Training weights: mode {reweigher.mode}{f' with levels {levels}' if levels else ''}, "
            f"{len(reweigher.table_)} cells, {len(found.small_cells)} with fewer than {reweigher.min_cell} rows; "
            f"effective sample size {found.effective_sample_size:.6g} of {found.effective_sample_size_before:.6g}.",
            "- Label-rate difference left in the weighted training data: "
            + ", ".join(f"{name} {value:.2g}" for name, value in found.residual.items()) + ".",
        ]  # fmt: skip
    lines += [
        "- Limits: equal label rates in weighted training data do not imply equal predictions. " + CAUTION,
        "",
        _markdown_table(disparity_rows({"value": report}, order=1, pooled=True)),
    ]
    if report.warnings:
        lines += ["", "Undefined or small:", "", *(f"- {warning}" for warning in report.warnings)]
    return "\n".join(lines) + "\n"


def _measured(report: DisparityReport) -> str:
    return (
        f"{report.n} rows; positive is {report.label} = {report.positive}; the decision is {report.decision}; "
        f"intervals at {report.confidence:.0%}{f', {report.resampling}' if report.resampling else ''}."
    )


def _words(metric: str) -> str:
    return metric.replace("_", " ").capitalize() if metric != "auroc" else "AUROC"


def _of(name: str, reports: Mapping[str, DisparityReport]) -> str:
    return f", {name}" if len(reports) > 1 else ""


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "None."
    names = list(rows[0])

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    body = [line([format_value(row.get(name)) for name in names]) for row in rows]
    return "\n".join([line(names), line(["---"] * len(names)), *body])
