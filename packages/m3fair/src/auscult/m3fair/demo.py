"""The demonstration: hospital mortality at Tongji, audited and reweighted, from bundled data.

Labels first, as in the paper's data-level experiment, then a model's predictions: logistic regression on
the first day's measurements, each patient predicted by a model that was trained, and whose weights were
fitted, without them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.core.data.open import load_cohort
from auscult.core.files import replace_atomically
from auscult.core.intervals import Interval, bootstrap_replicates, percentile_bounds
from auscult.core.report import Report
from auscult.m3fair.attributes import Attribute
from auscult.m3fair.auditing import audit
from auscult.m3fair.metrics.ranking import auroc
from auscult.m3fair.plots import plot_disparities, plot_factors, plot_rates
from auscult.m3fair.presentation import disparity_rows, group_rows
from auscult.m3fair.results import SCHEMA, DisparityReport
from auscult.m3fair.reweigher import Reweigher

SEED = 0
FOLDS = 5
RESAMPLES = 1000
THRESHOLD = 0.5


def run_demo(out: Path) -> dict[str, Any]:
    """Run the experiment into a folder: ``report.html``, ``audit.json``, ``weights.parquet``, ``table.json``.

    Returns
    -------
    The paths, and the measured disparities before and after as in ``audit.json``.
    """
    cohort = load_cohort("tjh")
    patients = cohort.first_visit()
    survived = (1 - patients["mortality"]).rename("survived").astype(int)
    sensitive = patients[["age"]].assign(sex=patients["sex"].map({0.0: "female", 1.0: "male"}))
    features = patients.drop(columns=["subject_id", "mortality", "los_days"])
    attributes = [
        Attribute("age", privileged=-np.inf, level=2, bins="mean"),
        Attribute("sex", privileged="female", level=1),
    ]
    reweigher = Reweigher(attributes, mode="level")
    weights = reweigher.fit_weights(sensitive, survived)
    cut = reweigher.cuts_["age"]
    groups = sensitive.assign(age=cut.apply("age", sensitive["age"]))
    references = [Attribute("age", cut.labels[0]), Attribute("sex", "female")]

    def examine(decision: Any, score: Any = None, weight: Any = None) -> DisparityReport:
        return audit(
            survived, decision, sensitive_features=groups, attributes=references, y_score=score, sample_weight=weight
        )

    labels = {"before": examine(survived), "after": examine(survived, weight=weights)}
    scores = {
        "before": predict_out_of_fold(features, survived, lambda rows: None),
        "after": predict_out_of_fold(
            features,
            survived,
            lambda rows: Reweigher(attributes, mode="level").fit_weights(sensitive.iloc[rows], survived.iloc[rows]),
        ),
    }
    models = {name: examine((score >= THRESHOLD).astype(int), score) for name, score in scores.items()}
    privileged = {
        attribute.name: (groups[attribute.name] == attribute.privileged).to_numpy() for attribute in references
    }
    changes = measure_changes(survived.to_numpy(), scores, privileged)
    page = _write_page(len(cohort), reweigher, labels, models, changes)
    report = page.write(out / "report.html")
    files = {"weights": out / "weights.parquet", "table": out / "table.json", "audit": out / "audit.json"}
    frame = weights.rename("weight").to_frame()
    replace_atomically(files["weights"], lambda partial: frame.to_parquet(partial))
    reweigher.table_.to_json(files["table"])
    result = {
        "schema": SCHEMA,
        "labels": {name: one.to_dict() for name, one in labels.items()},
        "predictions": {name: one.to_dict() for name, one in models.items()},
        "changes": [{**row, "change": row["change"].to_dict()} for row in changes],
        "diagnostics": reweigher.diagnostics_.to_dict(),
    }
    _write_json(files["audit"], result)
    return {"report": report, **{name: str(path) for name, path in files.items()}, **result}


def predict_out_of_fold(
    features: Any, label: Any, weigh: Callable[[npt.NDArray[np.intp]], Any]
) -> npt.NDArray[np.float64]:
    """Return each row's predicted probability (n,) by a model trained on the other folds.

    Parameters
    ----------
    features
        A pandas frame of numbers, missing where not measured; the training rows' median fills them.
    label
        (n,) 0 or 1.
    weigh
        From training row numbers to their weights, or None.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    score = np.empty(len(label))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(features, label):
        model = make_pipeline(
            SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
        )
        model.fit(features.iloc[train], label.iloc[train], logisticregression__sample_weight=weigh(train))
        score[test] = model.predict_proba(features.iloc[test])[:, 1]
    return score


def measure_changes(
    label: npt.NDArray[Any],
    scores: dict[str, npt.NDArray[np.float64]],
    privileged: dict[str, npt.NDArray[np.bool_]],
) -> list[dict[str, Any]]:
    """Return how accuracy, AUROC and the disparities change, with paired intervals over resampled patients."""
    names = ["accuracy", "AUROC"]
    for attribute in privileged:
        names += [f"statistical parity difference, {attribute}", f"equal opportunity difference, {attribute}"]

    def of(name: str, rows: npt.NDArray[np.intp]) -> list[float]:
        y, score = label[rows], scores[name][rows]
        decision = score >= THRESHOLD
        values = [float((decision == (y == 1)).mean()), auroc(y, score).value]
        for reference in privileged.values():
            inside = reference[rows]
            for among in (np.ones(len(rows), dtype=bool), y == 1):
                rates = [
                    decision[among & group].mean() if (among & group).any() else np.nan for group in (~inside, inside)
                ]
                values.append(float(rates[0] - rates[1]))
        return values

    value, replicates = bootstrap_replicates(
        lambda rows: np.array([of("before", rows), of("after", rows)]), len(label), n_boot=RESAMPLES, seed=SEED
    )
    low, high = percentile_bounds(replicates[:, 1] - replicates[:, 0])
    return [
        {
            "measure": name,
            "before": float(value[0, i]),
            "after": float(value[1, i]),
            "change": Interval(float(value[1, i] - value[0, i]), float(low[i]), float(high[i])),
        }
        for i, name in enumerate(names)
    ]


def _write_page(
    n: int,
    reweigher: Reweigher,
    labels: dict[str, DisparityReport],
    models: dict[str, DisparityReport],
    changes: list[dict[str, Any]],
) -> Report:
    found = reweigher.diagnostics_
    page = Report(
        "Who survives, and who is predicted to", subtitle=f"m3fair on the TJH cohort: {n} COVID-19 patients, Wuhan 2020"
    )
    page.section(
        "What was measured",
        f"The favourable outcome is survival of the hospital stay: positive means survived. The attributes are age, "
        f"cut at the mean of the {n} patients, and sex. The reference groups are the younger patients and the women, "
        "who survive more often. All intervals are at 95 %.",
    ).facts(
        {
            "patients": n,
            "survived": labels["before"].overall.metrics["selection_rate"],
            "age groups (years)": " and ".join(reweigher.cuts_["age"].labels),
            "levels": ", ".join(f"{name} {level}" for name, level in reweigher.levels_.items()),
        }
    ).note(
        "A demonstration of a method on one early cohort. Survival differs by age and sex for medical reasons too: "
        "a disparity is a question to ask, not a proof of unfairness.",
        kind="warning",
    )
    page.section(
        "Labels, before and after reweighting",
        "Each patient gets the weight that makes survival independent of the group in the weighted data: every "
        "difference becomes 0 and every ratio 1. Intervals use the effective number of patients.",
    )
    page.figure(
        plot_rates(labels, "selection_rate", order=2), caption="Share of survivors by group, unweighted and weighted.",
        alt="Before, older and male patients survive less often; after, all groups have the overall rate.",
    )  # fmt: skip
    label_disparities = ("statistical parity difference", "disparate impact")
    page.table(
        [row for row in disparity_rows(labels) if row["disparity"] in label_disparities],
        caption="Disparities of the labels.",
    )
    page.section("The weights").facts(
        {
            "effective sample size": f"{found.effective_sample_size:.1f} of {found.effective_sample_size_before:.0f}",
            "smallest and largest weight": f"{found.min_factor:.4f} and {found.max_factor:.4f}",
            "sum of weights": found.weighted_total,
            "cells with fewer than 10 patients": len(found.small_cells),
        }
    ).figure(
        plot_factors(reweigher.factors_, str(reweigher.table_.columns[-1])),
        caption="The factor of every group and outcome.",
        alt="Older survivors and younger deaths weigh more than 1, the common combinations less.",
    ).table(reweigher.factors_.drop(columns="group"), caption="What was counted, and the factors.")
    page.section(
        "A model's predictions, before and after",
        f"Logistic regression on the measurements of the first day, age and sex; survival is predicted at a "
        f"probability of at least {THRESHOLD}. Every patient is predicted by the model of {FOLDS} folds that was "
        "trained without them; the weights are fitted in each training part alone.",
    ).table(
        changes, caption=f"Change by reweighting: paired, {RESAMPLES} resamples of patients.",
        formats={"before": ".3f", "after": ".3f"},
    )  # fmt: skip
    for metric, caption in (
        ("statistical_parity_difference", "Difference in the share predicted to survive."),
        ("equal_opportunity_difference", "Difference in the share of survivors who are predicted to survive."),
    ):
        page.figure(
            plot_disparities(models, metric, order=2), caption=caption,
            alt=f"{caption} One row a group against its reference, before and after, with intervals.",
        )  # fmt: skip
    for name, report in models.items():
        page.table(group_rows(report), caption=f"Predictions {name} reweighting, by group.")
    page.table(disparity_rows(models), caption="Disparities of the predictions, each group against its reference.")
    page.section("What this does not say")
    page.text(
        "Equal label rates in weighted training data do not imply equal predictions: the model may still infer the "
        "group from the measurements, and the change above is what was seen here, on these patients, with this model. "
        "Groups are small and intervals wide; they take each patient as independent and the fitted models as given."
    )
    for warning in dict.fromkeys(warning for report in models.values() for warning in report.warnings):
        page.note(warning, kind="warning")
    page.text(
        "Data: Yan et al., Nature Machine Intelligence 2020, doi 10.5281/zenodo.3766350, MIT licence. Method: Zhu et "
        "al., M3Fair, arXiv 2306.04118, with the label coded by what is favourable to the patient."
    )
    return page


def _write_json(path: Path, result: dict[str, Any]) -> None:
    import json

    from auscult.core.canonical import finite

    text = json.dumps(finite(result), ensure_ascii=False, indent=1)
    replace_atomically(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
