"""Groups of an audit: every combination of up to q attributes that occurs, and what each is compared with."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.coding import joint_codes
from auscult.m3fair.table import CountTable

Mask = npt.NDArray[np.bool_]
Group = dict[str, Hashable]
POOLED = "everyone else"
_LARGEST = 1 << 27
"""How many entries the matrix of groups and combinations may have: 128 MiB."""


@dataclass(frozen=True)
class Comparison:
    """One group against a reference group of the same attributes.

    Parameters
    ----------
    attributes
        The attributes that define both.
    group
        The group's values, or None for everyone who is not in the reference group.
    reference
        The values of the reference group (a tuple where it has several).
    members, reference_members
        (P,) which combinations belong to each.
    """

    attributes: tuple[str, ...]
    group: Group | None
    reference: Group
    members: Mask
    reference_members: Mask

    def names(self) -> dict[str, str]:
        """Return attribute, group and reference as text."""
        return {
            "attribute": " & ".join(self.attributes),
            "group": POOLED if self.group is None else _values_text(self.group),
            "reference": _values_text(self.reference),
        }

    def __str__(self) -> str:
        names = self.names()
        return f"{names['attribute']}: {names['group']} against {names['reference']}"

    def to_dict(self) -> dict[str, Any]:
        """Return attribute, group and reference for JSON: values as they are, mappings for several attributes."""
        single = len(self.attributes) == 1
        group = self.group if self.group is None or not single else self.group[self.attributes[0]]
        return {
            "attribute": " & ".join(self.attributes),
            "group": POOLED if self.group is None else group,
            "reference": self.reference[self.attributes[0]] if single else self.reference,
            "pooled": self.group is None,
        }


@dataclass(frozen=True)
class Groups:
    """The combinations of attribute values in a table, and the groups that they form.

    Parameters
    ----------
    attributes
        The K attributes.
    values
        Per attribute, its values.
    cells
        (P, K) the combinations that occur, as positions in ``values``.
    row
        (cells of the table,) the combination of each cell.
    weight
        (P,) the weight sum of each combination.
    """

    attributes: tuple[Attribute, ...]
    values: tuple[tuple[Hashable, ...], ...]
    cells: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float64]

    @classmethod
    def of(cls, table: CountTable, attributes: Sequence[Attribute]) -> "Groups":
        """Return the groups of a table whose first columns are the attributes, in this order."""
        count = len(attributes)
        values = table.values[:count]
        for attribute, mine in zip(attributes, values, strict=True):
            if all(value is None for value in mine):
                raise InputError(f"the attribute {attribute.name!r} has no value at all: leave it out or fill it in")
        row, cells = joint_codes(list(table.codes[:, :count].T), [len(mine) for mine in values])
        return cls(tuple(attributes), values, cells, row, np.bincount(row, table.weight, len(cells)).astype(np.float64))

    @property
    def combinations(self) -> list[tuple[Hashable, ...]]:
        """The combinations as tuples of values."""
        return [tuple(self.values[k][code] for k, code in enumerate(cell)) for cell in self.cells.tolist()]

    def subsets(self, order: int) -> Iterator[tuple[int, ...]]:
        """Yield the positions of every 1 to ``order`` attributes."""
        for size in range(1, min(order, len(self.attributes)) + 1):
            yield from combinations(range(len(self.attributes)), size)

    def of_subset(self, subset: Sequence[int]) -> tuple[list[Group], Mask]:
        """Return the groups that some attributes form, and which combinations belong to each, (G, P)."""
        number, distinct = joint_codes([self.cells[:, k] for k in subset], [len(self.values[k]) for k in subset])
        if len(distinct) * len(self.cells) > _LARGEST:
            raise InputError(
                f"{' & '.join(self.attributes[k].name for k in subset)} forms {len(distinct)} groups among "
                f"{len(self.cells)} combinations of values, too many to compare: pool values or audit fewer attributes"
            )
        names = [
            {self.attributes[k].name: self.values[k][code] for k, code in zip(subset, codes, strict=True)}
            for codes in distinct.tolist()
        ]
        return names, number[None, :] == np.arange(len(distinct))[:, None]

    def references(self) -> list[tuple[Hashable, Mask]]:
        """Return per attribute its reference, the value or the tuple of values, and its combinations (P,).

        An attribute without a privileged value is compared with its heaviest group (missing aside).
        """
        found: list[tuple[Hashable, Mask]] = []
        for k, attribute in enumerate(self.attributes):
            if attribute.privileged is None:
                weight = np.bincount(self.cells[:, k], self.weight, len(self.values[k]))
                weight[[value is None for value in self.values[k]]] = -1
                chosen = np.arange(len(weight)) == int(np.argmax(weight))
            else:
                chosen = attribute.is_privileged(self.values[k])
            names = tuple(value for value, there in zip(self.values[k], chosen, strict=True) if there)
            found.append((names[0] if len(names) == 1 else names, chosen[self.cells[:, k]]))
        return found

    def comparisons(self, order: int) -> Iterator[Comparison]:
        """Yield each group, and everyone else pooled, against the reference group of the same attributes."""
        references = self.references()
        for subset in self.subsets(order):
            names = tuple(self.attributes[k].name for k in subset)
            reference = {self.attributes[k].name: references[k][0] for k in subset}
            inside = np.logical_and.reduce([references[k][1] for k in subset])
            groups, members = self.of_subset(subset)
            for group, mine in zip(groups, members, strict=True):
                if not (mine & inside).any():
                    yield Comparison(names, group, reference, mine, inside)
            if not inside.all():
                yield Comparison(names, None, reference, ~inside, inside)


def _values_text(group: Group) -> str:
    texts = [
        " or ".join(map(str, value)) if isinstance(value, tuple) else "missing" if value is None else str(value)
        for value in group.values()
    ]
    return " & ".join(texts)
