"""What the commands do, as functions."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from auscult.core.config import load_config
from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.run_files import MANIFEST
from auscult.ehr_prompt.ablation import cohorts_of, read_grid, write_conditions
from auscult.ehr_prompt.config import RunConfig
from auscult.ehr_prompt.costs import find_price
from auscult.ehr_prompt.planning import ask, plan_questions, prepare
from auscult.ehr_prompt.presentation import write_ablation
from auscult.ehr_prompt.running import make_backend, run
from auscult.ehr_prompt.scoring import coverage, open_answers, read_answers, score

OPTIONS = {
    "openai": ("api_key_env", "concurrency", "timeout", "attempts"),
    "local": ("device", "batch_size"),
    "reference-range": (),
}
"""Backend -> which of the command's options are its own; no answer depends on them."""


def make_config(*, prompt: dict[str, Any], **settings: Any) -> RunConfig:
    """Return a checked configuration; None stands for the default."""
    given = {name: value for name, value in settings.items() if value is not None}
    shown = {name: value for name, value in prompt.items() if value is not None}
    if given.get("backend") in ("openai", "local") and "model" not in given:
        raise InputError(f"the backend {given['backend']} needs the model's name: give --model")
    return load_config(RunConfig, {**given, "prompt": shown})


def render_subject(config: RunConfig, subject: str) -> list[dict[str, Any]]:
    """Return the messages, the tokens and what was left out of every prompt about a subject."""
    prepared = prepare(config)
    rows = [i for i, one in enumerate(prepared.cohort.subject_id.tolist()) if str(one) == subject]
    if not rows:
        known = ", ".join(map(str, prepared.cohort.subject_id[:5].tolist()))
        raise InputError(f"there is no subject {subject!r} in {config.data!r}: the first are {known}")
    asked = list(ask(config, prepared.renderer, prepared.renderer.cases(rows)))
    if not asked:
        raise InputError(f"subject {subject!r} has no visit in the window {config.prompt.window!r}: choose another")
    return [
        {
            "messages": (fitted.prompt or prompt).messages,
            "tokens": fitted.tokens,
            "dropped": list(fitted.dropped),
            "fits": fitted.prompt is not None,
        }
        for prompt, fitted, _ in asked
    ]


def run_folder(
    config: RunConfig,
    folder: Path,
    options: dict[str, Any],
    *,
    cohort: Cohort | None = None,
    dry_run: bool = False,
    max_cost: float | None = None,
    prices: Path | None = None,
    baselines: dict[str, pd.DataFrame] | None = None,
) -> dict[str, Any]:
    """Run, or with ``dry_run`` count what is still to be asked, and return what was done.

    ``coverage`` is the share with a usable answer.
    """
    price = find_price(config.model, prices)
    prepared = prepare(config, cohort)
    if dry_run:
        plan = plan_questions(config, prepared)
        asked = plan[plan["key"].notna()].drop_duplicates("key")
        planned = len(asked)
        if (folder / MANIFEST).exists():
            with open_answers(folder) as store:
                asked = asked[asked["key"].isin(store.missing(asked["key"]))]
        tokens, replies = int(asked["tokens"].sum()), len(asked) * config.max_tokens
        counts = {"prompts": len(asked), "reused": planned - len(asked), "tokens": tokens}
        counts["reply_tokens_at_most"] = replies
        statuses = {str(k): int(v) for k, v in plan["status"].dropna().value_counts().items()}
        return {**counts, "cost_at_most": None if price is None else price.cost(tokens, replies), **statuses}
    own = {name: options[name] for name in OPTIONS[config.backend] if name in options}
    backend = make_backend(config, prepared, **own)
    done = run(config, folder, backend, prepared=prepared, price=price, max_cost=max_cost, baselines=baselines)
    return {**done._asdict(), "coverage": coverage(read_answers(folder))}


def score_folder(folder: Path, prices: Path | None = None, **reading: bool) -> dict[str, Any]:
    """Return the results of a run; ``reading`` are options of :func:`~auscult.ehr_prompt.scoring.read_answers`."""
    with open_answers(folder) as store:
        model = store.manifest["config"]["model"]
    return score(folder, price=find_price(model, prices), **reading)


def ablate(
    grid: Path,
    out: Path,
    options: dict[str, Any],
    *,
    dry_run: bool = False,
    max_cost: float | None = None,
    prices: Path | None = None,
) -> dict[str, Any]:
    """Run every condition of a grid into a folder of its own, then write ``table.csv`` and ``report.html``.

    ``max_cost`` holds for all conditions together. Started again, it goes on where it was.
    """
    conditions = read_grid(grid)
    done: dict[str, dict[str, Any]] = {}
    baselines: dict[str, pd.DataFrame] = {}
    for condition, cohort in cohorts_of(conditions):
        spent = sum(one.get("cost") or 0 for one in done.values())
        left = None if max_cost is None else max_cost - spent
        done[condition.name] = run_folder(
            condition.config, out / condition.folder, options, cohort=cohort, dry_run=dry_run, max_cost=left,
            prices=prices, baselines=baselines,
        )  # fmt: skip
    if dry_run:
        return {"conditions": done, "prompts": sum(one["prompts"] for one in done.values())}
    write_conditions(out, conditions)
    rows = write_ablation({one.name: (one.settings, out / one.folder) for one in conditions}, out / "report.html")

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            flat = [_flat(row, set(one.settings)) for one, row in zip(conditions, rows, strict=True)]
            writer.writerow(flat[0])
            writer.writerows(row.values() for row in flat)

    replace_atomically(out / "table.csv", write)
    return {
        "conditions": {one.name: rows[place] for place, one in enumerate(conditions)},
        "failed": sum(one["failed"] for one in done.values()),
        "stopped": next((one["stopped"] for one in done.values() if one["stopped"]), None),
        "report": str(out / "report.html"),
        "table": str(out / "table.csv"),
    }


def _flat(row: dict[str, Any], settings: set[str]) -> dict[str, Any]:
    """Return a row with one column a number: a measured value has its bounds beside it."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name in settings | {"n", "coverage", "unpaired"}:
            flat[name] = value
        else:
            low, high = value["ci"] if value else (None, None)
            flat |= {name: value["value"] if value else None, f"{name} low": low, f"{name} high": high}
    return flat
