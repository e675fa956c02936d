import csv
import gzip
import math

import numpy as np
import pytest

from auscult.core.data import load_cohort, lookalike
from auscult.core.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mimic4") / "tree"
    lookalike.write_mimic4(path, n_patients=2, form="csv")
    return path


def position(cohort, stay):
    return cohort.record_id.tolist().index(stay)


def value(cohort, stay, minutes, name):
    record, feature = position(cohort, stay), cohort.feature_index(name)
    step = np.flatnonzero(np.isclose(cohort.time[record] * 60, minutes, atol=1e-3))
    return float(cohort.values[record, step[0], feature]) if len(step) else math.nan


def test_the_files_are_those_of_the_release(folder, tmp_path):
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")) == [
        "hosp/admissions.csv", "hosp/d_labitems.csv", "hosp/diagnoses_icd.csv", "hosp/labevents.csv",
        "hosp/patients.csv", "icu/chartevents.csv", "icu/d_items.csv", "icu/icustays.csv", "icu/outputevents.csv",
    ]  # fmt: skip
    with (folder / "icu" / "chartevents.csv").open(newline="") as text:
        assert next(csv.reader(text)) == [
            "subject_id", "hadm_id", "stay_id", "caregiver_id", "charttime", "storetime", "itemid", "value",
            "valuenum", "valueuom", "warning",
        ]  # fmt: skip
    lookalike.write_mimic4(tmp_path / "old", n_patients=0, version="2.0", demo=True)
    with gzip.open(tmp_path / "old" / "icu" / "chartevents.csv.gz", "rt") as text:
        assert "caregiver_id" not in next(text)
    assert (tmp_path / "old" / "demo_subject_id.csv.gz").is_file()


@pytest.mark.parametrize(("version", "found"), [("2.0", "2.x"), ("2.2", "2.x"), ("3.1", "3.x")])
def test_releases_are_told_apart_and_read_alike(tmp_path, folder, version, found):
    lookalike.write_mimic4(tmp_path / "tree", n_patients=2, version=version, demo=True)
    cohort = load_cohort(f"mimic4:{tmp_path}/tree")
    assert cohort.provenance["version"] == found
    assert cohort.fingerprint() == load_cohort(f"mimic4:{folder}").fingerprint()
    assert load_cohort(f"mimic4:{tmp_path}/tree", version="3.1").provenance["version"] == "3.1"
    with pytest.raises(InputError, match=r"version is '4': use '2.0', '2.2' or '3.1'"):
        lookalike.write_mimic4(tmp_path / "other", version="4")


def test_a_tree_from_before_2_0_is_refused(tmp_path):
    lookalike.write_mimic4(tmp_path / "tree", n_patients=0, old_core=True)
    with pytest.raises(InputError, match=r"tree is MIMIC-IV before 2.0, with its folder core: this reader needs 2.2"):
        load_cohort(f"mimic4:{tmp_path}/tree")


def test_the_age_is_that_of_the_stay(folder):
    default, seed = (load_cohort(f"mimic4:{folder}", preset=preset) for preset in ("default", "seed"))
    assert default.static[position(default, 200101), 1] == 43
    assert seed.static[position(seed, 200101), 1] == 40


def test_the_total_score_is_a_sum_of_complete_parts(folder):
    cohort = load_cohort(f"mimic4:{folder}")
    assert value(cohort, 200101, 60, "Glascow coma scale total") == 13
    assert math.isnan(value(cohort, 200101, 61, "Glascow coma scale total"))
    total = cohort.feature_index("Glascow coma scale total")
    assert np.nanmin(cohort.values[..., total]) >= 3


def test_two_variables_are_empty_in_the_seed(folder):
    seed = load_cohort(f"mimic4:{folder}", preset="seed")
    empty = [feature.name for i, feature in enumerate(seed.features) if not seed.observed[..., i].any()]
    assert empty == ["Capillary refill rate", "Glascow coma scale total"]
    assert value(seed, 200101, 51, "Height") == 70
    assert value(load_cohort(f"mimic4:{folder}"), 200101, 51, "Height") == pytest.approx(177.8)


def test_overlapping_stays_are_no_returns(folder):
    cohort = load_cohort(f"mimic4:{folder}")
    first, second = position(cohort, 201001), position(cohort, 201002)
    assert cohort.anchor[second] < cohort.anchor[first] + np.timedelta64(72, "h")
    assert cohort.labels["readmission"][[first, second]].tolist() == [0, 0]
    seed = load_cohort(f"mimic4:{folder}", preset="seed")
    assert seed.labels["readmission"][position(seed, 201001)] == 1


def test_a_row_without_its_stay_counts_for_every_stay_that_it_lies_in(folder):
    cohort = load_cohort(f"mimic4:{folder}", hours=72)
    assert value(cohort, 201001, 48 * 60 + 60, "Heart Rate") == 93
    assert value(cohort, 201002, 60, "Heart Rate") == 93


def test_the_laboratory_belongs_to_stays_by_time(folder):
    cohort = load_cohort(f"mimic4:{folder}", panel="labs48")
    assert value(cohort, 200104, 10, "crea") == pytest.approx(1.2)
    assert value(cohort, 200104, 20, "crea") == pytest.approx(1.4)
    assert value(cohort, 200104, 30, "crp") == value(cohort, 200104, 31, "crp") == 20
    crea = cohort.feature_index("crea")
    assert cohort.observed[..., crea].sum() == 2
    before = load_cohort(f"mimic4:{folder}", panel="labs48", pre_anchor="keep")
    assert value(before, 200104, -300, "crea") == pytest.approx(1.3)
    none = load_cohort(f"mimic4:{folder}", panel="labs48", pre_anchor="keep", lookback_hours=4)
    assert none.observed[..., crea].sum() == 2


def test_the_laboratory_is_not_needed_for_the_bedside(tmp_path):
    lookalike.write_mimic4(tmp_path / "tree", n_patients=0)
    (tmp_path / "tree" / "hosp" / "labevents.csv.gz").unlink()
    assert len(load_cohort(f"mimic4:{tmp_path}/tree"))
    with pytest.raises(InputError, match="MIMIC-IV needs the table hosp/labevents"):
        load_cohort(f"mimic4:{tmp_path}/tree", panel="labs48")
