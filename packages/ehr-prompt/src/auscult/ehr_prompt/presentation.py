"""Results of runs as a page: what was asked, what came back, how well, beside classical models."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.core.errors import InputError
from auscult.core.report import PALETTE, Report
from auscult.core.risk import calibration_curve
from auscult.ehr_prompt.ablation import compare_runs
from auscult.ehr_prompt.costs import find_price
from auscult.ehr_prompt.rendering import Prompt
from auscult.ehr_prompt.scoring import POLICIES, Answers, numbers_of, read_answers, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POLICY_WORDS = {
    "exclude": "left out",
    "impute_prior": "the training data's average",
    "impute_half": "0.501, as the reference code does",
    "worst_case": "the wrong extreme",
}


def write_report(
    folders: dict[str, Path], path: Path, *, example: Prompt | None = None, prices: Path | None = None
) -> dict[str, Any]:
    """Write a page about one or several runs and return their scores by name.

    Parameters
    ----------
    folders
        Name of a condition -> its run's folder.
    path
        The page.
    example
        A prompt to show.
    prices
        A table beside the bundled one.
    """
    answers = {name: read_answers(folder) for name, folder in folders.items()}
    models = {name: one.config["model"] for name, one in answers.items()}
    scores = {name: score(folder, price=find_price(models[name], prices)) for name, folder in folders.items()}
    scorer = all(one.config["backend"] == "reference-range" for one in answers.values())
    who = "a scorer without a language model" if scorer else ", ".join(dict.fromkeys(models.values()))
    page = Report("What was asked, and what was answered", subtitle=f"ehr-prompt: {who}")
    _overview(page, scores, scorer)
    if len(folders) > 1:
        _compare(page, folders)
    for name, result in scores.items():
        _one_run(page, name, result, answers[name])
    if example is not None:
        page.section("A prompt", "The first of them, whole. Identifiers, labels and what came later are not in it.")
        page.note(f"System: {example.system}")
        for part in example.user.split("\n\n"):
            page.table([{"user": line} for line in part.splitlines()])
    page.section("What this does not say").text(
        "Nothing here was validated for the care of a patient. The window of the whole stay is a look back, not a "
        "prediction."
    )
    if any(one.config["data"].partition(":")[0] == "tjh" for one in answers.values()):
        page.text(
            "In the bundled cohort the last laboratory values are drawn about a day before the end, and one sorted "
            "value alone ranks the patients almost perfectly: a score on the last visit says little about a model."
        )
    page.write(path)
    return {"scores": scores}


def write_ablation(conditions: dict[str, tuple[dict[str, Any], Path]], path: Path) -> list[dict[str, Any]]:
    """Write a page about a grid of conditions, one table and one plot, and return the table's rows.

    Parameters
    ----------
    conditions
        Name -> the settings that vary, and the run's folder. The first is what the others are compared with.
    path
        The page.
    """
    folders = {name: folder for name, (_, folder) in conditions.items()}
    compared = compare_runs(folders)
    rows = [{**conditions[name][0], **result} for name, result in compared.items()]
    metric = "auroc" if "auroc" in rows[0] else "mae"
    first = next(iter(conditions))
    page = Report("Conditions side by side", subtitle=f"ehr-prompt: {len(rows)} conditions of a grid")
    page.section("Results")
    page.table(
        [{"condition": name, **_without_none(result, "unpaired")} for name, result in compared.items()]
        + _baseline_rows(folders),
        caption="Answers that can be used, each condition against its own labels. Brackets: 95 % intervals; all "
        f"conditions share their resamples of subjects. difference: {metric.upper()} minus that of the first condition "
        f"({first}), on the stays that both cover; unpaired: why there is none. Below: classical models on the same "
        "stays and windows.",
        formats={"coverage": ".1%"},
    )
    page.figure(
        plot_conditions(compared, metric), caption=f"{metric.upper()} by condition, with its 95 % interval.",
        alt="One row for each condition with a point and its interval.",
    )  # fmt: skip
    page.write(path)
    return rows


def _baseline_rows(folders: dict[str, Path]) -> list[dict[str, Any]]:
    """Return one row a baseline, of every set of baselines once, whose name says of which condition it is."""
    distinct = {(folder / "baselines.parquet").read_bytes(): name for name, folder in reversed(folders.items())}
    return [
        {"condition": f"{baseline} ({name})" if len(distinct) > 1 else baseline, **metrics}
        for name in sorted(distinct.values(), key=list(folders).index)
        for baseline, metrics in score(folders[name])["baselines"].items()
    ]


def plot_conditions(compared: dict[str, dict[str, Any]], metric: str) -> "Figure":
    """Return a figure with one metric of every condition and its interval; a condition without answers stays empty."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.0 + 0.3 * len(compared)), layout="constrained")
    axes = figure.subplots()
    for y, result in zip(range(len(compared) - 1, -1, -1), compared.values(), strict=True):
        if result[metric] is not None:
            axes.plot(result[metric]["ci"], [y, y], color=PALETTE[0], linewidth=1.5)
            axes.plot(result[metric]["value"], y, "o", color=PALETTE[0], markersize=4)
    axes.set_yticks(range(len(compared)), list(compared)[::-1])
    axes.set_ylim(-0.6, len(compared) - 0.4)
    axes.set_xlabel(metric.upper())
    return figure


def plot_auroc(scores: dict[str, dict[str, Any]]) -> "Figure":
    """Return a figure with the AUROC, with its interval, of the answers and of every baseline, by condition."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for result in scores.values() for name in ["answers", *result["baselines"]]))
    figure = Figure(figsize=(7, 1.2 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    for i, (condition, result) in enumerate(scores.items()):
        offset = (i - (len(scores) - 1) / 2) * 0.25
        for place, name in enumerate(names):
            metrics = result["policies"]["exclude"] if name == "answers" else result["baselines"].get(name, {})
            value = metrics.get("auroc")
            if value is None:
                continue
            low, high = value["ci"]
            y = len(names) - 1 - place - offset
            axes.plot([low, high], [y, y], color=PALETTE[i % len(PALETTE)], linewidth=1.5)
            axes.plot(value["value"], y, "o", color=PALETTE[i % len(PALETTE)], markersize=4)
        axes.plot([], [], "o-", color=PALETTE[i % len(PALETTE)], label=condition)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlabel("AUROC with its 95 % interval")
    axes.axvline(0.5, color="0.7", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8)
    return figure


def plot_calibration(answers: dict[str, Answers]) -> "Figure":
    """Return a figure with the observed share of events against the answered risk, by condition."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for i, (name, one) in enumerate(answers.items()):
        numbers = numbers_of(one)
        known = ~(np.isnan(numbers.value) | np.isnan(numbers.label))
        if known.any():
            curve = calibration_curve(numbers.label[known], numbers.value[known], bins=10)
            colour = PALETTE[i % len(PALETTE)]
            axes.plot(curve.predicted, curve.observed, "o-", markersize=4, label=name, color=colour)
            axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("answered")
    axes.set_ylabel("observed")
    return figure


def _overview(page: Report, scores: dict[str, Any], scorer: bool) -> None:
    page.section("Results")
    if scorer:
        page.note(
            "No language model was asked. The answers are those of the reference-range scorer: the mean distance of "
            "the latest measured values from their reference ranges, from 0 to 1. It ranks patients, and is no "
            "calibrated probability. It is the floor that a language model has to beat.",
            kind="warning",
        )
    rows = []
    for name, result in scores.items():
        metrics = result["policies"]["exclude"]
        counts = {"questions": result["n"], "with a label": result["labelled"], "coverage": result["coverage"]}
        rows.append({"condition": name, **counts, **metrics})
    page.table(rows, caption="Questions with a usable answer; metrics of those with a label. Brackets: 95 % intervals, "
               "resampled by subject.",
               formats={"coverage": ".1%"})  # fmt: skip
    if all("calibration" in result for result in scores.values()):
        page.figure(
            plot_auroc(scores), caption="Ranking of the answers and of classical models on the same patients.",
            alt="One row for the answers and one for each baseline, with the AUROC and its interval by condition.",
        )  # fmt: skip


def _without_none(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name or value is not None}


def _compare(page: Report, folders: dict[str, Path]) -> None:
    try:
        compared = compare_runs(folders)
    except InputError:  # runs about different things stand side by side, not against each other
        return
    first, *others = compared
    metric = "AUROC" if "auroc" in compared[first] else "MAE"
    page.table(
        [
            {"condition": name, f"{metric} minus that of {first}": compared[name]["difference"]}
            | _without_none({"unpaired": compared[name]["unpaired"]}, "unpaired")
            for name in others
        ],
        caption="Paired differences, on the stays that both cover, over the same resamples of subjects.",
    )


def _one_run(page: Report, name: str, result: dict[str, Any], answers: Answers) -> None:
    config, facts = answers.config, answers.facts
    prompt = config["prompt"]
    unpriced = "nothing was bought" if config["backend"] == "reference-range" else "not known"
    cost = unpriced if result["cost"] is None else result["cost"]
    page.section(f"Condition: {name}")
    page.facts(
        {
            "data": config["data"], "split": config["split"], "task": prompt["task"], "window": prompt["window"],
            "layout": prompt["layout"], "missing values": prompt["missing"], "units": prompt["units"],
            "reference ranges": prompt["ranges"],
            "examples": f"{prompt['shots']} ({prompt['examples']})" if prompt["shots"] else "none",
            "backend": config["backend"],
            "model": config["model"], "template": config["template"], "panel": config["panel_hash"],
            "training subjects": facts["train_subjects"], "tokens of prompts": result["tokens"]["prompt"],
            "tokens of replies": result["tokens"]["completion"],
            "cost (USD)": cost,
        }
        | ({"tokens estimated": f"of {answers.estimated} answers, which the server did not count"}
           if answers.estimated else {})
    )  # fmt: skip
    page.table([{"status": k, "questions": v} for k, v in result["status"].items()], caption="What came back.")
    rows = [
        {"an unusable answer is": _POLICY_WORDS[policy], **result["policies"][policy]}
        for policy in POLICIES
        if policy in result["policies"]
    ]
    page.table(rows, caption="Metrics by what stands for an answer that cannot be used.")
    metric = "MAE" if facts["kind"] == "days" else "AUROC"
    rows = [
        {"baseline": baseline, f"answers minus it, {metric}": result["differences"][baseline], **metrics}
        for baseline, metrics in result["baselines"].items()
    ]
    page.table(rows, caption="Classical models on the same stays, with the values of the same window.")
    if result.get("calibration"):
        page.facts({f"calibration {part}": value for part, value in result["calibration"].items()})
        page.figure(
            plot_calibration({name: answers}), caption="Calibration: observed share of events by answered risk.",
            alt="A line of up to ten points; on the diagonal, answers would be true frequencies.",
        )  # fmt: skip
