"""Reweighting as a pure function of a count table.

With n_g, n_y, n_gy, N the weight sums of a group, a label, a cell and all rows, Reweighing gives each
cell the factor (Kamiran and Calders 2012)

    r(g, y) = n_g n_y / (N n_gy),

its expected over its observed share. M3Fair (arXiv 2306.04118) applies it to one derived group: the
score S = sum_k l_k u_k of levels l_k and privileged indicators u_k. The other modes choose other groups,
or fit several at once.
"""

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute, assign_levels
from auscult.m3fair.coding import joint_codes

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Mode = Literal["level", "intersection", "sequential", "marginal", "lattice", "geometric"]
MODES: tuple[str, ...] = get_args(Mode)
Score = tuple[int, tuple[int, ...]]


def reweighing(mass: Array, group: Codes, smoothing: float = 0.0) -> Array:
    """Return the Reweighing factor of each row of a table.

    Parameters
    ----------
    mass
        (P, C) weight sums by row of the table and label.
    group
        (P,) the group of each row of the table.
    smoothing
        Prior strength kappa >= 0: r = (n_g + kappa) p_y / (n_gy + kappa p_y) shrinks every group to the
        overall label rate p_y (our extension); 0 is Reweighing.

    Returns
    -------
    (P, C) factors, NaN where group and label never occur together.
    """
    cells = np.zeros((int(group.max(initial=-1)) + 1, mass.shape[1]))
    np.add.at(cells, group, mass)
    share = cells.sum(axis=0) / cells.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (cells.sum(axis=1, keepdims=True) + smoothing) * share / (cells + smoothing * share)
    r[~np.isfinite(r)] = np.nan
    return np.asarray(r[group])


def sequential(mass: Array, groups: Sequence[Codes], smoothing: float = 0.0) -> Array:
    """Return the product of Reweighing by one attribute after another, each on the masses so far.

    Only the last attribute ends exactly balanced; the order matters (the baseline of the paper).
    """
    factor = np.ones_like(mass)
    for group in groups:
        factor = factor * reweighing(np.nan_to_num(mass * factor), group, smoothing)
    return factor


def fit_margins(mass: Array, groups: Sequence[Codes], *, tolerance: float = 1e-10, max_cycles: int = 10_000) -> Array:
    """Return the factors of iterative proportional fitting to independence of each group from the label.

    The targets n_g n_y / N come from the original table and stay fixed, so that every group's and label's
    mass is kept and the fitted table is the one nearest to the original in Kullback-Leibler divergence
    (our extension). A group that never has a label loses that target, as in Reweighing; the other attributes' targets
    of the label shrink alike, so that the label stays independent of them.

    Raises
    ------
    InputError
        When no table with the given empty cells meets the targets.
    """
    total = mass.sum()
    sizes = [int(group.max(initial=-1)) + 1 for group in groups]
    by_label = mass.sum(axis=0)
    targets = [
        np.bincount(g, mass.sum(axis=1), size)[:, None] * by_label / total
        for g, size in zip(groups, sizes, strict=True)
    ]
    fitted = mass.copy()

    def margin(group: Codes, size: int) -> Array:
        cells = np.zeros((size, mass.shape[1]))
        np.add.at(cells, group, fitted)
        return cells

    targets = [np.where(margin(g, size) > 0, t, 0.0) for g, size, t in zip(groups, sizes, targets, strict=True)]
    least = np.min([target.sum(axis=0) for target in targets], axis=0)
    targets = [
        target * np.divide(least, target.sum(axis=0), out=np.zeros_like(least), where=least > 0) for target in targets
    ]
    for _ in range(max_cycles):
        for group, size, target in zip(groups, sizes, targets, strict=True):
            now = margin(group, size)
            fitted *= np.divide(target, now, out=np.zeros_like(now), where=now > 0)[group]
        residual = max(
            np.abs(margin(g, size) - target)[margin(g, size) > 0].max(initial=0.0)
            for g, size, target in zip(groups, sizes, targets, strict=True)
        )
        if residual <= tolerance * total:
            break
    else:
        raise InputError(
            f"the margins cannot be fitted: after {max_cycles} cycles {residual / total:.2g} of the mass is misplaced, "
            "because the combinations of values that have a label cannot hold its share of every group; pool values "
            "or use mode 'intersection' with smoothing"
        )
    return np.divide(fitted, mass, out=np.full_like(mass, np.nan), where=mass > 0)


def geometric(mass: Array, groups: Sequence[Codes], importance: Sequence[float], smoothing: float = 0.0) -> Array:
    """Return prod_k r_k ** lambda_k, rescaled to keep the total mass (our extension).

    A graded importance lambda_k in [0, 1] for each attribute; 0 leaves it out. Exact independence holds for
    one attribute with lambda 1 only.
    """
    factor = np.ones_like(mass)
    for group, power in zip(groups, importance, strict=True):
        if power:
            factor = factor * reweighing(mass, group, smoothing) ** power
    return np.asarray(factor * (mass.sum() / np.nansum(mass * factor)))


@dataclass(frozen=True)
class Scheme:
    """How combinations of attribute values score in mode ``level``.

    Parameters
    ----------
    attributes
        In the order given.
    ranks
        Per attribute, the rank of each value that was fitted: 1 privileged and 0 not, or its place.
    levels
        Per attribute, its level l_k.
    """

    attributes: tuple[Attribute, ...]
    ranks: tuple[Mapping[Hashable, int], ...]
    levels: tuple[int, ...]

    @classmethod
    def build(cls, attributes: Sequence[Attribute], values: Sequence[Sequence[Hashable]]) -> "Scheme":
        """Return the scheme for attributes whose columns hold ``values``."""
        ranks = tuple(
            dict(zip(mine, a.ranks(mine).tolist(), strict=True)) for a, mine in zip(attributes, values, strict=True)
        )
        levels = assign_levels(attributes, [max(rank.values(), default=0) for rank in ranks])
        return cls(tuple(attributes), ranks, levels)

    def rank(self, combination: Sequence[Hashable]) -> tuple[int, ...] | None:
        """Return the ranks of values, -1 where missing; None when one was not fitted and has no rank."""
        found = []
        for attribute, ranks, value in zip(self.attributes, self.ranks, combination, strict=True):
            if value is None or value in ranks:
                found.append(-1 if value is None else ranks[value])
            elif attribute.privileged is None:
                return None
            else:
                found.append(int(callable(attribute.privileged) and bool(attribute.privileged(value))))
        return tuple(found)

    def score(self, combination: Sequence[Hashable]) -> Score | None:
        """Return the group of a combination of values: S over what is known, and which attributes are missing.

        An attribute of level 0 does not count, missing or not.
        """
        rank = self.rank(combination)
        if rank is None:
            return None
        known = sum(level * max(r, 0) for level, r in zip(self.levels, rank, strict=True))
        return known, tuple(k for k, (level, r) in enumerate(zip(self.levels, rank, strict=True)) if level and r < 0)

    def expression(self, equals: Callable[[str, Hashable], Any]) -> Any:
        """Return S over what is known, null for a value without a rank, as a narwhals expression.

        Parameters
        ----------
        equals
            From a column and a value to the expression of whether they are equal.

        Raises
        ------
        InputError
            For privileged values that are a function.
        """
        import narwhals as nw

        terms = []
        for attribute, ranks, level in zip(self.attributes, self.ranks, self.levels, strict=True):
            name = attribute.name
            if callable(attribute.privileged):
                raise InputError(
                    f"the privileged values of {name!r} are a function, which no lazy frame can ask: name them"
                )
            parts = [
                nw.when(equals(name, value)).then(nw.lit(float(level * rank)))
                for value, rank in ranks.items()
                if rank >= (attribute.privileged is not None)
            ]
            rest = nw.lit(0.0) if attribute.privileged is not None else nw.when(equals(name, None)).then(nw.lit(0.0))
            terms.append(nw.coalesce(*parts, rest))
        return reduce(operator.add, terms)

    def groups(self, combinations: Sequence[Sequence[Hashable]]) -> Codes:
        """Return the group number (P,) of each fitted combination."""
        scores = [self.score(combination) for combination in combinations]
        number = {score: i for i, score in enumerate(sorted({s for s in scores if s is not None}))}
        return np.array([number[score] for score in scores if score is not None], dtype=np.intp)

    def collisions(self, combinations: Sequence[Sequence[Hashable]]) -> list[list[Sequence[Hashable]]]:
        """Return the combinations that differ in rank but share a score, score by score.

        Attributes of level 0 are left out on purpose and do not count as a difference.
        """
        merged: dict[Score | None, list[Sequence[Hashable]]] = {}
        ranks: dict[Score | None, set[tuple[int, ...]]] = {}
        for combination in combinations:
            score, rank = self.score(combination), self.rank(combination) or ()
            merged.setdefault(score, []).append(combination)
            ranks.setdefault(score, set()).add(tuple(r for level, r in zip(self.levels, rank, strict=True) if level))
        return [found for score, found in merged.items() if len(ranks[score]) > 1]


def factors(
    mass: Array,
    cells: Codes,
    *,
    mode: Mode,
    groups: Codes,
    order: int = 1,
    importance: Sequence[float] = (),
    smoothing: float = 0.0,
) -> Array:
    """Return the factor r of every observed combination of attribute values and label.

    Parameters
    ----------
    mass
        (P, C) weight sums of P combinations by C labels.
    cells
        (P, K) positions of the attributes' values in each combination.
    mode
        ``level`` and ``intersection``: :func:`reweighing` of ``groups``. ``sequential``. ``marginal``:
        :func:`fit_margins` on each attribute. ``lattice``: the same on all subsets of ``order`` attributes
        (1 is marginal, K is intersection). ``geometric``, with ``importance`` (K,).
    groups
        (P,) the score group of each combination, or its own number.

    Returns
    -------
    (P, C) factors, NaN where the group never has the label.
    """
    if mode in ("level", "intersection"):
        return reweighing(mass, groups, smoothing)
    count = cells.shape[1]
    sizes = [int(cells[:, k].max(initial=0)) + 1 for k in range(count)]
    subsets = combinations(range(count), order if mode == "lattice" else 1)
    margins = [joint_codes([cells[:, k] for k in ks], [sizes[k] for k in ks])[0] for ks in subsets]
    if mode == "sequential":
        return sequential(mass, margins, smoothing)
    if mode == "geometric":
        return geometric(mass, margins, importance, smoothing)
    return fit_margins(mass, margins)
