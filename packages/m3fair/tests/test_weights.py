"""Reweighting on counts: the published cells, and what must hold for any cells.

The expected numbers of Adult and TJH are those that the reference's notebooks print, or were computed from its rule
on the same public data.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, Reweigher
from auscult.m3fair.weights import MODES, Scheme, fit_margins, geometric, reweighing, sequential

EXACT = settings(deadline=None, derandomize=True, max_examples=25)


def fit(table, attributes, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reweigher(attributes, **options).fit_table(table)


def disparity(reweigher, name, privileged, positive=1):
    """Return SPD and DI of the weighted label rates, everyone else against the privileged value."""
    frame = reweigher.factors_[reweigher.factors_["count"] > 0]
    weight = frame["weight"] * frame["factor"]
    label, group = frame[reweigher.table_.columns[-1]] == positive, frame[name] == privileged
    rate, reference = (weight[mine & label].sum() / weight[mine].sum() for mine in (~group, group))
    return rate - reference, rate / reference


def divergence(reweigher):
    """Return the Kullback-Leibler divergence of the fitted from the original table."""
    frame = reweigher.factors_[reweigher.factors_["count"] > 0]
    share = frame["weight"] * frame["factor"] / frame["weight"].sum()
    return (share * np.log(frame["factor"])).sum()


# Published cells.


LEVELS = [Attribute("race", "white", level=1), Attribute("sex", "Male", level=2)]


def test_adult_factors_of_level_1_2(adult):
    reweigher = fit(adult, LEVELS)
    factors = reweigher.factors_.set_index(["race", "sex", "income"])["factor"].to_dict()
    assert factors == pytest.approx(
        {
            ("non-white", "Female", 0): 0.81411192, ("non-white", "Female", 1): 3.25671609,
            ("white", "Female", 0): 0.857103, ("white", "Female", 1): 2.02414426,
            ("non-white", "Male", 0): 0.96978353, ("non-white", "Male", 1): 1.10443304,
            ("white", "Male", 0): 1.1125058, ("white", "Male", 1): 0.76516728,
        },
        abs=1e-8,
    )  # fmt: skip
    found = reweigher.diagnostics_
    assert found.weighted_total == pytest.approx(45222, rel=1e-12)
    assert found.effective_sample_size == pytest.approx(41850.0770, abs=1e-4)
    assert (found.min_factor, found.max_factor) == pytest.approx((0.7651672832, 3.2567160885), abs=1e-10)
    assert disparity(reweigher, "sex", "Male") == pytest.approx((0, 1), abs=1e-12)
    assert disparity(reweigher, "race", "white") == pytest.approx((0, 1), abs=1e-12)


def test_adult_before_weighting(adult):
    reweigher = fit(adult, LEVELS, strength=0.0)
    assert disparity(reweigher, "sex", "Male") == pytest.approx((-0.198901432678815, 0.3634695423643793), rel=1e-12)
    assert disparity(reweigher, "race", "white") == pytest.approx((-0.10395937026830099, 0.6037688467181627), rel=1e-12)
    assert adult.marginal(["income"]).count[1] / adult.n == pytest.approx(0.2478439697, abs=1e-10)


def test_property_3_adult_levels_that_collide_merge_groups_and_say_so(adult):
    """A defect of the reference: equal levels merge different groups, and race ends over-corrected."""
    attributes = [Attribute("race", "white", level=1), Attribute("sex", "Male", level=1)]
    with pytest.warns(UserWarning, match="race=non-white, sex=Male; race=white, sex=Female") as caught:
        reweigher = Reweigher(attributes).fit_table(adult)
    assert len(caught) == 1
    assert reweigher.diagnostics_.collisions == (
        ({"race": "non-white", "sex": "Male"}, {"race": "white", "sex": "Female"}),
    )
    factors = reweigher.factors_.groupby("group")["factor"].apply(lambda part: sorted(set(part.round(8)))).tolist()
    assert sorted(factors) == [[0.76516728, 1.1125058], [0.81411192, 3.25671609], [0.88041385, 1.70130183]]
    assert disparity(reweigher, "sex", "Male")[1] == pytest.approx(0.8391395738, abs=1e-10)
    assert disparity(reweigher, "race", "white")[1] == pytest.approx(1.3115063098, abs=1e-10)
    assert 1 / disparity(reweigher, "race", "white")[1] == pytest.approx(0.7624820, abs=1e-7)
    assert reweigher.diagnostics_.effective_sample_size == pytest.approx(42247.2666, abs=1e-4)


@pytest.mark.parametrize(
    ("order", "spd", "di"),
    [
        (["sex", "race"], {"sex": 0.00538, "race": 0}, {"sex": 1.0218649052280424, "race": 1}),
        (["race", "sex"], {"sex": 0, "race": 0.02323}, {"sex": 1, "race": 1.0949907626554443}),
    ],
)
def test_adult_one_attribute_after_the_other(adult, order, spd, di):
    reweigher = fit(adult, order, mode="sequential")
    for name, privileged in (("sex", "Male"), ("race", "white")):
        difference, ratio = disparity(reweigher, name, privileged)
        assert difference == pytest.approx(spd[name], abs=5e-6)
        assert ratio == pytest.approx(di[name], rel=1e-12)


def test_property_8_adult_margins(adult):
    """The factors of iterative proportional fitting, and a smaller change than the intersection's."""
    marginal = fit(adult, ["race", "sex"], mode="marginal")
    expected = [0.78160288, 3.09237712, 1.00083443, 1.14911988, 0.8652022, 2.04831507, 1.1078825, 0.76114894]
    assert marginal.factors_["factor"].tolist() == pytest.approx(expected, abs=1e-8)
    intersection = fit(adult, ["race", "sex"], mode="intersection")
    assert divergence(marginal) == pytest.approx(0.0322992, abs=5e-8)
    assert divergence(intersection) == pytest.approx(0.0324217, abs=5e-8)
    assert marginal.diagnostics_.effective_sample_size == pytest.approx(41905.73, abs=5e-3)
    assert intersection.diagnostics_.effective_sample_size == pytest.approx(41850.08, abs=5e-3)
    frame = marginal.factors_
    for name in ("race", "sex", "income"):
        kept = (frame["weight"] * frame["factor"]).groupby(frame[name]).sum()
        assert kept.tolist() == pytest.approx(frame["weight"].groupby(frame[name]).sum().tolist(), rel=1e-9)
    for name, privileged in (("sex", "Male"), ("race", "white")):
        assert disparity(marginal, name, privileged) == pytest.approx((0, 1), abs=1e-9)


def test_tjh(tjh):
    reweigher = fit(tjh, [Attribute("old", 1, level=2), Attribute("male", 1, level=1)])
    found = reweigher.diagnostics_
    assert (found.min_factor, found.max_factor) == pytest.approx((0.5926823638, 79 * 166 / (361 * 7)), abs=1e-10)
    assert found.max_factor == pytest.approx(5.1895528294, abs=1e-10)
    before = fit(tjh, ["old", "male"], strength=0.0)
    assert disparity(before, "old", 1) == pytest.approx((-0.4823952470293934, 0.27816769605090774), rel=1e-12)
    assert disparity(before, "male", 1) == pytest.approx((-0.2573129036342915, 0.545413870246085), rel=1e-12)
    for name in ("old", "male"):
        assert disparity(reweigher, name, 1) == pytest.approx((0, 1), abs=1e-12)
    # Published with positive signs and to five digits for the differences.
    for order, name, spd, di in (
        (["old", "male"], "old", 0.00502, 1.01096960),
        (["male", "old"], "male", 0.00980, 1.02149390),
    ):
        difference, ratio = disparity(fit(tjh, order, mode="sequential"), name, 1)
        assert (difference, ratio) == pytest.approx((spd, di), abs=5e-6)


# Properties of any cells.


@st.composite
def full_tables(draw, attributes=2, binary=False, lowest=1):
    """Tables over a, b, ... and y in which every cell occurs, with weights unless they are the counts."""
    sizes = [2 if binary else draw(st.integers(2, 4)) for _ in range(attributes)]
    labels = 2 if binary else draw(st.integers(2, 3))
    shape = (*sizes, labels)
    size = int(np.prod(shape))
    counts = np.array(draw(st.lists(st.integers(lowest, 50), min_size=size, max_size=size)))
    scales = np.array(draw(st.lists(st.sampled_from([1.0, 0.25, 3.0]), min_size=size, max_size=size)))
    frame = pd.DataFrame(np.indices(shape).reshape(len(shape), -1).T, columns=[*"abcd"[:attributes], "y"])
    frame = frame.assign(count=counts, weight=counts * scales, weight_squared=counts * scales**2)
    return CountTable.from_frame(frame[frame["count"] > 0])


def conditional(reweigher, names):
    """Return the weighted P(y | names), one row a group, and the weighted P(y)."""
    frame = reweigher.factors_
    label = reweigher.table_.columns[-1]
    weight = (
        (frame["weight"] * frame["factor"]).fillna(0).groupby([frame[name] for name in [*names, label]]).sum().unstack()
    )
    overall = weight.sum() / weight.sum().sum()
    return weight.div(weight.sum(axis=1), axis=0).to_numpy(), overall.to_numpy()


@EXACT
@given(full_tables(1), st.sampled_from([mode for mode in MODES if mode != "geometric"]))
def test_property_1_one_attribute_ends_independent_and_margins_are_kept(table, mode):
    """In every mode."""
    reweigher = fit(table, ["a"], mode=mode)
    rates, overall = conditional(reweigher, ["a"])
    np.testing.assert_allclose(rates, np.tile(overall, (len(rates), 1)), rtol=1e-9)
    frame = reweigher.factors_
    for name in ("a", "y"):
        kept = (frame["weight"] * frame["factor"]).groupby(frame[name]).sum()
        np.testing.assert_allclose(kept, frame["weight"].groupby(frame[name]).sum(), rtol=1e-9)
    found = reweigher.diagnostics_
    assert found.weighted_total == pytest.approx(table.total_weight, rel=1e-9)
    assert found.lost_mass == pytest.approx(0, abs=1e-8 * table.total_weight)
    assert found.residual["a"] < 1e-9


@EXACT
@given(full_tables(3, binary=True), st.permutations([1, 2, 4]), st.sampled_from([(1, 2, 4), (1, 3, 9), (5, 6, 7)]))
def test_property_2_levels_with_distinct_sums_are_the_intersection(table, order, base):
    """The size of a level has no graded effect."""
    levels = [base[(1, 2, 4).index(level)] for level in order]
    attributes = [Attribute(name, 1, level=level) for name, level in zip("abc", levels, strict=True)]
    found = Reweigher(attributes).fit_table(table)
    intersection = Reweigher(["a", "b", "c"], mode="intersection").fit_table(table)
    np.testing.assert_allclose(found.factors_["factor"], intersection.factors_["factor"], rtol=1e-13)
    for names in (["a"], ["b"], ["c"], ["a", "b"], ["a", "c"], ["a", "b", "c"]):
        rates, overall = conditional(found, names)
        np.testing.assert_allclose(rates, np.tile(overall, (len(rates), 1)), rtol=1e-9)


@EXACT
@given(full_tables(3))
def test_default_levels_never_collide(table):
    found = Reweigher([Attribute("a", 1), "b", Attribute("c", 0)]).fit_table(table)
    assert found.diagnostics_.collisions == ()
    # a and c are cut in two, b is not.
    cells = {(a == 1, b, c == 0) for a, b, c in found.factors_[["a", "b", "c"]].itertuples(index=False)}
    assert found.factors_["group"].nunique() == len(cells)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((None, None, None), (1, 2, 4)),
        ((2, None, None), (2, 4, 8)),
        ((None, 1, None), (2, 1, 4)),
        ((None, 5, None), (8, 5, 16)),
        ((0, None, 0), (0, 1, 0)),
        ((np.int64(3), None, np.int32(1)), (3, 8, 1)),
    ],
)
def test_an_attribute_without_a_level_takes_the_next_power_of_two(levels, expected):
    attributes = [Attribute(name, "x", level=level) for name, level in zip("abc", levels, strict=True)]
    scheme = Scheme.build(attributes, [("x", "y")] * 3)
    assert scheme.levels == expected
    assert all(type(level) is int for level in scheme.levels)


def test_level_zero_leaves_an_attribute_out(adult):
    both = fit(adult, [Attribute("sex", "Male"), Attribute("race", "white", level=0)])
    sex = fit(adult, ["sex"])
    assert both.diagnostics_.collisions == ()
    merged = both.factors_.merge(sex.factors_, on=["sex", "income"], suffixes=("", "_alone"))
    assert merged["factor"].tolist() == merged["factor_alone"].tolist()


@EXACT
@given(full_tables(2))
def test_property_4_the_factor_is_a_ratio_of_balanced_weights(table):
    """Scikit-learn's balanced weights of cells over those of groups and labels."""
    counts = table.count
    rows = pd.DataFrame(
        np.repeat(table.to_frame()[["a", "b", "y"]].to_numpy(), counts, axis=0), columns=["a", "b", "y"]
    )
    group = rows["a"].astype(str) + rows["b"].astype(str)
    joint = group + rows["y"].astype(str)
    balanced = [compute_sample_weight("balanced", part) for part in (joint, group, rows["y"].astype(int))]
    found = Reweigher(["a", "b"], mode="intersection").fit_weights(rows, rows["y"])
    np.testing.assert_allclose(found, balanced[0] / (balanced[1] * balanced[2]), rtol=1e-9)


@EXACT
@given(full_tables(2, binary=True), st.sampled_from(["level", "intersection", "marginal"]))
def test_property_5_names_and_sides_do_not_matter(table, mode):
    """Other names, a swapped label, and all privileged sides swapped at once change no weight."""

    def attributes(a, b):
        return [Attribute("a", a, level=1), Attribute("b", b, level=1)]

    found = fit(table, attributes(1, 1), mode=mode).factors_["factor"]
    swapped = fit(table, attributes(0, 0), mode=mode).factors_["factor"]
    np.testing.assert_allclose(swapped, found, rtol=1e-9)
    renamed = table.map_values({"a": {0: "x", 1: "z"}, "b": {0: "u", 1: "v"}})
    np.testing.assert_allclose(fit(renamed, attributes("z", "v"), mode=mode).factors_["factor"], found, rtol=1e-9)
    mirrored = fit(table.map_values({"y": {0: 1, 1: 0}}), attributes(1, 1), mode=mode).factors_
    back = mirrored.assign(y=1 - mirrored["y"].astype(int)).sort_values(["a", "b", "y"])["factor"]
    np.testing.assert_allclose(back, found, rtol=1e-9)


@EXACT
@given(full_tables(2, binary=True), st.sampled_from([(1, 2), (1, 1), (2, 2), (3, 1)]))
def test_property_5_one_side_swapped_matters_only_where_levels_collide(table, levels):
    """Swapping who is privileged in one attribute alone is another partition only if sums of levels are equal."""

    def groups(a):
        found = fit(table, [Attribute("a", a, level=levels[0]), Attribute("b", 1, level=levels[1])]).factors_["group"]
        return {tuple(found == group) for group in set(found)}

    assert (groups(0) == groups(1)) == (levels[0] != levels[1])


@EXACT
@given(full_tables(2), st.sampled_from(MODES), st.sampled_from([1e-9, 0.5, 1e9]))
def test_property_6_a_scale_of_the_prior_weights_changes_no_factor(table, mode, scale):
    frame = table.to_frame()
    scaled = CountTable.from_frame(
        frame.assign(weight=frame["weight"] * scale, weight_squared=frame["weight_squared"] * scale**2)
    )
    found, other = (fit(one, ["a", "b"], mode=mode) for one in (table, scaled))
    np.testing.assert_allclose(other.factors_["factor"], found.factors_["factor"], rtol=1e-8)
    ratio = other.diagnostics_.effective_sample_size / found.diagnostics_.effective_sample_size
    assert ratio == pytest.approx(1, rel=1e-9)


@EXACT
@given(full_tables(2), st.sampled_from(["level", "intersection", "marginal", "lattice"]))
def test_property_8_weighting_again_changes_nothing(table, mode):
    first = fit(table, ["a", "b"], mode=mode).factors_
    weighted = first.drop(columns=["group", "factor"]).assign(
        weight=first["weight"] * first["factor"], weight_squared=first["weight"] * first["factor"]
    )
    again = fit(CountTable.from_frame(weighted), ["a", "b"], mode=mode)
    np.testing.assert_allclose(again.factors_["factor"], 1, rtol=1e-8)


@EXACT
@given(full_tables(3))
def test_property_8_margins_move_less_than_pairs_and_these_less_than_the_intersection(table):
    """By the Kullback-Leibler divergence; each is balanced as it says."""
    names = ["a", "b", "c"]
    marginal = fit(table, names, mode="marginal")
    lattice = [fit(table, names, mode="lattice", order=order) for order in (1, 2, 3)]
    intersection = fit(table, names, mode="intersection")
    np.testing.assert_array_equal(lattice[0].factors_["factor"], marginal.factors_["factor"])
    np.testing.assert_allclose(lattice[2].factors_["factor"], intersection.factors_["factor"], rtol=1e-9)
    changes = [divergence(one) for one in (marginal, lattice[1], intersection)]
    assert changes[0] <= changes[1] + 1e-9 <= changes[2] + 2e-9
    for one, balanced in ((marginal, [["a"], ["b"], ["c"]]), (lattice[1], [["a", "b"], ["a", "c"], ["b", "c"]])):
        for group in balanced:
            rates, overall = conditional(one, group)
            np.testing.assert_allclose(rates, np.tile(overall, (len(rates), 1)), rtol=1e-7)


@EXACT
@given(full_tables(2))
def test_the_last_of_a_sequence_is_balanced(table):
    for names in (["a", "b"], ["b", "a"]):
        rates, overall = conditional(fit(table, names, mode="sequential"), names[-1:])
        np.testing.assert_allclose(rates, np.tile(overall, (len(rates), 1)), rtol=1e-9)


@EXACT
@given(full_tables(2), st.floats(0, 1))
def test_geometric_importance_grades(table, power):
    one = fit(table, ["a"], mode="geometric")
    np.testing.assert_allclose(one.factors_["factor"], fit(table, ["a"]).factors_["factor"], rtol=1e-9)
    without = fit(table, ["a", "b"], mode="geometric", importance={"b": 0})
    assert set(without.factors_.groupby(["a", "y"])["factor"].nunique()) == {1}
    both = fit(table, ["a", "b"], mode="geometric", importance={"a": power, "b": power})
    assert both.diagnostics_.weighted_total == pytest.approx(table.total_weight, rel=1e-9)
    if power == 0:
        np.testing.assert_allclose(both.factors_["factor"], 1)


@EXACT
@given(full_tables(2, lowest=0))
def test_property_9_smoothing_goes_from_reweighing_to_nothing(table):
    if table.n == 0 or len(table.values[2]) < 2:
        return
    factors = {kappa: fit(table, ["a", "b"], smoothing=kappa).factors_ for kappa in (0, 1e-9, 1e12, 5)}
    there = factors[0]["count"] > 0
    plain = factors[0]["factor"][there]
    np.testing.assert_allclose(factors[1e-9]["factor"][there], plain, rtol=1e-6)
    np.testing.assert_allclose(factors[1e12]["factor"], 1, rtol=1e-6)
    smooth = factors[5]["factor"]
    assert np.isfinite(smooth).all()
    assert ((smooth[there] - 1).abs() <= (plain - 1).abs() + 1e-12).all()


def test_the_formula_of_smoothing():
    mass = np.array([[3.0, 1.0], [0.0, 4.0]])
    p = np.array([3, 5]) / 8
    expected = (np.array([[4.0], [4.0]]) + 2) * p / (mass + 2 * p)
    np.testing.assert_allclose(reweighing(mass, np.array([0, 1]), 2.0), expected, rtol=1e-15)


@EXACT
@given(full_tables(2), st.floats(0, 1))
def test_property_9_strength_is_linear_and_keeps_the_total(table, alpha):
    """Alpha 0 gives the prior weights."""
    full, part = fit(table, ["a", "b"]), fit(table, ["a", "b"], strength=alpha)
    np.testing.assert_allclose(part.factors_["factor"], 1 - alpha + alpha * full.factors_["factor"], rtol=1e-12)
    assert part.diagnostics_.weighted_total == pytest.approx(table.total_weight, rel=1e-9)


@EXACT
@given(full_tables(2, lowest=0))
def test_property_10_empty_cells_lose_what_they_should_hold(table):
    """The lost mass is that of independence over the empty cells; the reference does not tell it."""
    if table.n == 0:
        return
    reweigher = fit(table, ["a", "b"], mode="intersection")
    frame = reweigher.factors_
    total = frame["weight"].sum()
    mass = frame.pivot_table(index=["a", "b"], columns="y", values="weight", aggfunc="sum", fill_value=0)
    expected = np.outer(mass.sum(axis=1), mass.sum()) / total
    found = reweigher.diagnostics_
    assert found.lost_mass == pytest.approx(expected[mass == 0].sum(), abs=1e-9 * total)
    assert len(found.empty_cells) == (mass == 0).to_numpy().sum()
    np.testing.assert_array_equal(frame["factor"].isna(), frame["count"] == 0)
    kept = fit(table, ["a", "b"], mode="intersection", normalize="sum")
    assert kept.diagnostics_.weighted_total == pytest.approx(total, rel=1e-9)
    mean = fit(table, ["a", "b"], mode="intersection", normalize="mean")
    assert mean.diagnostics_.weighted_total == pytest.approx(table.n, rel=1e-9)


@pytest.mark.parametrize(("mode", "order"), [("marginal", 1), ("lattice", 1)])
def test_margins_without_a_label_lose_what_they_should_hold(mode, order):
    """As in Reweighing by that attribute alone; the label is independent of the other."""
    cells = {("F", "A"): (42, 0), ("F", "B"): (47, 0), ("M", "A"): (31, 30), ("M", "B"): (26, 24)}
    rows = [(*key, y, n) for key, counts in cells.items() for y, n in enumerate(counts) if n]
    frame = pd.DataFrame(rows, columns=["sex", "race", "y", "count"])
    table = CountTable.from_frame(frame.assign(weight=frame["count"], weight_squared=frame["count"]))
    with pytest.warns(
        UserWarning, match=r"never occur \(sex=F, race=A, y=1; .* 24\.03 of the total weight 200 is lost"
    ):
        found = Reweigher(["sex", "race"], mode=mode, order=order).fit_table(table)
    assert found.diagnostics_.lost_mass == pytest.approx(89 * 54 / 200)
    assert found.diagnostics_.residual["race"] < 1e-9
    weighted = found.factors_.assign(mass=lambda f: f["weight"] * f["factor"]).groupby(["sex", "y"])["mass"].sum()
    alone = fit(table, ["sex"]).factors_.set_index(["sex", "y"])
    for key in (("F", 0), ("M", 0), ("M", 1)):
        assert weighted[key] == pytest.approx(alone["weight"][key] * alone["factor"][key])
    with pytest.raises(InputError, match="never occur"):
        Reweigher(["sex", "race"], mode=mode, order=order, empty="raise").fit_table(table)


def test_margins_that_cannot_be_met_are_refused():
    """Groups of a and of b have no positives, and one cell would have to hold more than its group of b."""
    table = CountTable.count_rows({"a": [0, 0, 1, 1, 1], "b": [0, 1, 0, 1, 1], "y": [0, 0, 0, 1, 1]}, ["a", "b", "y"])
    with pytest.raises(InputError, match="cannot be fitted"):
        Reweigher(["a", "b"], mode="marginal", empty="ignore").fit_table(table)


def test_groups_and_labels_without_mass_divide_nothing():
    """The reference divides by zero: no infinity, no warning, nothing where nothing occurs."""
    mass = np.array([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
    groups = np.arange(3)
    factor = reweighing(mass, groups)
    np.testing.assert_array_equal(np.isnan(factor), mass == 0)
    assert np.isfinite(factor[mass > 0]).all()
    for found in (sequential(mass, [groups]), fit_margins(mass, [groups]), geometric(mass, [groups], [1.0])):
        assert np.isfinite(found[mass > 0]).all()
        assert not np.isinf(found).any()


# Scores of combinations.


def test_a_missing_value_is_a_group_of_its_own_in_mode_level():
    scheme = Scheme.build([Attribute("a", "x"), Attribute("b", "u")], [("x", "y", None), ("u", "v", None)])
    combinations = [(a, b) for a in ("x", "y", None) for b in ("u", "v", None)]
    assert len(set(scheme.groups(combinations).tolist())) == 9
    assert scheme.collisions(combinations) == []
    assert scheme.score((None, "u")) == (2, (0,))
    assert scheme.score(("z", "u")) == scheme.score(("y", "u"))


def test_a_missing_value_of_an_attribute_that_is_left_out_is_no_difference():
    scheme = Scheme.build([Attribute("a", "x", level=0), Attribute("b", "u")], [("x", None), ("u", "v")])
    assert scheme.score((None, "u")) == scheme.score(("x", "u"))
    assert scheme.collisions([(None, "u"), ("x", "u")]) == []


def test_every_merged_combination_is_named():
    """One of each would hide that a third group is merged too."""
    attributes = [Attribute("sex", "M", level=1), Attribute("race", "W", level=1)]
    scheme = Scheme.build(attributes, [("F", "M"), ("A", "B", "W")])
    combinations = [(sex, race) for sex in "FM" for race in "ABW"]
    assert scheme.collisions(combinations) == [[("F", "W"), ("M", "A"), ("M", "B")]]


def test_ranked_values_score_by_their_place():
    scheme = Scheme.build([Attribute("stage", level=2), Attribute("sex", "M")], [("I", "II", "III", None), ("F", "M")])
    assert scheme.levels == (2, 8)
    assert [scheme.score((stage, "M")) for stage in ("I", "II", "III", None, "IV")] == [
        (8, ()), (10, ()), (12, ()), (8, (0,)), None,
    ]  # fmt: skip
