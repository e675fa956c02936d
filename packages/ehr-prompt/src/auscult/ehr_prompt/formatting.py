"""Numbers as a prompt shows them: as recorded, at most four significant digits, never across a reference bound."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Rounding to four significant digits moves a number by less than this share of it.
_ROUNDING = 5.1e-4


def format_number(value: float, bounds: Sequence[float] = (), *, decimals: int | None = None) -> str:
    """Return a measured value as text.

    Digits before the point are never dropped. Where rounding would move the value to, or across, one of the
    bounds, it keeps as many more digits as it takes to stay on its side.

    Parameters
    ----------
    value
        A value as the cohort holds it (float32); NaN becomes ``nan``.
    bounds
        Of all reference ranges of the variable.
    decimals
        Digits after the point, in place of four significant digits.

    Examples
    --------
    >>> format_number(139.0), format_number(37.055555), format_number(0.02), format_number(12345.6)
    ('139', '37.06', '0.02', '12346')
    >>> format_number(17.9996, [18.0])
    '17.9996'
    """
    single = float(np.float32(value))
    if decimals is None and _is_plain(abs(single)) and all(abs(single - b) > _ROUNDING * abs(single) for b in bounds):
        return f"{single:.4g}"
    exact = float(str(np.float32(value)))
    if math.isnan(exact):
        return "nan"
    if decimals is None:
        decimals = max(0, 3 - math.floor(math.log10(abs(exact)))) if exact else 0
    for digits in range(decimals, decimals + 12):
        text = f"{exact:.{digits}f}"
        shown = float(text)
        if all((shown > bound) - (shown < bound) == (exact > bound) - (exact < bound) for bound in bounds):
            break
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def format_numbers(values: ArrayLike, bounds: Sequence[float] = ()) -> list[str]:
    """Return :func:`format_number` of many values without fixed decimals.

    Examples
    --------
    >>> format_numbers([37.055555, 17.9996, float("nan")], [18.0])
    ['37.06', '17.9996', 'nan']
    """
    single: NDArray[np.float64] = np.asarray(values, np.float32).astype(np.float64)
    size = np.abs(single)
    plain = _is_plain(size)
    for bound in bounds:
        plain &= np.abs(single - bound) > _ROUNDING * size
    return [
        f"{value:.4g}" if short else format_number(value, bounds)
        for value, short in zip(single.tolist(), plain.tolist(), strict=True)
    ]


def _is_plain(size: Any) -> Any:
    """Whether numbers of this size need no exponent in four significant digits."""
    return (size >= 1e-3) & (size < 9999)
