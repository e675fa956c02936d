"""What models see of stays: grids, fills, times; 13 and 14 are properties of the specification's section 12."""

import dataclasses
import json

import numpy as np
import pytest

from auscult.core.data import Cohort, Feature
from auscult.core.errors import InputError
from auscult.sparse_ehr.inputs import Preparer, in_chunks, to_grid

FEATURES = (Feature("heart rate"), Feature("rhythm", kind="categorical", levels=("sinus", "other")))
SEX = (Feature("sex", kind="categorical", levels=("female", "male")), Feature("age"))


def make_cohort(count=6, seed=0, steps=5):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.choice(30, (count, steps)), axis=1).astype(float)
    time += np.arange(steps) * 0.1
    values = np.dstack([rng.normal(80, 10, (count, steps)), rng.integers(0, 2, (count, steps))])
    values[rng.random(values.shape) < 0.4] = np.nan
    return Cohort(
        record_id=np.arange(count), subject_id=np.arange(count), time=time, values=values,
        length=np.full(count, steps), features=FEATURES, static_features=SEX,
        static=np.column_stack([rng.integers(0, 2, count), rng.normal(60, 10, count)]),
    )  # fmt: skip


def make_array(count=5, steps=6, features=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, steps, features))
    X[rng.random(X.shape) < 0.5] = np.nan
    return X


def test_a_cohort_is_binned_and_an_array_stays():
    cohort = make_cohort()
    grid = to_grid(cohort, bin_hours=4, window_hours=24)
    assert grid.time.shape == (6, 6)
    assert (grid.length == 6).all()
    assert grid.values.shape == (6, 6, 2)
    X = make_array()
    grid = to_grid(X, np.ones((5, 2)))
    np.testing.assert_array_equal(grid.values, X.astype(np.float32))
    assert [feature.name for feature in grid.static_features] == ["static0", "static1"]


def test_gridding_twice_is_gridding_once():
    grid = to_grid(make_cohort())
    again = to_grid(grid)
    np.testing.assert_array_equal(again.values, grid.values)
    np.testing.assert_array_equal(again.time, grid.time)


def test_steps_before_the_stay_are_left_out_and_counted():
    cohort = make_cohort()
    early = dataclasses.replace(cohort, time=cohort.time - 50)
    with pytest.warns(UserWarning, match="before hour 0"):
        grid = to_grid(early)
    assert np.isnan(grid.values).all()


def test_times_and_fills_against_a_loop():
    """13: locf and time since the last record, by a loop over cells."""
    X = make_array(count=4, steps=7)
    grid = to_grid(X, bin_hours=2.0)
    inputs = Preparer(missing_inputs=False).fit(grid).transform(grid)
    median = {}
    for f in range(3):
        values = grid.values[..., f][~np.isnan(grid.values[..., f])].astype(np.float64)
        low, high = np.quantile(values, [0.05, 0.95])
        values = values[(values > low) & (values < high)]
        median[f] = (np.median(values) - values.mean()) / values.std(ddof=1), values.mean(), values.std(ddof=1)
    for n in range(4):
        for f in range(3):
            last, since = None, np.inf
            for t in range(7):
                if not np.isnan(X[n, t, f]):
                    last, since = X[n, t, f], 0.0
                expected = median[f][0] if last is None else (np.float32(last) - median[f][1]) / median[f][2]
                assert inputs.values[n, t, f] == pytest.approx(expected, rel=1e-4, abs=1e-5)
                assert inputs.hours[n, t, f] == since
                since += 2.0
    finite = inputs.hours[np.isfinite(inputs.hours)]
    assert finite.max() <= (7 - 1) * 2.0


def test_filling_what_is_filled_changes_nothing():
    """13."""
    grid = to_grid(make_array())
    preparer = Preparer(missing_inputs=False).fit(grid)
    once = preparer.transform(grid).values
    scale, mean = preparer._filler.statistics_.sd, preparer._filler.statistics_.mean
    filled = to_grid(once * scale + mean)
    np.testing.assert_allclose(preparer.transform(filled).values, once, rtol=1e-5, atol=1e-6)


def test_a_step_does_not_know_of_later_ones():
    """13."""
    X = make_array()
    changed = X.copy()
    changed[:, 3:] = make_array(seed=1)[:, 3:]
    preparer = Preparer().fit(to_grid(X))
    one, two = (preparer.transform(to_grid(array)) for array in (X, changed))
    np.testing.assert_array_equal(one.values[:, :3], two.values[:, :3])
    np.testing.assert_array_equal(one.hours[:, :3], two.hours[:, :3])
    assert not np.array_equal(one.values, two.values)


def test_only_training_stays_are_learnt_from():
    """14."""
    X = make_array(count=20)
    changed = X.copy()
    changed[15:] *= 100
    one, two = (Preparer().fit(to_grid(array), slice(15)) for array in (X, changed))
    assert one.to_dict() == two.to_dict()
    np.testing.assert_array_equal(one.presence_rate_, (~np.isnan(X[:15])).mean((0, 1)))


def test_columns_of_levels_and_of_what_is_missing():
    cohort = make_cohort()
    grid = to_grid(cohort)
    preparer = Preparer().fit(grid)
    assert preparer.widths_ == (3, 4)
    assert preparer.n_static_ == 3
    inputs = preparer.transform(grid)
    measured = ~np.isnan(grid.values)
    np.testing.assert_array_equal(inputs.values[..., 1], measured[..., 0])
    np.testing.assert_array_equal(inputs.values[..., 2] == 0, np.isinf(inputs.hours[..., 0]))
    np.testing.assert_array_equal(inputs.values[..., 2] == 1, measured[..., 0])
    never = np.isinf(inputs.hours[..., 1])
    assert (inputs.values[..., 3:5][never] == -1).all()
    assert (inputs.values[..., 3:5][~never].sum(1) == 1).all()
    assert not np.isnan(inputs.values).any()


def test_what_stands_for_an_unknown_level_can_be_chosen():
    grid = to_grid(make_cohort())
    one, two = (Preparer(unknown=unknown).fit(grid).transform(grid).values[..., 3:5] for unknown in (-1.0, 0.0))
    np.testing.assert_array_equal(np.maximum(one, 0), two)
    assert not np.array_equal(one, two)


def test_it_comes_back_from_json():
    grid = to_grid(make_cohort())
    preparer = Preparer().fit(grid)
    loaded = Preparer.from_dict(json.loads(json.dumps(preparer.to_dict())))
    one, two = preparer.transform(grid), loaded.transform(grid)
    for name in ("values", "static", "hours"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert (loaded.widths_, loaded.n_static_, loaded.horizon_) == (preparer.widths_, preparer.n_static_, 48.0)


def test_columns_in_another_order_and_levels_with_other_codes():
    cohort = make_cohort()
    preparer = Preparer().fit(to_grid(cohort))
    values = cohort.values[..., ::-1].copy()
    values[..., 0] = 2 - values[..., 0]  # codes: sinus 2, other 1
    moved = dataclasses.replace(
        cohort, values=values, static=cohort.static[:, ::-1],
        features=(Feature("rhythm", kind="categorical", levels=("flutter", "other", "sinus")), FEATURES[0]),
        static_features=SEX[::-1],
    )  # fmt: skip
    expected = preparer.transform(to_grid(cohort))
    found = preparer.transform(preparer.align(to_grid(moved)))
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.static, expected.static)


def test_an_unknown_level_is_missing():
    cohort = make_cohort()
    preparer = Preparer().fit(to_grid(cohort))
    features = (FEATURES[0], Feature("rhythm", kind="categorical", levels=("flutter", "sinus")))
    with pytest.warns(UserWarning, match="rhythm"):
        aligned = preparer.align(to_grid(dataclasses.replace(cohort, features=features)))
    assert (np.isnan(aligned.values[..., 1]) | (aligned.values[..., 1] == 0)).all()


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ((Feature("heart rat"), FEATURES[1]), "'heart rate'.*nearest there is 'heart rat'"),
        ((Feature("heart rate"), Feature("rhythm")), "'rhythm' is numeric"),
    ],
)
def test_other_columns_are_refused(features, words):
    preparer = Preparer().fit(to_grid(make_cohort()))
    with pytest.raises(InputError, match=words):
        preparer.align(to_grid(dataclasses.replace(make_cohort(), features=features)))


def test_a_column_that_the_fit_did_not_know_is_refused():
    cohort = make_cohort()
    more = dataclasses.replace(
        cohort, values=np.dstack([cohort.values, cohort.values[..., 0]]), features=(*FEATURES, Feature("glucose"))
    )
    with pytest.raises(InputError, match="'glucose' was not there"):
        Preparer().fit(to_grid(cohort)).align(to_grid(more))


@pytest.mark.parametrize(
    ("X", "static", "words"),
    [
        (np.zeros((2, 3)), None, "2 dimensions"),
        (np.zeros((2, 0, 3)), None, "at least one step"),
        (np.full((2, 3, 1), np.inf), None, "infinite"),
        (np.zeros((2, 3, 1)), np.zeros((3, 1)), "3 rows for 2 stays"),
        ([[["high"]]], None, "no array of numbers"),
        (make_cohort(), np.zeros((6, 1)), "beside a cohort"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(X, static, words):
    with pytest.raises(InputError, match=words):
        to_grid(X, static)


def test_another_number_of_steps_is_refused():
    preparer = Preparer().fit(to_grid(make_array(steps=6)))
    with pytest.raises(InputError, match="have 5 steps, but those of the fit had 6"):
        preparer.align(to_grid(make_array(steps=5)))


@pytest.mark.parametrize("size", [1, 4, 100])
def test_chunks_cover_everything_once(size):
    X, static = make_array(count=9), np.arange(9.0)[:, None]
    parts = list(in_chunks(X, static, size))
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), X.astype(np.float32))
    np.testing.assert_array_equal(np.concatenate([part.static for part in parts]), static)
    cohort = make_cohort()
    parts = list(in_chunks(cohort, None, size, bin_hours=4, window_hours=24))
    expected = to_grid(cohort, bin_hours=4, window_hours=24)
    for name in ("values", "time", "static", "record_id"):
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(found, getattr(expected, name))
    with pytest.raises(InputError, match="beside a cohort"):
        list(in_chunks(cohort, static, size))


def test_steps_before_the_stay_are_counted_once_over_all_chunks():
    cohort = make_cohort()
    early = dataclasses.replace(cohort, time=cohort.time - 50)
    with pytest.warns(UserWarning, match="30 steps lie before hour 0") as told:
        list(in_chunks(early, None, 2))
    assert len(told) == 1


def test_the_model_may_see_what_is_known_at_every_third_step():
    X = make_array(steps=7)
    grid = to_grid(X)
    hourly, coarse = (Preparer(every=every).fit(grid).transform(grid) for every in (1, 3))
    seen = [0, 3, 6]
    np.testing.assert_array_equal(coarse.hours, hourly.hours[:, seen])
    np.testing.assert_array_equal(coarse.values[..., 0::3], hourly.values[:, seen, 0::3])
    measured = [[np.isfinite(X[:, max(0, step - 2) : step + 1]).any(1)] for step in seen]
    np.testing.assert_array_equal(coarse.values[..., 1::3] == 1, np.concatenate(measured).swapaxes(0, 1))
    preparer = Preparer.from_dict(json.loads(json.dumps(Preparer(every=3).fit(grid).to_dict())))
    np.testing.assert_array_equal(preparer.transform(grid).values, coarse.values)
    hours, step = preparer.cells(grid)
    np.testing.assert_array_equal(hours, hourly.hours)
    assert step.tolist() == [0, 1, 1, 1, 2, 2, 2]


def test_long_tails_end_at_four_standard_deviations():
    X = make_array(count=200)
    X[0, 0, 0] = 1e5
    inputs = Preparer().fit(to_grid(X)).transform(to_grid(X))
    assert inputs.values[..., 0].max() == 4
