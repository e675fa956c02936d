"""What classical models, and a single laboratory value, make of the same patients at the same moment.

Each sees sex, age and the latest values (carried forward, else the training median) at the end of the window, and is
trained on the training patients' own windows. The set of ten patients is the one of arXiv 2402.01713.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.core.data.fill import Filler
from auscult.core.data.splits import few_shot
from auscult.core.risk import auroc
from auscult.ehr_prompt.rendering import Renderer
from auscult.ehr_prompt.tasks import read_labels

SEED = 0
FEW_PER_CLASS = 5


def predict_baselines(renderer: Renderer, train: NDArray[np.int64], test: NDArray[np.int64]) -> pd.DataFrame:
    """Return one row a test stay and one column a baseline: the probability of the task's first label.

    Models that cannot be trained, for lack of patients of one class, are left out.
    """
    cohort = renderer.cohort
    label = read_labels(cohort, renderer.task)[0]
    filled = Filler().fit(cohort, train).transform(cohort)
    ends = {case.row: case.end for case in renderer.cases(np.concatenate([train, test]))}

    def vectors(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([np.concatenate([filled.static[r], filled.values[r, ends[r]]]) for r in rows.tolist()], float)

    known = np.array([r for r in train.tolist() if r in ends and not np.isnan(label[r])], np.int64)
    asked = np.array([r for r in test.tolist() if r in ends], np.int64)
    result: dict[str, Any] = {"row": asked}
    classes, sizes = np.unique(label[known], return_counts=True)
    if len(classes) < 2 or not len(asked):
        return pd.DataFrame(result)
    x_test = vectors(asked)
    sets = {"full": known}
    if sizes.min() >= FEW_PER_CLASS:
        drawn = few_shot(cohort.subject_id[known], label[known], per_class=FEW_PER_CLASS, seed=SEED)
        _, first = np.unique(cohort.subject_id[known], return_index=True)
        by_subject = {cohort.subject_id[r]: r for r in known[first].tolist()}
        sets["10-shot"] = np.array([by_subject[subject] for subject in drawn], np.int64)
    for size, rows in sets.items():
        x, y = vectors(rows), label[rows].astype(int)
        for name, model in _models().items():
            result[f"{name}, {size}"] = model.fit(x, y).predict_proba(x_test)[:, 1]
    name, column = best_variable(renderer, vectors(known), label[known])
    x, y = vectors(known)[:, [column]], label[known].astype(int)
    single = _models()["logistic regression"].fit(x, y)
    result[f"{name} alone"] = single.predict_proba(x_test[:, [column]])[:, 1]
    return pd.DataFrame(result)


def best_variable(renderer: Renderer, x: NDArray[np.float64], label: NDArray[Any]) -> tuple[str, int]:
    """Return the name and the column of the variable that alone ranks the training patients best, either way round."""
    features = (*renderer.cohort.static_features, *renderer.cohort.features)
    strengths = [abs(auroc(label, x[:, i]) - 0.5) for i in range(x.shape[1])]
    best = int(np.argmax(strengths))
    return features[best].display_name, best


def _models() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    return {
        "random forest": RandomForestClassifier(n_estimators=100, max_depth=15, random_state=SEED),
        "boosting": GradientBoostingClassifier(n_estimators=100, max_depth=5, learning_rate=0.1, random_state=SEED),
        "logistic regression": LogisticRegression(max_iter=1000),
    }
