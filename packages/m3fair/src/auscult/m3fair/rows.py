"""Rows gathered block by block, for what a count table cannot tell: ranking by a score, repeated persons."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.coding import CodedColumns, ColumnCoder, joint_codes
from auscult.m3fair.groups import Groups
from auscult.m3fair.metrics.confusion import Array
from auscult.m3fair.outcome import align_values, as_number


@dataclass(frozen=True)
class RowArrays:
    """Rows as arrays.

    Parameters
    ----------
    combination
        (n,) the number of each row's combination of attribute values.
    label, decision
        (n,) whether they are positive.
    score, weight
        (n,) or None.
    cluster
        (n,) numbers from 0, each of which occurs, equal for rows of one person; or None.
    """

    combination: npt.NDArray[np.int32]
    label: npt.NDArray[np.bool_]
    decision: npt.NDArray[np.bool_]
    score: Array | None
    weight: Array | None
    cluster: npt.NDArray[np.integer[Any]] | None

    def by_score(self) -> "RowArrays":
        """Return the rows in ascending order of their scores: sorting any group of them again costs little."""
        assert self.score is not None
        order = np.argsort(self.score, kind="stable")
        return replace(self, **{name: part[order] for name, part in vars(self).items() if part is not None})


class Rows:
    """Rows of an audit with their attributes, label and decision; scores, weights and clusters where wanted."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._number: dict[tuple[Hashable, ...], int] = {}
        self._clusters = ColumnCoder()
        self._blocks: list[tuple[npt.NDArray[Any] | None, ...]] = []

    def add(
        self, coded: CodedColumns, *, score: Array | None = None, weight: Array | None = None, cluster: Any = None
    ) -> None:
        """Add a block of rows; all blocks have the same parts.

        Parameters
        ----------
        coded
            n rows, coded over the attributes, the label and the decision, the same columns in every block.
        score, weight
            (n,) checked: finite, and not negative weights.
        cluster
            (n,) array, narwhals series or Arrow array: which rows are one person's.

        Raises
        ------
        InputError
            For clusters of another length and missing ones.
        """
        self._names = coded.names
        row, cells = joint_codes(coded.codes, coded.sizes)
        keys = [tuple(values[code] for values, code in zip(coded.values, cell, strict=True)) for cell in cells.tolist()]
        numbers = np.array([self._number.setdefault(key, len(self._number)) for key in keys], dtype=np.int32)
        if cluster is not None:
            cluster = check_clusters(self._clusters.encode(cluster), self._clusters.positions, len(coded))
        self._blocks.append((numbers[row], score, weight, cluster))

    def arrays(self, groups: Groups, positive: Hashable, *, label: str, decision: str) -> RowArrays:
        """Return all rows, with the combinations numbered as in ``groups`` and outcomes compared to ``positive``."""
        place = {combination: p for p, combination in enumerate(groups.combinations)}
        at = [self._names.index(attribute.name) for attribute in groups.attributes]
        aligned = [
            align_values((key[k] for key in self._number), known) for k, known in zip(at, groups.values, strict=True)
        ]
        combination = np.array(
            [place[tuple(mine[key[k]] for k, mine in zip(at, aligned, strict=True))] for key in self._number],
            dtype=np.int32,
        )
        labels, decisions = (
            np.array([positive in (key[k], as_number(key[k])) for key in self._number], dtype=bool)
            for k in map(self._names.index, (label, decision))
        )
        number, score, weight, cluster = (
            None if parts[0] is None else np.concatenate(parts) for parts in zip(*self._blocks, strict=True)
        )
        if cluster is not None:
            # Integers are coded by their range, so numbers that no row has are left out here.
            occurs = np.bincount(cluster) > 0
            cluster = (np.cumsum(occurs) - 1)[cluster]
        return RowArrays(combination[number], labels[number], decisions[number], score, weight, cluster)


def check_clusters(codes: npt.NDArray[Any], values: Collection[Hashable], n: int) -> npt.NDArray[Any]:
    """Return the codes of the clusters of n rows; another number of them, or a missing one, is refused."""
    if len(codes) != n:
        raise InputError(f"there are {len(codes)} clusters for {n} rows: give one a row")
    if None in values:
        raise InputError("some rows have no cluster: fill them in or drop these rows")
    return codes
