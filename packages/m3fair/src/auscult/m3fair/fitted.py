"""Factors that were fitted: what they are, what they did, and the factor of any row."""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.coding import DENSE, CodedColumns, free_names, joint_codes
from auscult.m3fair.table import CountTable
from auscult.m3fair.weights import Scheme

Cell = dict[str, Hashable]


@dataclass(frozen=True)
class Fitted:
    """The combinations of attribute values in a count table, and their factors.

    Parameters
    ----------
    attributes
        The K attributes, in the table's order, their privileged values as the table's values.
    table
        Over the attributes and the label.
    combinations
        P combinations of values that occur.
    cells
        (P, K) the same as positions in the table's values.
    count, mass, squared
        (P, C) rows, sums of v and of v^2, by combination and label.
    groups
        (P,) the group that each combination was reweighted in.
    factor
        (P, C) the factor r, NaN where it is undefined.
    scheme
        How combinations score, in mode ``level``.
    """

    attributes: tuple[Attribute, ...]
    table: CountTable
    combinations: list[tuple[Hashable, ...]]
    cells: npt.NDArray[np.intp]
    count: npt.NDArray[np.int64]
    mass: npt.NDArray[np.float64]
    squared: npt.NDArray[np.float64]
    groups: npt.NDArray[np.intp]
    factor: npt.NDArray[np.float64]
    scheme: Scheme | None

    def weigh(
        self, coded: CodedColumns, weight: npt.NDArray[np.float64] | None, unseen: Literal["raise", "one"]
    ) -> npt.NDArray[np.float64]:
        """Return w = v r (n,) of rows coded over the attributes and the label; 0 where v is, fitted or not.

        Raises
        ------
        InputError
            With ``unseen="raise"``, for a combination whose factor was not fitted.
        """
        result = np.ones(len(coded)) if weight is None else weight.copy()
        if prod(coded.sizes) > DENSE:
            row, cells = joint_codes(coded.codes, coded.sizes)
            there = np.arange(len(cells)) if weight is None else np.unique(row[weight > 0])
            lookup = np.zeros(len(cells))
            lookup[there] = self._factors_of(coded, cells[there], unseen)
            result *= lookup[row]
            return result
        occurs = np.zeros(prod(coded.sizes), dtype=bool)
        for rows, keys in coded.row_keys():
            occurs[keys if weight is None else keys[weight[rows] > 0]] = True
        there = np.flatnonzero(occurs)
        lookup = np.zeros(len(occurs))
        lookup[there] = self._factors_of(coded, np.column_stack(np.unravel_index(there, coded.sizes)), unseen)
        for rows, keys in coded.row_keys():
            result[rows] *= lookup[keys]
        return result

    def factor_of(self, combination: tuple[Hashable, ...], label: Hashable) -> float:
        """Return the factor of values and a label, NaN where it was not fitted.

        In mode ``level`` a combination that did not occur has the factor of its score.
        """
        if any(value is None and a.missing == "drop" for a, value in zip(self.attributes, combination, strict=True)):
            return 0.0
        row = self._row.get(combination)
        if row is None and self.scheme is not None:
            row = self._row_of_score.get(self.scheme.score(combination))
        column = self._column.get(label)
        return float("nan") if row is None or column is None else float(self.factor[row, column])

    def expression(self, schema: Mapping[str, Any], label: str, unseen: Literal["raise", "one"]) -> Any:
        """Return the factor as a narwhals expression over a lazy frame's columns.

        What was not fitted is null, or 1 with ``unseen="one"``: an engine cannot raise from within a query.

        Raises
        ------
        InputError
            In mode ``level``, for an attribute whose privileged values are a function.
        """

        def equals(name: str, value: Any) -> Any:
            column = nw.col(name)
            if value is not None:
                return column == nw.lit(value)
            return (column.is_null() | column.is_nan()) if schema[name].is_float() else column.is_null()

        dropped = [equals(a.name, None) for a in self.attributes if a.missing == "drop"]
        cases = [nw.when(missing).then(nw.lit(0.0)) for missing in dropped]
        names = [a.name for a in self.attributes]
        if self.scheme is None:
            conditions = [[equals(*pair) for pair in zip(names, values, strict=True)] for values in self.combinations]
            rows = list(range(len(conditions)))
        else:
            total, rows, conditions = self.scheme.expression(equals), list(self._row_of_score.values()), []
            for known, missing in self._row_of_score:
                flags = (
                    equals(name, None) if k in missing else ~equals(name, None)
                    for k, name in enumerate(names)
                    if self.scheme.levels[k]
                )
                conditions.append([total == nw.lit(float(known)), *flags])
        for parts, factors in zip(conditions, self.factor[rows], strict=True):
            for outcome, factor in zip(self.table.values[-1], factors, strict=True):
                if not np.isnan(factor):
                    met = nw.all_horizontal(*parts, equals(label, outcome), ignore_nulls=False)
                    cases.append(nw.when(met).then(nw.lit(float(factor))))
        return nw.coalesce(*cases, *([nw.lit(1.0)] if unseen == "one" else []))

    def to_frame(self) -> Any:
        """Return a pandas frame: a row a combination and label, with count, weight, group and factor.

        Those four get an underscore where a column has their name.
        """
        import pandas as pd

        rows, labels = np.indices(self.count.shape).reshape(2, -1)
        names, values = self.table.columns, self.table.values
        decoded = [
            pd.Series([values[k][code] for code in codes], dtype=object, name=names[k])
            for k, codes in enumerate([*self.cells[rows].T, labels])
        ]
        statistics = {
            "count": self.count,
            "weight": self.mass,
            "group": self.groups[rows],
            "factor": self.factor,
        }
        parts = zip(free_names(list(statistics), names), statistics.values(), strict=True)
        return pd.concat([*decoded, pd.DataFrame({name: np.ravel(part) for name, part in parts})], axis=1)

    @cached_property
    def _row(self) -> dict[tuple[Hashable, ...], int]:
        return {combination: row for row, combination in enumerate(self.combinations)}

    @cached_property
    def _row_of_score(self) -> dict[Any, int]:
        assert self.scheme is not None
        return {self.scheme.score(combination): row for row, combination in enumerate(self.combinations)}

    @cached_property
    def _column(self) -> dict[Hashable, int]:
        return {label: i for i, label in enumerate(self.table.values[-1])}

    def _factors_of(
        self, coded: CodedColumns, cells: npt.NDArray[Any], unseen: Literal["raise", "one"]
    ) -> npt.NDArray[np.float64]:
        found = np.empty(len(cells))
        for i, cell in enumerate(cells.tolist()):
            *combination, label = (values[code] for values, code in zip(coded.values, cell, strict=True))
            found[i] = self.factor_of(tuple(combination), label)
            if np.isnan(found[i]) and unseen == "raise":
                names = describe_cell(dict(zip(coded.names, [*combination, label], strict=True)))
                raise InputError(
                    f"the combination {names} did not occur in fit: fit on rows that have it, or in Python let it keep "
                    "its prior weight with unseen='one'"
                )
        return np.nan_to_num(found, nan=1.0)


@dataclass(frozen=True)
class Diagnostics:
    """What a fitted reweighting did to the rows it was fitted on.

    Parameters
    ----------
    n
        Rows.
    total_weight, weighted_total
        Sum of the prior weights v, and of the new weights w.
    lost_mass
        ``total_weight - weighted_total``: for Reweighing the sum of n_g n_y / N over empty cells.
    effective_sample_size, effective_sample_size_before
        (sum w)^2 / sum w^2, and the same of v.
    min_factor, max_factor
        The smallest and largest factor of a cell that occurs.
    collisions
        Mode ``level`` only: combinations that differ but share a score and so were merged.
    empty_cells
        Combinations of group and label that never occur; their factor is undefined.
    small_cells
        Cells that occur with fewer than ``min_cell`` rows.
    residual
        Per attribute, the largest ``|P_w(y | a) - P_w(y)|`` left over its values a and labels y.
    """

    n: int
    total_weight: float
    weighted_total: float
    lost_mass: float
    effective_sample_size: float
    effective_sample_size_before: float
    min_factor: float
    max_factor: float
    collisions: tuple[tuple[Cell, ...], ...]
    empty_cells: tuple[Cell, ...]
    small_cells: tuple[Cell, ...]
    residual: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def diagnose(fitted: Fitted, min_cell: int) -> Diagnostics:
    """Return what fitted factors did to the rows they were fitted on."""
    names, mass, count = fitted.table.columns, fitted.mass, fitted.count
    factor = np.nan_to_num(fitted.factor)
    weighted = mass * factor
    total, kept = float(mass.sum()), float(weighted.sum())

    def cell(row: int, label: int | None = None) -> Cell:
        named: Cell = dict(zip(names, fitted.combinations[row], strict=False))
        return named if label is None else {**named, names[-1]: fitted.table.values[-1][label]}

    def pooled(part: npt.NDArray[Any], group: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        sums = np.zeros((int(group.max()) + 1, part.shape[1]))
        np.add.at(sums, group, part)
        return sums

    residual = {}
    for k, name in enumerate(names[:-1]):
        cells = pooled(weighted, fitted.cells[:, k])
        cells = cells[cells.sum(axis=1) > 0]
        rates = cells / cells.sum(axis=1, keepdims=True)
        residual[name] = float(np.abs(rates - weighted.sum(axis=0) / kept).max())
    in_group = pooled(mass, fitted.groups)
    first = {group: row for row, group in reversed(list(enumerate(fitted.groups.tolist())))}
    empty = np.argwhere((in_group == 0) & (in_group.sum(axis=1, keepdims=True) > 0)).tolist()
    small = np.argwhere((count > 0) & (count < min_cell)).tolist()
    occurring = fitted.factor[mass > 0]
    return Diagnostics(
        n=int(count.sum()),
        total_weight=total,
        weighted_total=kept,
        lost_mass=total - kept,
        effective_sample_size=kept**2 / float((fitted.squared * factor**2).sum()),
        effective_sample_size_before=total**2 / float(fitted.squared.sum()),
        min_factor=float(occurring.min()),
        max_factor=float(occurring.max()),
        collisions=tuple(
            tuple(dict(zip(names, combination, strict=False)) for combination in merged)
            for merged in (fitted.scheme.collisions(fitted.combinations) if fitted.scheme else ())
        ),
        empty_cells=tuple(cell(first[group], label) for group, label in empty),
        small_cells=tuple(cell(row, label) for row, label in small),
        residual=residual,
    )


def describe_cell(cell: Mapping[str, Hashable]) -> str:
    """Return ``sex=Male, race=missing`` for a message or a table."""
    return ", ".join(f"{name}={'missing' if value is None else value}" for name, value in cell.items())
