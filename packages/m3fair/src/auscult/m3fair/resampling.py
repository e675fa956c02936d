"""An audit's intervals by resampling rows or clusters, in place of the closed forms."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from auscult.core.errors import InputError
from auscult.m3fair.bootstrap import AuditPercentiles, ClusterTables, Percentiles, bootstrap_audit
from auscult.m3fair.cells import ConfusionCells
from auscult.m3fair.fitted import describe_cell
from auscult.m3fair.metrics.confusion import RATES
from auscult.m3fair.poisson import auroc_replicates
from auscult.m3fair.results import DisparityReport, Resampling
from auscult.m3fair.rows import RowArrays

_FEW_CLUSTERS = 30
_LISTED = 3


def resample_report(
    report: DisparityReport,
    cells: ConfusionCells,
    rows: RowArrays | None,
    order: int,
    *,
    n_boot: int,
    seed: int,
) -> DisparityReport:
    """Return a report with percentile intervals, and warnings of what resampling could not tell.

    Parameters
    ----------
    report
        An audit with closed-form intervals.
    cells
        What it was measured on.
    rows
        The same rows one by one, for the AUROC and where clusters are resampled.
    order
        The audit's order.
    n_boot, seed
        Number of resamples, and the seed.

    Raises
    ------
    InputError
        For a single cluster, fewer than one resample, and a negative seed.
    """
    groups = cells.groups
    members = np.array(
        [
            np.ones(len(groups.cells), dtype=bool),
            *(mask for subset in groups.subsets(order) for mask in groups.of_subset(subset)[1]),
        ]
    )
    clusters = None if rows is None or rows.cluster is None else _cluster_tables(rows, cells)
    results = (report.overall, *report.groups)
    comparisons = list({id(item.comparison): item.comparison for item in report.comparisons}.values())
    metrics = list(report.overall.metrics)
    disparities = list(dict.fromkeys(item.metric for item in report.comparisons))
    found = bootstrap_audit(
        cells.count, cells.weight, cells.weight_squared, members,
        [(comparison.members, comparison.reference_members) for comparison in comparisons],
        metrics=[name for name in metrics if name in RATES], disparities=disparities, clusters=clusters,
        n_boot=n_boot, seed=seed, confidence=report.confidence,
    )  # fmt: skip
    if rows is not None and rows.score is not None:
        areas = auroc_replicates(
            rows.label, rows.score, rows.combination, members, weight=rows.weight, cluster=rows.cluster,
            n_boot=n_boot, seed=seed,
        )  # fmt: skip
        found.metrics["auroc"] = Percentiles.of(areas, report.confidence)
    measured = [
        replace(result, intervals={name: _bounds(found.metrics[name], g) for name in metrics})
        for g, result in enumerate(results)
    ]
    place = {id(comparison): j for j, comparison in enumerate(comparisons)}
    compared = []
    for item in report.comparisons:
        low, high = _bounds(found.disparities[item.metric], place[id(item.comparison)])
        compared.append(replace(item, low=low, high=high))
    changed = replace(
        report, overall=measured[0], groups=tuple(measured[1:]), comparisons=tuple(compared),
        resampling=Resampling(n_boot, seed, report.n if clusters is None else clusters.n, clusters is not None),
    )  # fmt: skip
    return replace(changed, warnings=(*report.warnings, *_notes(changed, found)))


def _cluster_tables(rows: RowArrays, cells: ConfusionCells) -> ClusterTables:
    assert rows.cluster is not None
    cell = rows.combination.astype(np.intp) * 4 + rows.label * 2 + rows.decision
    tables = ClusterTables.of(rows.cluster, cell, cells.count.shape, rows.weight)
    if tables.n < 2:
        raise InputError("all rows are of one cluster: resampling needs several, or none given")
    return tables


def _bounds(found: Percentiles, position: int) -> tuple[float, float]:
    return float(found.low[position]), float(found.high[position])


def _notes(report: DisparityReport, found: AuditPercentiles) -> Iterator[str]:
    resampling = report.resampling
    assert resampling is not None
    if resampling.clusters and resampling.n < _FEW_CLUSTERS:
        yield f"only {resampling.n} clusters were resampled: the intervals of so few are too narrow"
    lost = [
        (int(percentiles.undefined[g]), f"{name} of {describe_cell(result.group) or 'everyone'}")
        for name, percentiles in found.metrics.items()
        for g, result in enumerate((report.overall, *report.groups))
        if percentiles.undefined[g] and not np.isnan(result.metrics[name])
    ]
    lost.sort(key=lambda item: -item[0])
    if lost:
        listed = ", ".join(f"{what} in {times}" for times, what in lost[:_LISTED])
        more = f", and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        yield (
            f"resamples that lost what a rate needs were left out of its interval, of {resampling.n_boot}: "
            f"{listed}{more}"
        )
    flat = sum(
        low == high for result in (report.overall, *report.groups) for low, high in result.intervals.values()
    ) + sum(item.low == item.high for item in report.comparisons)
    if flat:
        yield f"{flat} intervals have no width, as resampling cannot show what never occurred: closed forms can"
