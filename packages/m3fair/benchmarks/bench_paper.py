"""The published numbers of the reference beside ours: labels of Adult and TJH, and a model trained on them.

At data level everything is determined, so ours must equal what is printed. At model level the reference has no seed
(Adult) or features of unknown preparation (TJH), so its one printed split stands beside percentiles of ours over
seeded splits; nothing is asserted there. Rows go to docs/benchmarks/m3fair_paper.csv.
"""

import argparse
import csv
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from auscult.core.data.open import load_cohort
from auscult.core.files import replace_atomically
from auscult.m3fair import Attribute, Reweigher
from auscult.m3fair.metrics import DISPARITIES, Confusion, symmetric_ratio

STORED = Path(__file__).parents[3] / "docs/benchmarks/m3fair_paper.csv"
ADULT = Path(__file__).parents[1] / "tests/data/adult"
THRESHOLDS = np.linspace(0.01, 0.5, 50)
FEATURES = ["workclass", "education", "marital-status", "occupation", "relationship", "native-country"]


@dataclass(frozen=True)
class Row:
    """A printed number, and ours: one value, or the median of seeded splits with their 5th and 95th percentile."""

    data: str
    level: str
    method: str
    quantity: str
    printed: float
    ours: float
    p5: float
    p95: float
    splits: int
    note: str = ""


# Labels: before, M3Fair, sequential in the order of the data's attributes and in reverse; DI then SPD.
LABELS = {
    ("Adult", "sex"): [
        (0.3634695423643793, -0.198901432678815), (1, 0), (1.0218649052280424, 0.00538), (1, 0),
    ],
    ("Adult", "race"): [
        (0.6037688467181627, -0.10395937026830099), (1, 0), (1, 0), (1.0949907626554443, 0.02323),
    ],
    ("TJH", "age"): [
        (0.27816769605090774, -0.4823952470293934), (1, 0), (1.01096960, 0.00502), (1, 0),
    ],
    ("TJH", "sex"): [
        (0.545413870246085, -0.2573129036342915), (1, 0), (1, 0), (1.02149390, 0.00980),
    ],
}  # fmt: skip

# Models: threshold's balanced accuracy, then min(DI, 1/DI), AOD, SPD, EOD of the first and the second attribute.
MODELS = {
    ("Adult", "none"): [0.8217, 0.3056, -0.1890, -0.3451, -0.1360, 0.6072, -0.0712, -0.1607, -0.0413],
    ("Adult", "m3fair"): [0.8088, 0.5501, -0.0450, -0.2109, 0.0204, 0.7806, -0.0019, -0.0908, 0.0306],
    ("Adult", "sequential"): [0.8083, 0.5589, -0.0402, -0.2058, 0.0245, 0.7851, -0.0001, -0.0887, 0.0322],
    ("Adult", "reverse"): [0.8079, 0.5538, -0.0497, -0.2143, 0.0145, 0.8238, 0.0069, -0.0744, 0.0281],
    ("TJH", "none"): [0.8357, 0.3147, -0.2585, -0.5227, -0.2922, 0.6732, -0.0699, -0.1942, -0.0018],
    ("TJH", "m3fair"): [0.8095, 0.4104, -0.2191, -0.4597, -0.3160, 0.7622, -0.0392, -0.1482, -0.0281],
    ("TJH", "sequential"): [0.8095, 0.4104, -0.2191, -0.4597, -0.3160, 0.7622, -0.0392, -0.1482, -0.0281],
    ("TJH", "reverse"): [0.8095, 0.4104, -0.2191, -0.4597, -0.3160, 0.7622, -0.0392, -0.1482, -0.0281],
}
GAPS = {
    "disparate_impact": "min(DI, 1/DI)",
    "average_odds_difference": "AOD",
    "statistical_parity_difference": "SPD",
    "equal_opportunity_difference": "EOD",
}


@dataclass(frozen=True)
class Data:
    """Rows with two attributes in the printed order, as (name, privileged value), a label, and model features."""

    name: str
    rows: pd.DataFrame
    attributes: dict[str, Any]
    label: pd.Series
    features: pd.DataFrame
    scaled: bool

    def reweigher(self, method: str) -> Reweigher:
        """Return the reweigher of a printed method; the first attribute has level 2."""
        first, second = (Attribute(name, value) for name, value in self.attributes.items())
        if method == "m3fair":
            return Reweigher(
                [Attribute(first.name, first.privileged, level=2), Attribute(second.name, second.privileged, level=1)]
            )
        order = [first, second] if method == "sequential" else [second, first]
        return Reweigher([attribute.name for attribute in order], mode="sequential")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two splits, nothing stored: does it run?")
    parser.add_argument("--splits", type=int, default=20, help="seeded splits of each data set (20)")
    chosen = parser.parse_args()
    splits = 2 if chosen.quick else chosen.splits
    rows: list[Row] = []
    for data in (adult(), tjh()):
        rows += of_cells(data) + of_labels(data)
        rows += of_models(data, splits)
    for row in rows:
        print(f"{row.data:6}{row.level:7}{row.method:23}{row.quantity:34}{row.printed:>12.6g}{row.ours:>12.6g}")
    if not chosen.quick:
        store(rows)


def adult() -> Data:
    rows = pd.concat([pd.read_csv(ADULT / f"adult.{part}.csv.gz") for part in ("data", "test")], ignore_index=True)
    rows = rows[~(rows == "?").any(axis=1)].reset_index(drop=True)
    rows["every race"] = rows["race"]
    rows["race"] = np.where(rows["race"] == "White", "White", "other")
    features = pd.get_dummies(rows.drop(columns=["income", "fnlwgt", "every race"]), columns=FEATURES, dtype=float)
    features = features.assign(sex=(rows["sex"] == "Male") * 1.0, race=(rows["race"] == "White") * 1.0)
    return Data(
        "Adult", rows, {"sex": "Male", "race": "White"}, (rows["income"] == ">50K").astype(int), features, scaled=True
    )


def tjh() -> Data:
    patients = load_cohort("tjh").first_visit()
    rows = pd.DataFrame({"age": np.where(patients["age"] > patients["age"].mean(), "older", "younger")})
    rows["sex"] = patients["sex"].map({0.0: "female", 1.0: "male"}).to_numpy()
    features = patients.drop(columns=["subject_id", "mortality", "los_days"]).reset_index(drop=True)
    features = features.fillna(features.median())
    # As printed: death is the positive label, and the groups that die more are called privileged.
    died = patients["mortality"].astype(int).reset_index(drop=True)
    return Data("TJH", rows, {"age": "older", "sex": "male"}, died, features, scaled=False)


KNOWN: dict[tuple[str, str], dict[str, float]] = {
    ("Adult", "m3fair"): {
        "effective sample size": 41850.0770, "smallest factor": 0.7651672832, "largest factor": 3.2567160885,
    },
    ("Adult", "levels 1, 1"): {"effective sample size": 42247.2666},
    ("Adult", "intersection, 5 races"): {
        "effective sample size": 41535.2320, "smallest factor": 0.7068444795, "largest factor": 4.0992605790,
    },
    ("Adult", "marginal"): {"effective sample size": 41905.73},
    ("TJH", "m3fair"): {"smallest factor": 0.5926823638, "largest factor": 5.1895528294},
}  # fmt: skip


def of_cells(data: Data) -> list[Row]:
    """Return what is known of the weights of all rows, checked."""
    equal = [Attribute(name, value, level=1) for name, value in data.attributes.items()]
    reweighers = {
        "m3fair": data.reweigher("m3fair"),
        "levels 1, 1": Reweigher(equal),
        "intersection, 5 races": Reweigher(["every race", "sex"], mode="intersection"),
        "marginal": Reweigher([*data.attributes], mode="marginal"),
    }
    rows = []
    for (name, method), known in KNOWN.items():
        if name != data.name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = reweighers[method].fit(data.rows, data.label).diagnostics_
        ours = {
            "effective sample size": found.effective_sample_size,
            "smallest factor": found.min_factor,
            "largest factor": found.max_factor,
        }
        for quantity, value in known.items():
            np.testing.assert_allclose(ours[quantity], value, rtol=1e-7)
            note = "recomputed from the public files"
            rows.append(Row(name, "weights", method, quantity, value, ours[quantity], np.nan, np.nan, 1, note))
    return rows


def of_labels(data: Data) -> list[Row]:
    """Return the disparities of the labels under each method's weights, checked against what is printed."""
    rows = []
    for place, method in enumerate(("none", "m3fair", "sequential", "reverse")):
        weight = np.ones(len(data.rows))
        if method != "none":
            weight = np.asarray(data.reweigher(method).fit_weights(data.rows, data.label))
        for name, privileged in data.attributes.items():
            inside = (data.rows[name] == privileged).to_numpy()
            out, reference = (np.average(data.label[side], weights=weight[side]) for side in (~inside, inside))
            printed = LABELS[data.name, name][place]
            for quantity, mine, theirs in zip(("DI", "SPD"), (out / reference, out - reference), printed, strict=True):
                # Differences after weighting are printed to five digits.
                np.testing.assert_allclose(
                    mine, theirs, rtol=1e-8, atol=1e-5 if method in ("sequential", "reverse") else 1e-12
                )
                rows.append(Row(data.name, "labels", method, f"{quantity}, {name}", theirs, mine, np.nan, np.nan, 1))
    return rows


def of_models(data: Data, splits: int) -> list[Row]:
    """Return the printed split beside percentiles of ours."""
    rows = []
    for method in ("none", "m3fair", "sequential", "reverse"):
        found = np.array([of_split(data, method, seed) for seed in range(splits)])
        names = ["balanced accuracy", *(f"{gap}, {name}" for name in data.attributes for gap in GAPS.values())]
        low, middle, high = np.percentile(found, [5, 50, 95], axis=0)
        for j, name in enumerate(names):
            rows.append(
                Row(
                    data.name, "model", method, name, MODELS[data.name, method][j], middle[j], low[j], high[j], splits,
                    "one unseeded split" if data.name == "Adult" else "one split, features of unknown preparation",
                )
            )  # fmt: skip
    return rows


def of_split(data: Data, method: str, seed: int) -> list[float]:
    """Return balanced accuracy and disparities on 30 % of the rows, as the reference measures them.

    It chooses the threshold on the same rows, which favours every method alike and is not to be imitated.
    """
    train, test = train_test_split(np.arange(len(data.rows)), test_size=0.3, random_state=seed)
    y = data.label.to_numpy()
    weight = None
    if method != "none":
        weight = np.asarray(data.reweigher(method).fit_weights(data.rows.iloc[train], data.label.iloc[train]))
    model = LogisticRegression(solver="liblinear", random_state=1, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), model) if data.scaled else make_pipeline(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(data.features.iloc[train], y[train], logisticregression__sample_weight=weight)
    score = pipeline.predict_proba(data.features.iloc[test])[:, 1]
    accuracy = [balanced_accuracy_score(y[test], score > threshold) for threshold in THRESHOLDS]
    decision = score > THRESHOLDS[int(np.argmax(accuracy))]
    values = [max(accuracy)]
    for name, privileged in data.attributes.items():
        inside = (data.rows[name].iloc[test] == privileged).to_numpy()
        out, reference = (table(y[test][side], decision[side]) for side in (~inside, inside))
        for metric in GAPS:
            value = float(DISPARITIES[metric].value(out, reference))
            values.append(float(symmetric_ratio(value)) if metric == "disparate_impact" else value)
    return values


def table(label: np.ndarray, decision: np.ndarray) -> Confusion:
    cells = np.zeros((2, 2))
    np.add.at(cells, (label, decision.astype(int)), 1)
    return Confusion(cells, cells)


def store(rows: list[Row]) -> None:
    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            for row in rows:
                values = asdict(row).items()
                writer.writerow(
                    {name: ("" if value != value else f"{value:.10g}") if isinstance(value, float) else value
                     for name, value in values}
                )  # fmt: skip

    replace_atomically(STORED, write)


if __name__ == "__main__":
    main()
