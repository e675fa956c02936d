import hashlib
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from openpyxl import Workbook

from auscult.core.data import describe, load_cohort, tjh
from auscult.core.errors import InputError, MissingDependencyError

FOLDER = Path(__file__).parent / "data" / "tjh"
BOOKS = {
    "375": FOLDER / "time_series_375_prerpocess_en.xlsx",
    "110": FOLDER / "time_series_test_110_preprocess_en.xlsx",
}
# Days on which each laboratory value of the sheet "375" was observed, in the order of the columns.
OBSERVED_DAYS = [
    498, 946, 947, 655, 459, 944, 262, 917, 920, 944, 261, 917, 940, 945, 327, 262, 894, 910, 944, 917, 278, 652, 278,
    944, 944, 1024, 262, 944, 560, 262, 920, 944, 358, 1024, 944, 900, 950, 768, 944, 917, 854, 281, 910, 560, 945, 278,
    626, 918, 919, 918, 918, 950, 470, 918, 854, 266, 327, 944, 854, 917, 917, 652, 944, 944, 561, 727, 277, 947, 854,
    383, 918, 920, 920,
]  # fmt: skip


@pytest.fixture(scope="module")
def cohort():
    return load_cohort("tjh")


@pytest.fixture(scope="module")
def raw():
    return tjh.read_workbook(BOOKS["375"])


def test_the_raw_sheet_is_what_was_published(raw):
    assert raw.shape == (6120, 81)
    assert raw["PATIENT_ID"].notna().sum() == 375
    patient = raw["PATIENT_ID"].ffill()
    assert patient.unique().tolist() == list(range(1, 376))
    one = raw[raw["PATIENT_ID"].notna()]
    assert one["outcome"].value_counts().to_dict() == {0: 201, 1: 174}
    assert one["gender"].value_counts().to_dict() == {1: 224, 2: 151}
    assert (one["age"].min(), one["age"].max(), one["age"].median()) == (18, 95, 62)
    assert one["age"].mean() == pytest.approx(58.83, abs=0.005)
    rows = patient.value_counts()
    assert (rows.min(), rows.max()) == (1, 59)
    assert rows.mean() == pytest.approx(16.3, abs=0.05)
    assert patient[raw["outcome"] == 0].max() == 201
    assert patient[raw["outcome"] == 1].min() == 202
    labs = raw.columns[7:]
    assert len(labs) == 74
    assert raw[labs].drop(columns=tjh.CONSTANT).isna().to_numpy().mean() == pytest.approx(0.876, abs=0.0005)
    negative = (raw[labs] < 0).sum()
    assert negative[negative > 0].to_dict() == {"Platelet count": 4, "2019-nCoV nucleic acid detection": 501}
    assert raw["2019-nCoV nucleic acid detection"].dropna().unique().tolist() == [-1]


def test_the_raw_times_are_what_was_published(raw):
    span = {column: (str(raw[column].min())[:16], str(raw[column].max())[:16]) for column in tjh.TIMES}
    assert span["RE_DATE"] == ("2020-01-10 19:45", "2020-02-18 17:49")
    assert [day[:10] for day in span["Admission time"]] == ["2020-01-10", "2020-02-17"]
    assert [day[:10] for day in span["Discharge time"]] == ["2020-01-23", "2020-03-04"]
    patient = raw["PATIENT_ID"].ffill()
    blank = raw["RE_DATE"].isna()
    unseen = [187, 189, 192, 197, 200, 201, 253, 268, 285, 289, 311, 347, 354, 359]
    assert patient[blank].tolist() == unseen
    assert patient.isin(unseen).sum() == 14
    assert raw[blank].iloc[:, 7:].isna().all(axis=None)
    assert raw.loc[blank, "outcome"].sum() == 8
    assert not (raw["RE_DATE"] < raw["Admission time"]).any()
    assert not raw.assign(patient=patient)[~blank].duplicated(["patient", "RE_DATE"]).any()


def test_headers_keep_their_quirks_and_show_clean_names(cohort):
    names = [feature.name for feature in cohort.features]
    for name in ("Red blood cell distribution width ", "platelet large cell ratio ", "mean corpuscular hemoglobin "):
        assert name in names
        assert cohort.features[names.index(name)].display_name == name.strip()
    assert {"Tumor necrosis factorα", "Interleukin 1β", "γ-glutamyl transpeptidase", "(%)lymphocyte"} <= set(names)
    assert cohort.features[cohort.feature_index("(%)lymphocyte")].display_name == "lymphocytes (%)"
    shown = [feature.display_name for feature in cohort.features]
    assert len(set(shown)) == 73
    assert all(name == " ".join(name.split()) for name in shown)
    assert set(tjh.DISPLAY_NAMES) <= set(names)


def test_attrition_is_counted_at_each_step(cohort):
    assert [(row.step, row.rows, row.records, row.changed) for row in cohort.attrition] == [
        ("read", 6120, 375, 0),
        ("fill patient numbers", 6120, 375, 5745),
        ("recode sex", 6120, 375, 2390),
        ("truncate times to days", 6120, 375, 18345),
        ("drop rows without patient, record time or discharge", 6106, 361, 14),
        ("set negative remaining stays to 0", 6106, 361, 28),
        ("drop the constant column", 6106, 361, 501),
        ("mark negative values as missing", 6106, 361, 4),
        ("average each day", 1704, 361, 6106),
    ]
    assert cohort.notes[0] == "71 rows of 34 patients are stamped after the discharge"


def test_days_that_would_be_negative_are_those_of_18_patients(raw):
    rows = raw.assign(PATIENT_ID=raw["PATIENT_ID"].ffill()).dropna(subset=["RE_DATE"])
    days = (rows["Discharge time"].dt.normalize() - rows["RE_DATE"].dt.normalize()).dt.days
    odd = rows[days < 0].drop_duplicates("PATIENT_ID")
    assert ((days < 0).sum(), days.min(), len(odd), odd["outcome"].sum()) == (28, -2, 18, 10)


def test_the_cohort_has_its_published_patients(cohort):
    assert cohort.values.shape == (361, 13, 73)
    mortality = cohort.labels["mortality"]
    assert np.bincount(mortality).tolist() == [195, 166]
    assert cohort.record_id[mortality == 0].max() == 199
    assert cohort.record_id[mortality == 1].min() == 202
    assert cohort.record_id.tolist() == cohort.subject_id.tolist() == sorted(cohort.record_id.tolist())
    sex, age = cohort.static.T.astype(np.float64)
    assert np.bincount(sex.astype(int)).tolist() == [149, 212]
    assert [feature.name for feature in cohort.static_features] == ["sex", "age"]
    assert cohort.static_features[0].levels == ("female", "male")
    assert (age.mean(), age.std(ddof=1)) == (pytest.approx(58.9058, abs=5e-5), pytest.approx(16.49, abs=0.005))
    assert np.quantile(age, [0.25, 0.5, 0.75]).tolist() == [46, 62, 70]


def test_the_cohort_has_its_published_days(cohort):
    length, mortality = cohort.length, cohort.labels["mortality"]
    assert length.sum() == 1704
    assert length.mean() == pytest.approx(4.72, abs=0.005)
    assert np.quantile(length, [0, 0.25, 0.75, 1]).tolist() == [1, 3, 6, 13]
    assert length[mortality == 0].mean() == pytest.approx(5.38, abs=0.005)
    assert length[mortality == 1].mean() == pytest.approx(3.94, abs=0.005)
    assert (length == 1).sum() == 38


def test_the_cohort_has_its_published_lengths_of_stay(cohort):
    los = cohort.labels["los_days"]
    assert np.isnan(los[~cohort.valid]).all()
    days = los[cohort.valid].astype(np.float64)
    assert days.mean() == pytest.approx(7.61, abs=0.005)
    assert (np.median(days), days.max(), (days == 0).sum()) == (6, 35, 107)
    assert los[:, 0].mean() == pytest.approx(10.67, abs=0.005)


def test_the_cohort_has_its_published_missingness(cohort):
    missing = ~cohort.observed[cohort.valid]
    assert missing.mean() == pytest.approx(0.564, abs=0.0005)
    assert (~missing).sum(axis=0).tolist() == OBSERVED_DAYS
    rates = dict(zip([f.name for f in cohort.features], missing.mean(axis=0), strict=True))
    assert min(rates.values()) == rates["White blood cell count"] == rates["Red blood cell count"]
    assert rates["White blood cell count"] == pytest.approx(0.399, abs=0.0005)
    assert max(rates, key=rates.get) == "Interleukin 10"
    assert rates["Interleukin 10"] == pytest.approx(0.847, abs=0.0005)
    assert (~cohort.observed.any(axis=1)).mean() == pytest.approx(0.100, abs=0.0005)


def test_values_lie_where_they_were_published(cohort):
    expected = {
        "Hypersensitive cardiac troponinI": (1.9, 19.8, 2.341e4),
        "albumin": (18.34, 32.4, 44.94),
        "White blood cell count": (1.722, 7.6, 124.1),
        "PH value": (5, 6.5, 7.512),
        "Lactate dehydrogenase": (140.2, 339, 1867),
        "Red blood cell count": (1.5, 4.155, 96.58),
        "creatinine": (36, 76, 729.7),
    }
    for name, quantiles in expected.items():
        column = cohort.values[..., cohort.feature_index(name)].astype(np.float64)
        np.testing.assert_allclose(np.nanquantile(column, [0.01, 0.5, 0.99]), quantiles, rtol=5e-4)


def test_the_rules_written_down_plainly_give_the_same_arrays(cohort, raw):
    frame = raw.assign(PATIENT_ID=raw["PATIENT_ID"].ffill(), gender=raw["gender"].replace(2, 0))
    for column in tjh.TIMES:
        frame[column] = frame[column].dt.normalize()
    frame = frame.dropna(subset=["PATIENT_ID", "RE_DATE", "Discharge time"])
    frame["LOS"] = (frame["Discharge time"] - frame["RE_DATE"]).dt.days.clip(lower=0)
    frame = frame.drop(columns="2019-nCoV nucleic acid detection")
    labs = [feature.name for feature in cohort.features]
    frame[["age", *labs]] = frame[["age", *labs]].where(frame[["age", *labs]] >= 0)
    days = frame.groupby(["PATIENT_ID", "RE_DATE", "Admission time", "Discharge time"], as_index=False).mean()
    valid = cohort.valid
    np.testing.assert_array_equal(cohort.values[valid], days[labs].to_numpy(np.float32))
    np.testing.assert_array_equal(cohort.labels["los_days"][valid], days["LOS"])
    np.testing.assert_array_equal(np.repeat(cohort.record_id, cohort.length), days["PATIENT_ID"])
    np.testing.assert_array_equal(np.repeat(cohort.labels["mortality"], cohort.length), days["outcome"])
    np.testing.assert_array_equal(np.repeat(cohort.static, cohort.length, axis=0), days[["gender", "age"]])
    hours = (days["RE_DATE"] - days["Admission time"]) / pd.Timedelta("1h")
    np.testing.assert_array_equal(cohort.time[valid], hours)
    np.testing.assert_array_equal(np.repeat(cohort.anchor, cohort.length), days["Admission time"])


def test_the_daily_values_are_those_of_the_published_formatted_table(cohort):
    # SHA-256 of the 1,704 x 73 laboratory values, as little-endian float32 with -1 for missing, of
    # my_datasets/tjh/processed/tjh_dataset_formatted.parquet in github.com/yhzhu99/ehr-llm-benchmark (d413e70).
    values = cohort.values[cohort.valid].astype("<f4")
    digest = hashlib.sha256(np.where(np.isnan(values), np.float32(-1), values).tobytes()).hexdigest()
    assert digest == "41409450585d3dbe2130a20559986671a31786b640ed59403deb89d6f94555e4"


def test_the_first_visit_gives_the_counts_of_the_fairness_study(cohort):
    frame = cohort.first_visit()
    assert frame.shape == (361, 1 + 2 + 73 + 2)
    cell = 2 * (frame["age"] > frame["age"].astype(float).mean()) + (frame["sex"] == 1)
    counts = pd.crosstab(cell, frame["mortality"]).to_numpy().tolist()
    assert counts == [[72, 7], [55, 22], [31, 39], [37, 98]]
    patient = cohort.select([0])
    day = patient.to_frame().query("time == time.min()").set_index("feature")["value"]
    pd.testing.assert_series_equal(
        frame.iloc[0][[str(name) for name in day.index]].astype(np.float32),
        day.rename(int(patient.record_id[0])),
        check_index=False,
    )


@pytest.mark.parametrize("sheet", ["375", "110"])
def test_a_workbook_gives_the_same_cohort_as_the_bundled_sheet(sheet):
    bundled, read = load_cohort("tjh", sheet=sheet), load_cohort(f"tjh:{BOOKS[sheet]}")
    assert read.fingerprint() == bundled.fingerprint()
    np.testing.assert_array_equal(read.values, bundled.values)
    np.testing.assert_array_equal(read.record_id, bundled.record_id)
    assert read.features == bundled.features
    assert read.notes == bundled.notes
    assert [(r.rows, r.changed) for r in read.attrition] == [(r.rows, r.changed) for r in bundled.attrition]
    assert read.provenance["sha256"] == hashlib.sha256(BOOKS[sheet].read_bytes()).hexdigest()
    assert read.provenance["sheet"] == bundled.provenance["sheet"] == sheet


@pytest.mark.parametrize("sheet", ["375", "110"])
def test_the_bundled_sheet_is_the_workbook_cell_for_cell(tmp_path, sheet):
    made = tmp_path / "sheet.parquet"
    tjh.bundle(BOOKS[sheet], made)
    shipped = pd.read_parquet(resources.files("auscult.core.data") / "bundled" / f"tjh_{sheet}.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(made), shipped)
    book = pd.read_excel(BOOKS[sheet]).astype(dict.fromkeys(tjh.TIMES, "datetime64[us]"))
    pd.testing.assert_frame_equal(shipped, book, check_dtype=False)


def test_the_licence_of_the_data_is_bundled_with_it():
    text = (resources.files("auscult.core.data") / "bundled" / "README.md").read_text("utf-8")
    assert "Copyright (c) 2020 Huazhong Artificial Intelligence Lab (HAIL)" in text
    assert "Permission is hereby granted, free of charge" in text


def test_the_sheet_of_110_has_its_published_counts():
    cohort = load_cohort("tjh", sheet="110")
    assert cohort.attrition[0].rows == 757
    assert (len(cohort), int(cohort.length.sum())) == (110, 391)
    assert np.bincount(cohort.labels["mortality"]).tolist() == [97, 13]
    assert [f.name for f in cohort.features] == [
        "Lactate dehydrogenase",
        "High sensitivity C-reactive protein",
        "(%)lymphocyte",
    ]
    assert cohort.static.shape == (110, 0)
    raw = tjh.read_workbook(BOOKS["110"])
    rows = raw["PATIENT_ID"].ffill().value_counts()
    assert (rows.min(), rows.max()) == (2, 37)
    assert [str(raw["RE_DATE"].agg(how))[:10] for how in ("min", "max")] == ["2020-01-22", "2020-03-04"]


def test_the_description_is_json_and_has_the_counts(cohort):
    numbers = json.loads(json.dumps(describe(cohort), allow_nan=False))
    assert (numbers["records"], numbers["steps"], numbers["steps_per_record"]["max"]) == (361, 1704, 13)
    assert numbers["labels"]["mortality"]["mean"] == pytest.approx(166 / 361)
    assert numbers["attrition"][-1]["rows"] == 1704
    assert numbers["fingerprint"] == cohort.fingerprint()


def small_sheet(**changes):
    """Return the cells of a sheet like that of 110 patients, with two patients."""
    time = pd.to_datetime(["2020-02-01 08:00", "2020-02-01 20:00", "2020-02-03 08:00"])
    frame = pd.DataFrame(
        {
            "PATIENT_ID": [1, None, 2],
            "RE_DATE": time,
            "Lactate dehydrogenase": [200, 300, None],
            "High sensitivity C-reactive protein": [None, None, 4.5],
            "(%)lymphocyte": [None, 20.5, None],
            "Admission time": pd.to_datetime(["2020-01-31 23:00", "2020-01-31 23:00", "2020-02-03 01:00"]),
            "Discharge time": pd.to_datetime(["2020-02-05 02:00", "2020-02-05 02:00", "2020-02-03 02:00"]),
            "outcome": [0, 0, 1],
        }
    )
    return frame.assign(**changes)


def write(frame, path):
    book = Workbook()
    book.active.append(list(frame.columns))
    for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False):
        book.active.append(list(row))
    book.save(path)
    return path


def test_a_day_is_averaged_and_nothing_is_imputed(tmp_path):
    cohort = load_cohort(f"tjh:{write(small_sheet(), tmp_path / 'small.xlsx')}")
    nan = np.nan
    np.testing.assert_array_equal(cohort.values, [[[250, nan, 20.5]], [[nan, 4.5, nan]]])
    assert cohort.time.tolist() == [[24.0], [0.0]]
    assert cohort.anchor.astype("datetime64[D]").astype(str).tolist() == ["2020-01-31", "2020-02-03"]
    assert cohort.labels["los_days"].tolist() == [[4.0], [0.0]]
    assert cohort.labels["mortality"].tolist() == [0, 1]
    assert cohort.notes[0] == "1 rows of 1 patients are stamped after the discharge"


def test_rows_out_of_order_and_repeated_times_are_noted_and_change_nothing(tmp_path):
    plain = load_cohort(f"tjh:{write(small_sheet(), tmp_path / 'plain.xlsx')}")
    labs = small_sheet().columns[2:5]
    turned = small_sheet()
    turned.loc[[0, 1], ["RE_DATE", *labs]] = turned.loc[[1, 0], ["RE_DATE", *labs]].to_numpy()
    cohort = load_cohort(f"tjh:{write(turned, tmp_path / 'turned.xlsx')}")
    assert cohort.fingerprint() == plain.fingerprint()
    assert "1 rows of 1 patients are out of order" in cohort.notes
    again = small_sheet(RE_DATE=small_sheet()["RE_DATE"].mask([False, True, False], small_sheet()["RE_DATE"][0]))
    assert "1 rows of 1 patients repeat a record time" in load_cohort(f"tjh:{write(again, tmp_path / 'b.xlsx')}").notes


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1], "b": [2]}), "lacks 'PATIENT_ID', 'RE_DATE', 'Lactate dehydrogenase' and 5 more"),
        (small_sheet().drop(columns="outcome"), "is not one of the two TJH workbooks, it lacks 'outcome':"),
        (small_sheet(weight=[1, 2, 3]), "has the unknown 'weight'"),
        (small_sheet(age=[1, 2, 3]), "lacks 'gender', "),
        (small_sheet(outcome=["no", "no", "yes"]), "column 'outcome' of book.xlsx does not hold numbers alone"),
        (small_sheet(RE_DATE=["monday", "tuesday", "x"]), "column 'RE_DATE' of book.xlsx does not hold times alone"),
        (small_sheet(outcome=[0, 1, 1]), "patient 1 of book.xlsx has more than one 'outcome'"),
        (small_sheet(outcome=[2, 2, 1]), "patient 1 of book.xlsx has 'outcome' = 2.0"),
        (small_sheet(outcome=[None, None, 1]), "patient 1 of book.xlsx has 'outcome' = nan"),
        (small_sheet(PATIENT_ID=[1.5, None, 2]), "PATIENT_ID of book.xlsx holds 1.5: patient numbers are whole"),
        (small_sheet().iloc[:0], "book.xlsx has a header and no rows"),
    ],
)  # fmt: skip
def test_another_workbook_is_refused_in_one_sentence(tmp_path, frame, message):
    with pytest.raises(InputError, match=message) as error:
        load_cohort(f"tjh:{write(frame, tmp_path / 'book.xlsx')}")
    assert "\n" not in str(error.value)


def test_a_sheet_whose_rows_all_lack_a_time_is_refused(tmp_path):
    frame = small_sheet()
    frame.loc[:, "Discharge time"] = pd.NaT
    frame.loc[2, "Discharge time"] = pd.Timestamp("2020-02-03")
    frame.loc[2, "RE_DATE"] = pd.NaT
    with pytest.raises(InputError, match="has no row with patient, record time and discharge"):
        load_cohort(f"tjh:{write(frame, tmp_path / 'book.xlsx')}")


def test_a_truncated_workbook_is_refused(tmp_path):
    content = BOOKS["110"].read_bytes()
    for kept in (0, 100, len(content) // 2, len(content) - 30):
        (tmp_path / "cut.xlsx").write_bytes(content[:kept])
        with pytest.raises(InputError, match=r"cut\.xlsx is no readable \.xlsx workbook"):
            load_cohort(f"tjh:{tmp_path / 'cut.xlsx'}")


def test_a_damaged_workbook_is_refused(tmp_path):
    content = bytearray(BOOKS["110"].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    (tmp_path / "bad.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.xlsx is no readable \.xlsx workbook"):
        load_cohort(f"tjh:{tmp_path / 'bad.xlsx'}")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.xlsx cannot be read \(No such file or directory\)"):
        load_cohort(f"tjh:{tmp_path / 'none.xlsx'}")


def test_another_sheet_than_the_workbooks_is_refused():
    with pytest.raises(InputError, match="holds the sheet '110', not '375'"):
        load_cohort(f"tjh:{BOOKS['110']}", sheet="375")
    assert len(load_cohort(f"tjh:{BOOKS['110']}", sheet="110")) == 110


def test_a_workbook_without_openpyxl_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'auscult-core\[xlsx\]'"):
        load_cohort(f"tjh:{BOOKS['110']}")
    assert len(load_cohort("tjh")) == 361
