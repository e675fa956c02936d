"""Disparities as scikit-learn scores: to select models by, or to watch in a cross-validation."""

from collections.abc import Hashable, Sequence
from typing import Any

from sklearn import get_config
from sklearn.metrics import make_scorer

from auscult.core.errors import InputError
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.auditing import audit
from auscult.m3fair.metrics.disparity import DISPARITIES


def worst_disparity(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    metric: str = "statistical_parity_difference",
    attributes: Sequence[Attribute | str] | Attribute | str | None = None,
    positive: Hashable = None,
    order: int = 1,
    sample_weight: Any = None,
) -> float:
    """Return the largest distance of a disparity from no disparity, over all groups.

    For a difference that is its absolute value; for a ratio r it is 1 - min(r, 1 / r). NaN when no group has a
    defined value. Parameters that are not explained here are those of :func:`auscult.m3fair.audit`.

    Parameters
    ----------
    metric
        One of the audit's disparities.

    Examples
    --------
    >>> worst_disparity([1, 0, 1, 0], [1, 1, 1, 0], sensitive_features={"sex": ["F", "F", "M", "M"]})
    0.5
    """
    report = audit(
        y_true, y_pred, sensitive_features=sensitive_features, attributes=attributes, order=order,
        positive=positive, sample_weight=sample_weight, min_group=0, metrics=(), disparities=(metric,),
    )  # fmt: skip
    worst = [item.distance for item in report.comparisons if item.metric == metric and item.distance == item.distance]
    return max(worst, default=float("nan"))


def disparity_scorer(
    metric: str = "statistical_parity_difference",
    *,
    attributes: Sequence[Attribute | str] | Attribute | str | None = None,
    positive: Hashable = None,
    order: int = 1,
) -> Any:
    """Return a scorer of minus :func:`worst_disparity`: greater is better.

    With metadata routing on, ``sensitive_features`` reaches it through ``cross_validate(..., params=...)`` or
    ``GridSearchCV.fit``; the request is set already.

    Raises
    ------
    InputError
        For an unknown disparity, and with metadata routing off, where nothing would reach the scorer.
    """
    if metric not in DISPARITIES:
        raise InputError(f"the disparity {metric!r} is unknown: choose from {', '.join(DISPARITIES)}")
    if not get_config()["enable_metadata_routing"]:
        raise InputError(
            "without metadata routing no sensitive_features reach a scorer: call "
            "sklearn.set_config(enable_metadata_routing=True) first"
        )
    scorer = make_scorer(
        _score, greater_is_better=False, metric=metric, attributes=attributes, positive=positive, order=order
    )
    return scorer.set_score_request(sensitive_features=True)


def _score(y_true: Any, y_pred: Any, *, sensitive_features: Any = None, **options: Any) -> float:
    if sensitive_features is None:
        raise InputError(
            "no sensitive_features reached the scorer: pass them on, cross_validate(..., "
            "params={'sensitive_features': ...}) or GridSearchCV.fit(..., sensitive_features=...)"
        )
    return worst_disparity(y_true, y_pred, sensitive_features=sensitive_features, **options)
