"""Many groups at once: one metric's values in G groups, as ranges, distances and worst groups.

Values are arrays (..., G), the groups last, so that a stack of bootstrap replicates is summarised like one
table. A group where the metric is undefined (NaN) is left out, and :func:`summarize` names it; with fewer than
two groups left there is nothing to compare and the result is NaN.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.metrics.confusion import Array, Confusion


@dataclass(frozen=True)
class GroupValue:
    """A group, its value of a metric, and its number of rows."""

    name: Hashable
    value: float
    n: float


@dataclass(frozen=True)
class ManyGroups:
    """One metric over many groups; the result of :func:`summarize`.

    Parameters
    ----------
    overall
        The metric's value for everyone.
    difference, ratio
        Largest minus smallest value; smallest over largest.
    to_overall
        Largest distance of a group's value from the overall one.
    standard_deviation
        Of the values, groups weighted.
    violation
        Largest prevalence-weighted distance from the overall value.
    lowest, highest, furthest, violated
        The groups where the value is smallest, largest, furthest from the overall one, and where the
        prevalence-weighted distance is largest; several where they tie, none where no group is defined.
    undefined
        Names of the groups without a value, which nothing above counts.
    """

    overall: float
    difference: float
    ratio: float
    to_overall: float
    standard_deviation: float
    violation: float
    lowest: tuple[GroupValue, ...]
    highest: tuple[GroupValue, ...]
    furthest: tuple[GroupValue, ...]
    violated: tuple[GroupValue, ...]
    undefined: tuple[Hashable, ...]


def summarize(
    values: npt.ArrayLike,
    n: npt.ArrayLike,
    *,
    overall: float,
    names: Sequence[Hashable],
    weight: npt.ArrayLike | None = None,
    total: float | None = None,
) -> ManyGroups:
    """Return everything that this module says about one metric over G groups.

    Parameters
    ----------
    values
        (G,) the metric in each group, NaN where undefined.
    n
        (G,) rows of each group.
    overall
        The metric for everyone.
    names
        The G groups' names.
    weight
        (G,) sums of prior weights P_g; ``n`` by default.
    total
        The weight of everyone; the sum of ``weight`` by default, which is right for groups that do not overlap.

    Raises
    ------
    InputError
        For different numbers of values, rows, weights and names.

    Examples
    --------
    >>> found = summarize([0.2, 0.5, np.nan], [30, 10, 2], overall=0.275, names=["a", "b", "c"])
    >>> round(found.difference, 3), found.highest, found.undefined
    (0.3, (GroupValue(name='b', value=0.5, n=10.0),), ('c',))
    """
    m, rows = _per_group(values), _per_group(n)
    p = rows if weight is None else _per_group(weight)
    if not m.shape == rows.shape == p.shape == (len(names),):
        raise InputError(
            f"there are {m.shape} values, {rows.shape} numbers of rows, {p.shape} weights and {len(names)} names: "
            "give one of each a group"
        )
    distance, violations = np.abs(m - overall), weighted_violations(m, overall, p, total)

    def named(at: npt.NDArray[np.bool_]) -> tuple[GroupValue, ...]:
        return tuple(GroupValue(names[g], float(m[g]), float(rows[g])) for g in np.flatnonzero(at).tolist())

    return ManyGroups(
        overall=float(overall),
        difference=float(group_difference(m)),
        ratio=float(group_ratio(m)),
        to_overall=float(difference_to_overall(m, overall)),
        standard_deviation=float(group_standard_deviation(m, p)),
        violation=float(_if_compared(m, _largest(violations))),
        lowest=named(m == _smallest(m)),
        highest=named(m == _largest(m)),
        furthest=named(distance == _largest(distance)),
        violated=named(violations == _largest(violations)),
        undefined=tuple(name for name, value in zip(names, m, strict=True) if np.isnan(value)),
    )


def group_difference(values: npt.ArrayLike) -> Array:
    """Return the largest minus the smallest value, as fairlearn's ``difference``.

    Parameters
    ----------
    values
        (..., G), NaN where undefined.

    Examples
    --------
    >>> float(group_difference([0.25, 0.5, np.nan]))
    0.25
    """
    m = _per_group(values)
    with np.errstate(invalid="ignore"):
        return _if_compared(m, _largest(m) - _smallest(m))


def group_ratio(values: npt.ArrayLike) -> Array:
    """Return the smallest over the largest value of a metric that is not negative; NaN where all are 0.

    Parameters
    ----------
    values
        (..., G), NaN where undefined.

    Examples
    --------
    >>> float(group_ratio([0.25, 0.5, np.nan]))
    0.5
    """
    m = _per_group(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _if_compared(m, _smallest(m) / _largest(m))


def difference_to_overall(values: npt.ArrayLike, overall: npt.ArrayLike) -> Array:
    """Return the largest distance of a group's value from the overall one.

    Parameters
    ----------
    values
        (..., G), NaN where undefined.
    overall
        (...) the metric for everyone.

    Examples
    --------
    >>> float(difference_to_overall([0.25, 0.5], 0.375))
    0.125
    """
    m = _per_group(values)
    with np.errstate(invalid="ignore"):
        return _if_compared(m, _largest(np.abs(m - np.asarray(overall)[..., None])))


def group_standard_deviation(values: npt.ArrayLike, weight: npt.ArrayLike) -> Array:
    """Return the standard deviation of the values around their mean, groups weighted by P_g.

    Parameters
    ----------
    values
        (..., G), NaN where undefined.
    weight
        (..., G) sums of prior weights.

    Examples
    --------
    >>> float(group_standard_deviation([0.25, 0.75, np.nan], [10, 10, 5]))
    0.25
    """
    m = _per_group(values)
    defined = ~np.isnan(m)
    p = np.where(defined, _weights_of(m, weight), 0.0)
    known = np.where(defined, m, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (p * known).sum(axis=-1, keepdims=True) / p.sum(axis=-1, keepdims=True)
        variance = (p * np.where(defined, known - mean, 0.0) ** 2).sum(axis=-1) / p.sum(axis=-1)
    return _if_compared(m, np.sqrt(variance))


def weighted_violations(
    values: npt.ArrayLike, overall: npt.ArrayLike, weight: npt.ArrayLike, total: npt.ArrayLike | None = None
) -> Array:
    """Return the prevalence-weighted violation of each group, (P_g / P) abs(m_g - m).

    A group counts by its size, so that a handful of people with an extreme rate does not lead the list
    (Kearns et al. 2018).

    Parameters
    ----------
    values
        (..., G), NaN where undefined.
    overall
        (...) the metric for everyone.
    weight
        (..., G) sums of prior weights P_g.
    total
        (...) the weight P of everyone; the sum of ``weight`` by default, which is right for groups that do
        not overlap.

    Returns
    -------
    (..., G), NaN where the value is.

    Examples
    --------
    >>> weighted_violations([0.25, 0.5], 0.375, [30, 10])
    array([0.09375, 0.03125])
    """
    m = _per_group(values)
    p = _weights_of(m, weight)
    everyone = p.sum(axis=-1) if total is None else np.asarray(total, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(p / everyone[..., None] * np.abs(m - np.asarray(overall)[..., None]))


def equalized_odds_difference(groups: Confusion, *, agg: Literal["worst_case", "mean"] = "worst_case") -> Array:
    """Return how far the groups are from equal true and false positive rates (Hardt et al. 2016).

    Parameters
    ----------
    groups
        Confusion tables (..., G, 2, 2).
    agg
        The larger of the two ranges (``worst_case``) or their mean, in fairlearn's words.

    Returns
    -------
    (...), NaN where either rate is defined in fewer than two groups.

    Examples
    --------
    >>> table = np.array([[[8.0, 2], [1, 9]], [[6, 4], [3, 7]]])
    >>> float(equalized_odds_difference(Confusion(table, table)).round(3))
    0.2
    """
    ranges = [group_difference(groups.rate(name)) for name in ("true_positive_rate", "false_positive_rate")]
    if agg == "mean":
        return np.asarray((ranges[0] + ranges[1]) / 2)[()]
    if agg != "worst_case":
        raise InputError(f"agg={agg!r}: choose 'worst_case' or 'mean'")
    return np.maximum(*ranges)


def equalized_odds_ratio(groups: Confusion) -> Array:
    """Return the smaller ratio, smallest over largest, of true and of false positive rates, as fairlearn.

    Parameters
    ----------
    groups
        Confusion tables (..., G, 2, 2).

    Examples
    --------
    >>> table = np.array([[[8.0, 2], [1, 9]], [[6, 4], [3, 7]]])
    >>> float(equalized_odds_ratio(Confusion(table, table)))
    0.5
    """
    return np.minimum(*(group_ratio(groups.rate(name)) for name in ("true_positive_rate", "false_positive_rate")))


def differential_fairness(positive: npt.ArrayLike, total: npt.ArrayLike, *, concentration: float = 1.0) -> Array:
    """Return the smoothed empirical differential fairness epsilon (Foulds et al. 2020).

    The largest difference, over pairs of groups and both outcomes, of the logarithm of the outcome's rate
    (positive + c/2) / (total + c). 0 is parity; a ratio of rates never passes exp(epsilon).

    Parameters
    ----------
    positive
        (..., G) sums of prior weights of the positive rows, by label or by decision.
    total
        (..., G) sums of all rows; a group without rows is left out.
    concentration
        c of the Dirichlet prior, c/2 for either outcome; 0 is no smoothing, and infinite where an outcome
        occurs in some groups only.

    Raises
    ------
    InputError
        For a negative concentration.

    Examples
    --------
    >>> float(differential_fairness([30, 10], [99, 99]).round(4))
    1.0664
    """
    if not concentration >= 0:
        raise InputError(f"concentration={concentration}: give a number from 0 up, such as 1")
    rows = _per_group(total)
    there = np.where(rows > 0, rows, np.nan)
    rate = np.minimum((_per_group(positive) + concentration / 2) / (there + concentration), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(rate), np.log1p(-rate)]
        # Where no group has an outcome, all agree on it: the difference is 0, not -inf minus -inf.
        ranges = [np.where(_largest(x) == _smallest(x), 0.0, _largest(x) - _smallest(x)) for x in logs]
    return _if_compared(rate, np.maximum(*ranges))


def bias_amplification(groups: Confusion, *, concentration: float = 1.0) -> Array:
    """Return the differential fairness of the decisions minus that of the labels (Foulds et al. 2020).

    Above 0, the decisions differ more between groups than the labels do.

    Parameters
    ----------
    groups
        Confusion tables (..., G, 2, 2).
    concentration
        As in :func:`differential_fairness`.

    Examples
    --------
    >>> table = np.array([[[5.0, 0], [0, 5]], [[5, 0], [5, 0]]])
    >>> float(bias_amplification(Confusion(table, table)).round(3))
    2.398
    """
    total = groups.weight.sum(axis=(-2, -1))
    decided, labelled = groups.weight[..., 1].sum(axis=-1), groups.weight[..., 1, :].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(
            differential_fairness(decided, total, concentration=concentration)
            - differential_fairness(labelled, total, concentration=concentration)
        )[()]


def _per_group(values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise InputError(f"one value, {array:g}, has no groups to compare: give an array with one value a group")
    return array


def _weights_of(values: Array, weight: npt.ArrayLike) -> Array:
    p = _per_group(weight)
    if p.shape[-1] != values.shape[-1]:
        raise InputError(f"there are {p.shape[-1]} weights for {values.shape[-1]} groups: give one a group")
    return p


def _largest(values: Array) -> Array:
    return np.asarray(np.fmax.reduce(values, axis=-1, initial=np.nan))


def _smallest(values: Array) -> Array:
    return np.asarray(np.fmin.reduce(values, axis=-1, initial=np.nan))


def _if_compared(values: Array, result: Array) -> Array:
    return np.where((~np.isnan(values)).sum(axis=-1) >= 2, result, np.nan)[()]
