import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.data import (
    Binning,
    Cohort,
    Feature,
    Filler,
    carry_forward,
    first_steps,
    last_steps,
    load_cohort,
    presence_rate,
    split_subjects,
    stay_statistics,
    time_since_last,
    trimmed_statistics,
)
from auscult.core.data.ragged import gather
from auscult.core.errors import InputError

FEATURES = (Feature("heart rate"), Feature("rhythm", kind="categorical", levels=("sinus", "other")), Feature("urine"))


def make(stays, labels=None, anchor=None):
    """Make a cohort of lists of (time, [values]) steps."""
    steps = max([len(stay) for stay in stays] + [1])
    time = np.full((len(stays), steps), np.nan)
    values = np.full((len(stays), steps, len(FEATURES)), np.nan)
    for i, stay in enumerate(stays):
        for j, (hour, row) in enumerate(stay):
            time[i, j], values[i, j] = hour, row
    numbers = np.arange(len(stays))
    return Cohort(
        record_id=numbers, subject_id=numbers, time=time, values=values, length=[len(stay) for stay in stays],
        features=FEATURES, labels=labels or {}, anchor=anchor,
    )  # fmt: skip


def rows(cohort, stay=0):
    """Return a stay as lists of time and values, None where missing."""
    n = cohort.length[stay]
    blank = cohort.values[stay, :n].astype(object)
    blank[np.isnan(cohort.values[stay, :n])] = None
    return list(zip(cohort.time[stay, :n].tolist(), blank.tolist(), strict=True))


x = None
cells = st.one_of(st.none(), st.integers(0, 5).map(float))


@st.composite
def cohorts(draw):
    stays = []
    for _ in range(draw(st.integers(1, 5))):
        times = sorted(draw(st.sets(st.sampled_from([-1.5, -1, 0, 0.25, 1, 1.75, 2, 3.5, 4, 4.25, 6, 8]), max_size=7)))
        rhythm = st.one_of(st.none(), st.sampled_from([0.0, 1.0]))
        stays.append([(hour, [draw(cells), draw(rhythm), draw(cells)]) for hour in times])
    label = np.full((len(stays), max([len(stay) for stay in stays] + [1])), np.nan)
    for i, stay in enumerate(stays):
        label[i, : len(stay)] = np.arange(len(stay))[::-1]
    return make(stays, {"los_days": label, "mortality": np.arange(len(stays)) % 2})


some = settings(deadline=None, derandomize=True, max_examples=150)


# The published numbers of TJH's training split.


@pytest.fixture(scope="module")
def tjh():
    cohort = load_cohort("tjh")
    split = split_subjects(
        cohort.subject_id,
        stratify=cohort.labels["mortality"],
        fractions={"train": 0.3, "validation": 0.1, "test": 0.6},
        seed=42,
    )
    return cohort, split.index(cohort.subject_id)["train"]


def test_tjh_medians_are_those_of_the_reference(tjh):
    cohort, train = tjh
    filler = Filler(standardize=False, preset="seed").fit(cohort, train)
    medians = {
        name: filler.statistics_.median[cohort.feature_index(name)]
        for name in ("Lactate dehydrogenase", "albumin", "PH value")
    }
    assert medians == pytest.approx({"Lactate dehydrogenase": 339, "albumin": 31.65, "PH value": 6.5}, rel=1e-6)
    assert filler.static_statistics_.median[1] == 59
    assert np.isnan(filler.static_statistics_.median[0])  # sex is categorical
    # Counted once a stay, not once a day, the median age is another.
    assert Filler().fit(cohort, train).static_statistics_.median[1] == 61


def test_tjh_lengths_of_stay_are_those_of_the_reference(tjh):
    cohort, train = tjh
    found = stay_statistics(cohort.labels["los_days"][train])
    assert found.mean == pytest.approx(7.7710, abs=5e-5)
    assert found.sd == pytest.approx(5.8324, abs=5e-5)
    assert (found.median, found.large_los, found.threshold) == (6, 27, 5.175)


def fill_with_pandas(cohort, train):
    """Return the filled and scaled steps, one a row, stay after stay."""
    stay = np.repeat(np.arange(len(cohort)), cohort.length)
    frame = pd.DataFrame(cohort.values[cohort.valid].astype(float))
    pooled = frame[np.isin(stay, train)]
    kept = pooled.where((pooled > pooled.quantile(0.05)) & (pooled < pooled.quantile(0.95)))
    mean, sd, median = (statistic.fillna(0) for statistic in (kept.mean(), kept.std(), kept.median()))
    scaled = (frame - mean) / (sd + 1e-12)
    scaled = scaled.mask(scaled.abs() > 1e4, 0)
    return scaled.groupby(stay).ffill().fillna((median - mean) / (sd + 1e-12))


def test_filling_equals_an_independent_one(tjh):
    cohort, train = tjh
    filled = Filler(preset="seed").fit(cohort, train).transform(cohort)
    np.testing.assert_allclose(filled.values[cohort.valid], fill_with_pandas(cohort, train), rtol=1e-5, atol=1e-5)
    assert np.isnan(filled.values[~cohort.valid]).all()


def test_a_standardised_column_is_the_filled_one_scaled(tjh):
    cohort, train = tjh
    raw = Filler(standardize=False).fit(cohort, train)
    scaled = Filler().fit(cohort, train).transform(cohort).values
    mean, sd, _, _ = raw.statistics_
    np.testing.assert_allclose(scaled, (raw.transform(cohort).values - mean) / (sd + 1e-12), rtol=1e-3, atol=1e-4)


# What must hold on any data.


@some
@given(cohorts())
def test_statistics_are_the_slow_ones(cohort):
    values = cohort.values[cohort.valid]
    for low in (0.05, 0.2):
        found = trimmed_statistics(values, trim=low)
        for i in range(3):
            column = pd.Series(values[:, i].astype(float)).dropna()
            kept = column[(column > column.quantile(low)) & (column < column.quantile(1 - low))]
            expected = [kept.mean(), kept.std(), kept.median(), len(kept)]
            np.testing.assert_allclose([part[i] for part in found], expected, rtol=1e-12)


@some
@given(cohorts())
def test_carrying_forward_and_time_since_are_the_slow_ones(cohort):
    carried = carry_forward(cohort.values)
    hours, never = time_since_last(cohort)
    for i in range(len(cohort)):
        for f in range(3):
            seen, at = np.nan, None
            for j in range(cohort.length[i]):
                if cohort.observed[i, j, f]:
                    seen, at = cohort.values[i, j, f], cohort.time[i, j]
                np.testing.assert_equal(carried[i, j, f], seen)
                assert never[i, j, f] == (at is None)
                assert hours[i, j, f] == (np.inf if at is None else cohort.time[i, j] - at)
    assert np.isnan(hours[~cohort.valid]).all()
    assert not never[~cohort.valid].any()
    np.testing.assert_equal(carry_forward(carried), carried)


@some
@given(cohorts(), st.data())
def test_nothing_before_a_step_changes_when_it_does(cohort, data):
    valid = np.argwhere(cohort.valid)
    if not len(valid):
        return
    i, j = data.draw(st.sampled_from(valid.tolist()))
    values = cohort.values.copy()
    values[i, j] = data.draw(st.sampled_from([[9, 1, 9], [np.nan, 0, np.nan]]))
    edited = dataclasses.replace(cohort, values=values)
    filler = Filler().fit(cohort)
    before, after = filler.transform(cohort), filler.transform(edited)
    others = np.arange(len(cohort)) != i
    for old, new in [
        *zip(before, after, strict=True),
        *zip(time_since_last(cohort), time_since_last(edited), strict=True),
    ]:
        if old.ndim == 3:
            np.testing.assert_equal(new[i, :j], old[i, :j])
        np.testing.assert_equal(new[others], old[others])


@some
@given(cohorts())
def test_what_is_filled_is_observed_carried_or_the_median(cohort):
    if not cohort.length.sum():
        return
    filler = Filler(standardize=False, unknown=-7).fit(cohort)
    filled = filler.transform(cohort)
    never = time_since_last(cohort).never
    assert not (filled.observed & filled.carried).any()
    np.testing.assert_equal(
        filled.observed | filled.carried | never, np.broadcast_to(cohort.valid[..., None], never.shape)
    )
    np.testing.assert_equal(filled.values[filled.observed], cohort.values[cohort.observed])
    expected = np.where([False, True, False], -7, filler.statistics_.median).astype(np.float32)
    np.testing.assert_equal(filled.values[never], np.broadcast_to(expected, never.shape)[never])


def test_training_statistics_do_not_know_the_test_stays(tjh):
    cohort, train = tjh
    test = np.setdiff1d(np.arange(len(cohort)), train)
    values, static = cohort.values.copy(), cohort.static.copy()
    values[test] *= 3
    static[test, 1] += 5
    edited = dataclasses.replace(cohort, values=values, static=static)
    one, two = Filler().fit(cohort, train), Filler().fit(edited, train)
    for a, b in zip(
        [*one.statistics_, *one.static_statistics_], [*two.statistics_, *two.static_statistics_], strict=True
    ):
        np.testing.assert_equal(a, b)
    np.testing.assert_equal(one.presence_rate_, two.presence_rate_)
    np.testing.assert_equal(one.transform(cohort).values[train], two.transform(edited).values[train])


def test_presence_is_counted_over_steps_of_the_training_stays():
    cohort = make([[(0, [1, x, 2]), (1, [x, x, 2]), (2, [x, 1, 2])], [(0, [1, x, x])]])
    assert presence_rate(cohort).tolist() == [0.5, 0.25, 0.75]
    assert Filler().fit(cohort, [1]).presence_rate_.tolist() == [1, 0, 0]
    assert np.isnan(presence_rate(make([[]]))).all()


def test_a_constant_column_keeps_its_value_and_the_seed_makes_it_0():
    cohort = make([[(0, [x, x, x]), (1, [4, x, x]), (2, [4, 1, x])]])
    filled = Filler(standardize=False).fit(cohort).transform(cohort)
    np.testing.assert_equal(filled.values[0], [[4, -1, 0], [4, -1, 0], [4, 1, 0]])
    assert Filler(standardize=False, preset="seed").fit(cohort).transform(cohort).values[0, 0, 0] == 0
    scaled = Filler().fit(cohort).transform(make([[(0, [4, 0, x]), (1, [5, 1, x])]]))
    np.testing.assert_equal(scaled.values[0], [[0, 0, 0], [0, 1, 0]])  # 5 would be 1e12 deviations away


def test_a_stay_without_steps_is_filled_with_nothing():
    cohort = make([[(0, [1, 1, 1])], []])
    filled = Filler().fit(cohort, [0]).transform(cohort)
    assert np.isnan(filled.values[1]).all()
    assert not filled.carried[1].any()


def test_static_gaps_get_the_median_and_unknown():
    cohort = dataclasses.replace(
        make([[(0, [1, 1, 1])]] * 4),
        static=[[20, 0], [40, 1], [np.nan, np.nan], [90, 1]],
        static_features=(Feature("age"), Feature("sex", kind="categorical", levels=("female", "male"))),
    )
    filled = Filler(standardize=False).fit(cohort, slice(0, 3)).transform(cohort)
    assert filled.static.tolist() == [[20, 0], [40, 1], [30, -1], [90, 1]]


def test_wrong_use_of_a_filler_is_explained():
    cohort = make([[(0, [1, 1, 1])], []])
    with pytest.raises(InputError, match="the 1 stays to fit on have no step: choose others"):
        Filler().fit(cohort, [1])
    with pytest.raises(InputError, match="call fit first"):
        Filler().transform(cohort)
    with pytest.raises(InputError, match="features are not those that were fitted"):
        Filler().fit(cohort).transform(load_cohort("tjh"))
    per_minute = dataclasses.replace(cohort, features=(Feature("heart rate", unit="/min"), *FEATURES[1:]))
    hertz = dataclasses.replace(cohort, features=(Feature("heart rate", unit="Hz"), *FEATURES[1:]))
    swapped = Feature("rhythm", kind="categorical", levels=("other", "sinus"))
    swapped = dataclasses.replace(cohort, features=(FEATURES[0], swapped, FEATURES[2]))
    with pytest.raises(InputError, match="'heart rate' has the unit 'Hz', and had '/min' in the fit"):
        Filler().fit(per_minute).transform(hertz)
    with pytest.raises(InputError, match="'rhythm' has the levels"):
        Filler().fit(cohort).transform(swapped)
    assert Filler().fit(cohort).transform(hertz).values.shape == (2, 1, 3)  # a unit that is not known may be any
    with pytest.raises(InputError, match="no preset 'paper'"):
        Filler(preset="paper")
    with pytest.raises(InputError, match="no stay has a known length"):
        stay_statistics([np.nan])


def test_lengths_of_stay_may_be_one_a_stay():
    found = stay_statistics([1, 2, 3, 4, np.nan])
    assert found == pytest.approx((2.5, np.sqrt(0.5), 2.5, 3.85, 1.25))
    remaining = stay_statistics([[1, np.nan], [2, 1], [3, 2], [4, 1]])
    assert (remaining.large_los, remaining.threshold) == (found.large_los, found.threshold)


# Bins.


def slow_bins(cohort, way, *, hours, edge, pre_anchor, end, origin):
    """Bin with Python loops; return {(stay, bin): row}."""
    found = {}
    for i in range(len(cohort)):
        times = cohort.time[i, : cohort.length[i]].tolist()
        start = times[0] if origin == "first_event" and times else 0
        for j, hour in enumerate(times):
            since = hour - start
            if (since < 0 and pre_anchor == "drop") or (end is not None and since > end):
                continue
            index = since // hours
            if edge == "previous" and since % hours == 0 and since != 0:
                index -= 1
            if end is not None and index * hours >= end:
                index -= 1
            if pre_anchor == "fold_into_0":
                index = max(index, 0)
            found.setdefault((i, start + index * hours), []).append(cohort.values[i, j])
    reduce = {
        "mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max, "first": lambda v: v[0], "last": lambda v: v[-1]
    }  # fmt: skip
    result = {}
    for key, steps in found.items():
        columns = [np.array(column)[~np.isnan(column)].astype(float) for column in np.transpose(steps)]
        ways = [way, way if way == "first" else "last", way]
        result[key] = [reduce[w](v) if len(v) else np.nan for w, v in zip(ways, columns, strict=True)]
    return result


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    cohorts(),
    st.sampled_from(["mean", "sum", "min", "max", "first", "last"]),
    st.fixed_dictionaries(
        {
            "hours": st.sampled_from([1.0, 2.0, 0.5]),
            "edge": st.sampled_from(["next", "previous"]),
            "pre_anchor": st.sampled_from(["drop", "keep", "fold_into_0"]),
            "end": st.sampled_from([None, 4.0]),
            "origin": st.sampled_from(["anchor", "first_event"]),
        }
    ),
)
def test_binning_equals_a_slow_one(cohort, way, options):
    binned = Binning(aggregate=way, **options).apply(cohort)
    expected = slow_bins(cohort, way, **options)
    places = np.argwhere(binned.valid)
    assert {(i, binned.time[i, j].item()) for i, j in places} == set(expected)
    for i, j in places:
        np.testing.assert_allclose(binned.values[i, j], expected[i, binned.time[i, j].item()], rtol=1e-6)
    assert binned.attrition[-1].rows == binned.length.sum()
    dropped = binned.attrition[-2]
    assert dropped.rows + dropped.changed == cohort.length.sum()


@some
@given(cohorts())
def test_fine_bins_then_coarse_ones_are_coarse_ones(cohort):
    coarse = Binning(hours=4, pre_anchor="keep")
    assert (
        coarse.apply(Binning(hours=1, pre_anchor="keep").apply(cohort)).fingerprint()
        == coarse.apply(cohort).fingerprint()
    )


@some
@given(cohorts())
def test_empty_bins_are_steps_without_values(cohort):
    binned = Binning(hours=1, end=5, empty="keep").apply(cohort)
    assert binned.time.tolist() == [[0, 1, 2, 3, 4]] * len(cohort)
    assert np.isnan(binned.values).sum() > 0
    compact = Binning(hours=1, end=5).apply(cohort)
    for i in range(len(cohort)):
        for j in range(compact.length[i]):
            np.testing.assert_equal(binned.values[i, int(compact.time[i, j])], compact.values[i, j])
    assert binned.observed.sum() == compact.observed.sum()


def test_edges_ends_and_times_before_the_anchor():
    cohort = make([[(-59 / 60, [1, x, x]), (0, [2, x, x]), (1, [3, x, x]), (48, [4, x, x]), (48.5, [5, x, x])]])
    kept = Binning(pre_anchor="keep", end=48).apply(cohort)
    assert rows(kept) == [(-1, [1, x, x]), (0, [2, x, x]), (1, [3, x, x]), (47, [4, x, x])]
    folded = Binning(pre_anchor="fold_into_0", end=48, aggregate="sum").apply(cohort)
    assert rows(folded)[0] == (0, [3, x, x])
    assert rows(Binning(edge="previous", end=48).apply(cohort)) == [(0, [3, x, x]), (47, [4, x, x])]
    # An end inside a bin cuts it there.
    assert rows(Binning(hours=40, end=48).apply(cohort)) == [(0, [3, x, x]), (40, [4, x, x])]


def test_the_seed_counts_from_the_first_event_and_writes_gaps():
    cohort = make([[(0.5, [1, x, x]), (1.5, [2, x, x]), (4, [3, x, 1])], []])
    binned = Binning.preset("seed").apply(cohort)
    assert rows(binned) == [(0.5, [2, x, x]), (1.5, [x, x, x]), (2.5, [x, x, x]), (3.5, [3, x, 1])]
    assert binned.length.tolist() == [4, 0]
    assert Binning.preset("seed", hours=24).hours == 24
    with pytest.raises(InputError, match="no preset 'paper': known are seed"):
        Binning.preset("paper")


def test_days_start_at_midnight():
    cohort = make(
        [[(0, [1, x, x]), (5, [2, x, x]), (6, [3, x, x]), (29, [4, x, x]), (30, [5, x, x])]],
        anchor=["2150-03-01T18:00"],
    )
    days = Binning(hours=24, origin="midnight").apply(cohort)
    assert rows(days) == [(-18, [2, x, x]), (6, [4, x, x]), (30, [5, x, x])]
    with pytest.raises(InputError, match="which this cohort lacks"):
        Binning(origin="midnight").apply(make([[(0, [1, x, x])]]))


def test_a_time_on_an_edge_is_on_it_however_float32_rounds_it():
    for minute in range(60):  # an hour after the first event is the second bin, not the first
        cohort = make([[(minute / 60, [1, x, x]), (minute / 60 + 1, [2, x, x])]])
        assert Binning(origin="first_event").apply(cohort).length.tolist() == [2], minute
    for minute in range(1, 1440):  # the next midnight is the next day
        start = np.datetime64("2150-03-01") + np.timedelta64(minute, "m")
        cohort = make([[(-minute / 60, [0, x, x]), (0, [1, x, x]), (24 - minute / 60, [2, x, x])]], anchor=[start])
        assert Binning(hours=24, origin="midnight").apply(cohort).values[0, :, 0].tolist() == [1, 2], minute
    for step in range(600):  # bins of five minutes
        cohort = make([[(step / 12, [1, x, x])]])
        assert Binning(hours=1 / 12).apply(cohort).time[0, 0] == np.float32(step / 12), step
    cohort = make([[(0.1, [1, x, x]), (0.3, [2, x, x]), (1.1, [3, x, x])]])
    assert Binning(hours=0.1, end=1.1, empty="keep").apply(cohort).values[0, :, 0].tolist()[-1] == 3
    assert Binning(hours=0.1, end=1.1, empty="keep").apply(cohort).length.tolist() == [11]


def test_a_time_before_an_edge_stays_there():
    cohort = make([[(5000 - 1 / 3600, [1, x, x]), (5000, [2, x, x])]])
    assert rows(Binning(hours=1000).apply(cohort)) == [(4000, [1, x, x]), (5000, [2, x, x])]


def test_states_are_never_averaged():
    cohort = make([[(0, [1, 0, 1]), (0.5, [2, 1, 2]), (0.9, [x, x, 4])]])
    assert rows(Binning(aggregate="mean").apply(cohort)) == [(0, [1.5, 1, pytest.approx(7 / 3)])]
    assert rows(Binning(aggregate={"urine": "sum"}).apply(cohort)) == [(0, [2, 1, 7])]
    with pytest.raises(InputError, match="the mean of 'rhythm', which is categorical, has no meaning"):
        Binning(aggregate={"rhythm": "mean"}).apply(cohort)
    with pytest.raises(InputError, match="'pulse'"):
        Binning(aggregate={"pulse": "mean"}).apply(cohort)


def test_labels_per_step_are_those_of_the_last_step_of_a_bin():
    cohort = make(
        [[(0, [1, x, x]), (0.5, [2, x, x]), (3, [3, x, x])]],
        {"los_days": [[3, 2.5, 1]], "mortality": [1]},
    )
    binned = Binning(empty="keep").apply(cohort)
    np.testing.assert_equal(binned.labels["los_days"], [[2.5, np.nan, np.nan, 1]])
    assert binned.labels["mortality"].tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0}, "hours is 0: give the width of a bin"),
        ({"end": -1}, "end is -1"),
        ({"edge": "left"}, "edge is 'left': use one of next, previous"),
        ({"origin": "birth"}, "origin is 'birth': use one of anchor, first_event, midnight"),
        ({"pre_anchor": "clip"}, "pre_anchor is 'clip'"),
        ({"aggregate": "median"}, "aggregate is 'median': use one of mean, sum, min, max, first, last"),
    ],
)
def test_wrong_options_of_binning_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Binning(**options).apply(make([[(0, [1, x, x])]]))


@some
@given(cohorts(), st.integers(1, 4))
def test_first_and_last_steps_are_slices(cohort, steps):
    first, last = first_steps(cohort, steps), last_steps(cohort, steps)
    folded = last_steps(cohort, steps, fold_earlier=True, aggregate="sum")
    for i in range(len(cohort)):
        whole = rows(cohort, i)
        assert rows(first, i) == whole[:steps]
        assert rows(last, i) == whole[-steps:]
        assert rows(folded, i)[-steps:] == whole[-steps:]
        if len(whole) > steps:
            hour, (rate, _, urine) = rows(folded, i)[0]
            assert hour == whole[-steps - 1][0]
            for column, total in ((0, rate), (2, urine)):
                known = [row[column] for _, row in whole[:-steps] if row[column] is not None]
                assert total == (sum(known) if known else None)
    with pytest.raises(InputError, match="keep one step at least"):
        first_steps(cohort, 0)


@pytest.mark.parametrize("options", [{}, {"standardize": False, "unknown": 7.0}, {"preset": "seed"}])
def test_a_filler_comes_back_from_json(options):
    cohort = load_cohort("tjh")
    filler = Filler(**options).fit(cohort, slice(0, 200))
    loaded = Filler.from_dict(json.loads(json.dumps(filler.to_dict())))
    for one, two in zip(filler.transform(cohort), loaded.transform(cohort), strict=True):
        assert one.tobytes() == two.tobytes()
    assert loaded.features_ == filler.features_
    with pytest.raises(InputError, match="no saved filler"):
        Filler.from_dict({"standardize": True})
    with pytest.raises(InputError, match="call fit first"):
        Filler().to_dict()


# Gathering single measurements.


@some
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_gathering_does_not_depend_on_the_order_of_rows(random, n):
    triples = [(random.randrange(4), random.choice([0, 0.5, 2]), random.randrange(3)) for _ in range(n)]
    table = [(*triple, random.choice([0.1, 0.2, 0.3, 1e9, np.nan])) for triple in triples]
    ways = ["mean", "sum", "max"]
    shuffled = random.sample(table, n)
    one, two = gather_table(table, ways), gather_table(shuffled, ways)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_equal(a, b)
    for record in range(4):
        times = sorted({hour for r, hour, _, _ in table if r == record})
        assert one.time[record, : one.length[record]].tolist() == times
        for j, hour in enumerate(times):
            for feature, reduce in enumerate((np.mean, np.sum, np.max)):
                held = [v for r, t, f, v in table if (r, t, f) == (record, hour, feature) and v == v]
                expected = reduce(held) if held else np.nan
                np.testing.assert_allclose(one.values[record, j, feature], expected, rtol=1e-6)


def gather_table(table, ways):
    record, time, feature, value = np.array(table, float).reshape(-1, 4).T
    return gather(record.astype(int), time, feature.astype(int), value, records=4, features=3, combine=ways)


def test_times_that_float32_cannot_tell_apart_are_one_step():
    zeros = np.zeros(3, int)
    found = gather(zeros, np.array([50000, 50000.0001, 50001]), zeros, np.array([1.0, 3, 5]), records=2, features=1)
    assert found.length.tolist() == [2, 0]
    assert found.values[0, :, 0].tolist() == [2, 5]
    with pytest.raises(InputError, match="2 features have 1 ways"):
        gather(zeros, zeros, zeros, zeros, records=1, features=2, combine=["last"])
