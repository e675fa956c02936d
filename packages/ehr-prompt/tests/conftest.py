import numpy as np
import pytest

from auscult.core.data import Cohort, Feature, load_cohort, split_subjects
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.panel import Panel, PanelFeature, load_panel
from auscult.ehr_prompt.rendering import Renderer


@pytest.fixture(scope="session")
def tjh():
    return load_cohort("tjh")


@pytest.fixture(scope="session")
def split(tjh):
    shares = {"train": 0.3, "validation": 0.1, "test": 0.6}
    split = split_subjects(tjh.subject_id, stratify=tjh.labels["mortality"], fractions=shares, seed=42)
    return split.index(tjh.subject_id)


@pytest.fixture(scope="session")
def make(tjh, split):
    """Return a function that makes a renderer of the TJH cohort, or of a changed copy, with some settings."""

    def make(cohort=None, **settings):
        cohort = cohort or tjh
        return Renderer(cohort, load_panel(None, tjh), PromptConfig(**settings), split["train"])

    return make


@pytest.fixture
def small():
    """Return three tiny stays, and a renderer of them with settings."""
    nan = np.nan
    cohort = Cohort(
        record_id=["a", "b", "c"],
        subject_id=[1, 2, 3],
        time=[[0, 24, 72], [12, nan, nan], [0, 6, nan]],
        values=[
            [[250, nan, nan], [nan, 3.25, nan], [301.5, nan, nan]],
            [[nan, 4.0, nan], [nan] * 3, [nan] * 3],
            [[100, 3.0, 1], [200, nan, nan], [nan] * 3],
        ],
        length=[3, 1, 2],
        features=(Feature("LDH "), Feature("K"), Feature("state", kind="categorical", levels=("calm", "agitated"))),
        static=[[1, 52], [0, 61.4], [np.nan, np.nan]],
        static_features=(Feature("sex", kind="categorical", levels=("female", "male")), Feature("age")),
        labels={"mortality": [1, 0, 0], "los_days": [[9, 8, 6], [3, nan, nan], [2, 1, nan]]},
        anchor=np.array(["2020-02-01", "2020-02-02", "2020-02-03"], "datetime64[us]"),
    )
    panel = Panel(
        name="small",
        persona="You are a physician.",
        features=(
            PanelFeature(name="K", unit="mmol/L", range="3.5 - 5.0"),
            PanelFeature(name="LDH ", unit="U/L", range="< 250"),
            PanelFeature(name="state"),
        ),
    )

    def make(train=(2,), **settings):
        return Renderer(cohort, panel, PromptConfig(**settings), list(train))

    return make
