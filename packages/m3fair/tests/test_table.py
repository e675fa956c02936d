import datetime
import decimal
from collections import Counter
from itertools import pairwise
from unittest import mock

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import InputError
from auscult.m3fair import CountTable
from auscult.m3fair import coding as coding_module
from auscult.m3fair import table as table_module

values = st.one_of(
    st.none(), st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "a", "A", "é", "None"]),
    st.sampled_from([0.5, -0.0, float("nan"), float("inf")]),
)  # fmt: skip
columns_of_rows = st.integers(1, 3).flatmap(
    lambda k: st.lists(st.tuples(*[values] * k, st.integers(0, 5)), min_size=1, max_size=40)
)


def cells(table):
    """Return the table as {values: (count, weight, weight_squared)}."""
    decoded = [tuple(table.values[k][code] for k, code in enumerate(row)) for row in table.codes.tolist()]
    return dict(zip(decoded, zip(table.count, table.weight, table.weight_squared, strict=True), strict=True))


def missing_is_none(value):
    return None if value is None or value != value else value


def as_mapping(rows):
    arrays = [np.array([*column, None], dtype=object)[:-1] for column in zip(*rows, strict=True)]
    return {f"c{k}": array for k, array in enumerate(arrays[:-1])}, np.array([row[-1] for row in rows], dtype=float)


@settings(deadline=None, derandomize=True)
@given(columns_of_rows, st.integers(1, 9), st.sampled_from([1, 1 << 22]))
def test_the_table_counts_what_occurs_whatever_the_blocks(rows, block, dense):
    data, weight = as_mapping(rows)
    expected = {}
    for *key, v in rows:
        n, total, squared = expected.get(tuple(map(missing_is_none, key)), (0, 0, 0))
        expected[tuple(map(missing_is_none, key))] = (n + 1, total + v, squared + v * v)
    with mock.patch.object(coding_module, "BLOCK", block), mock.patch.object(table_module, "DENSE", dense):
        table = CountTable.count_rows(data, list(data), weight=weight)
    assert cells(table) == expected
    assert table.n == len(rows)
    assert table.total_weight == weight.sum()


@settings(deadline=None, derandomize=True)
@given(columns_of_rows, st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
def test_property_7_the_sum_of_the_tables_of_parts_is_the_table_of_all(rows, cuts, random):
    """Whatever the parts and their order."""
    data, weight = as_mapping(rows)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [
        CountTable.count_rows({name: column[a:b] for name, column in data.items()}, list(data), weight=weight[a:b])
        for a, b in pairwise(edges)
    ]
    random.shuffle(parts)
    whole = CountTable.count_rows(data, list(data), weight=weight)
    assert CountTable.sum(parts) == whole
    assert CountTable.empty(list(data)) + whole == whole
    assert whole + CountTable.empty(list(data)) == whole


@settings(deadline=None, derandomize=True)
@given(columns_of_rows)
def test_a_table_survives_every_format(tmp_path_factory, rows):
    data, weight = as_mapping(rows)
    data = {"count": data["c0"], "weight": weight.astype(int), "n": weight > 2}
    table = CountTable.count_rows(data, list(data), weight=weight / 3)
    folder = tmp_path_factory.mktemp("tables")
    table.to_json(folder / "t.json")
    table.to_parquet(folder / "t.parquet")
    assert CountTable.from_json(table.to_json()) == table
    assert CountTable.from_json(folder / "t.json") == table
    assert CountTable.from_parquet(folder / "t.parquet") == table
    assert CountTable.from_frame(table.to_frame()) == table
    assert sorted(path.name for path in folder.iterdir()) == ["t.json", "t.parquet"]


def test_statistics_are_named_apart_from_columns_of_the_same_name():
    table = CountTable.count_rows({"count": ["a"], "weight": ["b"]}, ["count", "weight"])
    assert list(table.to_frame().columns) == ["count", "weight", "count_", "weight_", "weight_squared"]


MISSING = {"F": 1, "M": 2, None: 1}
COLUMNS = {
    "list": (["F", "M", None, "M"], MISSING),
    "list with NaN among texts": (["F", "M", float("nan"), "M"], MISSING),
    "list of texts and numbers": (["F", 1, 1, None], {"F": 1, 1: 2, None: 1}),
    "text array": (np.array(["F", "M"]), {"F": 1, "M": 1}),
    "bytes": (np.array([b"F", b"M"]), {"F": 1, "M": 1}),
    "object": (np.array(["F", np.nan, None, pd.NA, 3], dtype=object), {"F": 1, 3: 1, None: 3}),
    "masked": (np.ma.array([1, 2, 3], mask=[False, True, False]), {1: 1, 3: 1, None: 1}),
    "all true": (np.array([True, True]), {True: 2}),
    "bool": (np.array([True, False, True]), {True: 2, False: 1}),
    "bool with missing": ([True, None, False], {True: 1, False: 1, None: 1}),
    "int8 over its whole range": (np.array([-128, 127, 127, 0], dtype=np.int8), {-128: 1, 127: 2, 0: 1}),
    "negative": (np.array([-3, -1, -3]), {-3: 2, -1: 1}),
    "wide": (np.array([-(2**63), 2**63 - 1, 0]), {-(2**63): 1, 2**63 - 1: 1, 0: 1}),
    "uint64": (np.array([2**64 - 1, 2**63, 5], dtype=np.uint64), {2**64 - 1: 1, 2**63: 1, 5: 1}),
    "uint64 in a small range": (np.array([7, 6, 7, 5], dtype=np.uint64), {7: 2, 6: 1, 5: 1}),
    "another byte order": (np.array([3, 300, 3], dtype=">i4"), {3: 2, 300: 1}),
    "beyond 64 bits": ([2**70, 1, 2**70], {2**70: 2, 1: 1}),
    "float": (np.array([1.5, np.nan, 1.5, -0.0, 0.0]), {1.5: 2, None: 1, 0.0: 2}),
    "float16": (np.array([1.5, np.nan], dtype=np.float16), {1.5: 1, None: 1}),
    "complex": (np.array([1 + 2j, 1 + 2j]), {"(1+2j)": 2}),
    "empty texts are values": (["", "a", ""], {"": 2, "a": 1}),
    "dates": ([datetime.date(2020, 1, 1), None], {"2020-01-01": 1, None: 1}),
    "datetimes": (np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"), {"2020-01-01 00:00:00": 1, None: 1}),
    "decimals": ([decimal.Decimal("1.5"), None], {"1.5": 1, None: 1}),
    "pandas Int64": (pd.Series([1, None, 3], dtype="Int64"), {1: 1, 3: 1, None: 1}),
    "pandas UInt64": (pd.Series([1, 2**63], dtype="UInt64"), {1: 1, 2**63: 1}),
    "pandas Float64": (pd.Series([1.0, None], dtype="Float64"), {1.0: 1, None: 1}),
    "pandas boolean": (pd.Series([True, None, True], dtype="boolean"), {True: 2, None: 1}),
    "pandas string": (pd.Series(["F", None], dtype="string"), {"F": 1, None: 1}),
    "pandas pyarrow": (pd.Series(["F", None], dtype="string[pyarrow]"), {"F": 1, None: 1}),
    "pandas int64 pyarrow": (pd.Series([1, None], dtype="int64[pyarrow]"), {1: 1, None: 1}),
    "pandas mixed": (pd.Series(["F", 1, None, 1], dtype=object), {"F": 1, 1: 2, None: 1}),
    "pandas category": (
        pd.Series(pd.Categorical(["F", "M", None, "M"], categories=["X", "M", "F"])), MISSING,
    ),
    "pandas category of numbers": (pd.Series(pd.Categorical([3, 1, 3])), {3: 2, 1: 1}),
    "pandas cut": (pd.cut(pd.Series([1, 50, np.nan]), [0, 30, 60]), {"(0, 30]": 1, "(30, 60]": 1, None: 1}),
    "pandas periods": (pd.Series(pd.period_range("2020-01", periods=2, freq="M")), {"2020-01": 1, "2020-02": 1}),
    "pandas sparse": (pd.Series(pd.arrays.SparseArray([0, 0, 1])), {0: 2, 1: 1}),
    "pandas index": (pd.Index(["F", "M"]), {"F": 1, "M": 1}),
    "polars": (pl.Series(["F", "M", None, "M"]), MISSING),
    "polars categorical": (pl.Series(["F", "M", None, "M"], dtype=pl.Categorical), MISSING),
    "polars enum": (pl.Series(["F", "M", None, "M"], dtype=pl.Enum(["X", "M", "F"])), MISSING),
    "polars NaN and null": (pl.Series([1.0, float("nan"), None]), {1.0: 1, None: 2}),
    "polars 128 bits": (pl.Series([1, 2, 1], dtype=pl.Int128), {1: 2, 2: 1}),
    "polars object": (pl.Series(["F", "F"], dtype=pl.Object), {"F": 2}),
    "arrow": (pa.array(["F", "M", None, "M"]), MISSING),
    "arrow chunks": (pa.chunked_array([["F"], ["M", None, "M"]]), MISSING),
    "arrow dictionaries that differ": (
        pa.chunked_array([pa.array(["F", None]).dictionary_encode(), pa.array(["M", "M"]).dictionary_encode()]),
        MISSING,
    ),
    "arrow runs": (pa.RunEndEncodedArray.from_arrays([2, 3], ["F", "M"]), {"F": 2, "M": 1}),
    "arrow nothing but missing": (pa.nulls(3), {None: 3}),
}  # fmt: skip


@pytest.mark.parametrize("block", [2, 1 << 18])
@pytest.mark.parametrize(("column", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_any_kind_of_column(column, expected, block, monkeypatch):
    monkeypatch.setattr(coding_module, "BLOCK", block)
    table = CountTable.count_rows({"a": column}, ["a"])
    assert {key: count for (key,), (count, *_) in cells(table).items()} == expected


@pytest.mark.parametrize("count", [255, 256, 257, 70_000])
@pytest.mark.parametrize("kind", [int, str])
def test_many_values(count, kind):
    column = [kind(i % count) for i in range(2 * count)][::-1]
    table = CountTable.count_rows({"a": column, "b": column}, ["a", "b"])
    assert len(table) == count
    assert set(table.count) == {2}
    assert table.values[0] == tuple(sorted(map(kind, range(count))))


def test_values_are_in_canonical_order_and_all_occur():
    table = CountTable.count_rows({"a": ["b", 2, None, "a", 10, True]}, ["a"])
    assert table.values == ((True, 2, 10, "a", "b", None),)
    gaps = CountTable.count_rows({"a": np.array([9, 5])}, ["a"])
    assert gaps.values == ((5, 9),)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    sex = rng.choice(np.array(["F", "M", None], dtype=object), 500)
    age = rng.choice([30.0, 60.0, np.nan], 500)
    return pd.DataFrame({"sex": sex, "age": age, "died": rng.integers(0, 2, 500), "v": rng.integers(0, 9, 500) / 4})


FRAMES = {
    "mapping": lambda rows: {name: rows[name].to_numpy() for name in rows},
    "polars": lambda rows: pl.from_pandas(rows, nan_to_null=False),
    "polars lazy": lambda rows: pl.from_pandas(rows, nan_to_null=False).lazy(),
    "pyarrow": lambda rows: pa.table({name: pa.array(rows[name], from_pandas=name == "sex") for name in rows}),
    "record batch": lambda rows: pa.RecordBatch.from_pandas(rows, preserve_index=False),
    "pandas with pyarrow": lambda rows: rows.convert_dtypes(dtype_backend="pyarrow"),
    "pandas nullable": lambda rows: rows.convert_dtypes(),
    "duckdb": lambda rows: duckdb.sql("select * from rows"),
}


@pytest.mark.parametrize("weight", [None, "v"])
@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_any_frame_gives_the_same_table(rows, make, weight):
    names = ["sex", "age", "died"]
    expected = Counter(zip(*(map(missing_is_none, rows[name]) for name in names), strict=True))
    table = CountTable.count_rows(make(rows), names, weight=weight)
    assert {key: count for key, (count, *_) in cells(table).items()} == expected
    assert table == CountTable.count_rows(rows, names, weight=weight)


def test_a_lazy_frame_without_rows():
    frame = pl.DataFrame({"sex": [], "v": []}, schema={"sex": pl.String, "v": pl.Float64})
    assert CountTable.count_rows(frame.lazy(), ["sex"], weight="v") == CountTable.empty(["sex"])
    assert CountTable.count_rows(frame, ["sex"], weight="v") == CountTable.empty(["sex"])


def test_marginal_keep_and_map_values(rows):
    table = CountTable.count_rows(rows, ["sex", "age", "died"], weight="v")
    assert table.marginal(["died", "sex"]) == CountTable.count_rows(rows, ["died", "sex"], weight="v")
    with pytest.raises(InputError, match="the table has no column 'race'; it has 'sex', 'age', 'died'"):
        table.marginal(["race"])
    nothing = table.marginal([])
    assert (nothing.n, nothing.total_weight, len(nothing)) == (500, rows["v"].sum(), 1)
    men = table.keep(table.codes[:, 0] == table.values[0].index("M"))
    assert men == CountTable.count_rows(rows[rows["sex"] == "M"], ["sex", "age", "died"], weight="v")
    pooled = table.map_values({"age": {30.0: "any", 60.0: "any"}})
    ages = rows["age"].map({30.0: "any", 60.0: "any"})
    assert pooled == CountTable.count_rows(rows.assign(age=ages), ["sex", "age", "died"], weight="v")


def test_replacing_many_values_is_not_quadratic():
    """With a search for each value, this takes minutes."""
    numbers = np.arange(200_000)
    table = CountTable.count_rows({"a": numbers}, ["a"])
    assert table.map_values({"a": {value: str(value) for value in range(200_000)}}).values[0][:3] == ("0", "1", "10")


def test_tables_over_other_columns_cannot_be_added(rows):
    one, other = (CountTable.count_rows(rows, [name]) for name in ("sex", "age"))
    with pytest.raises(InputError, match="cannot be added"):
        one + other
    with pytest.raises(TypeError):
        one + 1
    assert one != other
    assert one != 1


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"a": [1, 2]}, {"by": ["b"]}, "no column 'b'"),
        ({"a": [1, 2]}, {"by": []}, "name at least one"),
        ({"a": [1, 2]}, {"by": ["a", "a"]}, "each once"),
        ({"a": [1, 2], "b": [1]}, {"by": ["a", "b"]}, "different lengths"),
        ({"a": [1, 2]}, {"weight": [1]}, "1 weights for 2 rows"),
        ({"a": [1, 2]}, {"weight": [1, -1]}, "row 1 is -1.0"),
        ({"a": [1, 2]}, {"weight": [np.nan, 1]}, "row 0 is nan"),
        ({"a": [1, 2]}, {"weight": [1, np.inf]}, "row 1 is inf"),
        ({"a": [1, 2]}, {"weight": [1, 1e200]}, "1e"),
        ({"a": [1, 2]}, {"weight": ["a", 1]}, "not all numbers"),
        ({"a": [1, 2]}, {"weight": np.ones((2, 2))}, "shape"),
        ({"a": [1, 2]}, {"weight": np.ones(2) + 1j}, "not all numbers"),
        ({"a": [1, 2]}, {"weight": pd.to_datetime(["2020", "2021"])}, "not all numbers"),
        ({"a": [1, 2]}, {"weight": pa.array([1, None])}, "row 1 is nan"),
        ({"a": [1, 2]}, {"weight": np.ma.array([1.0, 2.0], mask=[False, True])}, "row 1 is nan"),
        ({"a": [1, 2]}, {"weight": pd.Series([1, None], dtype="Int64")}, "row 1 is nan"),
        ({"a": [[1, 2], [3, 4]]}, {}, "shape"),
        ({"a": [[1], [2, 3]]}, {}, "differ in their number"),
        ({"a": [{"b": 1}, {"b": 2}]}, {}, "no groups"),
        ({"a": np.array([{1}, [2]], dtype=object)}, {}, "no groups"),
        ({"a": pa.array([[1], [2]])}, {}, "no groups"),
        ([[1, 2]], {}, "a list is no frame"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "'a' 2 times"),
        (pl.LazyFrame({"a": [1]}), {"by": ["b"]}, "no column 'b'"),
        (pl.LazyFrame({"a": [1]}), {"weight": "b"}, "no column 'b'"),
        (pl.LazyFrame({"a": [1]}), {"weight": [1]}, "name it"),
        (pl.LazyFrame({"a": [1], "v": ["x"]}), {"weight": "v"}, "give numbers"),
        (pl.LazyFrame({"a": [1], "v": [-1]}), {"weight": "v"}, "from 0"),
        (pl.LazyFrame({"a": [1], "v": [None]}, schema={"a": pl.Int8, "v": pl.Int8}), {"weight": "v"}, "from 0"),
    ],
)
def test_bad_rows_are_one_sentence(data, options, message):
    with pytest.raises(InputError, match=message) as caught:
        CountTable.count_rows(data, **{"by": ["a"], **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "[1]", "{}", '{"schema": 2, "columns": ["a"], "cells": []}',
        '{"schema": 1, "columns": ["a"], "cells": [[1]]}',
        '{"schema": 1, "columns": ["a"], "cells": [["F", "x", 1, 1]]}',
        '{"schema": 1, "columns": ["a"], "cells": [["F", -1, 1, 1]]}',
        '{"schema": 1, "columns": ["a"], "cells": [["F", 1.5, 1, 1]]}',
        '{"schema": 1, "columns": ["a"], "cells": [["F", 1, NaN, 1]]}',
        '{"schema": 1, "columns": ["a"], "cells": [["F", 1, -1, 1]]}',
        '{"schema": 1, "columns": ["a", "a"], "cells": [["F", "F", 1, 1, 1]]}',
    ],
)  # fmt: skip
def test_text_that_is_no_table_is_refused(text, tmp_path):
    with pytest.raises(InputError, match="the text is not a count table"):
        CountTable.from_json(text)
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"table\.json is not a count table"):
        CountTable.from_json(path)


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a count table"):
        CountTable.from_json(tmp_path / "bytes.json")
    (tmp_path / "bytes.parquet").write_bytes(b"PAR1")
    pd.DataFrame({"a": [1], "count": [1]}).to_parquet(tmp_path / "short.parquet")
    pd.DataFrame({"a": ["x"], "count": [1], "weight": [1.0], "weight_squared": [1.0]}).to_parquet(
        tmp_path / "keys.parquet"
    )
    for name in ("bytes", "short", "keys"):
        with pytest.raises(InputError, match=rf"{name}\.parquet is not a count table") as caught:
            CountTable.from_parquet(tmp_path / f"{name}.parquet")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="ends in the columns"):
        CountTable.from_frame(pd.DataFrame({"a": [1], "count": [1]}))
