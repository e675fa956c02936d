"""The estimator: fit factors on training rows, compute the weights of rows."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import narwhals as nw
import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute, Cut, as_attributes, check_no_bins
from auscult.m3fair.coding import (
    CodedColumns,
    as_frame,
    code_columns,
    get_column,
    in_type_of,
    joint_codes,
    named_columns,
    one_dimensional,
)
from auscult.m3fair.fitted import Cell, Fitted, describe_cell, diagnose
from auscult.m3fair.table import CountTable, check_weights
from auscult.m3fair.weights import MODES, Mode, Scheme, factors


class Reweigher(BaseEstimator):  # type: ignore[misc]
    """Sample weights that make the label independent of sensitive attributes in the training data.

    Parameters
    ----------
    attributes
        Column names or :class:`~auscult.m3fair.attributes.Attribute`; ``None`` takes every column of
        ``sensitive_features``.
    mode
        ``"level"``: M3Fair's score groups (paper). ``"intersection"``: every combination of values.
        ``"sequential"``: one attribute after another (the paper's baseline). Ours: ``"marginal"``,
        ``"lattice"``, ``"geometric"``; see :func:`auscult.m3fair.weights.factors`.
    order
        Mode ``lattice``: balance all subsets of this many attributes.
    importance
        Mode ``geometric``: attribute name -> lambda in [0, 1], 1 where not named.
    smoothing
        Prior strength kappa that shrinks small groups to the overall label rate (ours; 0 is Reweighing).
    strength
        alpha in [0, 1]: w = v ((1 - alpha) + alpha r) (ours; 1 is Reweighing).
    clip
        Lowest and highest factor allowed.
    normalize
        ``"sum"`` rescales the weights to keep the total prior weight, ``"mean"`` to an average of 1 a row
        over the fitted rows, ``None`` leaves them.
    empty
        What to do about combinations of group and label that never occur: ``"warn"``, ``"ignore"``,
        ``"raise"``.
    unseen
        Rows to weigh whose combination was not fitted: ``"raise"``, or ``"one"`` for a factor of 1.
    min_cell
        Cells with fewer rows are listed in the diagnostics.

    Attributes
    ----------
    factors_ : pandas.DataFrame
        A row per combination and label: the values, ``count``, ``weight`` (sum of v), ``group``, ``factor``.
    table_ : CountTable
        What was counted; its last column is the label.
    classes_ : tuple
        The label's values.
    levels_ : dict
        Mode ``level``: the level that each attribute got.
    diagnostics_ : Diagnostics

    Notes
    -----
    Equal label rates in training data do not imply equal predictions: audit the model.

    References
    ----------
    Zhu et al., M3Fair, arXiv 2306.04118 (2023); Kamiran and Calders, Data preprocessing techniques for
    classification without discrimination (2012).

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"sex": ["F", "F", "F", "M", "M", "M"]})
    >>> died = [0, 0, 1, 0, 1, 1]
    >>> Reweigher(["sex"]).fit_weights(rows, died).round(2).tolist()
    [0.75, 0.75, 1.5, 1.5, 0.75, 0.75]
    """

    def __init__(
        self,
        attributes: Sequence[Attribute | str] | Attribute | str | None = None,
        *,
        mode: Mode = "level",
        order: int = 1,
        importance: Mapping[str, float] | None = None,
        smoothing: float = 0.0,
        strength: float = 1.0,
        clip: tuple[float, float] | None = None,
        normalize: Literal["sum", "mean"] | None = None,
        empty: Literal["warn", "ignore", "raise"] = "warn",
        unseen: Literal["raise", "one"] = "raise",
        min_cell: int = 10,
    ) -> None:
        self.attributes = attributes
        self.mode = mode
        self.order = order
        self.importance = importance
        self.smoothing = smoothing
        self.strength = strength
        self.clip = clip
        self.normalize = normalize
        self.empty = empty
        self.unseen = unseen
        self.min_cell = min_cell

    def fit(self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None) -> Self:
        """Learn the factors from training rows.

        Parameters
        ----------
        X
            A frame that holds the sensitive columns; used where ``sensitive_features`` is None.
        y
            Labels (n,); two or more classes.
        sensitive_features
            A frame, a mapping of arrays, or one array (n,) of a single attribute.
        sample_weight
            Prior weights v (n,), finite and not negative; 1 by default.
        """
        coded, weight = self._code(X, y, sensitive_features, sample_weight, learn=True)
        self._fit_table(CountTable.count_codes(coded, weight))
        return self

    def fit_table(self, table: CountTable) -> Self:
        """Learn the factors from a count table whose last column is the label.

        Raises
        ------
        InputError
            For an absent column, and an attribute with bins, which must be applied before counting.
        """
        attributes = as_attributes(self.attributes) or as_attributes(table.columns[:-1])
        self._check_parameters(attributes)
        check_no_bins(attributes)
        if table.columns[-1] in [a.name for a in attributes]:
            raise InputError(
                f"the table's last column {table.columns[-1]!r} is the label, and is named as an attribute"
            )
        self.cuts_: dict[str, Cut] = {}
        self.attributes_ = attributes
        self._fit_table(table.marginal([*(a.name for a in attributes), table.columns[-1]]))
        return self

    def compute_weights(self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None) -> Any:
        """Return w = v r of rows, as float64 in ``y``'s own type (index included).

        Raises
        ------
        InputError
            For a combination or label that was not fitted, unless ``unseen="one"``.
        """
        check_is_fitted(self, "fitted_")
        coded, weight = self._code(X, y, sensitive_features, sample_weight, learn=False)
        return _like(y, X, sensitive_features, self.fitted_.weigh(coded, weight, self.unseen))

    def fit_weights(self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None) -> Any:
        """Fit, and return the weights of the same rows: one pass over the columns."""
        coded, weight = self._code(X, y, sensitive_features, sample_weight, learn=True)
        self._fit_table(CountTable.count_codes(coded, weight))
        return _like(y, X, sensitive_features, self.fitted_.weigh(coded, weight, self.unseen))

    def add_weights(self, frame: Any, label: str, *, weight: str | None = None, name: str = "weight") -> Any:
        """Return a frame with a column of weights; a lazy frame (polars, DuckDB, Dask, Spark) stays lazy.

        Parameters
        ----------
        frame
            Any frame that narwhals reads, with the attributes' columns.
        label, weight
            Names of its columns: the label, and the prior weights if there are any.
        name
            The new column.

        Raises
        ------
        InputError
            For an absent column. In an eager frame also for a combination that was not fitted, unless
            ``unseen="one"``; in a lazy one its weight is null, and a column of another type than the fitted
            values, or of dates, and in mode ``level`` privileged values that are a function, are refused.
        """
        check_is_fitted(self, "fitted_")
        native = as_frame(frame)
        if not isinstance(native, nw.LazyFrame):
            prior = None if weight is None else get_column(frame, weight)
            computed = self.compute_weights(frame, get_column(frame, label), sample_weight=prior)
            return native.with_columns(nw.from_native(computed, series_only=True).alias(name)).to_native()
        schema = native.collect_schema()
        for column in (*(a.name for a in self.attributes_), label, *([weight] if weight else [])):
            if column not in schema:
                raise InputError(f"there is no column {column!r}; there are {list(schema)}")
        if self.cuts_:
            raise InputError(f"the bins of {', '.join(self.cuts_)} cannot be cut in a lazy frame: cut them before")
        names = [*(a.name for a in self.attributes_), label]
        for column, values in zip(names, self.table_.values, strict=True):
            text = schema[column] in (nw.String, nw.Categorical, nw.Enum)
            other = [value for value in values if value is not None and isinstance(value, str) != text]
            if other:
                raise InputError(
                    f"the column {column!r} is {schema[column]} here but was fitted with {other[0]!r}: cast it before"
                )
        factor = self.fitted_.expression(schema, label, self.unseen)
        if weight is not None:
            v = nw.col(weight)
            factor = nw.when(v == 0).then(nw.lit(0.0)).otherwise(v * factor)
        return native.with_columns(factor.alias(name)).to_native()

    def _check_parameters(self, attributes: Sequence[Attribute]) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode!r} is unknown: choose one of {', '.join(MODES)}")
        if not (_is_number(self.smoothing) and 0 <= self.smoothing < np.inf):
            raise InputError(f"smoothing={self.smoothing!r}: give a finite number of at least 0")
        if self.smoothing and self.mode in ("marginal", "lattice"):
            raise InputError(f"mode {self.mode!r} fits its margins exactly and takes no smoothing: set smoothing=0")
        if not (_is_number(self.strength) and 0 <= self.strength <= 1):
            raise InputError(f"strength={self.strength!r}: give a number from 0 (prior weights) to 1 (Reweighing)")
        if self.clip is not None and not _are_bounds(self.clip):
            raise InputError(
                f"clip={self.clip!r}: give a lowest and a highest factor, 0 <= lowest <= highest, not both 0"
            )
        if self.mode == "lattice" and self.order not in range(1, len(attributes) + 1):
            raise InputError(f"order={self.order!r}: give a whole number from 1 to the {len(attributes)} attributes")
        if self.importance and self.mode != "geometric":
            raise InputError(f"mode {self.mode!r} takes no importance: set mode='geometric', or leave it out")
        if self.importance is not None and not isinstance(self.importance, Mapping):
            raise InputError(f"importance={self.importance!r}: give a mapping from attributes to numbers from 0 to 1")
        for name, power in (self.importance or {}).items():
            if name not in [a.name for a in attributes] or not (_is_number(power) and 0 <= power <= 1):
                raise InputError(f"importance {name!r}: {power!r}: name an attribute and a number from 0 to 1")
        for option, value, known in (
            ("empty", self.empty, ("warn", "ignore", "raise")),
            ("unseen", self.unseen, ("raise", "one")),
            ("normalize", self.normalize, (None, "sum", "mean")),
        ):
            if value not in known:
                raise InputError(f"{option}={value!r} is unknown: choose one of {known}")

    def _code(
        self, X: Any, y: Any, sensitive_features: Any, sample_weight: Any, *, learn: bool
    ) -> tuple[CodedColumns, npt.NDArray[np.float64] | None]:
        """Return the attributes and the label (last) as codes, and the prior weights."""
        columns, names = named_columns(X if sensitive_features is None else sensitive_features)
        label = one_dimensional(y, "y")
        weight = None if sample_weight is None else check_weights(sample_weight)
        if len(label) == 0:
            raise InputError("there are no rows: give at least one")
        if weight is not None and len(weight) != len(label):
            raise InputError(f"there are {len(weight)} weights for {len(label)} rows: give one weight a row")
        if learn:
            self.attributes_ = as_attributes(self.attributes) or as_attributes(names)
            self._check_parameters(self.attributes_)
            self.cuts_ = {
                a.name: Cut.learn(a, get_column(columns, a.name), weight)
                for a in self.attributes_
                if a.bins is not None
            }
        chosen = {a.name: get_column(columns, a.name) for a in self.attributes_}
        chosen |= {name: cut.apply(name, chosen[name]) for name, cut in self.cuts_.items()}
        label_name = (label.name if isinstance(label, nw.Series) else None) or "label"
        while label_name in chosen:
            label_name += "_label"
        return code_columns({**chosen, label_name: label}, [*chosen, label_name]), weight

    def _fit_table(self, table: CountTable) -> None:
        """Fit on a table over the attributes, in order, and the label."""
        for k, attribute in enumerate(self.attributes_):
            if None in table.values[k] and attribute.missing != "category":
                missing = table.codes[:, k] == table.values[k].index(None)
                if attribute.missing == "error":
                    raise InputError(
                        f"the attribute {attribute.name!r} is missing in {table.count[missing].sum()} of {table.n} "
                        "rows: fill it in, or use missing='category' or 'drop'"
                    )
                table = table.keep(~missing)
            if all(value is None for value in table.values[k]):
                raise InputError(f"the attribute {attribute.name!r} has no value at all: leave it out or fill it in")
        if table.weight_squared.sum() == 0:
            raise InputError("the prior weights are all 0, or too small to square: give at least one row some weight")
        if None in table.values[-1]:
            raise InputError(f"the label {table.columns[-1]!r} has missing values: drop these rows")
        attributes = tuple(
            replace(a, privileged=self.cuts_[a.name].privileged(a)) if a.name in self.cuts_ else a
            for a in self.attributes_
        )
        row, cells = joint_codes(list(table.codes[:, :-1].T), [len(values) for values in table.values[:-1]])
        combinations = [tuple(table.values[k][code] for k, code in enumerate(cell)) for cell in cells.tolist()]
        shape = len(cells), len(table.values[-1])
        count, mass, squared = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape)
        where = row, table.codes[:, -1]
        count[where], mass[where], squared[where] = table.count, table.weight, table.weight_squared
        scheme = Scheme.build(attributes, self._in_order(table)) if self.mode == "level" else None
        groups = np.arange(len(cells)) if scheme is None else scheme.groups(combinations)
        factor = factors(
            mass, cells, mode=self.mode, groups=groups, order=self.order, smoothing=self.smoothing,
            importance=[(self.importance or {}).get(a.name, 1.0) for a in attributes],
        )  # fmt: skip
        factor = (1 - self.strength) + self.strength * factor
        if self.clip is not None:
            factor = np.clip(factor, *self.clip)
        if self.normalize is not None:
            wanted = mass.sum() if self.normalize == "sum" else count.sum()
            factor = factor * (wanted / np.nansum(mass * factor))
        self.fitted_ = Fitted(attributes, table, combinations, cells, count, mass, squared, groups, factor, scheme)
        self.table_ = table
        self.classes_ = table.values[-1]
        self.levels_ = {} if scheme is None else dict(zip(table.columns[:-1], scheme.levels, strict=True))
        self.factors_ = self.fitted_.to_frame()
        self.diagnostics_ = diagnose(self.fitted_, self.min_cell)
        self._warn()

    def _in_order(self, table: CountTable) -> list[Sequence[Hashable]]:
        """Return each attribute's values in the order of their ranks: bins by their edges, not by their names."""
        order: list[Sequence[Hashable]] = []
        for name, values in zip(table.columns[:-1], table.values[:-1], strict=True):
            bins = self.cuts_[name].labels if name in self.cuts_ else ()
            place = {value: i for i, value in enumerate(bins)}
            order.append(sorted(values, key=lambda value, place=place: place.get(value, len(place))))  # type: ignore[misc]
        return order

    def _warn(self) -> None:
        found = self.diagnostics_
        for merged in found.collisions:
            levels = ", ".join(f"{name} {level}" for name, level in self.levels_.items())
            warnings.warn(
                f"the levels ({levels}) give different groups the same score and so merge them: "
                f"{_list_cells(merged, 20)}. Levels whose sums differ, such as 1, 2, 4, keep them apart.",
                stacklevel=4,
            )
        if found.empty_cells and self.empty != "ignore" and not self.smoothing:
            names = _list_cells(found.empty_cells, 5)
            # What is left of an exact fit of margins is rounding.
            lost = found.lost_mass if abs(found.lost_mass) > 1e-9 * found.total_weight else 0.0
            remedy = "fewer groups" if self.mode in ("marginal", "lattice") else "smoothing or fewer groups"
            text = (
                f"{len(found.empty_cells)} combinations of group and label never occur ({names}): their factor is "
                f"undefined and {lost:.6g} of the total weight {found.total_weight:.6g} is lost; {remedy} avoid it"
            )
            if self.empty == "raise":
                raise InputError(text)
            warnings.warn(text, stacklevel=4)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def _are_bounds(clip: Any) -> bool:
    if not isinstance(clip, (Sequence, np.ndarray)) or len(clip) != 2 or not all(map(_is_number, clip)):
        return False
    return bool(0 <= clip[0] <= clip[1] and clip[1] > 0)


def _list_cells(cells: Sequence[Cell], most: int) -> str:
    more = [f"and {len(cells) - most} more"] if len(cells) > most else []
    return "; ".join([*map(describe_cell, cells[:most]), *more])


def _like(y: Any, X: Any, sensitive_features: Any, weights: npt.NDArray[np.float64]) -> Any:
    """Return weights in the type of the first of these that belongs to a data frame library."""
    for source in (y, sensitive_features, X):
        result = in_type_of(source, weights, "weight")
        if result is not weights:
            return result
    return weights
