"""Individual fairness: whether similar persons are treated alike, and whether an attribute alone decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.m3fair.attributes import list_values
from auscult.m3fair.metrics.rows import Array, as_numbers, code_groups, row_weights


def consistency(
    features: npt.ArrayLike,
    decision: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    k: int = 5,
    compat: Literal["aif360"] | None = None,
) -> float:
    """Return 1 - mean abs(decision - mean decision of the k nearest neighbours) (Zemel et al. 2013).

    A row is no neighbour of its own, features are standardised, and the order of rows does not matter: rows
    with the same features share a place in the neighbourhood equally, and places at the same distance rank by
    their features.

    Parameters
    ----------
    features
        (n, d) finite numbers.
    decision
        (n,) decisions or scores in [0, 1].
    weight
        (n,) prior weights of the rows in the mean; a neighbour counts one whatever its weight, since a weight
        says how many people a row stands for, not that they all have its features.
    k
        The number of neighbours.
    compat
        ``"aif360"``: its definition, in which each row is a neighbour of itself and features are as given.

    Returns
    -------
    NaN where there are too few rows for k neighbours, or no weight.

    Raises
    ------
    InputError
        For features that are not finite numbers, decisions outside [0, 1], other lengths, and k below 1.

    Examples
    --------
    >>> consistency([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 0], k=1)
    0.5
    >>> consistency([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 0], k=1, compat="aif360")
    1.0
    """
    if k < 1:
        raise InputError(f"k={k}: give at least 1 neighbour, such as 5")
    if compat not in (None, "aif360"):
        raise InputError(f"compat={compat!r}: choose 'aif360' or None")
    x, y = _matrix(features), as_numbers(decision, "decisions")
    if len(x) != len(y):
        raise InputError(f"there are {len(x)} rows of features and {len(y)} decisions: give one of each a row")
    bad = np.flatnonzero(~((y >= 0) & (y <= 1)))
    if len(bad):
        raise InputError(f"the decision of row {bad[0]} is {y[bad[0]]:g}: it must lie between 0 and 1")
    w = row_weights(weight, len(y))
    if w.sum() == 0 or len(y) < k + (compat is None):
        return float("nan")
    near = _aif360_neighbour_means(x, y, k) if compat else _neighbour_means(x, y, k)
    return float(1 - np.average(np.abs(y - near), weights=w))


@dataclass(frozen=True)
class CounterfactualChange:
    """What changing one attribute does to predictions; the result of :func:`counterfactual_flips`.

    Parameters
    ----------
    flip_rate
        Weighted share of the rows changed whose decision changes; NaN where no row was changed.
    mean_absolute_change
        Weighted mean absolute change of their score; NaN where predictions are not numbers.
    n
        Number of rows changed: those that had another value.
    """

    flip_rate: float
    mean_absolute_change: float
    n: int


def counterfactual_flips(
    predict: Callable[[Any], Any],
    data: Any,
    column: str | int,
    value: Any,
    *,
    weight: npt.ArrayLike | None = None,
    threshold: float | None = None,
) -> CounterfactualChange:
    """Return how often a decision changes when one attribute alone is set to another value.

    A test of the model's sensitivity to the column, not a causal counterfactual: what depends on the attribute
    in other columns stays as it was.

    Parameters
    ----------
    predict
        From data like ``data`` to predictions (n,): decisions, or scores with ``threshold``.
    data
        An eager frame that narwhals reads (pandas, polars, pyarrow, ...) or an array (n, d). It is not changed.
    column
        The attribute's column, by name or, in an array, by position.
    value
        The value to set, one that occurs in the column. Rows that have it already are left out of the result.
    weight
        (n,) prior weights, 1 by default.
    threshold
        Decide positive where the prediction is at least this; by default predictions are decisions.

    Raises
    ------
    InputError
        For an absent column, a value that does not occur in it, and predictions that are not one a row.

    Examples
    --------
    >>> rows = np.array([[0, 0.4], [1, 0.4], [0, 0.9]])
    >>> counterfactual_flips(lambda x: 0.2 * x[:, 0] + x[:, 1], rows, 0, 1, threshold=0.5).flip_rate
    0.5
    """
    changed, other = _set_column(data, column, value)
    w = row_weights(weight, len(other))
    before, after = (np.asarray(predict(rows)) for rows in (data, changed))
    for predictions in (before, after):
        if predictions.shape != (len(other),):
            raise InputError(
                f"predict returned the shape {predictions.shape} for {len(other)} rows: return one decision or score "
                "a row"
            )
    other &= w > 0
    before, after, w = before[other], after[other], w[other]
    if not len(w):
        return CounterfactualChange(float("nan"), float("nan"), 0)
    numeric = before.dtype.kind in "biuf" and after.dtype.kind in "biuf"
    if threshold is not None and not numeric:
        raise InputError(f"threshold={threshold} needs scores, but predict returned {before.dtype}: leave it out")
    flips = before != after if threshold is None else (before >= threshold) != (after >= threshold)
    change = np.abs(after.astype(float) - before.astype(float)) if numeric else np.full(len(w), np.nan)
    return CounterfactualChange(
        float(np.average(flips, weights=w)), float(np.average(change, weights=w)), int(other.sum())
    )


def _matrix(features: npt.ArrayLike) -> Array:
    try:
        x = np.asarray(features, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("the features are not all numbers: encode them first") from None
    if x.ndim != 2:
        raise InputError(f"the features have shape {x.shape}: give rows by columns")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, feature = bad[0].tolist()
        raise InputError(f"feature {feature} of row {row} is {x[row, feature]}: fill in what is missing first")
    return x


def _neighbour_means(x: Array, y: Array, k: int) -> Array:
    """Return the mean y (n,) of each row's k nearest other rows.

    Distinct rows are found first: they are few where features are categories, and their order is that of their
    values, whatever the order of the rows.
    """
    from sklearn.neighbors import NearestNeighbors

    distinct, place, count = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    centred = distinct - count @ distinct / len(x)
    spread = np.sqrt(count @ centred**2 / len(x))
    # Rounded, so that places at the same distance stay so in other units of a feature.
    scaled = np.round(centred / np.where(spread > 0, spread, 1.0), 9)
    total = np.bincount(place, y)
    here = np.minimum(count - 1, k)
    elsewhere = np.zeros(len(distinct))
    if len(distinct) > 1:
        search = NearestNeighbors(n_neighbors=min(k, len(distinct) - 1)).fit(scaled)
        near = search.kneighbors(return_distance=False)
        before = here[:, None] + np.cumsum(count[near], axis=1) - count[near]
        taken = np.clip(k - before, 0, count[near])
        elsewhere = (taken * (total / count)[near]).sum(axis=1)
    own = (total[place] - y) / np.maximum(count - 1, 1)[place]
    return np.asarray((here[place] * own + elsewhere[place]) / k)


def _aif360_neighbour_means(x: Array, y: Array, k: int) -> Array:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="ball_tree").fit(x)
    return np.asarray(y[search.kneighbors(x, return_distance=False)].mean(axis=1))


def _set_column(data: Any, column: str | int, value: Any) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return data with a column set to a value, and which rows (n,) had another one.

    The value is taken from a row that has it, so that the column keeps its type, categories included.
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or not isinstance(column, int) or not 0 <= column < data.shape[1]:
            raise InputError(f"an array of shape {data.shape} has no column {column!r}: give a position in it")
        had = _equal(data[:, column], value, column)
        changed = data.copy()
        changed[:, column] = data[int(np.argmax(had)), column]
        return changed, ~had
    frame = nw.from_native(data, eager_only=True)
    if column not in frame.columns:
        raise InputError(f"there is no column {column!r}; there are {', '.join(map(repr, frame.columns))}")
    series = frame.get_column(str(column))
    had = _equal(series, value, column)
    filled = series[[int(np.argmax(had))] * len(series)]
    index = nw.maybe_get_index(series)
    if index is not None:
        filled = nw.maybe_set_index(filled, index=index)
    return frame.with_columns(filled).to_native(), ~had


def _equal(values: Any, value: Any, column: str | int) -> npt.NDArray[np.bool_]:
    groups, code = code_groups(values, np.ones(len(values), dtype=bool))
    (wanted,), _ = code_groups([value], np.ones(1, dtype=bool))
    if wanted not in groups:
        raise InputError(f"the value {value!r} does not occur in column {column!r}: it has {list_values(groups)}")
    return np.asarray(code == groups.index(wanted))
