import numpy as np
import pytest

from auscult.core.errors import InputError
from auscult.ehr_prompt.backends.reference_range import ReferenceRangeBackend
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.panel import Panel, load_panel, parse_range
from auscult.ehr_prompt.rendering import Renderer
from auscult.ehr_prompt.windows import Case


def test_the_bundled_panel_names_every_column_of_the_data(tjh):
    panel = load_panel(None, tjh)
    assert panel.name == "tjh"
    assert {feature.name for feature in panel.features} == {feature.name for feature in tjh.features}
    assert len(panel.features) == 73
    assert len(load_panel("mimic4", tjh).features) == 17


def test_corrected_ranges_differ_where_the_data_contradict_the_paper_s(tjh):
    panel = load_panel("tjh", tjh)
    sets = {name: panel.describe(tjh, name) for name in ("paper", "corrected", "none")}
    changed = [sets["paper"][i].name for i in sets["paper"] if sets["paper"][i][2:4] != sets["corrected"][i][2:4]]
    assert changed == [
        "Prothrombin time", "Interleukin 2 receptor", "albumin", "basophil(%)", "PH value",
        "High sensitivity C-reactive protein", "thrombocytocrit",
    ]  # fmt: skip
    albumin = tjh.feature_index("albumin")
    values = tjh.values[..., albumin][tjh.observed[..., albumin]]

    def inside(name):
        [bounds] = sets[name][albumin].ranges
        return np.mean((values >= bounds.low) & (values <= bounds.high))

    assert inside("paper") == 0
    assert inside("corrected") > 0.2
    assert {one.range for one in sets["none"].values()} == {None}
    assert sets["none"][albumin].unit == "g/L"


def test_ranges_are_two_sided_one_sided_and_by_sex():
    assert [(r.low, r.high, r.sex) for r in parse_range("3.5 - 5.0")] == [(3.5, 5.0, None)]
    assert [(r.low, r.high) for r in parse_range("-2 - 3")] == [(-2, 3)]
    assert [(r.low, r.high) for r in parse_range("-3--2")] == [(-3, -2)]
    assert [(r.low, r.high, r.sex) for r in parse_range("> 90")] == [(90, None, None)]
    assert [(r.high, r.sex) for r in parse_range("< 15 (M), < 20(F)")] == [(15, "male"), (20, "female")]
    assert parse_range(None) == ()


@pytest.mark.parametrize("text", ["5", "a - b", "5 - 3", "< 1, < 2", "1 - 2 (X)", "", "< 1 (M), < 2 (M)"])
def test_a_range_that_is_none_is_refused(tmp_path, tjh, text):
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\npersona: P\nfeatures:\n- {{name: albumin, range: '{text}'}}\n")
    with pytest.raises(InputError):
        load_panel(file, tjh)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("name: x\npersona: P\nfeatures:\n- {name: albumin}\n- {name: albumin}\n", "twice"),
        ("name: x\npersona: P\nfeatures: []\n", "no feature"),
        ("name: x\npersona: P\nfeatures:\n- {name: albumin, untit: g/L}\n", "unit"),
        ("name: x\npersona: P\nfetures: []\n", "features"),
    ],
)
def test_a_wrong_panel_is_one_sentence(tmp_path, tjh, content, word):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=word):
        load_panel(str(file), tjh)


def test_a_variable_that_the_data_lack_names_the_nearest(tjh):
    panel = Panel(name="x", persona="P", features=({"name": "albumine"},))
    with pytest.raises(InputError, match="nearest column is 'albumin'"):
        panel.describe(tjh, "none")
    with pytest.raises(InputError, match="no panel 'tjhh'"):
        load_panel("tjhh", tjh)


def _own(folder, column, words):
    """Return a cohort of two women and two men with a haemoglobin of 150 each, in a table's words for sex."""
    from auscult.core.data import load_cohort

    (folder / "labs.csv").write_text("subject,time,code,value\n" + "".join(f"{who},0,Hb,150\n" for who in range(4)))
    (folder / "static.csv").write_text(f"subject,{column}\n" + "".join(f"{who},{words[who % 2]}\n" for who in range(4)))
    return load_cohort(f"table:{folder}/labs.csv", static=str(folder / "static.csv"))


BY_SEX = Panel.model_validate(
    {"name": "p", "persona": "P", "features": [{"name": "Hb", "range": "140 - 180 (M), 75 - 100 (F)"}]}
)


@pytest.mark.parametrize("words", [("female", "male"), ("F", "M"), ("f", "m"), ("Female", "MALE")])
def test_ranges_by_sex_hold_whatever_word_a_table_has_for_it(tmp_path, words):
    cohort = _own(tmp_path, "sex", words)
    backend = ReferenceRangeBackend(cohort, BY_SEX, "none")
    scores = [backend.score(Case(row, 0, 0)) for row in np.argsort(cohort.record_id)]
    assert scores == pytest.approx([np.log2(1.5), 0] * 2)
    renderer = Renderer(cohort, BY_SEX, PromptConfig(ranges="paper"), [0])
    texts = [renderer.prompt(Case(row, 0, 0)).user for row in np.argsort(cohort.record_id)]
    assert ["Sex: female." in text for text in texts] == [True, False] * 2
    assert ["Sex: male." in text for text in texts] == [False, True] * 2


@pytest.mark.parametrize(
    ("column", "words", "said"),
    [("sex", (0, 1), "holds numbers"), ("sex", ("woman", "man"), "'man'"), ("gender", ("F", "M"), "no static column")],
)
def test_ranges_by_sex_need_a_sex_that_is_understood(tmp_path, column, words, said):
    cohort = _own(tmp_path, column, words)
    with pytest.raises(InputError, match=f"'Hb' has a reference range for each sex, .*{said}"):
        ReferenceRangeBackend(cohort, BY_SEX, "none")
    for ranges in ("none", "paper") if column == "gender" else ("none",):
        Renderer(cohort, BY_SEX, PromptConfig(ranges=ranges), [0])
    if column == "sex":
        with pytest.raises(InputError, match=said):
            Renderer(cohort, BY_SEX, PromptConfig(ranges="paper"), [0])


@pytest.mark.parametrize("name", ["albumine", "ALBUMINE"])
def test_the_nearest_column_is_found_whatever_the_case(tjh, name):
    panel = Panel.model_validate({"name": "p", "persona": "P", "features": [{"name": name}]})
    with pytest.raises(InputError, match="nearest column is 'albumin'"):
        panel.describe(tjh, "none")
