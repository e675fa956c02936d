"""The report of a run: what was drawn and scored, which pairs came of it, how the training went, what it changed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.agfsync.config import RunConfig
from auscult.agfsync.images import open_image
from auscult.agfsync.scoring.scoring import SCORES
from auscult.agfsync.stages import read_rows, read_stage
from auscult.core.report import PALETTE, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {"vqa": "VQA", "clip": "CLIP", "aesthetic": "aesthetic", "hps": "HPS v2"}


def write_report(
    config: RunConfig,
    root: Path,
    folder: Path,
    result: Mapping[str, Any],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """Write ``report.html`` and return its path.

    Parameters
    ----------
    config
        Of the run.
    root
        The run's folder; stages that are not in it are left out.
    folder
        Where the report goes; paths in ``rows`` are relative to it.
    result
        From :func:`auscult.agfsync.comparing.summarize`.
    rows
        Scored pictures of ``base`` and ``tuned``.
    """
    page = Report(
        "Does the tuned model follow the prompt better?",
        subtitle=f"agfsync, model {config.train.model or config.candidates.model}, seed {config.seed}",
    )
    _add_verdict(page, config, result)
    _add_grid(page, folder, rows)
    if config.train.pairs is None and read_stage(root, "pairs") is not None:
        _add_pairs(page, root)
    if (root / "train" / "log.json").exists():
        _add_training(page, root)
    page.section(
        "What this does not say",
        "The judge that chose the pairs also judges the result, so the gain may partly be one in pleasing it. "
        "Captions are the unit of all intervals; the two models and the judge are taken as given.",
    )
    return page.write(folder / "report.html")


def _add_verdict(page: Report, config: RunConfig, result: Mapping[str, Any]) -> None:
    held_out = (
        " No triple of colour, shape and relation of these captions occurs in the preference pairs."
        if config.questions.backend == "shapes" and config.evaluate.prompts is None
        else ""
    )
    page.section(
        "Base against tuned",
        f"Both models drew {result['images']} pictures of {result['captions']} captions from the same seeds.{held_out} "
        f"Intervals are at {100 * config.evaluate.confidence:g} %, over captions.",
    )
    table = [{"score": LABELS[name], **result[name]} for name in LABELS if result.get(name) is not None]
    page.table(table, caption="Mean scores, 0 to 100; the difference is paired.")
    names = {
        "prompt_following": "more questions answered with yes",
        "overall": "higher VQA, then CLIP, then aesthetic score",
    }
    page.table(
        [
            {"tuned is better if it has": names[name], "win rate": one["rate"], "wins": one["wins"],
             "ties": one["ties"],
             "losses": one["losses"], "p (sign test)": one["p_value"]}
            for name, one in sorted(result["win_rate"].items(), reverse=True)
        ],
        caption="Win rate of tuned, ties counted half: 0.5 is no difference.",
    )  # fmt: skip
    kinds = result["vqa_by_element_type"]
    page.table(
        [{"asked about": kind, "base": base, "tuned": kinds["tuned"].get(kind)}
            for kind, base in kinds["base"].items()],
        caption="Questions answered with yes, in percent, by what they ask about.",
        formats={"base": ".1f", "tuned": ".1f"},
    )  # fmt: skip


def _add_grid(page: Report, folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    captions = list(dict.fromkeys(row["prompt"] for row in rows["base"]))[:8]
    shown = []
    for caption in captions:
        pictures = []
        for name in ("base", "tuned"):
            first = [row for row in rows[name] if row["prompt"] == caption][:3]
            pictures += [(folder / row["path"], f"{name}\n{_short(row['vqa'])}") for row in first]
        shown.append((caption, pictures))
    page.section("The same captions and seeds, base and tuned").figure(
        image_grid(shown), caption="Left base, right tuned; the number is the share of questions answered with yes.",
        alt="One row of pictures a caption: first from the base model, then from the tuned one.",
    )  # fmt: skip


def _add_pairs(page: Report, root: Path) -> None:
    from pyarrow.parquet import ParquetFile

    scores, candidates = read_rows(root, "score"), read_rows(root, "candidates")
    summary = (read_stage(root, "pairs") or {})["summary"]
    page.section(
        "Scores of the candidates",
        f"{len(candidates)} candidates of {len({row['id'] for row in candidates})} prompts gave {summary['pairs']} "
        f"pairs, and {summary['prompts_without']} prompts none.",
    ).figure(
        plot_scores(scores),
        caption="Distribution of each score over all candidates.",
        alt="Three histograms, one a score.",
    )
    page.facts(
        {
            f"share of {LABELS[name]} in the variance within prompts": f"{100 * share:.0f} %"
            for name, share in summary["variance_shares"].items()
        }
    )
    shown = [
        (pair["caption"], [(pair["good_jpg"], f"best\n{pair['score_good']:.1f}"),
                           (pair["bad_jpg"], f"worst\n{pair['score_bad']:.1f}")])
        for pair in next(ParquetFile(root / "pairs" / "pairs.parquet").iter_batches(8)).to_pylist()
    ]  # fmt: skip
    page.figure(image_grid(shown), caption="Preferred and other picture of some prompts, with the weighted score.",
                alt="Two pictures a prompt, the preferred one first.")  # fmt: skip


def _add_training(page: Report, root: Path) -> None:
    history = json.loads((root / "train" / "log.json").read_text("utf-8"))
    page.section(
        "Training",
        "The loss begins at ln 2 = 0.693, where policy and reference are equal. The implicit accuracy is the share of "
        "pairs whose preferred picture the policy denoises better, measured against the reference, than the other.",
    ).figure(
        plot_training(history),
        caption="Loss, implicit accuracy, and both errors above the reference's.",
        alt="Three curves over the training steps.",
    )


def plot_scores(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Return histograms of the scores that there are."""
    from matplotlib.figure import Figure

    there = [name for name in SCORES if any(row[name] is not None for row in rows)]
    figure = Figure(figsize=(3 * len(there), 2.4), layout="constrained")
    for axes, name, colour in zip(np.atleast_1d(figure.subplots(1, len(there))), there, PALETTE, strict=False):
        values = [row[name] for row in rows if row[name] is not None and np.isfinite(row[name])]
        axes.hist(values, bins=20, color=colour)
        axes.set_xlabel(f"{LABELS[name]} score")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_training(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Return the curves of a training's log."""
    from matplotlib.figure import Figure

    lines = [line for line in history if "loss" in line]
    steps = [line["step"] for line in lines]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    loss, accuracy, excess = figure.subplots(1, 3)
    loss.plot(steps, [line["loss"] for line in lines], color=PALETTE[0])
    loss.axhline(np.log(2), color="0.6", linewidth=0.8, linestyle="--")
    loss.set_title("loss")
    accuracy.plot(steps, [line["rewards/accuracies"] for line in lines], color=PALETTE[2])
    accuracy.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--")
    accuracy.set_title("implicit accuracy")
    for key, label, colour in (("chosen", "preferred", PALETTE[2]), ("rejected", "other", PALETTE[1])):
        excess.plot(steps, [line[f"errors/{key}_excess"] for line in lines], color=colour, label=label)
    excess.axhline(0, color="0.6", linewidth=0.8, linestyle="--")
    excess.set_title("error above the reference's")
    excess.legend(frameon=False)
    for axes in (loss, accuracy, excess):
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def image_grid(rows: Sequence[tuple[str, Sequence[tuple[Path | bytes, str]]]]) -> "Figure":
    """Return pictures in rows, each row under its caption and each picture under its label."""
    from matplotlib.figure import Figure

    across = max((len(pictures) for _, pictures in rows), default=1)
    figure = Figure(figsize=(1.1 * across + 3.2, 1.25 * max(len(rows), 1)))
    for i, (caption, pictures) in enumerate(rows):
        for j, (path, label) in enumerate(pictures):
            axes = figure.add_axes(
                (0.32 + 0.68 * j / across, 1 - (i + 0.98) / len(rows), 0.6 / across, 0.72 / len(rows))
            )
            axes.imshow(np.asarray(open_image(path)), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(label.replace("\n", " "), fontsize=7, pad=2)
        figure.text(0.01, 1 - (i + 0.6) / len(rows), _wrap(caption), fontsize=8, va="center")
    return figure


def _wrap(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 30)[:4])


def _short(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.0f}"
