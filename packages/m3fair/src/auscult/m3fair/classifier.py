"""A scikit-learn classifier that reweights its own training rows, fold by fold."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from auscult.core.errors import InputError
from auscult.m3fair.attributes import as_attributes
from auscult.m3fair.reweigher import Reweigher


def _inner_has(name: str) -> Any:
    def check(self: "ReweightedClassifier") -> bool:
        inner = getattr(self, "estimator_", None) or self._estimator()
        return hasattr(inner, name)

    return available_if(check)


class ReweightedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a classifier on the weights that a reweigher learns from the same training rows.

    Inside a cross-validation each fold learns its own factors, so nothing leaks from held-out rows. A step of
    a Pipeline cannot change ``sample_weight``; a classifier around it can.

    Parameters
    ----------
    estimator
        Any classifier whose ``fit`` takes ``sample_weight``, as do all classifiers in it, or a Pipeline that ends in
        one. Default: logistic regression.
    reweigher
        A :class:`~auscult.m3fair.reweigher.Reweigher`; its ``attributes`` name columns of ``X`` (``x0``, ``x1``,
        ... in an array) unless ``sensitive_features`` is passed to ``fit``.

    Attributes
    ----------
    estimator_, reweigher_
        The fitted clones.
    sample_weight_ : ndarray of shape (n,)
        The weights that the estimator was fitted on.
    classes_ : ndarray

    Raises
    ------
    InputError
        When the estimator is no classifier or would ignore ``sample_weight``, or no attribute is named.

    Notes
    -----
    With metadata routing on, ask for what you pass, ``.set_fit_request(sensitive_features=True)``; a Pipeline or a
    search inside must then route ``sample_weight`` too: ``LogisticRegression().set_fit_request(sample_weight=True)``
    and ``StandardScaler().set_fit_request(sample_weight=False)``.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"sex": [0, 0, 0, 1, 1, 1], "lactate": [1.0, 2.0, 4.0, 1.0, 3.0, 5.0]})
    >>> model = ReweightedClassifier(reweigher=Reweigher(["sex"])).fit(X, [0, 0, 1, 0, 1, 1])
    >>> model.sample_weight_.round(2).tolist()
    [0.75, 0.75, 1.5, 1.5, 0.75, 0.75]
    """

    def __init__(self, estimator: Any = None, reweigher: Reweigher | None = None) -> None:
        self.estimator = estimator
        self.reweigher = reweigher

    def fit(self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None) -> Self:
        """Learn the weights from these rows, then fit a clone of the estimator on them.

        Parameters
        ----------
        X
            (n, p) features, as the estimator takes them.
        y
            (n,) classes.
        sensitive_features
            A frame or a mapping of arrays (n,); default: the columns of ``X``.
        sample_weight
            (n,) prior weights.
        """
        if not is_classifier(self._estimator()):
            raise InputError(
                f"{type(self._estimator()).__name__} is no classifier: choose one that takes sample_weight"
            )
        if not hasattr(X, "columns"):
            X = _check_array(X, get_tags(self._estimator()).input_tags)
        validate_data(self, X, y, skip_check_array=True)
        outcome, y = y, _check_y(y)
        check_classification_targets(y)
        reweigher = Reweigher() if self.reweigher is None else clone(self.reweigher)
        if sensitive_features is None:
            sensitive_features = _columns_of(X, reweigher)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        weights = np.asarray(
            reweigher.fit_weights(None, outcome, sensitive_features=sensitive_features, sample_weight=sample_weight)
        )
        estimator = clone(self._estimator())
        estimator.fit(X, y, **_weight_parameter(estimator, weights))
        self.reweigher_ = reweigher
        self.estimator_ = estimator
        self.sample_weight_ = weights
        self.classes_ = estimator.classes_
        return self

    @_inner_has("predict")  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the predicted class of each row (n,)."""
        return np.asarray(self._ask("predict", X))

    @_inner_has("predict_proba")  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class (n, C)."""
        return np.asarray(self._ask("predict_proba", X))

    @_inner_has("predict_log_proba")  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the log-probability of each class (n, C)."""
        return np.asarray(self._ask("predict_log_proba", X))

    @_inner_has("decision_function")  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the estimator's decision values."""
        return np.asarray(self._ask("decision_function", X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._estimator())
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags

    def _estimator(self) -> Any:
        return LogisticRegression() if self.estimator is None else self.estimator

    def _ask(self, method: str, X: Any) -> Any:
        check_is_fitted(self, "estimator_")
        return getattr(self.estimator_, method)(X)


def _check_array(X: Any, accepted: Any) -> Any:
    """Return X as an array or sparse matrix: text where the estimator takes it, and NaN, which is for it to judge."""
    text = accepted.string or accepted.categorical
    return check_array(
        X,
        accept_sparse=True,
        dtype=None if text else "numeric",
        ensure_all_finite=False,
        estimator="ReweightedClassifier",
    )


def _columns_of(X: Any, reweigher: Reweigher) -> Any:
    """Return the columns of X that the reweigher names; sparse ones made dense."""
    if reweigher.attributes is None:
        raise InputError(
            "no sensitive attribute is named: pass sensitive_features to fit, or name columns of X in "
            "Reweigher(attributes=[...])"
        )
    if not hasattr(X, "tocsc"):
        return X
    names = [attribute.name for attribute in as_attributes(reweigher.attributes)]
    wanted = {f"x{k}": k for k in range(X.shape[1])}
    absent = [name for name in names if name not in wanted]
    if absent:
        raise InputError(f"a sparse X has the columns x0 to x{X.shape[1] - 1}, not {absent[0]!r}")
    return {name: X.tocsc()[:, [wanted[name]]].toarray().ravel() for name in names}


def _weight_parameter(estimator: Any, weights: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the keyword that brings the weights to the final estimator, once every part of it is sure to take them."""
    name = type(estimator).__name__
    last = list(_last(estimator))
    for part in last:
        if not has_fit_parameter(part, "sample_weight") and not _is_router(part):
            raise InputError(
                f"{type(part).__name__} ignores sample_weight and so cannot be reweighted: choose a classifier that "
                "takes it"
            )
    if get_config()["enable_metadata_routing"] and hasattr(estimator, "get_metadata_routing"):
        for part in last:
            told = part is estimator and has_fit_parameter(part, "sample_weight")
            if not told and not get_routing_for_object(part).consumes("fit", ["sample_weight"]):
                raise InputError(
                    f"{type(part).__name__} in {name} would ignore sample_weight: let it "
                    ".set_fit_request(sample_weight=True)"
                )
        return {"sample_weight": weights}
    if isinstance(estimator, Pipeline):
        step, final = estimator.steps[-1]
        return {f"{step}__{key}": value for key, value in _weight_parameter(final, weights).items()}
    if not _hands_on(estimator):
        raise InputError(
            f"{name} hands sample_weight on to what is in it only with metadata routing: turn that on, "
            "sklearn.set_config(enable_metadata_routing=True), and let its classifier "
            ".set_fit_request(sample_weight=True)"
        )
    return {"sample_weight": weights}


def _parts(estimator: Any) -> list[Any]:
    """Return the classifiers that an estimator fits in its turn; none of bagging, which draws its rows by weight."""
    if isinstance(estimator, Pipeline):
        return [estimator.steps[-1][1]]
    if isinstance(estimator, BaggingClassifier) or not hasattr(estimator, "get_params"):
        return []
    given = estimator.get_params(deep=False)
    several = [part for _, part in given.get("estimators") or ()]
    return [part for part in (given.get("estimator"), *several, given.get("final_estimator")) if hasattr(part, "fit")]


def _last(estimator: Any) -> Iterator[Any]:
    """Yield the estimators within an estimator that have none in them: itself, if so."""
    parts = _parts(estimator)
    for part in parts:
        yield from _last(part)
    if not parts:
        yield estimator


def _hands_on(estimator: Any) -> bool:
    """Whether an estimator and all in it take ``sample_weight`` by name."""
    return has_fit_parameter(estimator, "sample_weight") and all(map(_hands_on, _parts(estimator)))


def _is_router(estimator: Any) -> bool:
    return hasattr(estimator, "get_metadata_routing") and isinstance(get_routing_for_object(estimator), MetadataRouter)
