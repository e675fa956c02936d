import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, Reweigher
from auscult.m3fair import coding as coding_module
from auscult.m3fair import fitted as fitted_module
from auscult.m3fair import table as table_module
from auscult.m3fair.attributes import Cut


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    n = 400
    frame = pd.DataFrame(
        {
            "sex": rng.choice(np.array(["F", "M", None], dtype=object), n, p=[0.45, 0.45, 0.1]),
            "stage": rng.integers(1, 4, n),
            "age": rng.integers(20, 90, n).astype(float),
            "v": rng.integers(1, 5, n) / 2,
        },
        index=rng.permutation(n) + 7,
    )
    return frame.assign(died=(rng.random(n) < 0.2 + 0.1 * frame["stage"] + 0.1 * (frame["sex"] == "M")).astype(int))


def by_hand(groups, y, v):
    """Return v n_g n_y / (N n_gy) of every row, as the definition says it."""
    frame = pd.DataFrame({"g": [str(g) for g in groups], "y": np.asarray(y), "v": np.asarray(v, dtype=float)})
    n_g, n_y, n_gy = (frame.groupby(by)["v"].transform("sum") for by in ("g", "y", ["g", "y"]))
    return (frame["v"] * n_g * n_y / (frame["v"].sum() * n_gy)).to_numpy()


def tuples(rows, names):
    return list(rows[names].astype(object).where(rows[names].notna(), None).itertuples(index=False, name=None))


@pytest.mark.parametrize("weight", [None, "v"])
@pytest.mark.parametrize("names", [["sex"], ["sex", "stage"]])
def test_weights_are_those_of_the_definition(rows, names, weight):
    v = None if weight is None else rows[weight]
    found = Reweigher(names, mode="intersection").fit_weights(rows, rows["died"], sample_weight=v)
    expected = by_hand(tuples(rows, names), rows["died"], np.ones(len(rows)) if v is None else v)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.sum() == pytest.approx(len(rows) if v is None else v.sum())
    assert found.index.equals(rows.index)


FRAMES = {
    "numpy nullable": lambda rows: rows.convert_dtypes(),
    "pyarrow dtypes": lambda rows: rows.convert_dtypes(dtype_backend="pyarrow"),
    "categories": lambda rows: rows.assign(
        sex=pd.Categorical(rows["sex"], categories=["X", "M", "F"]), stage=rows["stage"].astype("category")
    ),
    "polars": lambda rows: pl.from_pandas(rows),
    "polars categorical": lambda rows: pl.from_pandas(rows).with_columns(pl.col("sex").cast(pl.Categorical)),
    "pyarrow": lambda rows: pa.Table.from_pandas(rows, preserve_index=False),
    "mapping of lists": lambda rows: {name: rows[name].tolist() for name in rows},
    "mapping of arrays": lambda rows: {name: rows[name].to_numpy() for name in rows},
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_any_frame_gets_the_same_weights_in_its_own_type(rows, make):
    attributes = [Attribute("sex", "M"), Attribute("stage", {2, 3})]
    expected = Reweigher(attributes).fit_weights(rows, rows["died"], sample_weight=rows["v"]).to_numpy()
    frame = make(rows)
    found = Reweigher(attributes).fit_weights(frame, frame["died"], sample_weight=frame["v"])
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12)
    if isinstance(frame, pd.DataFrame):
        assert isinstance(found, pd.Series)
        assert found.index.equals(rows.index)
    elif isinstance(frame, pl.DataFrame):
        assert isinstance(found, pl.Series)
        assert found.dtype == pl.Float64
    elif isinstance(frame, pa.Table):
        assert isinstance(found, pa.ChunkedArray)
        assert found.type == pa.float64()
    else:
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float64


def test_arrays_without_names(rows):
    matrix = rows[["sex", "stage"]].to_numpy()
    y = rows["died"].to_numpy()
    expected = by_hand(tuples(rows, ["sex", "stage"]), y, np.ones(len(y)))
    for X in (matrix, matrix.tolist(), pd.DataFrame(matrix), pd.DataFrame(matrix, columns=[0, "stage"])):
        found = Reweigher(mode="intersection").fit_weights(X, y.tolist())
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    numbers = matrix[:, 1].astype(int)
    alone = by_hand(numbers, y, np.ones(len(y)))
    for X in (
        numbers,
        numbers.tolist(),
        numbers[:, None],
        pd.Series(numbers),
        pd.Series(numbers, name=0),
        {"x0": numbers},
    ):
        np.testing.assert_allclose(Reweigher().fit_weights(X, y), alone, rtol=1e-12)
    np.testing.assert_allclose(Reweigher("x1").fit_weights(matrix, y), alone, rtol=1e-12)


def test_weights_go_into_the_type_of_whoever_has_one(rows):
    y = rows["died"].to_numpy()
    assert isinstance(Reweigher("sex").fit_weights(rows, y), pd.Series)
    assert isinstance(Reweigher("sex").fit_weights(None, y, sensitive_features=pl.from_pandas(rows)), pl.Series)
    assert isinstance(Reweigher("sex").fit_weights(rows, pl.Series(y)), pl.Series)
    assert isinstance(Reweigher("sex").fit_weights(rows, rows[["died"]]), pd.Series)


def test_sensitive_features_take_the_place_of_x(rows):
    X = rows[["age"]]
    found = Reweigher().fit_weights(X, rows["died"], sensitive_features=rows[["sex"]])
    np.testing.assert_array_equal(found, Reweigher("sex").fit_weights(rows, rows["died"]))
    one = Reweigher().fit(X, rows["died"], sensitive_features=rows["sex"])
    assert list(one.factors_.columns) == ["sex", "died", "count", "weight", "group", "factor"]


@pytest.mark.parametrize("mode", ["level", "intersection", "marginal"])
def test_fit_then_compute_is_fit_weights(rows, mode):
    reweigher = Reweigher(["sex", "stage"], mode=mode)
    at_once = reweigher.fit_weights(rows, rows["died"], sample_weight=rows["v"])
    fitted = clone(reweigher).fit(rows, rows["died"], sample_weight=rows["v"])
    for part in (rows, rows[::-1], rows.sample(50, random_state=0)):
        found = fitted.compute_weights(part, part["died"], sample_weight=part["v"])
        pd.testing.assert_series_equal(found, at_once.loc[part.index], check_names=False)
    table = CountTable.count_rows(rows, ["stage", "sex", "died"], weight="v")
    from_table = clone(reweigher).fit_table(table).compute_weights(rows, rows["died"], sample_weight=rows["v"])
    np.testing.assert_allclose(from_table, at_once, rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, None]), st.integers(0, 1)), min_size=2, max_size=40
    ),
    st.integers(1, 3),
    st.sampled_from(["level", "intersection", "sequential"]),
    st.randoms(use_true_random=False),
)
def test_property_5_and_6_order_and_copies_of_rows(rows, copies, mode, random):
    """A permutation of the rows permutes the weights; m copies are one row of weight m."""
    order = list(range(len(rows)))
    random.shuffle(order)

    def weigh(rows, v=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b, y = (list(column) for column in zip(*rows, strict=True))
            if all(value is None for value in b):
                b = [1] * len(b)
            return Reweigher([Attribute("a"), Attribute("b")], mode=mode).fit_weights(
                {"a": a, "b": b}, y, sample_weight=v
            )

    found = weigh(rows)
    np.testing.assert_allclose(weigh([rows[i] for i in order]), found[order], rtol=1e-12)
    v = [1 + i % copies for i in range(len(rows))]
    weighted = weigh(rows, v)
    copied = weigh([row for row, m in zip(rows, v, strict=True) for _ in range(m)])
    np.testing.assert_allclose(np.repeat(weighted / v, v), copied, rtol=1e-12)
    np.testing.assert_allclose(weigh(rows, np.array(v) * 7.5), weighted * 7.5, rtol=1e-12)


@pytest.mark.parametrize("block", [3, 100])
@pytest.mark.parametrize("dense", [1, 1 << 22])
def test_blocks_and_tables_of_any_size_give_the_same(rows, block, dense, monkeypatch):
    expected = Reweigher(["sex", "stage"]).fit_weights(rows, rows["died"], sample_weight=rows["v"])
    monkeypatch.setattr(coding_module, "BLOCK", block)
    for module in (coding_module, fitted_module, table_module):
        monkeypatch.setattr(module, "DENSE", dense)
    found = Reweigher(["sex", "stage"]).fit_weights(rows, rows["died"], sample_weight=rows["v"])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_more_groups_than_fit_in_a_dense_table():
    n = 5000
    columns = {"a": np.arange(n) // 2, "b": np.arange(n) // 2 % 1000}
    y = np.arange(n) % 2
    found = Reweigher(["a", "b"], mode="intersection", empty="ignore").fit_weights(columns, y)
    np.testing.assert_allclose(found, 1)


# Cells that are missing, unseen, empty or without weight.


def test_missing_is_a_group_of_its_own_unless_it_is_dropped_or_refused(rows):
    category = Reweigher(Attribute("sex", "M")).fit_weights(rows, rows["died"])
    np.testing.assert_allclose(category, by_hand(tuples(rows, ["sex"]), rows["died"], np.ones(len(rows))), rtol=1e-12)
    known = rows["sex"].notna()
    dropped = Reweigher(Attribute("sex", "M", missing="drop")).fit_weights(rows, rows["died"])
    assert (dropped[~known] == 0).all()
    expected = Reweigher(Attribute("sex", "M")).fit_weights(rows[known], rows["died"][known])
    np.testing.assert_allclose(dropped[known], expected, rtol=1e-12)
    with pytest.raises(InputError, match=rf"'sex' is missing in {(~known).sum()} of {len(rows)} rows"):
        Reweigher(Attribute("sex", missing="error")).fit(rows, rows["died"])


def test_a_combination_that_was_not_fitted(rows):
    train = rows[(rows["sex"] == "F") | (rows["stage"] == 1)]
    for mode in ("intersection", "marginal"):
        reweigher = Reweigher(["sex", "stage"], mode=mode, empty="ignore").fit(train, train["died"])
        with pytest.raises(InputError, match=r"sex=M, stage=[23], died=[01] did not occur in fit"):
            reweigher.compute_weights(rows, rows["died"])
        found = reweigher.set_params(unseen="one").compute_weights(rows, rows["died"])
        new = ~rows.index.isin(train.index)
        assert (found[new] == 1).all()
        np.testing.assert_array_equal(found[~new], reweigher.compute_weights(train, train["died"]))


def test_in_mode_level_an_unseen_combination_with_a_known_score_has_its_factor():
    train = pd.DataFrame({"race": ["W", "W", "B", "B", "B"], "y": [0, 1, 0, 1, 1]})
    reweigher = Reweigher(Attribute("race", "W")).fit(train, train["y"])
    other = reweigher.compute_weights({"race": ["B", "A", "Z"]}, [1, 1, 1])
    assert len(set(other)) == 1
    with pytest.raises(InputError, match="race=missing, label=1 did not occur"):
        reweigher.compute_weights({"race": [None]}, [1])
    with pytest.raises(InputError, match="race=W, label=2 did not occur"):
        Reweigher(Attribute("race", "W")).fit(train, train["y"].tolist()).compute_weights({"race": ["W"]}, [2])
    by_function = Reweigher(Attribute("race", lambda race: race in "WV")).fit(train, train["y"])
    found = by_function.compute_weights({"race": ["W", "V", "B", "A"]}, [0, 0, 0, 0])
    assert found[0] == found[1] != found[2] == found[3]
    ranked = Reweigher(Attribute("race")).fit(train, train["y"])
    with pytest.raises(InputError, match="race=A"):
        ranked.compute_weights({"race": ["A"]}, [1])


def test_a_row_without_weight_weighs_nothing_also_where_nothing_was_fitted():
    """Its cell has rows but no mass: an undefined factor must not turn 0 into an error or NaN."""
    X, y, v = {"sex": ["F", "M", "M", "M"]}, [0, 1, 0, 1], [0, 1, 1, 1]
    for dense in (1 << 22, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fitted_module, "DENSE", dense)
            reweigher = Reweigher("sex", empty="ignore").fit(X, y, sample_weight=v)
            np.testing.assert_array_equal(reweigher.compute_weights(X, y, sample_weight=v), [0, 1, 1, 1])
            with pytest.raises(InputError, match="sex=F, label=0"):
                reweigher.compute_weights(X, y)


def test_empty_cells_warn_are_ignored_or_are_refused():
    X, y = {"sex": ["F", "F", "M", "M"], "ward": [1, 1, 1, 2]}, [0, 0, 0, 1]
    with pytest.warns(UserWarning, match=r"1 combinations .* \(sex=F, label=1\).* 0\.5 of the total weight 4 is lost"):
        Reweigher("sex").fit(X, y)
    Reweigher("sex", empty="ignore").fit(X, y)
    Reweigher("sex", smoothing=1.0).fit(X, y)
    with pytest.raises(InputError, match="sex=F, label=1"):
        Reweigher("sex", empty="raise").fit(X, y)


# Options.


def test_clip_limits_the_factor_before_the_weights_are_normalised(rows):
    plain = Reweigher(["sex", "stage"]).fit_weights(rows, rows["died"])
    clipped = Reweigher(["sex", "stage"], clip=(0.8, 1.1)).fit_weights(rows, rows["died"])
    np.testing.assert_array_equal(clipped, np.clip(plain, 0.8, 1.1))
    kept = Reweigher(["sex", "stage"], clip=(0.8, 1.1), normalize="sum").fit_weights(
        rows, rows["died"], sample_weight=rows["v"]
    )
    assert kept.sum() == pytest.approx(rows["v"].sum())
    mean = Reweigher(["sex", "stage"], clip=(0, 1.1), normalize="mean").fit_weights(
        rows, rows["died"], sample_weight=rows["v"]
    )
    assert mean.mean() == pytest.approx(1)


def test_strength_mixes_with_the_prior_weights(rows):
    full = Reweigher("stage").fit_weights(rows, rows["died"], sample_weight=rows["v"])
    half = Reweigher("stage", strength=0.5).fit_weights(rows, rows["died"], sample_weight=rows["v"])
    np.testing.assert_allclose(half, (full + rows["v"]) / 2, rtol=1e-12)
    none = Reweigher("stage", strength=0).fit_weights(rows, rows["died"], sample_weight=rows["v"])
    np.testing.assert_allclose(none, rows["v"], rtol=1e-15)


def test_several_classes_and_several_groups():
    rng = np.random.default_rng(0)
    group, y = rng.integers(0, 4, 600), rng.choice(["home", "ward", "died"], 600)
    weight = Reweigher().fit_weights(group, y)
    table = pd.DataFrame({"g": group, "y": y, "w": weight}).pivot_table(
        index="g", columns="y", values="w", aggfunc="sum"
    )
    shares = table.div(table.sum(axis=1), axis=0)
    np.testing.assert_allclose(shares, np.tile(pd.Series(y).value_counts(normalize=True)[shares.columns], (4, 1)))


@pytest.mark.parametrize(("group", "y"), [("FFMM", [1, 1, 1, 1]), ("FFFF", [0, 1, 0, 1])])
def test_one_class_or_one_group_leaves_everything(group, y):
    assert Reweigher().fit_weights(list(group), y).tolist() == [1, 1, 1, 1]


# Bins.


def test_bins_are_learnt_on_the_rows_of_fit_and_a_value_on_an_edge_lies_below(rows):
    """A defect of the reference: a cut at the mean of all rows leaks the validation rows into it."""
    train, test = rows[:200], rows[200:]
    mean = Reweigher(Attribute("age", bins="mean")).fit(train, train["died"])
    assert mean.cuts_["age"].edges == (train["age"].mean(),)
    weighted = Reweigher(Attribute("age", bins="mean")).fit(train, train["died"], sample_weight=train["v"])
    assert weighted.cuts_["age"].edges[0] == pytest.approx(np.average(train["age"], weights=train["v"]))
    found = mean.compute_weights(test, test["died"])
    above = test["age"] > train["age"].mean()
    factors = mean.factors_.set_index(["age", "died"])["factor"]
    low, high = mean.cuts_["age"].labels
    expected = [factors[high if up else low, y] for up, y in zip(above, test["died"], strict=True)]
    np.testing.assert_array_equal(found, expected)
    assert Cut((30.0, 60.0)).apply("age", [30, 30.1, 60, 61, np.nan, -np.inf, np.inf]).tolist() == [
        "up to 30", "30 to 60", "30 to 60", "above 60", None, "up to 30", "above 60",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bins", "edges"),
    [
        ("median", 1),
        (4, 3),
        (np.int64(4), 3),
        ([40, 60], 2),
        ((40.0,), 1),
        (np.array([40, 60.5]), 2),
        (pd.Series([40]), 1),
    ],
)
@pytest.mark.parametrize("make", [lambda age: age, pa.array, list, lambda age: age.astype("Int64")])
def test_bins_of_any_kind_on_any_column(rows, bins, edges, make):
    age = rows["age"].where(rows["age"] > 25)
    reweigher = Reweigher(Attribute("age", bins=bins), smoothing=1.0).fit({"age": make(age)}, rows["died"])
    assert len(reweigher.cuts_["age"].edges) == edges
    assert len(reweigher.table_.values[0]) == edges + 2
    assert reweigher.table_.values[0][-1] is None
    quantiles = {"median": [0.5], 4: [0.25, 0.5, 0.75]}.get(bins if np.ndim(bins) == 0 else None)
    if quantiles:
        assert reweigher.cuts_["age"].edges == tuple(np.nanquantile(age, quantiles))


def test_a_privileged_number_stands_for_its_bin(rows):
    found = Reweigher(Attribute("age", 50, bins=[40, 60])).fit(rows, rows["died"])
    assert found.factors_["group"].nunique() == 2
    assert found.factors_.groupby("group")["age"].unique().map(sorted).tolist() == [
        ["above 60", "up to 40"],
        ["40 to 60"],
    ]
    named = Reweigher(Attribute("age", lambda name: name == "40 to 60", bins=[40, 60])).fit(rows, rows["died"])
    np.testing.assert_array_equal(named.factors_["factor"], found.factors_["factor"])


def test_edges_that_agree_in_six_digits_still_make_different_groups():
    edges = (1000000.1, 1000000.2, 1000000.3)
    assert Cut(edges).labels == (
        "up to 1000000.1", "1000000.1 to 1000000.2", "1000000.2 to 1000000.3", "above 1000000.3",
    )  # fmt: skip
    assert len(set(Cut((0.1, np.nextafter(0.1, 1), 0.2)).labels)) == 4


def test_bins_rank_by_their_edges_and_not_by_their_names():
    ages, sexes = np.repeat([10, 50, 99], 8), np.tile(["F", "M"], 12)
    y = np.tile([0, 0, 1, 1], 6)
    attributes = [Attribute("age", level=1, bins=[20, 80]), Attribute("sex", "M", level=2)]
    with pytest.warns(UserWarning, match="same score"):
        found = Reweigher(attributes).fit({"age": ages, "sex": sexes}, y)
    merged = found.diagnostics_.collisions
    assert [sorted((cell["age"], cell["sex"]) for cell in cells) for cells in merged] == [
        [("above 80", "F"), ("up to 20", "M")]
    ]


def test_weights_do_not_hinder_bins():
    X, y = {"age": [10.0, 20.0, 30.0, np.nan]}, [0, 1, 0, 1]
    reweigher = Reweigher(Attribute("age", bins="mean"), empty="ignore").fit(X, y, sample_weight=[1, 3, 0, 1])
    assert reweigher.cuts_["age"].edges == (17.5,)
    with pytest.raises(InputError, match="no number to learn"):
        Reweigher(Attribute("age", bins="mean")).fit(X, y, sample_weight=[0, 0, 0, 1])


# What is stored, shown and refused.


def test_scikit_learn_can_clone_pickle_and_show_it(rows):
    attributes = [Attribute("sex", "M", level=2), Attribute("age", bins="mean")]
    reweigher = Reweigher(attributes, mode="geometric", clip=(0.1, 5), importance={"sex": 0.5})
    copy = clone(reweigher)
    assert copy.get_params() == reweigher.get_params()
    assert reweigher.attributes is attributes
    with pytest.raises(NotFittedError):
        copy.compute_weights(rows, rows["died"])
    fitted = reweigher.fit(rows, rows["died"])
    again = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_series_equal(
        again.compute_weights(rows, rows["died"]), fitted.compute_weights(rows, rows["died"])
    )
    assert "Reweigher(" in repr(fitted)


def test_what_is_fitted_is_told(rows):
    reweigher = Reweigher([Attribute("sex", "M"), "stage"], min_cell=30).fit(
        rows, rows["died"], sample_weight=rows["v"]
    )
    assert reweigher.levels_ == {"sex": 1, "stage": 2}
    assert reweigher.classes_ == (0, 1)
    assert reweigher.table_ == CountTable.count_rows(rows, ["sex", "stage", "died"], weight="v")
    counts = rows.groupby(["sex", "stage", "died"], dropna=False).size()
    assert reweigher.factors_["count"].sum() == len(rows)
    found = reweigher.diagnostics_
    assert len(found.small_cells) == (counts < 30).sum()
    w = reweigher.compute_weights(rows, rows["died"], sample_weight=rows["v"])
    v = rows["v"]
    assert found.n == len(rows)
    assert found.effective_sample_size == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.effective_sample_size_before == pytest.approx(v.sum() ** 2 / (v**2).sum())
    assert (found.min_factor, found.max_factor) == pytest.approx(((w / v).min(), (w / v).max()))
    assert found.to_dict()["lost_mass"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("names", [["count", "weight"], ["group", "factor"], ["label", "n"]])
def test_columns_may_be_called_like_ours(rows, names):
    X = rows[["sex", "stage"]].set_axis(names, axis=1)
    reweigher = Reweigher(mode="intersection")
    found = reweigher.fit_weights(X, rows["died"].rename("label"))
    expected = Reweigher(["sex", "stage"], mode="intersection").fit_weights(rows, rows["died"])
    np.testing.assert_array_equal(found, expected)
    assert reweigher.factors_.columns.is_unique
    assert list(reweigher.factors_.columns[:2]) == names
    assert len(reweigher.factors_.to_dict(orient="records")[0]) == 7


def test_the_label_may_have_the_name_of_an_attribute(rows):
    found = Reweigher("sex").fit(rows, rows["died"].rename("sex"))
    assert found.table_.columns == ("sex", "sex_label")


def refusals():
    X = {"sex": ["F", "F", "M", "M"], "age": [1.0, 2.0, 3.0, 4.0]}
    y = [0, 1, 0, 1]
    yield "no column 'x'", lambda: Reweigher("x").fit(X, y)
    yield "named twice", lambda: Reweigher(["sex", "sex"]).fit(X, y)
    yield "no sensitive attribute", lambda: Reweigher().fit({}, y)
    yield "mode='x' is unknown", lambda: Reweigher("sex", mode="x").fit(X, y)
    yield "smoothing=-1", lambda: Reweigher("sex", smoothing=-1).fit(X, y)
    yield "smoothing=nan", lambda: Reweigher("sex", smoothing=float("nan")).fit(X, y)
    yield "takes no smoothing", lambda: Reweigher("sex", mode="marginal", smoothing=1).fit(X, y)
    yield "strength=2", lambda: Reweigher("sex", strength=2).fit(X, y)
    yield "strength=nan", lambda: Reweigher("sex", strength=float("nan")).fit(X, y)
    yield "clip=", lambda: Reweigher("sex", clip=(2, 1)).fit(X, y)
    yield "clip=", lambda: Reweigher("sex", clip=(-1, 1)).fit(X, y)
    yield "clip=", lambda: Reweigher("sex", clip=(0, 0)).fit(X, y)
    yield "clip=3", lambda: Reweigher("sex", clip=3).fit(X, y)
    yield "clip=('a', 'b')", lambda: Reweigher("sex", clip=("a", "b")).fit(X, y)
    yield "smoothing='1'", lambda: Reweigher("sex", smoothing="1").fit(X, y)
    yield "strength='1'", lambda: Reweigher("sex", strength="1").fit(X, y)
    yield "importance=[1]", lambda: Reweigher("sex", mode="geometric", importance=[1]).fit(X, y)
    yield "importance 'sex': '1'", lambda: Reweigher("sex", mode="geometric", importance={"sex": "1"}).fit(X, y)
    yield "mode 'level' takes no importance", lambda: Reweigher("sex", importance={"sex": 1}).fit(X, y)
    yield "order=3", lambda: Reweigher(["sex", "age"], mode="lattice", order=3).fit(X, y)
    yield "order=1.5", lambda: Reweigher(["sex", "age"], mode="lattice", order=1.5).fit(X, y)
    yield "importance 'x'", lambda: Reweigher("sex", mode="geometric", importance={"x": 1}).fit(X, y)
    yield "importance 'sex': 2", lambda: Reweigher("sex", mode="geometric", importance={"sex": 2}).fit(X, y)
    yield "empty='x'", lambda: Reweigher("sex", empty="x").fit(X, y)
    yield "unseen='x'", lambda: Reweigher("sex", unseen="x").fit(X, y)
    yield "normalize='x'", lambda: Reweigher("sex", normalize="x").fit(X, y)
    yield "no rows", lambda: Reweigher("sex").fit({"sex": []}, [])
    yield "different lengths", lambda: Reweigher("sex").fit(X, [0, 1])
    yield "different lengths", lambda: Reweigher(["a", "b"]).fit({"a": [1, 2], "b": [1]}, [0, 1])
    yield "2 weights for 4 rows", lambda: Reweigher("sex").fit(X, y, sample_weight=[1, 1])
    yield (
        "4 weights for 3 rows",
        lambda: Reweigher(Attribute("age", bins="mean")).fit({"age": [1, 2, 3]}, y, sample_weight=y),
    )
    yield "row 1 is -1.0", lambda: Reweigher("sex").fit(X, y, sample_weight=[1, -1, 1, 1])
    yield "all 0", lambda: Reweigher("sex").fit(X, y, sample_weight=[0, 0, 0, 0])
    yield "all 0, or too small", lambda: Reweigher("sex").fit(X, y, sample_weight=[1e-200] * 4)
    yield "'label' has missing values", lambda: Reweigher("sex").fit(X, [0, 1, 0, None])
    yield "y has shape", lambda: Reweigher("sex").fit(X, np.zeros((4, 2)))
    yield "y has shape", lambda: Reweigher("sex").fit(X, None)
    yield "no value at all", lambda: Reweigher("sex").fit({"sex": [None, None]}, [0, 1])
    yield "no value at all", lambda: Reweigher(Attribute("sex", missing="drop")).fit({"sex": [None, None]}, [0, 1])
    yield "'X' of 'sex' does not occur: it has 'F', 'M'", lambda: Reweigher(Attribute("sex", "X")).fit(X, y)
    yield "None of 'sex' does not occur", lambda: Reweigher(Attribute("sex", {"F", float("nan")})).fit(X, y)
    yield "reference value None", lambda: Reweigher(Attribute("sex", pd.NA)).fit(X, y)
    yield "not all numbers", lambda: Reweigher(Attribute("sex", bins="mean")).fit(X, y)
    yield "not all numbers", lambda: Reweigher(Attribute("t", bins=2)).fit({"t": pd.to_datetime(["2020", None] * 2)}, y)
    yield "privileged values of the attribute 'age'", lambda: Reweigher(Attribute("age", "old", bins=[2])).fit(X, y)
    yield "no number to learn", lambda: Reweigher(Attribute("age", bins=2)).fit({"age": [np.nan] * 4}, y)
    yield "no column 'x'", lambda: Reweigher("x").fit_table(CountTable.count_rows({**X, "y": y}, ["sex", "y"]))
    table = CountTable.count_rows({"age": [1, 2], "y": [0, 1]}, ["age", "y"])
    yield "'age' has bins, but a count table", lambda: Reweigher(Attribute("age", 1, bins=[1])).fit_table(table)
    yield "'y' is the label, and is named", lambda: Reweigher("y").fit_table(table)
    yield "no sensitive attribute: name at least one", lambda: Reweigher([]).fit(X, y)
    yield "no sensitive attribute: name at least one", lambda: Reweigher().fit(pd.DataFrame(index=range(4)), y)
    yield "{'sex': 'F'} names no attribute", lambda: Reweigher({"sex": "F"}).fit(X, y)
    yield "('sex', 'F') names no attribute", lambda: Reweigher([("sex", "F")]).fit(X, y)
    yield "lazy frame has no rows", lambda: Reweigher("sex").fit(pl.LazyFrame(X), y)
    yield "'a' 2 times", lambda: Reweigher().fit(pd.DataFrame([[1, 2]], columns=["a", "a"]), [1])


@pytest.mark.parametrize(
    ("message", "call"), list(refusals()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_used_is_one_sentence(message, call):
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": -1}, "level of 'a' is -1"),
        ({"level": 1.5}, "level of 'a' is 1.5"),
        ({"level": "2"}, "level of 'a' is '2'"),
        ({"level": True}, "level of 'a' is True"),
        ({"level": float("nan")}, "level of 'a' is nan"),
        ({"missing": "x"}, "missing='x'"),
        ({"privileged": set()}, "no value of 'a' is privileged"),
        ({"bins": "x"}, "bins='x'"),
        ({"bins": 1}, "bins=1"),
        ({"bins": True}, "bins=True"),
        ({"bins": 2.0}, "bins=2.0"),
        ({"bins": []}, "must be finite and increase"),
        ({"bins": [2, 1]}, "must be finite and increase"),
        ({"bins": np.array([1, 1])}, "must be finite and increase"),
        ({"bins": [1, float("inf")]}, "must be finite and increase"),
        ({"bins": ["a"]}, "bin edges of 'a' are not all numbers"),
        ({"bins": [[1, 2]]}, "is unknown"),
    ],
)
def test_attributes_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        Attribute("a", **options)


def test_a_record_batch_is_a_frame():
    rows = {"sex": ["F", "M", "M", "F", "M"], "y": [0, 1, 0, 1, 1]}
    batch, table = pa.RecordBatch.from_pydict(rows), pa.table(rows)
    reweigher = Reweigher(["sex"])
    for found in (
        reweigher.fit_weights(batch, rows["y"]), reweigher.fit_weights(batch, batch["y"]),
        reweigher.add_weights(batch, "y")["weight"],
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(found), np.asarray(reweigher.fit_weights(table, table["y"])))


# Lazy frames.


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["2020-01-01", "2020-01-02"], None),
        ([1, 2], "Int64 here but was fitted with '2020-01-01'"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "Datetime.* here but was fitted with '2020-01-01'"),
    ],
)
def test_a_lazy_column_of_another_type_is_named_before_its_engine_fails(column, message):
    reweigher = Reweigher("day", smoothing=1.0).fit({"day": ["2020-01-01", "2020-01-02"]}, [0, 1])
    lazy = pl.from_pandas(pd.DataFrame({"day": column, "y": [0, 1]})).lazy()
    if message is None:
        assert reweigher.add_weights(lazy, "y").collect()["weight"].null_count() == 0
    else:
        with pytest.raises(InputError, match=message):
            reweigher.add_weights(lazy, "y")


def test_a_lazy_row_without_weight_weighs_nothing_also_where_nothing_was_fitted():
    lazy = pl.LazyFrame({"sex": ["F", "M", "M", "M"], "y": [0, 1, 0, 1], "v": [0.0, 1, 1, 1]})
    table = CountTable.count_rows(lazy, ["sex", "y"], weight="v")
    found = Reweigher("sex", empty="ignore").fit_table(table).add_weights(lazy, "y", weight="v").collect()
    assert found["weight"].to_list() == [0, 1, 1, 1]
