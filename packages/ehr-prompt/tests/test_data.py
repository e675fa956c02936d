"""Every kind of data that the core reads becomes prompts: bins, panels, empty windows."""

import numpy as np
import pytest

from auscult.core.data import load_cohort, lookalike
from auscult.ehr_prompt import PromptConfig, Renderer, RunConfig, load_panel, prepare
from auscult.ehr_prompt.windows import coarsen


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "mimic4"
    lookalike.write_mimic4(folder, n_patients=60, seed=3)
    return f"mimic4:{folder}"


def test_intensive_care_in_bins_of_twelve_hours(mimic):
    prompt = PromptConfig(window="first48h", missing="locf", units=True, ranges="paper", task="multitask")
    config = RunConfig(data=mimic, bins="12h", prompt=prompt, backend="local", model="m")
    prepared = prepare(config)
    assert prepared.renderer.panel.name == "mimic4"
    cases = prepared.renderer.cases(prepared.parts["test"])
    assert cases
    for prompt in prepared.renderer.prompts(cases):
        moments = prompt.user.split(", at ")[1].split(".\n")[0].split(", ")
        assert set(moments) <= {"hour 0", "hour 12", "hour 24", "hour 36"}
        assert "Estimate two probabilities, in this order" in prompt.user
        assert prompt.numbers == 2
        # A state is the last one of its bin, never an average of codes.
        assert "capillary refill" in prompt.user


def test_numbers_are_averaged_in_bins_and_states_are_not(small):
    cohort = small().cohort
    binned = coarsen(cohort, "12h")
    row = 2  # two steps, at 0 and 6 hours
    assert binned.length[row] == 1
    assert binned.values[row, 0].tolist() == [150, 3, 1]
    days = coarsen(cohort, "days")
    assert days.length.tolist() == [3, 1, 1]
    assert days.values[row, 0].tolist() == [200, 3, 1]
    assert coarsen(cohort, "none") is cohort


def test_days_before_the_last_seven_become_one(tjh):
    days = coarsen(tjh, "days")
    assert days.length.max() == 8
    row = int(np.argmax(tjh.length))
    assert days.time[row, 1:8].tolist() == tjh.time[row, tjh.length[row] - 7 : tjh.length[row]].tolist()


@pytest.mark.parametrize("name", ["mimic3", "eicu", "cdsl"])
def test_other_data_sets_take_their_own_names_and_units(tmp_path, name):
    folder = tmp_path / name
    getattr(lookalike, f"write_{name}")(folder, n_patients=25, seed=1)
    cohort = load_cohort(f"{name}:{folder}")
    rows = np.flatnonzero(cohort.length > 0)
    for layout in ("string", "text", "batches"):
        config = PromptConfig(layout=layout, missing="omit", units=True, ranges="corrected", window="first24h")
        renderer = Renderer(cohort, load_panel(None, cohort), config, rows)
        prompts = list(renderer.prompts(renderer.cases(rows)))
        assert len(prompts) == len(rows)
        assert all("Visits: " in prompt.user for prompt in prompts)


def test_a_window_in_which_nothing_of_the_panel_was_measured_says_so(small):
    renderer = small(missing="omit", window="first")
    cohort = renderer.cohort
    import dataclasses

    empty = renderer.on(dataclasses.replace(cohort, values=np.full_like(cohort.values, np.nan)))
    assert "None of the variables was measured." in empty.prompt(empty.cases([0])[0]).user
