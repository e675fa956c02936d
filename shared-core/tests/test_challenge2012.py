import dataclasses
import doctest
import gzip
import itertools
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult.core.data import Binning, challenge2012, load_cohort, presence_rate
from auscult.core.errors import InputError

FOLDER = Path(__file__).parent / "data" / "physionet2012"
DESCRIPTORS = ["Age", "Gender", "Height", "ICUType"]


@pytest.fixture(scope="module")
def cohort():
    return load_cohort(f"challenge2012:{FOLDER}")


@pytest.fixture(scope="module")
def long():
    return pd.read_parquet(FOLDER / "set-a.long.parquet").astype({"Parameter": str})


@pytest.fixture(scope="module")
def outcomes():
    return pd.read_csv(FOLDER / "Outcomes-a.csv").set_index("RecordID")


def write_texts(folder, long):
    """Write the original layout: one file a stay, with its number in the first line."""
    folder.mkdir(parents=True)
    hours, minutes = np.divmod(long["Minutes"].to_numpy(), 60)
    lines = [
        f"{h:02d}:{m:02d},{parameter},{value:.8g}"
        for h, m, parameter, value in zip(hours, minutes, long["Parameter"], long["Value"], strict=True)
    ]
    for record, group in pd.Series(lines).groupby(long["RecordID"].to_numpy()):
        text = "\n".join(["Time,Parameter,Value", f"00:00,RecordID,{record}", *group])
        (folder / f"{record}.txt").write_text(text + "\n", encoding="ascii")
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory, long):
    """The text files of 120 stays, with all outcomes beside their folder."""
    root = tmp_path_factory.mktemp("challenge")
    chosen = np.unique(long["RecordID"])[::27]
    write_texts(root / "set-a", long[long["RecordID"].isin(chosen)])
    shutil.copy(FOLDER / "Outcomes-a.csv", root / "Outcomes-a.txt")
    return root


# The counts of the 3,200 stays.


def test_the_stays_are_those_that_were_published(cohort):
    assert cohort.values.shape == (3200, 189, 37)
    assert int(cohort.labels["mortality"].sum()) == 443
    assert cohort.record_id.tolist() == cohort.subject_id.tolist() == sorted(cohort.record_id.tolist())
    assert (cohort.length == 0).sum() == 2
    assert "2 stays have no measurement: their length is 0" in cohort.notes
    assert np.nanmin(cohort.time) == 0
    assert np.nanmax(cohort.time) == 48
    unknown = {name: int(np.isnan(label).sum()) for name, label in cohort.labels.items()}
    assert unknown == {"mortality": 0, "los_days": 48, "survival_days": 2020, "saps_i": 146, "sofa": 113}
    age = cohort.static[:, 1]
    assert (np.nanmin(age), np.nanmax(age)) == (15, 90)
    assert int((age == 90).sum()) == 138


def test_attrition_is_counted_at_each_step_and_adds_up(cohort, long):
    rows = {row.step: (row.rows, row.changed) for row in cohort.attrition}
    assert rows == {
        "read": (1405689, 0),
        "set descriptors apart": (1389689, 16000),
        "drop other parameters": (1389689, 0),
        "drop rows without a value": (1389689, 0),
        "repair the decimal point of pH": (1389689, 3),
        "drop implausible values": (1387997, 1692),
        "combine values of one minute": (1385116, 2881),
    }
    assert cohort.observed.sum() == 1385116
    dropping = [row for row in cohort.attrition if not row.step.startswith("repair")]
    for before, after in itertools.pairwise(dropping):
        assert before.rows - after.changed == after.rows
    weight_at_0 = (long["Parameter"] == "Weight") & (long["Minutes"] == 0)
    series = long[~long["Parameter"].isin(DESCRIPTORS) & ~weight_at_0]
    assert series.duplicated(["RecordID", "Minutes", "Parameter"]).sum() == 2922
    assert series.groupby("RecordID").ngroups == 3198


def test_missing_descriptors_are_the_published_ones(long, cohort):
    raw = load_cohort(f"challenge2012:{FOLDER}", range="none")
    assert np.isnan(raw.static).sum(axis=0).tolist() == [3, 0, 1510, 0, 262]
    height = raw.static[:, 2]
    assert (np.nanmin(height), np.nanmax(height)) == (pytest.approx(1.8), pytest.approx(426.7))
    assert np.nanmin(cohort.static[:, 2]) >= 100
    assert np.nanmax(cohort.static[:, 2]) <= 230
    metres = np.isclose(height, 1.8)
    assert metres.any()
    np.testing.assert_allclose(cohort.static[metres, 2], 180, rtol=1e-6)
    assert np.bincount(cohort.static[:, 3].astype(int), minlength=4).sum() == 3200
    assert raw.static_features[3].levels[0] == "coronary care"


def test_missing_rates_of_hourly_bins_are_near_the_published_ones(cohort):
    # Published for the 4,000 stays, of which these are 3,200.
    hourly = Binning(end=48, empty="keep").apply(cohort)
    assert hourly.values.shape == (3200, 48, 37)
    missing = 1 - presence_rate(hourly)
    rates = {name: missing[cohort.feature_index(name)] for name in ("HR", "Urine", "SysABP", "GCS", "Creatinine")}
    published = {"HR": 0.10, "Urine": 0.31, "SysABP": 0.46, "GCS": 0.68, "Creatinine": 0.93}
    assert rates == pytest.approx(published, abs=0.01)
    assert missing.mean() == pytest.approx(0.797, abs=0.003)
    never = ~cohort.observed.any(axis=1)
    never[:, cohort.feature_index("Weight")] &= np.isnan(cohort.static[:, 4])  # they count that at admission
    assert never.mean() == pytest.approx(0.279, abs=0.005)


def test_values_lie_within_their_bounds(cohort):
    for i, feature in enumerate(cohort.features):
        values = cohort.values[..., i]
        parameter = challenge2012.PARAMETERS[feature.name]
        if feature.name != "Urine":  # summed within a minute
            assert np.nanmin(values) >= np.float32(parameter.low)
            assert np.nanmax(values) <= parameter.high
    ventilated = cohort.values[..., cohort.feature_index("MechVent")]
    assert set(np.unique(ventilated[~np.isnan(ventilated)])) == {1}


def test_cells_equal_those_of_a_pivot(cohort, long):
    chosen = cohort.record_id[::100]
    weight_at_0 = (long["Parameter"] == "Weight") & (long["Minutes"] == 0)
    rows = long[long["RecordID"].isin(chosen) & ~long["Parameter"].isin(DESCRIPTORS) & ~weight_at_0].astype(
        {"Value": float}
    )
    bounds = rows["Parameter"].map(challenge2012.PARAMETERS)
    lost_point = (rows["Parameter"] == "pH") & rows["Value"].between(650, 800)
    rows["Value"] = rows["Value"].mask(lost_point, rows["Value"] / 100)
    rows = rows[(rows["Value"] >= [b.low for b in bounds]) & (rows["Value"] <= [b.high for b in bounds])]
    grouped = rows.groupby(["RecordID", "Minutes", "Parameter"])["Value"].agg(["mean", "sum"]).reset_index()
    grouped["value"] = grouped["mean"].where(grouped["Parameter"] != "Urine", grouped["sum"])
    part = cohort.select(np.isin(cohort.record_id, chosen)).to_frame()
    part["Minutes"] = (part["time"] * 60).round().astype(int)
    part["Parameter"] = part["feature"].astype(str)
    keys = ["RecordID", "Minutes", "Parameter"]
    ours = part.rename(columns={"record_id": "RecordID"}).set_index(keys)["value"].sort_index()
    theirs = grouped.set_index(keys)["value"].sort_index()
    assert len(ours) > 1000
    pd.testing.assert_series_equal(
        ours, theirs, check_names=False, check_dtype=False, check_index_type=False, rtol=1e-6
    )


def test_the_published_preparation_cleans_nothing_and_has_35_series(texts):
    seed = load_cohort(f"challenge2012:{texts}", preset="seed")
    raw = load_cohort(f"challenge2012:{texts}", range="none")
    assert len(seed.features) == 35
    assert {"Weight", "Cholesterol"}.isdisjoint(feature.name for feature in seed.features)
    shared = [raw.feature_index(feature.name) for feature in seed.features]
    assert np.isfinite(raw.values[..., shared]).sum() == np.isfinite(seed.values).sum()


# The forms on disk.


def equal(one, two):
    """Return whether two cohorts are equal but for where they were read."""
    return one.fingerprint() == two.fingerprint() and [r.rows for r in one.attrition] == [r.rows for r in two.attrition]


@pytest.fixture(scope="module")
def from_texts(texts):
    return load_cohort(f"challenge2012:{texts}")


def test_text_files_give_what_the_long_table_gives(from_texts, cohort):
    part = cohort.select(np.isin(cohort.record_id, from_texts.record_id))
    assert len(from_texts) == 119
    assert from_texts.length.tolist() == part.length.tolist()
    steps = from_texts.time.shape[1]
    np.testing.assert_array_equal(from_texts.time, part.time[:, :steps])
    np.testing.assert_allclose(from_texts.values, part.values[:, :steps], rtol=1e-6)
    np.testing.assert_allclose(from_texts.static, part.static, rtol=1e-6)
    np.testing.assert_array_equal(from_texts.labels["los_days"], part.labels["los_days"])
    assert (
        "3081 outcomes of Outcomes-a.txt are of records that are not in the data: they are left out" in from_texts.notes
    )


@pytest.mark.parametrize("form", ["folder", "tar.gz", "zip", "csv", "csv.gz", "parquet"])
def test_every_form_gives_the_same_cohort(form, texts, from_texts, tmp_path):
    folder = texts / "set-a"
    files = sorted(folder.iterdir())
    shutil.copy(texts / "Outcomes-a.txt", tmp_path)
    if form == "folder":
        path = folder
    elif form == "tar.gz":
        path = tmp_path / "set-a.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for file in reversed(files):
                archive.add(file, f"set-a/{file.name}")
    elif form == "zip":
        path = tmp_path / "set-a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, f"set-a/{file.name}")
    else:
        parts = [pd.read_csv(file).assign(RecordID=int(file.stem)) for file in files]
        table = pd.concat(parts).sample(frac=1, random_state=0)  # neither rows nor columns in order
        table = table[table["Parameter"] != "RecordID"]
        clock = table["Time"].str.split(":", expand=True).astype(int)
        table = table.assign(Minutes=clock[0] * 60 + clock[1]).drop(columns="Time")
        path = tmp_path / f"set-a.long.{form}"
        table.to_parquet(path) if form == "parquet" else table.to_csv(path, index=False)
    for spec in {path, path.parent}:
        assert equal(load_cohort(f"challenge2012:{spec}"), from_texts)


def test_windows_line_ends_and_byte_order_marks_do_not_matter(texts, from_texts, tmp_path):
    folder = tmp_path / "set-a"
    folder.mkdir()
    for file in (texts / "set-a").iterdir():
        (folder / file.name).write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "Outcomes-a.txt").write_bytes(
        b"\xef\xbb\xbf" + (texts / "Outcomes-a.txt").read_bytes().replace(b"\n", b"\r\n")
    )
    assert equal(load_cohort(f"challenge2012:{tmp_path}"), from_texts)


def test_a_subset_has_the_same_rows(texts, from_texts, tmp_path):
    folder = tmp_path / "set-a"
    folder.mkdir()
    for file in sorted((texts / "set-a").iterdir())[:7]:
        shutil.copy(file, folder)
    part = load_cohort(f"challenge2012:{folder}")
    assert not part.labels
    assert "there is no file of outcomes, so there are no labels" in part.notes
    expected = dataclasses.replace(from_texts.select(slice(0, 7)), labels={})
    assert part.fingerprint() == expected.fingerprint()


# A made tree with every trap.

TREE = {
    1: """00:00,Age,54\n00:00,Gender,1\n00:00,Height,180\n00:00,ICUType,4\n00:00,Weight,80.5
00:07,HR,73\n00:07,Urine,30\n00:07,Urine,20\n00:07,MechVent,1\n00:07,Temp,36\n00:07,Temp,37\n47:59,HR,90\n48:00,HR,91""",
    2: "00:00,Age,90\n00:00,Gender,-1\n00:00,Height,-1\n00:00,ICUType,1\n00:00,Weight,-1\n10:30,GCS,3\n10:31,Weight,70",
    3: "00:00,Age,30\n00:00,Gender,0\n00:00,Height,1.8\n00:00,ICUType,2\n00:00,Weight,60",
    4: """00:00,Age,40\n00:00,Gender,0\n00:00,Height,17.8\n00:00,ICUType,3\n00:00,Weight,2
01:00,pH,735\n02:00,pH,73\n02:00,Temp,-17.8\n02:00,SysABP,0\n02:00,Lactate,2\n03:00,K,\n03:00,,5\n03:00,Mystery,5""",
}
OUTCOMES = """RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death
2,-1,-1,-1,-1,0
1,10,5,7,6,1
3,1,1,3,100,0
9,1,1,1,-1,0
"""
x = None


def write_tree(root, changes=None, outcomes=OUTCOMES):
    folder = root / "set-b"
    folder.mkdir(parents=True)
    for record, body in {**TREE, **(changes or {})}.items():
        text = f"Time,Parameter,Value\n00:00,RecordID,{record}\n{body}\n"
        (folder / f"{record}.txt").write_text(text, encoding="utf-8")
    if outcomes:
        (root / "Outcomes-b.txt").write_text(outcomes, encoding="utf-8")
    return root


def cells(cohort, record):
    stay = cohort.select(cohort.record_id == record).to_frame()
    return {
        (round(float(t) * 60), str(f)): round(float(v), 4)
        for t, f, v in zip(stay["time"], stay["feature"], stay["value"], strict=True)
    }


def test_a_made_tree_gives_the_truth(tmp_path):
    cohort = load_cohort(f"challenge2012:{write_tree(tmp_path)}")
    assert cohort.record_id.tolist() == [1, 2, 3, 4]
    assert cells(cohort, 1) == {
        (7, "HR"): 73, (7, "MechVent"): 1, (7, "Temp"): 36.5, (7, "Urine"): 50, (2879, "HR"): 90, (2880, "HR"): 91
    }  # fmt: skip
    assert cells(cohort, 2) == {(630, "GCS"): 3, (631, "Weight"): 70}
    assert cells(cohort, 3) == {}
    assert cells(cohort, 4) == {(60, "pH"): 7.35, (120, "Lactate"): 2}
    static = [[None if np.isnan(v) else round(float(v), 3) for v in row] for row in cohort.static]
    assert static == [[1, 54, 180, 3, 80.5], [x, 90, x, 0, x], [0, 30, 180, 1, 60], [0, 40, x, 2, x]]
    np.testing.assert_equal(cohort.labels["mortality"], [1, 0, 0, np.nan])
    np.testing.assert_equal(cohort.labels["los_days"], [7, np.nan, 3, np.nan])
    np.testing.assert_equal(cohort.labels["survival_days"], [6, np.nan, 100, np.nan])
    assert {row.step: row.changed for row in cohort.attrition} == {
        "read": 0,
        "set descriptors apart": 20,
        "drop other parameters": 2,
        "drop rows without a value": 1,
        "repair the decimal point of pH": 1,
        "drop implausible values": 3,
        "combine values of one minute": 2,
    }
    assert cohort.notes[-3:] == (
        "1 records have no outcome: their labels are unknown",
        "1 outcomes of Outcomes-b.txt are of records that are not in the data: they are left out",
        "1 stays have no measurement: their length is 0",
    )
    hourly = Binning(end=48).apply(cohort)
    assert np.nanmax(hourly.time) == 47
    assert hourly.values[0, -1, hourly.feature_index("HR")] == 91


def test_without_the_range_rule_values_stay_as_they_are(tmp_path):
    cohort = load_cohort(f"challenge2012:{write_tree(tmp_path)}", range="none")
    assert cells(cohort, 4) == {
        (60, "pH"): 735, (120, "pH"): 73, (120, "Temp"): -17.8, (120, "SysABP"): 0, (120, "Lactate"): 2
    }  # fmt: skip
    assert cohort.static[3, 2] == pytest.approx(17.8)


def test_descriptors_that_contradict_each_other_are_counted(tmp_path):
    folder = tmp_path / "set-a"
    folder.mkdir()
    lines = "Time,Parameter,Value\n00:00,Age,54\n00:00,Age,60\n00:00,Weight,80\n00:00,Weight,-1\n00:10,HR,60\n"
    (folder / "1.txt").write_text(lines, encoding="ascii")
    cohort = load_cohort(f"challenge2012:{tmp_path}")
    assert cohort.static[0, [1, 4]].tolist() == [60, 80]
    assert [note for note in cohort.notes if "several values" in note] == [
        "1 stays have several values of the descriptor 'Age': the last one counts"
    ]


def test_several_sets_are_read_together(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "set-a").mkdir()
    (tmp_path / "set-a" / "7.txt").write_text("Time,Parameter,Value\n00:10,HR,60\n", encoding="ascii")
    (tmp_path / "set-c").mkdir()
    (tmp_path / "set-c" / "8.txt").write_text("Time,Parameter,Value\n00:00,RecordID,8\n", encoding="ascii")
    cohort = load_cohort(f"challenge2012:{tmp_path}")
    assert cohort.record_id.tolist() == [1, 2, 3, 4, 7, 8]
    assert cohort.length.tolist() == [3, 2, 0, 2, 1, 0]
    assert np.isnan(cohort.labels["mortality"][3:]).all()
    shutil.copy(tmp_path / "set-b" / "1.txt", tmp_path / "set-c")
    with pytest.raises(InputError, match="record 1 is in two sets: keep each set once"):
        load_cohort(f"challenge2012:{tmp_path}")


# Bad input.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("00:07,HR", r"line 3 of 5.txt is '00:07,HR', not Time,Parameter,Value"),
        ("00:07,HR,73\n\n00:08,HR,73", "line 4 of 5.txt is '', not Time,Parameter,Value"),
        ("00:07,HR,73\n00:08,HR,high", "line 4 of 5.txt has the HR 'high', which is no number"),
        ("25:73,HR,73", "line 3 of 5.txt has the time '25:73': times go from 00:00 to 48:00"),
        ("48:01,HR,73", "line 3 of 5.txt has the time '48:01'"),
        ("-1:30,HR,73", "line 3 of 5.txt has the time '-1:30'"),
        (",HR,73", "line 3 of 5.txt has the time ''"),
        ("00:00,RecordID,6", "5.txt says that it is record 6"),
    ],
)
def test_a_bad_line_is_named(body, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_cohort(f"challenge2012:{write_tree(tmp_path, {5: body})}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RecordID,SAPS-I\n1,2\n", "Outcomes-b.txt lacks the column 'SOFA', it holds"),
        ("", "Outcomes-b.txt lacks the column 'RecordID'"),
        ("\udcff\udcfe", "Outcomes-b.txt cannot be read"),
        (OUTCOMES + "4,x,1,1,1,0\n", "line 6 of Outcomes-b.txt has no number as SAPS-I"),
        (OUTCOMES + "4,1\n", "line 6 of Outcomes-b.txt has no number as SOFA"),
        (OUTCOMES + "1,1,1,1,1,0\n", "record 1 comes 2 times in Outcomes-b.txt"),
        (OUTCOMES.replace("6,1", "6,2"), "has the In-hospital_death 2: use 0 or 1"),
        (
            OUTCOMES.replace("\n1,", "\n11,").replace("\n2,", "\n12,").replace("\n3,", "\n13,"),
            "none of the records read",
        ),
    ],
)
def test_bad_outcomes_are_explained(text, message, tmp_path):
    write_tree(tmp_path)
    (tmp_path / "Outcomes-b.txt").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        load_cohort(f"challenge2012:{tmp_path}")


def test_a_folder_without_a_set_is_explained(tmp_path):
    with pytest.raises(InputError, match="does not exist: give a folder with sets"):
        load_cohort(f"challenge2012:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="is empty: a set of the Challenge 2012 is a folder of files"):
        load_cohort(f"challenge2012:{tmp_path}")
    (tmp_path / "PATIENTS.csv").write_text("ROW_ID\n", encoding="ascii")
    with pytest.raises(InputError, match=r"holds PATIENTS.csv: a set of the Challenge 2012"):
        load_cohort(f"challenge2012:{tmp_path}")
    (tmp_path / "set-a").mkdir()
    with pytest.raises(InputError, match=r"set-a holds no file such as 132539\.txt"):
        load_cohort(f"challenge2012:{tmp_path}")
    with pytest.raises(InputError, match="challenge2012 brings no data"):
        load_cohort("challenge2012")
    with pytest.raises(InputError, match="is no set of the Challenge 2012: give a folder"):
        load_cohort(f"challenge2012:{__file__}")


def test_files_of_another_data_set_are_explained(tmp_path):
    (tmp_path / "1.txt").write_text("once upon a time\n", encoding="ascii")
    with pytest.raises(InputError, match=r"1\.txt in .* begins with 'once upon a time', not with 'Time,"):
        load_cohort(f"challenge2012:{tmp_path}")
    (tmp_path / "1.txt").write_text("Time,Parameter,Value\n00:01,Price,3\n", encoding="ascii")
    with pytest.raises(InputError, match="holds 'Price' and none of the Challenge's parameters"):
        load_cohort(f"challenge2012:{tmp_path}")
    table = tmp_path / "set-a.long.csv"
    table.write_text("RecordID,Minutes,Value\n1,2,3\n", encoding="ascii")
    with pytest.raises(InputError, match="lacks the column 'Parameter', it holds"):
        load_cohort(f"challenge2012:{table}")
    table.write_text("RecordID,Minutes,Parameter,Value\n1,2,HR,high\n", encoding="ascii")
    with pytest.raises(InputError, match=r"cannot be read .*invalid value 'high'"):
        load_cohort(f"challenge2012:{table}")
    table.write_text("RecordID,Minutes,Parameter,Value\n1,2881,HR,3\n", encoding="ascii")
    with pytest.raises(InputError, match="has the time 2881 minutes: times go from 0 to 2880"):
        load_cohort(f"challenge2012:{table}")
    table.write_text("RecordID,Minutes,Parameter,Value\n,1,HR,3\n", encoding="ascii")
    with pytest.raises(InputError, match="has a row without RecordID"):
        load_cohort(f"challenge2012:{table}")


@pytest.mark.parametrize("name", ["set-a.tar.gz", "set-a.zip", "set-a.long.csv.gz", "set-a.long.parquet"])
def test_a_file_that_is_cut_off_is_explained(name, texts, tmp_path):
    path = tmp_path / name
    if name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            archive.add(texts / "set-a", "set-a")
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(next((texts / "set-a").iterdir()))
    elif name.endswith(".gz"):
        rows = "".join(f"1,{i % 2880},HR,{i % 97}\n" for i in range(5000))
        path.write_bytes(gzip.compress(b"RecordID,Minutes,Parameter,Value\n" + rows.encode()))
    else:
        shutil.copy(FOLDER / name, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(
        InputError, match=r"(is damaged or cut off|cannot be read) .*: get it again from https://physionet"
    ) as error:
        load_cohort(f"challenge2012:{path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": "clip"}, "range is 'clip': use 'drop' or 'none'"),
        ({"preset": "paper"}, "no preset 'paper'"),
        ({"sheet": "a"}, "its options are: range, preset"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        load_cohort(f"challenge2012:{FOLDER}", **options)


def test_outcomes_of_several_sets_need_a_named_folder(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "set-b").rename(tmp_path / "mine")
    assert "mortality" in load_cohort(f"challenge2012:{tmp_path / 'mine'}").labels
    (tmp_path / "Outcomes-a.txt").write_text(OUTCOMES, encoding="ascii")
    with pytest.raises(InputError, match="has the outcomes of several sets"):
        load_cohort(f"challenge2012:{tmp_path / 'mine'}")


def test_the_module_says_what_it_reads():
    assert doctest.testmod(challenge2012).failed == 0
    assert "ODC-By" in challenge2012.__doc__
