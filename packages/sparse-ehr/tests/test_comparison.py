import csv

import numpy as np
import pytest

from auscult.core import risk
from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.core.errors import InputError, RunMismatchError
from auscult.sparse_ehr import comparison, sweep, trials
from auscult.sparse_ehr.comparison import MEASURES, compare_models, compare_outcomes
from auscult.sparse_ehr.deletion import delete_observed
from auscult.sparse_ehr.sweep import BOTH, TEST_ONLY, ablate, sweep_missingness, to_sweep
from auscult.sparse_ehr.trials import LIGHTGBM, LOGISTIC, PRISM, STACK, Outcome, Trial, open_store, run_trials

QUICK = {"logistic": {"C": 0.1}}
PRISM_OPTIONS = {
    "n_members": 1,
    "max_epochs": 1,
    "channel": 2,
    "hidden": 4,
    "n_prototypes": 2,
    "step_hours": 12,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def cohort():
    """160 stays of 80 persons over 48 hours, whose risk is in the level of the first variable."""
    rng = np.random.default_rng(0)
    y = rng.random(160) < 0.4
    values = rng.normal(size=(160, 12, 3))
    values[..., 0] += 2.0 * y[:, None]
    values[rng.random(values.shape) < 0.4] = np.nan
    return Cohort(
        record_id=np.arange(160), subject_id=np.arange(160) // 2, time=np.tile(np.arange(12) * 4.0, (160, 1)),
        values=values, length=np.full(160, 12), features=tuple(map(Feature, ("HR", "K", "Na"))),
        static=rng.normal(size=(160, 1)), static_features=(Feature("age"),),
        labels={"mortality": np.where(np.arange(160) == 0, np.nan, y)},
    )  # fmt: skip


def make_outcome(model, split, quality, *, seed=None, count=200, deletion=0.0, test_deletion=0.0):
    """Return what a model of some quality said of test stays, of which each split has others."""
    rng = np.random.default_rng(split)
    ids = np.sort(rng.choice(400, count, replace=False))
    label = (np.random.default_rng(7).random(400) < 0.3)[ids].astype(np.int64)
    noise = np.random.default_rng(hash(model) % 1000 if seed is None else seed).normal(size=400)[ids]
    probability = 1 / (1 + np.exp(-(quality * label + noise)))
    return Outcome(model, split, deletion, test_deletion, ids, ids, label, probability, {"seconds": 1.0})


def test_on_one_split_it_is_the_core_s_comparison():
    one, other = make_outcome(PRISM, 0, 2.0, seed=1), make_outcome(LIGHTGBM, 0, 1.0, seed=2)
    found = compare_outcomes([one, other], n_boot=200)
    expected = risk.evaluate(one.label, one.probability, one.subject_id, metrics=MEASURES, n_boot=200, seed=0)
    assert {m: found.measures[PRISM][m].to_dict() for m in MEASURES} == {m: i.to_dict() for m, i in expected.items()}
    expected = risk.compare(
        one.label, one.probability, other.probability, one.subject_id, metrics=MEASURES, n_boot=200, seed=0
    )
    for measure in MEASURES:
        pair = found.differences[PRISM, LIGHTGBM][measure]
        np.testing.assert_allclose(
            (pair.value, pair.low, pair.high),
            (expected[measure].value, expected[measure].low, expected[measure].high), atol=1e-12,
        )  # fmt: skip


def test_splits_are_averaged_and_equal_models_do_not_differ():
    outcomes = [make_outcome(PRISM, split, 2.0, seed=1) for split in range(3)]
    outcomes += [make_outcome(LIGHTGBM, split, 2.0, seed=1) for split in range(3)]
    found = compare_outcomes(outcomes, n_boot=50)
    mean = np.mean([risk.auroc(o.label, o.probability) for o in outcomes[:3]])
    assert found.measures[PRISM]["auroc"].value == pytest.approx(mean)
    pair = found.differences[PRISM, LIGHTGBM]["auroc"]
    assert (pair.value, pair.low, pair.high) == (0, 0, 0)
    assert found.splits == (0, 1, 2)
    single = compare_outcomes(outcomes[:1], n_boot=50).measures[PRISM]["auroc"]
    assert found.measures[PRISM]["auroc"].high - found.measures[PRISM]["auroc"].low < single.high - single.low


def test_a_difference_is_taken_on_the_splits_that_both_have():
    outcomes = [make_outcome(PRISM, split, 2.0, seed=1) for split in range(3)] + [make_outcome("GRU-D", 1, 1.0, seed=2)]
    found = compare_outcomes(outcomes, n_boot=50)
    pair = found.differences[PRISM, "GRU-D"]["auroc"].value
    assert pair == pytest.approx(
        risk.auroc(outcomes[1].label, outcomes[1].probability) - risk.auroc(outcomes[3].label, outcomes[3].probability)
    )
    assert found.splits == (1,)


def test_other_test_stays_are_refused():
    one, other = make_outcome(PRISM, 0, 1.0, seed=1), make_outcome(LIGHTGBM, 0, 1.0, seed=1, count=150)
    with pytest.raises(InputError, match="other test stays on split 0"):
        compare_outcomes([one, other], n_boot=10)
    with pytest.raises(InputError, match="no outcome"):
        compare_outcomes([])


def test_models_are_fitted_once_and_a_stopped_run_goes_on(cohort, tmp_path, monkeypatch):
    fits = []
    fit = trials._fit_baseline

    def counting(trial, *arguments):
        fits.append((trial.model, trial.split))
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(trial, *arguments)

    monkeypatch.setitem(trials._FITS, "logistic", counting)
    options = {"models": ["logistic"], "splits": (0, 1), "options": QUICK, "n_boot": 20}
    with pytest.raises(KeyboardInterrupt):
        compare_models(cohort, tmp_path, **options)
    assert not (tmp_path / "comparison.csv").exists()
    found = compare_models(cohort, tmp_path, **options)
    assert fits == [("logistic", 0), ("logistic", 1), ("logistic", 1)]
    again = compare_models(cohort, tmp_path, **options)
    assert len(fits) == 3
    assert again.to_dict() == found.to_dict()
    assert found.measures[LOGISTIC]["auroc"].value > 0.8
    with (tmp_path / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["split"], row["n"]) for row in rows] == [(LOGISTIC, "0", "31"), (LOGISTIC, "1", "31")]
    page = (tmp_path / "comparison.html").read_text("utf-8")
    assert LOGISTIC in page
    assert "<svg" in page
    with pytest.raises(RunMismatchError):
        compare_models(cohort.select(slice(0, 100)), tmp_path, **options)
    with pytest.raises(InputError, match="no model 'catboost'"):
        compare_models(cohort, tmp_path, models=["catboost"])
    with pytest.raises(InputError, match="no label 'readmission'"):
        compare_models(cohort, tmp_path, task="readmission")


def test_prism_alone_the_trees_and_their_stack_come_from_one_fit(cohort, tmp_path):
    with open_store(cohort, tmp_path, "mortality") as store:
        trial = Trial("prism", 0, tests=(0.0, 0.5), options=PRISM_OPTIONS)
        found = run_trials(cohort, cohort.labels["mortality"], [trial], store)
    assert [(o.model, o.test_deletion) for o in found] == [
        (model, share) for share in (0.0, 0.5) for model in (STACK, PRISM, trials.BAGGED)
    ]
    persons = {int(subject) for outcome in found for subject in outcome.subject_id}
    assert len(persons) == 16  # both stays of each
    assert all(np.isfinite(o.probability).all() and len(o.label) == 31 for o in found)
    rows = ablate(
        cohort,
        tmp_path,
        ablations={"PRISM": {}, "no prototypes": {"switches": {"prototypes": False}}},
        split=0,
        options=PRISM_OPTIONS,
    )
    assert [row["model"] for row in rows] == ["PRISM", "no prototypes"]
    with open_store(cohort, tmp_path, "mortality") as store:
        assert {o.model for o in comparison.stored_outcomes(store)} == {STACK, PRISM, trials.BAGGED}


def test_deletion_takes_a_share_of_each_variable_and_more_of_it_takes_more(cohort):
    half, most = (delete_observed(cohort, share, seed=3) for share in (0.5, 0.8))
    before = cohort.observed.sum((0, 1))
    for thinned, share in ((half, 0.5), (most, 0.8)):
        assert (before - thinned.observed.sum((0, 1))).tolist() == [int(share * n) for n in before]
        kept = thinned.observed
        np.testing.assert_array_equal(thinned.values[kept], cohort.values[kept])
    assert not (most.observed & ~half.observed).any()
    np.testing.assert_array_equal(half.static, cohort.static)
    assert (delete_observed(cohort, 0.5, seed=4).observed != half.observed).any()
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match="share to delete"):
            delete_observed(cohort, share, seed=0)


def test_losses_are_paired(tmp_path):
    kinds = [(PRISM, 2.0, 1.5), (LIGHTGBM, 2.0, 0.5)]
    outcomes = []
    for model, whole, thinned in kinds:
        for split in (0, 1):
            outcomes.append(make_outcome(model, split, whole, seed=1))
            outcomes.append(make_outcome(model, split, thinned, seed=1, test_deletion=0.5))
        outcomes.append(make_outcome(model, 0, thinned, seed=1, deletion=0.5, test_deletion=0.5))
    found = to_sweep(outcomes, n_boot=50)
    at = {(p.model, p.where, p.share): p for p in found.points}
    assert at[PRISM, TEST_ONLY, 0.5].splits == (0, 1)
    assert at[PRISM, BOTH, 0.5].splits == (0,)
    whole, thinned = (
        [o for o in outcomes if o.model == PRISM and o.test_deletion == s and not o.deletion] for s in (0, 0.5)
    )
    loss = np.mean(
        [
            risk.auprc(a.label, a.probability) - risk.auprc(b.label, b.probability)
            for a, b in zip(whole, thinned, strict=True)
        ]
    )
    assert at[PRISM, TEST_ONLY, 0.5].loss.value == pytest.approx(loss)
    assert at[PRISM, TEST_ONLY, 0.0].loss.value == 0
    excess = found.excess[PRISM, LIGHTGBM, TEST_ONLY, 0.5]
    assert excess.value == pytest.approx(at[LIGHTGBM, TEST_ONLY, 0.5].loss.value - at[PRISM, TEST_ONLY, 0.5].loss.value)
    assert excess.low > 0
    axes = sweep.plot_sweep(found, TEST_ONLY)
    assert len(axes.get_lines()) >= 2
    sweep.write_report(found, tmp_path / "sweep.html", task="mortality")
    assert (tmp_path / "sweep.html").read_text("utf-8").count("on the same resampled subjects") == 2


def test_a_sweep_deletes_in_both_ways_and_uses_what_a_comparison_stored(cohort, tmp_path):
    compare_models(cohort, tmp_path, models=["logistic"], splits=(0,), options=QUICK, n_boot=10)
    with open_store(cohort, tmp_path, "mortality") as store:
        assert len(store) == 1
    found = sweep_missingness(cohort, tmp_path, models=["logistic"], splits=(0,), options=QUICK, n_boot=10)
    with open_store(cohort, tmp_path, "mortality") as store:
        assert len(store) == 3
    assert {(p.where, p.share) for p in found.points} == {
        (where, s) for where in (BOTH, TEST_ONLY) for s in (0.0, 0.5, 0.8)
    }
    assert (tmp_path / "sweep.csv").read_text("utf-8").count("\n") == 7
    assert "<svg" in (tmp_path / "sweep.html").read_text("utf-8")
    with pytest.raises(InputError, match="give 0"):
        sweep_missingness(cohort, tmp_path, shares=(0.5,))
