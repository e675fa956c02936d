"""From raw events to the values of a cohort: one pass through each table out of core, every lost row counted.

The order of the rows never matters: DuckDB maps codes to features, finds each row's stays, reads and checks its
value, and sorts what is left; the padded arrays are filled from that, some records at a time.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow
from auscult.core.data.conversions import literal
from auscult.core.data.panel import Panel, RangeRule
from auscult.core.data.ragged import Combine, Ragged, gather, snapped
from auscult.core.data.tree import Tree
from auscult.core.errors import InputError
from auscult.core.progress import progress

Duplicates = Literal["mean", "last", "first", "min", "max", "text"]
PreAnchor = Literal["drop", "keep", "fold_into_0"]
_CHUNK = 200_000
_HOUR = 3_600_000_000


@dataclass(frozen=True)
class EventTable:
    """A raw table of events.

    Parameters
    ----------
    name
        As the panel's sources name it.
    view
        Its view, which ``select`` reads once and whose rows are counted.
    select
        SQL that selects from it, a row an event: ``person`` and ``stay`` (BIGINT; a NULL stay is found by the
        time), ``code``, ``taken`` and ``stored`` (BIGINT, microseconds), ``number`` (DOUBLE), ``text``, ``unit``
        (VARCHAR) and ``wrong`` (BOOLEAN, whether the source itself calls it an error).
    only
        A column of the view, and the values of it that rows of the panel's codes have.
    rows
        How many rows the view has, where ``select`` reads a copy that was made of it.
    whole
        Whether all that ``select`` gives has codes of the panel, and counts instead of the view's rows.
    """

    name: str
    view: str
    select: str
    only: tuple[str, Sequence[Any]] | None = None
    rows: int | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which events count, and how values of one time become one.

    Parameters
    ----------
    hours
        Events after so many hours from a stay's start are left out; None keeps all up to its end.
    bin_hours
        Width of the bins that times are cut down to, the last value of each bin kept; None keeps the times.
    pre_anchor
        Events before the start: ``drop``, ``keep`` or ``fold_into_0``.
    lookback_hours
        How long before the start they may lie, unless they are dropped.
    range
        ``drop`` values beyond the outer bounds; ``clip`` in addition those beyond the valid ones to them;
        ``none`` keeps all.
    duplicates
        Values of one feature and time: their ``mean``, ``min`` or ``max``, the ``last`` or ``first`` stored
        (then by priority of the source, then by size; never by the order of rows). States of a scale take the
        last stored where a mean has no meaning. ``text`` is the rule of studies that sorted values as text.
    """

    hours: float | None = 48.0
    bin_hours: float | None = None
    pre_anchor: PreAnchor = "drop"
    lookback_hours: float = 24.0
    range: RangeRule = "drop"
    duplicates: Duplicates = "mean"

    def __post_init__(self) -> None:
        choices = {"pre_anchor": PreAnchor, "range": RangeRule, "duplicates": Duplicates}
        for name, known in choices.items():
            if getattr(self, name) not in get_args(known):
                raise InputError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(get_args(known))}")
        for name in ("hours", "bin_hours", "lookback_hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise InputError(f"{name} is {value!r}: give a number of hours above 0")


def read_events(
    tree: Tree, tables: Sequence[EventTable], panel: Panel, rules: Rules, *, records: int
) -> tuple[Ragged, list[AttritionRow]]:
    """Read the events of a panel for the stays of a cohort.

    Parameters
    ----------
    tree
        Holds the temporary table ``stays``: ``record`` (INTEGER, 0 to ``records`` - 1), ``person``, ``stay``
        (BIGINT, as in the events), and ``start``, ``stop`` (BIGINT, microseconds, as ``taken`` of the events):
        hours count from ``start``, nothing after ``stop`` counts. An event without a stay belongs to every stay
        of its person that it lies in (from ``lookback_hours`` before the start, unless those are dropped);
        ``by_time`` (BOOLEAN) says whether times decide that, or the person alone, who then has one stay.
    tables
        Those that the panel reads; others are left alone.
    panel, rules
        What to read and how.
    records
        The number of stays.

    Returns
    -------
    Ragged, list of AttritionRow
        Rows going in are the rows left plus those dropped, at every step.
    """
    used = [table for table in tables if table.name in panel.tables]
    ways = [_way(panel, rules, i) for i in range(len(panel.variables))]
    tree.run(
        "CREATE OR REPLACE TEMP TABLE cells (fate UTINYINT, again BOOLEAN, clipped BOOLEAN, record INTEGER, "
        "hours FLOAT, feature USMALLINT, value DOUBLE, ordering BIGINT, word VARCHAR)"
    )
    total = 0
    for table in used:
        with progress(f"Reading {table.name}"):
            total += _insert(tree, table, panel, rules, ways)
    attrition = _count(tree, used, total, records, rules)
    parts = _ragged_parts(tree, panel, rules, ways, records, attrition)
    return _join(parts, records, len(panel.variables)), attrition


def _way(panel: Panel, rules: Rules, index: int) -> Combine:
    """Return how values of one feature and time become one."""
    variable = panel.variables[index]
    if variable.combine is not None:
        return variable.combine
    if rules.duplicates == "text":
        return "last"
    states = {"categorical": ("mean", "min", "max"), "ordinal": ("mean",)}
    return "last" if rules.duplicates in states.get(variable.feature.kind, ()) else rules.duplicates


def _insert(tree: Tree, table: EventTable, panel: Panel, rules: Rules, ways: list[Combine]) -> int:
    """Put the rows of a table that the panel knows into ``cells``, with what became of each; return all its rows."""
    values: dict[str, int] = {}
    items: list[list[str]] = []
    code_type = "BIGINT"
    for feature, variable in enumerate(panel.variables):
        bounds, by_text = variable.bounds, variable.by_text and rules.duplicates == "text"
        codes = [(source, code) for source in variable.sources for code in source.codes]
        for priority, (source, code) in enumerate(codes):
            if source.table == table.name:
                expression = values.setdefault(source.value, len(values))
                limits = [bounds.low, bounds.high, bounds.valid_low, bounds.valid_high]
                shown = [code, feature, expression, priority, ways[feature], by_text, *limits]
                items.append(["NULL" if value is None else literal(value) for value in shown])
                code_type = "VARCHAR" if isinstance(code, str) else code_type
    rows = ", ".join(f"({', '.join(item)})" for item in items)
    tree.run(
        f"CREATE OR REPLACE TEMP TABLE items AS SELECT * REPLACE (code::{code_type} AS code, low::DOUBLE AS low, "
        "high::DOUBLE AS high, valid_low::DOUBLE AS valid_low, valid_high::DOUBLE AS valid_high), "
        "row_number() OVER (PARTITION BY code ORDER BY feature) > 1 AS shared "
        f"FROM (VALUES {rows}) AS listed(code, feature, expression, priority, way, by_text, "
        "low, high, valid_low, valid_high)"
    )
    read = " ".join(f"WHEN {number} THEN {expression}" for expression, number in values.items())
    lookback = 0 if rules.pre_anchor == "drop" else round(rules.lookback_hours * _HOUR)
    window = "FALSE" if rules.hours is None else f"taken > start + {round(rules.hours * _HOUR)}"
    hours = "(taken - start) / 3.6e9"
    hours = f"greatest({hours}, 0)" if rules.pre_anchor == "fold_into_0" else hours
    outside = "FALSE" if rules.range == "none" else "value < low OR value > high"
    clipped = "value < valid_low OR value > valid_high" if rules.range == "clip" else "FALSE"
    value = "greatest(least(value, valid_high), valid_low)" if rules.range == "clip" else "value"
    statement = f"""
        INSERT INTO cells
        WITH known AS (
            SELECT e.* REPLACE (CASE WHEN isfinite(e.number) THEN e.number END AS number),
                coalesce(e.wrong, FALSE) AS bad, i.* EXCLUDE (code)
            FROM ({table.select}) e JOIN items i ON e.code = i.code
        ), bounded AS (
            SELECT *, start - {lookback} AS opens, max(stop) OVER (PARTITION BY person ORDER BY start, stay
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
            FROM stays
        ), placed AS (
            SELECT k.*, s.record, s.start, s.stop,
                shared OR coalesce(k.stay IS NULL AND s.by_time AND k.taken <= s.covered, FALSE) AS again
            FROM known k LEFT JOIN bounded s ON k.person = s.person AND NOT k.bad
                AND (k.stay = s.stay OR k.stay IS NULL AND (NOT s.by_time OR k.taken BETWEEN s.opens AND s.stop))
        ), valued AS (
            SELECT *, CASE WHEN record IS NOT NULL THEN CASE expression {read} END END::DOUBLE AS value FROM placed
        ), judged AS (
            SELECT *, CASE WHEN bad THEN 1 WHEN record IS NULL THEN 2 WHEN taken IS NULL THEN 8
                WHEN taken < start - {lookback} THEN 3 WHEN taken > stop THEN 4 WHEN {window} THEN 7
                WHEN NOT coalesce(abs(value) < 3.4e38, FALSE) THEN 5 WHEN {outside} THEN 6 ELSE 0 END AS fate
            FROM valued
        )
        SELECT fate, again, coalesce(fate = 0 AND ({clipped}), FALSE), record, {hours}, feature, {value},
            CASE way WHEN 'last' THEN coalesce(stored // 1000000, 0) * 1024 + 1023 - priority
                WHEN 'first' THEN coalesce(stored // 1000000, 0) * 1024 + priority ELSE 0 END
                * {0 if rules.duplicates == "text" else 1},
            CASE WHEN by_text THEN text END
        FROM judged
    """
    if table.rows is not None:
        tree.run(statement)
        return table.rows
    counted = "SELECT count(*) FILTER (NOT again) FROM cells"
    before = int(tree.rows(counted)[0][0])
    all_rows = tree.consume(statement, table.view, table.only)
    return int(tree.rows(counted)[0][0]) - before if table.whole else all_rows


def _count(tree: Tree, used: list[EventTable], total: int, records: int, rules: Rules) -> list[AttritionRow]:
    """Say what each step left; the fates are those of ``_insert``."""
    fates = dict(tree.rows("SELECT fate, count(*) FROM cells GROUP BY fate"))
    again, clipped = tree.rows("SELECT count(*) FILTER (again), count(*) FILTER (clipped) FROM cells")[0]
    rows, left = [], total
    unknown = total - (sum(fates.values()) - again)

    def drop(step: str, changed: int, reason: str) -> None:
        nonlocal left
        left -= changed
        rows.append(AttritionRow(step, left, records, abs(changed), reason))

    names = ", ".join(table.name for table in used)
    drop("read events", 0, f"rows: all of {names or 'no table'}")
    drop("keep the panel's codes", unknown, "rows: of other codes")
    if again:
        drop("count shared rows for each", -again, "rows: added, one lies in several stays or feeds several features")
    drop("drop rows marked as errors", fates.get(1, 0), "rows: the source calls them wrong")
    drop("find the stay", fates.get(2, 0), "rows: of no stay of the cohort")
    if 8 in fates:
        drop("drop rows without a time", fates[8], "rows: of a stay, but nobody knows when")
    drop("drop what precedes the stay", fates.get(3, 0), "rows: before its start, or long before it")
    drop("drop what follows the stay", fates.get(4, 0), "rows: after its end")
    if rules.hours is not None:
        drop("drop what follows the window", fates.get(7, 0), f"rows: after hour {rules.hours:g}")
    drop("read the values", fates.get(5, 0), "rows: no number, or a text that the scale does not know")
    drop("check the range", fates.get(6, 0), "rows: not plausible")
    if rules.range == "clip":
        rows.append(AttritionRow("clip to the valid range", left, records, clipped, "rows: moved to the nearest bound"))
    return rows


def _ragged_parts(
    tree: Tree, panel: Panel, rules: Rules, ways: list[Combine], records: int, attrition: list[AttritionRow]
) -> list[Ragged]:
    """Return the arrays of consecutive records, and count their cells."""
    names = [variable.feature.name for variable in panel.variables]
    in_bin: list[Combine] = ["sum" if variable.combine == "sum" else "last" for variable in panel.variables]
    parts: list[Ragged] = []
    counts = np.zeros(4, np.int64)
    start = 0
    for stop, (record, hours, feature, value) in _chunks(tree, rules, records):
        size = {"records": stop - start, "features": len(names)}
        part = gather(record - start, hours, feature, value, combine=ways, **size)
        merged = _observed(part)
        for i, variable in enumerate(panel.variables):
            if variable.sum_of:
                total = part.values[..., [names.index(name) for name in variable.sum_of]].sum(axis=-1)
                own = part.values[..., i]
                own[...] = np.where(np.isnan(own), total, own)
        summed = _observed(part)
        if rules.bin_hours is not None:
            at, step, which = np.nonzero(~np.isnan(part.values))
            taken = part.time[at, step]
            index = np.floor(snapped(taken, rules.bin_hours, taken))
            if rules.hours is not None:
                index = np.minimum(index, np.ceil(rules.hours / rules.bin_hours) - 1)
            part = gather(at, index * rules.bin_hours, which, part.values[at, step, which], combine=in_bin, **size)
        counts += (len(record), merged, summed, _observed(part))
        parts.append(part)
        start = stop
    rows, merged, summed, binned = counts.tolist()
    attrition.append(AttritionRow("merge values of one time", merged, records, rows - merged, "rows: several a cell"))
    if summed > merged:
        attrition.append(AttritionRow("sum scores", summed, records, summed - merged, "cells: added, sums of others"))
    if rules.bin_hours is not None:
        reason = f"cells: the last of each {rules.bin_hours:g} h is kept, amounts are summed"
        attrition.append(AttritionRow("bin", binned, records, summed - binned, reason))
    return parts


def _chunks(tree: Tree, rules: Rules, records: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Yield the sorted rows (record, hours, feature, value) of whole records, before them the record they end at."""
    order = "record, hours, feature, ordering, " + ("word, value" if rules.duplicates == "text" else "value")
    sorted_rows = tree.batches(f"SELECT record, hours, feature, value FROM cells WHERE fate = 0 ORDER BY {order}")
    held = sorted_rows.schema.empty_table()
    waiting: list[pa.RecordBatch] = []
    for batch in sorted_rows:
        waiting.append(batch)
        if sum(map(len, waiting)) < _CHUNK:
            continue
        held = pa.concat_tables([held, pa.Table.from_batches(waiting)])
        waiting = []
        record = held["record"].to_numpy()
        whole = int(np.searchsorted(record, record[-1]))
        if whole:
            yield int(record[-1]), _columns(held.slice(0, whole))
            held = held.slice(whole)
    yield records, _columns(pa.concat_tables([held, pa.Table.from_batches(waiting, sorted_rows.schema)]))


def _columns(table: pa.Table) -> list[NDArray[Any]]:
    return [column.to_numpy() for column in table.columns]


def _observed(part: Ragged) -> int:
    return int(part.values.size - np.isnan(part.values).sum())


def _join(parts: list[Ragged], records: int, features: int) -> Ragged:
    """Put parts below each other, padded to the longest record; each part is freed when it was copied."""
    length = np.concatenate([part.length for part in parts])
    steps = max(int(length.max(initial=0)), 1)
    _check_room(records * steps * features * 4)
    joined = Ragged(np.empty((records, steps), np.float32), np.empty((records, steps, features), np.float32), length)
    stop = records
    while parts:
        part = parts.pop()
        rows, own = part.time.shape
        for target, source in ((joined.time, part.time), (joined.values, part.values)):
            target[stop - rows : stop, :own] = source
            target[stop - rows : stop, own:] = np.nan
        stop -= rows
    return joined


def _check_room(needed: int) -> None:
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system says
        return
    if needed > room:
        raise InputError(
            f"the values of this cohort take {needed / 1e9:.0f} GB, and this machine has {room / 1e9:.0f} GB: "
            "give fewer hours, or bin_hours=1"
        )
