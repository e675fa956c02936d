"""What the command does with files: count them, weigh their rows, audit their decisions."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.m3fair import reading
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.auditing import GROUP_DISPARITIES, audit_table
from auscult.m3fair.coding import code_columns
from auscult.m3fair.outcome import check_label, match_value, unify_outcomes
from auscult.m3fair.results import DisparityReport
from auscult.m3fair.reweigher import Reweigher
from auscult.m3fair.rows import Rows
from auscult.m3fair.table import CountTable

_LIMIT = re.compile(r"\s*([a-z_]+)\s*([<>])\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*")
_SHORT = dict(zip(("spd", "di", "eod", "aod"), GROUP_DISPARITIES, strict=True))


@dataclass(frozen=True)
class Limit:
    """A limit that a disparity must not exceed: ``METRIC>LIMIT`` or ``METRIC<LIMIT``.

    Parameters
    ----------
    metric
        One of the audit's disparities, or spd, di, eod, aod.
    below
        Whether smaller values exceed the limit, as for a ratio.
    limit
        Compared with the absolute value of a difference, and with the smaller of a ratio and its reciprocal.
    """

    metric: str
    below: bool
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Return the limit that a text writes."""
        match = _LIMIT.fullmatch(text)
        metric = _SHORT.get(match[1], match[1]) if match else ""
        if match is None or metric not in GROUP_DISPARITIES:
            raise InputError(
                f"--fail-on {text!r} is no limit: write METRIC>LIMIT or METRIC<LIMIT with one of "
                f"{', '.join((*_SHORT, *GROUP_DISPARITIES))}, such as 'spd>0.1' or 'di<0.8'"
            )
        return cls(metric, match[2] == "<", float(match[3]))

    def exceeded_by(self, report: DisparityReport) -> list[str]:
        """Return a sentence for every group over the limit; an audit without any defined value is over it too."""
        items = [
            item for item in report.comparisons if item.metric == self.metric and item.comparison.group is not None
        ]
        defined = [item for item in items if item.value == item.value]
        found = []
        for item in defined:
            value = 1 - item.distance if self.metric == "disparate_impact" else item.distance
            if value < self.limit if self.below else value > self.limit:
                found.append(f"{self.metric} is {item.value:.4g} for {item.comparison}")
        return found if defined else [f"{self.metric} is undefined for every group"]


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


def resolve_reference(attribute: Attribute, table: CountTable) -> Attribute:
    """Return the attribute with its reference text replaced by the value of the table's column that it names."""
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


def count_files(
    paths: Sequence[Path],
    columns: Sequence[str],
    weight: str | None = None,
    *,
    also: Sequence[str] = (),
    on_block: Callable[[Any, npt.NDArray[Any] | None], object] | None = None,
) -> CountTable:
    """Return the count table of columns over all rows of files.

    Parameters
    ----------
    paths, columns, weight
        The files, and the names of their columns.
    also, on_block
        Further columns to read, and what to do with each block and its prior weights.
    """
    counted = CountTable.empty(columns)
    for block in reading.read_blocks(paths, [*columns, *([weight] if weight else []), *also]):
        prior = reading.to_weights(block[weight], weight) if weight else None
        counted += CountTable.count_rows(block, columns, weight=prior)
        if on_block is not None:
            on_block(block, prior)
    if counted.n == 0:
        raise InputError(f"{str(paths[0])!r} has no rows: give at least one")
    return counted


def fit_files(
    paths: Sequence[Path],
    label: str,
    sensitive: Sequence[Attribute],
    *,
    positive: str | None = None,
    weight: str | None = None,
    **options: Any,
) -> tuple[Reweigher, CountTable]:
    """Return a reweigher fitted on all rows of files, and what was counted.

    ``options`` are those of :class:`~auscult.m3fair.reweigher.Reweigher`.
    """
    names = [attribute.name for attribute in sensitive]
    check_roles({"--label": label, "--weight": weight}, names)
    counted = count_files(paths, [*names, label], weight)
    check_label(counted.values[-1], label)
    if positive is not None:
        match_value(positive, counted.values[-1], label, role="positive value")
    return Reweigher([resolve_reference(a, counted) for a in sensitive], **options).fit_table(counted), counted


def write_weights(
    out: Path, paths: Sequence[Path], label: str, names: Sequence[str], weight: str | None, reweigher: Reweigher
) -> None:
    """Write the weights of all rows of files, in order, as one float64 column, a block at a time."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field("weight", pa.float64(), nullable=False)])

    def weigh() -> Iterator[Any]:
        for block in reading.read_blocks(paths, [*names, label, *([weight] if weight else [])]):
            prior = reading.to_weights(block[weight], weight) if weight else None
            yield reweigher.compute_weights({n: block[n] for n in names}, block[label], sample_weight=prior)

    def write(partial: Path) -> None:
        make = pq.ParquetWriter if out.suffix == ".parquet" else pyarrow.csv.CSVWriter
        with make(str(partial), schema) as writer:
            for part in weigh():
                writer.write_table(pa.table({"weight": part}, schema=schema))

    replace_atomically(out, write)


def audit_files(
    paths: Sequence[Path],
    label: str,
    pred: str,
    sensitive: Sequence[Attribute],
    *,
    score: str | None = None,
    weight: str | None = None,
    cluster: str | None = None,
    **options: Any,
) -> DisparityReport:
    """Audit the decisions in files.

    ``options`` are those of :func:`~auscult.m3fair.auditing.audit_table`.
    """
    names = [attribute.name for attribute in sensitive]
    check_roles({"--label": label, "--pred": pred, "--weight": weight}, names)
    check_roles({"--score": score, "--cluster": cluster}, names)
    keys = [*names, label, pred]
    rows = Rows() if score or cluster else None

    def keep(block: Any, prior: npt.NDArray[Any] | None) -> None:
        if rows is not None:
            rows.add(
                code_columns(block, keys), weight=prior, cluster=block[cluster] if cluster else None,
                score=reading.to_scores(block[score], score) if score else None,
            )  # fmt: skip

    counted = count_files(paths, keys, weight, also=[name for name in (score, cluster) if name], on_block=keep)
    counted = unify_outcomes(counted, label, pred)
    return audit_table(
        counted, [resolve_reference(a, counted) for a in sensitive], label=label, decision=pred, rows=rows, **options
    )


def read_tables(paths: Sequence[Path]) -> CountTable:
    """Return the sum of count tables in ``.json`` and ``.parquet`` files."""
    return CountTable.sum(
        CountTable.from_parquet(path) if path.suffix == ".parquet" else CountTable.from_json(path) for path in paths
    )


def write_table(table: CountTable, path: Path) -> None:
    """Write a count table as ``.json`` or ``.parquet``."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path)
