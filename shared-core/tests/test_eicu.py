import csv
import doctest
import gzip
import importlib
import math
import random
import shutil

import duckdb
import numpy as np
import pandas as pd
import pytest

from auscult.core.data import load_cohort, lookalike, mimic_labs, mimic_vitals, split_subjects
from auscult.core.data.eicu import load
from auscult.core.data.eicu_panels import LABS, PANELS, VITALS
from auscult.core.data.eicu_seed import COLUMNS, SCORES
from auscult.core.data.feature import Feature
from auscult.core.data.panel import Panel, Source, Variable
from auscult.core.errors import InputError

LABELS = ("mortality", "mortality_unit", "readmission", "los_days")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables as plain files, which the tests can change."""
    path = tmp_path_factory.mktemp("eicu") / "tree"
    lookalike.write_eicu(path, n_patients=12, seed=1, form="csv")
    return path


@pytest.fixture(scope="module")
def truth(folder):
    return lookalike.Truth.load(folder)


@pytest.fixture(scope="module")
def cohort(folder):
    return load_cohort(f"eicu:{folder}")


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(path, change):
    """Change the rows of a table, each a dictionary of texts; ``change`` returns the rows to write."""
    with path.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        rows, names = change(list(reader)), reader.fieldnames
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cells(cohort):
    frame = cohort.to_frame()
    minutes = np.round(frame["time"].to_numpy(np.float64) * 60).astype(int)
    return dict(zip(zip(frame["record_id"], minutes, frame["feature"], strict=True), frame["value"], strict=True))


def value(cohort, stay, minute, name):
    return cells(cohort).get((stay, minute, name), math.nan)


def test_every_stay_is_the_truth(cohort, truth):
    assert cohort.record_id.tolist() == list(truth.stays)
    known = list(truth.stays.values())
    assert cohort.subject_id.tolist() == [stay["subject"] for stay in known]
    assert [feature.name for feature in cohort.static_features] == ["sex", "age", "height", "weight"]
    for i, feature in enumerate(cohort.static_features):
        expected = [math.nan if stay[feature.name] is None else stay[feature.name] for stay in known]
        np.testing.assert_allclose(cohort.static[:, i], expected, rtol=1e-6, err_msg=feature.name)
    for name in LABELS:
        expected = [math.nan if stay[name] is None else stay[name] for stay in known]
        np.testing.assert_allclose(cohort.labels[name], expected, err_msg=name)
    assert len(set(cohort.subject_id.tolist())) == len(cohort) - 1
    assert {0, 1} <= set(cohort.labels["readmission"].tolist())
    assert cohort.anchor is None


def test_every_cell_is_the_truth(cohort, truth):
    expected = {(stay, round(hours * 60), name): np.float32(number) for stay, hours, name, number in truth.cells}
    assert cells(cohort) == expected
    assert {name for _, _, name in expected} == {feature.name for feature in cohort.features}
    assert 0 in cohort.length


def test_attrition_is_the_truth_and_adds_up(cohort, truth):
    dropped = {row.step: row.changed for row in cohort.attrition if row.changed}
    assert dropped == {step: changed for step, changed in truth.attrition.items() if changed}
    added = {"sum scores"}
    for before, after in zip(cohort.attrition, cohort.attrition[1:], strict=False):
        if after.step != "read events":
            sign = 1 if after.step in added else -1
            assert after.rows == before.rows + sign * after.changed, after.step
    assert cohort.attrition[-1].rows == cohort.observed.sum()


def test_sql_finds_the_same(folder, cohort):
    stays = duckdb.sql(f"""
        SELECT patientunitstayid FROM read_csv('{folder}/patient.csv', all_varchar = true)
        WHERE (age = '> 89' OR TRY_CAST(age AS INT) >= 18) AND unitvisitnumber = '1' AND unitstaytype = 'admit'
            AND hospitaldischargestatus IN ('Alive', 'Expired') AND TRY_CAST(unitdischargeoffset AS INT) >= 2880
        ORDER BY patientunitstayid::INT
    """).fetchall()
    assert [int(stay) for (stay,) in stays] == cohort.record_id.tolist()
    rates = duckdb.sql(f"""
        SELECT patientunitstayid, nursingchartoffset, avg(TRY_CAST(nursingchartvalue AS DOUBLE)) AS rate
        FROM '{folder}/nurseCharting.csv'
        WHERE nursingchartcelltypevalname = 'Heart Rate' AND nursingchartcelltypecat = 'Vital Signs'
            AND nursingchartoffset BETWEEN 0 AND 2880 AND TRY_CAST(nursingchartvalue AS DOUBLE) BETWEEN 25 AND 225
            AND patientunitstayid IN {tuple(cohort.record_id.tolist())}
        GROUP BY ALL
    """).fetchall()
    found = {key: number for key, number in cells(cohort).items() if key[2] == "Heart Rate"}
    assert found == {(stay, minute, "Heart Rate"): np.float32(rate) for stay, minute, rate in rates}


def test_what_another_panel_reads(folder):
    cohort = load(folder, panel="labs48")
    assert [feature.name for feature in cohort.features] == [v.feature.name for v in mimic_labs.LABS.variables]
    expected = {
        (1061, 400, "crp"): 20, (1061, 401, "crp"): 20, (1061, 402, "ca"): 8.8, (1061, 403, "ca"): 9,
        (1061, 404, "mg"): 2.43, (1061, 405, "tnt"): 0.02, (1061, 406, "crea"): 1.1, (1061, 100, "glu"): 600,
        (1081, 5, "hr"): 80, (1081, 10, "hr"): 82, (1081, 5, "o2sat"): 97, (1081, 5, "temp"): 36.6,
        (1081, 10, "sbp"): 120, (1081, 20, "fio2"): 40, (1081, 21, "fio2"): 40, (1081, 22, "fio2"): 50,
        (1081, 30, "urine"): 150,
    }  # fmt: skip
    found = cells(cohort)
    assert {key: found.get(key) for key in expected} == {key: np.float32(number) for key, number in expected.items()}
    assert {key for key in found if key[0] == 1081} == {key for key in expected if key[0] == 1081}
    for before, after in zip(cohort.attrition, cohort.attrition[1:], strict=False):
        if after.step != "read events":
            assert after.rows == before.rows - after.changed


def test_features_are_those_of_mimic():
    bedside = {variable.feature.name: variable.feature for variable in mimic_vitals.MIMIC4.variables}
    assert all(bedside[feature.name] == feature for feature in VITALS.features)
    assert LABS.features == mimic_labs.LABS.features
    assert set(PANELS) == {"vitals14", "labs48"}


def test_limits_outside_the_window_are_not_counted(copy):
    def change(rows):
        one = next(row for row in rows if row["labresulttext"] == ">600")
        return [*rows, one | {"labresultoffset": "-5"}, one | {"labresultoffset": "2881"}]

    rewrite(copy / "lab.csv", change)
    assert "1 results are limits of detection (<x, >x): the limit stands for them" in load(copy).notes


def test_bounds_may_count_or_not(folder, cohort):
    dropped = load(folder, censored="drop")
    assert set(cells(cohort)) - set(cells(dropped)) == {(1061, 100, "Glucose")}
    assert "1 results are limits of detection (<x, >x): the limit stands for them" in cohort.notes
    assert not [note for note in dropped.notes if "limits of detection" in note]


def test_hospitals_are_levels_and_can_be_split_by(folder):
    names = ("hospital", "region", "teaching", "beds", "ethnicity", "unit_type")
    cohort = load(folder, static=names)
    levels = {feature.name: feature.levels for feature in cohort.static_features}
    assert levels["hospital"] == ("73", "74")
    assert levels["teaching"] == ("not teaching", "teaching")
    stay = cohort.record_id.tolist().index(1081)
    assert cohort.static[stay].tolist() == pytest.approx([1, math.nan, 0, math.nan, 0, 0], nan_ok=True)
    split = split_subjects(cohort.static[:, 0].astype(int), fractions={"train": 0.5, "test": 0.5}, seed=0)
    assert sorted(len(part) for part in split.subjects.values()) == [1, 1]


def test_two_stays_of_a_person_stay_together(cohort):
    fractions = {"train": 0.5, "test": 0.5}
    for seed in range(5):
        split = split_subjects(cohort.subject_id, fractions=fractions, seed=seed)
        sides = [
            set(cohort.record_id[rows].tolist()) & {1021, 1023} for rows in split.index(cohort.subject_id).values()
        ]
        assert sorted(map(len, sides)) == [0, 2]


def test_all_stays(folder):
    cohort = load(folder, cohort="all", min_hours=0)
    assert {1003, 1004, 1013, 1014, 1022, 1031, 1032} <= set(cohort.record_id)
    unknown = cohort.record_id.tolist().index(1013)
    assert math.isnan(cohort.labels["mortality"][unknown])
    assert math.isnan(cohort.static[cohort.record_id.tolist().index(1003), 1])


def test_windows_before_the_start(folder):
    kept = load(folder, pre_anchor="keep")
    assert (value(kept, 1061, -59, "Glucose"), value(kept, 1061, -1, "Glucose")) == (90, 91)
    binned = load(folder, pre_anchor="keep", bin_hours=1)
    glucose = binned.feature_index("Glucose")
    stay = binned.record_id.tolist().index(1061)
    hourly = dict(zip(binned.time[stay].tolist(), binned.values[stay, :, glucose].tolist(), strict=True))
    assert (hourly[-1], hourly[0], hourly[47]) == (91, 93, 95)
    folded = load(folder, pre_anchor="fold_into_0", bin_hours=1)
    assert np.nanmin(folded.time) == 0


def test_a_range_may_be_clipped_or_ignored(folder):
    raw = load(folder, range="none")
    assert (value(raw, 1071, 20, "Heart Rate"), value(raw, 1061, 301, "pH")) == (24, 731)


def test_nothing_of_the_future_is_in_the_values(copy, cohort):
    def alter(rows):
        return [row | {"nursingchartvalue": "99"} if int(row["nursingchartoffset"]) > 2880 else row for row in rows]

    rewrite(copy / "nurseCharting.csv", alter)
    rewrite(
        copy / "patient.csv",
        lambda rows: [
            row | {"hospitaldischargestatus": "Expired"} if row["hospitaldischargestatus"] else row for row in rows
        ],
    )
    altered = load(copy)
    assert altered.labels["mortality"].all()
    for name in ("time", "values", "static", "record_id"):
        np.testing.assert_array_equal(getattr(altered, name), getattr(cohort, name))


def test_a_subset_of_stays_reads_the_same(copy, cohort):
    rewrite(copy / "patient.csv", lambda rows: [row for row in rows if row["patientunitstayid"] != "1071"])
    assert cells(load(copy)) == {key: number for key, number in cells(cohort).items() if key[0] != 1071}


def shuffled(folder):
    order = random.Random(0)
    for file in folder.glob("*.csv"):
        rewrite(file, lambda rows: order.sample(rows, len(rows)))


def other_columns(folder):
    for file in folder.glob("*.csv"):
        rows = list(csv.reader(file.read_text("utf-8").splitlines()))
        written = [
            [*reversed([name.upper() for name in rows[0]]), "EXTRA"],
            *([*reversed(row), "x"] for row in rows[1:]),
        ]
        with file.open("w", newline="") as text:
            csv.writer(text).writerows(written)
        file.rename(folder / file.name.lower())


def marked(folder):
    for file in folder.glob("*.csv"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


@pytest.mark.parametrize("change", [shuffled, other_columns, marked], ids=lambda change: change.__name__)
def test_the_form_of_the_files_does_not_matter(copy, cohort, change):
    change(copy)
    assert load(copy).fingerprint() == cohort.fingerprint()


@pytest.mark.parametrize(("form", "demo"), [("csv.gz", True), ("parquet", False)])
def test_packed_files_and_parquet(tmp_path, cohort, form, demo):
    lookalike.write_eicu(tmp_path / "tree", n_patients=12, seed=1, form=form, demo=demo)
    assert (tmp_path / "tree" / f"{'infusiondrug' if demo else 'infusionDrug'}.{form}").is_file()
    assert load(tmp_path / "tree").fingerprint() == cohort.fingerprint()


# The preset of published studies, and an own reading of their scripts with pandas.


@pytest.fixture(scope="module")
def seed(folder):
    return load(folder, preset="seed", hours=None)


def scripted(folder):
    """Return (stay, hour, variable) -> value of the hourly rows, before stays and rows are left out."""
    nurse, lab = (pd.read_csv(folder / f"{name}.csv") for name in ("nurseCharting", "lab"))
    nurse.columns = ["id", "stay", "minute", "entry", "category", "label", "item", "value"]
    labels = ("Glasgow coma score", "Heart Rate", "O2 Saturation", "Respiratory Rate", "MAP (mmHg)")
    wanted = nurse["label"].isin([*labels, "Arterial Line MAP (mmHg)"])
    wanted |= nurse["item"].str.contains(r"Invasive BP (?:Systolic|Diastolic)|Temperature \([CF]\)")
    nurse = nurse[wanted].assign(value=lambda frame: pd.to_numeric(frame["value"], errors="coerce"))
    fahrenheit = nurse["item"] == "Temperature (F)"
    nurse["value"] = nurse["value"].mask(fahrenheit, (nurse["value"] - 32) / 1.8)
    nurse["item"] = nurse["item"].mask(nurse["item"] == "Value", nurse["label"]).mask(fahrenheit, "Temperature (C)")
    nurse["item"] = nurse["item"].str.replace("Non-Invasive", "Invasive")
    nurse["item"] = nurse["item"].mask(nurse["label"] == "Arterial Line MAP (mmHg)", "MAP (mmHg)")
    lab = lab.rename(columns={"patientunitstayid": "stay", "labresultoffset": "minute", "labresult": "value"})
    lab = lab.assign(item=lab["labname"].replace("bedside glucose", "glucose"))
    events = pd.concat([nurse, lab[lab["item"].isin(["glucose", "pH", "FiO2"])]])
    names = [name for name, *_ in COLUMNS[2:]] + list(SCORES)
    found = {}
    for stay, rows in events.groupby("stay"):
        rows = rows.sort_values(["minute", "item", "value"]).drop_duplicates(["minute", "item"], keep="last")
        wide = rows.pivot(index="minute", columns="item", values="value").reindex(columns=names)
        wide["glucose"] = wide["glucose"].shift(-1)
        wide = wide.dropna(how="all")
        for hour, part in wide.groupby((wide.index / 60).astype(int)):
            last = part.iloc[-1].fillna(part.mean())
            found |= {(stay, hour, name): number for name, number in last.items()}
    return found


def test_the_preset_makes_the_rows_of_the_scripts(folder, truth, seed):
    assert seed.record_id.tolist() == sorted(truth.seed)
    assert seed.labels["mortality"].tolist() == [truth.seed[stay]["mortality"] for stay in seed.record_id.tolist()]
    assert seed.static[:, 1].tolist() == [truth.seed[stay]["age"] for stay in seed.record_id.tolist()]
    found = {(stay, minute // 60, name): number for (stay, minute, name), number in cells(seed).items()}
    bounds = {name: (low, high) for name, _, low, high in COLUMNS}
    minutes = {stay: about["los_days"] * 1440 for stay, about in truth.stays.items()}
    expected = {
        (stay, hour, name): np.float32(np.clip(number, *bounds[name]))
        for (stay, hour, name), number in scripted(folder).items()
        if stay in truth.seed and name in bounds and hour > 0 and hour * 60 < minutes[stay] and not math.isnan(number)
    }
    measured = {key: number for key, number in found.items() if not key[2].startswith("admission")}
    assert measured.keys() == expected.keys()
    assert measured == {key: pytest.approx(number, rel=1e-6) for key, number in expected.items()}
    for stay, hour, name, number in truth.seed_cells:
        assert found.get((stay, hour, name)) == (None if number is None else pytest.approx(number)), (stay, hour, name)


def test_the_preset_counts_days_that_remain(seed):
    stay = seed.record_id.tolist().index(1091)
    assert seed.length[stay] == 21
    np.testing.assert_allclose(seed.labels["los_days"][stay, :21], 3 - np.arange(1, 22) / 24, rtol=1e-6)
    assert np.isnan(seed.labels["los_days"][stay, 21:]).all()


def test_the_presets_attrition_adds_up(seed):
    for before, after in zip(seed.attrition, seed.attrition[1:], strict=False):
        if after.step != "make hourly rows":
            assert after.rows == before.rows - after.changed
    assert seed.attrition[-1].rows == seed.length.sum()
    assert seed.attrition[-1].records == len(seed)


def test_the_preset_in_a_window(folder, seed):
    day = load(folder, preset="seed", hours=24)
    assert np.nanmax(day.time) == 23
    assert {key: number for key, number in cells(seed).items() if key[1] < 24 * 60} == cells(day)


def no_table(folder):
    (folder / "nurseCharting.csv").unlink()
    return "eICU needs the table nursecharting .* and .* holds hospital.csv"


def no_column(folder):
    file = folder / "patient.csv"
    file.write_text(file.read_text().replace("unitvisitnumber", "visit"))
    return "patient.csv lacks the column 'unitvisitnumber'"


def text_as_number(folder):
    file = folder / "lab.csv"
    rewrite(file, lambda rows: [row | {"labresult": "high"} if i == 3 else row for i, row in enumerate(rows)])
    return "lab.csv, line 5, holds 'high' in column 'labresult', which is no number"


def odd_age(folder):
    rewrite(folder / "patient.csv", lambda rows: [row | {"age": "old"} if not i else row for i, row in enumerate(rows)])
    return "has the age 'old' in unit stay 1001, which is neither a number nor '> 89'"


def twice(folder):
    rewrite(folder / "patient.csv", lambda rows: [*rows, rows[0]])
    return "names the unit stay 1001 twice"


def nobody(folder):
    rewrite(folder / "patient.csv", lambda rows: [rows[0] | {"uniquepid": ""}, *rows[1:]])
    return "patient of .* has a row without its stay or person"


def truncated(folder):
    file = folder / "nurseCharting.csv"
    (folder / "nurseCharting.csv.gz").write_bytes(gzip.compress(file.read_bytes())[:-200])
    file.unlink()
    return "nurseCharting.csv.gz is cut off or damaged"


def empty(folder):
    for file in folder.iterdir():
        file.unlink()
    return "is empty: put the tables of eICU there"


def another_data_set(folder):
    shutil.rmtree(folder)
    lookalike.write_mimic4(folder, n_patients=0)
    return "eICU needs the table patient .*this looks like mimic4"


@pytest.mark.parametrize(
    "change",
    [no_table, no_column, text_as_number, odd_age, twice, nobody, truncated, empty, another_data_set],
    ids=lambda change: change.__name__,
)
def test_bad_input_is_one_sentence(copy, change):
    message = change(copy)
    with pytest.raises(InputError, match=message) as error:
        load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panel": "vitals17"}, "there is no panel 'vitals17': use 'vitals14' or 'labs48'"),
        ({"preset": "paper"}, "preset is 'paper': use one of default, seed"),
        ({"cohort": "benchmark"}, "cohort is 'benchmark': use one of first, all"),
        ({"censored": "zero"}, "censored is 'zero': use one of bound, drop"),
        ({"static": ["wealth"]}, "static is .*: give a list of different names among sex, age"),
        ({"min_hours": -1}, "min_hours is -1: give a number of hours"),
        ({"min_hours": 1000}, "no stay of tree is left: the last 33 went at 'drop short stays'"),
        ({"preset": "seed", "panel": "labs48"}, "preset='seed' fixes panel: leave it out"),
        ({"preset": "seed", "bin_hours": 1}, "preset='seed' fixes bin_hours"),
        ({"preset": "seed", "static": ["sex"]}, "preset='seed' fixes static"),
        ({"preset": "seed", "lookback_hours": 5}, "preset='seed' fixes lookback_hours"),
        ({"preset": "seed", "min_hours": 1000}, "no stay of tree is left"),
        ({"preset": "seed", "hours": 0.5}, "no row of tree is left"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(folder, options, message):
    with pytest.raises(InputError, match=message) as error:
        load(folder, **options)
    assert "\n" not in str(error.value)


def test_a_panel_of_ones_own(folder):
    central = Variable(Feature("cvp", unit="mmHg"), (Source("vitalperiodic", ("cvp",)),))
    with pytest.raises(InputError, match="the panel 'mine' reads the table 'chartevents', which this reader does not"):
        load(folder, panel=Panel("mine", (Variable(Feature("x"), (Source("chartevents", (1,)),)),)))
    creatinine = Variable(Feature("mcg", unit="ug/dL"), (Source("lab", ("creatinine",), "number * 1000"),))
    heart = Variable(Feature("rate"), (Source("vitalperiodic", ("heartrate",)),))
    cohort = load(folder, panel=Panel("mine", (creatinine, central, heart)))
    assert (value(cohort, 1061, 406, "mcg"), value(cohort, 1081, 10, "rate")) == (1100, 82)
    odd = Variable(Feature("x"), (Source("vitalperiodic", ("pulse",)),))
    with pytest.raises(InputError, match=r"vitalPeriodic.csv lacks the column 'pulse'"):
        load(folder, panel=Panel("mine", (odd,)))


def test_the_generator_repeats_itself(tmp_path):
    for name in ("a", "b"):
        lookalike.write_eicu(tmp_path / name, n_patients=3, seed=5)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert "nurseCharting.csv.gz" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sum((tmp_path / "a" / name).stat().st_size for name in files if name.endswith(".gz")) < 200_000
    with pytest.raises(InputError, match="n_patients is -1: give 0 or more"):
        lookalike.write_eicu(tmp_path / "c", n_patients=-1)


@pytest.mark.parametrize("module", ["eicu", "eicu_panels", "eicu_seed", "eicu_tables", "lookalike.eicu"])
def test_the_examples_run(module):
    assert doctest.testmod(importlib.import_module(f"auscult.core.data.{module}")).failed == 0
