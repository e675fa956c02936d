"""An audit of 10 x 5 x 2 groups and their pairs: against a group-by, fairlearn, and the bare random draws."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from runner import Provider, compare, parse_arguments, store
from sklearn.metrics import accuracy_score, precision_score

from auscult.m3fair import CountTable, DisparityReport, audit, audit_table
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.metrics import DISPARITIES, RATES

VALUES = {"region": 10, "age": 5, "sex": 2}
EVERYTHING: dict[str, Any] = {"order": 2, "metrics": tuple(RATES), "disparities": tuple(DISPARITIES)}
FIVE = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy")
REPLICATES = 1000


def main() -> None:
    chosen = parse_arguments(
        __doc__, rows=(10_000_000, 100_000, "rows of the largest audit"),
        fairlearn=(1_000_000, 5_000, "rows of the comparison with fairlearn"),
        boot=(2_000, 500, "rows of the bootstrap comparison with fairlearn"),
        resamples=(100, 5, "resamples in it"),
    )  # fmt: skip
    frames = ("pandas", "narwhals", "pyarrow")
    rows = compare(
        "audit, all rates, disparities and intervals, 97 groups, pandas str",
        [Provider("pandas group-by", make_rows, count_cells, frames), Provider("m3fair", make_rows, audit_all, frames)],
        chosen.rows,
        check=lambda cells, report: np.testing.assert_equal(report.n, cells.sum()),
    )
    installed = ("fairlearn", "scikit-learn", "pandas")
    rows += compare(
        "audit, 97 groups; fairlearn 5 rates, m3fair all",
        [Provider("fairlearn", make_rows, frame_five, installed), Provider("m3fair", make_rows, audit_all, installed)],
        chosen.fairlearn, check=check_five, memory=False, seconds=120,
    )  # fmt: skip
    rows += compare(
        f"audit, 10 groups, 5 rates, {chosen.resamples} resamples",
        [
            Provider("fairlearn", make_rows, partial(resample_five, n_boot=chosen.resamples), installed),
            Provider("m3fair", make_rows, partial(bootstrap_five, n_boot=chosen.resamples), installed),
        ],
        chosen.boot, memory=False, seconds=120,
    )  # fmt: skip
    for n in (chosen.boot, chosen.rows):
        rows += compare(
            f"{REPLICATES} resamples of all rates and disparities, 97 groups, from the table",
            [Provider("numpy draws only", make_table, draw), Provider("m3fair", make_table, bootstrap_table)],
            n, memory=False,
        )  # fmt: skip
    if not chosen.quick:
        store(rows)


def make_rows(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    codes = {name: rng.integers(0, size, n, dtype=np.uint8) for name, size in VALUES.items()}
    risk = 0.1 + 0.05 * codes["region"] + 0.05 * codes["age"]
    died = rng.random(n) < risk
    predicted = rng.random(n) < 0.5 * risk + 0.4 * died
    texts = {
        name: pd.Series(pd.array([f"{name} {i}" for i in range(VALUES[name])], dtype="str").take(code))
        for name, code in codes.items()
    }
    return pd.DataFrame({**texts, "died": died.astype(np.int8), "predicted": predicted.astype(np.int8)})


def make_table(n: int) -> CountTable:
    return CountTable.count_rows(make_rows(n), [*VALUES, "died", "predicted"])


def count_cells(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby([*VALUES, "died", "predicted"], observed=True, sort=False).size()


def audit_all(frame: pd.DataFrame) -> DisparityReport:
    return audit(frame["died"], frame["predicted"], sensitive_features=frame[[*VALUES]], **EVERYTHING)


def bootstrap_five(frame: pd.DataFrame, n_boot: int) -> DisparityReport:
    return audit(
        frame["died"], frame["predicted"], sensitive_features=frame[["region"]], metrics=FIVE, ci="bootstrap",
        n_boot=n_boot,
    )  # fmt: skip


def bootstrap_table(table: CountTable) -> DisparityReport:
    attributes = [Attribute(name) for name in VALUES]
    return audit_table(
        table, attributes, label="died", decision="predicted", ci="bootstrap", n_boot=REPLICATES, **EVERYTHING
    )


def draw(table: CountTable) -> np.ndarray:
    return np.random.default_rng(0).multinomial(table.n, table.count / table.n, size=REPLICATES)


def frame_five(frame: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    subsets = [subset for size in (1, 2) for subset in combinations(VALUES, size)]
    return {subset: metric_frame(frame, subset).by_group for subset in subsets}


def resample_five(frame: pd.DataFrame, n_boot: int) -> Any:
    return metric_frame(frame, ("region",), n_boot=n_boot, ci_quantiles=[0.025, 0.975], random_state=0).by_group_ci


def metric_frame(frame: pd.DataFrame, attributes: tuple[str, ...], **options: Any) -> Any:
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    metrics: dict[str, Callable[..., float]] = {
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "precision": precision_score,
        "accuracy": accuracy_score,
    }
    return MetricFrame(
        metrics=metrics, y_true=frame["died"], y_pred=frame["predicted"], sensitive_features=frame[[*attributes]],
        **options,
    )  # fmt: skip


def check_five(expected: dict[tuple[str, ...], pd.DataFrame], report: DisparityReport) -> None:
    found = {tuple(result.group.items()): result.metrics for result in report.groups}
    for subset, by_group in expected.items():
        for values, row in by_group.iterrows():
            names = values if isinstance(values, tuple) else (values,)
            ours = found[tuple(zip(subset, names, strict=True))]
            for name in ("selection_rate", "accuracy"):
                np.testing.assert_allclose(ours[name], row[name], rtol=1e-12)


if __name__ == "__main__":
    main()
