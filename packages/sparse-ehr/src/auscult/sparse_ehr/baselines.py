"""What a new model of sparse series has to beat: boosted trees and logistic regression on their summaries."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from auscult.core.data.cohort import Cohort
from auscult.core.data.splits import split_subjects
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.sparse_ehr.summaries import summarize, summary_names

_HELD_OUT = {"train": 0.875, "validation": 0.125}


class _Baseline(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both baselines share: a table of summaries and static values, and what can be wrong with it."""

    classes_: NDArray[Any]
    n_features_in_: int
    n_static_in_: int
    columns_: list[str] | None

    def predict_proba(self, X: Any, *, static: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return [N, 2] the probabilities of the two classes.

        Parameters
        ----------
        X, static
            As in ``fit``, with the same variables in the same order.
        """
        if not hasattr(self, "classes_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted: call fit first")
        table, variables, columns = _to_table(X, static)
        found = (variables, table.shape[1] - variables * 7)
        if found != (self.n_features_in_, self.n_static_in_):
            raise InputError(
                f"{found[0]} variables and {found[1]} static values are given, but the model was fitted with "
                f"{self.n_features_in_} and {self.n_static_in_}: give the same"
            )
        if columns is not None and self.columns_ is not None and columns != self.columns_:
            wrong = next(pair for pair in zip(columns, self.columns_, strict=True) if pair[0] != pair[1])
            raise InputError(f"column {wrong[0]!r} stands where the model was fitted with {wrong[1]!r}: keep the order")
        risk = self._risk(table) if len(table) else np.empty(0)
        return np.column_stack([1 - risk, risk])

    def predict(self, X: Any, *, static: ArrayLike | None = None) -> NDArray[Any]:
        """Return [N] the more probable class."""
        predicted: NDArray[Any] = self.classes_[(self.predict_proba(X, static=static)[:, 1] > 0.5).astype(np.intp)]
        return predicted

    def _risk(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        raise NotImplementedError

    def _start(self, X: Any, y: ArrayLike, static: ArrayLike | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the table and which labels are the second class; note what was seen."""
        table, self.n_features_in_, self.columns_ = _to_table(X, static)
        self.n_static_in_ = table.shape[1] - 7 * self.n_features_in_
        labels = _check_labels(y, len(table))
        self.classes_ = np.unique(labels)
        if len(self.classes_) != 2:
            raise InputError(f"the labels hold {len(self.classes_)} classes: two are needed to learn a risk")
        return table, labels == self.classes_[1]


class LightGBMBaseline(_Baseline):
    """Gradient-boosted trees on first, last, mean, min, max, std and count of each variable, and static values.

    The trees see missing summaries as missing. Their number is the best on a validation part, by average precision.

    Parameters
    ----------
    learning_rate, num_leaves, feature_fraction, lambda_l2
        Of LightGBM.
    max_rounds, patience
        Most trees, and after how many without gain to stop.
    n_jobs
        Threads; the result does not depend on them.
    random_state
        Of the sampling of features, and of the validation part where none is given.

    Attributes
    ----------
    classes_ : ndarray of shape [2]
    n_features_in_, n_static_in_ : int
        Variables and static values.
    booster_ : lightgbm.Booster
    best_iteration_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> X = np.where(rng.random((200, 6, 3)) < 0.5, np.nan, rng.normal(size=(200, 6, 3)) + y[:, None, None])
    >>> LightGBMBaseline().fit(X, y).predict_proba(X).shape
    (200, 2)
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.02,
        num_leaves: int = 15,
        feature_fraction: float = 0.3,
        lambda_l2: float = 5.0,
        max_rounds: int = 3000,
        patience: int = 150,
        n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.feature_fraction = feature_fraction
        self.lambda_l2 = lambda_l2
        self.max_rounds = max_rounds
        self.patience = patience
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        static: ArrayLike | None = None,
        validation: Sequence[Any] | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X
            A cohort, or [N, T, F] with NaN where nothing was observed.
        y
            [N] labels of two classes, the second of which (in sorted order) is the one whose risk is learnt.
        static
            [N, S] static values, NaN where unknown. A cohort brings its own.
        validation
            X, y and, beside an array, static of the part that decides how many trees there are. Without it an eighth
            of the stays is held out.
        groups
            [N] the person of each stay, so that nobody is in both parts; a cohort's subjects by default.

        Raises
        ------
        InputError
            For shapes that do not fit, infinite values, missing labels or a single class.
        """
        import lightgbm

        table, case = self._start(X, y, static)
        if validation is None:
            if groups is None:
                groups = X.subject_id if isinstance(X, Cohort) else np.arange(len(table))
            split = split_subjects(groups, stratify=case, fractions=_HELD_OUT, seed=self.random_state)
            index = split.index(groups)
            held_out, held_case = table[index["validation"]], case[index["validation"]]
            table, case = table[index["train"]], case[index["train"]]
        else:
            held_out, variables, _ = _to_table(validation[0], validation[2] if len(validation) > 2 else None)
            if (variables, held_out.shape[1]) != (self.n_features_in_, table.shape[1]):
                raise InputError(
                    f"the validation part has {variables} variables and {held_out.shape[1]} columns in all, the "
                    f"training part {self.n_features_in_} and {table.shape[1]}: give the same"
                )
            held_case = _check_labels(validation[1], len(held_out)) == self.classes_[1]
        parameters = {
            "objective": "binary", "metric": "average_precision", "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves, "feature_fraction": self.feature_fraction, "lambda_l2": self.lambda_l2,
            "seed": self.random_state, "num_threads": self.n_jobs or 0, "verbose": -1, "deterministic": True,
            "force_row_wise": True,
        }  # fmt: skip
        generic = summary_names([f"x{i}" for i in range(self.n_features_in_)])
        names = self.columns_ or _tidy([*generic, *(f"static {i}" for i in range(self.n_static_in_))])
        train = lightgbm.Dataset(table, case.astype(np.int8), feature_name=names, params={"verbose": -1})
        self.booster_ = lightgbm.train(
            parameters, train, num_boost_round=self.max_rounds,
            valid_sets=[train.create_valid(held_out, held_case.astype(np.int8))],
            callbacks=[lightgbm.early_stopping(self.patience, verbose=False)],
        )  # fmt: skip
        self.best_iteration_ = self.booster_.best_iteration
        return self

    def save(self, path: str | Path) -> None:
        """Write the trees in LightGBM's text format, which LightGBM itself can read.

        Raises
        ------
        InputError
            Where the classes are not 0 and 1: the format has no room for others.
        """
        if not hasattr(self, "booster_"):
            raise NotFittedError("this LightGBMBaseline is not fitted: call fit first")
        if self.classes_.tolist() != [0, 1]:
            raise InputError(f"the classes {self.classes_.tolist()} have no place in LightGBM's format: fit on 0 and 1")
        text = self.booster_.model_to_string(num_iteration=self.best_iteration_)
        replace_atomically(Path(path), lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the model that ``save`` wrote; its predictions are equal to the last bit.

        Raises
        ------
        InputError
            Where the file is missing, cut off, or not a model of summaries.
        """
        import lightgbm

        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}): give a file that save wrote") from None
        # LightGBM's own reader does not notice that the end is missing, or crashes on it.
        if not text.startswith("tree\n") or "\nend of trees\n" not in text or "\nend of parameters\n" not in text:
            raise InputError(f"{path} is no complete model in LightGBM's text format: give a file that save wrote")
        try:
            booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise InputError(f"{path} is damaged ({error}): save the model again") from None
        model = cls()
        names = booster.feature_name()
        model.n_features_in_ = sum(name.endswith("_count") for name in names[6::7])
        model.n_static_in_ = len(names) - 7 * model.n_features_in_
        if names[6 : 7 * model.n_features_in_ : 7] != [name for name in names if name.endswith("_count")]:
            raise InputError(f"{path} holds columns {names[:3]}, which are no summaries: give a file that save wrote")
        model.classes_ = np.array([0, 1])
        model.columns_ = names
        model.booster_, model.best_iteration_ = booster, booster.num_trees()
        return model

    def _risk(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        iterations = self.best_iteration_
        return np.asarray(self.booster_.predict(table, num_iteration=iterations, num_threads=self.n_jobs or 0))


class LogisticBaseline(_Baseline):
    """Logistic regression on the same summaries, missing ones at their median with an indicator beside it.

    Parameters
    ----------
    C
        Inverse strength of the ridge penalty, on scaled columns.

    Attributes
    ----------
    classes_ : ndarray of shape [2]
    n_features_in_, n_static_in_ : int
        Variables and static values.
    pipeline_ : sklearn.pipeline.Pipeline
    """

    def __init__(self, *, C: float = 0.003) -> None:
        self.C = C

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        static: ArrayLike | None = None,
        validation: Sequence[Any] | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit; ``validation`` and ``groups`` change nothing, the rest is as for :class:`LightGBMBaseline`."""
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        table, case = self._start(X, y, static)
        self.pipeline_ = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(C=self.C, max_iter=2000),
        ).fit(table.astype(np.float64), case)
        return self

    def _risk(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        risk: NDArray[np.float64] = self.pipeline_.predict_proba(table.astype(np.float64))[:, 1]
        return risk


def _to_table(X: Any, static: ArrayLike | None) -> tuple[NDArray[np.float32], int, list[str] | None]:
    """Return [N, 7 F + S] summaries and static values, F, and the columns' names where they are known."""
    values: NDArray[Any]
    fixed: NDArray[Any]
    if isinstance(X, Cohort):
        if static is not None:
            raise InputError("a cohort brings its own static values: leave static out")
        values, fixed = X.values, X.static
        names = [*summary_names([f.name for f in X.features]), *(f.name for f in X.static_features)]
        columns: list[str] | None = _tidy(names)
    else:
        values = np.asarray(X)
        fixed = np.empty((len(values), 0)) if static is None else np.asarray(static)
        columns = None
    if values.ndim != 3 or fixed.ndim != 2 or len(fixed) != len(values):
        raise InputError(
            f"X of shape {values.shape} and static of shape {fixed.shape} do not fit: "
            "give [stays, steps, variables] and [stays, static values]"
        )
    if np.isinf(values).any() or np.isinf(fixed).any():
        raise InputError("a value is infinite: mark what was not observed as NaN")
    table = np.column_stack([summarize(values), fixed]).astype(np.float32)
    return table, values.shape[2], columns


def _check_labels(y: ArrayLike, count: int) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise InputError(f"{count} stays have labels of shape {labels.shape}: give one for each")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise InputError(f"{int(np.isnan(labels).sum())} labels are missing (NaN): leave these stays out")
    return labels


def _tidy(names: Sequence[str]) -> list[str]:
    """Return names without what LightGBM's format forbids, each once."""
    tidied = [re.sub(r"\W", "_", name) for name in names]
    if len(set(tidied)) == len(tidied):
        return tidied
    return [f"{i}_{name}" for i, name in enumerate(tidied)]
