"""What classical models, and a single variable, make of the same patients at the same moment.

Each sees sex, age and the latest values (carried forward, else the training median) at the end of the window, and is
trained on the training patients' own windows: on all of them, and on the ten of arXiv 2402.01713. Where a number is
asked for every visit, the models see every visit as it was then.
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.core.data.fill import Filler
from auscult.core.data.splits import few_shot
from auscult.core.risk import auroc
from auscult.ehr_prompt.rendering import Renderer
from auscult.ehr_prompt.tasks import read_labels
from auscult.ehr_prompt.windows import Case, prefixes

SEED = 0
TREES = 100
FEW_PER_CLASS = 5


def predict_baselines(renderer: Renderer, train: NDArray[np.int64], test: NDArray[np.int64]) -> pd.DataFrame:
    """Return the predictions of every baseline for the test stays.

    Columns: ``row`` and ``end`` (the stay and its step), ``output`` (which of the task's labels), and one a baseline:
    a probability, or days. Models that cannot be trained, for lack of patients of one class, are left out.
    """
    cohort, task = renderer.cohort, renderer.task
    filled = Filler().fit(cohort, train).transform(cohort)

    def cases(rows: NDArray[np.int64]) -> list[Case]:
        found = renderer.cases(rows)
        return [one for case in found for one in prefixes(case)] if task.per_visit else found

    def vectors(of: list[Case]) -> NDArray[np.float64]:
        rows, ends = [case.row for case in of], [case.end for case in of]
        return np.hstack([filled.static[rows], filled.values[rows, ends]]).astype(np.float64)

    asked, shown = cases(test), cases(train)
    frames = []
    for output, label in enumerate(read_labels(cohort, task)):
        frame: dict[str, Any] = {"row": [c.row for c in asked], "end": [c.end for c in asked], "output": output}
        y_all = np.array([label[c.row] if label.ndim == 1 else label[c.row, c.end] for c in shown], np.float64)
        known = [case for case, y in zip(shown, y_all, strict=True) if not np.isnan(y)]
        y = y_all[~np.isnan(y_all)]
        trainable = len(known) > 1 and (task.kind == "days" or len(np.unique(y)) > 1)
        if asked and trainable:
            frame |= _predict(renderer, vectors(known), y, _ten(renderer, known, y), vectors(asked))
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)


def best_variable(renderer: Renderer, x: NDArray[np.float64], label: NDArray[Any]) -> tuple[str, int]:
    """Return the name and the column of the variable that alone ranks the training patients best, either way round.

    Days are ranked as above or not above their median.
    """
    features = (*renderer.cohort.static_features, *renderer.cohort.features)
    event = label > np.median(label) if renderer.task.kind == "days" else label
    strengths = np.nan_to_num([abs(auroc(event, x[:, i]) - 0.5) for i in range(x.shape[1])])
    best = int(np.argmax(strengths))
    return features[best].display_name, best


def _ten(renderer: Renderer, known: list[Case], y: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Return which of the training cases belong to five patients of each class; None where there are too few."""
    cohort = renderer.cohort
    subject = cohort.subject_id[[case.row for case in known]]
    classes = y
    if renderer.task.kind == "days":
        mortality = cohort.labels.get("mortality")
        if mortality is None or mortality.ndim != 1:
            return None
        classes = mortality[[case.row for case in known]].astype(np.float64)
    ok = ~np.isnan(classes)
    by_subject = pd.Series(classes[ok]).groupby(subject[ok]).max()
    if by_subject.nunique() < 2 or by_subject.value_counts().min() < FEW_PER_CLASS:
        return None
    drawn = few_shot(subject[ok], classes[ok], per_class=FEW_PER_CLASS, seed=SEED)
    if renderer.task.per_visit or renderer.task.name == "los_causal":
        return np.isin(subject, drawn)
    first = np.zeros(len(known), np.bool_)
    first[np.unique(subject, return_index=True)[1]] = True
    return np.isin(subject, drawn) & first


def _predict(
    renderer: Renderer, x: NDArray[np.float64], y: NDArray[np.float64], ten: NDArray[np.bool_] | None,
    x_test: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    from sklearn.exceptions import ConvergenceWarning

    days = renderer.task.kind == "days"
    found: dict[str, NDArray[np.float64]] = {}

    def predict(model: Any, x: NDArray[Any], y: NDArray[Any], x_test: NDArray[Any]) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # such a model is a baseline, too
            fitted = model.fit(x, y if days else y.astype(int))
        made = fitted.predict(x_test) if days else fitted.predict_proba(x_test)[:, 1]
        return np.maximum(np.asarray(made, np.float64), 0.0)

    sets = {"full": np.ones(len(y), np.bool_)}
    if ten is not None and (days or len(np.unique(y[ten])) > 1):
        sets["10-shot"] = ten
    for size, kept in sets.items():
        for name, model in _models(days).items():
            found[f"{name}, {size}"] = predict(model, x[kept], y[kept], x_test)
    name, column = best_variable(renderer, x, y)
    single = _models(days)["linear regression" if days else "logistic regression"]
    found[f"{name} alone"] = predict(single, x[:, [column]], y, x_test[:, [column]])
    return found


def _models(days: bool) -> dict[str, Any]:
    from sklearn import ensemble, linear_model

    trees: dict[str, Any] = {"n_estimators": TREES, "random_state": SEED}
    if days:
        return {
            "random forest": ensemble.RandomForestRegressor(max_depth=15, **trees),
            "boosting": ensemble.GradientBoostingRegressor(max_depth=5, learning_rate=0.1, **trees),
            "linear regression": linear_model.Ridge(alpha=1.0),
        }
    return {
        "random forest": ensemble.RandomForestClassifier(max_depth=15, **trees),
        "boosting": ensemble.GradientBoostingClassifier(max_depth=5, learning_rate=0.1, **trees),
        "logistic regression": linear_model.LogisticRegression(max_iter=1000),
    }
