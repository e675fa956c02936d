"""The disparity audit: rates of every group, and each group against a reference, with intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute, Cut, as_attributes
from auscult.m3fair.cells import ConfusionCells
from auscult.m3fair.coding import CodedColumns, as_floats, code_columns, get_column, named_columns, one_dimensional
from auscult.m3fair.fitted import describe_cell
from auscult.m3fair.groups import POOLED, Comparison, Group, Groups
from auscult.m3fair.metrics.confusion import PROPORTIONS, RATES
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.metrics.ranking import auroc
from auscult.m3fair.resampling import resample_report
from auscult.m3fair.results import DisparityReport, DisparityResult, GroupResult
from auscult.m3fair.rows import Rows, check_clusters
from auscult.m3fair.table import CountTable, check_weights

GROUP_METRICS = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy")
GROUP_DISPARITIES = (
    "statistical_parity_difference",
    "disparate_impact",
    "equal_opportunity_difference",
    "average_odds_difference",
)


def audit(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    attributes: Sequence[Attribute | str] | Attribute | str | None = None,
    y_score: Any = None,
    sample_weight: Any = None,
    positive: Hashable = None,
    order: int = 2,
    confidence: float = 0.95,
    metrics: Sequence[str] = GROUP_METRICS,
    disparities: Sequence[str] = GROUP_DISPARITIES,
    min_group: int = 10,
    ci: str = "closed",
    n_boot: int = 1000,
    seed: int = 0,
    cluster: Any = None,
) -> DisparityReport:
    """Audit decisions by group.

    Parameters
    ----------
    y_true, y_pred
        (n,) labels and decisions, with the same two values.
    sensitive_features
        A frame, a mapping of arrays, or one array (n,).
    attributes
        Which of its columns to audit; :class:`Attribute` names the reference group (``privileged``) and cuts
        numbers (``bins``). Default: all columns, each against its most frequent value.
    y_score
        (n,) scores, higher for positive; adds the AUROC.
    sample_weight
        (n,) prior weights; rates are weighted, intervals use the effective number of rows.
    positive
        The positive value; default 1 of 0 and 1, or true.
    order
        Groups are formed by every 1 to ``order`` attributes.
    confidence
        Nominal coverage of the intervals.
    metrics, disparities
        Names in :data:`~auscult.m3fair.metrics.RATES` and :data:`~auscult.m3fair.metrics.DISPARITIES`. One
        without a closed-form interval has NaN bounds unless ``ci="bootstrap"``.
    min_group
        Groups with fewer rows get a warning.
    ci
        ``"closed"`` for the intervals of Wilson, Newcombe, Katz and DeLong; ``"bootstrap"`` for percentiles of
        resamples, see :mod:`auscult.m3fair.bootstrap`.
    n_boot, seed
        Number of resamples, and their seed.
    cluster
        (n,) whose row it is, where a person has several: with ``ci="bootstrap"`` persons are resampled, all their
        rows together. The row's own number resamples rows one by one, which is exact for any weights.

    Raises
    ------
    InputError
        For values that cannot be used; the sentence names the value and the remedy.

    Examples
    --------
    >>> report = audit([1, 0, 1, 0], [1, 0, 0, 0], sensitive_features={"sex": ["F", "F", "M", "M"]}, min_group=0)
    >>> [result.metrics["selection_rate"] for result in report.groups]
    [0.5, 0.0]
    """
    rows = AuditRows.of(
        y_true, y_pred, sensitive_features=sensitive_features, attributes=attributes, y_score=y_score,
        sample_weight=sample_weight, cluster=cluster,
    )  # fmt: skip
    return rows.audit(
        rows.attributes, positive=None if positive is None else str(positive), order=order, confidence=confidence,
        metrics=metrics, disparities=disparities, min_group=min_group, ci=ci, n_boot=n_boot, seed=seed,
    )  # fmt: skip


@dataclass(frozen=True)
class AuditRows:
    """Rows to audit, checked, numbers cut and values coded.

    Parameters
    ----------
    attributes
        Without bins: of an attribute that had some, the reference is the name of the bin.
    label, decision
        Names of the last two columns.
    coded
        n rows of the attributes, the label and the decision.
    score, weight, cluster
        (n,) or None.
    """

    attributes: tuple[Attribute, ...]
    label: str
    decision: str
    coded: CodedColumns
    score: npt.NDArray[np.float64] | None
    weight: npt.NDArray[np.float64] | None
    cluster: npt.NDArray[Any] | None

    @classmethod
    def of(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        sensitive_features: Any,
        attributes: Sequence[Attribute | str] | Attribute | str | None,
        y_score: Any,
        sample_weight: Any,
        cluster: Any,
    ) -> "AuditRows":
        """Return the rows that the arguments of :func:`audit` give."""
        columns, names = named_columns(sensitive_features)
        weight = None if sample_weight is None else check_weights(sample_weight)
        data, resolved = {}, []
        for attribute in as_attributes(attributes) or as_attributes(names):
            column = get_column(columns, attribute.name)
            if attribute.bins is not None:
                cut = Cut.learn(attribute, column, weight)
                column = cut.apply(attribute.name, column)
                attribute = Attribute(attribute.name, cut.privileged(attribute))
            data[attribute.name] = column
            resolved.append(attribute)
        label = add_column(data, one_dimensional(y_true, "y_true"), "label")
        decision = add_column(data, one_dimensional(y_pred, "y_pred"), "decision")
        coded = code_columns(data, list(data))
        if weight is not None and len(weight) != len(coded):
            raise InputError(f"there are {len(weight)} weights for {len(coded)} rows: give one weight a row")
        persons = None
        if cluster is not None:
            found = code_columns({"cluster": cluster}, ["cluster"])
            persons = check_clusters(found.codes[0], found.values[0], len(coded))
        return cls(
            tuple(resolved), label, decision, coded, None if y_score is None else check_scores(y_score, len(coded)),
            weight, persons,
        )  # fmt: skip

    def take(self, rows: npt.NDArray[np.bool_]) -> "AuditRows":
        """Return some of the rows (a mask)."""
        score, weight, cluster = (
            None if part is None else part[rows] for part in (self.score, self.weight, self.cluster)
        )
        coded = replace(self.coded, codes=tuple(codes[rows] for codes in self.coded.codes))
        return replace(self, coded=coded, score=score, weight=weight, cluster=cluster)

    def count(self) -> CountTable:
        """Return the table of the rows."""
        return CountTable.count_codes(self.coded, self.weight)

    def audit(self, attributes: Sequence[Attribute], **options: Any) -> DisparityReport:
        """Audit the rows by attributes of these names, with the options of :func:`audit_table`."""
        rows = None
        if self.score is not None or self.cluster is not None:
            rows = Rows()
            rows.add(self.coded, score=self.score, weight=self.weight, cluster=self.cluster)
        return audit_table(
            self.count(), attributes, label=self.label, decision=self.decision, rows=rows, **options
        )  # fmt: skip


def audit_table(
    table: CountTable,
    attributes: Sequence[Attribute],
    *,
    label: str,
    decision: str,
    rows: Rows | None = None,
    positive: str | None = None,
    order: int = 2,
    confidence: float = 0.95,
    metrics: Sequence[str] = GROUP_METRICS,
    disparities: Sequence[str] = GROUP_DISPARITIES,
    min_group: int = 10,
    ci: str = "closed",
    n_boot: int = 1000,
    seed: int = 0,
) -> DisparityReport:
    """Audit a count table over the attributes, the label and the decision: :func:`audit` without rows.

    Parameters that are not explained here are those of :func:`audit`.

    Parameters
    ----------
    table
        Among its columns are the attributes' names, ``label`` and ``decision``.
    rows
        The same rows one by one, for the AUROC and clusters.
    positive
        The positive value as text.
    """
    if order < 1:
        raise InputError(f"order={order}: groups are formed by at least 1 attribute")
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence}: give a number between 0 and 1, such as 0.95")
    if ci not in ("closed", "bootstrap"):
        raise InputError(f"ci={ci!r} is unknown: choose closed or bootstrap")
    for kind, wanted, known in (("metric", metrics, RATES), ("disparity", disparities, DISPARITIES)):
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise InputError(f"the {kind} {unknown[0]!r} is unknown: choose from {', '.join(known)}")
    cells = ConfusionCells.of(table, attributes, label=label, decision=decision, positive=positive)
    groups = cells.groups
    single = None if rows is None else rows.arrays(groups, cells.positive, label=label, decision=decision)
    if single is not None and single.cluster is not None and ci == "closed":
        raise InputError("the closed forms take rows as independent: with clusters, ask for the bootstrap (ci)")
    ranked = None if single is None or single.score is None else single.by_score()
    notes: list[str] = []

    def measure(group: Group, members: npt.NDArray[np.bool_]) -> GroupResult:
        confusion = cells.pool(members)
        values = {name: float(confusion.rate(name)) for name in metrics}
        intervals = dict.fromkeys(metrics, (np.nan, np.nan))
        for name in PROPORTIONS.intersection(metrics):
            low, high = confusion.interval(name, confidence)
            intervals[name] = (float(low), float(high))
        if ranked is not None and ranked.score is not None:
            there = members[ranked.combination]
            area = auroc(
                ranked.label[there], ranked.score[there], None if ranked.weight is None else ranked.weight[there],
                confidence=confidence,
            )  # fmt: skip
            values["auroc"], intervals["auroc"] = area.value, (area.low, area.high)
        n = cells.n(members)
        undefined = [name for name, value in values.items() if np.isnan(value)]
        if undefined:
            notes.append(f"undefined in the group {describe_cell(group) or 'everyone'} (n={n}): {', '.join(undefined)}")
        if group and n < min_group:
            notes.append(f"the group {describe_cell(group)} has only {n} rows: its rates say little")
        return GroupResult(group, n, float(confusion.weight.sum()), values, intervals)

    overall = measure({}, np.ones(len(groups.cells), dtype=bool))
    measured = [
        measure(group, members)
        for subset in groups.subsets(order)
        for group, members in zip(*groups.of_subset(subset), strict=True)
    ]
    compared = []
    for comparison in groups.comparisons(order):
        if comparison.group is None and len(comparison.attributes) == 1:
            notes.extend(_missing_note(comparison, cells))
        group, reference = (cells.pool(members) for members in (comparison.members, comparison.reference_members))
        undefined, infinite = [], []
        for name in disparities:
            value = float(DISPARITIES[name].value(group, reference))
            interval = DISPARITIES[name].interval
            low, high = interval(group, reference, confidence) if interval else (np.nan, np.nan)
            n = int(cells.count[comparison.members].sum())
            compared.append(DisparityResult(comparison, name, value, float(low), float(high), n))
            if np.isnan(value):
                undefined.append(name)
            elif np.isinf(value):
                infinite.append(name)
        if undefined:
            notes.append(f"undefined for {comparison}: {', '.join(undefined)}")
        if infinite:
            notes.append(f"infinite for {comparison}, as the rate of the reference is 0: {', '.join(infinite)}")
    notes += reference_notes(groups)
    report = DisparityReport(
        n=table.n, positive=cells.positive, label=label, decision=decision, confidence=confidence, overall=overall,
        groups=tuple(measured), comparisons=tuple(compared), warnings=tuple(notes),
    )  # fmt: skip
    return report if ci == "closed" else resample_report(report, cells, single, order, n_boot=n_boot, seed=seed)


def check_scores(scores: Any, n: int) -> npt.NDArray[np.float64]:
    """Return scores as float64 (n,).

    Raises
    ------
    InputError
        For scores that are not numbers or not finite, and for another length.
    """
    array = as_floats(scores, "scores")
    if array.shape != (n,):
        raise InputError(f"the scores have shape {array.shape} for {n} rows: give one number a row")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(f"the score of row {bad[0]} is {array[bad[0]]} ({len(bad)} such): scores must be finite")
    return array


def add_column(data: dict[str, Any], column: Any, fallback: str) -> str:
    """Add a column under its own name, or the fallback, changed until it is free; return the name."""
    name = str(getattr(column, "name", None) or fallback)
    while name in data:
        name += "_"
    data[name] = column
    return name


def reference_notes(groups: Groups) -> list[str]:
    """Return a sentence for each attribute whose largest group is the reference."""
    return [
        f"the attribute {attribute.name} has no reference value: its largest group, {largest}, is used"
        for attribute, (largest, _) in zip(groups.attributes, groups.references(), strict=True)
        if attribute.privileged is None
    ]


def _missing_note(comparison: Comparison, cells: ConfusionCells) -> list[str]:
    (name,), groups = comparison.attributes, cells.groups
    k = [attribute.name for attribute in groups.attributes].index(name)
    missing = np.array([value is None for value in groups.values[k]])[groups.cells[:, k]]
    n = cells.n(missing)
    return [f"{n} rows without {name} are a group of their own, and part of '{POOLED}'"] if n else []
