import csv
import doctest
import gzip
import importlib
import io
import math
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auscult.core.data import load_cohort
from auscult.core.data.cdsl import load
from auscult.core.data.cdsl_files import find, read
from auscult.core.data.cdsl_items import CODES, code_of, detection, left_out_of_studies, result, result_of_studies
from auscult.core.data.lookalike.cdsl import write_cdsl
from auscult.core.data.lookalike.cdsl_rows import TEXTS
from auscult.core.errors import InputError

FORMS = ("v3", "v2", "physionet")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cdsl") / "v3"
    return folder, write_cdsl(folder)


@pytest.fixture(scope="module")
def cohort(tree):
    return load(tree[0])


@pytest.fixture
def copy(tree, tmp_path):
    """The folder of the files, to be spoilt."""
    shutil.copytree(tree[0] / "19_04_2021", tmp_path / "cdsl")
    return tmp_path / "cdsl"


def cells(cohort):
    frame = cohort.to_frame()
    minutes = np.round(frame["time"].to_numpy(np.float64) * 60).astype(int)
    return dict(zip(zip(frame["record_id"], minutes, frame["feature"], strict=True), frame["value"], strict=True))


def rewrite(file, change, *, encoding="cp850", separator="|", **how):
    """Change the rows of a file; how: encoding, separator or lineterminator to write with."""
    rows = list(csv.reader(io.StringIO(file.read_bytes().decode(encoding), newline=""), delimiter=separator))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=how.get("to", separator), lineterminator=how.get("lineterminator", "\n"))
    writer.writerows(change(rows))
    file.write_bytes(text.getvalue().encode(how.get("encode", encoding)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("packed", "patients"), [(False, 0), (True, 8)])
def test_every_form_is_read_as_its_truth_says(tmp_path, form, packed, patients):
    truth = write_cdsl(tmp_path / "cdsl", form=form, packed=packed, n_patients=patients, seed=3)
    cohort = load_cohort(f"cdsl:{tmp_path / 'cdsl'}")
    assert cohort.record_id.tolist() == sorted(truth.stays) == cohort.subject_id.tolist()
    known = [truth.stays[number] for number in cohort.record_id.tolist()]
    assert cohort.labels["mortality"].tolist() == [stay["mortality"] for stay in known]
    expected = [[math.nan if stay[name] is None else stay[name] for name in ("sex", "age")] for stay in known]
    np.testing.assert_array_equal(cohort.static, np.array(expected, np.float32))
    wanted = {(stay, round(hours * 60), name): np.float32(value) for stay, hours, name, value in truth.cells}
    assert cells(cohort) == wanted
    dropped = {}
    for row in cohort.attrition:
        dropped[row.step] = dropped.get(row.step, 0) + row.changed
    assert {step: changed for step, changed in dropped.items() if changed} == {
        step: changed for step, changed in truth.attrition.items() if changed
    }


@pytest.mark.parametrize("preset", ["default", "seed"])
def test_attrition_adds_up(tree, preset):
    cohort = load(tree[0], preset=preset)
    for before, after in zip(cohort.attrition, cohort.attrition[1:], strict=False):
        if after.step != "read measurements":
            assert before.rows == after.rows + after.changed, after.step
    assert cohort.attrition[-1].rows == cohort.observed.sum()
    assert cohort.attrition[-1].records == len(cohort)


def test_pandas_finds_the_same(tree, cohort):
    place = tree[0] / "19_04_2021"
    patients, vitals = (
        pd.read_csv(place / f"COVID_DSL_{number}.CSV", sep="|", encoding="cp850", dtype=str) for number in ("01", "02")
    )
    patients = patients.dropna(subset=["IDINGRESO", "F_INGRESO_ING", "F_ALTA_ING", "MOTIVO_ALTA_ING"])
    times = patients[["F_INGRESO_ING", "F_ALTA_ING"]].apply(pd.to_datetime)
    patients = patients.assign(start=times["F_INGRESO_ING"], end=times["F_ALTA_ING"]).query("start <= end")
    assert sorted(patients["IDINGRESO"].astype(int)) == cohort.record_id.tolist()
    assert (patients["MOTIVO_ALTA_ING"] == "Fallecimiento").sum() == cohort.labels["mortality"].sum() == 2

    lab = pd.read_csv(
        place / "COVID_DSL_06_v2.CSV", sep=";", encoding="cp850", dtype=str, engine="python", on_bad_lines="skip"
    )
    vitals = vitals.assign(
        at=pd.to_datetime(vitals["CONSTANTS_ING_DATE"] + " " + vitals["CONSTANTS_ING_TIME"]),
        value=vitals["TEMP_ING"].str.replace(",", ".").astype(float),
    )
    potassium = lab[lab["ITEM_LAB"].str.startswith("K --") & ~lab["VAL_RESULT"].str.startswith("N")]
    potassium = potassium.assign(
        at=pd.to_datetime(potassium["LAB_DATE"].str.replace("/", "-") + potassium["TIME_LAB"], format="%d-%m-%Y%H:%M"),
        value=potassium["VAL_RESULT"].astype(float),
    )
    for name, rows, low, high in (("TEMP", vitals, 30, 43), ("K", potassium, 0, 99)):
        joined = rows.merge(patients[["IDINGRESO", "start", "end"]], on="IDINGRESO").dropna(subset=["at", "value"])
        joined = joined[joined["value"].between(low, high) & (joined["at"] <= joined["end"])]
        minutes = ((joined["at"] - joined["start"]) / pd.Timedelta(minutes=1)).round().astype(int)
        means = joined["value"].groupby([joined["IDINGRESO"].astype(int), minutes]).mean()
        mine = {(stay, at): value for (stay, at, feature), value in cells(cohort).items() if feature == name}
        mine = {key: value for key, value in mine.items() if value != 0}
        assert mine == {key: np.float32(value) for key, value in means.items()}


def test_units_are_those_of_the_rows(cohort):
    unit = {feature.name: feature.unit for feature in cohort.features}
    assert (unit["K"], unit["BT"], unit["TEMP"], unit["BAS"]) == ("mmol/L", "mg/dL", "°C", "10^3/µL")
    assert unit["DD"] is None
    assert "DD comes in several units, ng/mL (1), mg/L (1): give units to keep one" in cohort.notes


def test_one_unit_can_be_kept(tree, cohort):
    one = load(tree[0], units={"DD": "NG/ml"})
    assert {key[2]: value for key, value in cells(cohort).items() if key not in cells(one)} == {"DD": np.float32(0.7)}
    assert one.features[one.feature_index("DD")].unit == "ng/mL"
    assert next(row.changed for row in one.attrition if row.step == "keep the units") == 1
    with pytest.raises(InputError, match="units names 'XX', which is no feature"):
        load(tree[0], units={"XX": "g"})
    with pytest.raises(InputError, match="no result of DD is in 'furlong': its units are mg/L, ng/mL"):
        load(tree[0], units={"DD": "furlong"})


def test_days_remain_until_discharge(cohort):
    row = cohort.record_id.tolist().index(101)
    first, last = cohort.time[row, 0], cohort.time[row, cohort.length[row] - 1]
    assert (first, last) == (-2, 194.5)
    remaining = cohort.labels["los_days"][row]
    np.testing.assert_allclose(remaining[: cohort.length[row]], (194.5 - cohort.time[row, : cohort.length[row]]) / 24)
    assert np.isnan(remaining[cohort.length[row] :]).all()


def test_limits_of_no_admission_are_not_counted(copy):
    def change(rows):
        one = next(row for row in rows if row[5].startswith("<"))
        return [*rows, ["999999", *one[1:]]]

    rewrite(copy / "COVID_DSL_06_v2.CSV", change, separator=";")
    assert "3 results are limits of detection (<x, >x): the limit stands for them" in load(copy).notes


def test_notes_count_what_a_user_should_know(cohort):
    said = " ".join(cohort.notes)
    assert "3 stays end in a transfer or by leaving" in said
    assert "1 stays have a sex other than male and female" in said
    assert "3 results are limits of detection" in said
    assert "admissions, not persons" in said


def test_options(tree, cohort):
    adults = load(tree[0], min_age=18)
    assert set(cohort.record_id) - set(adults.record_id) == {108, 109}
    from_admission = load(tree[0], pre_anchor="drop")
    assert np.nanmin(from_admission.time) >= 0
    assert {key for key in cells(cohort) if key[1] >= 0} == set(cells(from_admission))
    raw = load(tree[0], range="none")
    odd = set(cells(raw)) - set(cells(cohort))
    assert {(key[1] // 60, key[2]) for key in odd} == {
        (1, "TA_MAX"), (1, "TA_MIN"), (1, "SAT_02"), (2, "TA_MAX"), (2, "TA_MIN"), (2, "TEMP"), (2, "FC"),
    }  # fmt: skip
    assert cells(raw)[101, 120, "TA_MAX"] == 310


def test_nothing_of_the_future_is_in_the_values(copy, cohort):
    def alter(rows):
        return [rows[0], *([*row[:5], "Fallecimiento" if row[5] else "", *row[6:]] for row in rows[1:])]

    rewrite(copy / "COVID_DSL_01.CSV", alter)
    late = {"13:00", "14:00"}
    rewrite(
        copy / "COVID_DSL_02.CSV", lambda rows: [row for row in rows if row[1] != "2020-03-28" or row[2] not in late]
    )
    altered = load(copy)
    assert altered.labels["mortality"].all()
    for name in ("time", "values", "static"):
        np.testing.assert_array_equal(getattr(altered, name), getattr(cohort, name))


def test_a_subset_of_admissions_reads_the_same(copy, cohort):
    rewrite(copy / "COVID_DSL_01.CSV", lambda rows: [row for row in rows if row[2] != "101"])
    part = load(copy)
    assert cells(part) == {key: value for key, value in cells(cohort).items() if key[0] != 101}


def shuffled_rows(folder):
    for name, separator in (("01", "|"), ("02", "|"), ("06_v2", ";")):
        order = np.random.default_rng(0)
        rewrite(
            folder / f"COVID_DSL_{name}.CSV",
            lambda rows, order=order: [rows[0], *(rows[1:][i] for i in order.permutation(len(rows) - 1))],
            separator=separator,
        )


def other_columns(folder):
    def change(rows):
        return [["EXTRA", *reversed([name.lower() for name in rows[0]])], *(["x", *reversed(row)] for row in rows[1:])]

    for name in ("01", "02"):
        rewrite(folder / f"COVID_DSL_{name}.CSV", change)
        (folder / f"COVID_DSL_{name}.CSV").rename(folder / f"covid_dsl_{name}.csv")


def other_line_ends(folder):
    for name in ("01", "02"):
        rewrite(folder / f"COVID_DSL_{name}.CSV", lambda rows: rows, lineterminator="\r\n")


def unicode_with_mark(folder):
    for name, separator in (("01", "|"), ("02", "|"), ("06_v2", ";")):
        file = folder / f"COVID_DSL_{name}.CSV"
        rewrite(file, lambda rows: rows, separator=separator, encode="utf-8-sig")


def first_laboratory_file(folder):
    file = folder / "COVID_DSL_06_v2.CSV"
    rewrite(file, lambda rows: rows, separator=";", to=",", encode="utf-16", lineterminator="\r\n")
    file.rename(folder / "COVID_DSL_06.CSV")


def parquet(folder):
    for name, separator in (("01", "|"), ("02", "|"), ("06_v2", ";")):
        file = folder / f"COVID_DSL_{name}.CSV"
        rows = list(csv.reader(io.StringIO(file.read_bytes().decode("cp850"), newline=""), delimiter=separator))
        rows = [row for row in rows if len(row) == len(rows[0])]
        columns = {name: [row[i] or None for row in rows[1:]] for i, name in enumerate(rows[0])}
        pq.write_table(pa.table(columns), folder / f"COVID_DSL_{name}.parquet")
        file.unlink()


@pytest.mark.parametrize(
    "change",
    [shuffled_rows, other_columns, other_line_ends, unicode_with_mark, first_laboratory_file, parquet],
    ids=lambda change: change.__name__,
)
def test_the_form_of_the_files_does_not_matter(copy, cohort, change):
    change(copy)
    assert load(copy).fingerprint() == cohort.fingerprint()


@pytest.mark.parametrize(("text", "value", "of_studies"), TEXTS)
def test_texts_of_results(text, value, of_studies):
    assert result(text)[0] == pytest.approx(math.nan if value is None else value, nan_ok=True)
    assert result_of_studies(text) == pytest.approx(math.nan if of_studies is None else of_studies, nan_ok=True)


def test_bounds_are_marked_and_states_told():
    assert [result(text) for text in ("> 1000", "<=3", "5")] == [(1000, True), (3, True), (5, False)]
    assert all(math.isnan(result(text)[0]) for text in ("", "2 x 3", "<"))
    said = ("Positivo", "Se detecta", "Detected", "Negativo (0.1)", "No se detecta", "Not detected", "27.5")
    assert [detection(text) for text in said] == pytest.approx([1, 1, 1, 0, 0, 0, math.nan], nan_ok=True)


def test_codes_of_items():
    assert len(CODES) == len(set(CODES)) == 71
    spanish = {
        "BAS% -- Basófilos %": "BAS%", "BE(b)V -- GASOMETRIA VENOSA": "BE(b)V", "HEML -- Recuento Hematíes": None,
        "PCR VIRUS RESPIRATORIOS -- Tipo de muestra: BAS": None, "HCO3 -- HCO3-": "HCO3", "SED1 -- ": None,
        "G-CORONAV (RT-PCR) -- Tipo de muestra: LCR": None,
    }  # fmt: skip
    assert {item: code_of(item, english=False) for item in spanish} == spanish
    english = {
        "PT -- Prothrombin Time": "TP", "TP -- Total Proteins": "PT", "CRP -- C-reactive protein": "PCR",
        "PH -- pH": "PH", "PHV -- Venous Blood Gas": "PHV", "SO2 -- Oxygen Saturation (Venous)": "SO2CV",
        "SO2C -- Arterial Blood Gas": "SO2C", "RBC -- Red blood cell count": None, "LEUC -- POC Blood Count": "LEUC",
        "RBC -- Red Blood Cells (Erythrocytes)": "HEM", "CREAOR -- Creatinine in Urine": None,
    }  # fmt: skip
    assert {item: code_of(item, english=True) for item in english} == english


def test_accents_are_those_of_code_page_850(tree):
    release, files = find(tree[0])
    items = read(files["lab"], "lab", release.encoding).columns["item"].words
    said = "".join(items)
    assert "BAS -- Basófilos" in items
    assert set("óÓÍ") <= set(said)
    assert not set("¢¡æàÖ") & set(said)


def test_the_preset_of_published_studies(tree, tmp_path):
    cohort = load(tree[0], preset="seed")
    names = [feature.name for feature in cohort.features]
    assert names == [
        "MAX_BLOOD_PRESSURE", "MIN_BLOOD_PRESSURE", "TEMPERATURE", "HEART_RATE", "OXYGEN_SATURATION",
        "ALB -- ALBUMINA", "K -- POTASIO",
    ]  # fmt: skip
    held = cells(cohort)
    for stay, hours, feature, value in tree[1].seed_cells:
        found = held.get((stay, round(hours * 60), feature))
        assert found == (None if value is None else pytest.approx(value)), (stay, hours, feature)
    write_cdsl(tmp_path / "english", form="physionet")
    with pytest.raises(InputError, match="preset='seed' is of studies that read the release of 2021"):
        load(tmp_path / "english", preset="seed")


def test_names_of_published_studies_find_their_columns(copy):
    def often(rows):
        accented = next(row for row in rows if row[4] == "BAS -- Basófilos")
        return [*rows, *([str(200 + i), f"z{i}", *accented[2:]] for i in range(20))]

    rewrite(copy / "COVID_DSL_06_v2.CSV", often, separator=";")
    cohort = load(copy, preset="seed")
    assert cohort.feature_index("BAS -- Bas¢filos") == cohort.feature_index("BAS -- Basófilos") == 6


def test_what_the_studies_leave_out_is_named():
    dropped = (
        "CFLAG -- ALARMA HEMOGRAMA",
        "FRO1 -- ",
        "OBS_GASV -- Observaciones",
        "GRRH -- GRUPO SANGUÍNEO Y FACTOR Rh",
    )
    assert all(map(left_out_of_studies, dropped))
    kept = (
        "BAS -- Basófilos",
        "G-CORONAV (RT-PCR) -- Tipo de muestra: Exudado Faríngeo/Nasofaríngeo",
        "PCR -- PROTEINA",
    )
    assert not any(map(left_out_of_studies, kept))


def no_vitals(folder):
    (folder / "COVID_DSL_02.CSV").unlink()
    return r"looks like CDSL, HM .* \(V3\), but has no covid_dsl_02 .* it holds covid_dsl_01.csv"


def no_column(folder):
    rewrite(folder / "COVID_DSL_02.CSV", lambda rows: [row[:5] for row in rows])
    return "COVID_DSL_02.CSV has no column 'TEMP_ING', it has IDINGRESO, CONSTANTS_ING_DATE"


def text_as_number(folder):
    rewrite(folder / "COVID_DSL_02.CSV", lambda rows: [*rows, ["101", "2020-03-20", "09:00", "high", *rows[1][4:]]])
    return "row 93 of COVID_DSL_02.CSV has TA_MAX = 'high', which is no number"


def impossible_day(folder):
    rewrite(folder / "COVID_DSL_02.CSV", lambda rows: [*rows, ["101", "2020-02-30", *rows[1][2:]]])
    return "row 93 of COVID_DSL_02.CSV has date = '2020-02-30 10:30', which is no time"


def impossible_hour(folder):
    rewrite(folder / "COVID_DSL_02.CSV", lambda rows: [*rows, ["101", "2020-02-03", "25:00", *rows[1][3:]]])
    return "has date = '2020-02-03 25:00', which is no time"


def impossible_admission(folder):
    rewrite(folder / "COVID_DSL_01.CSV", lambda rows: [*rows, [*rows[1][:2], "999", "soon", *rows[1][4:]]])
    return "row 102 of COVID_DSL_01.CSV has admitted = 'soon', which is no time"


def twice(folder):
    rewrite(folder / "COVID_DSL_01.CSV", lambda rows: [*rows, rows[1]])
    return "COVID_DSL_01.CSV has admission 101 2 times"


def nobody(folder):
    rewrite(folder / "COVID_DSL_01.CSV", lambda rows: [rows[0], *([*row[:5], "", *row[6:]] for row in rows[1:])])
    return "COVID_DSL_01.CSV has no admission that can be used"


def truncated(folder):
    file = folder / "COVID_DSL_06_v2.CSV"
    (folder / "COVID_DSL_06_v2.csv.gz").write_bytes(gzip.compress(file.read_bytes())[:-500])
    file.unlink()
    return "COVID_DSL_06_v2.csv.gz cannot be read"


def no_content(folder):
    (folder / "COVID_DSL_06_v2.CSV").write_bytes(b"")
    return "COVID_DSL_06_v2.CSV cannot be read .it is empty."


def nothing(folder):
    for file in folder.iterdir():
        file.unlink()
    return "holds no release of CDSL, it holds nothing"


def another_data_set(folder):
    nothing(folder)
    (folder / "PATIENTS.csv.gz").touch()
    return "holds no release of CDSL, it holds PATIENTS.csv.gz"


@pytest.mark.parametrize(
    "change",
    [
        no_vitals, no_column, text_as_number, impossible_day, impossible_hour, impossible_admission, twice, nobody,
        truncated, no_content, nothing, another_data_set,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_bad_input_is_one_sentence(copy, change):
    message = change(copy)
    with pytest.raises(InputError, match=message) as error:
        load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, "preset is 'paper': use 'default' or 'seed'"),
        ({"range": "clip"}, "range is 'clip': use 'drop' or 'none'"),
        ({"pre_anchor": "fold"}, "pre_anchor is 'fold': use 'keep' or 'drop'"),
    ],
)
def test_options_that_do_not_exist(tree, options, message):
    with pytest.raises(InputError, match=message):
        load(tree[0], **options)


def test_paths_that_do_not_exist(tmp_path):
    with pytest.raises(InputError, match="CDSL does not come with this library: give cdsl:FOLDER"):
        load_cohort("cdsl")
    with pytest.raises(InputError, match="no-such is no folder"):
        load_cohort(f"cdsl:{tmp_path / 'no-such'}")


def test_the_generator_repeats_itself_and_replaces_nothing(tmp_path):
    for name in ("a", "b"):
        write_cdsl(tmp_path / name, form="v2", n_patients=5, seed=1, packed=True)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    with pytest.raises(InputError, match="is there already: name a folder that is new or empty"):
        write_cdsl(tmp_path / "a")
    with pytest.raises(InputError, match="form is 'v4': use one of v3, v2, physionet"):
        write_cdsl(tmp_path / "c", form="v4")
    with pytest.raises(InputError, match="n_patients is -1"):
        write_cdsl(tmp_path / "c", n_patients=-1)


def test_the_tree_is_small(tree):
    assert sum(file.stat().st_size for file in tree[0].rglob("*.CSV")) < 200_000


@pytest.mark.parametrize("module", ["cdsl", "cdsl_files", "cdsl_items", "cdsl_lab", "lookalike.cdsl"])
def test_the_examples_run(module):
    assert doctest.testmod(importlib.import_module(f"auscult.core.data.{module}")).failed == 0
