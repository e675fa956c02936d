"""Plots and pages: discrimination, calibration, the confidence of values, similar patients, prototypes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from auscult.core.report import PALETTE, Report
from auscult.core.risk import calibration_curve
from auscult.sparse_ehr.explanation import Explanation
from auscult.sparse_ehr.similar import Prototypes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN_FEATURES = 30


def plot_discrimination(label: ArrayLike, risks: Mapping[str, ArrayLike]) -> "Figure":
    """Return a figure with the ROC and the precision-recall curve of every model.

    Parameters
    ----------
    label
        [N] outcomes.
    risks
        Model -> [N] risks.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve, roc_curve

    y = np.asarray(label)
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    roc, pr = figure.subplots(1, 2)
    for colour, (name, risk) in zip(PALETTE, risks.items(), strict=False):
        false, true, _ = roc_curve(y, risk)
        precision, recall, _ = precision_recall_curve(y, risk)
        roc.plot(false, true, color=colour, label=name, linewidth=1.4)
        pr.step(recall, precision, where="post", color=colour, label=name, linewidth=1.4)
    roc.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    pr.axhline(y.mean(), color="0.7", linewidth=0.8)
    roc.set(xlabel="false positive rate", ylabel="sensitivity", title="ROC")
    pr.set(xlabel="sensitivity", ylabel="precision", title="Precision and recall", ylim=(0, 1.02))
    roc.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def plot_calibration(
    label: ArrayLike, risks: Mapping[str, ArrayLike], *, bins: int = 8, ax: "Axes | None" = None
) -> "Axes":
    """Plot observed against predicted risk in bins of equal mass, with intervals, one colour a model.

    Parameters
    ----------
    label
        [N] outcomes.
    risks
        Model -> [N] risks.
    bins
        How many.
    ax
        Where to draw; a new figure by default.
    """
    ax = _axes(ax, (5.2, 4.2))
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for i, (name, risk) in enumerate(risks.items()):
        curve = calibration_curve(label, risk, bins=bins)
        error = np.abs(np.array([curve.observed - curve.low, curve.high - curve.observed]))
        colour = PALETTE[i % len(PALETTE)]
        ax.plot(curve.predicted, curve.observed, "o-", markersize=4, linewidth=1.2, color=colour, label=name)
        ax.errorbar(curve.predicted, curve.observed, yerr=error, fmt="none", elinewidth=0.8, ecolor=colour)
    ax.set(xlabel="predicted risk", ylabel="observed share, with 95 % interval", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_confidence(found: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """Plot the confidence of every cell of a stay; a dot marks what was measured.

    The variables that were measured most often come first; of more than 30 some are left out, evenly.

    Parameters
    ----------
    found
        From :func:`~auscult.sparse_ehr.explanation.explain`.
    ax
        Where to draw; a new figure by default.
    """
    order = np.argsort(-found.observed.sum(0), kind="stable")
    order = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _SHOWN_FEATURES)).astype(int))]
    ax = _axes(ax, (8.4, 1.4 + 0.2 * len(order)))
    steps = len(found.hours)
    image = ax.imshow(
        found.confidence[:, order].T, aspect="auto", cmap="YlGnBu", vmin=0, vmax=1, interpolation="nearest"
    )
    step, row = np.nonzero(found.observed[:, order])
    size = min(14.0, 500 / max(steps, len(order)))
    ax.scatter(step, row, s=size, color="white", edgecolors="0.25", linewidths=0.5)
    ax.set_yticks(range(len(order)), [found.features[i].display_name for i in order], fontsize=8)
    ticks = np.unique(np.linspace(0, steps - 1, min(steps, 9)).astype(int))
    ax.set_xticks(ticks, [f"{found.hours[t]:g}" for t in ticks])
    ax.set_xlabel("hours since the start of the stay")
    ax.figure.colorbar(image, ax=ax, label="confidence", fraction=0.04, pad=0.02)
    return ax


def plot_history(histories: Sequence[Sequence[Mapping[str, float]]], *, ax: "Axes | None" = None) -> "Axes":
    """Plot the average precision on held-out stays after each epoch, one line a member."""
    ax = _axes(ax, (5.2, 3.2))
    for i, history in enumerate(histories):
        label = f"member {i + 1}" if len(histories) > 1 else None
        ax.plot(
            [row["epoch"] + 1 for row in history], [row["auprc"] for row in history], "o-", markersize=3, label=label
        )
    ax.set(xlabel="epoch", ylabel="average precision, held out")
    if len(histories) > 1:
        ax.legend(frameon=False, fontsize=8)
    return ax


def write_explanation(found: Explanation, path: Path) -> str:
    """Write the page about one stay."""
    page = Report(f"Subject {found.subject_id}", subtitle=f"Stay {found.record_id}: risk and what stands behind it")
    add_explanation(page, found)
    page.section("What this does not say").text(
        "Confidence says how far a model trusted a value, not how right the value is, and similarity is what a model "
        "learnt to find alike. Neither was validated for the care of a patient."
    )
    return page.write(path)


def add_explanation(page: Report, found: Explanation) -> None:
    """Add risk, confidence and similar patients of one stay to a page."""
    page.section("Risk").facts(
        {
            "predicted risk": f"{found.probability:.1%}",
            "share of training stays with the outcome": f"{found.base_rate:.1%}",
            "measured cells": f"{int(found.observed.sum())} of {found.observed.size} ({found.observed.mean():.1%})",
        }
    )
    page.section(
        "How far each value was trusted",
        "A dot is a measurement. Elsewhere the last value was carried forward, and is trusted less the older it is; a "
        "variable that was never measured so far is filled with the training median, and is trusted the less the more "
        "rarely it is measured at all.",
    )
    count, shown = len(found.features), min(len(found.features), _SHOWN_FEATURES)
    some = (
        "" if shown == count else f" Shown are {shown} of {count} variables, from the most to the least often measured."
    )
    page.figure(
        plot_confidence(found), caption=f"Confidence of each variable at each step, from 0 (none) to 1 (full).{some}",
        alt=f"Heat map of confidence by variable and hour, for stay {found.record_id}",
    )  # fmt: skip
    scale = f" A stay that is the same, with every value fully trusted, has {found.most_similar:.1f}."
    page.section(
        "Similar patients",
        "The training stays that the model finds most alike, by its own similarity: it falls with the distance of what "
        f"the model makes of the values, and with doubt about them.{scale if np.isfinite(found.most_similar) else ''} "
        "Values are each stay's last measured ones, of the variables that were trusted most in this stay.",
    )
    rows: list[dict[str, Any]] = [{"stay": "this one", "similarity": None, "outcome": None, **found.values}]
    for one in found.neighbours:
        values = {name: one.values.get(name) for name in found.values}
        outcome = {1: "yes", 0: "no"}.get(one.outcome)
        rows.append({"stay": str(one.record_id), "similarity": one.similarity, "outcome": outcome, **values})
    page.table(rows, caption="This stay and the training stays most similar to it")


def prototype_rows(prototypes: Prototypes) -> list[dict[str, Any]]:
    """Return one row a prototype that stands for anybody: for how many, their risk, what is far from the average."""
    used = prototypes.size > 0
    spread = prototypes.centres - prototypes.centres[used].mean(0)
    rows = []
    for k in np.argsort(-np.nan_to_num(prototypes.risk, nan=-1))[: used.sum()]:
        far = np.argsort(-np.abs(spread[k]))[:3]
        rows.append(
            {
                "prototype": f"{k + 1}",
                "training stays": int(prototypes.size[k]),
                "share with the outcome": float(prototypes.risk[k]),
                "mean confidence": float(prototypes.confidence[k].mean()),
                "most unlike the others in": ", ".join(prototypes.features[i] for i in far),
            }
        )
    return rows


def _axes(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    axes: Axes = Figure(figsize=size, layout="constrained").subplots()
    return axes
