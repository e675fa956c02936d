import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.data import AttritionRow, Cohort, Feature, ReferenceRange, describe
from auscult.core.data.ragged import average_by_time
from auscult.core.errors import InputError

NAN = np.nan


def make(**changes):
    """Return three stays of two people: two steps, one, none; a number and a categorical."""
    fields = {
        "record_id": np.array([30, 10, 20]),
        "subject_id": np.array([1, 1, 2]),
        "time": np.array([[0.0, 6.5], [-1.0, NAN], [NAN, NAN]]),
        "values": np.array([[[80.0, NAN], [NAN, 1]], [[95, 0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]]),
        "length": np.array([2, 1, 0]),
        "features": (
            Feature("heart rate ", unit="/min", reference_ranges=(ReferenceRange(60, 100),), decimals=0),
            Feature("rhythm", kind="categorical", levels=("sinus", "other")),
        ),
        "static": np.array([[50.0], [51.0], [NAN]]),
        "static_features": (Feature("age", unit="years"),),
        "labels": {"mortality": np.array([0, 1, 0]), "los_days": np.array([[2.0, 1], [0, NAN], [NAN, NAN]])},
        "anchor": np.array(["2020-01-01T08:00", "2020-02-01", "2020-03-01"], dtype="datetime64[m]"),
        "attrition": (AttritionRow("read", 4, 3, 0, "all"),),
        "provenance": {"source": "made for a test"},
        "notes": ("nothing odd",),
    }
    return Cohort(**{**fields, **changes})


def test_arrays_have_the_types_and_the_missingness_of_the_contract():
    cohort = make()
    assert (cohort.time.dtype, cohort.values.dtype, cohort.static.dtype) == (np.float32,) * 3
    assert cohort.record_id.dtype == cohort.length.dtype == np.int64
    assert cohort.anchor.dtype == "datetime64[us]"
    np.testing.assert_array_equal(cohort.observed, ~np.isnan(cohort.values))
    np.testing.assert_array_equal(cohort.valid, [[True, True], [True, False], [False, False]])
    assert len(cohort) == 3
    assert repr(cohort) == "Cohort(3 records, 2 subjects, 3 steps, 2 features)"


def test_arrays_are_read_only_and_the_callers_are_not():
    mine = np.array([0, 1, 0])
    cohort = make(labels={"mortality": mine})
    for array in (cohort.values, cohort.observed, cohort.record_id, cohort.anchor, cohort.labels["mortality"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    mine[0] = 0


def test_only_ids_times_values_lengths_and_features_are_needed():
    cohort = Cohort(
        record_id=["b", "a"], subject_id=["p", "q"], time=[[0], [0]], values=[[[1]], [[2]]], length=[1, 1],
        features=[Feature("x")],
    )  # fmt: skip
    assert cohort.static.shape == (2, 0)
    assert cohort.record_id.tolist() == ["b", "a"]
    assert cohort.anchor is None


def test_it_survives_pickling():
    cohort = make()
    assert pickle.loads(pickle.dumps(cohort)).fingerprint() == cohort.fingerprint()


def changed(name, index, value):
    array = getattr(make(), name).copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record_id": [1, 1, 2]}, "record_id 1 occurs 2 times"),
        ({"record_id": ["a", None, "b"]}, "none may be missing"),
        ({"record_id": [1.0, 2.0, 3.0]}, "ids are whole numbers or text"),
        ({"subject_id": np.array([1, 2, 2**63], np.uint64)}, "subject_id holds 9223372036854775808, more than 64 bits"),
        ({"anchor": ["2020-01-01", "2020-01-02", "soon"]}, "anchor is no array of times"),
        ({"record_id": [[1], [2], [3]]}, "record_id has 2 dimensions"),
        ({"subject_id": [1, 2]}, r"subject_id has shape \(2,\)"),
        ({"time": np.zeros((3, 3))}, r"values has shape \(3, 2, 2\)"),
        ({"time": np.zeros(3)}, r"time has shape \(3,\)"),
        ({"time": np.empty((3, 0)), "values": np.empty((3, 0, 2)), "length": [0, 0, 0], "labels": {}}, "no step"),
        ({"features": (Feature("x"),)}, r"values has shape \(3, 2, 2\)"),
        ({"static": np.zeros((3, 2))}, r"static has shape \(3, 2\)"),
        ({"static_features": ()}, r"static has shape \(3, 1\)"),
        ({"static": np.empty((0, 0))}, r"static has shape \(0, 0\)"),
        ({"labels": {"mortality": [0, 1]}}, r"label 'mortality' has shape \(2,\)"),
        ({"labels": {"mortality": ["no", "yes", "no"]}}, "give numbers"),
        ({"labels": {"los_days": np.ones((3, 2))}}, "label 'los_days' holds something beyond"),
        ({"labels": {"age": [0, 1, 0]}}, "the name 'age' is used twice"),
        ({"labels": {"subject_id": [0, 1, 0]}}, "the name 'subject_id' is used twice"),
        ({"length": [3, 1, 0]}, "length must lie between 0 and 2"),
        ({"length": [2, -1, 0]}, "length must lie between 0 and 2"),
        ({"length": [2.0, 1.0, 0.0]}, "length is of type float64"),
        ({"length": [1, 1, 0]}, "time holds something beyond"),
        ({"length": [2, 2, 0]}, "time is NaN within"),
        (changed("values", (2, 0, 0), 1), "values holds something beyond"),
        (changed("values", (0, 0, 0), np.inf), "values holds an infinite value"),
        ({"values": np.full((3, 2, 2), "high")}, "values is no array of numbers"),
        (changed("time", (0, 1), 0), "times of record 30 do not increase"),
        (changed("time", (0, 1), -5), "times of record 30 do not increase"),
        (changed("values", (0, 1, 1), 2), "feature 'rhythm' holds a value that is no code of a level, 0 to 1"),
        (changed("values", (0, 1, 1), 0.5), "no code of a level"),
        (changed("anchor", 1, np.datetime64("NaT")), "no anchor"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("make_feature", "message"),
    [
        (lambda: Feature(" "), "a feature has no name"),
        (lambda: Feature("x", kind="text"), "of kind 'text'"),
        (lambda: Feature("x", levels=("a",)), "numeric and has levels"),
        (lambda: Feature("x", kind="categorical"), "without levels"),
        (lambda: Feature("x", kind="categorical", levels=("a", "b", "a")), "has the level 'a' twice"),
        (lambda: ReferenceRange(2, 1), "is empty"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(make_feature, message):
    with pytest.raises(InputError, match=message):
        make_feature()


def test_a_feature_shows_its_name_without_surplus_blanks_unless_told_otherwise():
    assert Feature("mean  volume ").display_name == "mean volume"
    assert Feature("mv", "mean volume").display_name == "mean volume"
    assert Feature("glasgow", kind="ordinal").levels == ()


def test_a_feature_is_found_by_raw_or_display_name():
    cohort = make()
    assert cohort.feature_index("heart rate ") == cohort.feature_index("heart rate") == 0
    with pytest.raises(InputError, match="there is no feature 'rythm'; the nearest is 'rhythm'"):
        cohort.feature_index("rythm")
    with pytest.raises(InputError, match=r"there are \['heart rate ', 'rhythm'\]"):
        cohort.feature_index("zzz")


@pytest.mark.parametrize(
    "rows", [[2, 0], np.array([2, 0]), pd.Series([2, 0]), slice(2, None, -2)], ids=["list", "array", "series", "slice"]
)
def test_select_takes_stays_in_the_order_asked_for(rows):
    cohort = make()
    part = cohort.select(rows)
    assert part.record_id.tolist() == [20, 30]
    np.testing.assert_array_equal(part.values, cohort.values[[2, 0]])
    np.testing.assert_array_equal(part.static, cohort.static[[2, 0]])
    np.testing.assert_array_equal(part.labels["los_days"], cohort.labels["los_days"][[2, 0]])
    np.testing.assert_array_equal(part.anchor, cohort.anchor[[2, 0]])
    assert part.features == cohort.features
    assert part.attrition[:-1] == cohort.attrition
    assert (part.attrition[-1].rows, part.attrition[-1].records, part.attrition[-1].changed) == (2, 2, 1)


def test_the_tools_of_scikit_learn_split_a_cohort_as_an_array():
    from sklearn.model_selection import train_test_split

    cohort = make()
    assert cohort.shape == (3, 2, 2)
    parts = train_test_split(cohort, np.arange(3), test_size=1, random_state=0)
    for part, rows in ((parts[0], parts[2]), (parts[1], parts[3])):
        np.testing.assert_array_equal(part.record_id, cohort.record_id[rows])
        np.testing.assert_array_equal(part.values, cohort[rows].values)


def test_select_by_mask_and_of_nobody():
    cohort = make()
    assert cohort.select(cohort.labels["mortality"] == 1).record_id.tolist() == [10]
    nobody = cohort.select([])
    assert (len(nobody), nobody.values.shape, nobody.static.shape) == (0, (0, 2, 2), (0, 1))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3], "cannot be selected from 3 records"),
        ([True, False], "cannot be selected from 3 records"),
        ([0.5], "cannot be selected from 3 records"),
        ([0, 0], "record_id 30 occurs 2 times"),
        (1, "a flat list or mask"),
    ],
)
def test_select_refuses_what_is_no_selection(rows, message):
    with pytest.raises(InputError, match=message):
        make().select(rows)


def test_the_long_frame_has_each_observed_value_once():
    frame = make().to_frame()
    assert list(frame.columns) == ["record_id", "subject_id", "time", "feature", "value"]
    assert frame.astype({"feature": str}).to_numpy().tolist() == [
        [30, 1, 0.0, "heart rate ", 80.0],
        [30, 1, 6.5, "rhythm", 1.0],
        [10, 1, -1.0, "heart rate ", 95.0],
        [10, 1, -1.0, "rhythm", 0.0],
    ]


def test_the_first_visit_does_not_mix_visits():
    frame = make().first_visit()
    assert list(frame.columns) == ["subject_id", "age", "heart rate ", "rhythm", "mortality", "los_days"]
    assert frame.index.tolist() == [30, 10, 20]
    assert frame.loc[30, ["heart rate ", "los_days"]].tolist() == [80.0, 2.0]
    assert np.isnan(frame.loc[30, "rhythm"])  # observed at the second step only
    assert frame.loc[20, ["heart rate ", "rhythm", "los_days"]].isna().all()
    assert frame["mortality"].dtype == np.int64


def widened(cohort):
    """Return the same cohort with room for one more step."""
    pad = lambda array: np.concatenate([array, np.full_like(array[:, :1], NAN)], axis=1)  # noqa: E731
    labels = {**cohort.labels, "los_days": pad(cohort.labels["los_days"])}
    return replace(cohort, time=pad(cohort.time), values=pad(cohort.values), labels=labels)


@pytest.mark.parametrize(
    "same",
    [
        lambda c: c.select([2, 0, 1]),
        widened,
        lambda c: replace(c, notes=("other",), provenance={}, attrition=()),
        lambda c: replace(c, values=np.where(np.isnan(c.values), -NAN, c.values)),
        lambda c: replace(c, values=np.where(c.values == 0, -0.0, c.values)),
        lambda c: replace(c, labels=dict(reversed(c.labels.items()))),
        lambda c: replace(c, features=(replace(c.features[0], display_name="pulse"), c.features[1])),
        lambda c: replace(c, labels={**c.labels, "mortality": c.labels["mortality"].astype(bool)}),
    ],
)
def test_the_fingerprint_stays(same):
    assert same(make()).fingerprint() == make().fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        lambda c: c.select([0, 1]),
        lambda c: replace(c, **changed("values", (0, 0, 0), 81)),
        lambda c: replace(c, **changed("values", (0, 0, 1), 1)),
        lambda c: replace(c, **changed("time", (0, 1), 7)),
        lambda c: replace(c, **changed("static", (0, 0), 49)),
        lambda c: replace(c, **changed("anchor", 0, "2020-01-02")),
        lambda c: replace(c, **changed("record_id", 0, 31)),
        lambda c: replace(c, **changed("subject_id", 0, 3)),
        lambda c: replace(c, anchor=None),
        lambda c: replace(c, labels={"mortality": [1, 1, 0], "los_days": c.labels["los_days"]}),
        lambda c: replace(c, labels={"death": c.labels["mortality"], "los_days": c.labels["los_days"]}),
        lambda c: replace(c, features=(replace(c.features[0], unit="Hz"), c.features[1])),
        lambda c: replace(c, features=c.features[::-1], values=c.values[..., ::-1]),
        lambda c: replace(c, record_id=c.record_id.astype(str)),
    ],
)
def test_the_fingerprint_changes_with_the_content(other):
    assert other(make()).fingerprint() != make().fingerprint()


def test_the_description_is_json_and_counts_what_is_there():
    numbers = json.loads(json.dumps(describe(make()), allow_nan=False))
    assert (numbers["records"], numbers["subjects"], numbers["steps"]) == (3, 2, 3)
    assert numbers["missing_rate"] == pytest.approx(2 / 6)
    assert numbers["features"]["rhythm"] == {"kind": "categorical", "unit": None, "missing_rate": pytest.approx(1 / 3)}
    assert numbers["static"]["age"]["missing_rate"] == pytest.approx(1 / 3)
    assert (numbers["hours"]["min"], numbers["hours"]["max"]) == (-1.0, 6.5)
    assert numbers["labels"]["mortality"]["per"] == "record"
    assert numbers["labels"]["mortality"]["mean"] == pytest.approx(1 / 3)
    assert (numbers["labels"]["los_days"]["per"], numbers["labels"]["los_days"]["n"]) == ("step", 3)
    assert numbers["attrition"][0]["step"] == "read"


def test_nobody_can_be_described():
    numbers = json.loads(json.dumps(describe(make().select([])), allow_nan=False))
    assert numbers["missing_rate"] is None
    assert numbers["hours"] == {"n": 0, **dict.fromkeys(["mean", "min", "q1", "median", "q3", "max"])}


def by_hand(record, time, values):
    """Average step by step, as one would on paper."""
    steps = {}
    for r, t, row in zip(record, time, values, strict=True):
        steps.setdefault((r, t), []).append(row)
    out = {}
    for key, rows in steps.items():
        columns = zip(*rows, strict=True)
        known = [[v for v in column if not np.isnan(v)] for column in columns]
        out[key] = [float(np.float32(sum(sorted(v)) / len(v))) if v else NAN for v in known]
    return out


CELLS = st.sampled_from([NAN, 0.1, 0.2, 0.7, -3.0, 1e6])
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.tuples(CELLS, CELLS)), min_size=1, max_size=30)


@settings(deadline=None, derandomize=True)
@given(ROWS, st.randoms(use_true_random=False))
def test_rows_of_one_time_become_their_mean_whatever_their_order(rows, random):
    _, record = np.unique([row[0] for row in rows], return_inverse=True)
    time, values = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    ragged = average_by_time(record, time, values)
    expected = by_hand(record.tolist(), time.tolist(), values.tolist())
    for r in range(record.max() + 1):
        times = sorted(t for key, t in expected if key == r)
        assert ragged.length[r] == len(times)
        assert ragged.time[r, : len(times)].tolist() == times
        np.testing.assert_allclose(ragged.values[r, : len(times)], np.array([expected[r, t] for t in times]), rtol=1e-6)
        assert np.isnan(ragged.values[r, len(times) :]).all()
        assert np.isnan(ragged.time[r, len(times) :]).all()
    order = list(range(len(rows)))
    random.shuffle(order)
    for one, other in zip(ragged, average_by_time(record[order], time[order], values[order]), strict=True):
        assert one.tobytes() == other.tobytes()
