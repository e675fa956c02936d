"""The laboratory results of CDSL: which items are features, what their texts say, and in which units."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cdsl_files import Release, Rows, Texts
from auscult.core.data.cdsl_items import (
    CODES,
    ITEMS,
    RT_PCR,
    code_of,
    detection,
    left_out_of_studies,
    result,
    result_of_studies,
)
from auscult.core.data.cohort import AttritionRow
from auscult.core.data.feature import Feature
from auscult.core.errors import InputError

SHARE = 0.1


class Values(NamedTuple):
    """Measurements, one an entry: admission (-1: none of the cohort), time, feature, value."""

    stay: NDArray[np.int64]
    at: NDArray[np.datetime64]
    feature: NDArray[np.int64]
    value: NDArray[np.float64]

    def only(self, mask: NDArray[np.bool_]) -> "Values":
        """Return those that a mask marks."""
        return Values(self.stay[mask], self.at[mask], self.feature[mask], self.value[mask])


class Count:
    """The attrition table while it grows; its rows are admissions first, then measurements."""

    def __init__(self) -> None:
        self.table: list[AttritionRow] = []
        self.rows = self.records = 0

    def start(self, step: str, rows: int, reason: str) -> None:
        """Begin to count something else."""
        self.rows = rows
        self.table.append(AttritionRow(step, rows, self.records or rows, 0, reason))

    def drop(self, step: str, changed: int, reason: str) -> None:
        """Count what a step drops."""
        self.rows -= changed
        self.table.append(AttritionRow(step, self.rows, self.records or self.rows, changed, reason))


class LabPanel(NamedTuple):
    """All features, which of them each written item is (-1: none), whether results are read as studies do."""

    features: tuple[Feature, ...]
    feature_of_item: NDArray[np.int64]
    of_studies: bool


def fixed_panel(lab: Rows, vitals: tuple[Feature, ...], release: Release) -> LabPanel:
    """Return the vital signs and the items of :data:`~auscult.core.data.cdsl_items.ITEMS`, whatever the analyser."""
    position = {code: len(vitals) + i for i, code in enumerate(CODES)}
    found = [code_of(item, english=release.english) for item in lab.columns["item"].words]
    features = [*vitals]
    for code, _, meaning in ITEMS:
        states = ("not detected", "detected") if code == RT_PCR else ()
        features.append(Feature(code, meaning, kind="categorical" if states else "numeric", levels=states))
    which = np.array([position[code] if code else -1 for code in found], np.int64)
    return LabPanel(tuple(features), which, of_studies=False)


def study_panel(lab: Rows, vitals: tuple[Feature, ...]) -> LabPanel:
    """Return the vital signs and the written items that more than a tenth of all patients in the table have."""
    columns = lab.columns
    keyed = np.all([columns[name].code >= 0 for name in ("id", "number", "date", "clock", "item")], axis=0)
    patients = len(np.unique(columns["id"].code[keyed]))
    number = columns["result"].map(result_of_studies, np.nan, "f8")
    known = keyed & ~np.isnan(number)
    item, patient = columns["item"].code[known], columns["id"].code[known]
    pairs = np.unique(item * (patient.max(initial=0) + 1) + patient)
    having = np.bincount(pairs // (patient.max(initial=0) + 1), minlength=len(columns["item"].words))
    # The studies read code page 850 as ISO-8859-1; names and their order follow from that.
    broken = {item: item.encode("cp850", "replace").decode("latin-1") for item in columns["item"].words}
    frequent = sorted(
        (broken[item], item, i)
        for i, item in enumerate(columns["item"].words)
        if having[i] > patients * SHARE and not left_out_of_studies(item)
    )
    features = [*vitals]
    feature_of_item = np.full(len(columns["item"].words), -1, np.int64)
    for name, item, i in frequent:
        feature_of_item[i] = len(features)
        features.append(Feature(name, " ".join(item.split())))
    return LabPanel(tuple(features), feature_of_item, of_studies=True)


def read_lab(
    rows: Rows,
    stay: NDArray[np.int64],
    panel: LabPanel,
    units: Mapping[str, str],
    count: Count,
    notes: list[str],
) -> tuple[Values, tuple[Feature, ...]]:
    """Return the results of a panel's items, and its features with their units.

    Parameters
    ----------
    rows
        The laboratory table.
    stay
        The admission of each row, -1 for those of none.
    panel
        Which items are which features, and how results are read.
    units
        Feature -> the unit to keep.
    count, notes
        What becomes of the other rows is added to them.
    """
    columns = rows.columns
    feature = np.append(panel.feature_of_item, -1)[columns["item"].code]
    kept = feature >= 0
    count.drop("keep the panel", int((~kept).sum()), "values: of other laboratory items")
    if panel.of_studies:
        first = kept & _first_of_sample(columns)
        count.drop("keep the first of a sample", int((kept & ~first).sum()), "values: repeated, empty or of no sample")
        kept, value = first, columns["result"].map(result_of_studies, np.nan, "f8")
    else:
        states = np.array([*(bool(one.levels) for one in panel.features), False])[feature]
        value, bound = _results(columns, states)
        limits = int((kept & bound & (stay >= 0)).sum())
        notes += [f"{limits} results are limits of detection (<x, >x): the limit stands for them"] if limits else []
    count.drop("read the results", int((kept & np.isnan(value)).sum()), "values: texts without a number")
    kept = kept & ~np.isnan(value)
    kept, features = _in_units(columns["unit"], kept, feature, panel.features, units, count, notes)
    return Values(stay[kept], rows.times("date", "clock")[kept], feature[kept], value[kept]), features


def _results(columns: Mapping[str, Texts], states: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of the results, from the text beside them where they are empty, and which are bounds."""
    value, bound = np.full(len(states), np.nan), np.zeros(len(states), np.bool_)
    for name in ("result_text", "result"):
        if name in columns:
            said = columns[name].map(lambda text: result(text)[0], np.nan, "f8")
            limit = columns[name].map(lambda text: result(text)[1], False, "?")
            found = columns[name].map(detection, np.nan, "f8")
            said = np.where(states, found, said)
            value, bound = np.where(np.isnan(said), value, said), np.where(np.isnan(said), bound, limit & ~states)
    return value, bound


def _first_of_sample(columns: Mapping[str, Texts]) -> NDArray[np.bool_]:
    """Return the first row with a result of each item of each sample."""
    keys = np.column_stack([columns[name].code for name in ("id", "number", "date", "clock", "item")])
    complete = np.flatnonzero((keys >= 0).all(axis=1) & (columns["result"].code >= 0))
    first = np.zeros(len(keys), np.bool_)
    first[complete[np.unique(keys[complete], axis=0, return_index=True)[1]]] = True
    return first


def _in_units(
    unit: Texts,
    kept: NDArray[np.bool_],
    feature: NDArray[np.int64],
    features: tuple[Feature, ...],
    units: Mapping[str, str],
    count: Count,
    notes: list[str],
) -> tuple[NDArray[np.bool_], tuple[Feature, ...]]:
    """Keep the results in the units that were asked for; a feature whose results have one unit gets it."""
    names = [one.name for one in features]
    unknown = [name for name in units if name not in names]
    if unknown:
        raise InputError(f"units names {unknown[0]!r}, which is no feature: use codes such as {names[-2]!r}")
    plain = [_plain(word) for word in unit.words]
    number = {text: i for i, text in enumerate(dict.fromkeys(plain))}
    # Of several spellings the one with more small letters, whatever the order of the rows.
    spelt = {number[_plain(word)]: word for word in sorted(unit.words, key=str.swapcase, reverse=True)}
    code = np.array([*(number[text] for text in plain), -1], np.int64)[unit.code]
    other = np.zeros(len(feature), np.bool_)
    for name, wanted in units.items():
        mine = kept & (feature == names.index(name))
        foreign = mine & (code != number.get(_plain(wanted), -2))
        if mine.any() and (foreign == mine).all():
            there = sorted({spelt[which] for which in np.unique(code[mine]).tolist() if which >= 0})
            raise InputError(f"no result of {name} is in {wanted!r}: its units are {', '.join(there) or 'not given'}")
        other |= foreign
    if units:
        count.drop("keep the units", int((kept & other).sum()), "values: in another unit than was asked for")
    kept = kept & ~other
    pairs, rows = np.unique(np.column_stack([feature, code])[kept & (code >= 0)], axis=0, return_counts=True)
    held: dict[int, list[str]] = {}
    for (i, which), n in zip(pairs.tolist(), rows.tolist(), strict=True):
        held.setdefault(i, []).append(f"{spelt[which]} ({n})")
    for i, listed in held.items():
        if len(listed) > 1:
            notes.append(f"{names[i]} comes in several units, {', '.join(listed)}: give units to keep one")
    single = {i: listed[0].rpartition(" (")[0] for i, listed in held.items() if len(listed) == 1}
    return kept, tuple(dataclasses.replace(one, unit=single.get(i, one.unit)) for i, one in enumerate(features))


def _plain(unit: str) -> str:
    return " ".join(unit.split()).casefold()
