"""Labels of stays or of their steps, from a table of their own or beside the measurements."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.ragged import Ragged
from auscult.core.data.table_files import Sheet
from auscult.core.data.table_layout import LABELS, Layout
from auscult.core.data.table_records import Records, one_per_record
from auscult.core.data.table_values import Start, numbers, times
from auscult.core.errors import InputError

TIMES = ("prediction_time", "label_time")


class Said(NamedTuple):
    """What a column or a task says: of each of some ``rows`` its stay (``place``), hours and ``value``."""

    name: str
    rows: NDArray[np.int64]
    place: NDArray[np.int64]
    hours: NDArray[np.float64] | None
    value: NDArray[np.float64]


def find_own_labels(sheet: Sheet, layout: Layout) -> dict[str, str]:
    """Return label -> column for those that stand beside the measurements."""
    named = {label: layout.roles.get(label, label) for label in LABELS}
    return {label: column for label, column in named.items() if column in sheet.table.column_names}


def own_labels(
    sheet: Sheet,
    columns: dict[str, str],
    place: NDArray[np.int64],
    hours: NDArray[np.float64],
    gathered: Ragged,
    records: Records,
    decimal: str,
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the labels that stand beside the measurements: per step where they change within a stay."""
    rows = np.arange(len(place))
    said = [Said(label, rows, place, hours, _label_values(sheet, column, decimal)) for label, column in columns.items()]
    return _labels(sheet, said, gathered, records)


def read_labels(
    sheet: Sheet, records: Records, gathered: Ragged, start: Start, layout: Layout
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the labels of a table: a column a label, or the columns ``task`` and ``value``.

    Raises
    ------
    InputError
        Where a label is a text, mortality or readmission is neither 0 nor 1, or a stay has two values and no
        times to tell them apart.
    """
    role, key = records.key(sheet)
    if role == "subject" and any(len(stays) > 1 for stays in records.places["subject"].values()):
        raise InputError(f"{sheet.name} has labels of subjects, and some have several stays: give labels of records")
    rows, place = records.place(sheet)
    held = sheet.table.column_names
    when = next((name for name in (layout.roles.get("time"), *TIMES) if name in held), None)
    hours = None
    if when is not None:
        at = times(sheet, when, layout.time_unit, layout.decimal)
        hours = start.hours(sheet, when, at._replace(value=at.value[rows]), place)
    fixed = {name: label for label, name in layout.roles.items() if label in LABELS}
    said = []
    if {"task", "value"} <= set(held):
        value = _label_values(sheet, "value", layout.decimal)
        code, tasks = sheet.texts("task")
        if (code < 0).any():
            raise InputError(f"{sheet.where((code < 0).argmax())} has no 'task': every row needs one")
        for number, task in enumerate(tasks):
            here = code[rows] == number
            of_task = None if hours is None else hours[here]
            said.append(Said(fixed.get(task, task), rows[here], place[here], of_task, value[rows[here]]))
    else:
        names = {name for names in records.names.values() for name in names} | {key, when}
        for column in [name for name in held if name not in names]:
            value = _label_values(sheet, column, layout.decimal)[rows]
            said.append(Said(fixed.get(column, column), rows, place, hours, value))
    if not said:
        raise InputError(f"{sheet.name} has no column beside {key!r}: give a column for each label")
    labels, notes = _labels(sheet, said, gathered, records)
    return labels, notes + [note for one in said if labels[one.name].ndim == 1 for note in _later(one, gathered)]


def _later(said: Said, gathered: Ragged) -> list[str]:
    """Say how many stays go on after the time of their one label."""
    if said.hours is None:
        return []
    until = np.full(len(gathered.length), -np.inf)
    np.maximum.at(until, said.place, said.hours.astype(np.float32))
    late = int((np.fmax.reduce(gathered.time, axis=1, initial=-np.inf) > until)[np.unique(said.place)].sum())
    note = f"{late} stays have measurements after the time of their label {said.name!r}: they are kept"
    return [note] if late else []


def _label_values(sheet: Sheet, column: str, decimal: str) -> NDArray[np.float64]:
    found = numbers(sheet, column, decimal=decimal)
    if (found.text >= 0).any():
        row = (found.text >= 0).argmax()
        text = found.texts[found.text[row]]
        raise InputError(f"{sheet.where(row)} has the label {column!r} {text!r}: labels are numbers, 1 for yes")
    return found.value


def _labels(
    sheet: Sheet, said: list[Said], gathered: Ragged, records: Records
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    labels: dict[str, NDArray[Any]] = {}
    notes = []
    for name, rows, place, hours, value in said:
        wrong = ~np.isin(value, (0, 1)) & ~np.isnan(value)
        if name in LABELS[:2] and wrong.any():
            raise InputError(
                f"{sheet.where(rows[wrong.argmax()])} has the {name} {value[wrong.argmax()]:g}: use 0 or 1"
            )
        last = np.full(len(records), np.nan)
        known = ~np.isnan(value)
        last[place[known]] = value[known]
        if hours is not None and (last[place[known]] != value[known]).any():
            _one_per_time(sheet, name, rows[known], place[known], hours[known], value[known], records)
            labels[name], lost = _per_step(place[known], hours[known], value[known], gathered)
            if lost:
                notes.append(f"{lost} values of label {name!r} are at times without a step: they are left out")
            continue
        one, has = one_per_record(sheet, name, rows, place, value, records)
        label = np.where(has, one, np.nan)
        if not has.all():
            notes.append(f"{(~has).sum()} stays have no label {name!r}")
        labels[name] = label.astype(np.int64) if has.all() and name in LABELS[:2] else label
    return labels, notes


def _one_per_time(
    sheet: Sheet,
    name: str,
    rows: NDArray[np.int64],
    place: NDArray[np.int64],
    hours: NDArray[np.float64],
    value: NDArray[np.float64],
    records: Records,
) -> None:
    """Refuse two values of a label for one stay and time."""
    order = np.lexsort((hours, place))
    here, before = order[1:], order[:-1]
    differs = (place[here] == place[before]) & (hours[here] == hours[before]) & (value[here] != value[before])
    if differs.any():
        row = here[differs.argmax()]
        raise InputError(
            f"{sheet.where(rows[row])} has another {name!r} for {records.record_id[place[row]]} than an earlier row of "
            f"the same time: give one"
        )


def _per_step(
    place: NDArray[np.int64], hours: NDArray[np.float64], value: NDArray[np.float64], gathered: Ragged
) -> tuple[NDArray[np.float64], int]:
    """Return [N, T] the values at the steps of their times, and how many have no step."""
    import pandas as pd

    stay, step = np.nonzero(~np.isnan(gathered.time))
    steps = pd.MultiIndex.from_arrays([stay, gathered.time[stay, step]])
    found = steps.get_indexer(pd.MultiIndex.from_arrays([place, hours.astype(np.float32)]))
    label = np.full(gathered.time.shape, np.nan)
    there = found >= 0
    label[stay[found[there]], step[found[there]]] = value[there]
    return label, int((~there).sum())
