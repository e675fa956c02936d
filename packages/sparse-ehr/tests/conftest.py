"""Small data that several tests learn from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auscult.core.data import Cohort, Feature

FEATURES = (
    Feature("lactate", unit="mmol/L"),
    Feature("rhythm", kind="categorical", levels=("sinus", "other")),
    Feature("heart rate", unit="/min"),
)
SEX_AND_AGE = (Feature("sex", kind="categorical", levels=("female", "male")), Feature("age", unit="years"))
SMALL = {
    "channel": 3,
    "hidden": 4,
    "n_prototypes": 3,
    "max_epochs": 2,
    "batch_size": 32,
    "device": "cpu",
    "step_hours": 1,
    "n_members": 1,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small arrays only lose by threads, and a busy machine makes that much worse."""
    torch.set_num_threads(1)


def make_array(count=60, steps=6, features=3, seed=0):
    """Return X [N, T, F] with gaps, static [N, 2] and labels, which all variables know of."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 3 == 0).astype(int)
    X = rng.normal(size=(count, steps, features)) + y[:, None, None]
    X[rng.random(X.shape) < 0.5] = np.nan
    static = np.column_stack([rng.integers(0, 2, count), rng.normal(60, 10, count)])
    return X, static, y


def make_cohort(count=60, steps=5, seed=0, persons=None):
    """Return a cohort of irregular steps within 48 hours, of which every label is known."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 3 == 0).astype(int)
    time = np.sort(rng.uniform(0, 47, (count, steps)), axis=1) + np.arange(steps) * 0.01
    values = np.dstack(
        [
            rng.normal(2, 1, (count, steps)) + y[:, None],
            rng.integers(0, 2, (count, steps)),
            rng.normal(80, 9, (count, steps)),
        ]
    )
    values[rng.random(values.shape) < 0.3] = np.nan
    return Cohort(
        record_id=np.arange(count) + 100, subject_id=np.arange(count) if persons is None else persons, time=time,
        values=values, length=np.full(count, steps), features=FEATURES, static_features=SEX_AND_AGE,
        static=np.column_stack([rng.integers(0, 2, count), rng.normal(60, 10, count)]), labels={"mortality": y},
    )  # fmt: skip


@pytest.fixture(scope="session")
def made():
    """Return what makes data: ``array`` and ``cohort``; and ``small``, the options of a model that is quick to fit."""
    return SimpleNamespace(array=make_array, cohort=make_cohort, small=SMALL)
