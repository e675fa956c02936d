"""Sensitive attributes: which column, which values are privileged, how important, how cut."""

import operator
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import clean_value

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
        audit compares with the most frequent one. With ``bins``, a number that falls into the privileged bin.
    level
        The importance l_k of mode ``level``: a whole number, 0 to leave the attribute out. ``None`` takes the
        next power of two that cannot collide with the others.
    bins
        How to cut a number into groups: increasing edges, or ``"mean"``, ``"median"``, or a number of equally
        frequent bins, the last three learnt on the rows given to ``fit``. A value equal to an edge lies below it.
    missing
        ``"category"``: missing is a group of its own (never silently unprivileged); ``"drop"``: such rows
        count nowhere and weigh 0; ``"error"``: refuse them.

    Raises
    ------
    InputError
        For a level that is negative or not whole, edges that do not increase, and unknown options.
    """

    name: str
    privileged: Privileged = None
    level: int | None = None
    bins: Sequence[float] | Literal["mean", "median"] | int | None = None
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
        if isinstance(self.bins, str) and self.bins not in ("mean", "median"):
            raise InputError(
                f"bins={self.bins!r} of {self.name!r} is unknown: choose 'mean', 'median', edges or a number"
            )
        if isinstance(self.bins, int) and self.bins < 2:
            raise InputError(f"bins={self.bins} of {self.name!r}: at least 2 bins make groups")
        if isinstance(self.bins, Sequence) and not isinstance(self.bins, str):
            edges = np.asarray(self.bins, dtype=float)
            if edges.ndim != 1 or not len(edges) or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
                raise InputError(f"the bin edges {list(self.bins)} of {self.name!r} must be finite and increase")

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
        bins = attribute.bins
        if isinstance(bins, Sequence) and not isinstance(bins, str):
            return cls(tuple(float(edge) for edge in bins))
        numbers = _numbers(attribute.name, column)
        there = np.isfinite(numbers)
        if not there.any():
            raise InputError(f"the attribute {attribute.name!r} has no number to learn its bins from")
        if bins == "mean":
            return cls((float(np.average(numbers[there], weights=None if weight is None else weight[there])),))
        parts = 2 if bins == "median" else bins
        assert isinstance(parts, int)
        edges = np.quantile(numbers[there], np.arange(1, parts) / parts)
        return cls(tuple(float(edge) for edge in np.unique(edges)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups' names, in increasing order."""
        texts = [f"{edge:.6g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in pairwise(texts)]
        return (f"up to {texts[0]}", *inner, f"above {texts[-1]}")

    def apply(self, name: str, column: Any) -> npt.NDArray[Any]:
        """Return the group name of each number (n,), None where it is missing."""
        numbers = _numbers(name, column)
        labels = np.array([*self.labels, None], dtype=object)
        position = np.searchsorted(self.edges, numbers, side="left")
        return labels[np.where(np.isnan(numbers), len(self.labels), position)]

    def privileged(self, attribute: Attribute) -> Privileged:
        """Return the privileged group's name for the number that the attribute names."""
        if attribute.privileged is None or callable(attribute.privileged):
            return attribute.privileged
        numbers = [float(value) for value in _collection(attribute.privileged)]  # type: ignore[arg-type]
        return frozenset(self.apply(attribute.name, np.array(numbers)).tolist())


def as_attributes(attributes: Sequence[Attribute | str] | Attribute | str | None) -> tuple[Attribute, ...]:
    """Return attributes where names or attributes were given; names must differ."""
    if attributes is None:
        return ()
    if isinstance(attributes, (Attribute, str)):
        attributes = [attributes]
    made = tuple(item if isinstance(item, Attribute) else Attribute(item) for item in attributes)
    names = [attribute.name for attribute in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the attribute {twice[0]!r} is named twice: give each column once")
    return made


def assign_levels(attributes: Sequence[Attribute], top_ranks: Sequence[int]) -> tuple[int, ...]:
    """Return each attribute's level; one without takes the next power of two above all scores so far.

    Parameters
    ----------
    attributes
        In the order given.
    top_ranks
        The highest rank of each attribute's values (1 for privileged or not).
    """
    reach = sum(a.level * top for a, top in zip(attributes, top_ranks, strict=True) if a.level is not None)
    levels = []
    for attribute, top in zip(attributes, top_ranks, strict=True):
        level = attribute.level
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
    if isinstance(privileged, (list, tuple, set, frozenset, np.ndarray)):
        return list(privileged)
    return [privileged]


def _numbers(name: str, column: Any) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the attribute {name!r} has bins but is not a column of numbers") from None
