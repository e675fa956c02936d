import csv
import math

import numpy as np
import pytest

from auscult.core.data import load_cohort, lookalike


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mimic3") / "tree"
    lookalike.write_mimic3(path, n_patients=2, form="csv")
    return path


def position(cohort, stay):
    return cohort.record_id.tolist().index(stay)


def value(cohort, stay, minutes, name):
    record, feature = position(cohort, stay), cohort.feature_index(name)
    step = np.flatnonzero(np.isclose(cohort.time[record] * 60, minutes, atol=1e-3))
    return float(cohort.values[record, step[0], feature]) if len(step) else math.nan


def test_the_files_are_those_of_the_release(folder, tmp_path):
    names = {path.name for path in folder.iterdir()} - {"truth.json"}
    assert names == {
        f"{name}.csv"
        for name in (
            "PATIENTS", "ADMISSIONS", "ICUSTAYS", "CHARTEVENTS", "LABEVENTS", "OUTPUTEVENTS", "D_ITEMS", "D_LABITEMS"
        )
    }  # fmt: skip
    with (folder / "ADMISSIONS.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0])[:4] == ["ROW_ID", "SUBJECT_ID", "HADM_ID", "ADMITTIME"]
    assert rows[0]["DIAGNOSIS"] == 'SEPSIS, "R/O" MI'
    lookalike.write_mimic3(tmp_path / "demo", n_patients=0, demo=True)
    assert (tmp_path / "demo" / "patients.csv").read_text().startswith("row_id,subject_id,gender")


def test_who_is_over_89_is_90_and_the_rest_has_exact_ages(folder):
    cohort = load_cohort(f"mimic3:{folder}")
    ages = {stay: cohort.static[position(cohort, stay), 1] for stay in (200301, 200304)}
    assert ages == {200301: 90, 200304: 18}
    assert "1 stays are of patients over 89, whose real age is hidden" in cohort.notes
    assert 200302 not in cohort.record_id
    everyone = load_cohort(f"mimic3:{folder}", cohort="all")
    assert 17.9 < everyone.static[position(everyone, 200302), 1] < 18


def test_other_fluids_are_left_out_unless_they_were_not(folder):
    default, seed = (load_cohort(f"mimic3:{folder}", preset=preset) for preset in ("default", "seed"))
    for minutes, name, urine in ((30, "Glucose", 250), (31, "pH", 5.5), (33, "pH", 7.1)):
        assert math.isnan(value(default, 200103, minutes, name))
        assert value(seed, 200103, minutes, name) == pytest.approx(urine)


def test_the_states_of_the_seed_make_its_59_columns(folder):
    seed = load_cohort(f"mimic3:{folder}", preset="seed")
    widths = [len(feature.levels) or 1 for feature in seed.features]
    assert widths == [2, 8, 12, 13, 12, *[1] * 12]
    assert sum(widths) == 59
    # CareVue's and MetaVision's words for the same answer are two states there, one level here.
    default = load_cohort(f"mimic3:{folder}")
    name = "Glascow coma scale motor response"
    assert default.features[2].display_name == "Glasgow Coma Scale motor response"
    assert "2 Abnorm extensn" in seed.features[2].levels
    assert "Abnormal extension" in seed.features[2].levels
    assert value(default, 200101, 7, name) == 2


def test_urine_that_the_source_calls_wrong_is_left_out(folder):
    cohort = load_cohort(f"mimic3:{folder}", panel="labs48")
    assert value(cohort, 200103, 140, "urine") == 150
    assert math.isnan(value(cohort, 200103, 150, "urine"))
    steps = {row.step: row for row in cohort.attrition}
    assert steps["drop rows marked as errors"].changed == 2
    assert steps["read events"].reason == "rows: all of chartevents, labevents, outputevents"


def test_the_table_of_outputs_is_read_for_urine_alone(folder, tmp_path):
    lookalike.write_mimic3(tmp_path / "tree", n_patients=0)
    (tmp_path / "tree" / "OUTPUTEVENTS.csv.gz").unlink()
    assert len(load_cohort(f"mimic3:{tmp_path}/tree"))
    with pytest.raises(ValueError, match="MIMIC-III needs the table outputevents"):
        load_cohort(f"mimic3:{tmp_path}/tree", panel="labs48")


def test_an_unknown_number_of_patients_is_no_release(folder):
    assert load_cohort(f"mimic3:{folder}").provenance["version"] == "not recognised"
