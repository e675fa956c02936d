import numpy as np
import pytest

from auscult.core.errors import InputError
from auscult.ehr_prompt import load_panel
from auscult.ehr_prompt.examples import show_examples


@pytest.mark.parametrize("layout", ["string", "list", "batches", "text"])
def test_examples_by_hand_are_the_panel_s_in_the_layout_of_the_prompt(make, split, layout):
    renderer = make(shots=3, examples="hand", layout=layout)
    show_examples(renderer)
    shown = renderer.examples_for(0)
    assert [example.row for example in shown] == [None] * 3
    assert [example.answer for example in shown] == ["0.1", "0.9", "0.35"]
    text = shown[0].patient
    assert text.startswith("Sex: male. Age: 47 years.\nVisits: 3, at day 0, day 2, day 5.")
    assert text.endswith("...")
    assert {
        "string": '- Lactate dehydrogenase: "251, 233, 198"',
        "list": "- Lactate dehydrogenase: [251, 233, 198]",
        "batches": "Visit 3 (day 5):\n- albumin: 39.2",
        "text": "Lactate dehydrogenase has 3 values: 251, 233, 198.",
    }[layout] in text
    assert shown[0].patient in renderer.prompt(renderer.cases(split["test"][:1])[0]).user


def test_days_by_hand_follow_the_window(make):
    for task, window, answer in (("los", "full", "11, 9, 6"), ("los", "first", "11"), ("los_causal", "full", "6")):
        renderer = make(shots=1, examples="hand", task=task, window=window)
        show_examples(renderer)
        assert renderer.examples_for(0)[0].answer == answer


def test_dates_of_an_example_by_hand_are_nobody_s(make, tjh):
    renderer = make(shots=1, examples="hand", times="dates")
    show_examples(renderer)
    assert "at 2020-01-01, 2020-01-03, 2020-01-06." in renderer.examples_for(0)[0].patient


@pytest.mark.parametrize("layout", ["string", "batches"])
def test_an_example_may_show_some_variables_and_an_ellipsis(make, layout):
    renderer = make(shots=2, example_variables=3, layout=layout, window="first")
    show_examples(renderer)
    for example in renderer.examples_for(0):
        lines = [line for line in example.patient.splitlines() if line.startswith("- ")]
        assert len(lines) <= 3
        assert example.patient.splitlines()[-1] == "..."


def test_examples_with_words_for_answers(make, tjh):
    for reply, answers in (("yes_no", {"Yes", "No"}), ("digit", {"0", "9"})):
        renderer = make(shots=4, examples="balanced", reply=reply, window="first")
        show_examples(renderer)
        assert {example.answer for example in renderer.examples_for(0)} == answers


def test_each_patient_has_the_examples_nearest_to_it(make, split):
    renderer = make(shots=2, examples="nearest", window="first")
    show_examples(renderer)
    cases = renderer.cases(split["test"][:12])
    together = list(renderer.prompts(cases))
    assert [renderer.prompt(case) for case in cases] == together
    chosen = {tuple(example.row for example in renderer.examples_for(case.row)) for case in cases}
    assert len(chosen) > 3
    assert {row for pair in chosen for row in pair} <= set(split["train"].tolist())


@pytest.mark.parametrize(
    ("example", "word"),
    [
        ("{sex: male, age: 4, hours: [0, 1], values: {albumin: [3]}, answers: {outcome: [1]}}", "one a visit"),
        ("{sex: male, age: 4, hours: [0], values: {albumine: [3]}, answers: {outcome: [1]}}", "albumine"),
        ("{sex: other, age: 4, hours: [0], values: {albumin: [3]}, answers: {outcome: [1]}}", "sex"),
        ("{sex: male, age: 4, hours: [0], values: {albumin: [3]}, answers: {los: [1, 2]}}", "los"),
    ],
)
def test_a_wrong_example_by_hand_is_one_sentence(tmp_path, tjh, example, word):
    file = tmp_path / "panel.yaml"
    file.write_text(f"name: x\npersona: P\nfeatures: [{{name: albumin}}]\nexamples:\n- {example}\n")
    with pytest.raises(InputError, match=word):
        load_panel(file, tjh)


def test_the_classes_of_unknown_labels_are_not_drawn(make, tjh, split):
    import dataclasses

    label = tjh.labels["mortality"].astype(float)
    label[split["train"][:80]] = np.nan
    renderer = make(
        dataclasses.replace(tjh, labels={**tjh.labels, "mortality": label}), shots=6, examples="random", window="first"
    )
    show_examples(renderer)
    assert not np.isnan(label[[example.row for example in renderer.examples_for(0)]]).any()
