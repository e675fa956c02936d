"""The same rows, with and without prior weights, for us and for other tools."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(params=[0, 1, 2])
def rows(request):
    """Labels and decisions that depend on two attributes, a score and uneven weights."""
    rng = np.random.default_rng(request.param)
    n = 900
    frame = pd.DataFrame(
        {"sex": rng.integers(0, 2, n), "race": rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05]), "v": rng.gamma(2.0, 0.7, n)}
    )
    frame["y"] = (rng.random(n) < 0.25 + 0.2 * frame["sex"] + 0.08 * frame["race"]).astype(int)
    frame["score"] = np.clip(rng.normal(0.35 + 0.3 * frame["y"] + 0.1 * frame["sex"], 0.2), 0, 1)
    frame["decision"] = (frame["score"] > 0.5).astype(int)
    return frame


@pytest.fixture(params=[False, True], ids=["unit", "weighted"])
def weight(request, rows):
    """Prior weights of the rows, or None."""
    return rows["v"] if request.param else None
