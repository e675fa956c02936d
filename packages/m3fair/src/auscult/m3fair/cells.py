"""The confusion table of every combination of attribute values: all that rates and disparities depend on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute, check_no_bins
from auscult.m3fair.groups import Groups, Mask
from auscult.m3fair.metrics.confusion import Array, Confusion
from auscult.m3fair.outcome import check_decision, choose_positive, unify_outcomes
from auscult.m3fair.table import CountTable


@dataclass(frozen=True)
class ConfusionCells:
    """Statistics by combination, label and decision.

    Parameters
    ----------
    groups
        The P combinations of attribute values.
    positive
        The value of label and decision that index 1 stands for.
    count, weight, weight_squared
        (P, 2, 2) rows, sum of their prior weights, and of the squares; indexed [combination, label, decision].
    """

    groups: Groups
    positive: Hashable
    count: Array
    weight: Array
    weight_squared: Array

    @classmethod
    def of(
        cls, table: CountTable, attributes: Sequence[Attribute], *, label: str, decision: str, positive: str | None
    ) -> "ConfusionCells":
        """Return the cells of a table among whose columns are the attributes' names, ``label`` and ``decision``.

        Raises
        ------
        InputError
            For an absent column, an attribute with bins, a table without rows, and outcomes that are missing, not
            two, or of different values.
        """
        check_no_bins(attributes)
        table = table.marginal([*(attribute.name for attribute in attributes), label, decision])
        if table.n == 0:
            raise InputError("there are no rows to audit")
        table = unify_outcomes(table, label, decision)
        label_values, decision_values = table.values[-2], table.values[-1]
        chosen = choose_positive(label_values, positive, label)
        check_decision(decision_values, label_values, decision, label)
        groups = Groups.of(table, attributes)
        outcome = [
            np.array([value == chosen for value in values], dtype=np.intp)[table.codes[:, k]]
            for k, values in ((-2, label_values), (-1, decision_values))
        ]
        parts = [np.zeros((len(groups.cells), 2, 2)) for _ in range(3)]
        for part, statistic in zip(parts, (table.count, table.weight, table.weight_squared), strict=True):
            np.add.at(part, (groups.row, *outcome), statistic)
        return cls(groups, chosen, *parts)

    def n(self, members: Mask) -> int:
        """Return the number of rows of some combinations (P,)."""
        return int(self.count[members].sum())

    def pool(self, members: Mask) -> Confusion:
        """Return the confusion table of some combinations (P,)."""
        return Confusion(self.weight[members].sum(axis=0), self.weight_squared[members].sum(axis=0))
