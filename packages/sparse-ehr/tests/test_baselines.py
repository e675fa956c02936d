import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.core.errors import InputError
from auscult.sparse_ehr.baselines import LightGBMBaseline, LogisticBaseline

BOTH = [LightGBMBaseline(n_jobs=1, max_rounds=200), LogisticBaseline()]


def make_stays(count=300, seed=0):
    """Return X with a risk in the level of the first variable, y and static values."""
    rng = np.random.default_rng(seed)
    y = (rng.random(count) < 0.3).astype(np.int64)
    values = rng.normal(size=(count, 6, 3))
    values[:, :, 0] += 1.5 * y[:, None]
    values[rng.random(values.shape) < 0.5] = np.nan
    return values, y, rng.normal(size=(count, 2))


def to_cohort(values, y, static, names=("HR", "K", "Na")):
    stays, steps, _ = values.shape
    return Cohort(
        record_id=np.arange(stays), subject_id=np.arange(stays) // 2, time=np.tile(np.arange(steps), (stays, 1)),
        values=values, length=np.full(stays, steps), features=tuple(map(Feature, names)), static=static,
        static_features=(Feature("age"), Feature("height")), labels={"mortality": y},
    )  # fmt: skip


@pytest.mark.parametrize("model", BOTH)
def test_learns_and_agrees_over_cohort_and_array(model):
    values, y, static = make_stays(800)
    cohort = to_cohort(values, y, static)
    groups = cohort.subject_id
    fitted = clone(model).fit(values, y, static=static, groups=groups)
    risk = fitted.predict_proba(values, static=static)
    new, new_y, new_static = make_stays(seed=1)
    assert roc_auc_score(new_y, fitted.predict_proba(new, static=new_static)[:, 1]) > 0.85
    np.testing.assert_allclose(risk.sum(1), 1)
    np.testing.assert_array_equal(fitted.predict(values, static=static), risk[:, 1] > 0.5)
    by_cohort = clone(model).fit(cohort, y).predict_proba(cohort)
    np.testing.assert_allclose(by_cohort, risk, atol=1e-6)
    alone = fitted.predict_proba(values[7:8], static=static[7:8])
    np.testing.assert_allclose(alone, risk[7:8], rtol=1e-12)
    assert fitted.predict_proba(values[:0], static=static[:0]).shape == (0, 2)


def test_classes_may_have_any_names():
    values, y, _ = make_stays()
    fitted = LogisticBaseline().fit(values, np.array(["alive", "dead"])[y])
    assert fitted.classes_.tolist() == ["alive", "dead"]
    assert set(fitted.predict(values)) == {"alive", "dead"}


def test_stops_early_on_the_validation_part():
    values, y, _ = make_stays()
    validation = make_stays(seed=2)[:2]
    fitted = LightGBMBaseline(n_jobs=1, patience=20).fit(values, y, validation=validation)
    assert 0 < fitted.best_iteration_ < 1000
    shuffled = LightGBMBaseline(n_jobs=1, patience=20).fit(values, y, validation=(validation[0], validation[1][::-1]))
    assert shuffled.best_iteration_ != fitted.best_iteration_


def test_a_saved_model_is_equal_to_the_last_bit_and_lightgbm_reads_it(tmp_path):
    import lightgbm

    values, y, static = make_stays()
    cohort = to_cohort(values, y, static, names=("heart rate [/min]", "K", "K:Na"))
    fitted = LightGBMBaseline(n_jobs=1, max_rounds=100).fit(cohort, y)
    fitted.save(tmp_path / "trees.txt")
    loaded = LightGBMBaseline.load(tmp_path / "trees.txt")
    np.testing.assert_array_equal(loaded.predict_proba(cohort), fitted.predict_proba(cohort))
    assert (loaded.n_features_in_, loaded.n_static_in_) == (3, 2)
    assert lightgbm.Booster(model_file=str(tmp_path / "trees.txt")).num_trees() == fitted.best_iteration_
    with pytest.raises(InputError, match="keep the order"):
        loaded.predict_proba(to_cohort(values, y, static, names=("K", "heart rate [/min]", "K:Na")))


def test_what_is_no_model_is_refused(tmp_path):
    values, y, _ = make_stays()
    fitted = LightGBMBaseline(n_jobs=1, max_rounds=20).fit(values, y)
    fitted.save(tmp_path / "trees.txt")
    text = (tmp_path / "trees.txt").read_text("utf-8")
    for damaged in (text[: len(text) // 2], "", "tree\n"):
        (tmp_path / "damaged.txt").write_text(damaged, "utf-8")
        with pytest.raises(InputError, match=r"damaged\.txt is no complete model"):
            LightGBMBaseline.load(tmp_path / "damaged.txt")
    with pytest.raises(InputError, match="cannot be read"):
        LightGBMBaseline.load(tmp_path / "absent.txt")
    (tmp_path / "other.txt").write_text(text.replace("x0_count", "x0_total"), "utf-8")
    with pytest.raises(InputError, match="which are no summaries"):
        LightGBMBaseline.load(tmp_path / "other.txt")
    named = LightGBMBaseline(n_jobs=1, max_rounds=20).fit(values, np.array(["alive", "dead"])[y])
    with pytest.raises(InputError, match="fit on 0 and 1"):
        named.save(tmp_path / "named.txt")


@pytest.mark.parametrize("model", BOTH)
def test_sparse_extremes(model):
    values, y, _ = make_stays()
    values[0] = np.nan
    values[1, 1:] = np.nan
    values[:, :, 2] = np.nan
    values[:, :, 1] = 3.0
    assert np.isfinite(clone(model).fit(values, y).predict_proba(values)).all()


@pytest.mark.parametrize("model", BOTH)
def test_bad_input_is_one_sentence(model):
    values, y, static = make_stays(40)
    with pytest.raises(NotFittedError):
        clone(model).predict_proba(values)
    for labels, message in ((y[:5], "shape"), (np.where(y, np.nan, 0.0), "NaN"), (0 * y, "1 classes")):
        with pytest.raises(InputError, match=message):
            clone(model).fit(values, labels)
    with pytest.raises(InputError, match="infinite"):
        clone(model).fit(np.where(np.isnan(values), np.inf, values), y)
    with pytest.raises(InputError, match="leave static out"):
        clone(model).fit(to_cohort(values, y, static), y, static=static)
    with pytest.raises(InputError, match="do not fit"):
        clone(model).fit(values, y, static=static[:3])
    fitted = clone(model).fit(values, y, static=static)
    with pytest.raises(InputError, match="fitted with 3 and 2"):
        fitted.predict_proba(values)


def test_a_validation_part_of_another_width_is_refused():
    values, y, _ = make_stays(60)
    with pytest.raises(InputError, match="validation part has 2 variables"):
        LightGBMBaseline().fit(values, y, validation=(values[..., :2], y))
