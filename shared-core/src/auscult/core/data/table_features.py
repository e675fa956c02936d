"""From the cells of a table, each of some code, to the features of a cohort."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.feature import Feature
from auscult.core.data.ragged import Combine
from auscult.core.data.table_files import Sheet
from auscult.core.data.table_layout import USUAL, Layout
from auscult.core.data.table_values import convert, numbers
from auscult.core.errors import InputError


class Cells(NamedTuple):
    """Measurements, one an entry: their ``row`` of the table, ``code``, ``value`` or ``text``, and ``unit``.

    ``code``, ``text`` and ``unit`` are positions in ``codes``, ``texts`` and ``units``, -1 where there is none.
    """

    row: NDArray[np.int64]
    code: NDArray[np.int64]
    value: NDArray[np.float64]
    text: NDArray[np.int64]
    unit: NDArray[np.int64]
    codes: list[str]
    texts: list[str]
    units: list[str]


class Measured(NamedTuple):
    """What features hold: ``row``, ``feature`` and ``value`` [M], how values combine, and what was left out."""

    features: tuple[Feature, ...]
    combine: list[Combine]
    row: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float64]
    empty: int
    foreign: int
    texts: int
    notes: list[str]


def long_cells(sheet: Sheet, layout: Layout, code_column: str, value_column: str) -> Cells:
    """Return the measurements of a long table."""
    code, codes = sheet.texts(code_column, also=("NA",))  # sodium
    if (code < 0).any():
        raise InputError(f"{sheet.where((code < 0).argmax())} has no {code_column!r}: every row needs one")
    found = numbers(sheet, value_column, decimal=layout.decimal, rule=layout.text)
    text, texts = found.text, found.texts
    text_column = sheet.find(layout.roles, "text", otherwise=USUAL["text"])
    if text_column:
        beside, more = sheet.texts(text_column)
        alone = (text < 0) & np.isnan(found.value) & (beside >= 0)
        text = np.where(alone, beside + len(texts), text)
        texts = texts + more
    unit_column = sheet.find(layout.roles, "unit", otherwise=USUAL["unit"])
    unit, units = sheet.texts(unit_column) if unit_column else (np.full(len(code), -1), [])
    return Cells(np.arange(len(code)), code, found.value, text, unit, codes, texts, units)


def wide_cells(sheet: Sheet, layout: Layout, columns: list[str]) -> Cells:
    """Return the measurements of the named columns of a wide table."""
    parts: list[tuple[NDArray[Any], ...]] = []
    texts: list[str] = []
    for code, column in enumerate(columns):
        found = numbers(sheet, column, decimal=layout.decimal, rule=layout.text)
        held = np.flatnonzero(~np.isnan(found.value) | (found.text >= 0))
        text = np.where(found.text[held] >= 0, found.text[held] + len(texts), -1)
        parts.append((held, np.full(len(held), code), found.value[held], text))
        texts += found.texts
    row, codes, value, text = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Cells(row, codes, value, text, np.full(len(row), -1), columns, texts, [])


def measure(sheet: Sheet, cells: Cells, layout: Layout) -> Measured:
    """Return the features of all codes, or of the panel's in its order, and their values.

    Raises
    ------
    InputError
        Where a code mixes numbers and texts or units, or none of the panel's is there.
    """
    names = cells.codes if layout.panel is None else list(layout.panel)
    unknown = [name for name in names if name not in cells.codes]
    if len(unknown) == len(names):
        raise InputError(f"{sheet.name} has none of the codes {names[:3]}, but {cells.codes[:5]}: name codes it has")
    strange = [name for name in layout.wanted if name not in names]
    if strange:
        raise InputError(f"units names the code {strange[0]!r}, which {sheet.name} does not have: it has {names[:5]}")
    held = ~np.isnan(cells.value) | (cells.text >= 0)
    wanted = np.isin(cells.code, [cells.codes.index(name) for name in names if name in cells.codes])
    order = np.flatnonzero(held & wanted)
    order = order[np.argsort(cells.code[order], kind="stable")]
    starts = np.searchsorted(cells.code[order], np.arange(len(cells.codes) + 1))

    features: list[Feature] = []
    combine: list[Combine] = []
    parts: list[tuple[NDArray[Any], ...]] = []
    notes = [f"no row has the code {name!r}" for name in unknown]
    dropped = 0
    for place, name in enumerate(names):
        here = np.empty(0, np.int64)
        if name in cells.codes:
            number = cells.codes.index(name)
            here = order[starts[number] : starts[number + 1]]
        is_text = np.isnan(cells.value[here])
        if is_text.any() and is_text.all():
            used, position = np.unique(cells.text[here], return_inverse=True)
            # A text may be listed twice, once for each column that it comes from.
            levels = sorted({cells.texts[i] for i in used})
            value = np.array([levels.index(cells.texts[i]) for i in used], np.float64)[position]
            features.append(Feature(name, kind="categorical", levels=tuple(levels)))
            combine.append("last")
        else:
            if is_text.any() and layout.text == "refuse":
                first = here[is_text.argmax()]
                raise InputError(
                    f"code {name!r} holds {len(here) - is_text.sum()} numbers and {is_text.sum()} texts, such as "
                    f"{cells.texts[cells.text[first]]!r} in {sheet.where(cells.row[first])}: set text='drop' to make "
                    f"texts missing, or text='bound' to read '<5' and '5 %' as 5"
                )
            dropped += int(is_text.sum())
            here = here[~is_text]
            value, unit, without = convert(
                name, cells.value[here], cells.unit[here], cells.units, layout.wanted.get(name)
            )
            if without:
                notes.append(f"{without} rows of code {name!r} have no unit: they are taken to be in {unit!r}")
            notes += _oddities(name, value)
            features.append(Feature(name, unit=unit))
            combine.append("mean")
        parts.append((cells.row[here], np.full(len(here), place), value))
    row, feature, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    empty, foreign = int((~held).sum()), int((held & ~wanted).sum())
    return Measured(tuple(features), combine, row, feature, values, empty, foreign, dropped, notes)


def _oddities(name: str, value: NDArray[np.float64]) -> list[str]:
    """Say what is odd about the values of a code; nothing is changed."""
    if len(value) == 1:
        return [f"code {name!r} has a single row"]
    if len(value) and (value == value[0]).all():
        return [f"all {len(value)} values of code {name!r} are {value[0]:g}"]
    positive = np.sort(value[value > 0])
    if len(positive) < 20:
        return []
    gaps = positive[1:] / positive[:-1]
    cut = int(gaps.argmax()) + 1
    low, high = np.median(positive[:cut]), np.median(positive[cut:])
    if gaps[cut - 1] < 5 or min(cut, len(positive) - cut) < 0.02 * len(positive) or not 30 <= high / low <= 300:
        return []
    return [
        f"code {name!r} has two groups of values, {cut} around {low:g} and {len(positive) - cut} around {high:g}: "
        f"perhaps two forms of one quantity (fractions and per cent); nothing was converted"
    ]
