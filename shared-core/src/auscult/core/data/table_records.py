"""Which stays several tables speak of, and what does not change within a stay."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.feature import Feature
from auscult.core.data.table_files import Sheet
from auscult.core.data.table_layout import USUAL, Layout
from auscult.core.data.table_values import ids, numbers
from auscult.core.errors import InputError

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")


@dataclass(frozen=True)
class Records:
    """The stays of all tables in order of their ids.

    Parameters
    ----------
    record_id, subject_id
        [N] whole numbers where all ids are, else text.
    names
        For ``subject`` and, where the measurements have it, ``record``: the column names that tables use.
    places
        For each of these: an id as text -> the positions of its stays.
    """

    record_id: NDArray[Any]
    subject_id: NDArray[Any]
    names: Mapping[str, tuple[str, ...]]
    places: Mapping[str, Mapping[str, list[int]]]

    def __len__(self) -> int:
        return len(self.record_id)

    def key(self, sheet: Sheet) -> tuple[str, str]:
        """Return what the rows of a table are keyed by, ``record`` or ``subject``, and the column."""
        for role in ("record", "subject"):
            found = _first(sheet, self.names.get(role, ()))
            if found:
                return role, found
        wanted = " or ".join(repr(names[0]) for names in self.names.values())
        raise InputError(f"{sheet.name} has no column {wanted}, it holds {sheet.table.column_names[:8]}: add one")

    def place(self, sheet: Sheet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of a table and the stays that they speak of; a subject's row speaks of all its stays."""
        role, column = self.key(sheet)
        code, texts = ids(sheet, column)
        stays = [self.places[role].get(text, []) for text in texts]
        counts = np.array([len(stay) for stay in stays])
        listed, starts = np.array(list(itertools.chain(*stays)), np.int64), np.cumsum(counts) - counts
        rows = np.repeat(np.arange(len(code)), counts[code])
        first = np.repeat(np.cumsum(counts[code]) - counts[code], counts[code])
        return rows, listed[starts[code][rows] + np.arange(len(rows)) - first]


def find_records(sheet: Sheet, layout: Layout, others: Mapping[str, Sheet | None]) -> tuple[Records, list[str]]:
    """Return the stays that the measurements and the other tables speak of, and what is odd about them.

    Raises
    ------
    InputError
        Where an id is missing, a stay has two subjects, or another table knows none of the stays.
    """
    subject = sheet.need(layout.roles, "subject", otherwise=USUAL["subject"])
    record = sheet.find(layout.roles, "record", otherwise=USUAL["record"])
    names = {"subject": (subject, *USUAL["subject"])} | ({"record": (record, *USUAL["record"])} if record else {})
    subject_of = _subjects(sheet, record or subject, subject, {})
    measured, people = set(subject_of), set(subject_of.values())
    notes = []
    for what, other in others.items():
        if other is None:
            continue
        own_subject, own_record = (_first(other, names.get(role, ())) for role in ("subject", "record"))
        key = own_record or own_subject
        if key is None:
            continue  # Records.key says so, with the columns that there are
        known = set(ids(other, key)[1])
        of_data = measured if own_record or not record else people
        if not known & of_data:
            raise InputError(f"no {key!r} of {other.name} is in {sheet.name}: are these {what} of other data?")
        if own_subject and (own_record or not record):
            subject_of = _subjects(other, key, own_subject, subject_of)
            if more := len(known - measured):
                notes.append(f"{more} stays of {other.name} have no measurement: their length is 0")
        elif more := len(known - of_data):
            notes.append(f"{more} ids of {other.name} are not in the measurements: their rows are left out")
    texts = list(subject_of)
    record_id = _typed(texts)
    order = np.argsort(record_id, kind="stable")
    subject_id = _typed(list(subject_of.values()))[order]
    by_record = {texts[i]: [place] for place, i in enumerate(order)}
    by_subject: dict[str, list[int]] = {}
    for place, i in enumerate(order):
        by_subject.setdefault(subject_of[texts[i]], []).append(place)
    return Records(record_id[order], subject_id, names, {"record": by_record, "subject": by_subject}), notes


def one_per_record(
    sheet: Sheet, column: str, rows: NDArray[np.int64], place: NDArray[np.int64], value: NDArray[Any], records: Records
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the one value that a column has for each stay, and which stays have one; two are an error."""
    known = ~np.isnan(value) if value.dtype.kind == "f" else np.ones(len(value), np.bool_)
    rows, place, value = rows[known], place[known], value[known]
    found = np.zeros(len(records), value.dtype)
    found[place] = value
    differs = found[place] != value
    if differs.any():
        first = differs.argmax()
        raise InputError(
            f"{sheet.where(rows[first])} has another {column!r} for {records.record_id[place[first]]} than a later "
            f"row: it must not change within a stay"
        )
    has = np.zeros(len(records), np.bool_)
    has[place] = True
    return found, has


def static_columns(
    sheet: Sheet,
    columns: list[str],
    rows: NDArray[np.int64],
    place: NDArray[np.int64],
    records: Records,
    layout: Layout,
) -> tuple[NDArray[np.float32], list[Feature]]:
    """Return columns that describe stays, texts as codes of levels."""
    values = np.full((len(records), len(columns)), np.nan, np.float32)
    features = []
    for i, column in enumerate(columns):
        found = numbers(sheet, column, decimal=layout.decimal, rule=layout.text)
        is_text = found.text >= 0
        if is_text.any() and not np.isnan(found.value).all():
            if layout.text == "refuse":
                first = is_text.argmax()
                raise InputError(
                    f"{sheet.where(first)} has the {column!r} {found.texts[found.text[first]]!r} among numbers: set "
                    f"text='drop' to make texts missing"
                )
            is_text[:] = False
        levels = tuple(found.texts) if is_text.any() else ()
        value = np.where(is_text, found.text, np.nan) if levels else found.value
        one, has = one_per_record(sheet, column, rows, place, value[rows], records)
        values[has, i] = one[has]
        features.append(Feature(column, kind="categorical", levels=levels) if levels else Feature(column))
    return values, features


def _first(sheet: Sheet, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in sheet.table.column_names), None)


def _subjects(sheet: Sheet, record: str, subject: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return stay -> subject, both as text, of those that are known and those of a table."""
    code, texts = ids(sheet, record)
    whose, people = ids(sheet, subject)
    last = np.zeros(len(texts), np.int64)
    last[code] = whose
    given = {text: people[person] for text, person in zip(texts, last.tolist(), strict=True)}
    several = (last[code] != whose) | np.array([known.get(text, given[text]) != given[text] for text in texts])[code]
    if several.any():
        row = several.argmax()
        raise InputError(
            f"{sheet.where(row)} gives stay {texts[code[row]]!r} a second subject: a stay is of one person"
        )
    return {**known, **given}


def _typed(texts: list[str]) -> NDArray[Any]:
    whole = all(_WHOLE.fullmatch(text) for text in texts)
    return np.array([int(text) for text in texts], np.int64) if whole else np.array(texts, np.str_)
