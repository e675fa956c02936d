"""Reweighing weights of 10 groups x 2 labels: against numpy, the frames' own group-by and join, and AIF360."""

import logging
import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from runner import Provider, compare, parse_arguments, store

from auscult.m3fair import Reweigher

GROUPS = [f"group {number}" for number in range(10)]
LABELS = ["survived", "died"]


def main() -> None:
    chosen = parse_arguments(
        __doc__, rows=(10_000_000, 100_000, "rows"), aif360=(1_000_000, 20_000, "rows of the comparison with AIF360")
    )
    rows = []
    for dtype in ("int64", "uint8"):
        make = partial(make_codes, dtype=dtype)
        providers = [Provider("numpy", make, weigh_numpy), Provider("m3fair", make, weigh_codes)]
        rows += compare(f"weights, {dtype} codes", providers, chosen.rows, check=check)
    for kind, join in JOINS.items():
        library = "polars" if join is join_polars else "pandas"
        installed = ("pandas", "pyarrow", "polars", "narwhals")
        make = partial(make_frame, kind=kind)
        providers = [Provider(library, make, join, installed), Provider("m3fair", make, weigh_frame, installed)]
        rows += compare(f"weights, {kind}", providers, chosen.rows, check=check)
    installed = ("aif360", "pandas", "scikit-learn")
    providers = [
        Provider("aif360", make_indexed, weigh_aif360_sklearn, installed),
        Provider("m3fair", make_two_attributes, weigh_two_attributes, installed),
    ]
    rows += compare("weights, aif360.sklearn Reweighing, 5 x 2 groups", providers, chosen.aif360, check=check)
    providers = [
        Provider("aif360", make_dataset, weigh_aif360_dataset, installed),
        Provider("m3fair", make_two_groups, weigh_frame, installed),
    ]
    rows += compare("weights, aif360 dataset Reweighing, 2 groups", providers, chosen.aif360, check=check, memory=False)
    if not chosen.quick:
        store(rows)


def check(expected: Any, ours: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours), np.asarray(expected), rtol=1e-9)


def make_codes(n: int, dtype: str = "int64") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    group = rng.integers(0, len(GROUPS), n, dtype=np.uint8)
    label = rng.random(n, dtype=np.float32) < 0.1 + 0.05 * group.astype(np.float32)
    return [group.astype(dtype), label.astype(dtype)]


def weigh_numpy(data: list[np.ndarray]) -> np.ndarray:
    group, label = data
    key = group * 2 + label
    count = np.bincount(key, minlength=2 * len(GROUPS)).reshape(-1, 2)
    factor = count.sum(axis=1, keepdims=True) * count.sum(axis=0) / (count.sum() * count)
    return factor.ravel()[key]


def weigh_codes(data: list[np.ndarray]) -> Any:
    return Reweigher(mode="intersection").fit_weights(*data)


def make_frame(n: int, kind: str) -> Any:
    codes = make_codes(n, "int64" if kind.endswith("int64") else "uint8")
    columns = {}
    for name, code, values in zip(("group", "label"), codes, (GROUPS, LABELS), strict=True):
        if kind.endswith("int64"):
            columns[name] = code
            continue
        coded = pa.DictionaryArray.from_arrays(pa.array(code, pa.int8()), pa.array(values))
        if kind == "pandas categorical":
            columns[name] = pd.Categorical.from_codes(code, values)
        elif kind == "pandas object":
            columns[name] = pd.Series(np.array(values, dtype=object)[code], dtype=object)
        elif kind == "pandas str":
            columns[name] = pd.Series(pd.array(values, dtype="str").take(code))
        elif kind == "pandas pyarrow":
            columns[name] = pd.Series(pd.arrays.ArrowExtensionArray(coded.dictionary_decode()))
        elif kind == "polars String":
            columns[name] = pl.Series(values).gather(code)
        elif kind == "polars Categorical":
            columns[name] = pl.Series(values).cast(pl.Categorical).gather(code)
        elif kind == "polars Enum":
            columns[name] = pl.Series(values, dtype=pl.Enum(values)).gather(code)
    return pl.DataFrame(columns) if kind.startswith("polars") else pd.DataFrame(columns)


def make_two_groups(n: int) -> pd.DataFrame:
    frame = make_frame(n, "pandas int64")
    return frame.assign(group=frame["group"] % 2)


def weigh_frame(frame: Any) -> Any:
    return Reweigher(["group"], mode="intersection").fit_weights(frame, frame["label"])


def join_pandas(frame: pd.DataFrame) -> pd.Series:
    keys = ["group", "label"]
    cells = frame.groupby(keys, observed=True, sort=False).size().rename("count").reset_index()
    by_group = cells.groupby("group", observed=True)["count"].transform("sum")
    by_label = cells.groupby("label", observed=True)["count"].transform("sum")
    cells["factor"] = by_group * by_label / (len(frame) * cells["count"])
    return frame.merge(cells[[*keys, "factor"]], on=keys, how="left")["factor"]


def join_polars(frame: pl.DataFrame) -> pl.Series:
    keys, count = ["group", "label"], pl.col("count")
    factor = count.sum().over("group") * count.sum().over("label") / (frame.height * count)
    cells = frame.group_by(keys).agg(count=pl.len()).select(*keys, factor=factor)
    return frame.join(cells, on=keys, how="left", maintain_order="left")["factor"]


JOINS = {
    "pandas str": join_pandas,
    "pandas object": join_pandas,
    "pandas pyarrow": join_pandas,
    "pandas categorical": join_pandas,
    "pandas int64": join_pandas,
    "polars String": join_polars,
    "polars Categorical": join_polars,
    "polars Enum": join_polars,
    "polars int64": join_polars,
}


def make_two_attributes(n: int) -> pd.DataFrame:
    group, label = make_codes(n)
    return pd.DataFrame({"ward": group // 2, "sex": group % 2, "label": label})


def weigh_two_attributes(frame: pd.DataFrame) -> Any:
    return Reweigher(["ward", "sex"], mode="intersection").fit_weights(frame, frame["label"])


def make_indexed(n: int) -> list[Any]:
    frame = make_two_attributes(n)
    index = pd.MultiIndex.from_frame(frame[["ward", "sex"]])
    return [frame[["label"]].set_axis(index), frame["label"].set_axis(index)]


def weigh_aif360_sklearn(data: list[Any]) -> Any:
    quiet_aif360()
    from aif360.sklearn.preprocessing import Reweighing

    return Reweighing(["ward", "sex"]).fit_transform(*data)[1]


def make_dataset(n: int) -> Any:
    quiet_aif360()
    from aif360.datasets import BinaryLabelDataset

    return BinaryLabelDataset(df=make_two_groups(n), label_names=["label"], protected_attribute_names=["group"])


def weigh_aif360_dataset(dataset: Any) -> np.ndarray:
    from aif360.algorithms.preprocessing import Reweighing

    return Reweighing([{"group": 0}], [{"group": 1}]).fit_transform(dataset).instance_weights


def quiet_aif360() -> None:
    """Let it not warn about each optional package that is absent."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
