"""Dask and Spark frames are counted by their own engines, and get their weights there."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from auscult.core.errors import InputError
from auscult.m3fair import CountTable, Reweigher

pytestmark = [
    pytest.mark.spark,
    # What these two say about themselves is theirs to change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    n = 2000
    sex = rng.choice(["F", "M"], n)
    unit = rng.choice(np.array(["medical", "surgical", None], dtype=object), n, p=[0.5, 0.4, 0.1])
    died = (rng.random(n) < 0.2 + 0.2 * (sex == "M")).astype(int)
    return pd.DataFrame({"row": np.arange(n), "sex": sex, "unit": unit, "died": died, "v": rng.integers(1, 5, n) / 2})


@pytest.fixture(scope="module")
def spark():
    pyspark = pytest.importorskip("pyspark.sql")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("there is no Java")
    session = (
        pyspark.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(params=["dask", "spark"])
def frame(request, rows):
    """The rows in four partitions."""
    if request.param == "dask":
        return pytest.importorskip("dask.dataframe").from_pandas(rows, npartitions=4)
    records = [tuple(None if pd.isna(value) else value for value in row) for row in rows.to_numpy().tolist()]
    schema = "row long, sex string, unit string, died long, v double"
    return request.getfixturevalue("spark").createDataFrame(records, schema).repartition(4)


def collect(frame):
    """Return a frame of either kind as a pandas frame in the order of the rows."""
    if hasattr(frame, "compute"):
        return frame.compute().sort_values("row", ignore_index=True)
    return pd.DataFrame([row.asDict() for row in frame.collect()]).sort_values("row", ignore_index=True)


@pytest.mark.parametrize("weight", [None, "v"])
def test_partitions_are_counted_as_one_frame(rows, frame, weight):
    by = ["sex", "unit", "died"]
    assert CountTable.count_rows(frame, by, weight=weight) == CountTable.count_rows(rows, by, weight=weight)


@pytest.mark.parametrize("mode", ["level", "intersection"])
def test_weights_are_added_within_the_engine(rows, frame, mode):
    by = ["sex", "unit", "died"]
    reweigher = Reweigher(["sex", "unit"], mode=mode).fit_table(CountTable.count_rows(frame, by, weight="v"))
    weighted = reweigher.add_weights(frame, "died", weight="v")
    assert type(weighted) is type(frame)
    expected = Reweigher(["sex", "unit"], mode=mode).fit_weights(rows, rows["died"], sample_weight=rows["v"])
    np.testing.assert_allclose(collect(weighted)["weight"].to_numpy(), expected.to_numpy(), rtol=1e-12)


def test_a_negative_weight_is_refused(frame):
    import narwhals as nw

    spoilt = nw.from_native(frame).with_columns(v=nw.col("v") * -1).to_native()
    with pytest.raises(InputError, match="the weights in column 'v' must be numbers from 0"):
        CountTable.count_rows(spoilt, ["sex", "died"], weight="v")
