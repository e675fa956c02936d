"""Rows of a score metric: checked once, rows without weight left out, groups as codes."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import code_columns, joint_codes
from auscult.m3fair.table import check_weights

Array = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """Rows that count.

    Parameters
    ----------
    label
        (m,) 1 for positive, 0 for negative.
    score
        (m,) finite.
    weight
        (m,) prior weights above 0.
    kept
        (n,) which of the rows given these are.
    """

    label: Array
    score: Array
    weight: Array
    kept: npt.NDArray[np.bool_]


def check_rows(
    label: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, probability: bool = False
) -> Rows:
    """Return the rows that have weight.

    Parameters
    ----------
    label
        (n,) 1 or true for positive, 0 or false for negative.
    score
        (n,) finite numbers.
    weight
        (n,) prior weights, 1 by default.
    probability
        Whether scores must lie in [0, 1].

    Raises
    ------
    InputError
        For labels other than 0 and 1, scores or weights that cannot be used, and different lengths.

    Examples
    --------
    >>> check_rows([True, False], [0.7, 0.2], [2, 0]).weight
    array([2.])
    """
    y, s = as_numbers(label, "labels"), as_numbers(score, "scores")
    w = np.ones(len(y)) if weight is None else check_weights(weight)
    if not len(y) == len(s) == len(w):
        raise InputError(f"there are {len(y)} labels, {len(s)} scores and {len(w)} weights: give one of each a row")
    _refuse((y != 0) & (y != 1), y, "label", "labels must be 1 for positive and 0 for negative")
    _refuse(~np.isfinite(s), s, "score", "scores must be finite")
    if probability:
        _refuse((s < 0) | (s > 1), s, "score", "this metric needs probabilities in [0, 1]")
    kept = w > 0
    return Rows(y[kept], s[kept], w[kept], kept)


def as_numbers(values: Any, name: str) -> Array:
    """Return values as float64 (n,).

    Raises
    ------
    InputError
        For values that are not numbers, and for more than one a row.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the {name} are not all numbers: give one number a row") from None
    if array.ndim != 1:
        raise InputError(f"the {name} have shape {array.shape}: give one number a row")
    return array


def row_weights(weight: npt.ArrayLike | None, n: int) -> Array:
    """Return the prior weights (n,) of n rows, 1 by default.

    Raises
    ------
    InputError
        For weights that are negative, missing or infinite, and for another number of them.
    """
    w = np.ones(n) if weight is None else check_weights(weight)
    if len(w) != n:
        raise InputError(f"there are {len(w)} weights for {n} rows: give one weight a row")
    return w


def code_groups(group: Any, kept: npt.NDArray[np.bool_]) -> tuple[tuple[Hashable, ...], npt.NDArray[np.intp]]:
    """Return the groups that occur among the rows kept, in canonical order, and each kept row's position there.

    Parameters
    ----------
    group
        (n,) values of any kind, such as an attribute's; a missing one is the group None.
    kept
        (n,) which rows count.

    Raises
    ------
    InputError
        For another number of values than rows.

    Examples
    --------
    >>> code_groups(["M", "F", "M"], np.array([True, True, True]))
    (('F', 'M'), array([1, 0, 1]))
    """
    coded = code_columns({"group": group}, ["group"])
    if len(coded) != len(kept):
        raise InputError(f"there are {len(coded)} groups for {len(kept)} rows: give one group a row")
    code, present = joint_codes([coded.codes[0][kept]], coded.sizes)
    return tuple(coded.values[0][position] for position in present[:, 0]), code


def _refuse(bad: npt.NDArray[np.bool_], values: Array, name: str, rule: str) -> None:
    found = np.flatnonzero(bad)
    if len(found):
        raise InputError(f"the {name} of row {found[0]} is {values[found[0]]:g} ({len(found)} such): {rule}")
