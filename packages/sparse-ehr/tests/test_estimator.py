"""The estimator's contract; numbers are those of the specification's section 12."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils import get_tags

from auscult.core.data import load_cohort
from auscult.core.errors import ConfigError, InputError
from auscult.core.risk import auroc
from auscult.sparse_ehr import LightGBMBaseline, PrismClassifier, to_grid
from auscult.sparse_ehr.forward import to_tensors
from auscult.sparse_ehr.similar import Reference, find_similar

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


@pytest.fixture(scope="module")
def data(made):
    return made.array()


@pytest.fixture(scope="module")
def cohort(made):
    return made.cohort()


@pytest.fixture(scope="module")
def fitted(data):
    X, static, y = data
    return PrismClassifier(**SMALL).fit(X, y, static=static)


def test_it_learns_and_says_what_it_saw(fitted, data):
    X, static, y = data
    risk = fitted.predict_proba(X, static=static)
    np.testing.assert_allclose(risk.sum(1), 1)
    assert auroc(y, risk[:, 1]) > 0.8
    assert fitted.classes_.tolist() == [0, 1]
    assert (fitted.n_features_in_, fitted.n_steps_in_) == (3, 6)
    assert fitted.predict(X, static=static).tolist() == (risk[:, 1] > 0.5).astype(int).tolist()
    assert len(fitted.validation_["label"]) == pytest.approx(60 / 8, abs=2)
    assert [row["epoch"] for row in fitted.history_[0]] == [0, 1]


def test_parameters_are_stored_as_given_and_cloned():
    model = PrismClassifier(channel=5, switches={"similarity": "cosine"}, calibration=None)
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert again.switches is not model.switches
    assert get_tags(model).input_tags.three_d_array
    assert get_tags(model).input_tags.allow_nan
    with pytest.raises(NotFittedError, match="call fit first"):
        model.predict_proba(np.zeros((1, 2, 3)))


def test_labels_of_any_two_classes(data):
    X, static, y = data
    words = np.where(y == 1, "died", "alive")
    model = PrismClassifier(**SMALL).fit(X, words, static=static)
    assert model.classes_.tolist() == ["alive", "died"]
    assert set(model.predict(X, static=static)) <= {"alive", "died"}


def test_the_tools_of_scikit_learn_take_it(data, cohort):
    X, static, y = data
    model = PrismClassifier(**{**SMALL, "max_epochs": 1}, summary_stack=False)
    scores = cross_val_score(
        model, X, y, cv=GroupKFold(2), groups=np.arange(60) // 3, scoring="roc_auc", error_score="raise"
    )
    assert scores.shape == (2,)
    both = clone(model).set_params(window_hours=6)  # static values are split along in a cohort
    assert cross_val_score(both, to_grid(X, static), y, cv=2, error_score="raise").shape == (2,)
    search = GridSearchCV(model, {"channel": [2, 3]}, cv=2, scoring="average_precision", error_score="raise")
    search.fit(cohort, cohort.labels["mortality"])
    assert search.best_estimator_.members_[0].network.config.channel == search.best_params_["channel"]
    assert search.predict_proba(cohort).shape == (60, 2)


def test_the_same_seed_gives_the_same_model(fitted, data):
    X, static, y = data
    again = PrismClassifier(**SMALL).fit(X, y, static=static)
    assert again.predict_proba(X, static=static).tobytes() == fitted.predict_proba(X, static=static).tobytes()
    other = PrismClassifier(**SMALL, random_state=1).fit(X, y, static=static)
    assert not np.array_equal(other.predict_proba(X, static=static), again.predict_proba(X, static=static))


def test_fitting_leaves_the_global_random_stream_alone(data):
    X, static, y = data
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    PrismClassifier(**SMALL).fit(X, y, static=static)
    assert torch.equal(torch.rand(3), expected)


def test_a_stay_s_risk_is_its_own(fitted, data):
    """8: alone, in a batch, in any order; in chunks too."""
    X, static, _ = data
    together = fitted.predict_proba(X, static=static)[:, 1]
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(fitted.predict_proba(X[order], static=static[order])[:, 1], together[order], atol=1e-6)
    alone = [fitted.predict_proba(X[i : i + 1], static=static[i : i + 1])[0, 1] for i in range(5)]
    np.testing.assert_allclose(alone, together[:5], atol=1e-6)
    many = np.tile(X, (20, 1, 1)), np.tile(static, (20, 1))
    found = fitted.predict_proba(many[0], static=many[1])[:, 1]
    np.testing.assert_allclose(found, np.tile(together, 20), atol=1e-6)


def test_two_calls_and_a_pickle_agree_to_the_last_bit(fitted, data):
    """10."""
    X, static, _ = data
    expected = fitted.predict_proba(X, static=static).tobytes()
    assert fitted.predict_proba(X, static=static).tobytes() == expected
    assert pickle.loads(pickle.dumps(fitted)).predict_proba(X, static=static).tobytes() == expected


def test_stays_that_are_held_out_change_nothing_but_when_training_ends(data):
    """14: after one epoch prototypes, fill values, scales and rates are those of the training stays alone."""
    X, static, y = data
    changed = X.copy()
    changed[40:] = 1e3
    models = [
        PrismClassifier(**{**SMALL, "max_epochs": 1}).fit(
            X[:40], y[:40], static=static[:40], validation=(array[40:], y[40:], static[40:])
        )
        for array in (X, changed)
    ]
    one, two = (model.prototypes_ for model in models)
    np.testing.assert_array_equal(one.centres, two.centres)
    np.testing.assert_array_equal(one.confidence, two.confidence)
    assert models[0].members_[0].preparer.to_dict() == models[1].members_[0].preparer.to_dict()
    assert not np.array_equal(*(model.validation_["probability"] for model in models))
    assert len(models[0].validation_["label"]) == 20


def test_persons_are_on_one_side_only(made):
    persons = np.arange(60) // 4
    cohort = made.cohort(persons=persons)
    from auscult.sparse_ehr.labels import deal_folds

    for members in (1, 3):
        parts = deal_folds(persons, cohort.labels["mortality"] == 1, members, seed=0)
        assert len(parts) == members
        for rows, held in parts:
            assert not set(persons[rows]) & set(persons[held])
            assert sorted([*rows, *held]) == list(range(60))
    assert not set.intersection(*(set(held) for _, held in parts))


def test_members_are_averaged_before_they_are_combined(data):
    X, static, y = data
    model = PrismClassifier(**{**SMALL, "n_members": 2}, calibration=None).fit(X, y, static=static)
    assert len(model.members_) == 2
    grid = to_grid(X, static)
    network = np.mean([member.findings(grid).logits for member in model.members_], axis=0, dtype=np.float64)
    trees = np.mean([member.tree_log_odds(grid) for member in model.members_], axis=0)
    expected = 1 / (1 + np.exp(-model.stack_(network, trees)))
    np.testing.assert_allclose(model.predict_proba(X, static=static)[:, 1], expected, rtol=1e-9)
    # Two of five folds are held out once each.
    assert len(model.validation_["label"]) == pytest.approx(60 * 2 / 5, abs=3)


def test_the_scores_before_they_are_combined(fitted, data):
    X, static, _ = data
    network, trees = fitted.log_odds(X, static=static)
    risk = fitted.calibrator_(fitted.stack_(network, trees))
    assert fitted.predict_proba(X, static=static)[:, 1].tobytes() == risk.tobytes()


def test_the_network_may_see_fewer_steps_than_the_trees(data):
    X, static, y = data
    model = PrismClassifier(**{**SMALL, "step_hours": 3}).fit(X, y, static=static)
    assert model.confidence(X, static=static).shape == X.shape
    hidden = X.copy()
    hidden[:, 1] = np.where(np.isnan(X[:, 2]), X[:, 1], 99.0)  # where a later value of the same step follows
    one, two = (model.log_odds(array, static=static) for array in (X, hidden))
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.array_equal(one[1], two[1])


def test_every_step_of_an_array_is_seen_and_every_fourth_hour_of_a_cohort(data):
    X, static, y = data
    options = {**SMALL, "max_epochs": 1, "step_hours": None, "window_hours": 6, "summary_stack": False}
    models = [
        PrismClassifier(**options).fit(X, y, static=static),
        PrismClassifier(**options).fit(to_grid(X, static), y),
        PrismClassifier(**{**options, "step_hours": 4}).fit(X, y, static=static),
    ]
    assert [model.members_[0].preparer.every for model in models] == [1, 4, 4]


def test_without_the_stack_there_are_no_trees(data):
    X, static, y = data
    model = PrismClassifier(**SMALL, summary_stack=False, calibration=None).fit(X, y, static=static)
    assert model.stack_ is None
    assert model.members_[0].trees is None
    logits = model.members_[0].findings(to_grid(X, static)).logits.astype(np.float64)
    np.testing.assert_allclose(model.predict_proba(X, static=static)[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-9)


def test_the_stack_s_trees_are_the_baseline_s(fitted, data):
    X, static, _ = data
    trees = fitted.members_[0].trees
    assert isinstance(trees, LightGBMBaseline)
    assert np.isfinite(fitted.members_[0].tree_log_odds(to_grid(X, static))).all()


@pytest.mark.parametrize("calibration", ["temperature", "isotonic", None])
def test_calibrations(data, calibration):
    X, static, y = data
    model = PrismClassifier(**SMALL, calibration=calibration).fit(X, y, static=static)
    risk = model.predict_proba(X, static=static)[:, 1]
    assert ((risk >= 0) & (risk <= 1)).all()
    assert (model.calibrator_ is None) == (calibration is None)


def test_confidence_is_of_each_cell_and_falls_with_what_is_missing(data):
    X, static, y = data
    model = PrismClassifier(**{**SMALL, "max_epochs": 1}, switches={"confidence_from": "missingness"}).fit(
        X, y, static=static
    )
    sure = model.confidence(X, static=static)
    assert sure.shape == X.shape
    hours = model.members_[0].preparer.transform(to_grid(X, static)).hours
    for f in range(3):
        now, stale, never = (
            sure[..., f][mask[..., f]] for mask in (hours == 0, (hours > 0) & np.isfinite(hours), np.isinf(hours))
        )
        assert now.min() > stale.max() > stale.min() > never.max() > 0


def test_confidence_within_a_step_of_the_network_is_each_hour_s_own(data):
    X, static, y = data
    model = PrismClassifier(**{**SMALL, "step_hours": 4}, summary_stack=False).fit(X, y, static=static)
    sure = model.confidence(X, static=static)
    member = model.members_[0]
    learner = member.network.attention.confidence
    found = member.network(*to_tensors(member.preparer.transform(to_grid(X, static)), "cpu"))
    attention, gamma = found.attention[..., 2:].detach().numpy(), learner.gamma().detach().numpy()[2:]
    never = learner.beta.item() * member.preparer.presence_rate_
    for n, t, f in np.ndindex(X.shape):
        seen = np.flatnonzero(~np.isnan(X[n, : t + 1, f]))
        share = attention[n, 0 if t < 2 else 1, f]  # steps of hours 0 to 1 and 2 to 5, of 5 features each
        expected = never[f]
        if len(seen):
            expected = np.tanh(share * 10 / (gamma[f] * np.log(np.e + (1 - share) * (t - seen[-1]) / 3)))
        assert sure[n, t, f] == pytest.approx(expected, rel=1e-5)


def test_confidence_does_not_know_of_later_measurements(data):
    """But for attention, which is over the whole stay, and here enters through the decay alone."""
    X, static, y = data
    options = {**SMALL, "step_hours": 3, "summary_stack": False, "switches": {"confidence_from": "missingness"}}
    model = PrismClassifier(**options).fit(X, y, static=static)
    changed = X.copy()
    changed[:, 4:] = np.where(np.isnan(X[:, 4:]), 1.0, np.nan)
    one, two = (model.confidence(array, static=static) for array in (X, changed))
    np.testing.assert_allclose(one[:, :4], two[:, :4], rtol=2e-3)
    assert (abs(one[:, 4] - two[:, 4]) > 0.01).all()


def test_similar_patients_against_the_formula(fitted, data):
    X, static, y = data
    found = fitted.similar_patients(X[:7], 5, static=static[:7])
    member = fitted.members_[0]
    rows = member.findings(to_grid(X, static))
    zeta = member.network.prototypes.zeta().item()
    spread = rows.summary.std(0)
    for i in range(7):
        distance = ((rows.summary[i] - rows.summary) / spread) ** 2
        doubt = np.exp(1 - rows.summary_confidence[i]) * np.exp(1 - rows.summary_confidence)
        expected = 1 / ((1 - zeta) * distance + zeta * doubt).mean(1)
        best = np.argsort(-expected)[:5]
        np.testing.assert_allclose(found.similarity[i], expected[best], rtol=1e-4)
        np.testing.assert_allclose(expected[found.index[i]], expected[best], rtol=1e-4)
        np.testing.assert_array_equal(found.label[i], y[found.index[i]])
    for k in (61, 2.5):
        with pytest.raises(InputError, match=f"k is {k}: give a whole number from 1 to 60"):
            fitted.similar_patients(X, k, static=static)


def test_the_most_trusted_are_not_nearest_to_everybody():
    """Summaries that differ little beside their doubt, as on real stays; the first ten are trusted far more."""
    rng = np.random.default_rng(0)
    summary = rng.normal(scale=0.05, size=(300, 20)).astype(np.float32)
    summary[:, 0] = 0.3  # of no spread
    sure = rng.uniform(0.0, 0.1, (300, 20)).astype(np.float32)
    sure[:10] = 0.9
    ids = np.arange(300).astype(object)
    reference = Reference(summary, sure, np.zeros(300, np.int64), ids, np.zeros(300, np.int64))
    own = np.arange(300)
    unscaled, scaled = (
        find_similar(summary, sure, reference, 0.05, 5, scale=scale, device="cpu", own=own).index
        for scale in (False, True)
    )
    assert (unscaled < 10).mean() > 0.9
    assert (scaled < 10).mean() < 0.3


@pytest.mark.parametrize("kind", ["euclidean", "cosine"])
def test_similar_patients_by_the_ablations(data, kind):
    X, static, y = data
    model = PrismClassifier(**SMALL, summary_stack=False, switches={"similarity": kind}).fit(X, y, static=static)
    found = model.similar_patients(X[:4], 1, static=static[:4])
    assert found.index[:, 0].tolist() == [0, 1, 2, 3]
    if kind == "cosine":
        np.testing.assert_allclose(found.similarity, 1, atol=1e-5)


def test_a_training_stay_is_not_its_own_neighbour(cohort):
    model = PrismClassifier(**SMALL, summary_stack=False).fit(cohort, cohort.labels["mortality"])
    found = model.similar_patients(cohort, 60)
    assert (found.index[:, :-1] >= 0).all()
    assert not (found.record_id[:, :-1] == cohort.record_id[:, None]).any()
    assert (found.index[:, -1] == -1).all()
    assert np.isnan(found.similarity[:, -1]).all()
    assert found.record_id[0, 0] == cohort.record_id[found.index[0, 0]]


def test_prototypes_are_patients_in_groups(fitted, data):
    prototypes = fitted.prototypes_
    assert prototypes.centres.shape == prototypes.confidence.shape == (2, 5)  # three, but no more than 52 / 20
    assert prototypes.size.sum() == 60
    np.testing.assert_allclose((prototypes.size * np.nan_to_num(prototypes.risk)).sum(), data[2].sum())
    assert prototypes.features == ("static0", "static1", "x0", "x1", "x2")


def test_a_cohort_s_columns_may_come_in_another_order(cohort):
    model = PrismClassifier(**SMALL).fit(cohort, cohort.labels["mortality"])
    moved = dataclasses.replace(
        cohort, values=cohort.values[..., ::-1], features=cohort.features[::-1],
        static=cohort.static[:, ::-1], static_features=cohort.static_features[::-1],
    )  # fmt: skip
    assert model.predict_proba(moved).tobytes() == model.predict_proba(cohort).tobytes()
    changed, unknown = (
        dataclasses.replace(cohort, features=(dataclasses.replace(cohort.features[0], unit=unit), *cohort.features[1:]))
        for unit in ("mg/dL", None)
    )
    with pytest.raises(InputError, match="'lactate' is in mg/dL, but was in mmol/L at the fit: convert it"):
        model.predict_proba(changed)
    assert model.predict_proba(unknown).tobytes() == model.predict_proba(cohort).tobytes()
    less = dataclasses.replace(cohort, values=cohort.values[..., :2], features=cohort.features[:2])
    with pytest.raises(InputError, match="'heart rate', which the model was fitted on, is missing"):
        model.predict_proba(less)


def test_the_released_variant_has_the_released_formulas(data):
    X, static, y = data
    options = {"max_epochs": 1, "device": "cpu", "summary_stack": False, "n_members": 1}
    model = PrismClassifier(**options, variant="released").fit(X, y, static=static)
    config = model.members_[0].network.config
    assert (config.channel, config.hidden, config.dropout, config.prototype_update) == (8, 32, 0.0, "batch")
    assert config.widths == (1, 1, 1)
    assert model.member_config().training.prototype_init == "input"
    assert PrismClassifier().member_config().training.prototype_init == "latent"
    repaired = PrismClassifier(**options, variant="released", switches={"rescale_attention": True}).fit(
        X, y, static=static
    )
    assert repaired.members_[0].network.config == dataclasses.replace(config, rescale_attention=True)


def nothing(X, static):
    X[:5] = np.nan


def one_observation(X, static):
    X[:5] = np.nan
    X[:5, -1, 1] = 1.0


def constant_column(X, static):
    X[..., 1] = 7.0


def column_without_a_value(X, static):
    X[..., 1] = np.nan


def no_static_value(X, static):
    static[:] = np.nan


@pytest.mark.parametrize("spoil", [nothing, one_observation, constant_column, column_without_a_value, no_static_value])
@pytest.mark.parametrize("steps", [1, 6])
def test_odd_stays_are_taken(data, spoil, steps):
    X, static, y = data[0][:, :steps].copy(), data[1].copy(), data[2]
    spoil(X, static)
    model = PrismClassifier(**SMALL).fit(X, y, static=static)
    assert np.isfinite(model.predict_proba(X, static=static)).all()
    assert np.isfinite(model.confidence(X, static=static)).all()
    assert model.predict_proba(X[:0], static=static[:0]).shape == (0, 2)


def test_a_stay_of_length_zero(cohort):
    empty = dataclasses.replace(
        cohort, length=np.where(np.arange(60) < 3, 0, cohort.length),
        time=np.where((np.arange(60) < 3)[:, None], np.nan, cohort.time),
        values=np.where((np.arange(60) < 3)[:, None, None], np.nan, cohort.values),
    )  # fmt: skip
    model = PrismClassifier(**SMALL).fit(empty, empty.labels["mortality"])
    assert np.isfinite(model.predict_proba(empty)).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": np.zeros(60)}, r"1 class \(0\.0\)"),
        ({"y": np.arange(60) % 3}, "3 classes"),
        ({"y": np.where(np.arange(60) == 4, np.nan, np.arange(60) % 2)}, "1 labels are missing"),
        ({"y": np.zeros(59)}, r"shape \(59,\)"),
        ({"groups": np.arange(50)}, "groups of shape"),
        ({"groups": np.zeros(60)}, "too few"),
        ({"X": np.full((60, 6, 3), np.inf)}, "infinite"),
        ({"X": np.full((60, 6, 3), np.nan)}, "no stay has a value: X is NaN"),
        ({"X": np.zeros((60, 3))}, "2 dimensions"),
        ({"static": np.zeros((59, 2))}, "59 rows"),
        ({"validation": (np.zeros((9, 6, 3)), np.full(9, 2), np.zeros((9, 2)))}, "none of the classes"),
        ({"validation": (np.zeros((9, 6, 3)), np.full(9, np.nan), np.zeros((9, 2)))}, "missing"),
        ({"validation": (np.zeros((9, 6, 2)), np.zeros(9), np.zeros((9, 2)))}, "columns x0, x1, x2"),
        ({"validation": (np.zeros((9, 6, 3)), np.zeros(9), np.zeros((9, 2)))}, "both classes"),
        ({"validation": (np.zeros((9, 6, 3)),)}, "validation has 1 parts"),
        ({"validation": (np.zeros((9, 6, 3)), np.zeros(9), np.zeros((9, 2))), "groups": range(60)}, "one part alone"),
        ({"validation": (np.zeros((9, 6, 3)), np.zeros(9), np.zeros((9, 2)), np.arange(9))}, "one part alone"),
        ({"y": np.arange(60) == 5}, "too few"),
    ],
)
def test_input_that_makes_no_sense_is_refused(data, changes, words):
    X, static, y = data
    given = {"X": X, "y": y, "static": static, **changes}
    with pytest.raises(InputError, match=words):
        PrismClassifier(**SMALL).fit(**given)


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"n_members": 0}, InputError, "n_members is 0"),
        ({"n_members": 100}, InputError, "too few"),
        ({"calibration": "platt"}, InputError, "platt"),
        ({"variant": "fixed"}, ConfigError, "fixed"),
        ({"switches": {"simularity": "cosine"}}, ConfigError, "simularity"),
        ({"switches": {"hard_mask": "false"}}, ConfigError, "hard_mask is 'false': give True or False"),
        ({"channel": 0}, ConfigError, "channel is 0"),
        ({"channel": 2.5}, ConfigError, "channel is 2.5: give a whole number"),
        ({"batch_size": 2.5}, ConfigError, "batch_size is 2.5: give a whole number"),
        ({"learning_rate": np.inf}, ConfigError, "learning_rate is inf"),
        ({"learning_rate": 0}, ConfigError, "learning_rate is 0"),
        ({"max_epochs": 0}, ConfigError, "max_epochs"),
        ({"weight_decay": -1}, ConfigError, "weight_decay"),
        ({"prototype_init": "random"}, ConfigError, "random"),
        ({"random_state": np.random.RandomState(0)}, InputError, "random_state is RandomState.*a whole number"),
        ({"random_state": None}, InputError, "random_state is None"),
        ({"switches": ["hard_mask"]}, InputError, "switches is .*a mapping"),
        ({"device": "tpu"}, InputError, "tpu"),
        ({"step_hours": 1.5}, InputError, "multiple of bin_hours"),
        ({"bin_hours": 0}, InputError, "bin_hours is 0"),
        ({"window_hours": np.nan}, InputError, "window_hours is nan"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(data, parameters, error, words):
    X, static, y = data
    with pytest.raises(error, match=words):
        PrismClassifier(**{**SMALL, **parameters}).fit(X, y, static=static)


def test_a_person_on_both_sides_is_refused(cohort):
    y = cohort.labels["mortality"]
    with pytest.raises(InputError, match="subject 30 is in the training and in the validation part"):
        PrismClassifier(**SMALL).fit(
            cohort.select(slice(0, 40)), y[:40], validation=(cohort.select(slice(30, 60)), y[30:])
        )


def test_a_person_of_a_group_on_both_sides_is_refused(data):
    X, static, y = data
    persons = np.arange(60) // 2
    held = X[40:], y[40:], static[40:]
    given = X[:40], y[:40]
    model = PrismClassifier(**{**SMALL, "max_epochs": 1}, summary_stack=False)
    model.fit(*given, static=static[:40], groups=persons[:40], validation=(*held, persons[40:]))
    with pytest.raises(InputError, match="subject 4 is in the training and in the validation part"):
        model.fit(*given, static=static[:40], groups=persons[:40], validation=(*held, persons[40:] - 16))


def test_stays_with_nothing_in_their_window_are_refused(cohort):
    late = dataclasses.replace(cohort, time=cohort.time + 100)
    with pytest.raises(InputError, match="no stay has a value from hour 0 to 48: check times"):
        PrismClassifier(**SMALL).fit(late, late.labels["mortality"])


def test_arrays_of_other_widths_are_refused(fitted):
    with pytest.raises(InputError, match="2 variables and 2 static values"):
        fitted.predict_proba(np.zeros((1, 6, 2)), static=np.zeros((1, 2)))
    with pytest.raises(InputError, match="have 5 steps"):
        fitted.predict_proba(np.zeros((1, 5, 3)), static=np.zeros((1, 2)))


def test_real_stays_with_the_cohort_s_own_irregular_times():
    cohort = load_cohort("tjh").select(np.arange(0, 361, 5))
    y = cohort.labels["mortality"]
    options = {**SMALL, "max_epochs": 1, "bin_hours": 24, "window_hours": 96, "step_hours": None}
    model = PrismClassifier(**options, summary_stack=False).fit(cohort, y)
    assert model.n_steps_in_ == 4
    assert model.confidence(cohort).shape == (73, 4, 73)
