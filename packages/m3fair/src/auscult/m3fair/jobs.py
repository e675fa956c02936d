"""What the command does with files: count them, weigh their rows, audit their decisions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress
from auscult.m3fair import reading
from auscult.m3fair.attributes import Attribute, Cut
from auscult.m3fair.auditing import GROUP_DISPARITIES, GROUP_METRICS, audit_table
from auscult.m3fair.coding import code_columns
from auscult.m3fair.metrics.confusion import RATES
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.outcome import (
    align_values,
    as_number,
    check_label,
    choose_positive,
    match_value,
    unify_numbers,
    unify_outcomes,
)
from auscult.m3fair.results import DisparityReport, DisparityResult
from auscult.m3fair.reweigher import Reweigher
from auscult.m3fair.rows import Rows
from auscult.m3fair.table import CountTable

_LIMIT = re.compile(r"\s*([a-z_]+)\s*([<>])\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*")
_SHORT = dict(zip(("spd", "di", "eod", "aod"), GROUP_DISPARITIES, strict=True))


@dataclass(frozen=True)
class Limit:
    """A limit that a disparity must not exceed: ``METRIC>LIMIT`` or ``METRIC<LIMIT``.

    ``spd>0.1`` and ``di<0.8`` hold in both directions: they take the absolute value of a difference, and the smaller of
    a ratio and its reciprocal. ``spd<-0.1`` and ``di>1.25`` take the value as it is.

    Parameters
    ----------
    metric
        One of the audit's disparities, or spd, di, eod, aod.
    below
        Whether smaller values exceed the limit.
    limit
        Of a difference, 0 to 1 for ``>`` and -1 to 0 for ``<``; of a ratio, 0 to 1 for ``<`` and at least 1 for ``>``.
    """

    metric: str
    below: bool
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Return the limit that a text writes; one that parity exceeds, or nothing can, is refused."""
        match = _LIMIT.fullmatch(text)
        metric = _SHORT.get(match[1], match[1]) if match else ""
        if match is None or metric not in DISPARITIES:
            raise InputError(
                f"--fail-on {text!r} is no limit: write METRIC>LIMIT or METRIC<LIMIT with one of "
                f"{', '.join((*_SHORT, *DISPARITIES))}, such as 'spd>0.1' or 'di<0.8'"
            )
        below, limit = match[2] == "<", float(match[3])
        if DISPARITIES[metric].neutral == 1:
            sensible, forms = 0 < limit <= 1 if below else limit >= 1, "'di<0.8', or 'di>1.25' for one direction"
        elif metric == "average_absolute_odds_difference":
            sensible, forms = not below and 0 <= limit < 1, f"{metric + '>0.1'!r}"
        else:
            sensible = -1 < limit <= 0 if below else 0 <= limit < 1
            forms = f"{match[1] + '>0.1'!r}, or {match[1] + '<-0.1'!r} for one direction"
        if not sensible:
            raise InputError(f"--fail-on {text!r} is no limit of {metric}: write it as {forms}")
        return cls(metric, below, limit)

    def exceeded_by(self, report: DisparityReport) -> list[str]:
        """Return a sentence for every group over the limit; what is undefined is not within it."""
        items = [
            item for item in report.comparisons if item.metric == self.metric and item.comparison.group is not None
        ]
        if all(item.value != item.value for item in items):
            return [f"{self.metric} is undefined for every group"]
        found = []
        for item in items:
            if item.value != item.value:
                found.append(f"{self.metric} is undefined for {item.comparison} (n={item.n})")
            elif self._exceeded(item):
                found.append(f"{self.metric} is {item.value:.4g} for {item.comparison}")
        return found

    def _exceeded(self, item: DisparityResult) -> bool:
        ratio = DISPARITIES[self.metric].neutral == 1
        if ratio:
            return 1 - item.distance < self.limit if self.below else item.value > self.limit
        return item.value < self.limit if self.below else item.distance > self.limit


def parse_sensitive(text: str) -> Attribute:
    """Return the attribute of ``NAME``, ``NAME=VALUE`` or ``NAME=VALUE:LEVEL``; the value stays text.

    Raises
    ------
    InputError
        For an empty name or value, and a level that is negative or not whole.
    """
    name, equals, value = text.partition("=")
    if not name or (equals and not value):
        raise InputError(f"--sensitive {text!r} lacks a name or a value: write NAME, NAME=VALUE or NAME=VALUE:LEVEL")
    rest, colon, level = value.rpartition(":")
    if not colon or not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", level):
        return Attribute(name, value or None)
    if not re.fullmatch(r"\+?\d+", level):
        raise InputError(f"the level {level} of {name!r} must be a whole number of at least 0, such as 1, 2, 4")
    return Attribute(name, rest or None, level=int(level))


def parse_attributes(sensitive: Sequence[str], bins: Sequence[str] | None = None) -> list[Attribute]:
    """Return the attributes of ``--sensitive`` with the edges of ``--bins NAME=EDGE,...``.

    Raises
    ------
    InputError
        As :func:`parse_sensitive`, and for edges that are no increasing numbers or of no sensitive attribute.
    """
    edges = {}
    for text in bins or ():
        name, _, listed = text.rpartition("=")
        numbers = [as_number(edge.strip()) for edge in listed.split(",")]
        if not name or any(isinstance(number, str) for number in numbers):
            raise InputError(f"--bins {text!r} is no cut: write NAME=EDGE,EDGE with numbers, such as 'age=18,65'")
        edges[name] = numbers
    parsed = [parse_sensitive(text) for text in sensitive]
    absent = edges.keys() - {attribute.name for attribute in parsed}
    if absent:
        raise InputError(f"--bins cuts {min(absent)!r}, which is no --sensitive attribute: name it there too")
    for one in parsed:
        if one.name in edges and isinstance(as_number(one.privileged), str):  # type: ignore[arg-type]
            raise InputError(
                f"the reference {one.privileged!r} of {one.name!r}, which has bins, is no number: "
                "give one that lies in the reference bin"
            )
    return [replace(one, bins=edges[one.name]) if one.name in edges else one for one in parsed]  # type: ignore[arg-type]


def parse_importance(texts: Sequence[str] | None) -> dict[str, float]:
    """Return the powers of ``--importance NAME=POWER``."""
    found = {}
    for text in texts or ():
        name, _, power = text.rpartition("=")
        number = as_number(power)
        if not name or not isinstance(number, (int, float)):
            raise InputError(f"--importance {text!r}: write NAME=POWER with a number from 0 to 1, such as 'sex=0.5'")
        found[name] = float(number)
    return found


def parse_metrics(text: str | None, limits: Sequence[Limit] = ()) -> dict[str, tuple[str, ...]]:
    """Return the rates and disparities of ``--metrics``, and the disparities that limits need.

    Raises
    ------
    InputError
        For an unknown name.
    """
    names = [_SHORT.get(name.strip(), name.strip()) for name in (text or "").split(",") if name.strip()]
    if names == ["all"]:
        return {"metrics": tuple(RATES), "disparities": tuple(DISPARITIES)}
    unknown = [name for name in names if name not in RATES and name not in DISPARITIES]
    if unknown:
        raise InputError(
            f"--metrics names {unknown[0]!r}, which is unknown: choose all, or from {', '.join((*RATES, *DISPARITIES))}"
        )
    rates = [name for name in names if name in RATES] or GROUP_METRICS
    disparities = [name for name in names if name in DISPARITIES] or GROUP_DISPARITIES
    needed = (limit.metric for limit in limits)
    return {"metrics": tuple(rates), "disparities": tuple(dict.fromkeys([*disparities, *needed]))}


def resolve_reference(attribute: Attribute, table: CountTable) -> Attribute:
    """Return the attribute with its reference text replaced by the value of the table's column that it names.

    Of an attribute with bins, whose names the table holds, the reference is the bin of the number.
    """
    if attribute.bins is not None:
        return replace(attribute, privileged=Cut.learn(attribute, None).privileged(attribute), bins=None)
    if attribute.privileged is None:
        return attribute
    values = table.values[table.columns.index(attribute.name)]
    if all(value is None for value in values):
        raise InputError(f"the attribute {attribute.name!r} has no value at all: leave it out or fill it in")
    value = match_value(str(attribute.privileged), values, attribute.name, role="reference value")
    return replace(attribute, privileged=value)


def check_roles(roles: dict[str, str | None], sensitive: Sequence[str]) -> None:
    """Refuse a column that is given for two purposes."""
    seen: dict[str, str] = {}
    for role, name in [*roles.items(), *(("--sensitive", name) for name in sensitive)]:
        if name in seen:
            raise InputError(f"the column {name!r} is given as {seen[name]} and as {role}: use it once")
        if name is not None:
            seen[name] = role


def read_cut_blocks(
    paths: Sequence[Path], sensitive: Sequence[Attribute], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield blocks of rows of the attributes and further columns; numbers with bins as the names of these."""
    cuts = {a.name: Cut.learn(a, None) for a in sensitive if a.bins is not None}
    with progress("Reading rows") as advance:
        for block in reading.read_blocks(paths, [*(attribute.name for attribute in sensitive), *columns]):
            numbers = {name: reading.to_numbers(block[name], name) for name in cuts}
            yield {**block, **{name: cut.apply(name, numbers[name]) for name, cut in cuts.items()}}
            advance(len(next(iter(block.values()))))


def count_files(
    paths: Sequence[Path], sensitive: Sequence[Attribute], label: str, weight: str | None = None
) -> CountTable:
    """Return the count table of the attributes and the label over all rows of files."""
    columns = [*(attribute.name for attribute in sensitive), label]
    counted = CountTable.empty(columns)
    for block in read_cut_blocks(paths, sensitive, [label, *([weight] if weight else [])]):
        counted += CountTable.count_rows(block, columns, weight=_prior(block, weight))
    return unify_numbers(_some_rows(counted, paths))


def fit_files(
    paths: Sequence[Path],
    label: str,
    sensitive: Sequence[Attribute],
    *,
    positive: str | None = None,
    weight: str | None = None,
    fit_on: Path | None = None,
    **options: Any,
) -> tuple[Reweigher, CountTable]:
    """Return a reweigher fitted on all rows of files, and what was counted.

    ``fit_on`` is a count table to fit on in place of the files' rows: that of many files, merged. ``options`` are
    those of :class:`~auscult.m3fair.reweigher.Reweigher`.
    """
    names = [attribute.name for attribute in sensitive]
    check_roles({"--label": label, "--weight": weight}, names)
    counted = count_files(paths, sensitive, label, weight) if fit_on is None else read_tables([fit_on])
    if counted.columns != (*names, label):
        raise InputError(
            f"the table {str(fit_on)!r} counts {list(counted.columns)}, not {[*names, label]}: "
            "write it with the same --sensitive and --label"
        )
    check_label(counted.values[-1], label)
    if positive is not None:
        match_value(positive, counted.values[-1], label, role="positive value")
    return Reweigher([resolve_reference(a, counted) for a in sensitive], **options).fit_table(counted), counted


def write_weights(
    out: Path,
    paths: Sequence[Path],
    label: str,
    sensitive: Sequence[Attribute],
    weight: str | None,
    reweigher: Reweigher,
) -> None:
    """Write the weights of all rows of files, in order, as one float64 column, a block at a time."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field("weight", pa.float64(), nullable=False)])

    fitted = reweigher.fitted_

    def weigh() -> Iterator[Any]:
        for block in read_cut_blocks(paths, sensitive, [label, *([weight] if weight else [])]):
            coded = code_columns(block, [*(attribute.name for attribute in sensitive), label])
            aligned = map(align_values, coded.values, fitted.table.values)
            values = tuple(
                tuple(found[value] for value in mine) for found, mine in zip(aligned, coded.values, strict=True)
            )
            yield fitted.weigh(replace(coded, values=values), _prior(block, weight), reweigher.unseen)

    def write(partial: Path) -> None:
        make = pq.ParquetWriter if out.suffix == ".parquet" else pyarrow.csv.CSVWriter
        with make(str(partial), schema) as writer:
            for part in weigh():
                writer.write_table(pa.table({"weight": part}, schema=schema))

    replace_atomically(out, write)


def audit_files(
    paths: Sequence[Path],
    label: str,
    pred: str | None,
    sensitive: Sequence[Attribute],
    *,
    score: str | None = None,
    threshold: float | None = None,
    weight: str | None = None,
    cluster: str | None = None,
    positive: str | None = None,
    **options: Any,
) -> DisparityReport:
    """Audit the decisions in files, or without ``pred`` those that a threshold makes of the scores.

    ``options`` are those of :func:`~auscult.m3fair.auditing.audit_table`.
    """
    names = [attribute.name for attribute in sensitive]
    check_roles({"--label": label, "--pred": pred, "--weight": weight}, names)
    check_roles({"--score": score, "--cluster": cluster}, names)
    if (pred is None) == (threshold is None) or (pred is None and score is None):
        raise InputError("the audit needs decisions: name their column with --pred, or give --score and a --threshold")
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"--threshold {threshold}: give a number")
    decision = pred or f"{score} >= {threshold:g}"
    outcomes: npt.NDArray[Any] = np.zeros(0)
    if pred is None:
        values = count_files(paths, [], label).values[-1]
        chosen = choose_positive(values, positive, label)
        outcomes = np.array([*(value for value in values if value != chosen), chosen], dtype=object)
    keys = [*names, label, decision]
    rows = Rows() if score or cluster else None
    counted = CountTable.empty(keys)
    for block in read_cut_blocks(paths, sensitive, [label, *filter(None, (pred, weight, score, cluster))]):
        scores = reading.to_scores(block[score], score) if score else None
        if pred is None and scores is not None and threshold is not None:
            block[decision] = outcomes[(scores >= threshold).astype(np.intp)]
        prior = _prior(block, weight)
        counted += CountTable.count_rows(block, keys, weight=prior)
        if rows is not None:
            coded = code_columns(block, keys)
            rows.add(coded, weight=prior, cluster=block[cluster] if cluster else None, score=scores)
    counted = unify_outcomes(unify_numbers(_some_rows(counted, paths)), label, decision)
    with progress("Auditing"):
        return audit_table(
            counted, [resolve_reference(a, counted) for a in sensitive], label=label, decision=decision, rows=rows,
            positive=positive, **options,
        )  # fmt: skip


def read_tables(paths: Sequence[Path]) -> CountTable:
    """Return the sum of count tables in ``.json`` and ``.parquet`` files."""
    return unify_numbers(
        CountTable.sum(
            CountTable.from_parquet(path) if path.suffix == ".parquet" else CountTable.from_json(path) for path in paths
        )
    )


def write_table(table: CountTable, path: Path) -> None:
    """Write a count table as ``.json`` or ``.parquet``."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path)


def _prior(block: dict[str, Any], weight: str | None) -> npt.NDArray[np.float64] | None:
    return reading.to_weights(block[weight], weight) if weight else None


def _some_rows(counted: CountTable, paths: Sequence[Path]) -> CountTable:
    if counted.n == 0:
        raise InputError(f"{str(paths[0])!r} has no rows: give at least one")
    return counted
