"""Weights of frames that have no rows yet: counted and weighed by their own engine."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from auscult.core.errors import InputError
from auscult.m3fair import Attribute, CountTable, Reweigher


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = 300
    sex = rng.choice(np.array(["F", "M", None], dtype=object), n)
    age = rng.choice([30.0, 60.0, np.nan], n)
    return pd.DataFrame({"sex": sex, "age": age, "v": rng.random(n).round(3), "y": rng.integers(0, 2, n)})


@pytest.mark.parametrize("mode", ["level", "intersection", "marginal"])
def test_a_lazy_frame_gets_the_weights_of_an_eager_one(rows, mode):
    lazy = pl.from_pandas(rows, nan_to_null=False).lazy()
    reweigher = Reweigher(["sex", "age"], mode=mode)
    reweigher.fit_table(CountTable.count_rows(lazy, ["sex", "age", "y"], weight="v"))
    expected = Reweigher(["sex", "age"], mode=mode).fit_weights(rows, rows["y"], sample_weight=rows["v"])
    result = reweigher.add_weights(lazy, "y", weight="v")
    assert isinstance(result, pl.LazyFrame)
    np.testing.assert_allclose(result.collect()["weight"], expected, rtol=1e-12)


def test_a_duckdb_relation(rows):
    relation = duckdb.sql("select row_number() over () as i, * from rows")
    reweigher = Reweigher(["sex"]).fit_table(CountTable.count_rows(relation, ["sex", "y"]))
    result = reweigher.add_weights(relation, "y", name="w")
    assert isinstance(result, duckdb.DuckDBPyRelation)
    expected = Reweigher(["sex"]).fit_weights(rows, rows["y"])
    np.testing.assert_allclose(result.order("i").df()["w"], expected, rtol=1e-12)


@pytest.mark.parametrize("make", [lambda frame: frame, pl.from_pandas, pa.Table.from_pandas])
def test_eager_frames_keep_their_kind(rows, make):
    frame = make(rows)
    reweigher = Reweigher(["sex"]).fit(rows, rows["y"])
    result = reweigher.add_weights(frame, "y")
    assert type(result) is type(frame)
    expected = Reweigher(["sex"]).fit_weights(rows, rows["y"])
    np.testing.assert_allclose(np.asarray(result["weight"]), expected, rtol=1e-12)


def test_what_was_not_fitted_is_null_or_one(rows):
    known = rows[rows["sex"] == "F"]
    lazy = pl.from_pandas(rows, nan_to_null=False).lazy()
    for unseen, other in (("raise", None), ("one", 1.0)):
        result = Reweigher(["sex"], unseen=unseen).fit(known, known["y"]).add_weights(lazy, "y").collect()
        assert result.filter(pl.col("sex") == "M")["weight"].unique().to_list() == [other]


@pytest.mark.parametrize("make", [lambda frame: pl.from_pandas(frame).lazy(), lambda frame: duckdb.from_df(frame)])
@pytest.mark.parametrize("mode", ["level", "intersection"])
@pytest.mark.parametrize("levels", [(None, None), (1, 1), (0, 1)])
@pytest.mark.parametrize("privileged", ["M", {"M", "F"}, None])
def test_new_values_weigh_the_same_in_eager_and_lazy_frames(rows, make, mode, levels, privileged):
    """As the score says in mode level: a new value, and known values that never met, may have one."""
    rows = rows.assign(unit=np.where(rows["sex"] == "M", "a", np.where(np.arange(300) % 2, "a", "b")))[
        ["sex", "unit", "y"]
    ]
    attributes = [Attribute("sex", privileged, level=levels[0]), Attribute("unit", "a", level=levels[1])]
    reweigher = Reweigher(attributes, mode=mode, unseen="one", empty="ignore").fit(rows, rows["y"])
    values = [(sex, unit, y) for sex in ("F", "M", "X", None) for unit in ("a", "b", "z", None) for y in (0, 1)]
    new = pd.DataFrame(values, columns=["sex", "unit", "y"]).assign(i=range(len(values)))
    lazy = reweigher.add_weights(make(new), "y")
    found = lazy.collect().sort("i")["weight"] if hasattr(lazy, "collect") else lazy.order("i").df()["weight"]
    np.testing.assert_allclose(found, reweigher.add_weights(new, "y")["weight"], rtol=1e-12)


def test_a_function_cannot_be_asked_in_a_lazy_frame(rows):
    reweigher = Reweigher([Attribute("sex", lambda sex: sex == "M")]).fit(rows, rows["y"])
    with pytest.raises(InputError, match="the privileged values of 'sex' are a function"):
        reweigher.add_weights(pl.from_pandas(rows).lazy(), "y")


def test_rows_with_a_dropped_missing_value_weigh_nothing(rows):
    reweigher = Reweigher([Attribute("sex", missing="drop")]).fit(rows, rows["y"])
    lazy = pl.from_pandas(rows, nan_to_null=False).lazy()
    assert reweigher.add_weights(lazy, "y").filter(pl.col("sex").is_null()).collect()["weight"].unique().to_list() == [
        0.0
    ]


def test_errors_name_the_column(rows):
    lazy = pl.from_pandas(rows).lazy()
    with pytest.raises(InputError, match="'died'"):
        Reweigher(["sex"]).fit(rows, rows["y"]).add_weights(lazy, "died")
    binned = Reweigher([Attribute("age", bins=[50])]).fit(rows, rows["y"])
    with pytest.raises(InputError, match="bins of age"):
        binned.add_weights(lazy, "y")
    with pytest.raises(InputError, match="lazy frame has no rows"):
        Reweigher(["sex"]).fit(lazy, rows["y"])
