"""Numbers as a prompt shows them: as recorded, at most four significant digits, never across a reference bound."""

import math
from collections.abc import Sequence

import numpy as np


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
