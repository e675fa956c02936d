"""Sensitive attributes: which column, which values are privileged, how important, how cut."""

import operator
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import as_floats
from auscult.m3fair.distinct import clean_value

Privileged = Hashable | Collection[Hashable] | Callable[[Any], bool] | None


@dataclass(frozen=True)
class Attribute:
    """One sensitive attribute.

    Parameters
    ----------
    name
        The column.
    privileged
        The privileged value, a set of them, or a function of a value that says so; in an audit, the reference
        group. ``None`` keeps every value apart: mode ``level`` then ranks the values in sorted order, and an
        audit compares with the most frequent one. With ``bins``, a number that falls into the privileged bin, or
        a function of a bin's name.
    level
        The importance l_k of mode ``level``: a whole number, 0 to leave the attribute out. ``None`` takes the
        next power of two that cannot collide with the others.
    bins
        How to cut a number into groups: increasing edges, or ``"mean"``, ``"median"``, or a number of equally
        frequent bins, the last three learnt on the rows given to ``fit``. A value equal to an edge lies below it.
    missing
        ``"category"``: missing is a group of its own (never silently unprivileged); ``"drop"``: such rows
        count nowhere and weigh 0; ``"error"``: refuse them. The last two concern weights: an audit always shows
        missing as a group.

    Raises
    ------
    InputError
        For a level that is negative or not whole, no privileged value in a set, edges that do not increase, and
        unknown options.
    """

    name: str
    privileged: Privileged = None
    level: int | None = None
    bins: Sequence[float] | npt.NDArray[Any] | Literal["mean", "median"] | int | None = None
    missing: Literal["category", "drop", "error"] = "category"

    def __post_init__(self) -> None:
        if self.level is not None:
            try:
                whole = operator.index(self.level)
            except TypeError:
                whole = -1
            if whole < 0 or isinstance(self.level, bool):
                raise InputError(f"the level of {self.name!r} is {self.level!r}: give a whole number of at least 0")
        if self.missing not in ("category", "drop", "error"):
            raise InputError(
                f"missing={self.missing!r} of {self.name!r} is unknown: choose 'category', 'drop' or 'error'"
            )
        if not _collection(self.privileged):
            raise InputError(f"no value of {self.name!r} is privileged: name one, or leave it None")
        if self.bins is not None and not (isinstance(self.bins, str) and self.bins in ("mean", "median")):
            self._check_bins()

    def _check_bins(self) -> None:
        if isinstance(self.bins, str) or np.ndim(self.bins) > 1:  # type: ignore[arg-type]
            raise InputError(
                f"bins={self.bins!r} of {self.name!r} is unknown: choose 'mean', 'median', edges or a number"
            )
        if np.ndim(self.bins) == 1:  # type: ignore[arg-type]
            edges = as_floats(self.bins, f"bin edges of {self.name!r}")
            if not len(edges) or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
                raise InputError(f"the bin edges {edges.tolist()} of {self.name!r} must be finite and increase")
        elif not isinstance(self.bins, (int, np.integer)) or self.bins < 2:
            raise InputError(f"bins={self.bins} of {self.name!r}: give a whole number of at least 2, or edges")

    def is_privileged(self, values: Sequence[Hashable]) -> npt.NDArray[np.bool_]:
        """Return, for each of the column's values, whether it is privileged (missing never is).

        Raises
        ------
        InputError
            When a privileged value does not occur.
        """
        if callable(self.privileged):
            return np.array([value is not None and bool(self.privileged(value)) for value in values], dtype=bool)
        wanted = [clean_value(value) for value in _collection(self.privileged)]
        for value in wanted:
            if value is None or value not in values:
                raise InputError(
                    f"the reference value {value!r} of {self.name!r} does not occur: it has {list_values(values)}"
                )
        return np.array([value is not None and value in wanted for value in values], dtype=bool)

    def ranks(self, values: Sequence[Hashable]) -> npt.NDArray[np.intp]:
        """Return the rank u_k of each value: 1 privileged and 0 not, or its place; -1 is missing."""
        present = np.array([value is not None for value in values], dtype=bool)
        ranks = np.cumsum(present) - 1 if self.privileged is None else self.is_privileged(values).astype(np.intp)
        return np.where(present, ranks, -1)


@dataclass(frozen=True)
class Cut:
    """Increasing edges that turn numbers into named groups; a value equal to an edge lies below it."""

    edges: tuple[float, ...]

    @classmethod
    def learn(cls, attribute: Attribute, column: Any, weight: npt.NDArray[np.float64] | None = None) -> "Cut":
        """Return the cut that an attribute asks for, its edges learnt on a column of numbers (n,).

        ``"mean"`` is weighted by ``weight``; quantiles are those of the rows.
        """
        bins: Any = attribute.bins
        if np.ndim(bins):
            return cls(tuple(float(edge) for edge in bins))
        numbers = as_floats(column, f"values of the attribute {attribute.name!r}, which has bins,")
        if weight is not None and len(weight) != len(numbers):
            raise InputError(f"there are {len(weight)} weights for {len(numbers)} rows: give one weight a row")
        there = np.isfinite(numbers)
        if bins == "mean" and weight is not None:
            there &= weight > 0
        if not there.any():
            raise InputError(f"the attribute {attribute.name!r} has no number to learn its bins from")
        if bins == "mean":
            return cls((float(np.average(numbers[there], weights=None if weight is None else weight[there])),))
        parts = 2 if bins == "median" else int(bins)
        edges = np.quantile(numbers[there], np.arange(1, parts) / parts)
        return cls(tuple(float(edge) for edge in np.unique(edges)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups' names, in increasing order."""
        # Edges that agree in six digits need more, or different groups would share a name.
        digits = next(d for d in range(6, 18) if len({f"{edge:.{d}g}" for edge in self.edges}) == len(self.edges))
        texts = [f"{edge:.{digits}g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in pairwise(texts)]
        return (f"up to {texts[0]}", *inner, f"above {texts[-1]}")

    def apply(self, name: str, column: Any) -> npt.NDArray[Any]:
        """Return the group name of each number (n,), None where it is missing."""
        numbers = as_floats(column, f"values of the attribute {name!r}, which has bins,")
        labels = np.array([*self.labels, None], dtype=object)
        position = np.searchsorted(self.edges, numbers, side="left")
        return labels[np.where(np.isnan(numbers), len(self.labels), position)]

    def privileged(self, attribute: Attribute) -> Privileged:
        """Return the privileged group's name for the number that the attribute names."""
        if attribute.privileged is None or callable(attribute.privileged):
            return attribute.privileged
        values = _collection(attribute.privileged)
        numbers = as_floats(values, f"privileged values of the attribute {attribute.name!r}, which has bins,")
        return frozenset(self.apply(attribute.name, numbers).tolist())


def as_attributes(attributes: Sequence[Attribute | str] | Attribute | str | None) -> tuple[Attribute, ...]:
    """Return attributes where names or attributes were given, at least one and with different names; none for None."""
    if attributes is None:
        return ()
    given: list[Any] = [attributes] if isinstance(attributes, (Attribute, str, Mapping)) else list(attributes)
    other = [item for item in given if not isinstance(item, (Attribute, str))]
    if other:
        raise InputError(f"{other[0]!r} names no attribute: give names of columns or Attribute('sex', 'M')")
    if not given:
        raise InputError("there is no sensitive attribute: name at least one")
    made = tuple(item if isinstance(item, Attribute) else Attribute(item) for item in given)
    names = [attribute.name for attribute in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the attribute {twice[0]!r} is named twice: give each column once")
    return made


def check_no_bins(attributes: Sequence[Attribute]) -> None:
    """Refuse attributes with bins: a table of counts has no numbers left to cut."""
    cut = [attribute.name for attribute in attributes if attribute.bins is not None]
    if cut:
        raise InputError(
            f"the attribute {cut[0]!r} has bins, but a count table has no rows left to cut: count the bins' names and "
            "leave bins=None"
        )


def assign_levels(attributes: Sequence[Attribute], top_ranks: Sequence[int]) -> tuple[int, ...]:
    """Return each attribute's level; one without takes the next power of two above all scores so far.

    Parameters
    ----------
    attributes
        In the order given.
    top_ranks
        The highest rank of each attribute's values (1 for privileged or not).
    """
    given = [None if a.level is None else operator.index(a.level) for a in attributes]
    reach = sum(level * top for level, top in zip(given, top_ranks, strict=True) if level is not None)
    levels = []
    for level, top in zip(given, top_ranks, strict=True):
        if level is None:
            level = 1 << reach.bit_length()
            reach += level * max(top, 1)
        levels.append(level)
    return tuple(levels)


def list_values(values: Sequence[Hashable], most: int = 8) -> str:
    """Return values for a message, cut after a few."""
    shown = ", ".join("missing" if value is None else repr(value) for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def _collection(privileged: Any) -> list[Hashable]:
    if isinstance(privileged, Collection | np.ndarray) and not isinstance(privileged, str | bytes):
        return list(privileged)
    return [privileged]
