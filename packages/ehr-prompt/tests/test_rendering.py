import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import InputError
from auscult.ehr_prompt import cells, wording
from auscult.ehr_prompt.examples import choose_examples, make_example, show_examples
from auscult.ehr_prompt.formatting import format_number, format_numbers
from auscult.ehr_prompt.panel import load_panel

PARAGRAPH = "\n\n"
LAYOUTS = ("string", "list", "batches")
MISSING = ("nan", "locf", "locf_marked", "omit", "delta", "median_locf")


def detail(renderer, row):
    """Return the lines of one patient, from the marker on."""
    [case] = renderer.cases([row])
    text = renderer.prompt(case).user
    return text.split("The patient in question:\n")[1].rsplit("\n\n", 1)[0]


def read(text, layout):
    """Return (feature, visit) -> text, as a reader of the layout understands it."""
    cells = {}
    if layout == "batches":
        for block in re.split(r"\n\n(?=Visit)", text[text.index("Visit 1 (") :]):
            visit = int(block.split()[1])
            for line in block.splitlines()[1:]:
                name, value = line[2:].split(": ")
                cells[name, visit] = value
        return cells
    pattern = r'- (.+): "(.+)"' if layout == "string" else r"- (.+): \[(.+)\]"
    for name, values in re.findall(pattern, text):
        for place, value in enumerate(values.split(", "), 1):
            value, _, visit = value.partition("@")
            cells[name, int(visit or place)] = value
    return cells


def test_a_prompt_in_full(small):
    renderer = small(units=True, ranges="paper")
    [case] = renderer.cases([0])
    prompt = renderer.prompt(case)
    assert prompt.system == "You are a physician."
    assert prompt.user == (
        "Below are the laboratory values and vital signs of one hospital patient. Each time step is one visit, in "
        "order of time. The set of variables is fixed.\n"
        "Every line holds one variable: its name, then its values over the visits from first to last, separated by "
        "commas, inside double quotes.\n"
        "\n"
        "TASK\n"
        "Estimate the probability that the patient dies during this hospital stay.\n"
        "Reply with a probability between 0 and 1, and nothing else: no words, no unit.\n"
        'If the data do not allow a reasonable conclusion, answer exactly "I do not know" and nothing else.\n'
        "\n"
        "VARIABLES\n"
        "- LDH: Unit: U/L. Reference range: < 250.\n"
        "- K: Unit: mmol/L. Reference range: 3.5 - 5.0.\n"
        "- state: Unit: /. Reference range: /.\n"
        "\n"
        "The patient in question:\n"
        "Sex: male. Age: 52 years.\n"
        "Visits: 3, at hour 0, hour 24, hour 72.\n"
        '- LDH: "250, 250, 301.5"\n'
        '- K: "3, 3.25, 3.25"\n'
        '- state: "nan, nan, nan"\n'
        "\n"
        "Reply with a probability between 0 and 1, and nothing else: no words, no unit.\n"
        "RESPONSE:"
    )


def test_prompts_of_every_form_are_those_that_were_checked(small):
    """Each layout whole; then each way to show what is missing, with units, ranges and an example, from the data on.

    A change that is meant is read in the difference of ``data/prompts.txt``.
    """
    made = []
    for layout in (*LAYOUTS, "text"):
        for missing in ("bare", *MISSING):
            more = {} if missing == "bare" else {"missing": missing, "units": True, "ranges": "paper", "shots": 1}
            renderer = small(layout=layout, **more)
            show_examples(renderer)
            text = renderer.prompt(renderer.cases([0])[0]).user
            made.append(f"=== {layout}, {missing}\n{text if missing == 'bare' else text.split(PARAGRAPH, 2)[2]}\n")
    assert "".join(made) == (Path(__file__).parent / "data/prompts.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("missing", "ldh", "k"),
    [
        ("nan", '"250, nan, 301.5"', '"nan, 3.25, nan"'),
        ("locf", '"250, 250, 301.5"', '"nan, 3.25, 3.25"'),
        ("locf_marked", '"250, 250**, 301.5"', '"nan, 3.25, 3.25**"'),
        ("omit", '"250, nan, 301.5"', '"nan, 3.25, nan"'),
        ("delta", '"250@1, 301.5@3"', '"3.25@2"'),
        ("median_locf", '"250, 250, 301.5"', '"3, 3.25, 3.25"'),
    ],
)
def test_what_stands_for_a_missing_value(small, missing, ldh, k):
    text = detail(small(missing=missing), 0)
    assert f"- LDH: {ldh}\n" in text
    assert f"- K: {k}" in text
    assert ("state" in text) is (missing not in ("omit", "delta"))


def test_gaps_are_filled_before_the_window_is_cut(small):
    assert '- K: "3.25"' in detail(small(window="last", missing="locf"), 0)
    assert '- LDH: "301.5"' in detail(small(window="last", missing="locf"), 0)
    assert '- K: "3"' in detail(small(window="first"), 0)


def test_layouts_sexes_levels_and_dates(small):
    assert "Visit 2 (hour 24):\n- LDH: 250\n- K: 3.25\n- state: nan\n\nVisit 3" in detail(small(layout="batches"), 0)
    assert "- LDH: [250, 250, 301.5]" in detail(small(layout="list"), 0)
    text = detail(small(layout="text", units=True, ranges="paper"), 0)
    assert "LDH (in U/L) has 3 values: 250, 250, 301.5; the reference range is < 250." in text
    assert "Visits: 3, at 2020-02-01T00:00, 2020-02-02T00:00, 2020-02-04T00:00." in detail(small(times="dates"), 0)
    assert detail(small(), 1).startswith("Sex: female. Age: 61 years.")
    assert detail(small(), 2).startswith("Sex: unknown.\nVisits: 2, at")
    assert '- state: "calm' not in detail(small(), 2)
    assert '- state: "agitated, agitated"' in detail(small(missing="locf"), 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("missing", ["nan", "omit", "delta", "locf_marked"])
def test_a_reader_recovers_every_measured_value_and_no_other(make, split, tjh, layout, missing):
    renderer = make(layout=layout, missing=missing)
    names = {feature.display_name: i for i, feature in enumerate(tjh.features)}
    for row in split["test"][::12]:
        text = detail(renderer, row)
        cells = read(text, layout)
        found = {
            (names[name], visit - 1): float(value)
            for (name, visit), value in cells.items()
            if value != "nan" and not value.endswith("**")
        }
        n = tjh.length[row]
        step, feature = np.nonzero(tjh.observed[row, :n])
        assert set(found) == set(zip(feature.tolist(), step.tolist(), strict=True))
        for (f, s), value in found.items():
            exact = float(tjh.values[row, s, f])
            assert value == pytest.approx(exact, rel=5.1e-4)
        sex, age = re.search(r"Sex: (\w+)\. Age: (\d+) years", text).groups()
        assert (sex == "male", float(age)) == (bool(tjh.static[row, 0]), tjh.static[row, 1])
        days = [24 * float(day) for day in re.findall(r"day ([\d.]+)", text.split("Visits:")[1].split("\n")[0])]
        assert days == tjh.time[row, :n].tolist()


def test_without_its_marks_locf_marked_is_locf(make, split, tjh):
    marked, plain = make(missing="locf_marked"), make(missing="locf")
    for row in split["test"][:20]:
        text = detail(marked, row)
        assert text.replace("**", "") == detail(plain, row)
        observed = tjh.observed[row, : tjh.length[row]]
        assert text.count("**") == (np.maximum.accumulate(observed, 0) & ~observed).sum()


@pytest.mark.parametrize("missing", MISSING)
def test_layouts_show_the_same_values(make, split, missing):
    for row in split["test"][:5]:
        cells = [read(detail(make(layout=layout, missing=missing), row), layout) for layout in LAYOUTS]
        assert cells[0] == cells[1] == cells[2]


@pytest.mark.parametrize("window", ["full", "first", "first24h", "last_before"])
@pytest.mark.parametrize("missing", MISSING)
def test_what_must_not_be_known_changes_no_byte(make, split, tjh, window, missing):
    """Ids, order, labels, end of stay and all records after the anchor are replaced; the prompts are compared."""
    rng = np.random.default_rng(0)
    rows = split["test"][:40]
    before = make(window=window, missing=missing)
    cases = {case.row: case for case in before.cases(rows)}
    values, length = tjh.values.copy(), tjh.length.copy()
    if window != "last_before":  # whose anchor is defined by the last record
        for row, case in cases.items():
            later = slice(case.end + 1, tjh.length[row])
            values[row, later] = rng.lognormal(3, 2, values[row, later].shape)
    labels = {
        "mortality": 1 - tjh.labels["mortality"],
        "los_days": np.where(np.isnan(tjh.labels["los_days"]), np.nan, tjh.labels["los_days"] + 17),
    }
    changed = dataclasses.replace(
        tjh, values=values, length=length, labels=labels, record_id=rng.permutation(100_000)[: len(tjh)],
        subject_id=rng.permutation(100_000)[: len(tjh)],
    )  # fmt: skip
    after = make(changed, window=window, missing=missing)
    expected = [prompt.user for prompt in before.prompts(before.cases(rows))]
    assert [prompt.user for prompt in after.prompts(after.cases(rows))] == expected
    backwards = [prompt.user for prompt in after.prompts(after.cases(rows[::-1]))]
    assert backwards[::-1] == expected


def test_each_causal_prompt_knows_only_its_past(make, split, tjh):
    row = int(split["test"][np.argmax(tjh.length[split["test"]])])
    renderer = make(task="los_causal")
    cases = renderer.cases([row])
    assert len(cases) == tjh.length[row]
    for case in cases[:-1]:
        values = tjh.values.copy()
        values[row, case.end + 1 :] = np.where(np.isnan(values[row, case.end + 1 :]), np.nan, 77)
        other = make(dataclasses.replace(tjh, values=values), task="los_causal")
        assert other.prompt(case) == renderer.prompt(case)


def test_editing_test_patients_changes_no_median(make, split, tjh):
    values = tjh.values.copy()
    values[split["test"]] *= 3
    changed = make(dataclasses.replace(tjh, values=values))
    assert np.array_equal(changed.median, make().median)
    names = [feature.name for feature in tjh.features]
    medians = dict(zip(names, make().median, strict=True))
    assert medians["Lactate dehydrogenase"] == 339
    assert medians["albumin"] == pytest.approx(31.65, abs=1e-4)
    assert medians["PH value"] == pytest.approx(6.5)


def test_the_panel_s_order_does_not_matter(make, tjh, split):
    panel = load_panel("tjh", tjh)
    turned = panel.model_copy(update={"features": panel.features[::-1]})
    one, other = make(units=True, ranges="corrected"), make(units=True, ranges="corrected")
    other = type(other)(tjh, turned, other.config, split["train"])
    case = one.cases(split["test"][:1])[0]
    assert one.prompt(case) == other.prompt(case)
    assert panel.hash == turned.hash


@pytest.mark.parametrize("rule", ["random", "balanced", "nearest"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "text"])
def test_examples_are_training_patients_in_the_same_layout(make, split, tjh, rule, layout):
    renderer = make(shots=4, examples=rule, layout=layout, window="first", soft_labels=(0.1, 0.9))
    row = int(split["test"][0])
    chosen = choose_examples(renderer, row)
    assert len(set(chosen)) == 4
    assert set(chosen) <= set(split["train"].tolist())
    if rule == "balanced":
        assert tjh.labels["mortality"][chosen].tolist() == [0, 1, 0, 1]
    show_examples(renderer)
    assert [one.row for one in renderer.examples_for(row)] == chosen
    text = renderer.prompt(renderer.cases([row])[0]).user
    assert re.findall(r"RESPONSE:\n(.+)", text) == [
        "0.9" if died else "0.1" for died in tjh.labels["mortality"][chosen]
    ]
    bare = make(layout=layout, window="first")
    for example in chosen:
        assert detail(bare, example) in text


def test_the_nearest_patient_is_the_nearest(make, split, tjh):
    values = tjh.values.copy()
    static = tjh.static.copy()
    row, twin = int(split["test"][3]), int(split["train"][50])
    values[twin, 0], static[twin] = values[row, 0], static[row]
    renderer = make(dataclasses.replace(tjh, values=values, static=static), shots=1, examples="nearest")
    assert choose_examples(renderer, row) == [twin]


def test_examples_from_elsewhere_and_too_many_are_refused(make, split):
    with pytest.raises(InputError, match="no training stay"):
        make_example(make(), int(split["test"][0]))
    with pytest.raises(InputError, match="109 examples"):
        choose_examples(make(shots=109))
    with pytest.raises(InputError, match="balanced"):
        choose_examples(make(shots=3, examples="balanced"))


def test_lists_multitask_reasoning_and_json(small, make):
    renderer = small(task="los", train=(2,), shots=1)
    show_examples(renderer)
    [case] = renderer.cases([0])
    prompt = renderer.prompt(case)
    assert prompt.numbers == 3
    assert "RESPONSE:\n2, 1\n" in prompt.user
    assert prompt.user.endswith(
        "Reply with 3 numbers, each a number of days from 0 up, one for each visit, separated by commas, and nothing "
        "else: no words, no unit.\nRESPONSE:"
    )
    marked = small(reasoning=True)
    assert 'starts with "FINAL ANSWER:"' in marked.prompt(marked.cases([0])[0]).user
    as_json = small(reply="json", reasoning=True)
    assert '"reasoning" (text) and "answer"' in as_json.prompt(as_json.cases([0])[0]).user
    assert "I do not know" not in small(abstain=False).prompt(case).user


@pytest.mark.parametrize("abstain", [True, False])
@pytest.mark.parametrize("reasoning", [True, False])
def test_json_is_asked_for_in_one_way_only(small, abstain, reasoning):
    """Words, schema and examples agree on the keys, and on whether and how the model may abstain."""
    import json

    from auscult.ehr_prompt.tasks import answer_schema

    renderer = small(reply="json", reasoning=reasoning, abstain=abstain, shots=1)
    show_examples(renderer)
    user = renderer.prompt(renderer.cases([0])[0]).user
    assert ("null" in user) is abstain
    assert "I do not know" not in user
    schema = answer_schema(1, reasoning=reasoning, abstain=abstain)
    assert ("null" in json.dumps(schema)) is abstain
    [example] = re.findall(r"RESPONSE:\n(.+)", user)
    assert list(json.loads(example)) == schema["required"] == (["reasoning"] if reasoning else []) + ["answer"]


@pytest.mark.parametrize(("task", "horizon", "label"), [
    ("outcome", "1month", "mortality_1month"), ("outcome", "6months", "mortality_6months"),
    ("readmission", "discharge", "readmission"), ("multitask", "discharge", "readmission"),
])  # fmt: skip
def test_a_question_without_its_own_label_is_refused(tjh, task, horizon, label):
    from auscult.ehr_prompt.tasks import make_task, read_labels

    with pytest.raises(InputError, match=f"'{label}'"):
        read_labels(tjh, make_task(task, horizon))


@given(
    st.floats(2**-10, 2**17, width=32),
    st.lists(st.sampled_from([0.05, 1, 3.5, 5, 14, 17, 18, 140, 280, 1000]), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_no_value_is_moved_across_a_bound(value, bounds):
    text = format_number(value, bounds)
    exact, shown = float(str(np.float32(value))), float(text)
    assert format_numbers([value, float("nan")], bounds) == [text, "nan"]
    assert [(shown > b) - (shown < b) for b in bounds] == [(exact > b) - (exact < b) for b in bounds]
    assert shown == pytest.approx(exact, rel=5.1e-4)
    assert "e" not in text


@pytest.mark.parametrize("missing", ["median_locf", "locf_marked"])
def test_what_was_written_before_changes_no_text(make, split, monkeypatch, missing):
    """Together, one after the other, and with a memory that is emptied again and again."""
    cases = make().cases(split["test"][:60])
    together = list(make(missing=missing).prompts(cases))
    renderer = make(missing=missing)
    assert [renderer.prompt(case) for case in cases[::-1]] == together[::-1]
    assert len(renderer._cells._codes) > 2000
    monkeypatch.setattr(cells, "_REMEMBERED", 400)
    renderer = make(missing=missing)
    assert [renderer.prompt(case) for case in cases] == together
    assert len(renderer._cells._codes) < 2000


def test_a_changed_byte_of_a_template_changes_the_hash(monkeypatch):
    before = wording.template_hash()
    sources = wording._sources()
    for name in sources:
        changed = sources | {name: sources[name] + " "}
        monkeypatch.setattr(wording, "_sources", lambda changed=changed: changed)
        assert wording.template_hash.__wrapped__() != before
    assert len(sources) == 4


def test_a_template_with_a_slot_that_nobody_fills_is_an_error():
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        wording.render("tail")
