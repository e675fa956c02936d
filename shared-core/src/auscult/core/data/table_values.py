"""Cells as numbers and times, and units as they should be; the rest is an error that names the cell."""

import datetime
import math
import re
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.table_files import Sheet
from auscult.core.errors import InputError

TextRule = Literal["refuse", "drop", "bound"]
HOURS = {"minutes": 1 / 60, "hours": 1.0, "days": 24.0}
# A stay or a life does not last longer.
_LONGEST = 150 * 365.25 * 24
_HOUR = 3_600_000_000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BOUND = re.compile(r"^[<>]=?\s*|\s*%$")

# (what the code's name holds, signs being blanks, unit, unit it may become, factor); also used the other way round.
_FACTORS = (
    ("", "in", "cm", 2.54),
    ("", "lb", "kg", 0.45359237),
    ("", "oz", "kg", 0.45359237 / 16),
    ("glucose", "mmol/l", "mg/dl", 18.016),
    ("creatinine", "mg/dl", "umol/l", 88.42),
    (r"urea ?n(itrogen|\b)|bun", "mmol/l", "mg/dl", 2.801),
    (r"urea(?! ?n(itrogen|\b))", "mmol/l", "mg/dl", 6.006),
    ("bilirubin", "mg/dl", "umol/l", 17.1),
    ("calcium", "mmol/l", "mg/dl", 4.008),
)
_SAME_UNIT = {
    "°f": "f", "degf": "f", "fahrenheit": "f", "°c": "c", "degc": "c", "celsius": "c", "inch": "in", "inches": "in",
    "lbs": "lb", "pounds": "lb",
}  # fmt: skip


class Numbers(NamedTuple):
    """``value`` [R], NaN where there is no number, and ``text`` [R]: which of ``texts`` stands there, else -1."""

    value: NDArray[np.float64]
    text: NDArray[np.int64]
    texts: list[str]


class Times(NamedTuple):
    """Hours [R], or where ``dated`` microseconds since 1970; ``zoned`` says that a time zone was removed."""

    value: NDArray[Any]
    dated: bool
    zoned: bool = False


class Start(NamedTuple):
    """Where the hours of stays count from: ``anchor`` [N] in microseconds since 1970, and ``hour`` [N] of numbers.

    ``zoned`` says that a time zone was removed from the anchors.
    """

    anchor: NDArray[np.int64] | None = None
    zoned: bool = False
    hour: NDArray[np.float64] | None = None

    def hours(self, sheet: Sheet, column: str, at: Times, place: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return times of a column, each of the stay at ``place`` [R], as hours from its start.

        Raises
        ------
        InputError
            Where they are dates and no stay has one, or either has a time zone and the other has none.
        """
        if not at.dated:
            return at.value.astype(np.float64) - (0 if self.hour is None else self.hour[place])
        if self.anchor is None:
            raise InputError(
                f"{column!r} of {sheet.name} holds dates, and the measurements hours: use one kind of time"
            )
        if at.zoned != self.zoned:
            has, lack = ("a", "none") if at.zoned else ("no", "one")
            raise InputError(
                f"{column!r} of {sheet.name} has {has} time zone, and the times at which stays begin have {lack}: use "
                f"one kind of time"
            )
        return (at.value - self.anchor[place]) / _HOUR


def numbers(sheet: Sheet, column: str, *, decimal: str = ".", rule: TextRule = "refuse") -> Numbers:
    """Return a column's numbers, and what else it holds.

    Parameters
    ----------
    sheet, column
        Where they are.
    decimal
        The decimal sign of texts.
    rule
        With ``bound`` ``<5``, ``>5`` and ``5 %`` count as 5; by the other rules they are texts.

    Raises
    ------
    InputError
        Where a number is infinite, or a text is one only with the other decimal sign.
    """
    cells = sheet.table[column]
    if _is_number(cells.type):
        return Numbers(_held(sheet, column, cells.cast(pa.float64()).to_numpy()), np.full(len(cells), -1), [])
    held, texts = sheet.texts(column)
    parsed = np.array([_number(text, decimal, rule) for text in texts] + [np.nan])
    remains = np.isnan(parsed[:-1])
    other = "," if decimal == "." else "."
    foreign = [i for i in np.flatnonzero(remains).tolist() if not math.isnan(_number(texts[i], other, rule))]
    if foreign:
        row = np.isin(held, foreign).argmax()
        raise InputError(
            f"{sheet.where(row)} has the {column!r} {texts[held[row]]!r}, and the decimal sign is {decimal!r}: set "
            f"decimal={other!r}, or leave separators of thousands out"
        )
    place = np.append(np.where(remains, np.cumsum(remains) - 1, -1), -1)
    value = _held(sheet, column, parsed[held])
    return Numbers(value, place[held], [text for text, is_text in zip(texts, remains, strict=True) if is_text])


def times(sheet: Sheet, column: str, unit: str, decimal: str = ".") -> Times:
    """Return a column of numbers of some unit, durations, or dates (ISO 8601 where they are text), as hours or dates.

    Raises
    ------
    InputError
        Where a cell is empty or no time, or times of several kinds are mixed.
    """
    cells = sheet.table[column]
    if cells.null_count:
        row = cells.is_null().combine_chunks().to_numpy(zero_copy_only=False).argmax()
        raise InputError(f"{sheet.where(row)} has no {column!r}: give every row a time, or leave the row out")
    if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
        zoned = pa.types.is_timestamp(cells.type) and cells.type.tz is not None
        stamps = cells.cast(pa.timestamp("us", cells.type.tz if zoned else None), safe=False)
        return Times(stamps.cast(pa.int64()).to_numpy(), True, zoned)
    if pa.types.is_duration(cells.type):
        return Times(cells.cast(pa.duration("us"), safe=False).cast(pa.int64()).to_numpy() / _HOUR, False)
    found = numbers(sheet, column, decimal=decimal)
    if (found.text < 0).all() and not np.isnan(found.value).any():
        return Times(found.value * HOURS[unit], False)
    wrong = np.flatnonzero(np.isnan(found.value) & (found.text < 0))
    if len(wrong):
        raise InputError(f"{sheet.where(wrong[0])} has no {column!r}: give every row a time, or leave the row out")
    if (found.text < 0).any():
        text = found.texts[found.text.max()]
        raise InputError(f"{column!r} of {sheet.name} holds numbers and texts such as {text!r}: use one kind of time")
    dates = [_date(text) for text in found.texts]
    unreadable = [i for i, date in enumerate(dates) if date is None]
    if unreadable:
        row = np.isin(found.text, unreadable).argmax()
        raise InputError(
            f"{sheet.where(row)} has the {column!r} {found.texts[found.text[row]]!r}, which is neither a number nor a "
            f"date of ISO 8601 such as 2020-01-31 23:59"
        )
    zones = {date.tzinfo is not None for date in dates if date}
    if len(zones) > 1:
        raise InputError(f"{column!r} of {sheet.name} holds times with and without a time zone: use one kind")
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    since = [date.replace(tzinfo=date.tzinfo or datetime.UTC) - epoch for date in dates if date]
    stamps = np.array([span // datetime.timedelta(microseconds=1) for span in since], np.int64)
    return Times(stamps[found.text], True, zones == {True})


def check_span(sheet: Sheet, column: str, hours: NDArray[np.float64]) -> None:
    """Refuse hours from the start of a stay that no stay has."""
    wrong = np.abs(hours) > _LONGEST
    if wrong.any():
        row = wrong.argmax()
        raise InputError(
            f"{sheet.where(row)} has a {column!r} {hours[row]:,.0f} hours from the start of the stay, over 150 years: "
            f"is it a typing error, or another time_unit?"
        )


def ids(sheet: Sheet, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return for each row which of some ids it has, and these as text, whole numbers without a decimal point.

    Raises
    ------
    InputError
        Where one is missing or a number that is not whole.
    """
    cells = sheet.table[column]
    missing = cells.is_null(nan_is_null=True).combine_chunks().to_numpy(zero_copy_only=False)
    if not _is_number(cells.type):
        code, texts = sheet.texts(column)
        missing = code < 0
    elif not missing.any():
        value, code = np.unique(cells.to_numpy(), return_inverse=True)
        if (value % 1).any():
            row = (cells.to_numpy() % 1 > 0).argmax()
            raise InputError(f"{sheet.where(row)} has the {column!r} {cells[row]}: ids are whole numbers or text")
        texts = [str(int(number)) for number in value]
    if missing.any():
        raise InputError(f"{sheet.where(missing.argmax())} has no {column!r}: every row needs one")
    return code, texts


def convert(
    code: str, value: NDArray[np.float64], unit: NDArray[np.int64], units: list[str], wanted: str | None
) -> tuple[NDArray[np.float64], str | None, int]:
    """Bring the values of one code to one unit.

    Parameters
    ----------
    code
        Its name; conversions of concentrations depend on what it names.
    value, unit
        [R] each; ``unit`` is a position in ``units``, -1 where none is given.
    units
        The texts of the units.
    wanted
        The unit to be; None takes the one unit that there is.

    Returns
    -------
    value, unit, without
        The values, their unit, and how many had none beside others that had.

    Raises
    ------
    InputError
        Where there are several units, with their counts, or no conversion is known.
    """
    held = np.unique(unit[unit >= 0])
    spellings = {_unit(units[i]): units[i] for i in reversed(held.tolist())}
    target = wanted if wanted is not None else next(iter(spellings.values()), None)
    if wanted is None and len(spellings) > 1:
        counts = {
            name: int(sum((unit == i).sum() for i in held if _unit(units[i]) == key)) for key, name in spellings.items()
        }
        listed = ", ".join(f"{name!r} ({n} rows)" for name, n in sorted(counts.items()))
        raise InputError(f"code {code!r} comes in several units, {listed}: choose one with units={{{code!r}: UNIT}}")
    converted = value.copy()
    for i in held:
        if target is not None and _unit(units[i]) != _unit(target):
            here = unit == i
            converted[here] = _converted(code, value[here], units[i], target)
    without = int((unit < 0).sum())
    return converted, target, without if held.size else 0


def _converted(code: str, value: NDArray[np.float64], unit: str, target: str) -> NDArray[np.float64]:
    pair = _unit(unit), _unit(target)
    if pair == ("f", "c"):
        return (value - 32) / 1.8
    if pair == ("c", "f"):
        return value * 1.8 + 32
    for named, one, other, factor in _FACTORS:
        if re.search(named, re.sub(r"[\W_]+", " ", code.lower())):
            if pair == (one, other):
                return value * factor
            if pair == (other, one):
                return value / factor
    raise InputError(f"no conversion of {code!r} from {unit!r} to {target!r} is known: convert it before")


def _unit(text: str) -> str:
    plain = "".join(text.lower().split()).replace("µ", "u").replace("μ", "u")
    return _SAME_UNIT.get(plain, plain)


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _held(sheet: Sheet, column: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values, if a cohort has room for them."""
    beyond = np.abs(value) > np.finfo(np.float32).max
    if beyond.any():
        raise InputError(
            f"{sheet.where(beyond.argmax())} has an infinite {column!r}, or one beyond 3.4e38: leave it empty"
        )
    return value


def _number(text: str, decimal: str, rule: TextRule) -> float:
    plain = _BOUND.sub("", text) if rule == "bound" else text
    plain = plain if decimal == "." else plain.translate({ord(decimal): ".", ord("."): decimal})
    number = float(plain) if _NUMBER.fullmatch(plain) else math.nan
    return number if math.isfinite(number) else math.nan


def _date(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
