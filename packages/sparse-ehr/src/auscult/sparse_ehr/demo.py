"""The demonstration: death at Tongji, from the first days of a stay, of patients who were still there after them.

Each patient is scored by a model that was fitted without them. The early horizon matters: the last laboratory values
of these stays are drawn a day before the end, and tell the outcome almost by themselves.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.bins import Binning
from auscult.core.data.cohort import Cohort
from auscult.core.data.open import load_cohort
from auscult.core.device import one_thread
from auscult.core.report import Report
from auscult.core.risk import compare, evaluate
from auscult.sparse_ehr.estimator import PrismClassifier
from auscult.sparse_ehr.explanation import explain
from auscult.sparse_ehr.inputs import to_grid
from auscult.sparse_ehr.jobs import MEASURES, write_predictions
from auscult.sparse_ehr.presentation import (
    add_explanation,
    plot_calibration,
    plot_discrimination,
    plot_history,
    prototype_rows,
)

DAYS = 4
FOLDS = 4
SEED = 0
OPTIONS: dict[str, Any] = {
    "bin_hours": 24.0,
    "window_hours": 24.0 * DAYS,
    "n_members": 2,
    "batch_size": 32,
    "device": "cpu",
}
_DISCRIMINATION = {"auroc": "AUROC", "auprc": "AUPRC", "minpse": "min(P+, Se)"}
_CALIBRATION = {"brier": "Brier score", "ece": "calibration error", "log_loss": "log loss"}


def run_demo(out: Path) -> dict[str, Any]:
    """Run it into a folder: ``report.html``, ``predictions.parquet``, ``model/``.

    Returns
    -------
    The paths, the number of patients, and every model's measures with intervals.
    """
    cohort = at_risk(load_cohort("tjh"), DAYS)
    label = cohort.labels["mortality"].astype(np.int64)
    with one_thread():
        risks = out_of_fold(cohort, label)
        model = PrismClassifier(**OPTIONS, random_state=SEED).fit(cohort, label)
    model.save(out / "model")
    measured = {name: _measure(label, risk, cohort) for name, risk in risks.items()}
    _write_page(out / "report.html", cohort, label, risks, measured, model)
    write_predictions(out / "predictions.parquet", cohort.subject_id, risks["stack"])
    return {
        "report": str(out / "report.html"), "model": str(out / "model"),
        "predictions": str(out / "predictions.parquet"), "n": len(cohort), "events": int(label.sum()), "days": DAYS,
        "measures": measured,
    }  # fmt: skip


def at_risk(cohort: Cohort, days: int) -> Cohort:
    """Return the stays that last longer than some days, with nothing of what came after them."""
    stay = cohort.labels["los_days"][:, 0] + cohort.time[:, 0] / 24
    chosen = cohort.select(stay > days)
    # Patients are numbered by outcome: ids in their own order keep no trace of it.
    order = np.random.default_rng(SEED).permutation(len(chosen))
    chosen = dataclasses.replace(chosen, labels={"mortality": chosen.labels["mortality"]}).select(order)
    # Times are whole days, and the end of a window belongs to it: the next day must not.
    return Binning(hours=24, end=24 * days - 1).apply(chosen)


def out_of_fold(cohort: Cohort, label: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return each model's risks of all patients, each from a model that was fitted without them."""
    from sklearn.model_selection import StratifiedKFold

    from auscult.sparse_ehr.baselines import LogisticBaseline
    from auscult.sparse_ehr.calibration import probability

    risks = {name: np.empty(len(label)) for name in ("stack", "PRISM alone", "LightGBM alone", "logistic regression")}
    grid = to_grid(cohort, bin_hours=OPTIONS["bin_hours"], window_hours=OPTIONS["window_hours"])
    for number, (rows, held) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(label, label)):
        model = PrismClassifier(**OPTIONS, random_state=number).fit(cohort.select(rows), label[rows])
        test = cohort.select(held)
        network, trees = model.log_odds(test)
        risks["stack"][held] = model.predict_proba(test)[:, 1]
        risks["PRISM alone"][held] = probability(network)
        assert trees is not None
        risks["LightGBM alone"][held] = probability(trees)
        logistic = LogisticBaseline().fit(grid.select(rows), label[rows])
        risks["logistic regression"][held] = logistic.predict_proba(grid.select(held))[:, 1]
    return risks


def _measure(label: NDArray[np.int64], risk: NDArray[np.float64], cohort: Cohort) -> dict[str, Any]:
    found = evaluate(label, risk, cohort.subject_id, metrics=tuple(MEASURES.values()), seed=SEED)
    return {name: found[m].to_dict() for name, m in MEASURES.items()}


def _write_page(
    path: Path,
    cohort: Cohort,
    label: NDArray[np.int64],
    risks: dict[str, NDArray[np.float64]],
    measured: dict[str, Any],
    model: PrismClassifier,
) -> None:
    page = Report(
        f"Who will die in hospital, seen after {DAYS} days?",
        subtitle=f"sparse-ehr: PRISM with boosted trees on {len(cohort)} stays at Tongji Hospital, Wuhan, 2020",
    )
    _add_setting(page, cohort, label)
    _add_results(page, label, risks, measured)
    # Of the patients at the highest risk the one with the median number of measurements.
    order = np.argsort(-risks["stack"], kind="stable")[: max(1, len(cohort) // 10)]
    measured_cells = cohort.observed[order].sum((1, 2))
    row = int(order[np.argsort(measured_cells, kind="stable")[len(order) // 2]])
    page.section(
        "One patient",
        f"Of the tenth with the highest risks, subject {cohort.subject_id[row]} has the median number of measurements. "
        f"The model that was fitted without this patient gave {risks['stack'][row]:.1%}; the patient "
        f"{'died' if label[row] else 'left hospital alive'}. What follows is from a model fitted on all of these "
        "patients, this one too, to show what it sees; the results above are not. The outcome is death in hospital.",
    )
    add_explanation(page, explain(model, cohort, row, reference=cohort, k=8))
    used = int((model.prototypes_.size > 0).sum())
    page.section(
        "Prototypes",
        f"Patients that the model represents others by, found without their outcomes; highest risk first. {used} of "
        f"{len(model.prototypes_.size)} are the nearest of anybody in the end.",
    )
    page.table(
        prototype_rows(model.prototypes_),
        caption="The prototypes of the model",
        formats={"share with the outcome": ".0%"},
    )
    page.section("How the model was fitted")
    page.figure(
        plot_history(model.history_), caption="Average precision on the held-out part after each epoch.",
        alt="Line plot of the average precision by epoch",
    )  # fmt: skip
    page.section("What this does not say").text(
        f"These are patients of one hospital in one epidemic, {label.mean():.0%} of whom died; nothing here was "
        "validated for the care of a patient. With so few patients the intervals are wide, and where that of a "
        "difference holds 0, no difference was shown. They count which patients there are, not how a model's fit "
        "varies.\n\n"
        "PRISM is the method of Zhu et al. (CIKM 2024, arXiv 2309.04160); its combination with boosted trees and the "
        "repairs of its released code are this library's."
    )
    page.write(path)


def _add_setting(page: Report, cohort: Cohort, label: NDArray[np.int64]) -> None:
    grid = to_grid(cohort, bin_hours=OPTIONS["bin_hours"], window_hours=OPTIONS["window_hours"])
    page.section("The question").facts(
        {
            "patients": len(cohort),
            "died in hospital": f"{int(label.sum())} ({label.mean():.0%})",
            "what is known": f"the first {DAYS} days: {len(grid.features)} laboratory values by day (the source has no "
            "units), age and sex",
            "missing cells": f"{1 - grid.observed.mean():.0%} of {len(grid.features)} values on {DAYS} days",
        }
    )
    page.text(
        f"Only patients who were still in hospital after {DAYS} days count, as a prediction comes too late for others. "
        f"Every risk in the next two sections is from one of {FOLDS} models that were fitted without the patient. The "
        "stack is PRISM and LightGBM on summaries, combined and calibrated on patients held out of their fit; the "
        "other models are shown as they come, without calibration."
    )


def _add_results(
    page: Report, label: NDArray[np.int64], risks: dict[str, NDArray[np.float64]], measured: dict[str, Any]
) -> None:
    page.section("Discrimination")
    page.table(_rows(measured, _DISCRIMINATION), caption="Out of fold, with 95 % intervals of resampled patients")
    page.figure(
        plot_discrimination(label, risks), caption="ROC and precision-recall curves, out of fold; grey is chance.",
        alt="Two plots with one curve a model",
    )  # fmt: skip
    differences = [
        {"compared with": name, **_paired(label, risks["stack"], risk)}
        for name, risk in risks.items()
        if name != "stack"
    ]
    page.table(
        differences,
        caption="The stack minus another model, on the same resampled patients; below 0 is better for the Brier score",
    )
    page.section(
        "Calibration",
        "Lower is better. The calibration error is the mean distance of observed and predicted risk in 15 bins; of so "
        "few patients it is above 0 for a perfect model too, and resampling adds to it, so its intervals lie high.",
    )
    page.table(_rows(measured, _CALIBRATION), caption="Out of fold, with 95 % intervals of resampled patients")
    shown = {name: risks[name] for name in ("stack", "PRISM alone", "LightGBM alone")}
    page.figure(
        plot_calibration(label, shown, bins=6),
        caption="Observed against predicted risk in six bins of equal size, out of fold; on the line both are equal.",
        alt="Points along the diagonal with intervals, one colour a model",
    )  # fmt: skip


def _rows(measured: dict[str, Any], names: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"model": model} | {shown: found[name] for name, shown in names.items()} for model, found in measured.items()
    ]


def _paired(label: NDArray[np.int64], one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    shown = {name: (_DISCRIMINATION | _CALIBRATION)[name] for name in ("auroc", "auprc", "brier")}
    found = compare(label, one, other, metrics=tuple(shown), seed=SEED)
    return {text: found[name] for name, text in shown.items()}
