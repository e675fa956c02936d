"""Plots of a run: losses over what they cost, which modality a step changed, and images before and after."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.core.report import PALETTE
from auscult.o2m_attack.campaign import read_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"gcg": PALETTE[0], "pgd": PALETTE[1], "mcm": PALETTE[2]}
_MODALITIES = {"text": PALETTE[0], "image": PALETTE[1], "both": PALETTE[3], "stay": "#bbbbbb"}


def plot_losses(entries: Sequence[dict[str, Any]]) -> "Figure":
    """Return the best loss over forward tokens: a thin line for each record, a thick one for their mean."""
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(entry["condition"] for entry in entries))
    figure = Figure(figsize=(1.5 + 4 * len(conditions), 3.4), layout="constrained")
    panels = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
    for axes, condition in zip(panels, conditions, strict=True):
        for optimizer, colour in COLOURS.items():
            curves = [
                _curve(entry)
                for entry in entries
                if (entry["condition"], entry["optimizer"]) == (condition, optimizer) and entry.get("history")
            ]
            for tokens, losses in curves:
                axes.step(tokens, losses, where="post", color=colour, alpha=0.2, linewidth=0.8)
            if curves:
                grid = np.linspace(0, max(tokens[-1] for tokens, _ in curves), 200)
                mean = np.mean([_at(grid, *curve) for curve in curves], axis=0)
                axes.plot(grid, mean, color=colour, linewidth=2, label=optimizer)
        axes.set(title=condition, xlabel="forward tokens")
        axes.legend(frameon=False)
    panels[0].set_ylabel("best loss of the target (nats a token)")
    return figure


def plot_modalities(entries: Sequence[dict[str, Any]], bins: int = 12) -> "Figure":
    """Return how often a step of MCM changed text, image, both or neither, over the course of the optimisation."""
    from matplotlib.figure import Figure

    places, kinds = [], []
    for entry in entries:
        history = entry.get("history", [])
        places += [row["step"] / len(history) for row in history]
        kinds += [row["accepted"] for row in history]
    # More bars than steps would leave gaps.
    bins = min([bins, *(len(entry["history"]) for entry in entries if entry.get("history"))])
    index = np.minimum((np.array(places) * bins - 1e-9).astype(int), bins - 1)
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(bins)
    totals = np.maximum(np.bincount(index, minlength=bins), 1)
    for kind, colour in _MODALITIES.items():
        share = np.bincount(index[np.array(kinds) == kind], minlength=bins) / totals
        if share.any():
            axes.bar((np.arange(bins) + 0.5) / bins, share, 0.9 / bins, bottom=bottom, color=colour, label=kind)
        bottom += share
    axes.set(xlabel="share of the optimisation that is over", ylabel="share of the steps", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_images(entries: Sequence[dict[str, Any]]) -> "Figure":
    """Return a row an entry: the clean image, the changed one, and their difference, amplified, around grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 2.1 * len(entries)), layout="constrained")
    panels = figure.subplots(len(entries), 3, squeeze=False)
    for row, entry in zip(panels, entries, strict=True):
        clean, changed = (read_png(entry[name]).astype(float) for name in ("clean_image", "image"))
        largest = np.abs(changed - clean).max()
        factor = int(127 // largest) if largest else 1
        difference = np.clip(127.5 + factor * (changed - clean), 0, 255)
        titles = (
            f"{entry['record_id']}: {entry['original_attribute']}", f"after {entry['optimizer']}, "
            f"{entry['condition']}", f"difference × {factor} (largest {largest:.0f}/255)",
        )  # fmt: skip
        for axes, pixels, title in zip(row, (clean, changed, difference), titles, strict=True):
            axes.imshow(pixels.astype(np.uint8), interpolation="nearest")
            axes.set_title(title, fontsize=7)
            axes.set_axis_off()
    return figure


def _curve(entry: dict[str, Any]) -> tuple[list[float], list[float]]:
    rows = entry["history"]
    return [0.0, *(row["forward_tokens"] for row in rows)], [entry["initial_loss"], *(row["best_loss"] for row in rows)]


def _at(grid: "np.ndarray[Any, Any]", tokens: list[float], losses: list[float]) -> "np.ndarray[Any, Any]":
    return np.asarray(losses)[np.searchsorted(tokens, grid, side="right") - 1]
