import doctest
import math
from collections import defaultdict

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.core.data import conversions, mimic_labs, mimic_vitals, panel
from auscult.core.data.conversions import (
    NUMBER_OR_TEXT,
    PLAIN_TEXT,
    after_slash,
    before_slash,
    celsius,
    fahrenheit,
    levels,
    oxygen_fraction,
    percent,
    positions,
    times,
    unless_unit,
)
from auscult.core.data.events import EventTable, Rules, read_events
from auscult.core.data.feature import Feature
from auscult.core.data.panel import Bounds, Panel, Source, Variable, choose
from auscult.core.data.tree import Tree
from auscult.core.errors import InputError

HOUR = 3_600_000_000


@pytest.mark.parametrize("module", [conversions, panel])
def test_the_examples_run(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("expression", "number", "text", "unit", "expected"),
    [
        (fahrenheit(), 98.6, None, None, 37.0),
        (fahrenheit(), 70, None, None, 38 / 1.8),
        (celsius(), 98.6, None, None, 37.0),
        (celsius(), 79, None, None, 47 / 1.8),
        (celsius(), 78.9, None, None, 78.9),
        (oxygen_fraction(), 0.4, None, "%", 0.4),
        (oxygen_fraction(), 40, None, "%", 0.4),
        (oxygen_fraction(), 20, None, None, 0.2),
        (oxygen_fraction(), 15, None, None, None),
        (oxygen_fraction(), 1, None, None, 1),
        (oxygen_fraction(), 101, None, None, None),
        (oxygen_fraction(), 50, None, "mmHg/Torr", None),
        (percent(), 0.4, None, None, 40),
        (percent(), 40, None, None, 40),
        (percent(), 1, None, None, 100),
        (percent(), 0, None, None, 0),
        (times(2.54), 70, None, None, 177.8),
        (times(mimic_vitals.POUND), 220, None, None, 99.79024),
        (times(mimic_vitals.POUND / 16), 3520, None, None, 99.79024),
        (before_slash(), None, "120/80", None, 120),
        (after_slash(), 120, "120/80", None, 80),
        (after_slash(), 61, "61", None, 61),
        (before_slash(), None, "a/b", None, None),
        (PLAIN_TEXT, 1000, ">1000", None, None),
        (PLAIN_TEXT, None, "ERROR", None, None),
        (PLAIN_TEXT, None, " 7.25 ", None, 7.25),
        (PLAIN_TEXT, None, ".5", None, 0.5),
        (PLAIN_TEXT, None, "-3", None, None),
        (PLAIN_TEXT, None, "1e3", None, None),
        (PLAIN_TEXT, 7.25, None, None, 7.25),
        (NUMBER_OR_TEXT, 5, "___", None, 5),
        (NUMBER_OR_TEXT, None, "6", None, 6),
        (unless_unit("mg/dl", "number", "number * 10"), 2, None, "MG/dL", 20),
        (unless_unit("mg/dl", "number", "number * 10"), 2, None, "mg/L", 2),
        (unless_unit("mg/dl", "number", "number * 10"), 2, None, None, 2),
        (levels({"To Pain": 2, "it's": 5}), None, " to pain", None, 2),
        (levels({"To Pain": 2, "it's": 5}), None, "IT'S", None, 5),
        (levels({"To Pain": 2}), 2, None, None, None),
        (positions(("None", "To Pain")), None, "To Pain", None, 1),
        (positions(("None", "To Pain")), None, "to pain", None, None),
        (positions(("3", "4"), "number"), 4, "x", None, 1),
    ],
)
def test_values_are_converted_as_their_scale_needs(expression, number, text, unit, expected):
    row = "SELECT ?::DOUBLE AS number, ?::VARCHAR AS text, ?::VARCHAR AS unit"
    ((value,),) = duckdb.execute(f"SELECT ({expression})::DOUBLE FROM ({row})", [number, text, unit]).fetchall()
    assert value == (None if expected is None else pytest.approx(expected, rel=1e-12))


def test_the_panels_are_those_of_the_sources():
    sizes = {
        name: (len(made.variables), sum(len(source.codes) for v in made.variables for source in v.sources))
        for name, made in vars(mimic_vitals).items()
        if isinstance(made, Panel)
    }
    # 114 ids, of which four are of urine or other fluids; 37 in MIMIC-IV and one more for weight.
    assert sizes == {"MIMIC3": (17, 110), "MIMIC3_SEED": (17, 114), "MIMIC4": (17, 38), "MIMIC4_SEED": (17, 109)}
    widths = [max(len(v.feature.levels), 1) for v in mimic_vitals.MIMIC3_SEED.variables]
    assert widths == [2, 8, 12, 13, 12, *[1] * 12]
    names = [v.feature.name for v in mimic_vitals.MIMIC4.variables]
    assert all(
        [v.feature.name for v in made.variables] == names for made in (mimic_vitals.MIMIC3, mimic_vitals.MIMIC3_SEED)
    )
    assert len(mimic_labs.LABS.variables) == 48
    assert mimic_vitals.MIMIC4.tables == ("chartevents",)
    assert set(mimic_labs.LABS.tables) == {"chartevents", "labevents", "outputevents"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bounds(0, 10, 5, 4), r"the bounds \[0, 5, 4, 10\] do not increase"),
        (lambda: Bounds(low=3, high=1), "do not increase"),
        (lambda: Panel("mine", ()), "the panel 'mine' is empty"),
        (lambda: Panel("mine", (Variable(Feature("a")),) * 2), "the panel 'mine' has 'a' twice"),
        (lambda: Panel("mine", (Variable(Feature("a"), sum_of=("b",)),)), "the panel 'mine' sums 'b', which it lacks"),
        (lambda: Variable(Feature("a"), (Source("x", (1,)), Source("x", (2, 1)))), "'a' names the code 1 of x twice"),
        (lambda: choose({"one": mimic_labs.LABS}, "two"), "there is no panel 'two': use 'one', or a Panel of your own"),
        (lambda: Rules(range="clamp"), "range is 'clamp': use one of none, drop, clip"),
        (lambda: Rules(duplicates="median"), "duplicates is 'median': use one of mean, last, first, min, max, text"),
        (lambda: Rules(pre_anchor="fold"), "pre_anchor is 'fold': use one of drop, keep, fold_into_0"),
        (lambda: Rules(hours=0), "hours is 0: give a number of hours above 0"),
        (lambda: Rules(bin_hours=-1), "bin_hours is -1: give a number of hours above 0"),
        (lambda: Rules(hours=math.nan), "hours is nan: give a number of hours above 0"),
    ],
)
def test_a_wrong_panel_or_rule_is_one_sentence(make, message):
    with pytest.raises(InputError, match=message):
        make()


WORDS = {"low": 1, "high": 2}
PANEL = Panel(
    "test",
    (
        Variable(Feature("a"), (Source("raw", (1,)), Source("raw", (2,), times(2))), Bounds(0, 100, 10, 90)),
        Variable(Feature("b", kind="ordinal"), (Source("raw", (3, 5), levels(WORDS)),)),
        Variable(Feature("c"), (Source("raw", (4,)),), combine="sum"),
        Variable(Feature("d"), sum_of=("a", "b")),
        Variable(Feature("e"), (Source("raw", (1,)),), Bounds(high=50)),
    ),
)
COLUMNS = {
    "person": pa.int64(), "stay": pa.int64(), "code": pa.int64(), "taken": pa.int64(), "stored": pa.int64(),
    "number": pa.float64(), "text": pa.string(), "unit": pa.string(), "wrong": pa.bool_(),
}  # fmt: skip


def read(folder, stays, events, rules, *, panel=PANEL, memory="500MB"):
    columns = {name: pa.array([event[name] for event in events], kind) for name, kind in COLUMNS.items()}
    pq.write_table(pa.table(columns), folder / "raw.parquet")
    with Tree(folder, data_set="TEST", source="", memory=memory, threads=2) as tree:
        tree.run(f"CREATE VIEW raw AS FROM '{folder}/raw.parquet'")
        tree.run(
            "CREATE TEMP TABLE stays "
            "(record INTEGER, person BIGINT, stay BIGINT, start BIGINT, stop BIGINT, by_time BOOLEAN)"
        )
        for i, (person, stay, start, stop) in enumerate(stays):
            tree.run(f"INSERT INTO stays VALUES ({i}, {person}, {stay}, {start * HOUR}, {stop * HOUR}, TRUE)")
        table = EventTable("raw", "raw", "SELECT * FROM raw")
        return read_events(tree, [table], panel, rules, records=len(stays))


def by_hand(stays, events, rules):
    """Return the cells and the lost rows, event by event, as the documentation says."""
    lost = defaultdict(int)
    found = defaultdict(list)
    uses = {1: [(0, 0, 1), (4, 0, 1)], 2: [(0, 1, 2)], 3: [(1, 0, None)], 5: [(1, 1, None)], 4: [(2, 0, 1)]}
    limits = {0: (0, 100, 10, 90), 4: (-math.inf, 50, -math.inf, 50)}
    back = 0 if rules.pre_anchor == "drop" else rules.lookback_hours
    for event in events:
        lost["other"] += event["code"] not in uses
        for n, (feature, priority, factor) in enumerate(uses.get(event["code"], [])):
            lost["extra"] -= n > 0
            if event["wrong"]:
                lost["wrong"] += 1
                continue
            hour = event["taken"] / HOUR
            mine = [
                (record, hour - start, stop - start)
                for record, (person, stay, start, stop) in enumerate(stays)
                if person == event["person"]
                and (stay == event["stay"] if event["stay"] is not None else start - back <= hour <= stop)
            ]
            lost["stay"] += not mine
            lost["extra"] -= max(len(mine) - 1, 0) if n == 0 else 0
            lost["extra"] -= max(len(mine) - 1, 0) if n > 0 else 0
            for record, since, length in mine:
                value = WORDS.get((event["text"] or "").lower()) if factor is None else event["number"]
                value = value if factor is None or value is None else value * factor
                low, high, valid_low, valid_high = limits.get(feature, (-math.inf, math.inf) * 2)
                if since < -back:
                    lost["before"] += 1
                elif since > length:
                    lost["after"] += 1
                elif rules.hours is not None and since > rules.hours:
                    lost["window"] += 1
                elif value is None or math.isnan(value):
                    lost["value"] += 1
                elif rules.range != "none" and not low <= value <= high:
                    lost["range"] += 1
                else:
                    clipped = min(max(value, valid_low), valid_high) if rules.range == "clip" else value
                    since = max(since, 0) if rules.pre_anchor == "fold_into_0" else since
                    stored = -1 if event["stored"] is None else event["stored"] // 1_000_000
                    found[record, np.float32(since), feature].append((stored, priority, clipped))
    cells = {}
    for (record, hours, feature), values in found.items():
        numbers = [value for _, _, value in values]
        way = "sum" if feature == 2 else "last" if feature == 1 and rules.duplicates == "mean" else rules.duplicates
        cells[record, hours, feature] = {
            "sum": lambda numbers=numbers: sum(numbers),
            "mean": lambda numbers=numbers: sum(numbers) / len(numbers),
            "min": lambda numbers=numbers: min(numbers),
            "max": lambda numbers=numbers: max(numbers),
            "last": lambda values=values: max(values, key=lambda v: (v[0], -v[1], v[2]))[2],
            "first": lambda values=values: min(values)[2],
        }[way]()
    lost["merged"] = sum(map(len, found.values())) - len(cells)
    for record, hours in {key[:2] for key in cells}:
        if (record, hours, 0) in cells and (record, hours, 1) in cells:
            cells[record, hours, 3] = cells[record, hours, 0] + cells[record, hours, 1]
    if rules.bin_hours is not None:
        binned = {}
        for (record, hours, feature), value in sorted(cells.items()):
            index = math.floor(hours / rules.bin_hours)
            if rules.hours is not None:
                index = min(index, math.ceil(rules.hours / rules.bin_hours) - 1)
            key = (record, np.float32(index * rules.bin_hours), feature)
            binned[key] = value + (binned.get(key, 0) if feature == 2 else 0)
        cells = binned
    return cells, lost


EVENT = st.fixed_dictionaries(
    {
        "person": st.integers(1, 2),
        "stay": st.sampled_from([None, 10, 11, 12, 99]),
        "code": st.integers(1, 6),
        "taken": st.integers(-8, 40).map(lambda quarters: quarters * HOUR // 4),
        "stored": st.sampled_from([None, 0, HOUR, 2 * HOUR]),
        "number": st.sampled_from([None, -1.0, 0.0, 5.0, 30.0, 60.0, 95.0, 1e9, math.nan, math.inf]).map(
            lambda number: None if number == math.inf else number
        ),
        "text": st.sampled_from([None, "low", "HIGH", "other"]),
        "unit": st.none(),
        "wrong": st.sampled_from([False, False, False, True, None]),
    }
)
RULES = st.builds(
    Rules,
    hours=st.sampled_from([None, 3.0, 4.5]),
    bin_hours=st.sampled_from([None, 1.0, 2.0]),
    pre_anchor=st.sampled_from(["drop", "keep", "fold_into_0"]),
    lookback_hours=st.sampled_from([0.5, 2.0]),
    range=st.sampled_from(["drop", "clip", "none"]),
    duplicates=st.sampled_from(["mean", "last", "first", "min", "max"]),
)
# Two stays of the first person overlap; the last stay never has an event of its own.
STAYS = [(1, 10, 0, 6), (1, 11, 4, 8), (2, 12, 1, 7), (3, 13, 0, 5)]


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=st.lists(EVENT, max_size=40), rules=RULES, order=st.randoms(use_true_random=False))
def test_events_become_cells_as_by_hand_in_any_order(tmp_path, events, rules, order):
    ragged, attrition = read(tmp_path, STAYS, events, rules)
    cells, lost = by_hand(STAYS, events, rules)
    record, step, feature = np.nonzero(~np.isnan(ragged.values))
    read_cells = {
        (r, ragged.time[r, s], f): ragged.values[r, s, f] for r, s, f in zip(record, step, feature, strict=True)
    }
    assert read_cells.keys() == cells.keys()
    assert all(read_cells[key] == pytest.approx(value, rel=1e-6) for key, value in cells.items())
    assert ragged.length.tolist() == [len({key[1] for key in cells if key[0] == r}) for r in range(len(STAYS))]

    steps = {row.step: row for row in attrition}
    changed = {name: row.changed for name, row in steps.items()}
    assert steps["read events"].rows == len(events)
    assert changed["keep the panel's codes"] == lost["other"]
    assert changed.get("count shared rows for each", 0) == -lost["extra"]
    assert changed["drop rows marked as errors"] == lost["wrong"]
    assert changed["find the stay"] == lost["stay"]
    assert changed["drop what precedes the stay"] == lost["before"]
    assert changed["drop what follows the stay"] == lost["after"]
    assert changed.get("drop what follows the window", 0) == lost["window"]
    assert changed["read the values"] == lost["value"]
    assert changed["check the range"] == lost["range"]
    assert changed["merge values of one time"] == lost["merged"]
    assert_adds_up(attrition, len(cells))

    again, counted = read(tmp_path, STAYS, order.sample(events, len(events)), rules)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(ragged, again, strict=True))
    assert counted == attrition


def assert_adds_up(attrition, cells):
    left = attrition[0].rows
    for row in attrition:
        left += row.changed if row.step in ("count shared rows for each", "sum scores") else -row.changed
        left += row.changed if row.step == "clip to the valid range" else 0
        assert row.rows == left, row.step
    assert left == cells


def event(**known):
    usual = {"person": 1, "stay": 10, "code": 1, "taken": HOUR, "stored": None, "number": 30.0, "text": None}
    return {**usual, "unit": None, "wrong": False, **known}


@pytest.mark.parametrize("numbers", [(99, 100), (100, 99)])
@pytest.mark.parametrize(
    ("rule", "expected"), [("mean", 99.5), ("last", 100), ("min", 99), ("max", 100), ("first", 99)]
)
def test_values_are_compared_as_numbers(tmp_path, numbers, rule, expected):
    events = [event(number=number, text=str(number)) for number in numbers]
    ragged, _ = read(tmp_path, STAYS, events, Rules(duplicates=rule))
    assert ragged.values[0, 0, 0] == expected


def test_the_text_rule_compares_texts_where_a_variable_says_so(tmp_path):
    by_text = Panel("test", (Variable(Feature("a"), (Source("raw", (1,)),), by_text=True),))
    by_size = Panel("test", (Variable(Feature("a"), (Source("raw", (1,)),)),))
    events = [event(number=number, text=str(number)) for number in (100, 99, 9)]
    values = [
        read(tmp_path, STAYS, events, Rules(duplicates="text"), panel=made)[0].values[0, 0, 0]
        for made in (by_text, by_size)
    ]
    assert values == [99, 100]


def test_the_better_source_wins_among_equals(tmp_path):
    events = [event(code=3, text="high"), event(code=5, text="low")]
    assert read(tmp_path, STAYS, events, Rules(duplicates="last"))[0].values[0, 0, 1] == 2
    events = [event(code=3, text="high", stored=1), event(code=5, text="low", stored=2_000_000)]
    assert read(tmp_path, STAYS, events, Rules(duplicates="last"))[0].values[0, 0, 1] == 1


def test_codes_may_be_texts_and_hold_quotes(tmp_path):
    made = Panel("test", (Variable(Feature("a"), (Source("raw", ("it's", "x")),)),))
    columns = {name: pa.array([value] * 2, COLUMNS[name]) for name, value in event().items() if name != "code"}
    pq.write_table(pa.table({**columns, "code": ["it's", "y"]}), tmp_path / "raw.parquet")
    with Tree(tmp_path, data_set="TEST", source="") as tree:
        tree.run(f"CREATE VIEW raw AS FROM '{tmp_path}/raw.parquet'")
        about = f"0 AS record, 1 AS person, 10 AS stay, 0 AS start, {8 * HOUR} AS stop, TRUE AS by_time"
        tree.run(f"CREATE TEMP TABLE stays AS SELECT {about}")
        ragged, counted = read_events(tree, [EventTable("raw", "raw", "SELECT * FROM raw")], made, Rules(), records=1)
    assert ragged.values.tolist() == [[[30]]]
    assert counted[1].changed == 1


def test_a_row_of_a_stay_without_a_time_is_counted(tmp_path):
    ragged, counted = read(tmp_path, STAYS, [event(code=2), event(code=2, taken=None)], Rules())
    assert ragged.length.tolist() == [1, 0, 0, 0]
    assert {row.step: row.changed for row in counted}["drop rows without a time"] == 1
    assert counted[-1].rows == counted[0].rows - sum(row.changed for row in counted)


@pytest.mark.parametrize("text", ["120/inf", "120/nan", "120/1e300", "120/-1e39"])
def test_a_number_that_a_cohort_cannot_hold_is_no_value(tmp_path, text):
    made = Panel("test", (Variable(Feature("a"), (Source("raw", (1,), after_slash()),)),))
    ragged, counted = read(tmp_path, STAYS, [event(text=text)], Rules(range="none"), panel=made)
    assert ragged.length.tolist() == [0, 0, 0, 0]
    assert {row.step: row.changed for row in counted}["read the values"] == 1


def test_many_rows_go_through_little_memory_in_chunks_of_whole_stays(tmp_path):
    n, size = 400_000, 2000
    draw = np.random.default_rng(0)
    person = draw.integers(0, size - 1, n)
    columns = {
        "person": person, "stay": person, "code": draw.choice([1, 2, 3, 4, 6], n),
        "taken": draw.integers(0, 3600, n) * 60_000_000, "stored": draw.integers(0, 10**9, n),
        "number": draw.integers(0, 60, n).astype(float), "text": draw.choice(["low", "high"], n),
        "unit": np.full(n, ""), "wrong": np.zeros(n, bool),
    }  # fmt: skip
    table = pa.table({name: pa.array(columns[name], kind) for name, kind in COLUMNS.items()})
    pq.write_table(table, tmp_path / "big.parquet")
    raw = EventTable("raw", "raw", "SELECT * FROM raw")
    results = []
    for memory, threads in (("60MB", 1), ("1GB", 2)):
        with Tree(tmp_path, data_set="TEST", source="", memory=memory, threads=threads) as tree:
            tree.run(f"CREATE VIEW raw AS FROM '{tmp_path}/big.parquet'")
            tree.run(
                "CREATE TEMP TABLE stays AS SELECT i::INTEGER AS record, i AS person, i AS stay, 0::BIGINT AS start, "
                f"{60 * HOUR} AS stop, TRUE AS by_time FROM range({size}) AS t(i)"
            )
            results.append(read_events(tree, [raw], PANEL, Rules(), records=size))
    (one, one_counted), (other, other_counted) = results
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))
    assert one_counted == other_counted
    assert one.length[-1] == 0
    kept = (columns["taken"] <= 48 * HOUR) & (columns["code"] == 4)
    expected = np.bincount(person[kept], columns["number"][kept], minlength=size)
    np.testing.assert_allclose(np.nansum(one.values[..., 2], axis=1), expected)


def test_a_cohort_that_no_machine_could_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    with pytest.raises(InputError, match="give fewer hours, or bin_hours=1"):
        read(tmp_path, STAYS, [event()], Rules())
