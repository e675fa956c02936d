"""Models against each other on the same splits: five by subject, resumable, with paired intervals."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.intervals import Interval, bootstrap_replicates, percentile_bounds
from auscult.core.risk import METRICS
from auscult.core.runs import RunStore
from auscult.sparse_ehr.trials import LIGHTGBM, PRISM, SEEDS, STACK, Outcome, Trial, open_store, run_trials, to_outcomes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODELS = ("lightgbm", "logistic", "prism")
MEASURES = ("auroc", "auprc", "min_precision_sensitivity", "brier", "expected_calibration_error")
# Of these a smaller value is better.
_LOWER = ("brier", "expected_calibration_error")
_PAIRS = ((STACK, LIGHTGBM), (PRISM, LIGHTGBM), (STACK, PRISM))


@dataclass(frozen=True)
class Comparison:
    """What models reached on the test parts of splits.

    Parameters
    ----------
    splits
        Seeds of the splits on which all models were measured.
    measures
        Model -> measure -> mean over the splits, with its interval.
    differences
        (one, other) -> measure -> mean difference over the splits that both have, with its interval.
    rows
        One a model and split: every measure, and what the fit was like.
    """

    splits: tuple[int, ...]
    measures: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[tuple[str, str], Mapping[str, Interval]]
    rows: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "splits": list(self.splits),
            "models": {name: {m: i.to_dict() for m, i in found.items()} for name, found in self.measures.items()},
            "differences": [
                {"model": one, "against": other, **{m: i.to_dict() for m, i in found.items()}}
                for (one, other), found in self.differences.items()
            ],
            "rows": [dict(row) for row in self.rows],
        }


def compare_models(
    cohort: Cohort,
    out: str | Path,
    *,
    task: str = "mortality",
    models: Sequence[str] = MODELS,
    splits: Sequence[int] = SEEDS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    n_boot: int = 1000,
) -> Comparison:
    """Fit models on splits by subject, as far as the folder does not have them, and compare all that it has.

    Parameters
    ----------
    cohort
        As loaded.
    out
        Folder of the records, a table (``comparison.csv``) and a page (``comparison.html``). Started again it goes on;
        records of models fitted elsewhere (PyPOTS' by the benchmark script) count too.
    task
        The label to predict.
    models
        Of ``lightgbm``, ``logistic``, ``prism``.
    splits
        Seeds of splits into 70 % training, 10 % validation, 20 % test.
    options
        Model -> options of its constructor.
    n_boot
        Resamples of the intervals.

    Raises
    ------
    InputError
        For an unknown model or label, or a folder that belongs to other data.
    """
    from auscult.sparse_ehr.labels import label_of

    label = label_of(cohort, task)
    trials = [Trial(model, seed, options=(options or {}).get(model, {})) for seed in splits for model in models]
    with open_store(cohort, out, task) as store:
        run_trials(cohort, label, trials, store)
        found = [outcome for outcome in stored_outcomes(store) if outcome.deletion == outcome.test_deletion == 0]
    result = compare_outcomes([o for o in found if o.split in splits], n_boot=n_boot)
    write_rows(Path(out) / "comparison.csv", result.rows)
    write_report(result, Path(out) / "comparison.html", task=task)
    return result


def stored_outcomes(store: RunStore) -> list[Outcome]:
    """Return all outcomes in a folder; of several fits of one model on one split the last counts."""
    found: dict[tuple[Any, ...], Outcome] = {}
    for record in store.values():
        if record["purpose"] == "comparison":
            for outcome in to_outcomes(record):
                found[(outcome.model, outcome.split, outcome.deletion, outcome.test_deletion)] = outcome
    return list(found.values())


def compare_outcomes(outcomes: Sequence[Outcome], *, n_boot: int = 1000, seed: int = 0) -> Comparison:
    """Compare models by what they said of the test parts.

    A measure is computed on each split and averaged. Intervals come from resampled subjects: a subject that is in
    several test parts is drawn with all of them, and both models of a pair see the same resample.

    Parameters
    ----------
    outcomes
        At most one a model and split.
    n_boot, seed
        Of the bootstrap.

    Raises
    ------
    InputError
        Where there is nothing to compare, or two models disagree on who is in a test part.
    """
    if not outcomes:
        raise InputError("there is no outcome to compare: fit a model first")
    by_model: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, {})[outcome.split] = outcome
    measures = {}
    for name, found in by_model.items():
        value, replicates = replicate_means([found], MEASURES, n_boot=n_boot, seed=seed)
        measures[name] = {m: to_interval(value[0, i], replicates[:, 0, i]) for i, m in enumerate(MEASURES)}
    pairs = [pair for pair in _PAIRS if pair[0] in by_model and pair[1] in by_model]
    pairs += [(PRISM, name) for name in by_model if PRISM in by_model and name not in (PRISM, STACK, LIGHTGBM)]
    differences = {}
    for one, other in pairs:
        shared = sorted(by_model[one].keys() & by_model[other].keys())
        if shared:
            both = [{split: by_model[name][split] for split in shared} for name in (one, other)]
            value, replicates = replicate_means(both, MEASURES, n_boot=n_boot, seed=seed)
            value, replicates = value[0] - value[1], replicates[:, 0] - replicates[:, 1]
            differences[one, other] = {m: to_interval(value[i], replicates[:, i]) for i, m in enumerate(MEASURES)}
    common = set.intersection(*(set(found) for found in by_model.values()))
    rows = [to_row(outcome) for outcome in sorted(outcomes, key=lambda o: (o.split, o.model))]
    return Comparison(tuple(sorted(common)), measures, differences, rows)


def plot_comparison(result: Comparison, measure: str = "auprc", *, ax: "Axes | None" = None) -> "Axes":
    """Plot a measure of every model with its interval, and the single splits as dots.

    Parameters
    ----------
    result
        Of :func:`compare_outcomes`.
    measure
        One of :data:`MEASURES`.
    ax
        Where to draw; a new figure by default.
    """
    from matplotlib import pyplot as plt

    from auscult.core.report import PALETTE

    order = sorted(result.measures, key=lambda name: result.measures[name][measure].value)
    if measure in _LOWER:
        order.reverse()
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 0.8 + 0.36 * len(order)), layout="constrained")
    for place, name in enumerate(order):
        interval = result.measures[name][measure]
        ax.plot([interval.low, interval.high], [place, place], color=PALETTE[0], linewidth=2)
        ax.plot(interval.value, place, "o", color=PALETTE[0])
        single = [row[measure] for row in result.rows if row["model"] == name]
        ax.plot(single, [place - 0.2] * len(single), ".", color=PALETTE[1], markersize=4)
    ax.set_yticks(range(len(order)), order)
    ax.set_xlabel(f"{_shown(measure)} (mean over splits, 95 % interval; dots: splits)")
    return ax


def write_report(result: Comparison, path: str | Path, *, task: str) -> str:
    """Write the comparison as one HTML page with tables and plots."""
    from auscult.core.report import Report

    report = Report(f"Models of {task}", subtitle=f"{len(result.splits)} splits by subject that all models share")
    report.section(
        "Discrimination and calibration",
        "The expected calibration error (ECE) of few patients is above 0 for a perfect model too, and resampling adds "
        "to it, so its intervals lie high. Only the stack's risks are calibrated on stays that were held out.",
    )
    by_auprc = sorted(result.measures.items(), key=lambda item: -item[1]["auprc"].value)
    for measures in (MEASURES[:3], MEASURES[3:]):
        table = [
            {"model": name, "splits": sum(row["model"] == name for row in result.rows)}
            | {_shown(measure): found[measure] for measure in measures}
            for name, found in by_auprc
        ]
        report.table(table, caption="Mean over the splits with 95 % intervals of resampled subjects")
    for measure in ("auprc", "auroc"):
        axes = plot_comparison(result, measure)
        report.figure(axes, caption=_shown(measure), alt=f"{_shown(measure)} of every model with its interval")
    if result.differences:
        report.section("Differences", "The same subjects resampled for both models; above 0 the first is the better.")
        rows = [
            {"first": one, "second": other} | {_shown(measure): found[measure] for measure in ("auroc", "auprc")}
            for (one, other), found in result.differences.items()
        ]
        report.table(rows, caption="First minus second, mean over the splits that both have")
    return report.write(path)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, all or nothing."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({n: f"{v:.6g}" if isinstance(v, float) else v for n, v in row.items()})

    replace_atomically(path, write)


def replicate_means(
    sides: Sequence[Mapping[int, Outcome]], measures: Sequence[str], *, n_boot: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return measures averaged over splits, and their replicates over resampled subjects.

    Parameters
    ----------
    sides
        Split -> outcome, of the same splits and test stays; all sides see the same resamples.
    measures
        Of :data:`auscult.core.risk.METRICS`.
    n_boot, seed
        Of the bootstrap.

    Returns
    -------
    value
        [sides, measures].
    replicates
        [n_boot, sides, measures].
    """
    splits = sorted(sides[0])
    for split in splits:
        if any(not np.array_equal(side[split].record_id, sides[0][split].record_id) for side in sides[1:]):
            raise InputError(f"two models have other test stays on split {split}: they cannot be compared")
    first = [sides[0][split] for split in splits]
    subject = np.concatenate([outcome.subject_id for outcome in first])
    part = np.repeat(np.arange(len(splits)), [len(outcome.label) for outcome in first])
    label = np.concatenate([outcome.label for outcome in first]).astype(np.bool_)
    scores = [np.concatenate([side[split].probability for split in splits]) for side in sides]

    def statistic(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        of_split = part[rows]
        chosen = [rows[of_split == i] for i in range(len(splits))]
        values = [[[METRICS[m](label[r], score[r]) for m in measures] for r in chosen] for score in scores]
        mean: NDArray[np.float64] = np.array(values, np.float64).mean(axis=1)
        return mean

    return bootstrap_replicates(statistic, subject, n_boot=n_boot, seed=seed)


def to_interval(value: Any, replicates: NDArray[np.float64]) -> Interval:
    """Return a value with the percentile interval of its replicates."""
    low, high = percentile_bounds(replicates)
    return Interval(float(value), float(low), float(high))


def to_row(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a row of a table: every measure, and what the fit was like."""
    y, p = outcome.label.astype(np.bool_), outcome.probability
    return {
        "model": outcome.model, "split": outcome.split, "n": len(y), "events": int(y.sum()),
        **{measure: float(METRICS[measure](y, p)) for measure in MEASURES},
        "seconds": float(outcome.details.get("seconds", np.nan)), "options": str(outcome.details.get("options") or ""),
    }  # fmt: skip


def _shown(measure: str) -> str:
    names = {"auroc": "AUROC", "auprc": "AUPRC", "min_precision_sensitivity": "min(+P, Se)", "brier": "Brier score"}
    return names.get(measure, "ECE")
