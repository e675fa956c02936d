import numpy as np
import pytest

from auscult.core.errors import InputError
from auscult.sparse_ehr.summaries import SUMMARIES, summarize, summary_names


def test_against_a_loop():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((5, 9, 4)) < 0.6, np.nan, rng.normal(size=(5, 9, 4)))
    values[0] = np.nan
    found = summarize(values).reshape(5, 4, 7)
    for stay in range(5):
        for variable in range(4):
            known = [value for value in values[stay, :, variable].tolist() if value == value]
            expected = [np.nan] * 6 + [0.0]
            if known:
                mean = sum(known) / len(known)
                deviation = (sum((value - mean) ** 2 for value in known) / len(known)) ** 0.5
                expected = [known[0], known[-1], mean, min(known), max(known), deviation, len(known)]
            np.testing.assert_allclose(found[stay, variable], expected, rtol=1e-6, atol=1e-7)


def test_stays_are_independent_and_padding_changes_nothing():
    rng = np.random.default_rng(1)
    values = np.where(rng.random((1030, 4, 2)) < 0.5, np.nan, rng.normal(size=(1030, 4, 2))).astype(np.float32)
    padded = np.concatenate([values, np.full((1030, 3, 2), np.nan, np.float32)], axis=1)
    np.testing.assert_array_equal(summarize(padded), summarize(values))
    np.testing.assert_array_equal(summarize(values)[1024:], summarize(values[1024:]))


def test_a_large_mean_does_not_swallow_the_spread():
    assert summarize([[[100_000.0], [100_001.0]]])[0, 5] == 0.5


def test_no_step_and_no_stay():
    empty = summarize(np.empty((2, 0, 1)))
    assert empty[:, 6].tolist() == [0, 0]
    assert np.isnan(empty[:, :6]).all()
    assert summarize(np.empty((0, 3, 2))).shape == (0, 14)


def test_names_follow_the_columns():
    assert summary_names(["HR", "K"])[len(SUMMARIES)] == "K first"


def test_another_shape_is_refused():
    with pytest.raises(InputError, match="2 dimensions"):
        summarize(np.zeros((3, 4)))
