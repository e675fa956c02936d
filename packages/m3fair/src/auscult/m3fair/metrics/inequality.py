"""Inequality of benefits: generalized entropy over persons and between groups, weighted.

The benefit of a decision is b = decision - label + 1 (Speicher et al. 2018): 2 for a false positive, 1 where the
decision is right, 0 for a false negative.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.metrics.rows import Array, as_numbers, code_groups, row_weights


def benefits(label: npt.ArrayLike, decision: npt.ArrayLike) -> Array:
    """Return the benefit (n,) of each row, decision - label + 1.

    Parameters
    ----------
    label, decision
        (n,) 1 for the favourable outcome, 0 for the other; a probability may stand for the decision.

    Raises
    ------
    InputError
        For different lengths, and for values outside [0, 1].

    Examples
    --------
    >>> benefits([1, 0, 1], [0, 1, 1])
    array([0., 2., 1.])
    """
    y, d = as_numbers(label, "labels"), as_numbers(decision, "decisions")
    if len(y) != len(d):
        raise InputError(f"there are {len(y)} labels and {len(d)} decisions: give one of each a row")
    for name, values in (("label", y), ("decision", d)):
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(bad):
            raise InputError(f"the {name} of row {bad[0]} is {values[bad[0]]:g}: it must lie between 0 and 1")
    return d - y + 1


def generalized_entropy(benefit: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, alpha: float = 2.0) -> float:
    """Return the generalized entropy index of benefits, 0 where all are equal.

    With x = b / mean(b) it is mean(x^alpha - 1) / (alpha (alpha - 1)); for alpha 1 mean(x ln x), where 0 ln 0
    is 0; for alpha 0 -mean(ln x). For alpha <= 0 it is infinite as soon as one benefit is 0, a false negative.

    Parameters
    ----------
    benefit
        (n,) at least 0, as from :func:`benefits`.
    weight
        (n,) prior weights, 1 by default; rows of weight 0 do not count.
    alpha
        How much large benefits count: 2 is half the squared coefficient of variation, 1 the Theil index, 0 the
        mean log deviation.

    Returns
    -------
    NaN without rows, and where every benefit is 0.

    Raises
    ------
    InputError
        For benefits that are negative or not finite, and for an alpha that is not finite.

    Examples
    --------
    >>> generalized_entropy([0.0, 1.0, 2.0, 1.0])
    0.25
    """
    if not np.isfinite(alpha):
        raise InputError(f"alpha={alpha}: give a finite number, such as 2")
    b = as_numbers(benefit, "benefits")
    w = row_weights(weight, len(b))
    b, w = b[w > 0], w[w > 0]
    bad = np.flatnonzero(~((b >= 0) & np.isfinite(b)))
    if len(bad):
        raise InputError(f"a benefit is {b[bad[0]]:g} ({len(bad)} such): benefits must be finite and at least 0")
    if not (b > 0).any():
        return float("nan")
    x = b / np.average(b, weights=w)
    # x - 1 has mean 0; with it every term is at least 0, and equal benefits give 0 without cancellation.
    with np.errstate(divide="ignore"):
        if alpha == 1:
            terms = x * np.log(np.where(x > 0, x, 1.0)) - (x - 1)
        elif alpha == 0:
            terms = -np.log(x) + (x - 1)
        else:
            terms = (x**alpha - 1 - alpha * (x - 1)) / (alpha * (alpha - 1))
    return float(np.average(terms, weights=w))


def between_group_entropy(
    benefit: npt.ArrayLike, group: Any, weight: npt.ArrayLike | None = None, *, alpha: float = 2.0
) -> float:
    """Return the part of the generalized entropy that lies between groups: each benefit is its group's mean.

    Parameters
    ----------
    group
        (n,) each row's group.

    The others, and the result, are those of :func:`generalized_entropy`.

    Examples
    --------
    >>> between_group_entropy([0.0, 2.0, 1.0, 1.0], ["a", "a", "b", "b"])
    0.0
    """
    b = as_numbers(benefit, "benefits")
    w = row_weights(weight, len(b))
    groups, code = code_groups(group, w > 0)
    b, w = b[w > 0], w[w > 0]
    mean = np.bincount(code, w * b, len(groups)) / np.bincount(code, w, len(groups))
    return generalized_entropy(mean[code], w, alpha=alpha)


def theil_index(benefit: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the generalized entropy index with alpha 1.

    Examples
    --------
    >>> round(theil_index([0.0, 1.0, 2.0, 1.0]), 4)
    0.3466
    """
    return generalized_entropy(benefit, weight, alpha=1.0)


def coefficient_of_variation(benefit: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the standard deviation of benefits over their mean, sqrt(2 GEI(2)), as AIF360.

    Examples
    --------
    >>> round(coefficient_of_variation([0.0, 1.0, 2.0, 1.0]), 4)
    0.7071
    """
    return float(np.sqrt(2 * np.maximum(generalized_entropy(benefit, weight, alpha=2.0), 0.0)))
