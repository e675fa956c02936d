"""Train a classifier with and without weights, and audit both on test rows: the job of ``m3fair mitigate``."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress
from auscult.m3fair.attributes import Attribute, list_values
from auscult.m3fair.auditing import audit
from auscult.m3fair.classifier import ReweightedClassifier
from auscult.m3fair.coding import clean_value, sort_values
from auscult.m3fair.outcome import align_values, as_number, check_label, choose_positive
from auscult.m3fair.reading import read_frame
from auscult.m3fair.results import DisparityReport
from auscult.m3fair.reweigher import Reweigher

ESTIMATORS = {
    "logistic": "sklearn.linear_model:LogisticRegression",
    "hgb": "sklearn.ensemble:HistGradientBoostingClassifier",
}


@dataclass(frozen=True)
class Mitigation:
    """A reweighted model, and what both models do on the test rows.

    Parameters
    ----------
    model
        The fitted :class:`~auscult.m3fair.classifier.ReweightedClassifier`.
    before, after
        Audits of the plain and of the reweighted model.
    """

    model: ReweightedClassifier
    before: DisparityReport
    after: DisparityReport


def mitigate(
    train: Any,
    test: Any,
    *,
    label: str,
    reweigher: Reweigher,
    attributes: Sequence[Attribute],
    positive: Any,
    estimator: str = "logistic",
    weight: str | None = None,
    order: int = 2,
    seed: int = 0,
) -> Mitigation:
    """Fit an estimator on ``train`` with and without weights and audit the decisions on ``test``.

    Numbers are imputed by the training median and scaled, text is one-hot coded; the sensitive columns stay
    among the features.

    Parameters
    ----------
    train, test
        Pandas frames with the same columns.
    label, weight
        Names of columns; every other column is a feature.
    reweigher
        Its attributes name columns.
    attributes
        The same with reference groups, for the audit.
    positive
        The label's positive value.
    estimator
        ``logistic``, ``hgb``, or ``module:Class`` of a classifier that takes ``sample_weight``.
    seed
        Passed to an estimator that has a ``random_state``.
    """
    from sklearn.base import clone

    features = [name for name in train.columns if name not in (label, weight)]
    absent = [name for name in (*features, label) if name not in test.columns]
    if absent:
        raise InputError(f"the test rows have no column {absent[0]!r}, which the training rows have")
    if positive not in train[label].unique():
        raise InputError(
            f"the positive value {positive!r} of {label!r} does not occur: it has {list_values(train[label].unique())}"
        )
    _check_features(train[features], test[features])
    pipeline = _pipeline(train[features], make_estimator(estimator, seed))
    prior = None if weight is None else train[weight].to_numpy()
    plain, model = clone(pipeline), ReweightedClassifier(pipeline, reweigher)
    try:
        model.fit(train[features], train[label], sample_weight=prior)
        keyword = {} if prior is None else {f"{pipeline.steps[-1][0]}__sample_weight": prior}
        plain.fit(train[features], train[label].to_numpy(), **keyword)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".:")
        raise InputError(f"the estimator {estimator!r} cannot be fitted to these rows: {reason}") from None

    def examine(fitted: Any) -> DisparityReport:
        column = np.flatnonzero(fitted.classes_ == positive)[0]
        score = fitted.predict_proba(test[features])[:, column] if hasattr(fitted, "predict_proba") else None
        return audit(
            test[label], fitted.predict(test[features]), sensitive_features=test[[a.name for a in attributes]],
            attributes=attributes, y_score=score, order=order, positive=positive,
            sample_weight=None if weight is None else test[weight].to_numpy(),
        )  # fmt: skip

    return Mitigation(model, examine(plain), examine(model))


def mitigate_files(
    train: Sequence[Path],
    test: Sequence[Path],
    *,
    label: str,
    sensitive: Sequence[Attribute],
    positive: str | None = None,
    weight: str | None = None,
    estimator: str = "logistic",
    audit_order: int = 2,
    seed: int = 0,
    **options: Any,
) -> Mitigation:
    """Run :func:`mitigate` on files; references and the positive value are text, as on the command line.

    ``options`` are those of :class:`~auscult.m3fair.reweigher.Reweigher`.
    """
    from auscult.m3fair.jobs import check_roles, count_files, resolve_reference

    names = [attribute.name for attribute in sensitive]
    check_roles({"--label": label, "--weight": weight}, names)
    counted = count_files(train, sensitive, label, weight)
    outcomes = [as_number(value) for value in counted.values[-1]]
    if any(isinstance(value, str) for value in outcomes):
        outcomes = list(counted.values[-1])
    chosen = choose_positive(outcomes, positive, label)
    # Numbers that have bins are cut where they are used.
    references = [one if one.bins is not None else resolve_reference(one, counted) for one in sensitive]
    text = [label, *(attribute.name for attribute in sensitive if attribute.bins is None)]
    frames = [read_frame(paths, text=text) for paths in (train, test)]
    for frame, paths in zip(frames, (train, test), strict=True):
        if len(frame) == 0:
            raise InputError(f"{str(paths[0])!r} has no rows: give at least one")
        absent = [name for name in (label, weight, *names) if name is not None and name not in frame.columns]
        if absent:
            raise InputError(
                f"{str(paths[0])!r} has no column {absent[0]!r}; it has {', '.join(map(repr, frame.columns))}"
            )
        # What is text in one file and a number in the other is one value.
        for name, groups in zip(counted.columns[:-1], counted.values[:-1], strict=True):
            if name in text:
                same = align_values(map(clean_value, frame[name].dropna().unique()), groups)
                if any(one != value for value, one in same.items()):
                    frame[name] = frame[name].map(same)
        known = {value: clean_value(value) for value in frame[label].unique()}
        numbers = {value: as_number(plain) for value, plain in known.items()}
        if not any(isinstance(number, str) for number in numbers.values()):
            known = numbers
        values = sort_values(list(dict.fromkeys(known.values())))
        check_label(values, label)
        other = [value for value in values if value not in outcomes]
        if other:
            raise InputError(
                f"the label {label!r} has the value {other[0]!r} in {str(paths[0])!r}, which the training rows do not "
                f"have ({list_values(counted.values[-1])})"
            )
        # Of equal values, such as true and 1, those of the training rows.
        same = {value: value for value in outcomes}
        frame[label] = frame[label].map({raw: same[value] for raw, value in known.items()})
    with progress("Training"):
        return mitigate(
            *frames, label=label, reweigher=Reweigher(references, unseen="one", **options),
            attributes=references, positive=chosen, estimator=estimator, weight=weight, order=audit_order, seed=seed,
        )  # fmt: skip


def write_model(model: ReweightedClassifier, path: Path) -> None:
    """Write a fitted model for ``joblib.load``, which runs code: load only files that you trust."""
    import joblib

    replace_atomically(path, lambda partial: joblib.dump(model, partial))


def make_estimator(name: str, seed: int = 0) -> Any:
    """Return the classifier of a short name or of ``module:Class``.

    Raises
    ------
    InputError
        For a name that leads to no class, and for a class that is no classifier.
    """
    from sklearn.base import is_classifier

    module, colon, attribute = ESTIMATORS.get(name, name).partition(":")
    if not colon:
        raise InputError(f"the estimator {name!r} is unknown: choose {', '.join(ESTIMATORS)} or module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, type):
            raise TypeError(f"{attribute} is no class")
        made = found()
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"the estimator {name!r} cannot be made ({error}): name an importable module:Class") from None
    if not hasattr(made, "get_params") or not is_classifier(made):
        raise InputError(f"the estimator {name!r} is no scikit-learn classifier: name one that takes sample_weight")
    known = made.get_params()
    settings = {"random_state": seed, "max_iter": 1000 if name == "logistic" else None}
    return made.set_params(**{key: value for key, value in settings.items() if key in known and value is not None})


def _check_features(train: Any, test: Any) -> None:
    """Refuse features that are numbers in one part and text in the other, lists and infinite numbers."""
    from pandas.api.types import infer_dtype, is_numeric_dtype

    for name in train.columns:
        kinds = ["numbers" if is_numeric_dtype(part[name]) else "text" for part in (train, test)]
        if kinds[0] != kinds[1]:
            raise InputError(
                f"the feature {name!r} is {kinds[0]} in the training rows and {kinds[1]} in the test rows: "
                "write it alike in both"
            )
        if kinds[0] == "text" and any(infer_dtype(part[name], skipna=True) == "mixed" for part in (train, test)):
            raise InputError(f"the feature {name!r} has values that are neither numbers nor text: take it apart before")
        if kinds[0] == "numbers" and any(np.isinf(part[name].to_numpy(dtype=float)).any() for part in (train, test)):
            raise InputError(f"the feature {name!r} has an infinite value: leave the field empty where it is unknown")


def _pipeline(features: Any, estimator: Any) -> Any:
    """Return the estimator behind preparation of number and text columns."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric = [name for name in features.columns if pd.api.types.is_numeric_dtype(features[name])]
    text = [name for name in features.columns if name not in numeric]
    empty = [name for name in numeric if not np.isfinite(features[name].to_numpy(dtype=float)).any()]
    if empty:
        raise InputError(f"the feature {empty[0]!r} has no value in the training rows: leave it out")
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=False), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((numbers, numeric), (categories, text)), estimator)
