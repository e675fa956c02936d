"""Consistency against loops over rows, counterfactual flips over data frames."""

import doctest
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import NearestNeighbors

from auscult.core.errors import InputError
from auscult.m3fair.metrics import individual
from auscult.m3fair.metrics.individual import consistency, counterfactual_flips


def sample(seed, n=60, d=3):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) * [1, 10, 0.1][:d], random.integers(0, 2, n), random.uniform(0, 3, n)


def consistency_by_loop(x, y, w, k):
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    apart = []
    for i in range(len(x)):
        distance = np.sqrt(((z - z[i]) ** 2).sum(axis=1))
        near = [j for j in np.argsort(distance) if j != i][:k]
        apart.append(abs(y[i] - np.mean(y[near])))
    return 1 - np.average(apart, weights=w)


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(individual).failed == 0


@pytest.mark.parametrize("k", [1, 5, 59])
@pytest.mark.parametrize("seed", range(3))
def test_consistency_against_a_loop_over_rows(seed, k):
    x, y, w = sample(seed)
    assert consistency(x, y, w, k=k) == pytest.approx(consistency_by_loop(x, y, w, k))
    assert consistency(x, y, k=k) == pytest.approx(consistency_by_loop(x, y, None, k))


def test_aif360_finds_each_row_among_its_own_neighbours_and_does_not_scale():
    x, y, _ = sample(4)
    near = NearestNeighbors(n_neighbors=5, algorithm="ball_tree").fit(x).kneighbors(x, return_distance=False)
    assert (near[:, 0] == np.arange(len(x))).all()
    expected = 1 - np.mean([abs(y[i] - y[near[i]].mean()) for i in range(len(x))])
    assert consistency(x, y, compat="aif360") == pytest.approx(expected)
    assert consistency(x, y, compat="aif360") != pytest.approx(consistency(x, y))
    assert consistency(x, y, k=1, compat="aif360") == 1


def test_alike_treatment_is_consistent_and_alternation_is_not():
    x = np.arange(12.0)[:, None]
    assert consistency(x, np.zeros(12)) == 1
    assert consistency(np.repeat(x, 6, axis=0), np.repeat(np.arange(12) % 2, 6)) == 1
    pairs = np.repeat(np.arange(6.0), 2)[:, None]
    assert consistency(pairs, np.arange(12) % 2, k=1) == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_order_of_rows_matters_though_places_tie(seed):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 2, (50, 4)), random.integers(0, 2, 50)
    w = random.uniform(0, 2, 50)
    expected = consistency(x, y, w)
    for _ in range(5):
        order = random.permutation(50)
        assert consistency(x[order], y[order], w[order]) == pytest.approx(expected, rel=1e-12)
    assert consistency(x * [1, 100, 0.01, 1] + 5, y, w) == pytest.approx(expected)


def test_rows_with_the_same_features_share_a_place_equally():
    x = np.array([[0.0], [0.0], [0.0], [1.0], [9.0], [9.0]])
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    # At 0 each row sees the two others there and the row at 1; the row at 1 sees the three at 0; at 9 each sees
    # the other one, the row at 1, and one of the three at 0, of whom a third is positive.
    near = [(0 + 0 + 1) / 3, (1 + 0 + 1) / 3, (1 + 0 + 1) / 3, 1 / 3, (0 + 1 + 1 / 3) / 3, (1 + 1 + 1 / 3) / 3]
    assert consistency(x, y, k=3) == pytest.approx(1 - np.mean(np.abs(y - near)))


def test_a_constant_feature_says_nothing():
    x, y, w = sample(5)
    assert consistency(np.column_stack([x, np.full(len(x), 3.0)]), y, w) == pytest.approx(consistency(x, y, w))


def test_weights_count_rows_and_not_neighbours():
    x, y, w = sample(6)
    assert consistency(x, y, w * 100) == pytest.approx(consistency(x, y, w))
    alone = np.zeros(len(y))
    alone[7] = 2.0
    assert consistency(x, y, alone) == pytest.approx(consistency_by_loop(x, y, alone, 5))


@pytest.mark.parametrize(("n", "compat"), [(0, None), (5, None), (4, "aif360"), (0, "aif360")])
def test_too_few_rows_have_no_neighbours(n, compat):
    assert math.isnan(consistency(np.zeros((n, 2)), np.zeros(n), compat=compat))


def test_no_weight_is_undefined():
    assert math.isnan(consistency(np.zeros((9, 2)), np.zeros(9), np.zeros(9)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[0.0]], [0]), {"k": 0}, "k=0"),
        (([[0.0]], [0]), {"compat": "fairlearn"}, "compat='fairlearn'"),
        (([[math.nan]], [0]), {}, "feature 0 of row 0 is nan"),
        (([["old"]], [0]), {}, "features are not all numbers"),
        (([0.0, 1.0], [0, 1]), {}, r"features have shape \(2,\)"),
        (([[0.0]], [0, 1]), {}, "1 rows of features and 2 decisions"),
        (([[0.0]], [2]), {}, "the decision of row 0 is 2"),
        (([[0.0]], [1], [1, 1]), {}, "2 weights for 1 rows"),
    ],
)
def test_what_consistency_cannot_use_is_explained(arguments, options, message):
    with pytest.raises(InputError, match=message):
        consistency(*arguments, **options)


PEOPLE = {"sex": ["F", "M", "F", "M", "F"], "risk": [0.1, 0.2, 0.45, 0.6, 0.9]}
WEIGHT = [1, 9, 2, 9, 1]


def predict(data):
    """Return a score that gives men 0.1 more; for any frame."""
    sex = [value.as_py() if hasattr(value, "as_py") else value for value in data["sex"]]
    risk = [float(value.as_py() if hasattr(value, "as_py") else value) for value in data["risk"]]
    return np.array(risk) + 0.1 * np.array([one == "M" for one in sex])


FRAMES = {
    "pandas": pd.DataFrame(PEOPLE, index=[7, 7, 2, 1, 0]),
    "pandas categories": pd.DataFrame(PEOPLE).astype({"sex": "category"}),
    "pandas arrow": pd.DataFrame(PEOPLE).convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.DataFrame(PEOPLE),
    "polars categories": pl.DataFrame(PEOPLE, schema_overrides={"sex": pl.Categorical}),
    "pyarrow": pa.table(PEOPLE),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_flips_of_every_frame(frame):
    seen = []

    def watch(data):
        seen.append(data)
        return predict(data)

    found = counterfactual_flips(watch, frame, "sex", "M", weight=WEIGHT, threshold=0.5)
    assert found.n == 3
    assert found.flip_rate == pytest.approx(2 / 4)
    assert found.mean_absolute_change == pytest.approx(0.1)
    before, after = seen
    assert type(after) is type(frame)
    assert list(before["sex"]) == list(frame["sex"])
    assert [str(value) for value in after["sex"]] == ["M"] * 5
    assert list(after["risk"]) == list(frame["risk"])
    kind = "dtypes" if isinstance(frame, pd.DataFrame) else "schema"
    assert str(getattr(after, kind)) == str(getattr(frame, kind))
    if isinstance(frame, pd.DataFrame):
        assert after.index.tolist() == frame.index.tolist()
        assert frame["sex"].tolist() == PEOPLE["sex"]


def test_flips_of_an_array():
    x = np.column_stack([[0, 1, 0, 1, 0], PEOPLE["risk"]])
    kept = x.copy()
    found = counterfactual_flips(lambda rows: rows[:, 1] + 0.1 * rows[:, 0], x, 0, 1, weight=WEIGHT, threshold=0.5)
    assert found == counterfactual_flips(predict, FRAMES["pandas"], "sex", "M", weight=WEIGHT, threshold=0.5)
    assert np.array_equal(x, kept)


def test_a_model_that_ignores_the_attribute_never_flips():
    found = counterfactual_flips(lambda data: data["risk"].to_numpy(), FRAMES["pandas"], "sex", "F", threshold=0.5)
    assert (found.flip_rate, found.mean_absolute_change, found.n) == (0, 0, 2)


def test_decisions_may_be_text():
    found = counterfactual_flips(
        lambda data: np.where(data["sex"] == "M", "treat", "wait"), FRAMES["pandas"], "sex", "M", weight=WEIGHT
    )
    assert (found.flip_rate, found.n) == (1, 3)
    assert math.isnan(found.mean_absolute_change)


def test_a_duplicated_row_is_a_weight():
    frame = FRAMES["pandas"]
    weighted = counterfactual_flips(predict, frame, "sex", "M", weight=WEIGHT, threshold=0.5)
    repeated = counterfactual_flips(predict, frame.iloc[np.repeat(range(5), WEIGHT)], "sex", "M", threshold=0.5)
    assert repeated.flip_rate == pytest.approx(weighted.flip_rate)
    assert repeated.mean_absolute_change == pytest.approx(weighted.mean_absolute_change)


@pytest.mark.parametrize(
    ("values", "value", "count"),
    [
        (pd.array(["F", "M", None, "M", None], dtype="string"), "M", 3),
        (pd.array(["F", "M", None, "M", None], dtype="string"), None, 3),
        (np.array(["F", "M", np.nan, "M", np.nan], dtype=object), np.nan, 3),
        (pd.to_datetime(["2020-01-01", "2021-01-01", None, "2021-01-01", None]), pd.Timestamp("2021-01-01"), 3),
    ],
)
def test_missing_values_and_dates_are_values_to_set(values, value, count):
    frame = FRAMES["pandas"].assign(sex=pd.Series(values, index=FRAMES["pandas"].index))
    found = counterfactual_flips(lambda rows: rows["sex"].isna().to_numpy(), frame, "sex", value)
    before = frame["sex"].isna().to_numpy()
    assert found.n == count
    assert found.flip_rate == pytest.approx((before != pd.isna(value)).sum() / count)


def test_nobody_to_change_is_undefined():
    for frame, weight in ((FRAMES["pandas"].iloc[[1, 3]], None), (FRAMES["pandas"], [0, 1, 0, 1, 0])):
        found = counterfactual_flips(predict, frame, "sex", "M", weight=weight, threshold=0.5)
        assert math.isnan(found.flip_rate)
        assert math.isnan(found.mean_absolute_change)
        assert found.n == 0


def test_a_model_on_categories_sees_its_categories():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": pd.Categorical(random.choice(["F", "M"], 200)), "risk": random.uniform(size=200)})
    label = (frame["sex"] == "M").to_numpy() & (frame["risk"] > 0.3).to_numpy()
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=30).fit(frame, label)
    found = counterfactual_flips(model.predict, frame, "sex", "F")
    positive = model.predict(frame[frame["sex"] == "M"]).mean()
    assert found.flip_rate == pytest.approx(positive)
    assert positive > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "age"}, "no column 'age'; there are 'sex', 'risk'"),
        ({"value": "X"}, "'X' does not occur in column 'sex': it has 'F', 'M'"),
        ({"predict": lambda data: np.zeros((len(data), 2))}, r"shape \(5, 2\) for 5 rows"),
        ({"predict": lambda data: ["yes"] * len(data), "threshold": 0.5}, r"threshold=0\.5 needs scores"),
        ({"weight": [1, 2]}, "2 weights for 5 rows"),
        ({"data": np.zeros((3, 2)), "column": 2}, r"shape \(3, 2\) has no column 2"),
    ],
)
def test_what_flips_cannot_use_is_explained(change, message):
    arguments = {"predict": predict, "data": FRAMES["pandas"], "column": "sex", "value": "M", **change}
    with pytest.raises(InputError, match=message):
        counterfactual_flips(**arguments)
