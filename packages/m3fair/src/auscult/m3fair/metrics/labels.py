"""What labelled data say before any model: rates, dependence of label and group, change by reweighting.

Everything is a function of mass, an array of sums of weights by group and label (G, C): of prior weights v for the
data as they are, of v times the factor for the data as reweighted. :func:`mass_array` makes it from a count table.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import joint_codes
from auscult.m3fair.metrics.confusion import Array
from auscult.m3fair.table import CountTable


def mass_array(
    table: CountTable, axes: Sequence[str | Sequence[str]]
) -> tuple[tuple[tuple[Hashable, ...], ...], Array]:
    """Return sums of prior weights by the values of some columns, one axis each.

    Parameters
    ----------
    table
        The counts.
    axes
        Per axis, the name of a column, or the names of several whose combinations form the axis.

    Returns
    -------
    names
        Per axis, its values (tuples for several columns), in canonical order.
    mass
        Of one dimension an axis.

    Raises
    ------
    InputError
        For a column that the table does not have.

    Examples
    --------
    >>> rows = {"sex": ["F", "F", "M"], "died": [0, 1, 1]}
    >>> mass_array(CountTable.count_rows(rows, ["sex", "died"]), ["sex", "died"])
    ((('F', 'M'), (0, 1)), array([[1., 1.],
           [0., 1.]]))
    """
    names, codes = [], []
    for axis in axes:
        columns = [axis] if isinstance(axis, str) else list(axis)
        absent = [name for name in columns if name not in table.columns]
        if absent:
            raise InputError(f"the table has no column {absent[0]!r}: it has {list(table.columns)}")
        at = [table.columns.index(name) for name in columns]
        row, cells = joint_codes([table.codes[:, k] for k in at], [len(table.values[k]) for k in at])
        found = [tuple(table.values[k][code] for k, code in zip(at, cell, strict=True)) for cell in cells.tolist()]
        names.append(tuple(value[0] for value in found) if isinstance(axis, str) else tuple(found))
        codes.append(row)
    mass = np.zeros([len(values) for values in names])
    np.add.at(mass, tuple(codes), table.weight)
    return tuple(names), mass


@dataclass(frozen=True)
class LabelDisparities:
    """Label rates by group; the result of :func:`label_disparities`.

    Parameters
    ----------
    base_rate
        (..., G) share of the positive label, NaN for a group without mass.
    difference
        (..., G) base rate minus that of the reference group: statistical parity difference of the labels.
    ratio
        (..., G) base rate over that of the reference group: disparate impact; 0/0 is NaN, x/0 infinite.
    """

    base_rate: Array
    difference: Array
    ratio: Array


def label_disparities(mass: npt.ArrayLike, reference: int, *, positive: int = 1) -> LabelDisparities:
    """Return the rate of a label in each group, and how it compares with a reference group.

    Parameters
    ----------
    mass
        (..., G, C) sums of weights.
    reference
        The position of the reference group.
    positive
        The position of the positive label.

    Examples
    --------
    >>> label_disparities([[6.0, 2.0], [4.0, 4.0]], reference=1).ratio
    array([0.5, 1. ])
    """
    m = _check_mass(mass)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = m[..., positive] / m.sum(axis=-1)
        basis = rate[..., [reference]]
        return LabelDisparities(rate, rate - basis, rate / basis)


def mutual_information(mass: npt.ArrayLike) -> float:
    """Return the mutual information I(group; label) in nats; 0 where they are independent, as after reweighing.

    NaN without mass.

    Parameters
    ----------
    mass
        (G, C) sums of weights.

    Examples
    --------
    >>> round(mutual_information([[1.0, 0.0], [0.0, 1.0]]), 4)
    0.6931
    """
    m = _check_mass(mass, 2)
    return kl_divergence(m, _independent(m)) if m.any() else float("nan")


def cramers_v(mass: npt.ArrayLike) -> float:
    """Return Cramer's V, sqrt(chi^2 / (N min(G - 1, C - 1))), from 0 (independent) to 1; no bias correction.

    Groups and labels without mass do not count; NaN where fewer than two groups or labels are left.

    Parameters
    ----------
    mass
        (G, C) sums of weights.

    Examples
    --------
    >>> cramers_v([[3.0, 1.0], [1.0, 3.0]])
    0.5
    """
    m = _check_mass(mass, 2)
    m = m[m.sum(axis=1) > 0][:, m.sum(axis=0) > 0]
    if min(m.shape) < 2:
        return float("nan")
    expected = _independent(m)
    return float(np.sqrt(((m - expected) ** 2 / expected).sum() / (m.sum() * (min(m.shape) - 1))))


def kl_divergence(mass: npt.ArrayLike, original: npt.ArrayLike) -> float:
    """Return the Kullback-Leibler divergence of a table from another, in nats.

    Each is divided by its sum: sum p ln(p / q), with p from ``mass`` and q from ``original``. Infinite where
    ``mass`` has a cell that ``original`` lacks, NaN where either is empty.

    Parameters
    ----------
    mass, original
        Sums of weights, of the same shape: the reweighted table and the one that it came from.

    Examples
    --------
    >>> round(kl_divergence([[1.0, 1.0]], [[1.0, 3.0]]), 4)
    0.1438
    """
    new, old = _check_mass(mass), _check_mass(original)
    if new.shape != old.shape:
        raise InputError(f"tables of shapes {new.shape} and {old.shape} have no divergence: give the same cells")
    if not (new.sum() > 0 and old.sum() > 0):
        return float("nan")
    p, q = new / new.sum(), old / old.sum()
    occurs = p > 0
    with np.errstate(divide="ignore"):
        terms = p[occurs] * np.log(p[occurs] / q[occurs])
    # Rounding alone can put a divergence of 0 below it.
    return float(max(terms.sum(), 0.0))


@dataclass(frozen=True)
class ConditionalDisparity:
    """The result of :func:`conditional_demographic_disparity`.

    Parameters
    ----------
    value
        (G,) average over the strata; NaN where none is defined.
    by_stratum
        (S, G) demographic disparity of each group in each stratum.
    undefined
        Positions of the strata in which nobody or everybody was accepted; the average leaves them out.
    """

    value: Array
    by_stratum: Array
    undefined: tuple[int, ...]


def demographic_disparity(mass: npt.ArrayLike, *, positive: int = 1) -> Array:
    """Return each group's share among the rejected minus its share among the accepted (Wachter et al. 2021).

    Above 0, the group is found more often among the rejected. The values of all groups sum to 0.

    Parameters
    ----------
    mass
        (..., G, C) sums of weights by group and label or decision.
    positive
        The position of what counts as accepted; all else is rejected.

    Returns
    -------
    (..., G), NaN where nobody or everybody is accepted.

    Examples
    --------
    >>> demographic_disparity([[6.0, 1.0], [2.0, 3.0]])
    array([ 0.5, -0.5])
    """
    m = _check_mass(mass)
    accepted = m[..., positive]
    rejected = m.sum(axis=-1) - accepted
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            rejected / rejected.sum(axis=-1, keepdims=True) - accepted / accepted.sum(axis=-1, keepdims=True)
        )


def conditional_demographic_disparity(mass: npt.ArrayLike, *, positive: int = 1) -> ConditionalDisparity:
    """Return the demographic disparity within strata, averaged by their mass (Wachter et al. 2021).

    Parameters
    ----------
    mass
        (S, G, C) sums of weights by stratum, group, and label or decision.
    positive
        The position of what counts as accepted.

    Examples
    --------
    Departments that accept men and women alike, though women apply where fewer are accepted:

    >>> strata = np.array([[[80.0, 20.0], [40.0, 10.0]], [[10.0, 40.0], [20.0, 80.0]]])
    >>> demographic_disparity(strata.sum(axis=0)).round(2)
    array([ 0.2, -0.2])
    >>> conditional_demographic_disparity(strata).value.round(2)
    array([0., 0.])
    """
    m = _check_mass(mass, 3)
    disparity = demographic_disparity(m, positive=positive)
    defined = ~np.isnan(disparity).any(axis=1)
    size = m.sum(axis=(1, 2))[defined]
    with np.errstate(invalid="ignore"):
        value = size @ disparity[defined] / size.sum()
    return ConditionalDisparity(value, disparity, tuple(np.flatnonzero(~defined).tolist()))


def _independent(mass: Array) -> Array:
    """Return the table with the same margins in which group and label are independent."""
    return np.asarray(np.outer(mass.sum(axis=1), mass.sum(axis=0)) / mass.sum())


def _check_mass(mass: npt.ArrayLike, dimensions: int | None = None) -> Array:
    m = np.asarray(mass, dtype=np.float64)
    if m.ndim < 2 or dimensions not in (None, m.ndim):
        axes = "stratum, group and label" if dimensions == 3 else "group and label"
        raise InputError(f"the mass has shape {m.shape}: give sums of weights by {axes}")
    if not (np.isfinite(m) & (m >= 0)).all():
        raise InputError("the mass has a cell that is negative, missing or infinite: give sums of weights")
    return m
