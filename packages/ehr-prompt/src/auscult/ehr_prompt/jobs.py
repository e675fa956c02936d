"""What the commands do, as functions."""

from pathlib import Path
from typing import Any

from auscult.core.config import load_config
from auscult.core.errors import InputError
from auscult.core.runs import RunStore
from auscult.ehr_prompt.budget import count_tokens
from auscult.ehr_prompt.examples import choose_examples
from auscult.ehr_prompt.prices import find_price
from auscult.ehr_prompt.running import RunConfig, make_backend, prepare, run
from auscult.ehr_prompt.scoring import score

MAX_TOKENS = 64
MAX_TOKENS_REASONING = 2048


def make_config(*, prompt: dict[str, Any], **settings: Any) -> RunConfig:
    """Return a checked configuration; None stands for the default, the reply's length depends on the reasoning."""
    given = {name: value for name, value in settings.items() if value is not None}
    given.setdefault("max_tokens", MAX_TOKENS_REASONING if prompt["reasoning"] else MAX_TOKENS)
    if given.get("backend") == "openai" and "model" not in given:
        raise InputError("a server needs the model's name: give --model")
    if given.get("backend") != "openai" and {"model", "base_url"} & set(given):
        raise InputError("a model and a base URL belong to --backend openai: add it, or leave them out")
    return load_config(RunConfig, {**given, "prompt": prompt})


def render_subject(config: RunConfig, subject: str) -> list[dict[str, Any]]:
    """Return the messages and the tokens of every prompt about a subject."""
    prepared = prepare(config)
    rows = [i for i, one in enumerate(prepared.cohort.subject_id.tolist()) if str(one) == subject]
    if not rows:
        known = ", ".join(map(str, prepared.cohort.subject_id[:5].tolist()))
        raise InputError(f"there is no subject {subject!r} in {config.data!r}: the first are {known}")
    shown = []
    for case in prepared.renderer.cases(rows):
        if config.prompt.shots and config.prompt.examples == "nearest":
            prepared.renderer.set_examples(choose_examples(prepared.renderer, case.row))
        prompt = prepared.renderer.prompt(case)
        shown.append({"messages": prompt.messages, "tokens": count_tokens(prompt)})
    return shown


def run_folder(
    config: RunConfig,
    folder: Path,
    server: dict[str, Any],
    *,
    dry_run: bool = False,
    max_cost: float | None = None,
    prices: Path | None = None,
) -> dict[str, Any]:
    """Run, or with ``dry_run`` count, and return what was done."""
    prepared = prepare(config)
    price = find_price(config.model, prices)
    options = server if config.backend == "openai" else {}
    if dry_run:
        asked = prepared.plan[prepared.plan["key"].notna()].drop_duplicates("key")
        tokens, replies = int(asked["tokens"].sum()), len(asked) * config.max_tokens
        statuses = {str(k): int(v) for k, v in prepared.plan["status"].dropna().value_counts().items()}
        cost = None if price is None else price.cost(tokens, replies)
        return {
            "prompts": len(asked),
            "tokens": tokens,
            "reply_tokens_at_most": replies,
            "cost_at_most": cost,
            **statuses,
        }
    backend = make_backend(config, prepared, **options)
    return run(config, folder, backend, prepared=prepared, price=price, max_cost=max_cost)._asdict()


def score_folder(folder: Path, prices: Path | None = None) -> dict[str, Any]:
    """Return the results of a run."""
    with RunStore.read(folder) as store:
        model = store.manifest["config"]["model"]
    return score(folder, price=find_price(model, prices))
