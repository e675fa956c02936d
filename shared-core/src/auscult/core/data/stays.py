"""What the readers of hospital trees share: rules for stays, each counted, and what is known of stays as arrays."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow
from auscult.core.data.feature import Feature
from auscult.core.data.tree import Tree
from auscult.core.errors import InputError

Rule = tuple[str, str, str]
"""A step's name, the condition of SQL that a stay must meet, and why others are dropped."""


def keep_stays(tree: Tree, rules: Iterable[Rule], first: AttritionRow) -> list[AttritionRow]:
    """Delete from the table ``candidates`` what the rules leave out, one after the other, and say how many went.

    Parameters
    ----------
    tree
        Holds the table, a row a stay.
    rules
        In order; a condition that is unknown is not met.
    first
        What the table held at first.

    Raises
    ------
    InputError
        Where no stay is left.
    """
    attrition = [first]
    for step, condition, reason in rules:
        tree.run(f"DELETE FROM candidates WHERE NOT coalesce({condition}, FALSE)")
        before, left = attrition[-1].records, tree.count("candidates")
        attrition.append(AttritionRow(step, left, left, before - left, reason))
        if not left:
            raise InputError(
                f"no stay of {tree.folder.name} is left: the last {before} went at {step!r} ({reason}); "
                "give cohort='all' or another min_hours"
            )
    return attrition


def numbers(columns: pa.Table, name: str) -> NDArray[Any]:
    """Return a column as numbers: whole if it is and none is missing, NaN where one is."""
    column = columns[name]
    array: NDArray[Any] = (column if column.null_count == 0 else column.cast(pa.float64())).to_numpy()
    return array


def coded(columns: pa.Table, name: str, known: Sequence[Any]) -> tuple[Feature, NDArray[np.float64]]:
    """Return a column as a categorical feature whose levels are ``known``, and its codes; NaN where it is empty."""
    code_of = {value: code for code, value in enumerate(known)}
    codes = np.array([code_of.get(value, np.nan) for value in columns[name].to_pylist()], np.float64)
    return Feature(name, kind="categorical", levels=tuple(map(str, known)) or ("unknown",)), codes


def occurring(tree: Tree, table: str, column: str) -> list[Any]:
    """Return the values of a column of a table, sorted: levels that do not depend on the stays chosen."""
    return [
        value for (value,) in tree.rows(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")
    ]
