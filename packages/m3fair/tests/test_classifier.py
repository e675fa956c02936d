import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, Reweigher, ReweightedClassifier, disparity_scorer, worst_disparity

BY_MEAN = Reweigher(Attribute("x0", bins="mean"), empty="ignore", unseen="one")


@parametrize_with_checks([ReweightedClassifier(LogisticRegression(), BY_MEAN)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    n = 400
    sex = rng.integers(0, 2, n)
    race = rng.integers(0, 3, n)
    lactate = rng.normal(sex, 1)
    y = (rng.random(n) < 1 / (1 + np.exp(-(lactate + 0.5 * race - 1)))).astype(int)
    X = pd.DataFrame({"sex": sex, "race": race, "lactate": lactate}, index=np.arange(n) + 1000)
    return X, pd.Series(y, index=X.index)


def test_the_estimator_is_fitted_on_the_weights_of_the_reweigher(data):
    X, y = data
    reweigher = Reweigher(["sex", "race"], mode="intersection")
    model = ReweightedClassifier(LogisticRegression(), reweigher).fit(X, y)
    weights = clone(reweigher).fit_weights(X, y)
    expected = LogisticRegression().fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.sample_weight_, weights)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_property_13_weights_equal_replicated_rows():
    """Reweighting to whole multiples equals copying rows, for a model without a penalty."""
    X = np.array([[0, 1.0], [0, 2.0], [0, 4.0], [1, 1.5], [1, 3.0], [1, 5.0]])
    y = np.array([0, 0, 1, 0, 1, 0])
    reweigher = Reweigher(["x0"])
    weights = reweigher.fit_weights(X, y)
    scale = 12 / weights.min()
    copies = np.rint(weights * scale).astype(int)
    np.testing.assert_allclose(copies, weights * scale)
    model = LogisticRegression(C=1e3, tol=1e-10, max_iter=10000)
    weighted = clone(model).fit(X, y, sample_weight=weights * scale)
    copied = clone(model).fit(np.repeat(X, copies, axis=0), np.repeat(y, copies))
    np.testing.assert_allclose(weighted.coef_, copied.coef_, rtol=1e-4)


def test_property_14_a_held_out_label_never_changes_the_model(data):
    """Poison the labels of the held-out rows: what was fitted without them stays the same."""
    X, y = data
    model = ReweightedClassifier(LogisticRegression(), Reweigher(["sex", "race"]))
    folds = [(np.arange(0, 300), np.arange(300, 400)), (np.arange(100, 400), np.arange(0, 100))]
    poisoned = y.copy()
    poisoned.iloc[300:] = 1 - poisoned.iloc[300:]
    fitted = cross_validate(model, X, y, cv=folds[:1], return_estimator=True)["estimator"][0]
    other = cross_validate(model, X, poisoned, cv=folds[:1], return_estimator=True)["estimator"][0]
    np.testing.assert_array_equal(fitted.estimator_.coef_, other.estimator_.coef_)
    np.testing.assert_array_equal(fitted.sample_weight_, other.sample_weight_)


def test_an_estimator_that_ignores_weights_is_refused(data):
    X, y = data
    for estimator in (KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())):
        with pytest.raises(InputError, match="KNeighborsClassifier ignores sample_weight"):
            ReweightedClassifier(estimator, Reweigher(["sex"])).fit(X, y)


@pytest.mark.parametrize("routing", [False, True])
def test_an_estimator_that_ignores_weights_is_refused_inside_another(data, routing):
    X, y = data
    deaf = KNeighborsClassifier()
    with config_context(enable_metadata_routing=routing):
        hearing = LogisticRegression()
        if routing:
            hearing.set_fit_request(sample_weight=True)
        for estimator in (
            CalibratedClassifierCV(deaf),
            CalibratedClassifierCV(make_pipeline(StandardScaler(), deaf)),
            make_pipeline(StandardScaler(), CalibratedClassifierCV(deaf)),
            GridSearchCV(deaf, {"n_neighbors": [3]}),
            VotingClassifier([("a", deaf), ("b", hearing)]),
            StackingClassifier([("a", hearing)], final_estimator=deaf),
        ):
            with pytest.raises(InputError, match="KNeighborsClassifier ignores sample_weight"):
                ReweightedClassifier(estimator, Reweigher(["sex"])).fit(X, y)
        for estimator in (CalibratedClassifierCV(hearing, cv=2), BaggingClassifier(deaf, n_estimators=2)):
            assert ReweightedClassifier(estimator, Reweigher(["sex"])).fit(X, y).predict(X).shape == (400,)


def test_what_needs_metadata_routing_says_so(data):
    X, y = data
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    for estimator in (search, CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()))):
        with pytest.raises(InputError, match="only with metadata routing: turn that on"):
            ReweightedClassifier(estimator, Reweigher(["sex"])).fit(X, y)
    with config_context(enable_metadata_routing=True):
        with pytest.raises(InputError, match="LogisticRegression in GridSearchCV would ignore sample_weight"):
            ReweightedClassifier(search, Reweigher(["sex"])).fit(X, y)
        search.estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        found = ReweightedClassifier(search, Reweigher(["sex"])).fit(X, y)
    expected = LogisticRegression().fit(X, y, sample_weight=found.sample_weight_)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_no_attribute_is_refused(data):
    X, y = data
    with pytest.raises(InputError, match="no sensitive attribute"):
        ReweightedClassifier().fit(X, y)


def test_sensitive_features_may_stand_apart(data):
    X, y = data
    apart = ReweightedClassifier(LogisticRegression(), Reweigher(["sex"])).fit(X[["lactate"]], y, sensitive_features=X)
    inside = Reweigher(["sex"]).fit_weights(X, y)
    np.testing.assert_array_equal(apart.sample_weight_, inside)
    assert apart.n_features_in_ == 1


def test_pipeline_around_and_inside(data):
    X, y = data
    inner = ReweightedClassifier(make_pipeline(StandardScaler(), LogisticRegression()), Reweigher(["sex"])).fit(X, y)
    weights = Reweigher(["sex"]).fit_weights(X, y)
    expected = make_pipeline(StandardScaler(), LogisticRegression())
    expected.fit(X, y, logisticregression__sample_weight=weights)
    np.testing.assert_array_equal(inner.predict_proba(X), expected.predict_proba(X))
    scaler = StandardScaler().set_output(transform="pandas")
    around = make_pipeline(scaler, ReweightedClassifier(LogisticRegression(), Reweigher(["sex"]))).fit(X, y)
    np.testing.assert_array_equal(around[-1].sample_weight_, weights)


def test_grid_search_tunes_the_reweigher(data):
    X, y = data
    model = ReweightedClassifier(LogisticRegression(), Reweigher(["sex"]))
    search = GridSearchCV(model, {"reweigher__strength": [0.0, 1.0], "estimator__C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert set(search.best_params_) == {"reweigher__strength", "estimator__C"}


def test_calibration_around(data):
    X, y = data
    model = CalibratedClassifierCV(ReweightedClassifier(LogisticRegression(), Reweigher(["sex"])), cv=3).fit(X, y)
    assert np.all((model.predict_proba(X) >= 0) & (model.predict_proba(X) <= 1))
    assert all(isinstance(part.estimator, ReweightedClassifier) for part in model.calibrated_classifiers_)


def test_clone_pickle_and_repr(data):
    X, y = data
    model = ReweightedClassifier(HistGradientBoostingClassifier(max_iter=5), Reweigher(["sex"], mode="intersection"))
    assert clone(model).get_params()["reweigher__mode"] == "intersection"
    assert "Reweigher" in repr(model)
    fitted = model.fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.reweigher_.table_ == fitted.reweigher_.table_


def test_methods_follow_the_estimator():
    assert not hasattr(ReweightedClassifier(HistGradientBoostingClassifier()), "predict_log_proba_")
    assert hasattr(ReweightedClassifier(LogisticRegression()), "decision_function")
    assert not hasattr(ReweightedClassifier(KNeighborsClassifier()), "decision_function")


def test_metadata_routing(data):
    X, y = data
    features, sensitive = X[["lactate"]], X[["sex", "race"]]
    with config_context(enable_metadata_routing=True):
        model = ReweightedClassifier(LogisticRegression(), Reweigher(mode="intersection"))
        model.set_fit_request(sensitive_features=True, sample_weight=False)
        result = cross_validate(
            model, features, y, cv=3, return_estimator=True, error_score="raise",
            params={"sensitive_features": sensitive},
            scoring={"accuracy": "accuracy", "parity": disparity_scorer("statistical_parity_difference")},
        )  # fmt: skip
        assert all(fitted.reweigher_.table_.columns[:2] == ("sex", "race") for fitted in result["estimator"])
        assert (result["test_parity"] <= 0).all()
        search = GridSearchCV(model, {"reweigher__strength": [0.0, 1.0]}, cv=2, scoring=disparity_scorer())
        search.fit(features, y, sensitive_features=sensitive)
        assert search.best_params_["reweigher__strength"] in (0.0, 1.0)


def test_metadata_routing_through_a_pipeline_inside(data):
    X, y = data
    with config_context(enable_metadata_routing=True):
        deaf = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            LogisticRegression().set_fit_request(sample_weight=False),
        )
        with pytest.raises(InputError, match="would ignore sample_weight"):
            ReweightedClassifier(deaf, Reweigher(["sex"])).fit(X, y)
        hearing = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            LogisticRegression().set_fit_request(sample_weight=True),
        )
        routed = ReweightedClassifier(hearing, Reweigher(["sex"])).fit(X, y)
    plain = ReweightedClassifier(make_pipeline(StandardScaler(), LogisticRegression()), Reweigher(["sex"])).fit(X, y)
    np.testing.assert_array_equal(routed.predict_proba(X), plain.predict_proba(X))


def test_cross_val_predict(data):
    X, y = data
    model = ReweightedClassifier(LogisticRegression(), Reweigher(["sex"]))
    assert cross_val_predict(model, X, y, cv=3, method="predict_proba").shape == (400, 2)


def test_worst_disparity():
    sex = {"sex": ["F"] * 4 + ["M"] * 4}
    y = [1, 0, 1, 0, 1, 0, 1, 0]
    decision = [1, 0, 0, 0, 1, 1, 1, 0]
    assert worst_disparity(y, decision, sensitive_features=sex) == pytest.approx(0.5)
    assert worst_disparity(y, decision, sensitive_features=sex, metric="disparate_impact") == pytest.approx(1 - 1 / 3)
    with pytest.raises(InputError, match="unknown"):
        worst_disparity(y, decision, sensitive_features=sex, metric="parity")
    with pytest.raises(InputError, match="unknown"):
        disparity_scorer("parity")
    names = [["no", "yes"][value] for value in y], [["no", "yes"][value] for value in decision]
    assert worst_disparity(*names, sensitive_features=sex, positive="yes") == pytest.approx(0.5)
    with pytest.raises(InputError, match=r"say which is positive \(positive="):
        worst_disparity(*names, sensitive_features=sex)


def test_a_scorer_says_what_it_lacks(data):
    X, y = data
    with pytest.raises(InputError, match=r"call sklearn\.set_config"):
        disparity_scorer()
    with config_context(enable_metadata_routing=True):
        scorer = disparity_scorer(positive="yes")
        model = ReweightedClassifier(LogisticRegression(), Reweigher(["sex"]))
        options = {"cv": 2, "scoring": scorer, "error_score": "raise"}
        model.set_fit_request(sensitive_features=False)
        names, sensitive = y.map({0: "no", 1: "yes"}), {"sensitive_features": X[["sex"]]}
        found = cross_validate(model, X, names, params=sensitive, **options)
        assert (found["test_score"] <= 0).all()
        with pytest.raises(InputError, match="no sensitive_features reached the scorer"):
            cross_validate(model, X, y, **options)
