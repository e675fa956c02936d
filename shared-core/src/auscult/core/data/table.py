"""A user's own data: one long or wide table of measurements, and, if at hand, tables of labels and static data.

On disk: CSV (comma, semicolon or tab; packed with gzip or not) or parquet; ``from_frame`` takes frames. Licence and
access are the user's. Rules:

- **long**: a row is a measurement: subject, time, code, value; **wide**: a row is a subject at a time, and every
  column that has no role is a feature;
- a stay is a ``record``, or where there is no such column a subject; stays that only the other tables know are kept,
  with no step, and counted;
- times are numbers (in ``time_unit``) or dates, never both; dates need to know where a stay begins (``anchor``); a
  time zone is converted to UTC and dropped;
- a code whose values are all texts is categorical; a text among numbers is refused, unless ``text`` says otherwise;
- a code has one unit; where a column of units shows several, ``units`` says which one it is to be;
- several values of a code at one time are averaged, the last of several texts is taken.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.options import check_options
from auscult.core.data.ragged import gather
from auscult.core.data.table_features import Cells, Measured, long_cells, measure, wide_cells
from auscult.core.data.table_files import Sheet, as_sheet, read_sheet
from auscult.core.data.table_labels import find_own_labels, own_labels, read_labels
from auscult.core.data.table_layout import LABELS, USUAL, Layout
from auscult.core.data.table_records import Records, find_records, one_per_record, static_columns
from auscult.core.data.table_values import Start, TextRule, Times, check_span, times
from auscult.core.errors import InputError

_UNKNOWN = np.iinfo(np.int64).min  # what numpy takes for "not a time"


def load(
    path: Path | None = None,
    *,
    columns: Mapping[str, Any] | str | None = None,
    labels: Path | str | None = None,
    static: Path | str | None = None,
    codes: Sequence[str] | str | None = None,
    units: Mapping[str, str] | str | None = None,
    time_unit: Literal["minutes", "hours", "days"] = "hours",
    anchor: Literal["first_event"] | None = None,
    text: TextRule = "refuse",
    decimal: Literal[".", ","] = ".",
) -> Cohort:
    """Return the cohort of a user's table.

    Parameters
    ----------
    path
        The measurements: ``.csv``, ``.csv.gz`` or ``.parquet``.
    columns
        Role -> column, or ``"subject=patient,time=when"``. Roles: ``subject``, ``time``, ``code``, ``value``;
        ``record`` (the stay), ``unit``, ``text`` (values that are texts), ``anchor`` (when the stay began, in this
        table or in ``static``); in a wide table also ``static`` and ``drop`` (several columns, joined by ``+`` in
        the text form). ``mortality``, ``readmission`` and ``los_days`` name a label's column or task. A role that is
        not named is played by a column of its own name, if there is one.
    labels
        A table with the column of the records (or of the subjects), and either a column a label or the columns
        ``task`` and ``value``; several rows of a record and task need a ``prediction_time`` and give a label per step.
    static
        A table with the column of the records or subjects, and a column for each static feature.
    codes
        The features, in this order; all codes by default.
    units
        Code -> the unit that its values are brought to. Known: °F and °C, in and cm, lb and kg, oz and kg;
        mass and molar concentrations of glucose, creatinine, urea, bilirubin and calcium, going by the code's name.
    time_unit
        Of times that are numbers.
    anchor
        ``"first_event"`` counts hours from a stay's first row.
    text
        What to do with a text among the numbers of a code: ``refuse``, ``drop`` (missing), or ``bound``: read ``<5``,
        ``>5`` and ``5 %`` as 5 and drop the rest.
    decimal
        The decimal sign of numbers that are written as text.

    Raises
    ------
    InputError
        Where a file, a column or a cell cannot be used; the sentence names it.
    """
    if path is None:
        raise InputError("table brings no data: give table:FILE, a .csv, .csv.gz or .parquet with a row a measurement")
    layout = Layout(
        columns=columns, codes=codes, units=units, time_unit=time_unit, anchor=anchor, text=text, decimal=decimal
    )
    label_sheet, static_sheet = (
        None if other is None else read_sheet(Path(other).expanduser()) for other in (labels, static)
    )
    return _build(read_sheet(path), label_sheet, static_sheet, layout)


def from_frame(events: Any, *, labels: Any = None, static: Any = None, **options: Any) -> Cohort:
    """Return the cohort of frames (pandas, Polars, Arrow), which hold what the files of :func:`load` do.

    Parameters
    ----------
    events, labels, static
        The tables.
    **options
        Those of :func:`load`.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame(
    ...     {"subject": [1, 1, 2], "time": [0.0, 6.5, 1.0], "code": ["HR", "HR", "Lactate"], "value": [80, 95, 2.1]}
    ... )
    >>> labels = pd.DataFrame({"subject": [1, 2], "mortality": [0, 1]})
    >>> from_frame(events, labels=labels)
    Cohort(2 records, 2 subjects, 3 steps, 2 features)
    """
    check_options("table", load, options)
    tables = {"events": events, "labels": labels, "static": static}
    sheets = {name: None if frame is None else as_sheet(frame, name) for name, frame in tables.items()}
    measurements = sheets["events"]
    if measurements is None:
        raise InputError("there is no table of events: give a frame with a row a measurement")
    return _build(measurements, sheets["labels"], sheets["static"], Layout(**options))


def _build(sheet: Sheet, labels: Sheet | None, static: Sheet | None, layout: Layout) -> Cohort:
    """Put the tables together."""
    time_column = sheet.need(layout.roles, "time", otherwise=USUAL["time"])
    records, notes = find_records(sheet, layout, {"labels": labels, "static data": static})
    _, place = records.place(sheet)
    when = times(sheet, time_column, layout.time_unit, layout.decimal)
    start = _start(sheet, static, records, place, when, layout)
    if not when.dated:
        check_span(sheet, time_column, when.value)
    hours = start.hours(sheet, time_column, when, place)
    check_span(sheet, time_column, hours)

    own = find_own_labels(sheet, layout)
    used = {name for names in records.names.values() for name in names[:1]} | {time_column, *own.values()}
    cells, is_wide = _cells(sheet, layout, used)
    measured = measure(sheet, cells, layout)
    gathered = gather(
        place[measured.row],
        hours[measured.row],
        measured.feature,
        measured.value,
        records=len(records),
        features=len(measured.features),
        combine=measured.combine,
    )
    made, more = own_labels(sheet, own, place, hours, gathered, records, layout.decimal)
    notes += more
    if labels is not None:
        read, more = read_labels(labels, records, gathered, start, layout)
        notes += more
        if twice := set(made) & set(read):
            raise InputError(f"{sheet.name} and {labels.name} both have the label {twice.pop()!r}: leave one out")
        made |= read
    for label in LABELS:
        if label in layout.roles and label not in made:
            raise InputError(f"columns names {layout.roles[label]!r} for {label}, and no table has it")
    values, features = _static(sheet, static, records, place, layout)
    if when.zoned:
        notes.append(f"times of {sheet.name} were converted to UTC, and their time zone dropped")
    anchors = start.anchor
    if anchors is not None and (anchors == _UNKNOWN).any():
        notes.append("some stays have no time of their start: the cohort has hours alone")
        anchors = None
    cells_held = int((~np.isnan(gathered.values)).sum())
    if cells_held == gathered.length.sum() * len(measured.features) and len(measured.features) > 1:
        notes.append("no cell is missing: these data look imputed already")
    return Cohort(
        record_id=records.record_id,
        subject_id=records.subject_id,
        time=gathered.time,
        values=gathered.values,
        length=gathered.length,
        features=measured.features,
        static=values,
        static_features=features,
        labels=made,
        anchor=None if anchors is None else anchors.astype("datetime64[us]"),
        attrition=_attrition(sheet, cells, measured, cells_held, len(records), is_wide),
        provenance=_provenance({"measurements": sheet, "labels": labels, "static data": static}),
        notes=(*measured.notes, *notes),
    )


def _start(
    sheet: Sheet, static: Sheet | None, records: Records, place: NDArray[np.int64], when: Times, layout: Layout
) -> Start:
    """Return where the hours of each stay count from."""
    named = layout.roles.get("anchor", USUAL["anchor"][0])
    holder = next((table for table in (sheet, static) if table and named in table.table.column_names), None)
    if holder is None and "anchor" in layout.roles:
        raise InputError(f"columns names {named!r} for anchor, and no table has it")
    if holder is not None:
        if layout.anchor is not None:
            raise InputError(
                f"anchor={layout.anchor!r} and the column {named!r} of {holder.name} both say where hours count from: "
                f"leave one out"
            )
        starts = times(holder, named, layout.time_unit)
        if not starts.dated:
            raise InputError(f"{named!r} of {holder.name} says when a stay began and holds numbers: give dates")
        rows, stays = (np.arange(len(place)), place) if holder is sheet else records.place(holder)
        found, has = one_per_record(holder, named, rows, stays, starts.value[rows], records)
        lacks = ~has[place] if when.dated else np.zeros(1, np.bool_)
        if lacks.any():
            stay = records.record_id[place[lacks.argmax()]]
            raise InputError(f"{holder.name} has no {named!r} for stay {stay}: dates need to know where a stay begins")
        return Start(np.where(has, found, _UNKNOWN), starts.zoned)
    if not when.dated:
        first = np.full(len(records), np.inf)
        np.minimum.at(first, place, when.value)
        return Start(hour=first) if layout.anchor == "first_event" else Start()
    if layout.anchor is None:
        raise InputError(
            f"times of {sheet.name} are dates: say where hours count from, with anchor='first_event' or a column of "
            f"the role anchor"
        )
    earliest = np.full(len(records), np.iinfo(np.int64).max)
    np.minimum.at(earliest, place, when.value)
    return Start(np.where(np.isin(np.arange(len(records)), place), earliest, _UNKNOWN), when.zoned)


def _cells(sheet: Sheet, layout: Layout, used: set[str]) -> tuple[Cells, bool]:
    """Return the measurements, and whether the table is wide."""
    held = sheet.table.column_names
    absent = [name for names in layout.several.values() for name in names if name not in held]
    if absent:
        raise InputError(f"{sheet.name} has no column {absent[0]!r}, it holds {held[:8]}")
    code = sheet.find(layout.roles, "code", otherwise=USUAL["code"])
    value = sheet.find(layout.roles, "value", otherwise=USUAL["value"])
    if code or value:
        code = sheet.need(layout.roles, "code", otherwise=USUAL["code"])
        value = sheet.need(layout.roles, "value", otherwise=USUAL["value"])
        return long_cells(sheet, layout, code, value), False
    if beside := [role for role in ("unit", "text") if role in layout.roles]:
        raise InputError(
            f"columns names {layout.roles[beside[0]]!r} for {beside[0]}, which only a table with the columns 'code' "
            f"and 'value' has: leave it out"
        )
    used = used | {layout.roles.get("anchor", USUAL["anchor"][0])} | {n for ns in layout.several.values() for n in ns}
    columns = [name for name in held if name not in used]
    if not columns:
        raise InputError(f"{sheet.name} has neither the columns 'code' and 'value' nor any column of a feature")
    return wide_cells(sheet, layout, columns), True


def _static(
    sheet: Sheet, static: Sheet | None, records: Records, place: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    """Return what does not change within a stay, of both tables."""
    values, features = static_columns(
        sheet, list(layout.several["static"]), np.arange(len(place)), place, records, layout
    )
    if static is not None:
        keys = {name for names in records.names.values() for name in names}
        keys.add(layout.roles.get("anchor", USUAL["anchor"][0]))
        columns = [name for name in static.table.column_names if name not in keys]
        more, described = static_columns(static, columns, *records.place(static), records, layout)
        values, features = np.hstack([values, more]), features + described
    return values, tuple(features)


def _attrition(
    sheet: Sheet, cells: Cells, measured: Measured, left: int, records: int, is_wide: bool
) -> tuple[AttritionRow, ...]:
    rows = [AttritionRow("read", sheet.table.num_rows, records, 0, f"every row of {sheet.name}")]
    unit = "rows"
    if is_wide:
        unit = "cells"
        reason = "rows: each cell of a feature that holds something becomes a row"
        rows.append(AttritionRow("melt", len(cells.row), records, sheet.table.num_rows, reason))
    remaining = len(cells.row)
    for step, changed, reason in (
        ("drop rows without a value", measured.empty, "nothing was measured"),
        ("drop other codes", measured.foreign, "not among the codes that were asked for"),
        ("drop texts among numbers", measured.texts, "texts of codes whose other values are numbers"),
        ("combine values of one time", len(measured.row) - left, "numbers are averaged, of texts the last is taken"),
    ):
        remaining -= changed
        rows.append(AttritionRow(step, remaining, records, changed, f"{unit}: {reason}"))
    return tuple(rows)


def _provenance(sheets: Mapping[str, Sheet | None]) -> dict[str, str]:
    provenance = {"data_set": "table"}
    for what, sheet in sheets.items():
        if sheet is not None:
            provenance[what] = sheet.name
            if sheet.digest:
                provenance[f"sha256 of {what}"] = sheet.digest
    return provenance
