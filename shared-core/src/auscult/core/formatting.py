"""Numbers as a reader wants them: significant digits, intervals, an en dash for what is missing."""

import math
import numbers
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from auscult.core.errors import InputError
from auscult.core.intervals import Interval, is_missing

Format = str | Callable[[Any], str]
"""A format specification, ``".1%"``, or a function of the value."""


def format_value(value: object) -> str:
    """Return any value as text; numbers and intervals with sensible digits.

    Examples
    --------
    >>> format_value(None), format_value(1234567), format_value(0.31416), format_value(True)
    ('–', '1,234,567', '0.314', 'yes')
    """
    return format_column([value])[0]


def format_number(value: float, *, digits: int = 3) -> str:
    """Return a number with some significant digits; digits before the point are never dropped.

    Examples
    --------
    >>> format_number(0.98765), format_number(12345.6), format_number(-2), format_number(0.0000123)
    ('0.988', '12,346', '−2', '1.23e−5')
    """
    if is_missing(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value):
        return _fixed(value, 0)
    if abs(value) < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return _fixed(value, _decimals(value, digits))


def format_interval(interval: Interval | Mapping[str, Any], *, decimals: int | None = None) -> str:
    """Return a value with its interval.

    Parameters
    ----------
    interval
        An interval, or its ``{"value": x, "ci": [low, high]}``.
    decimals
        Digits after the point; left out, as many as show the interval's width in two digits.

    Raises
    ------
    InputError
        For anything else.

    Examples
    --------
    >>> format_interval(Interval(0.3123, 0.2481, 0.3802))
    '0.31 (0.25 to 0.38)'
    """
    known = as_interval(interval)
    if known is None:
        raise InputError(f"{interval!r} is no interval: pass an Interval or its 'value' and 'ci'")
    places = _interval_decimals(known) if decimals is None else decimals
    return _join(known, lambda x: format_number(x) if places is None else _fixed(x, places))


def format_column(values: Sequence[Any], spec: Format | None = None) -> list[str]:
    """Return the values of a table's column as text, all numbers with as many decimals where that loses nothing.

    Parameters
    ----------
    values
        Numbers, intervals, text; None, NaN, NaT and NA are missing.
    spec
        How to format the numbers, and the three of an interval, or a function of the value.

    Examples
    --------
    >>> format_column([0.98, 0.0512, None])
    ['0.980', '0.051', '–']
    """
    if callable(spec):
        return ["–" if is_missing(value) else spec(value) for value in values]
    places = _column_decimals([value for value in values if is_number(value) and math.isfinite(value)])
    intervals = filter(None, map(as_interval, values))
    widths = [width for width in map(_interval_decimals, intervals) if width is not None]
    interval_places = statistics.median_high(widths) if widths else None

    def number(value: Any) -> str:
        if not math.isfinite(value):
            return format_number(value)
        if spec is not None:
            return format(value, spec).replace("-", "−")
        return format_number(value) if places is None else _fixed(value, places)

    def text(value: Any) -> str:
        if is_missing(value):
            return "–"
        if is_number(value):
            return number(value)
        if (interval := as_interval(value)) is not None:
            return _join(interval, number) if spec else format_interval(interval, decimals=interval_places)
        if isinstance(value, (bool, np.bool_)):
            return "yes" if value else "no"
        return str(value)

    return [text(value) for value in values]


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, of Python or numpy; a boolean is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_interval(value: Any) -> Interval | None:
    """Return an interval, or what its JSON form stands for; None for any other value."""
    if isinstance(value, Mapping) and value.keys() == {"value", "ci"}:
        estimate, low, high = (math.nan if x is None else float(x) for x in (value["value"], *value["ci"]))
        return Interval(estimate, low, high)
    return value if isinstance(value, Interval) else None


def _column_decimals(values: Sequence[float]) -> int | None:
    """Return the decimals that show the largest in three digits and the smallest in two, where they are near."""
    if all(value == int(value) for value in values):
        return 0
    sizes = [abs(value) for value in values if value]
    decimals, needed = _decimals(max(sizes), 3), _decimals(min(sizes), 2)
    return max(decimals, needed) if needed <= decimals + 1 else None


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def _interval_decimals(interval: Interval) -> int | None:
    sides = (interval.high - interval.low, interval.high - interval.value, interval.value - interval.low)
    width = next((side for side in sides if math.isfinite(side) and side > 0), None)
    return None if width is None else min(_decimals(width, 2), 8)


def _join(interval: Interval, number: Callable[[float], str]) -> str:
    value, low, high = (
        number(x) if math.isfinite(x) else format_number(x) for x in (interval.value, interval.low, interval.high)
    )
    return value if low == high == "–" else f"{value} ({low} to {high})"


def _fixed(value: float, decimals: int) -> str:
    """Write a number with that many decimals, a comma between thousands from 10,000 and no negative zero."""
    text = f"{int(value):,}" if value == int(value) and not decimals else f"{value:,.{decimals}f}"
    if len(text.lstrip("-").partition(".")[0]) <= len("9,999"):
        text = text.replace(",", "")
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "−")
