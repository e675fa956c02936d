import doctest
import importlib
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auscult.core.data import load_cohort
from auscult.core.data.meds import load
from auscult.core.errors import InputError

HOUR = np.timedelta64(3600, "s")
DATA = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.large_string(),
}
START = np.datetime64("2150-03-01T10:00:00", "us")
HR = "LAB//220045//bpm"
LACTATE = "LAB//RESULT//50813//mmol/L"
PANEL = {"heart rate": r"LAB//220045//.*", "lactate": [LACTATE, "LAB//50813//mmol/L"]}


def hours(number):
    return START + np.timedelta64(round(number * 3_600_000_000), "us")


def rows_of(subject, *rows):
    return [(subject, None if time is None else hours(time), code, value) for time, code, value in rows]


SHARDS = {
    "train/0": [
        *rows_of(
            5,
            (None, "GENDER//F", None),
            (-3e5, "MEDS_BIRTH", None),
            (-1, HR, 70),
            (0, "ICU_ADMISSION//Medical", None),
            (0, HR, 80),
            (1, HR, 90),
            (1, HR, 100),
            (1, LACTATE, 2.5),
            (2, LACTATE, None),
            (24, HR, 110),
            (24 + 1 / 3.6e9, HR, 1),
            (30, "MEDS_DEATH", None),
        ),
        *rows_of(
            3,
            (None, "GENDER//M", None),
            (0, "ICU_ADMISSION//Medical", None),
            (2, "LAB//50813//mmol/L", 7),
            (5, "GLUCOSE", 5),
            (10, "ICU_ADMISSION//Surgical", None),
            (10, HR, 60),
            (12, "MEDS_DEATH//IN_HOSPITAL", 0),
            (40, HR, 61),
        ),
    ],
    "held_out/0": rows_of(8, (None, "WEIGHT", 81.5), (None, HR, 5), (0, "ICU_ADMISSION", None), (90, HR, 55)),
}


def write_events(file, rows, types=DATA, **columns):
    file.parent.mkdir(parents=True, exist_ok=True)
    subject, time, code, value = zip(*rows, strict=True)
    columns = {"subject_id": subject, "time": time, "code": code, "numeric_value": value, **columns}
    arrays = {name: pa.array(list(values), DATA.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table({name: array.cast(types.get(name, array.type)) for name, array in arrays.items()}), file)


@pytest.fixture
def root(tmp_path):
    for name, rows in SHARDS.items():
        write_events(tmp_path / "meds/data" / f"{name}.parquet", rows)
    (tmp_path / "meds/metadata").mkdir()
    codes = sorted({row[2] for rows in SHARDS.values() for row in rows} | {"GENDER//X"})
    pq.write_table(pa.table({"code": codes}), tmp_path / "meds/metadata/codes.parquet")
    (tmp_path / "meds/metadata/dataset.json").write_text('{"dataset_name": "tiny", "meds_version": "0.4.1"}')
    return tmp_path / "meds"


def write_labels(file, rows, value="boolean_value", **columns):
    file.parent.mkdir(parents=True, exist_ok=True)
    subject, time, values = zip(*rows, strict=True)
    times = pa.array([None if at is None else hours(at) for at in time], pa.timestamp("us"))
    table = {"subject_id": list(subject), "prediction_time": times, value: list(values), **columns}
    pq.write_table(pa.table(table), file)
    return file


def independent(rows, start, end):
    """Return {(hours, feature): mean} of one window, from a frame."""
    frame = pd.DataFrame(rows, columns=["subject", "time", "code", "value"]).dropna(subset=["time", "value"])
    frame["feature"] = frame["code"].map(
        lambda code: "heart rate" if "220045" in code else "lactate" if "50813" in code else None
    )
    frame["hours"] = (frame["time"] - start) / HOUR
    frame = frame[(frame["time"] >= start) & (frame["time"] <= end)].dropna(subset=["feature"])
    means = frame.groupby([frame["hours"].astype(np.float32), "feature"])["value"].mean()
    return {key: np.float32(value) for key, value in means.items()}


def cells(cohort, row):
    frame = cohort.select([row]).to_frame()
    return {(t, f): v for t, f, v in zip(frame["time"], frame["feature"], frame["value"], strict=True)}


def test_stays_begin_at_anchors(root):
    cohort = load(
        root, panel=PANEL, anchor="ICU_ADMISSION", window=24, static={"sex": "GENDER//.*", "weight": ["WEIGHT"]}
    )
    assert cohort.record_id.tolist() == ["8_1", "5_1", "3_1", "3_2"]
    assert cohort.subject_id.tolist() == [8, 5, 3, 3]
    assert cohort.anchor.tolist() == np.array([hours(0), hours(0), hours(0), hours(10)]).tolist()
    assert [(f.name, f.unit) for f in cohort.features] == [("heart rate", "bpm"), ("lactate", "mmol/L")]
    everything = [row for rows in SHARDS.values() for row in rows]
    ends = [hours(24), hours(24), hours(10 - 1e-6), hours(34)]
    for row, (subject, start, end) in enumerate(zip(cohort.subject_id, cohort.anchor, ends, strict=True)):
        assert cells(cohort, row) == independent([r for r in everything if r[0] == subject], start, end)
    assert cohort.length.tolist() == [0, 3, 1, 1]
    assert [f.name for f in cohort.static_features] == ["sex", "weight", "age"]
    assert cohort.static_features[0].levels == ("F", "M", "X")
    expected = [[np.nan, 81.5, np.nan], [0, np.nan, 3e5 / 24 / 365.25], [1, np.nan, np.nan], [1, np.nan, np.nan]]
    np.testing.assert_allclose(cohort.static, expected, rtol=1e-6)
    assert cohort.notes == (
        "1 stays have a death inside their window: their outcome is known before its end",
        "1 stays have no event of the panel",
    )
    rows = [(row.rows, row.changed) for row in cohort.attrition]
    assert rows == [(24, 0), (13, 11), (12, 1), (11, 1), (7, 4), (6, 1)]


def test_attrition_adds_up(root):
    cohort = load(root, panel=PANEL, anchor="ICU_ADMISSION", window=24)
    for before, after in zip(cohort.attrition, cohort.attrition[1:], strict=False):
        assert before.rows == after.rows + after.changed
    assert cohort.attrition[-1].rows == cohort.observed.sum()


def test_labels_end_stays_at_the_prediction_time_inclusive(root, tmp_path):
    file = write_labels(
        tmp_path / "tasks/died/0.parquet", [(5, 24, True), (3, 20, False), (3, 2, True), (8, -1, False)]
    )
    cohort = load(root, panel=PANEL, labels=file.parent, window=23)
    assert cohort.record_id.tolist() == ["8_1", "3_1", "3_2", "5_1"]
    assert cohort.labels["died"].tolist() == [0, 1, 0, 1]
    assert cells(cohort, 3) == {(0, "heart rate"): 95, (0, "lactate"): 2.5, (23, "heart rate"): 110}
    assert cells(cohort, 1) == {(23, "lactate"): 7}
    anchored = load(root, panel=PANEL, labels=file.parent, anchor="ICU_ADMISSION")
    assert anchored.record_id.tolist() == ["3_1", "3_2", "5_1"]
    assert anchored.labels["died"].tolist() == [1, 0, 1]
    assert anchored.anchor.tolist() == np.array([hours(0), hours(10), hours(0)]).tolist()
    first_day = {(0, "heart rate"): 80, (1, "heart rate"): 95, (1, "lactate"): 2.5, (24, "heart rate"): 110}
    assert cells(anchored, 2) == first_day
    assert cells(anchored, 1) == {(0, "heart rate"): 60}
    assert "1 labels have no anchor at or before their prediction time and were dropped" in anchored.notes
    shorter = load(root, panel=PANEL, labels=file.parent, anchor="ICU_ADMISSION", window=1)
    assert cells(shorter, 2) == {(0, "heart rate"): 80, (1, "heart rate"): 95, (1, "lactate"): 2.5}


def test_nothing_after_the_window_is_seen(root, tmp_path):
    options = {"panel": PANEL, "anchor": "ICU_ADMISSION", "window": 24, "static": {"sex": "GENDER//.*"}}
    before = load(root, **options)
    kept = [row for row in SHARDS["train/0"] if row[0] == 5 and (row[1] is None or row[1] <= hours(24))]
    write_events(root / "data/train/0.parquet", [*kept, *rows_of(5, (500, HR, 7), (600, "MEDS_DEATH", None))])
    after = load(root, **options)
    assert after.select(after.subject_id == 5).fingerprint() == before.select(before.subject_id == 5).fingerprint()


def test_a_subset_of_subjects_reads_the_same(root):
    options = {"panel": PANEL, "anchor": "ICU_ADMISSION", "window": 24, "static": {"sex": "GENDER//.*"}}
    whole = load(root, **options)
    shutil.rmtree(root / "data/held_out")
    part = load(root, **options)
    assert part.fingerprint() == whole.select(whole.subject_id != 8).fingerprint()


def test_order_of_equal_times_does_not_matter(root):
    options = {"panel": PANEL, "anchor": "ICU_ADMISSION", "window": 24}
    before = load(root, **options)
    rows = sorted(SHARDS["train/0"], key=lambda row: (-row[0], row[1] or START - 10**18, -(row[3] or 0)))
    assert rows != SHARDS["train/0"]
    write_events(root / "data/train/0.parquet", rows)
    assert load(root, **options).fingerprint() == before.fingerprint()


def test_icu_stays_keep_their_number(root):
    for name, rows in SHARDS.items():
        stays = [None if time is None else 100 * s + int(time >= hours(10)) for s, time, _, _ in rows]
        write_events(root / f"data/{name}.parquet", rows, icustay_id=stays)
    cohort = load(root, panel=PANEL, anchor="ICU_ADMISSION", window=24)
    assert cohort.record_id.tolist() == [800, 500, 300, 301]


def test_death_is_no_feature_and_a_unit_may_be_unknown(root):
    write_events(
        root / "data/x.parquet",
        rows_of(9, (0, "ICU_ADMISSION", None), (1, "LAB//220045//UNK", 77), (2, "MEDS_DEATH", 1)),
    )
    cohort = load(root, panel={"any": ".*DEATH.*|LAB//220045//.*"}, anchor="ICU_ADMISSION", window=24)
    assert cohort.features[0].unit == "bpm"
    assert cells(cohort, cohort.subject_id.tolist().index(9)) == {(1, "any"): 77}
    assert "1 codes are not in metadata/codes.parquet" in cohort.notes


def test_a_code_without_a_unit_in_the_metadata_has_its_own(root):
    codes = pq.read_table(root / "metadata/codes.parquet")
    pq.write_table(codes.append_column("unit", pa.nulls(len(codes), pa.string())), root / "metadata/codes.parquet")
    cohort = load(root, panel=PANEL, anchor="ICU_ADMISSION", window=24)
    assert [feature.unit for feature in cohort.features] == ["bpm", "mmol/L"]
    with pytest.raises(InputError, match="feature 'all' has several units, bpm"):
        load(root, panel={"all": "LAB//.*"}, anchor="ICU_ADMISSION", window=24)


def test_codes_of_no_row_and_contradictions_are_notes(root):
    panel = {"lactate": [LACTATE, "LAB//RESULT//50813//mg"], "heart rate": [HR, "GENDER//X"]}
    write_events(root / "data/c.parquet", rows_of(9, (None, "GENDER//F", None), (None, "GENDER//M", None),
                 (0, "ICU_ADMISSION", None)))  # fmt: skip
    cohort = load(root, panel=panel, static={"sex": r"GENDER//[FM]"}, anchor="ICU_ADMISSION", window=24)
    assert cohort.notes[:3] == (
        "no row has the code 'LAB//RESULT//50813//mg' of 'lactate'",
        "no row has the code 'GENDER//X' of 'heart rate'",
        "1 subjects have several values of static 'sex': the last of their rows counts",
    )


def test_times_finer_than_a_microsecond_are_one_sentence(root):
    rows = {"subject_id": [9], "time": pa.array([1], pa.timestamp("ns")), "code": [HR]}
    pq.write_table(pa.table(rows), root / "data/c.parquet")
    with pytest.raises(InputError, match=r"'time' of .*c\.parquet is not timestamp\[us\], as MEDS 0\.4 has it"):
        load(root, panel=PANEL, anchor="ICU_ADMISSION", window=24)


def test_a_folder_of_labels_gives_its_whole_name(root, tmp_path):
    write_labels(tmp_path / "death.v2/0.parquet", [(5, 10, True)])
    assert list(load(root, panel=PANEL, labels=tmp_path / "death.v2", window=24).labels) == ["death.v2"]


def test_texts_of_labels_become_codes(root, tmp_path):
    rows = [(5, 24, "home"), (3, 20, "died"), (8, 1, "home")]
    cohort = load(root, panel=PANEL, labels=write_labels(tmp_path / "end.parquet", rows, "categorical_value"), window=1)
    assert cohort.labels["end"].tolist() == [1, 0, 1]
    assert "label 'end': 0 = died, 1 = home" in cohort.notes


WINDOW = {"panel": PANEL, "anchor": "ICU_ADMISSION", "window": 24}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs panel={feature: codes}"),
        ({"panel": PANEL}, "say what a stay is: anchor=CODE, labels=FILE, or both"),
        ({"panel": PANEL, "anchor": "ICU_ADMISSION"}, "give window=HOURS"),
        ({**WINDOW, "window": -1}, "window is -1 hours: give a positive number"),
        ({**WINDOW, "panel": {"x": "NO//SUCH"}}, "feature 'x' matches none of the 14 codes, it asks for 'NO//SUCH'"),
        ({**WINDOW, "panel": {"x": "("}}, "feature 'x' has '[(]', which is no regular expression"),
        ({**WINDOW, "panel": {"x": HR, "y": "LAB//.*"}}, "code 'LAB//220045//bpm' is in two features, 'x' and 'y'"),
        ({**WINDOW, "panel": {"x": "LAB.*"}}, r"'x' has several units, bpm [(]10 rows[)], mmol/L [(]3 rows[)]"),
        ({**WINDOW, "panel": {"x": "MEDS_DEATH.*"}}, "feature 'x' matches none"),
        ({**WINDOW, "static": {"sex": "SEX.*"}}, "static 'sex' matches none"),
        ({**WINDOW, "anchor": "ICU"}, "no stay was found"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(root, options, message):
    with pytest.raises(InputError, match=message) as error:
        load(root, **options)
    assert "\n" not in str(error.value)


def broken(change):
    """Return a test case: what to do to the data set, by name of the file it touches."""
    return pytest.param(change, id=change.__name__)


def split_subject(root):
    write_events(root / "data/train/1.parquet", rows_of(5, (99, HR, 1)))
    return r"subject 5 is in data/train/0.parquet and in data/train/1.parquet"


def scattered_subject(root):
    write_events(root / "data/x.parquet", rows_of(1, (0, HR, 1)) + rows_of(2, (0, HR, 1)) + rows_of(1, (1, HR, 1)))
    return "subject 1 is in two parts of data/x.parquet"


def unsorted_subject(root):
    write_events(root / "data/x.parquet", rows_of(1, (5, HR, 1), (4, HR, 1)))
    return "subject 1 of data/x.parquet is not sorted by time"


def static_row_last(root):
    write_events(root / "data/x.parquet", rows_of(1, (5, HR, 1), (None, "GENDER//F", None)))
    return "subject 1 of data/x.parquet is not sorted by time: sort its events, static ones first"


def code_missing(root):
    write_events(root / "data/x.parquet", rows_of(1, (5, None, 1)))
    return "x.parquet has 1 rows without code"


def text_as_number(root):
    write_events(root / "data/x.parquet", rows_of(1, (5, HR, 80)), {**DATA, "numeric_value": pa.string()})
    return "column 'numeric_value' of .*x.parquet is of type string: MEDS 0.4 has float32"


def time_with_zone(root):
    write_events(root / "data/x.parquet", rows_of(1, (5, HR, 1)), {**DATA, "time": pa.timestamp("us", "UTC")})
    return "column 'time' of .* is of type timestamp"


def column_missing(root):
    pq.write_table(pa.table({"subject_id": [1], "time": [None]}), root / "data/x.parquet")
    return "x.parquet has no column 'code', it has subject_id, time"


def nested_events(root):
    pq.write_table(pa.table({"patient_id": [1], "events": [["a"]]}), root / "data/x.parquet")
    return "is in the form of MEDS 0.3 or earlier: convert it to MEDS 0.4"


def old_version(root):
    (root / "metadata/dataset.json").write_text('{"meds_version": "0.3.3"}')
    return "is in MEDS 0.3.3, whose columns differ: convert it to MEDS 0.4"


def no_json(root):
    (root / "metadata/dataset.json").write_text("{")
    return "dataset.json is no JSON"


def truncated(root):
    file = root / "data/train/0.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    return "0.parquet is no readable parquet file"


def empty(root):
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "metadata")
    return "has no data/[*][*]/[*].parquet, it holds nothing"


def another_data_set(root):
    shutil.rmtree(root / "data")
    (root / "PATIENTS.csv.gz").touch()
    return "it holds PATIENTS.csv.gz, metadata: give the root of a MEDS data set"


@pytest.mark.parametrize("change", [
    broken(change)
    for change in (
        split_subject, scattered_subject, unsorted_subject, static_row_last, code_missing, text_as_number,
        time_with_zone, column_missing, nested_events, old_version, no_json, truncated, empty, another_data_set,
    )
])  # fmt: skip
def test_a_broken_data_set_is_one_sentence(root, change):
    message = change(root)
    with pytest.raises(InputError, match=message) as error:
        load(root, **WINDOW)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([(5, 24, True), (77, 1, True), (78, 1, True)], {}, "2 subjects of the label file are not in the data, 77 is"),
        ([(5, 24, True), (3, 1, None)], {}, "has 1 empty cells in boolean_value: a MEDS label file has none"),
        ([(5, 24, True), (3, None, True)], {}, "has 1 empty cells in prediction_time"),
        ([(5, 24, True), (5, 24, False)], {}, "has two labels of subject 5 at one time"),
        ([(5, 24, True)], {"stay": [1]}, "has the column 'stay', which a MEDS label file cannot have"),
        ([(5, 24, True)], {"integer_value": [1]}, "must hold one column of .*; it has boolean_value, integer_value"),
    ],
)  # fmt: skip
def test_broken_labels_are_one_sentence(root, tmp_path, rows, columns, message):
    file = write_labels(tmp_path / "task.parquet", rows, **columns)
    with pytest.raises(InputError, match=message) as error:
        load(root, panel=PANEL, labels=file, window=24)
    assert "\n" not in str(error.value)


def test_missing_paths_are_one_sentence(root, tmp_path):
    with pytest.raises(InputError, match="no-such is no folder"):
        load_cohort(f"meds:{tmp_path / 'no-such'}")
    with pytest.raises(InputError, match="MEDS data need their folder: give meds:FOLDER"):
        load_cohort("meds")
    with pytest.raises(InputError, match=re.escape("no.parquet does not exist")):
        load(root, panel=PANEL, labels=tmp_path / "no.parquet", window=1)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no parquet file"):
        load(root, panel=PANEL, labels=tmp_path / "none", window=1)


@pytest.mark.parametrize("module", ["meds", "meds_files", "meds_export"])
def test_the_examples_run(module):
    assert doctest.testmod(importlib.import_module(f"auscult.core.data.{module}")).failed == 0
