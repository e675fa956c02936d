"""A run: every question asked once, every answer stored, at any moment ready to be killed and resumed.

The folder holds, beside the files of :class:`~auscult.core.runs.RunStore`, ``plan.parquet`` (one row a question:
whom it is about, the label, the key of its answer), ``plan.json`` (what scoring needs to know of the training
patients) and ``baselines.parquet``. Scoring reads the folder alone. The folder holds labels and replies about patients:
keep it as private as the data.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from auscult.core.canonical import finite
from auscult.core.data.cohort import Cohort
from auscult.core.data.open import load_cohort
from auscult.core.data.splits import Split, split_subjects
from auscult.core.endpoint import Answer, ChatRequest, Endpoint, Reply
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress
from auscult.core.runs import RunStore, record_key
from auscult.ehr_prompt.answers import answer_schema
from auscult.ehr_prompt.backends import Backend, Item
from auscult.ehr_prompt.baselines import predict_baselines
from auscult.ehr_prompt.budget import Budget
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.examples import choose_examples
from auscult.ehr_prompt.panel import load_panel
from auscult.ehr_prompt.prices import Price
from auscult.ehr_prompt.rendering import Renderer
from auscult.ehr_prompt.tasks import read_labels
from auscult.ehr_prompt.wording import template_hash

PAPER_FRACTIONS = {"train": 0.3, "validation": 0.1, "test": 0.6}
PAPER_SEED = 42


class RunConfig(BaseModel):
    """What the answers of a run depend on.

    Parameters
    ----------
    data
        As in :func:`auscult.core.data.load_cohort`.
    split
        ``paper`` (30 % train, 10 % validation, 60 % test, stratified, seed 42), or the path of a saved split with
        the parts ``train`` and ``test``.
    panel
        A bundled panel, or the path of your own; None takes what suits the data.
    prompt
        What the prompt looks like.
    backend, model, base_url
        Who answers.
    temperature, seed, max_tokens
        Sent with every request. Providers do not guarantee that a seed repeats an answer.
    context
        Tokens that the model takes, prompt and reply together.
    samples
        Answers to ask for a question; their mean counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = "tjh"
    split: str = "paper"
    panel: str | None = None
    prompt: PromptConfig = PromptConfig()
    backend: Literal["openai", "reference-range"] = "reference-range"
    model: str = "reference-range"
    base_url: str | None = None
    temperature: float | None = 0.0
    seed: int | None = 0
    max_tokens: int = Field(default=64, ge=1)
    context: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1)


class Prepared(NamedTuple):
    """A run before its first call: data, positions of the split's parts, renderer, plan and requests by key."""

    cohort: Cohort
    parts: dict[str, NDArray[np.int64]]
    renderer: Renderer
    plan: pd.DataFrame
    facts: dict[str, Any]


class Outcome(NamedTuple):
    """What a run did: questions planned, answers that were there before, newly stored, failed; why it stopped."""

    planned: int
    reused: int
    stored: int
    failed: int
    stopped: str | None
    reasons: dict[str, int]


def prepare(config: RunConfig, cohort: Cohort | None = None) -> Prepared:
    """Read the data and plan every question, without asking any.

    Raises
    ------
    InputError
        Data, split, panel, task and settings do not fit together.
    """
    cohort = load_cohort(config.data) if cohort is None else cohort
    index = _split(cohort, config.split)
    renderer = Renderer(cohort, load_panel(config.panel, cohort), config.prompt, index["train"])
    labels = read_labels(cohort, renderer.task)
    if config.prompt.shots and config.prompt.examples != "nearest":
        renderer.set_examples(choose_examples(renderer))
    plan = pd.DataFrame(list(_questions(config, renderer, index["test"])))
    train = index["train"]
    if renderer.task.kind == "days":
        prior = [float(np.nanmedian(labels[0][train]))]
    else:
        prior = [float(np.nanmean(label[train])) for label in labels]
    facts = {
        "task": renderer.task.name,
        "kind": renderer.task.kind,
        "labels": list(renderer.task.labels),
        "prior": prior,
        "train_subjects": len(np.unique(cohort.subject_id[train])),
        "test_stays": len(index["test"]),
        "examples": [str(cohort.record_id[row]) for row in renderer.example_rows],
    }
    return Prepared(cohort, index, renderer, plan, facts)


def requests_of(config: RunConfig, prepared: Prepared, rows: pd.DataFrame) -> Iterator[Item]:
    """Yield the requests of some rows of the plan, rendered as they are needed."""
    by_place = {(case.row, case.end): case for case in prepared.renderer.cases(prepared.parts["test"])}
    for row in rows[["row", "end", "sample", "key"]].to_dict("records"):
        case = by_place[row["row"], row["end"]]
        asked = _request(config, prepared.renderer, case, row["sample"])
        if asked.request is not None:
            yield Item(row["key"], asked.request, case)


def run(
    config: RunConfig,
    folder: Path,
    backend: Backend,
    *,
    prepared: Prepared | None = None,
    price: Price | None = None,
    max_cost: float | None = None,
) -> Outcome:
    """Ask what the folder does not hold yet, and store every answer as it comes.

    Failures are not stored, so that a later call asks them again. With ``max_cost`` (US dollars) no request is
    sent whose reply could take the run beyond it.

    Raises
    ------
    InputError
        The folder belongs to another run, the server cannot be used, or a limit is given without a price.
    """
    if max_cost is not None and price is None:
        raise InputError(
            f"a cost limit needs the price of {config.model!r}: add it to a table and name it with --prices"
        )
    prepared = prepared or prepare(config)
    identity = {
        **config.model_dump(mode="json"), "template": template_hash(), "panel_hash": prepared.renderer.panel.hash,
    }  # fmt: skip
    with RunStore.open(
        folder, config=identity, seed=config.seed, data_fingerprint=prepared.cohort.fingerprint(), package="ehr-prompt"
    ) as store:
        _write_plan(folder, prepared)
        asked = prepared.plan[prepared.plan["key"].notna()]
        unique = asked.drop_duplicates("key")
        missing = set(store.missing(unique["key"]))
        todo = unique[unique["key"].isin(missing)]
        meter = _Meter(config, price, max_cost, _spent(store, price))
        counts = {"stored": 0, "failed": 0}
        reasons: dict[str, int] = {}

        with progress("Asking", len(todo)) as advance:

            def deliver(answers: list[tuple[str, Answer]]) -> None:
                with store.batch():
                    for key, answer in answers:
                        if isinstance(answer, Reply):
                            store.put(key, answer._asdict())
                            counts["stored"] += 1
                        else:
                            counts["failed"] += 1
                            reasons[str(answer)] = reasons.get(str(answer), 0) + 1
                        meter.settle(key, answer)
                advance(len(answers))

            backend.answer(meter.limit(requests_of(config, prepared, todo), todo), deliver)
        return Outcome(
            len(prepared.plan), len(unique) - len(todo), counts["stored"], counts["failed"], meter.stopped, reasons
        )


def make_backend(config: RunConfig, prepared: Prepared, **options: Any) -> Backend:
    """Return the backend that a configuration names; ``options`` are those of :class:`Endpoint`."""
    if config.backend == "openai":
        from auscult.ehr_prompt.backends.endpoint import EndpointBackend

        if not config.base_url:
            raise InputError("a server needs its address: give --base-url, such as http://127.0.0.1:8000/v1")
        return EndpointBackend(Endpoint(base_url=config.base_url, model=config.model, **options))
    from auscult.ehr_prompt.backends.reference_range import ReferenceRangeBackend

    if prepared.renderer.task.name not in ("outcome", "readmission"):
        raise InputError("the reference-range scorer gives one risk: use the task outcome or readmission")
    return ReferenceRangeBackend(prepared.cohort, prepared.renderer.panel, config.prompt.ranges)


class _Asked(NamedTuple):
    request: ChatRequest | None
    numbers: int
    tokens: int
    dropped: tuple[str, ...]


def _request(config: RunConfig, renderer: Renderer, case: Any, sample: int) -> _Asked:
    if config.prompt.examples == "nearest" and config.prompt.shots:
        renderer.set_examples(choose_examples(renderer, case.row))
    prompt = renderer.prompt(case)
    fitted = Budget(config.context, config.max_tokens).fit(renderer, case, prompt)
    if fitted.prompt is None:
        return _Asked(None, prompt.numbers, fitted.tokens, fitted.dropped)
    as_json = config.prompt.reply == "json"
    request = ChatRequest(
        messages=fitted.prompt.messages, max_tokens=config.max_tokens, temperature=config.temperature,
        seed=None if config.seed is None else config.seed + sample,
        schema=answer_schema(prompt.numbers, reasoning=config.prompt.reasoning) if as_json else None,
    )  # fmt: skip
    return _Asked(request, prompt.numbers, fitted.tokens, fitted.dropped)


def _questions(config: RunConfig, renderer: Renderer, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    cohort, labels = renderer.cohort, read_labels(renderer.cohort, renderer.task)
    for row in rows.tolist():
        who = {"row": row, "record_id": str(cohort.record_id[row]), "subject_id": str(cohort.subject_id[row])}
        cases = renderer.cases([row])
        if not cases:
            empty: dict[str, Any] = {
                "start": -1,
                "end": -1,
                "sample": 0,
                "key": None,
                "numbers": 0,
                "label": [],
                "tokens": 0,
            }
            yield {**who, **empty, "dropped": [], "status": "no_data"}
        for case in cases:
            if renderer.task.per_visit:
                label = labels[0][row, case.start : case.end + 1].tolist()
            else:
                label = [float(one[row] if one.ndim == 1 else one[row, case.end]) for one in labels]
            for sample in range(config.samples):
                asked = _request(config, renderer, case, sample)
                sent = asked.request is not None
                parts = (config.backend, config.model, config.base_url, sample)
                # The scorer reads the arrays, not the text, in which equal patients could differ.
                place = [case, who["record_id"]] if config.backend == "reference-range" else None
                yield {
                    **who, "start": case.start, "end": case.end, "sample": sample,
                    "key": record_key(*parts, place, asked.request) if sent else None,
                    "numbers": asked.numbers, "label": label, "tokens": asked.tokens,
                    "dropped": list(asked.dropped), "status": None if sent else "too_long",
                }  # fmt: skip


def _split(cohort: Cohort, split: str) -> dict[str, NDArray[np.int64]]:
    if split == "paper":
        outcome = cohort.labels.get("mortality")
        drawn = split_subjects(cohort.subject_id, stratify=outcome, fractions=PAPER_FRACTIONS, seed=PAPER_SEED)
    else:
        drawn = Split.load(Path(split))
    index = drawn.index(cohort.subject_id)
    absent = [part for part in ("train", "test") if part not in index or not len(index[part])]
    if absent:
        raise InputError(f"the split {split!r} has nobody in {absent[0]!r}: give one with the parts train and test")
    return index


def _write_plan(folder: Path, prepared: Prepared) -> None:
    replace_atomically(folder / "plan.parquet", lambda partial: prepared.plan.to_parquet(partial, index=False))
    text = json.dumps(finite(prepared.facts), indent=1)
    replace_atomically(folder / "plan.json", lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
    if prepared.facts["kind"] == "probability" and not (folder / "baselines.parquet").exists():
        frame = predict_baselines(prepared.renderer, prepared.parts["train"], prepared.parts["test"])
        replace_atomically(folder / "baselines.parquet", lambda partial: frame.to_parquet(partial, index=False))


def _spent(store: RunStore, price: Price | None) -> float:
    if price is None:
        return 0.0
    return sum(price.cost(r["prompt_tokens"] or 0, r["completion_tokens"] or 0) for r in store.values())


class _Meter:
    """Stops before a request that could cost more than is left."""

    def __init__(self, config: RunConfig, price: Price | None, limit: float | None, spent: float) -> None:
        self._config, self._price, self._limit, self._spent = config, price, limit, spent
        self._reserved: dict[str, float] = {}
        self.stopped: str | None = None

    def limit(self, items: Iterator[Item], rows: pd.DataFrame) -> Iterator[Item]:
        for item, tokens in zip(items, rows["tokens"], strict=True):
            if self._price is not None and self._limit is not None:
                most = self._price.cost(int(tokens), self._config.max_tokens)
                if self._spent + sum(self._reserved.values()) + most > self._limit:
                    self.stopped = f"the cost limit of {self._limit:g} USD would be passed"
                    return
                self._reserved[item.key] = most
            yield item

    def settle(self, key: str, answer: Answer) -> None:
        reserved = self._reserved.pop(key, 0.0)
        if self._price is not None and isinstance(answer, Reply):
            counted = answer.prompt_tokens is not None and answer.completion_tokens is not None
            real = self._price.cost(answer.prompt_tokens or 0, answer.completion_tokens or 0)
            self._spent += real if counted else reserved
