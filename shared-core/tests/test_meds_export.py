import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.data import Cohort, Feature, ReferenceRange, load_cohort
from auscult.core.data.cohort import AttritionRow
from auscult.core.data.meds import load, write
from auscult.core.errors import InputError

DATA = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.large_string(),
}


def assert_same(one, other):
    for name in (field.name for field in dataclasses.fields(Cohort)):
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, name
            np.testing.assert_array_equal(left, right, err_msg=name, strict=True)
        elif name == "labels":
            assert list(left) == list(right)
            for key in left:
                np.testing.assert_array_equal(left[key], right[key], err_msg=key, strict=True)
        else:
            assert left == right, name
    assert one.fingerprint() == other.fingerprint()


def awkward(**changes):
    """Several stays a person in no order, empty steps and stays, times before the anchor, labels of many types."""
    nan = np.nan
    fields = {
        "record_id": ["stay b", "stay a", "stay c", "stay ä"],
        "subject_id": ["p2", "p1", "p2", "p1"],
        "time": [[-1.5, 0, 1e-6], [1 / 3, nan, nan], [nan, nan, nan], [0, 24, nan]],
        "values": [
            [[80.1, nan, 1], [nan, nan, nan], [nan, -0.0, nan]],
            [[nan, 1e-42, 0], [nan] * 3, [nan] * 3],
            [[nan] * 3] * 3,
            [[nan, nan, nan], [3e38, 7, 2], [nan] * 3],
        ],
        "length": [3, 1, 0, 2],
        "features": (
            Feature("heart rate", unit="/min", reference_ranges=(ReferenceRange(60), ReferenceRange(50, 90, "male"))),
            Feature("a//b ", "shown name", decimals=2),
            Feature("eyes", kind="categorical", levels=("none", "to pain", "open")),
        ),
        "static": [[70, nan], [nan, 1], [nan, nan], [33.3, 0]],
        "static_features": (Feature("age", unit="years"), Feature("sex", kind="ordinal", levels=("female", "male"))),
        "labels": {
            "mortality": np.array([0, 1, 1, 0], np.int8),
            "readmission": np.array([nan, 1, nan, 0]),
            "../los.days": np.array([[3, 2.5, 1.1], [9, nan, nan], [nan] * 3, [2, 1, nan]]),
            "flag": np.array([True, False, True, True]),
            "half": np.array([0.5, 1, nan, 2], np.float16),
            "big": np.array([2**62, 1, 0, 5], np.uint64),
        },
        "anchor": np.array(["2150-01-02T03:04:05.678901", "2150-01-01", "1969-12-31T23:59", "2160-02-29"], "M8[us]"),
        "attrition": (AttritionRow("read", 9, 4, 0, "all"), AttritionRow("drop", 8, 4, 1, "rows: ñ")),
        "provenance": {"data_set": "made up", "licence": "none", "source": "nowhere", "sha256": "0"},
        "notes": ("one note", "another"),
    }  # fmt: skip
    return Cohort(**{**fields, **changes})


COHORTS = {
    "tjh": lambda: load_cohort("tjh"),
    "tjh without sex": lambda: load_cohort("tjh", sheet="110"),
    "awkward": awkward,
    "without anchors": lambda: awkward(anchor=None),
    "numbers as ids": lambda: awkward(record_id=[9, 3, 2**60, -4], subject_id=[2**55 + 1, -7, 2**55 + 1, -7]),
    "padded beyond need": lambda: load_cohort("tjh").select([300, 5]),
    "whole numbers per step": lambda: awkward(
        length=[1] * 4, time=[[0]] * 4, values=[[[1, 2, 0]]] * 4, labels={"n": np.arange(4).reshape(4, 1)}
    ),
    "no features": lambda: awkward(
        features=(), values=np.empty((4, 3, 0)), static=np.empty((4, 0)), static_features=(), labels={}
    ),
    "nobody": lambda: load_cohort("tjh").select([]),
}


@pytest.mark.parametrize("name", COHORTS)
def test_a_cohort_survives_the_round_trip_exactly(name, tmp_path):
    cohort = COHORTS[name]()
    write(cohort, tmp_path / "meds")
    assert_same(load_cohort(f"meds:{tmp_path / 'meds'}"), cohort)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(data=st.data())
def test_any_cohort_survives_the_round_trip(data, tmp_path_factory):
    n, f = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    times = st.lists(st.floats(-(2.0**20), 2.0**20, width=32), max_size=4, unique=True).map(sorted)
    steps = [[t + 0.0 for t in data.draw(times)] for _ in range(n)]
    width = max(1, *map(len, steps)) + data.draw(st.integers(0, 1))
    cells = st.one_of(st.just(np.nan), st.floats(allow_nan=False, allow_infinity=False, width=32))
    time, values = np.full((n, width), np.nan), np.full((n, width, f), np.nan)
    for i, hours in enumerate(steps):
        time[i, : len(hours)] = hours
        drawn = data.draw(st.lists(cells, min_size=len(hours) * f, max_size=len(hours) * f))
        values[i, : len(hours)] = np.reshape(drawn, (-1, f))
    cohort = Cohort(
        record_id=data.draw(st.permutations(range(n))),
        subject_id=data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)),
        time=time,
        values=values,
        length=[len(hours) for hours in steps],
        features=tuple(Feature(f"f{i}") for i in range(f)),
        labels={"y": np.array(data.draw(st.lists(cells, min_size=n, max_size=n)))},
        anchor=np.arange(n).astype("datetime64[D]"),
    )
    folder = tmp_path_factory.mktemp("round") / "meds"
    write(cohort, folder)
    assert_same(load(folder), cohort)


def test_what_is_written_is_meds(tmp_path):
    write(awkward(), tmp_path / "meds")
    events = pq.read_table(tmp_path / "meds/data/0.parquet")
    assert {name: events.schema.field(name).type for name in DATA} == DATA
    assert [name for name in events.column_names if name not in DATA] == ["record_id", "hours"]
    assert not events.schema.field("subject_id").nullable
    assert not events.schema.field("code").nullable
    frame = events.to_pandas()
    assert frame["subject_id"].is_monotonic_increasing
    for _, rows in frame.groupby("subject_id"):
        timeless = rows["time"].isna()
        assert not timeless[timeless.argmin() :].any()
        assert rows["time"].dropna().is_monotonic_increasing
    codes = pq.read_table(tmp_path / "meds/metadata/codes.parquet")
    assert set(frame["code"]) <= set(codes["code"].to_pylist())
    assert codes.schema.field("parent_codes").type == pa.list_(pa.string())
    metadata = json.loads((tmp_path / "meds/metadata/dataset.json").read_text("utf-8"))
    assert metadata["meds_version"].startswith("0.4")
    assert set(metadata["raw_source_id_columns"] + metadata["other_extension_columns"]) == {"record_id", "hours"}
    assert not {"mortality", "los_days"} & {code.split("//")[-1] for code in frame["code"]}
    text = frame[frame["code"] == "MEASUREMENT//eyes"].sort_values("numeric_value")
    assert text["text_value"].tolist() == ["none", "to pain", "open"]


def test_labels_are_meds_labels(tmp_path):
    write(awkward(), tmp_path / "meds")
    folders = {folder.name: folder for folder in (tmp_path / "meds/labels").iterdir()}
    assert set(folders) == {"mortality", "readmission", "%2E%2E%2Flos%2Edays", "flag", "half", "big"}
    column = {
        "mortality": ("boolean_value", pa.bool_(), 4),
        "readmission": ("boolean_value", pa.bool_(), 2),
        "%2E%2E%2Flos%2Edays": ("float_value", pa.float32(), 6),
        "flag": ("boolean_value", pa.bool_(), 4),
        "half": ("float_value", pa.float32(), 3),
        "big": ("integer_value", pa.int64(), 4),
    }
    for name, (value, type_, rows) in column.items():
        table = pq.read_table(folders[name] / "0.parquet", partitioning=None)
        assert table.schema.names == ["subject_id", "prediction_time", value]
        assert table.schema.types == [pa.int64(), pa.timestamp("us"), type_]
        assert not any(field.nullable for field in table.schema)
        assert len(table) == rows
    died = pq.read_table(folders["mortality"] / "0.parquet", partitioning=None).to_pandas()
    last = np.array(["2150-01-01T00:20:00.000000", "2160-03-01", "1969-12-31T23:59", "2150-01-02T03:04:05.682501"])
    expected = {0: [True, False], 1: [True, False]}
    for subject, rows in died.groupby("subject_id"):
        assert rows["boolean_value"].tolist() == expected[subject]
        times = last[:2] if subject == 0 else last[2:]
        wanted = times.astype("datetime64[us]")
        assert np.abs(rows["prediction_time"].to_numpy() - wanted).max() <= np.timedelta64(4, "ms")


def test_the_meds_package_accepts_what_is_written(tmp_path):
    meds = pytest.importorskip("meds", reason="the package meds is not installed")
    for i, cohort in enumerate((awkward(), load_cohort("tjh"), awkward(anchor=None))):
        root = tmp_path / str(i)
        write(cohort, root)
        meds.DataSchema.validate(pq.read_table(root / "data/0.parquet"))
        meds.CodeMetadataSchema.validate(pq.read_table(root / "metadata/codes.parquet"))
        meds.DatasetMetadataSchema.validate(json.loads((root / "metadata/dataset.json").read_text("utf-8")))
        for task in (root / "labels").iterdir():
            meds.LabelSchema.validate(pq.read_table(task / "0.parquet", partitioning=None))


def test_a_thousand_subjects_make_a_shard(tmp_path):
    n = 2003
    cohort = Cohort(
        record_id=np.arange(n)[::-1],
        subject_id=np.arange(n) // 2,
        time=np.zeros((n, 1)),
        values=np.arange(n).reshape(n, 1, 1),
        length=np.ones(n, np.int64),
        features=(Feature("x"),),
    )
    write(cohort, tmp_path / "meds")
    shards = [set(pq.read_table(file)["subject_id"].to_pylist()) for file in sorted((tmp_path / "meds/data").iterdir())]
    assert [len(shard) for shard in shards] == [1000, 2]
    assert not shards[0] & shards[1]
    assert_same(load(tmp_path / "meds"), cohort)


def test_subjects_taken_out_of_the_events_are_counted(tmp_path):
    cohort = load_cohort("tjh")
    write(cohort, tmp_path / "meds")
    file = tmp_path / "meds/data/0.parquet"
    events = pq.read_table(file)
    pq.write_table(events.filter(pa.compute.less_equal(events["subject_id"], 100)), file)
    read = load(tmp_path / "meds")
    left = cohort.select(cohort.subject_id <= 100)
    assert read.fingerprint() == left.fingerprint()
    assert read.attrition[-1].records == len(left)
    assert read.attrition[-1].changed == len(cohort) - len(left)


def test_other_programs_see_the_same_values_and_times(tmp_path):
    cohort = load_cohort("tjh")
    write(cohort, tmp_path / "meds")
    panel = {feature.name: ["MEASUREMENT//" + feature.name] for feature in cohort.features}
    fixed = {"sex": "STATIC//sex", "age": "STATIC//age"}
    read = load(tmp_path / "meds", panel=panel, anchor="STAY_START", window=10_000, static=fixed)
    pd.testing.assert_frame_equal(
        read.to_frame().drop(columns="record_id"), cohort.to_frame().drop(columns="record_id")
    )
    np.testing.assert_array_equal(read.static, cohort.static)
    np.testing.assert_array_equal(read.anchor, cohort.anchor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": [[-1.5, 0, 3e9], *awkward().time[1:]]}, "a time of 3e[+]09 hours does not fit a MEDS timestamp"),
        ({"labels": {"big": np.array([2**63, 1, 0, 5], np.uint64)}}, "'big' holds numbers beyond 64-bit integers"),
    ],
)
def test_what_meds_cannot_hold_is_refused_and_leaves_nothing(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write(awkward(**changes), tmp_path / "meds")
    assert not list(tmp_path.iterdir())


def test_writing_never_replaces(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="full exists and is not an empty folder"):
        write(awkward(), tmp_path / "full")
    (tmp_path / "empty").mkdir()
    write(awkward(), tmp_path / "empty")
    with pytest.raises(InputError, match="not an empty folder"):
        write(awkward(), tmp_path / "empty")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root, table: (root / "metadata/codes.parquet").unlink(), r"\(.*codes.parquet"),
        (lambda root, table: pq.write_table(table.drop(["code"]), root / "data/0.parquet"), r"\(.*code"),
        (lambda root, table: (root / "data/0.parquet").write_bytes(b"PAR1"), r"\("),
        (
            lambda root, table: pq.write_table(
                table.set_column(
                    table.column_names.index("numeric_value"), "numeric_value", pa.array(["high"] * len(table))
                ),
                root / "data/0.parquet",
            ),
            r"\(.*'high'",
        ),
    ],
)
def test_a_written_cohort_that_was_altered_is_one_sentence(tmp_path, damage, message):
    root = tmp_path / "meds"
    write(load_cohort("tjh"), root)
    damage(root, pq.read_table(root / "data/0.parquet"))
    with pytest.raises(InputError, match=rf"was written as a cohort and altered since {message}") as error:
        load_cohort(f"meds:{root}")
    assert "\n" not in str(error.value)
