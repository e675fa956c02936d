import doctest
import gzip
import importlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.data import load_cohort, table
from auscult.core.errors import InputError

x = None
EVENTS = """patient,stay,when,item,result,uom,extra
7,70,0,HR,80,/min,a
7,70,1.5,HR,90,/min,b
7,70,1.5,HR,100,/min,c
7,70,1.5,rhythm,sinus,,"d, e"
7,71,0,HR,,/min,f
7,71,2,Temp,37.5,C,g
9,90,3,HR,60,/min,h
9,90,-4,rhythm,paced,,i
"""
COLUMNS = "subject=patient,record=stay,time=when,code=item,value=result,unit=uom"
LABELS = "stay,mortality,score\n70,0,1.5\n71,1,\n90,0,2\n"
STATIC = "stay,patient,age,ward\n90,9,50,north\n70,7,40,south\n71,7,40,\n72,7,40,north\n"


def cells(cohort, record):
    frame = cohort.to_frame()
    stay = frame[frame["record_id"] == record]
    return {(t, f): round(v, 4) for t, f, v in zip(stay["time"], stay["feature"], stay["value"], strict=True)}


def listed(array):
    return [[None if np.isnan(value) else value for value in row] for row in np.asarray(array, float).tolist()]


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.csv") for name in texts}


@pytest.fixture
def files(tmp_path):
    return write(tmp_path, events=EVENTS, labels=LABELS, static=STATIC)


def read(files, **options):
    options = {"columns": COLUMNS, "labels": files["labels"], "static": files["static"], **options}
    return load_cohort(f"table:{files['events']}", **options)


def test_a_long_table_becomes_a_cohort(files):
    cohort = read(files)
    assert cohort.record_id.tolist() == [70, 71, 72, 90]
    assert cohort.subject_id.tolist() == [7, 7, 7, 9]
    assert [(f.name, f.kind, f.unit, f.levels) for f in cohort.features] == [
        ("HR", "numeric", "/min", ()),
        ("Temp", "numeric", "C", ()),
        ("rhythm", "categorical", None, ("paced", "sinus")),
    ]
    assert cells(cohort, 70) == {(0, "HR"): 80, (1.5, "HR"): 95, (1.5, "rhythm"): 1}
    assert cells(cohort, 71) == {(2, "Temp"): 37.5}
    assert cells(cohort, 90) == {(-4, "rhythm"): 0, (3, "HR"): 60}
    assert cohort.length.tolist() == [2, 1, 0, 2]
    assert [feature.name for feature in cohort.static_features] == ["age", "ward"]
    assert cohort.static_features[1].levels == ("north", "south")
    assert listed(cohort.static) == [[40, 1], [40, x], [40, 0], [50, 0]]
    np.testing.assert_equal(cohort.labels["mortality"], [0, 1, np.nan, 0])
    np.testing.assert_equal(cohort.labels["score"], [1.5, np.nan, np.nan, 2])
    assert cohort.anchor is None
    assert {row.step: (row.rows, row.changed) for row in cohort.attrition} == {
        "read": (8, 0),
        "drop rows without a value": (7, 1),
        "drop other codes": (7, 0),
        "drop texts among numbers": (7, 0),
        "combine values of one time": (6, 1),
    }
    assert "1 stays of static.csv have no measurement: their length is 0" in cohort.notes
    assert "code 'Temp' has a single row" in cohort.notes
    assert set(cohort.provenance) >= {"measurements", "sha256 of labels"}


def test_without_a_record_a_stay_is_a_subject(tmp_path):
    made = write(
        tmp_path, events="subject,time,code,value\nb,0,HR,1\na,0,HR,2\n", labels="subject,mortality\na,1\nb,0\n"
    )
    cohort = load_cohort(f"table:{made['events']}", labels=made["labels"])
    assert cohort.record_id.tolist() == cohort.subject_id.tolist() == ["a", "b"]
    assert cohort.labels["mortality"].tolist() == [1, 0]
    assert cohort.labels["mortality"].dtype == np.int64


# The same data in another form.


def frame():
    return pd.DataFrame(
        {
            "patient": [7, 7, 7, 7, 7, 9, 9],
            "stay": [70, 70, 70, 70, 71, 90, 90],
            "when": [0, 1.5, 1.5, 1.5, 2, 3, -4],
            "item": ["HR", "HR", "HR", "rhythm", "Temp", "HR", "rhythm"],
            "result": ["80", "90", "100", "sinus", "37.5", "60", "paced"],
            "uom": ["/min", "/min", "/min", None, "C", "/min", None],
        }
    )


@pytest.mark.parametrize(
    "form", ["csv", "csv.gz", "parquet", "windows", "semicolon", "tab", "shuffled", "pandas", "arrow", "dictionary"]
)
def test_every_form_gives_the_same_cohort(form, files, tmp_path):
    expected = load_cohort(f"table:{files['events']}", columns=COLUMNS).fingerprint()
    options = {}
    if form in ("pandas", "arrow", "dictionary"):
        events = {"pandas": frame, "arrow": lambda: pa.table(frame()), "dictionary": lambda: frame().astype("category")}
        if form == "dictionary":
            events["dictionary"] = lambda: frame().astype({"item": "category", "result": "category", "uom": "category"})
        assert table.from_frame(events[form](), columns=COLUMNS).fingerprint() == expected
        return
    path = tmp_path / f"other.{form if '.' in form or form in ('csv', 'parquet') else 'csv'}"
    if form == "parquet":
        frame().to_parquet(path)
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(EVENTS.encode()))
    elif form == "windows":
        path.write_bytes(b"\xef\xbb\xbf" + EVENTS.replace("\n", "\r\n").encode())
    elif form == "semicolon":
        frame().to_csv(path, sep=";", decimal=",", index=False)
        path.write_text(path.read_text("utf-8").replace("37.5", "37,5"), encoding="utf-8")
        options = {"decimal": ","}
    else:
        made = frame().sample(frac=1, random_state=1) if form == "shuffled" else frame()
        made.iloc[:, ::-1].to_csv(path, index=False, sep="\t" if form == "tab" else ",")
    if form == "semicolon":  # times are written with a comma too
        text = path.read_text("utf-8")
        assert "1,5" in text
    assert load_cohort(f"table:{path}", columns=COLUMNS, **options).fingerprint() == expected


def test_polars_frames_are_read():
    polars = pytest.importorskip("polars")
    ours = table.from_frame(polars.from_arrow(pa.table(frame())), columns=COLUMNS)
    assert ours.fingerprint() == table.from_frame(frame(), columns=COLUMNS).fingerprint()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_a_long_table_equals_an_average_of_pandas(data):
    size = data.draw(st.integers(1, 30))
    draw = [data.draw(st.lists(values, min_size=size, max_size=size)) for values in (
        st.sampled_from(["p1", "p2", "p3"]), st.sampled_from([0, 0.5, 12, -3]), st.sampled_from(["b", "a"]),
        st.one_of(st.none(), st.integers(-5, 99).map(float)),
    )]  # fmt: skip
    events = pd.DataFrame(dict(zip(("subject", "time", "code", "value"), draw, strict=True)))
    events["value"] = events["value"].astype(float)
    cohort = table.from_frame(events)
    expected = events.dropna().groupby(["subject", "time", "code"])["value"].mean()
    ours = cohort.to_frame().astype({"feature": str}).set_index(["record_id", "time", "feature"])["value"]
    assert ours.index.to_list() == [(s, np.float32(t), c) for s, t, c in expected.index]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert set(cohort.record_id) == set(events["subject"])
    shuffled = table.from_frame(events.sample(frac=1, random_state=0))
    assert shuffled.fingerprint() == cohort.fingerprint()


# Times.


def long(times, **columns):
    size = len(times)
    return pd.DataFrame({"subject": [1] * size, "time": times, "code": ["HR"] * size, "value": [60] * size, **columns})


@pytest.mark.parametrize(("unit", "hour"), [("minutes", 1.5), ("hours", 90), ("days", 2160)])
def test_numbers_have_a_unit(unit, hour):
    assert table.from_frame(long([90]), time_unit=unit).time[0, 0] == hour


def test_durations_are_hours():
    times = pd.to_timedelta(["1h", "90min"])
    assert table.from_frame(long(times)).time[0].tolist() == [1, 1.5]


@pytest.mark.parametrize("form", ["text", "datetime", "zone", "text zone", "date"])
def test_dates_count_from_the_anchor(form):
    times = {
        "text": ["2150-01-02 06:30", "2150-01-03"],
        "datetime": pd.to_datetime(["2150-01-02 06:30", "2150-01-03 00:00"]),
        "zone": pd.to_datetime(["2150-01-02 07:30", "2150-01-03 01:00"]).tz_localize("Europe/Paris"),
        "text zone": ["2150-01-02T07:30+01:00", "2150-01-03T01:00+01:00"],
        "date": pd.to_datetime(["2150-01-02", "2150-01-03"]).date,
    }[form]
    cohort = table.from_frame(long(times), anchor="first_event")
    assert cohort.time[0].tolist() == ([0, 24] if form == "date" else [0, 17.5])
    first = "2150-01-02T00:00" if form == "date" else "2150-01-02T06:30"
    assert cohort.anchor[0] == np.datetime64(first)
    assert ("converted to UTC" in "".join(cohort.notes)) == ("zone" in form)
    static = pd.DataFrame({"subject": [1], "anchor": ["2150-01-01"], "age": [30]})
    if "zone" in form:
        with pytest.raises(InputError, match=r"'time' of events has a time zone, .* begin have none: use one kind"):
            table.from_frame(long(times), static=static)
        static["anchor"] += "T01:00+01:00"
    cohort = table.from_frame(long(times), static=static)
    assert cohort.time[0].tolist() == ([24, 48] if form == "date" else [30.5, 48])
    assert cohort.anchor[0] == np.datetime64("2150-01-01")
    assert [feature.name for feature in cohort.static_features] == ["age"]


def test_numbers_may_count_from_the_first_event_too():
    events = long([5, 7.5], value=[1, 2])
    labels = pd.DataFrame({"subject": [1, 1], "prediction_time": [5, 7.5], "los_days": [3, 2]})
    cohort = table.from_frame(events, labels=labels, anchor="first_event")
    assert cohort.time[0].tolist() == [0, 2.5]
    assert cohort.labels["los_days"].tolist() == [[3, 2]]


def test_microseconds_of_an_anchor_are_kept():
    stamp = "2150-01-02T06:30:00.123457"
    assert table.from_frame(long([stamp]), anchor="first_event").anchor[0] == np.datetime64(stamp)


def test_a_stay_without_events_has_no_first_event():
    static = pd.DataFrame({"subject": [1, 2], "age": [30, 40]})
    cohort = table.from_frame(long(["2150-01-02"]), static=static, anchor="first_event")
    assert cohort.length.tolist() == [1, 0]
    assert cohort.anchor is None
    assert "some stays have no time of their start: the cohort has hours alone" in cohort.notes


# Values and units.


def test_bounds_and_percent_signs_are_read_on_request():
    events = long([0, 1, 2, 3, 4], value=["<5", "> 60", "40 %", "17", "clotted"])
    cohort = table.from_frame(events, text="bound")
    assert cohort.values[0, :, 0].tolist() == [5, 60, 40, 17]
    assert {row.step: row.changed for row in cohort.attrition}["drop texts among numbers"] == 1
    assert table.from_frame(events, text="drop").values[0, :, 0].tolist() == [17]
    with pytest.raises(InputError, match="code 'HR' holds 1 numbers and 4 texts, such as '<5' in row 0 of events"):
        table.from_frame(events)


def test_only_what_stands_at_the_edge_of_a_number_is_a_sign():
    events = long([0, 1, 2], value=["10>5", "1 < 2", "7"])
    assert table.from_frame(events, text="bound").values[0, :, 0].tolist() == [7]


@pytest.mark.parametrize(("decimal", "text"), [(".", "7,35"), (",", "7.35"), (".", "1,234")])
def test_the_other_decimal_sign_is_refused(decimal, text):
    events = long([0, 1], value=[text, text])
    message = f"row 0 of events has the 'value' '{text}', and the decimal sign is '{decimal}': set decimal="
    with pytest.raises(InputError, match=re.escape(message)):
        table.from_frame(events, decimal=decimal)


def test_labels_have_the_decimal_sign_too():
    labels = pd.DataFrame({"subject": [1], "los_days": ["3,5"]})
    assert table.from_frame(long([0]), labels=labels, decimal=",").labels["los_days"].tolist() == [3.5]


@pytest.mark.parametrize("text", ["1_000", "inf", "nan.", "0x10", "1e999", "１"])
def test_what_python_takes_for_a_number_may_be_a_text(text):
    events = long([0, 1], value=["5", text])
    with pytest.raises(InputError, match="1 numbers and 1 texts"):
        table.from_frame(events)


def test_a_code_may_be_called_as_what_is_missing(tmp_path):
    (tmp_path / "a.csv").write_text("subject,time,code,value\n1,0,NA,140\n1,1,NA,NA\n1,2,K,4\n")
    cohort = load_cohort(f"table:{tmp_path / 'a.csv'}")
    assert [feature.name for feature in cohort.features] == ["K", "NA"]
    assert listed(cohort.values[0]) == [[x, 140], [4, x]]


def test_texts_may_stand_in_a_column_of_their_own():
    events = pd.DataFrame(
        {
            "subject": [1, 1, 1], "time": [0, 0, 1], "code": ["HR", "rhythm", "HR"],
            "value": [60, np.nan, 61], "text_value": ["fast", "sinus", None],
        }
    )  # fmt: skip
    cohort = table.from_frame(events)
    assert [(f.name, f.levels) for f in cohort.features] == [("HR", ()), ("rhythm", ("sinus",))]
    assert listed(cohort.values[0]) == [[60, 0], [61, x]]


CONVERTED = [
    ("Temp", "F", 98.6, "C", 37), ("Temp", "C", 37, "°F", 98.6), ("Height", "in", 70, "cm", 177.8),
    ("Weight", "lb", 220, "kg", 99.790), ("Weight", "oz", 3520, "kg", 99.790),
    ("Glucose", "mmol/L", 5, "mg/dL", 90.08), ("Glucose", "mg/dL", 90.08, "mmol/L", 5),
    ("Creatinine", "µmol/L", 88.42, "mg/dL", 1), ("Bilirubin, total", "mg/dL", 1, "umol/L", 17.1),
    ("Calcium", "mmol/L", 2.5, "mg/dL", 10.02), ("BUN", "mmol/L", 1, "mg/dL", 2.801),
    ("Urea nitrogen", "mmol/L", 1, "mg/dL", 2.801), ("urea_nitrogen", "mmol/L", 1, "mg/dL", 2.801),
    ("UreaNitrogen", "mmol/L", 1, "mg/dL", 2.801), ("urea-N", "mmol/L", 1, "mg/dL", 2.801),
    ("urea", "mmol/L", 1, "mg/dL", 6.006),
]  # fmt: skip


@pytest.mark.parametrize(("code", "unit", "value", "wanted", "expected"), CONVERTED)
def test_units_are_converted(code, unit, value, wanted, expected):
    events = long([0, 1], code=[code, code], value=[value, expected], unit=[unit, wanted.lower()])
    cohort = table.from_frame(events, units={code: wanted})
    np.testing.assert_allclose(cohort.values[0, :, 0], expected, rtol=1e-5)
    assert cohort.features[0].unit == wanted


def test_several_units_of_a_code_are_counted_and_refused():
    events = long([0, 1, 2, 3], unit=["mg/dL", "mmol/L", "mmol/L", "MG/DL"])
    with pytest.raises(InputError, match=r"'HR' comes in several units, 'MG/DL' \(2 rows\), 'mmol/L' \(2 rows\)"):
        table.from_frame(events)
    with pytest.raises(InputError, match="no conversion of 'HR' from 'mmol/L' to 'mg/dL' is known"):
        table.from_frame(events, units="HR=mg/dL")
    with pytest.raises(InputError, match="units names the code 'Pulse', which events does not have"):
        table.from_frame(events, units={"Pulse": "mg/dL"})
    same = table.from_frame(events.assign(unit=["mg/dL", " MG/dl", None, "mg / dL"]))
    assert same.features[0].unit in ("mg/dL", "MG/dl", "mg / dL")
    assert any("1 rows of code 'HR' have no unit" in note for note in same.notes)


def test_two_forms_of_one_quantity_are_reported_and_left():
    value = [0.21, 0.4, 0.5] * 10 + [40, 21, 100, 60]
    cohort = table.from_frame(long(range(34), value=value))
    note = next(note for note in cohort.notes if "two groups of values" in note)
    assert "30 around 0.4 and 4 around 50" in note
    np.testing.assert_allclose(cohort.values[0, :, 0], value, rtol=1e-6)
    usual = table.from_frame(long(range(34), value=np.linspace(1, 900, 34)))
    assert not [note for note in usual.notes if "groups" in note]


def test_a_panel_chooses_and_orders_the_features():
    events = long([0, 1, 2], code=["HR", "Temp", "K"], value=[60, 37, 4])
    cohort = table.from_frame(events, codes=["Temp", "Na", "HR"])
    assert [feature.name for feature in cohort.features] == ["Temp", "Na", "HR"]
    assert listed(cohort.values[0]) == [[x, x, 60], [37, x, x]]
    assert "no row has the code 'Na'" in cohort.notes
    assert {row.step: row.changed for row in cohort.attrition}["drop other codes"] == 1
    part = table.from_frame(events, codes="Temp,Na,HR")
    assert part.fingerprint() == cohort.fingerprint()
    with pytest.raises(InputError, match="events has none of the codes"):
        table.from_frame(events, codes=["hr"])
    with pytest.raises(InputError, match="name each code once"):
        table.from_frame(events, codes=["HR", "HR"])


def test_a_constant_code_is_reported():
    assert "all 3 values of code 'HR' are 60" in table.from_frame(long([0, 1, 2])).notes


# Wide tables.


def test_a_wide_table_gives_the_cohort_that_it_was_made_from():
    """TJH in the layout of published preparations: a row a day, keys, targets, demographics, then features."""
    cohort = load_cohort("tjh")
    record, step = np.nonzero(cohort.valid)
    day = np.timedelta64(1, "D")
    made = pd.DataFrame(
        {
            "PatientID": cohort.record_id[record],
            "RecordTime": cohort.anchor[record] + (cohort.time[record, step] / 24).astype(int) * day,
            "AdmissionTime": cohort.anchor[record],
            "Outcome": cohort.labels["mortality"][record],
            "LOS": cohort.labels["los_days"][record, step],
            "Sex": cohort.static[record, 0],
            "Age": cohort.static[record, 1],
        }
        | {f.name: cohort.values[record, step, i] for i, f in enumerate(cohort.features)}
    )
    columns = {
        "subject": "PatientID", "time": "RecordTime", "anchor": "AdmissionTime", "static": ["Sex", "Age"],
        "mortality": "Outcome", "los_days": "LOS",
    }  # fmt: skip
    again = table.from_frame(made.sample(frac=1, random_state=0), columns=columns)
    assert [feature.name for feature in again.features] == [feature.name for feature in cohort.features]
    for name in ("record_id", "anchor", "static"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cohort, name))
    # A day on which nothing was measured is no step there.
    kept = cohort.observed.any(axis=2)
    assert again.length.tolist() == kept.sum(axis=1).tolist()
    np.testing.assert_array_equal(again.time[again.valid], cohort.time[kept])
    np.testing.assert_array_equal(again.values[again.valid], cohort.values[kept])
    np.testing.assert_array_equal(again.labels["los_days"][again.valid], cohort.labels["los_days"][kept])
    np.testing.assert_array_equal(again.labels["mortality"], cohort.labels["mortality"])


def test_a_wide_file_is_melted_and_its_roles_named_in_text(tmp_path):
    text = "id,t,sex,HR,rhythm,died,junk\n2,0,F,60,,1,z\n1,0,M,70,sinus,0,z\n1,1,M,,paced,0,z\n"
    made = write(tmp_path, wide=text)["wide"]
    cohort = load_cohort(f"table:{made}", columns="subject=id,time=t,static=sex,mortality=died,drop=junk")
    assert [feature.name for feature in cohort.features] == ["HR", "rhythm"]
    assert listed(cohort.values[0]) == [[70, 1], [x, 0]]
    assert cohort.static_features[0].levels == ("F", "M")
    assert cohort.labels["mortality"].tolist() == [0, 1]
    assert [(row.step, row.rows, row.changed) for row in cohort.attrition[:2]] == [("read", 3, 0), ("melt", 4, 3)]


def test_imputed_input_is_recognised():
    wide = pd.DataFrame({"subject": [1, 1, 2], "time": [0, 1, 0], "a": [1, 2, 3], "b": [4, 5, 6]})
    assert "no cell is missing: these data look imputed already" in table.from_frame(wide).notes
    wide.loc[1, "b"] = np.nan
    assert not [note for note in table.from_frame(wide).notes if "imputed" in note]


# Labels and static tables.


def test_labels_may_be_tasks_and_have_times():
    events = long([0, 1, 2])
    labels = pd.DataFrame(
        {
            "subject": [1, 1, 1, 1], "task": ["died", "los", "los", "los"], "value": [1, 5, 4, 9],
            "prediction_time": [2, 0, 1, 7],
        }
    )  # fmt: skip
    cohort = table.from_frame(events, labels=labels, columns={"mortality": "died", "los_days": "los"})
    assert cohort.labels["mortality"].tolist() == [1]
    np.testing.assert_equal(cohort.labels["los_days"], [[5, 4, np.nan]])
    assert "1 values of label 'los_days' are at times without a step: they are left out" in cohort.notes
    assert not [note for note in cohort.notes if "after the time" in note]
    labels.loc[0, "prediction_time"] = 1
    notes = table.from_frame(events, labels=labels).notes
    assert "1 stays have measurements after the time of their label 'died': they are kept" in notes
    with pytest.raises(InputError, match="it must not change within a stay"):
        table.from_frame(events, labels=labels.drop(columns="prediction_time"))


def test_a_subjects_static_row_holds_for_all_its_stays():
    events = long([0, 0], record=[10, 11])
    static = pd.DataFrame({"subject": [1, 2], "age": [30, 40]})
    cohort = table.from_frame(events, static=static)
    assert cohort.static.tolist() == [[30], [30]]
    assert "1 ids of static are not in the measurements: their rows are left out" in cohort.notes
    with pytest.raises(InputError, match="labels of subjects, and some have several stays: give labels of records"):
        table.from_frame(events, labels=pd.DataFrame({"subject": [1], "mortality": [1]}))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([10, 9], [9, 10]), (["10", "9"], [9, 10]), (["10", "09"], ["09", "10"]), (["a", "9"], ["9", "a"]),
        ([10.0, 9.0], [9, 10]), (["99999999999999999999", "1"], ["1", "99999999999999999999"]),
    ],
)  # fmt: skip
def test_ids_are_whole_numbers_or_text(ids, expected):
    assert table.from_frame(long([0, 0]).assign(subject=ids)).subject_id.tolist() == expected


# Bad input.


def bad(**changes):
    """Return a frame with columns replaced or (None) left out."""
    made = long([0.0, 1.0, 2.0])
    for name, column in changes.items():
        made = made.drop(columns=name) if column is None else made.assign(**{name: column})
    return made


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (bad(subject=x), {}, "no column 'subject', it holds 'time', 'code', 'value': name it as subject=COLUMN"),
        (bad(), {"columns": "value=results"}, "has no column 'results' for value; it holds 'subject'"),
        (bad(), {"columns": "value=vlue"}, "for value; did you mean 'value'"),
        (bad(value=x), {}, "events has no column 'value'"),
        (bad(code=x, value=x), {}, "has neither the columns 'code' and 'value' nor any column of a feature"),
        (bad(), {"columns": "patient=subject"}, "columns names the role 'patient'; roles are subject"),
        (bad(), {"columns": "tme=time"}, "the role 'tme'; did you mean 'time'"),
        (bad(), {"columns": "subject"}, "columns has 'subject': write pairs as in"),
        (bad(), {"columns": "anchor=start"}, "names 'start' for anchor, and no table has it"),
        (bad(), {"columns": "mortality=died"}, "names 'died' for mortality, and no table has it"),
        (bad(), {"time_unit": "weeks"}, "time_unit is 'weeks': use 'minutes' or 'hours' or 'days'"),
        (bad(), {"text": "keep"}, "text is 'keep': use 'refuse' or 'drop' or 'bound'"),
        (bad(value=["high", "60", "61"]), {}, "holds 2 numbers and 1 texts, such as 'high' in row 0 of events"),
        (bad(value=[1, np.inf, 2]), {}, "row 1 of events has an infinite 'value'"),
        (bad(value=[1, 2, 1e39]), {}, "row 2 of events has an infinite 'value', or one beyond"),
        (bad(value=["1", "2", "1e39"]), {}, "row 2 of events has an infinite 'value', or one beyond"),
        (bad(subject=[1, np.nan, 1]), {}, "row 1 of events has no 'subject'"),
        (bad(subject=[1, 1.5, 1]), {}, r"row 1 of events has the 'subject' 1\.5: ids are whole numbers or text"),
        (bad(code=["HR", None, "HR"]), {}, "row 1 of events has no 'code'"),
        (bad(time=[0, np.nan, 1]), {}, "row 1 of events has no 'time': give every row a time"),
        (bad(time=["0", "", "1"]), {}, "row 1 of events has no 'time'"),
        (bad(time=["0", "2020-01-01", "1"]), {}, "'time' of events holds numbers and texts such as '2020-01-01'"),
        (bad(time=["2020-01-01", "01/02/2020", "2020-01-01"]), {}, "row 1 of events has the 'time' '01/02/2020'"),
        (bad(time=["2020-01-01", "2020-02-30", "2020-01-01"]), {}, "row 1 of events has the 'time' '2020-02-30'"),
        (bad(time=["2020-01-01", "2020-01-02T00:00Z", "2020-01-01"]), {}, "times with and without a time zone"),
        (bad(time=["2020-01-01"] * 3), {}, "times of events are dates: say where hours count from"),
        (bad(time=[0, 1e9, 1]), {}, r"row 1 of events has a 'time' 1,000,000,000 hours from the start of the stay"),
        (bad(time=[0, 99_999, 1]), {"time_unit": "days"}, "over 150 years: is it a typing error, or another time_unit"),
        (bad(time=["2020-01-01", "0202-01-01", "2020-01-01"]), {"anchor": "first_event"}, "over 150 years"),
        (bad(anchor=["2020-01-01"] * 2 + ["2020-01-02"], time=["2020-01-03"] * 3), {}, "has another 'anchor' for 1"),
        (bad(time=[20200131, 20200201, 20200202]), {"anchor": "first_event"}, "over 150 years"),
        (bad(time=["2020-01-03"] * 3, anchor=["2020-01-01"] * 3), {"anchor": "first_event"}, "both say where hours"),
        (bad(), {"columns": "static=sex"}, "events has no column 'sex', it holds"),
        (bad(), {"columns": "drop=sex"}, "events has no column 'sex', it holds"),
        (bad(code=x, value=x, a=[1, 2, 3]), {"columns": "unit=u"}, "names 'u' for unit, which only a table with"),
        (bad(anchor=[1, 1, 1]), {}, "'anchor' of events says when a stay began and holds numbers: give dates"),
        (bad(record=[5, 5, 5], subject=[1, 1, 2]), {}, "gives stay '5' a second subject: a stay is of one person"),
        (bad().iloc[:0], {}, "events has no row"),
        ([1, 2], {}, "events cannot be read as a table"),
        (bad(value=[1, "a", 2]), {}, "events cannot be read as a table of columns of one type each"),
        (bad(value=[[1], [2], [3]]), {}, r"column 'value' of events holds list<.*>: give numbers or text"),
        (bad().rename(columns={"code": "value"}), {}, "events has two columns 'value': rename one|cannot be read"),
    ],
)  # fmt: skip
def test_wrong_measurements_are_explained(events, options, message):
    with pytest.raises(InputError, match=message):
        table.from_frame(events, **options)


def test_options_of_frames_are_checked_as_those_of_files():
    with pytest.raises(InputError, match="the reader of 'table' got an unexpected keyword argument 'unit'"):
        table.from_frame(bad(), unit={"HR": "/min"})
    with pytest.raises(InputError, match="codes is 5: the reader of 'table' takes a list"):
        table.from_frame(bad(), codes=5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"person": [1], "mortality": [1]}, "labels has no column 'subject', it holds"),
        ({"subject": [5], "mortality": [1]}, "no 'subject' of labels is in events: are these labels of other data"),
        ({"subject": [1], "mortality": ["yes"]}, "row 0 of labels has the label 'mortality' 'yes': labels are numbers"),
        ({"subject": [1], "mortality": [2]}, "row 0 of labels has the mortality 2: use 0 or 1"),
        ({"subject": [1, 1], "mortality": [0, 1]}, "row 0 of labels has another 'mortality' for 1 than a later row"),
        ({"subject": [1]}, "labels has no column beside 'subject'"),
        ({"subject": [1, 1], "task": ["a", None], "value": [1, 1]}, "row 1 of labels has no 'task'"),
        ({"subject": [1] * 3, "prediction_time": [0, 1, 0], "los_days": [3, 1, 2]}, "row 2 .* than an earlier row of"),
        ({"subject": [1], "label_time": ["2020-01-01"], "a": [1]}, "holds dates, and the measurements hours"),
    ],
)
def test_wrong_labels_are_explained(labels, message):
    with pytest.raises(InputError, match=message):
        table.from_frame(bad(), labels=pd.DataFrame(labels))


@pytest.mark.parametrize(
    ("static", "message"),
    [
        ({"subject": [9], "age": [1]}, "no 'subject' of static is in events: are these static data of other data"),
        ({"subject": [1, 1], "age": [40, 41]}, "row 0 of static has another 'age' for 1 than a later row"),
        ({"subject": [1, 2], "age": ["40", "old"]}, "row 1 of static has the 'age' 'old' among numbers"),
    ],
)
def test_wrong_static_data_are_explained(static, message):
    with pytest.raises(InputError, match=message):
        table.from_frame(bad(), static=pd.DataFrame(static))


def test_subjects_of_labels_that_are_not_in_the_data_are_kept_and_counted():
    cohort = table.from_frame(bad(), labels=pd.DataFrame({"subject": [1, 4, 5], "mortality": [1, 0, 0]}))
    assert cohort.record_id.tolist() == [1, 4, 5]
    assert cohort.length.tolist() == [3, 0, 0]
    assert "2 stays of labels have no measurement: their length is 0" in cohort.notes


def test_a_label_in_two_tables_is_refused():
    wide = pd.DataFrame({"subject": [1], "time": [0], "HR": [60], "mortality": [1]})
    assert table.from_frame(wide).labels["mortality"].tolist() == [1]
    with pytest.raises(InputError, match="events and labels both have the label 'mortality'"):
        table.from_frame(wide, labels=pd.DataFrame({"subject": [1], "mortality": [1]}))


def test_wrong_files_are_explained(tmp_path):
    with pytest.raises(InputError, match="table brings no data: give table:FILE"):
        load_cohort("table")
    with pytest.raises(InputError, match="does not exist: give a table"):
        load_cohort(f"table:{tmp_path / 'none.csv'}")
    with pytest.raises(InputError, match="is a folder: give a table"):
        load_cohort(f"table:{tmp_path}")
    for name, content, message in (
        ("a.xlsx", b"", "a.xlsx is no table that can be read: give a file of one of .csv, .csv.gz, .parquet"),
        ("a.csv", b"", "cannot be read|has no row"),
        ("a.csv", b"subject,time,code,value\n", "a.csv has no row"),
        ("a.csv", b"subject,time,code,value\n1,0,HR\n", "a.csv cannot be read .*Expected 4 columns, got 3"),
        ("a.csv", b"subject,time,code,value\n1,0,H\xff,3\n", "a.csv cannot be read .*UTF8"),
        ("a.csv", b"subject,time,subject,value\n1,0,2,3\n", "a.csv has two columns 'subject': rename one"),
        ("a.csv", b"time,code,value\n0,HR,3\n", "a.csv has no column 'subject', it holds 'time', 'code', 'value'"),
        ("a.csv", b"subject,time,code,value\n1,0,HR,3\n1,1,HR,high\n", "such as 'high' in line 3 of a.csv"),
        ("a.parquet", b"PAR1 and more", "a.parquet cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_cohort(f"table:{tmp_path / name}")


def test_a_file_that_is_cut_off_is_explained(tmp_path):
    rows = "subject,time,code,value\n" + "".join(f"{i % 9},{i},HR,{i * 7 % 101}\n" for i in range(9000))
    packed = gzip.compress(rows.encode())
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"a\.csv\.gz cannot be read .*: is it complete, and UTF-8"):
        load_cohort(f"table:{path}")
    path.write_bytes(packed)
    assert load_cohort(f"table:{path}").length.sum() == 9000


def test_the_examples_run():
    assert doctest.testmod(importlib.import_module("auscult.core.data.table")).failed == 0
