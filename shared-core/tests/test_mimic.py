import csv
import doctest
import gzip
import json
import math
import random
import shutil
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pytest

from auscult.core import cli
from auscult.core.__main__ import app
from auscult.core.data import Binning, load_cohort, lookalike, mimic3, mimic4, mimic_vitals
from auscult.core.data.cohort import Cohort
from auscult.core.data.panel import Panel
from auscult.core.errors import InputError

WRITERS = {"mimic3": lookalike.write_mimic3, "mimic4": lookalike.write_mimic4}
LABELS = ("mortality", "mortality_unit", "readmission", "los_days")
STAYS = {
    "mimic3": "SELECT icustay_id AS stay, * FROM '{}/icustays.csv'",
    "mimic4": "SELECT stay_id AS stay, * FROM '{}/icu/icustays.csv'",
}


@pytest.fixture(scope="module", params=["mimic3", "mimic4"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    """The tables as plain files with names in lower case, which the tests can change."""
    path = tmp_path_factory.mktemp(kind) / "tree"
    WRITERS[kind](path, n_patients=15, seed=1, form="csv", demo=True)
    return path


@pytest.fixture(scope="module")
def truth(folder):
    return lookalike.Truth.load(folder)


@pytest.fixture(scope="module")
def cohort(kind, folder):
    return load_cohort(f"{kind}:{folder}")


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def table(folder, kind, name):
    places = {"patients": "hosp", "admissions": "hosp", "labevents": "hosp"}
    return folder / f"{name}.csv" if kind == "mimic3" else folder / places.get(name, "icu") / f"{name}.csv"


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
    """Return (stay, minute, feature) -> value, or the text of a state."""
    found = {}
    for record, step, feature in zip(*np.nonzero(cohort.observed), strict=True):
        about, value = cohort.features[feature], float(cohort.values[record, step, feature])
        key = int(cohort.record_id[record]), round(float(cohort.time[record, step]) * 60), about.name
        found[key] = about.levels[int(value)] if about.levels else value
    return found


def assert_same(one, other, *, but=()):
    assert one.record_id.tolist() == other.record_id.tolist()
    for name in ("subject_id", "anchor", "time", "values", "length", "static"):
        if name not in but:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    if "labels" not in but:
        for name in LABELS:
            np.testing.assert_array_equal(one.labels[name], other.labels[name], err_msg=name)
    if "attrition" not in but:
        assert one.attrition == other.attrition


def test_every_stay_label_and_age_is_the_truth(cohort, truth):
    assert cohort.record_id.tolist() == list(truth.stays)
    known = list(truth.stays.values())
    assert cohort.subject_id.tolist() == [stay["subject"] for stay in known]
    assert cohort.static[:, 0].tolist() == [float("FM".index(stay["sex"])) for stay in known]
    np.testing.assert_allclose(cohort.static[:, 1], [stay["age"] for stay in known], rtol=1e-6)
    for name in LABELS:
        expected = [math.nan if stay[name] is None else stay[name] for stay in known]
        np.testing.assert_allclose(cohort.labels[name], expected, err_msg=name)
    assert len(set(cohort.subject_id.tolist())) < len(cohort)
    assert {0, 1} <= set(cohort.labels["readmission"].tolist())


def test_every_cell_is_the_truth(cohort, truth):
    states = {feature.name: feature.levels for feature in cohort.features if feature.levels}
    expected = {
        (stay, round(hours * 60), name): states[name][int(value)] if name in states else value
        for stay, hours, name, value in truth.cells
    }
    found = cells(cohort)
    assert found.keys() == expected.keys()
    assert found == {
        key: value if isinstance(value, str) else pytest.approx(value, rel=1e-6) for key, value in expected.items()
    }
    seen = {name for _, _, name, _ in truth.cells}
    assert seen == {feature.name for feature in cohort.features}


def test_every_step_of_the_attrition_is_the_truth(cohort, truth):
    assert {row.step: row.changed for row in cohort.attrition if row.changed} == {
        step: changed for step, changed in truth.attrition.items() if changed
    }


def test_attrition_adds_up(cohort):
    steps = [row.step for row in cohort.attrition]
    middle = steps.index("read events")
    for part in (cohort.attrition[:middle], cohort.attrition[middle:]):
        left = part[0].rows
        for row in part:
            left += row.changed if row.step in ("count shared rows for each", "sum scores") else -row.changed
            assert row.rows == left, row.step
    assert cohort.attrition[middle - 1].records == len(cohort)
    merged = cohort.attrition[steps.index("merge values of one time")]
    assert merged.rows + cohort.attrition[-1].changed == cohort.observed.sum()


def test_the_seed_preset_makes_its_values_again(kind, folder, truth):
    seed = load_cohort(f"{kind}:{folder}", preset="seed")
    found, position = cells(seed), {int(stay): i for i, stay in enumerate(seed.record_id)}
    assert len(truth.seed_cells) > 10
    for stay, hours, name, value in truth.seed_cells:
        got = found.get((stay, round(hours * 60), name))
        assert got == (value if value is None or isinstance(value, str) else pytest.approx(value, rel=1e-6)), (
            hours,
            name,
        )
    with_events = {stay for stay, *_ in truth.cells} | {
        stay for stay, *_, value in truth.seed_cells if value is not None
    }
    assert set(position) == with_events
    for stay in with_events:
        known = truth.stays[stay] | truth.seed[stay]
        known["readmission"] = known["readmission"] or 0
        for name in LABELS:
            assert seed.labels[name][position[stay]] == pytest.approx(known[name]), (stay, name)
        assert seed.static[position[stay], 1] == pytest.approx(known["age"], rel=1e-6)
    assert seed.attrition[-1].step == "drop stays without events"
    assert seed.provenance["range"], seed.provenance["duplicates"] == ("none", "text")


@pytest.mark.parametrize("form", ["csv.gz", "csv", "parquet"])
@pytest.mark.parametrize("demo", [False, True])
def test_the_form_of_the_tables_does_not_matter(kind, cohort, tmp_path, form, demo):
    WRITERS[kind](tmp_path / "tree", n_patients=15, seed=1, form=form, demo=demo)
    assert_same(load_cohort(f"{kind}:{tmp_path}/tree"), cohort)


def test_the_order_of_rows_and_columns_and_other_habits_do_not_matter(kind, cohort, copy):
    draw = random.Random(0)
    for path in copy.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as text:
            header, *rows = csv.reader(text)
        order = draw.sample(range(len(header)), len(header))
        draw.shuffle(rows)
        with path.open("w", encoding="utf-8-sig", newline="") as text:
            writer = csv.writer(text, lineterminator="\r\n", quoting=draw.choice((csv.QUOTE_ALL, csv.QUOTE_MINIMAL)))
            writer.writerow(["Unheard_Of", *(header[i].title() for i in order)])
            writer.writerows([["?", *(row[i] for i in order)] for row in rows])
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert_same(load_cohort(f"{kind}:{copy}", threads=1), cohort)


def test_a_window_shows_nothing_of_the_future(kind, cohort, copy):
    """Whatever happens after hour 48 may change labels alone: events, end of stay, discharge, death, later stays."""
    limit = {int(stay): start for stay, start in zip(cohort.record_id, cohort.anchor.astype(object), strict=True)}
    column = "icustay_id" if kind == "mimic3" else "stay_id"

    def later(rows):
        changed = 0
        for row in rows:
            start = limit.get(int(row[column])) if row[column] else None
            if start and datetime.fromisoformat(row["charttime"]) > start + timedelta(hours=48):
                row["value"] = row["valuenum"] = "7"
                row["charttime"] = str(datetime.fromisoformat(row["charttime"]) + timedelta(minutes=7))
                changed += 1
        assert changed
        return rows

    def shorter(rows):
        kept = [row for row in rows if int(row[column]) in limit]
        for row in kept:
            row["outtime"] = str(datetime.fromisoformat(row["intime"]) + timedelta(hours=48))
            row["los"] = "2"
        return kept

    def other_end(rows):
        for row in rows:
            row["dischtime"] = str(datetime.fromisoformat(row["dischtime"]) + timedelta(days=3))
            row["hospital_expire_flag"] = str(1 - int(row["hospital_expire_flag"]))
            row["deathtime"] = ""
        return rows

    def deathless(rows):
        return [row | {"dod": ""} for row in rows]

    for name, change in {
        "chartevents": later,
        "icustays": shorter,
        "admissions": other_end,
        "patients": deathless,
    }.items():
        rewrite(table(copy, kind, name), change)
    changed = load_cohort(f"{kind}:{copy}")
    assert_same(changed, cohort, but=("labels", "attrition"))
    assert (changed.labels["los_days"] == 2).all()
    assert (changed.labels["mortality"] != cohort.labels["mortality"]).any()


def test_a_shorter_window_is_the_beginning_of_a_longer_one(kind, folder, cohort):
    day = load_cohort(f"{kind}:{folder}", hours=24, min_hours=48)
    early = {key: value for key, value in cells(cohort).items() if key[1] <= 24 * 60}
    assert cells(day) == early
    assert len(load_cohort(f"{kind}:{folder}", hours=24)) > len(day)
    whole = cells(load_cohort(f"{kind}:{folder}", hours=None, min_hours=48))
    assert set(whole) > set(cells(cohort))
    assert load_cohort(f"{kind}:{folder}", hours=None).provenance["min_hours"] == "0"


@pytest.mark.parametrize("width", [1 / 12, 1.0, 12.0])
def test_bins_are_those_of_binning(kind, folder, cohort, width):
    binned = load_cohort(f"{kind}:{folder}", bin_hours=width)
    assert_same(binned, Binning(hours=width, end=48).apply(cohort), but=("attrition",))
    assert_same(Binning(hours=12, end=48).apply(binned), Binning(hours=12, end=48).apply(cohort), but=("attrition",))


def test_what_precedes_a_stay_can_be_kept_or_folded(kind, folder, cohort):
    key = (200701, -1, "Heart Rate")
    kept = cells(load_cohort(f"{kind}:{folder}", pre_anchor="keep"))
    assert kept[key] == 76
    assert {k: v for k, v in kept.items() if k[1] >= 0} == cells(cohort)
    assert (200701, -120, "Heart Rate") in kept  # without an id, but within the day before
    assert (200701, -120, "Heart Rate") not in cells(
        load_cohort(f"{kind}:{folder}", pre_anchor="keep", lookback_hours=1)
    )
    folded = cells(load_cohort(f"{kind}:{folder}", pre_anchor="fold_into_0", lookback_hours=1))
    assert folded[200701, 0, "Heart Rate"] == 76
    assert min(minute for _, minute, _ in folded) == 0


def test_range_rules_keep_their_promise(kind, folder):
    made = {rule: load_cohort(f"{kind}:{folder}", range=rule) for rule in ("none", "drop", "clip")}
    bounds = [variable.bounds for variable in (mimic3 if kind == "mimic3" else mimic4).PANELS["vitals17"].variables]
    for i, bound in enumerate(bounds):
        for rule, low, high in (("drop", bound.low, bound.high), ("clip", bound.valid_low, bound.valid_high)):
            values = made[rule].values[..., i][made[rule].observed[..., i]]
            assert ((values >= np.float32(low)) & (values <= np.float32(high))).all()
    rates = {rule: cells(cohort) for rule, cohort in made.items()}
    assert 1e9 in rates["none"].values()
    assert -5 in rates["none"].values()
    assert rates["drop"].keys() == rates["clip"].keys()
    assert max(made["clip"].values[..., 8][made["clip"].observed[..., 8]]) <= 350
    for cohort in made.values():
        np.testing.assert_array_equal(cohort.observed, ~np.isnan(cohort.values))
        assert not cohort.observed[~cohort.valid].any()


def test_reading_twice_or_other_patients_too_changes_nothing(kind, cohort, folder, copy):
    again = load_cohort(f"{kind}:{folder}")
    assert_same(again, cohort)
    assert again.fingerprint() == cohort.fingerprint()
    few = set(map(str, sorted(set(cohort.subject_id.tolist()))[::2]))
    for path in copy.rglob("*.csv"):
        if "subject_id" in path.read_text("utf-8").partition("\n")[0]:
            rewrite(path, lambda rows: [row for row in rows if row["subject_id"] in few])
    part = cohort.select(np.isin(cohort.subject_id, np.array(sorted(few), int)))
    small = load_cohort(f"{kind}:{copy}")
    steps = small.time.shape[1]
    assert small.record_id.tolist() == part.record_id.tolist()
    np.testing.assert_array_equal(small.values, part.values[:, :steps])
    np.testing.assert_array_equal(small.static, part.static)
    np.testing.assert_array_equal(small.labels["readmission"], part.labels["readmission"])


def test_an_independent_query_finds_the_same_stays_and_labels(kind, folder, cohort):
    hosp = folder if kind == "mimic3" else folder / "hosp"
    same_ward = "AND first_wardid = last_wardid" if kind == "mimic3" else ""
    age = "datesub('month', dob, intime) // 12" if kind == "mimic3" else "anchor_age + year(intime) - anchor_year"
    found = duckdb.sql(f"""
        WITH every AS (
            SELECT *, lead(intime) OVER (PARTITION BY subject_id ORDER BY intime, stay) AS following
            FROM ({STAYS[kind].format(folder)})
        ), joined AS (
            SELECT * FROM every JOIN '{hosp}/admissions.csv' USING (subject_id, hadm_id)
            JOIN '{hosp}/patients.csv' USING (subject_id)
            WHERE first_careunit = last_careunit {same_ward}
        )
        SELECT stay, hospital_expire_flag, following - outtime AS gap, deathtime, dischtime, intime, outtime FROM joined
        WHERE hadm_id IN (SELECT hadm_id FROM joined GROUP BY hadm_id HAVING count(*) = 1)
            AND {age} >= 18 AND outtime >= intime + INTERVAL 48 HOUR
        ORDER BY stay
    """).fetchall()
    assert [row[0] for row in found] == cohort.record_id.tolist()
    for i, (_, flag, gap, death, discharge, start, end) in enumerate(found):
        assert cohort.labels["mortality"][i] == flag
        back = gap is not None and timedelta(0) < gap <= timedelta(days=30)
        assert cohort.labels["readmission"][i] == back or (flag and math.isnan(cohort.labels["readmission"][i]))
        in_unit = flag and (abs(discharge - end) <= timedelta(hours=1) or (
            death is not None and start <= death <= end + timedelta(hours=6)))  # fmt: skip
        assert cohort.labels["mortality_unit"][i] == bool(in_unit)
        assert cohort.anchor[i] == np.datetime64(start)


def test_an_independent_query_finds_the_same_heart_rates(kind, folder, cohort):
    items, marked = ("211, 220045", "AND error IS DISTINCT FROM 1") if kind == "mimic3" else ("220045", "")
    events = folder / "chartevents.csv" if kind == "mimic3" else folder / "icu/chartevents.csv"
    stay = "icustay_id" if kind == "mimic3" else "stay_id"
    found = duckdb.sql(f"""
        SELECT s.stay, date_diff('minute', s.intime, e.charttime), avg(e.valuenum)
        FROM '{events}' e JOIN ({STAYS[kind].format(folder)}) s ON e.subject_id = s.subject_id
            AND (e.{stay} = s.stay OR e.{stay} IS NULL AND e.charttime BETWEEN s.intime AND s.outtime)
        WHERE e.itemid IN ({items}) AND e.valuenum BETWEEN 0 AND 390 {marked}
            AND e.charttime BETWEEN s.intime AND least(s.intime + INTERVAL 48 HOUR, s.outtime)
        GROUP BY ALL
    """).fetchall()
    chosen = set(cohort.record_id.tolist())
    expected = {(stay, minute): value for stay, minute, value in found if stay in chosen}
    got = {key[:2]: value for key, value in cells(cohort).items() if key[2] == "Heart Rate"}
    assert got == pytest.approx(expected, rel=1e-6)


def test_the_laboratory_is_the_same_by_an_independent_query(kind, folder):
    labs = load_cohort(f"{kind}:{folder}", panel="labs48")
    assert len(labs.features) == 48
    source = folder / "labevents.csv" if kind == "mimic3" else folder / "hosp/labevents.csv"
    found = duckdb.sql(f"""
        SELECT s.stay, date_diff('minute', s.intime, e.charttime), e.itemid, e.valuenum
        FROM '{source}' e JOIN ({STAYS[kind].format(folder)}) s ON e.subject_id = s.subject_id
            AND e.charttime BETWEEN s.intime AND least(s.intime + INTERVAL 48 HOUR, s.outtime)
        WHERE e.itemid IN (50912, 50820) AND e.valuenum IS NOT NULL
    """).fetchall()
    names = {50912: "crea", 50820: "ph"}
    expected = {(stay, minute, names[item]): value for stay, minute, item, value in found}
    got = {key: value for key, value in cells(labs).items() if key[2] in names.values()}
    assert got == pytest.approx(expected, rel=1e-6)
    assert got
    amounts = {key[1]: value for key, value in cells(labs).items() if key[2] == "urine"}
    assert amounts == {140: 150}


@pytest.mark.parametrize(("dead", "expected"), [("exclude", math.nan), ("positive", 1), ("negative", 0)])
def test_stays_that_end_in_death_are_readmitted_as_one_says(kind, folder, dead, expected):
    cohort = load_cohort(f"{kind}:{folder}", dead=dead)
    died = cohort.labels["mortality"] == 1
    assert died.sum() > 3
    np.testing.assert_array_equal(cohort.labels["readmission"][died], np.full(died.sum(), expected))


def test_a_death_at_home_counts_as_a_return_if_asked_for(kind, folder, cohort):
    counted = load_cohort(f"{kind}:{folder}", count_death=True)
    changed = cohort.record_id[
        (counted.labels["readmission"] != cohort.labels["readmission"]) & ~np.isnan(cohort.labels["readmission"])
    ]
    assert changed.tolist() == [200603]


def test_all_stays_can_be_had(kind, folder, cohort):
    everything = load_cohort(f"{kind}:{folder}", cohort="all", min_hours=0)
    steps = {row.step: row.changed for row in everything.attrition}
    lost = ("join admissions and patients", "drop stays without an end", "drop impossible times")
    assert [steps[step] for step in lost] == [1, 1, 1]
    assert "adults" not in steps
    assert len(everything) == everything.attrition[0].rows - 3
    assert set(cohort.record_id.tolist()) < set(everything.record_id.tolist())
    # Of two stays of one admission that ends in death, the first was followed by the second.
    first, second = (everything.record_id.tolist().index(stay) for stay in (200501, 200502))
    assert everything.labels["readmission"][first] == everything.labels["readmission"][second] == 1


def test_static_features_are_chosen_and_do_not_depend_on_the_stays(kind, folder):
    names = ["age", "ethnicity_group", "ethnicity", "insurance"]
    cohort = load_cohort(f"{kind}:{folder}", static=names)
    assert [feature.name for feature in cohort.static_features] == names
    group, words, insurance = cohort.static_features[1:]
    first = cohort.static[cohort.record_id.tolist().index(200101)]
    assert group.levels[int(first[1])] == ("Black" if kind == "mimic3" else "Hispanic")
    assert words.levels[int(first[2])] == (
        "BLACK/AFRICAN AMERICAN" if kind == "mimic3" else "HISPANIC/LATINO - PUERTO RICAN"
    )
    assert np.isnan(first[3])
    assert insurance.levels == ("Medicare",)
    second = cohort.static[cohort.record_id.tolist().index(200102)]
    assert group.levels[int(second[1])] == ("Hispanic" if kind == "mimic3" else "other or unknown")
    assert load_cohort(f"{kind}:{folder}", static=()).static.shape == (len(cohort), 0)


def test_a_panel_of_ones_own_may_use_an_item_twice(kind, folder, cohort):
    verbal = cohort.feature_index(mimic_vitals.VERBAL)
    panels = (mimic3 if kind == "mimic3" else mimic4).PANELS
    mine = Panel("mine", (panels["vitals17"].variables[verbal], mimic_vitals.VERBAL_UNTESTABLE))
    read = load_cohort(f"{kind}:{folder}", panel=mine)
    np.testing.assert_array_equal(read.observed[..., 0], read.observed[..., 1])
    assert read.observed[..., 0].sum() == cohort.observed[..., verbal].sum()
    flags = {key[1]: value for key, value in cells(read).items() if key[0] == 200101 and key[2] == "verbal_untestable"}
    assert "yes" in flags.values()
    assert "no" in flags.values()
    scores = read.values[..., 0][read.values[..., 1] == 1]
    assert (scores == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panel": "vitals"}, "there is no panel 'vitals': use 'vitals17' or 'labs48', or a Panel of your own"),
        (
            {"panel": "labs48", "preset": "seed"},
            "preset='seed' with the panel 'labs48': the seeds used 'vitals17' alone",
        ),
        ({"preset": "paper"}, "preset is 'paper': use one of default, seed"),
        ({"dead": "positive", "preset": "seed"}, "preset='seed' has its own rule for readmission"),
        ({"count_death": True, "preset": "seed"}, "preset='seed' has its own rule for readmission"),
        ({"cohort": "all", "preset": "seed"}, "preset='seed' with cohort='all': the seeds used 'benchmark' alone"),
        ({"cohort": "adults"}, "cohort is 'adults': use one of benchmark, all"),
        ({"dead": "keep"}, "dead is 'keep': use one of exclude, positive, negative"),
        ({"range": "clamp"}, "range is 'clamp': use one of none, drop, clip"),
        ({"min_hours": -1}, "min_hours is -1: give a number of hours"),
        ({"static": "age"}, "static is 'age': give a list of different names among sex, age"),
        ({"static": ["weight"]}, r"static is \['weight'\]: give a list"),
        ({"static": ["age", "age"]}, "different names"),
        ({"min_hours": 9999}, "no stay of tree is left: the last .* went at 'drop short stays'"),
        ({"memory": "lots"}, "memory='lots' and threads=None do not suit DuckDB"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_sentence(kind, folder, options, message):
    with pytest.raises(InputError, match=message) as error:
        load_cohort(f"{kind}:{folder}", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("icustays", None, "needs the table .*icustays"),
        ("chartevents", None, "needs the table .*chartevents"),
        ("icustays", ("outtime", "endtime"), "icustays.csv lacks the column 'outtime' that MIMIC"),
        ("patients", ("dod", "died"), "patients.csv lacks the column 'dod'"),
        (
            "chartevents",
            (",220045,", ",HR,"),
            "chartevents.csv, line .*, holds 'HR' in column 'itemid', which is no whole",
        ),
        ("admissions", ("2160-", "in 2160-"), "admissions.csv, line .* which is no time"),
    ],
)
def test_a_damaged_folder_is_one_sentence(kind, copy, name, change, message):
    path = table(copy, kind, name)
    if change is None:
        path.unlink()
    else:
        path.write_text(path.read_text("utf-8").replace(*change), "utf-8")
    with pytest.raises(InputError, match=message) as error:
        load_cohort(f"{kind}:{copy}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "key"), [("icustays", "stay"), ("admissions", "hadm"), ("patients", "subject")])
def test_an_id_that_comes_twice_is_one_sentence(kind, copy, name, key):
    rewrite(table(copy, kind, name), lambda rows: [*rows, rows[0]])
    with pytest.raises(InputError, match=f"{name} of copy names the {key} .* twice"):
        load_cohort(f"{kind}:{copy}")


def test_a_stay_without_an_id_is_one_sentence(kind, copy):
    column = {"mimic3": "icustay_id", "mimic4": "stay_id"}[kind]
    path = table(copy, kind, "icustays")
    rewrite(path, lambda rows: [{**rows[0], next(key for key in rows[0] if key.lower() == column): ""}, *rows[1:]])
    with pytest.raises(InputError, match="icustays of copy has a row without stay: get it again"):
        load_cohort(f"{kind}:{copy}")


def test_the_folder_of_the_other_is_recognised(kind, folder):
    other = {"mimic3": "mimic4", "mimic4": "mimic3"}[kind]
    with pytest.raises(InputError, match=rf"\(this looks like {kind}:\)"):
        load_cohort(f"{other}:{folder}")


def test_a_folder_that_lacks_a_table_is_not_taken_for_another(kind, copy):
    table(copy, kind, "chartevents").unlink()
    with pytest.raises(InputError, match=r"needs the table (icu/)?chartevents .*, and .* holds [^(]*: get it from"):
        load_cohort(f"{kind}:{copy}")


def test_reading_writes_nothing(kind, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    load_cohort(f"{kind}:{folder}")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not any(tmp_path.iterdir())


def test_a_cohort_says_where_it_comes_from(kind, cohort):
    about = cohort.provenance
    assert about["data_set"] == {"mimic3": "MIMIC-III", "mimic4": "MIMIC-IV"}[kind]
    assert "physionet.org" in about["source"]
    assert "credentialed" in about["licence"]
    assert (about["panel"], about["range"], about["duplicates"], about["hours"]) == ("vitals17", "drop", "mean", "48.0")
    assert any("dates are shifted" in note for note in cohort.notes)
    assert isinstance(cohort, Cohort)


def test_a_lookalike_is_its_seed_and_small(kind, tmp_path):
    write = WRITERS[kind]
    made = [write(tmp_path / str(i), n_patients=4, seed=seed) for i, seed in enumerate((3, 3, 4))]
    content = [
        {path.relative_to(tmp_path / str(i)): path.read_bytes() for path in (tmp_path / str(i)).rglob("*.*")}
        for i in range(3)
    ]
    assert content[0] == content[1]
    assert content[0] != content[2]
    assert made[0] == made[1] == lookalike.Truth.load(tmp_path / "0")
    assert sum(path.stat().st_size for path in (tmp_path / "0").rglob("*.csv.gz")) < 200_000
    with pytest.raises(InputError, match="is there already: name a folder that is new or empty"):
        write(tmp_path / "0")
    with pytest.raises(InputError, match=r"form is 'xlsx': use 'csv.gz', 'csv' or 'parquet'"):
        write(tmp_path / "new", form="xlsx")
    with pytest.raises(InputError, match="n_patients is -1: give 0 or more"):
        write(tmp_path / "new", n_patients=-1)
    assert not (tmp_path / "new").exists()


def test_a_lookalike_can_be_made_from_the_terminal(kind, tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.run(app, ["data", "lookalike", *arguments])
        return end.value.code, *capsys.readouterr()

    folder = tmp_path / "tree"
    code, out, _ = run(kind, str(folder), "--patients", "3", "--form", "parquet", "--json")
    said = json.loads(out)
    assert (code, said["spec"]) == (0, f"{kind}:{folder}")
    assert "truth.json" in said["files"]
    assert len(load_cohort(said["spec"])) == len(lookalike.Truth.load(folder).stays)
    code, out, err = run(kind, str(folder))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "is there already" in err
    code, _, err = run("mimic5", str(folder))
    assert (code, err) == (2, "error: there is no look-alike of 'mimic5': known are cdsl, eicu, mimic3, mimic4\n")
    assert f"load_cohort('{kind}:{tmp_path}/other')" in run(kind, str(tmp_path / "other"), "--patients", "0")[1]


def test_the_examples_run():
    assert doctest.testmod(lookalike).failed == 0
