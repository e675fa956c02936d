"""Before the first call: the data, the split, and every question with the key of its answer."""

import functools
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.open import load_cohort
from auscult.core.data.splits import Split, split_subjects
from auscult.core.endpoint import ChatRequest
from auscult.core.errors import InputError, missing_dependency
from auscult.core.progress import progress
from auscult.core.runs import record_key
from auscult.ehr_prompt.backends import Item
from auscult.ehr_prompt.budget import Budget, Fitted
from auscult.ehr_prompt.config import RunConfig
from auscult.ehr_prompt.examples import show_examples
from auscult.ehr_prompt.panel import load_panel
from auscult.ehr_prompt.rendering import Prompt, Renderer
from auscult.ehr_prompt.tasks import answer_schema, read_labels
from auscult.ehr_prompt.windows import Case, coarsen

PAPER_FRACTIONS = {"train": 0.3, "validation": 0.1, "test": 0.6}
PAPER_SEED = 42
TOP_LOGPROBS = 20


class Prepared(NamedTuple):
    """Data, positions of the split's parts, renderer, and what scoring needs to know of the training patients."""

    cohort: Cohort
    parts: dict[str, NDArray[np.int64]]
    renderer: Renderer
    facts: dict[str, Any]


def prepare(config: RunConfig, cohort: Cohort | None = None) -> Prepared:
    """Read the data and the split and make the renderer.

    Parameters
    ----------
    config
        The run.
    cohort
        In place of reading ``config.data``.

    Raises
    ------
    InputError
        Data, split, panel, task and settings do not fit together.
    """
    cohort = load_cohort(config.data, **config.data_options) if cohort is None else cohort
    cohort = coarsen(cohort, config.bins)
    index = _split(cohort, config.split)
    train = index["train"]
    renderer = Renderer(cohort, load_panel(config.panel, cohort), config.prompt, train)
    labels = read_labels(cohort, renderer.task)
    show_examples(renderer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nobody's label is known: said below
        average = np.nanmedian if renderer.task.kind == "days" else np.nanmean
        prior = [float(average(label[train])) for label in labels]
    if np.isnan(prior).any():
        raise InputError(f"no training stay has a label of {renderer.task.name!r}: choose another split or task")
    facts = {
        "task": renderer.task.name,
        "kind": renderer.task.kind,
        "labels": list(renderer.task.labels),
        "prior": prior,
        "train_subjects": len(np.unique(cohort.subject_id[train])),
        "test_stays": len(index["test"]),
    }
    return Prepared(cohort, index, renderer, facts)


def plan_questions(config: RunConfig, prepared: Prepared) -> pd.DataFrame:
    """Return one row a question: whom it is about, label, tokens, what was left out, and the key of its answer.

    A stay without a visit in its window has the status ``no_data``, one whose prompt does not fit ``too_long``; neither
    has a key.
    """
    cohort, renderer = prepared.cohort, prepared.renderer
    labels = read_labels(cohort, renderer.task)
    test: list[int] = prepared.parts["test"].tolist()
    cases = {row: renderer.cases([row]) for row in test}
    rows: list[dict[str, Any]] = []
    asked = ask(config, renderer, [case for row in test for case in cases[row]])
    with progress("Rendering", len(test)) as advance:
        for row in test:
            record_id = str(cohort.record_id[row])
            who = {"row": row, "record_id": record_id, "subject_id": str(cohort.subject_id[row])}
            if not cases[row]:
                rows.append(
                    who
                    | {"start": -1, "end": -1, "sample": 0, "key": None, "numbers": 0, "label": [], "tokens": 0}
                    | {"dropped": [], "status": "no_data"}
                )
            for case in cases[row]:
                if renderer.task.per_visit:
                    label = labels[0][row, case.start : case.end + 1].tolist()
                else:
                    label = [float(one[row] if one.ndim == 1 else one[row, case.end]) for one in labels]
                prompt, fitted, requests = next(asked)
                for sample in range(config.samples):
                    rows.append(
                        who
                        | {"start": case.start, "end": case.end, "sample": sample, "numbers": prompt.numbers}
                        | {"key": _key(config, case, record_id, sample, requests), "label": label}
                        | {"tokens": fitted.tokens, "dropped": list(fitted.dropped)}
                        | {"status": None if requests else "too_long"}
                    )
            advance(1)
    return pd.DataFrame(rows)


def requests_of(config: RunConfig, prepared: Prepared, rows: pd.DataFrame) -> Iterator[tuple[Item, int]]:
    """Yield the requests of some rows of the plan, rendered as they are needed, each with its prompt's tokens.

    Raises
    ------
    InputError
        A prompt is not the one that was planned.
    """
    places = list(zip(rows["row"], rows["start"], rows["end"], strict=True))
    cases = [Case(*map(int, place)) for place in dict.fromkeys(places)]
    asked = ask(config, prepared.renderer, cases)
    last: tuple[Any, ...] | None = None
    requests: list[ChatRequest] = []
    for place, sample, key, tokens in zip(places, rows["sample"], rows["key"], rows["tokens"], strict=True):
        if place != last:
            last, (_, _, requests) = place, next(asked)
        case = Case(*map(int, place))
        if _key(config, case, str(prepared.cohort.record_id[case.row]), int(sample), requests) != key:
            raise InputError("this version does not make the prompts that were planned: choose another folder")
        yield Item(key, requests[int(sample)], case), int(tokens)


def ask(
    config: RunConfig, renderer: Renderer, cases: Sequence[Case]
) -> Iterator[tuple[Prompt, Fitted, list[ChatRequest]]]:
    """Yield for each case its prompt, what fits of it, and one request a sample; none where nothing fits."""
    budget = Budget(load_context(config), config.max_tokens, tokenizer=load_tokenizer(config))
    for case, prompt in zip(cases, renderer.prompts(cases), strict=True):
        fitted = budget.fit(renderer, case, prompt)
        yield prompt, fitted, [_request(config, fitted.prompt, sample) for sample in range(config.samples)
                               if fitted.prompt is not None]  # fmt: skip


def _request(config: RunConfig, prompt: Prompt, sample: int) -> ChatRequest:
    prompted = config.prompt
    reply = prompted.reply
    schema = answer_schema(prompt.numbers, reasoning=prompted.reasoning, abstain=prompted.abstain)
    return ChatRequest(
        messages=prompt.messages, max_tokens=config.max_tokens, temperature=config.temperature,
        seed=None if config.seed is None else config.seed + sample,
        schema=schema if reply == "json" else None,
        top_logprobs=TOP_LOGPROBS if reply in ("yes_no", "digit") else 0, extra=config.request,
    )  # fmt: skip


def _key(config: RunConfig, case: Case, record_id: str, sample: int, requests: list[ChatRequest]) -> str | None:
    if not requests:
        return None
    # The scorer reads the arrays, not the text, in which equal patients could differ.
    place = [*case, record_id] if config.backend == "reference-range" else None
    return record_key(config.backend, config.model, config.base_url, sample, place, requests[sample])


def load_context(config: RunConfig) -> int | None:
    """Return the tokens that the model takes: as configured, else what a local model says of itself."""
    if config.context is not None or config.backend != "local":
        return config.context
    length = getattr(_from_pretrained("AutoConfig", config.model), "max_position_embeddings", None)
    return length if isinstance(length, int) else None


def _from_pretrained(kind: str, name: str) -> Any:
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise missing_dependency("transformers", purpose="counting tokens", install="ehr-prompt[local]") from error
    try:
        return getattr(transformers, kind).from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the tokenizer of {name!r} cannot be loaded ({reason}): give its folder") from error


@functools.cache
def _tokenizer(name: str) -> Callable[[str], Sequence[object]]:
    tokenizer = _from_pretrained("AutoTokenizer", name)

    def tokens(text: str) -> Sequence[object]:
        found: Sequence[object] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    return tokens


def load_tokenizer(config: RunConfig) -> Callable[[str], Sequence[object]] | None:
    """Return a function from text to tokens where the run names a tokenizer or a local model, else None."""
    name = config.tokenizer or (config.model if config.backend == "local" else None)
    return None if name is None else _tokenizer(name)


def _split(cohort: Cohort, split: str) -> dict[str, NDArray[np.int64]]:
    if split == "paper":
        outcome = cohort.labels.get("mortality")
        known = outcome is not None and outcome.ndim == 1 and not np.isnan(outcome.astype(np.float64)).any()
        drawn = split_subjects(
            cohort.subject_id, stratify=outcome if known else None, fractions=PAPER_FRACTIONS, seed=PAPER_SEED
        )
    else:
        drawn = Split.load(Path(split))
    index = drawn.index(cohort.subject_id)
    absent = [part for part in ("train", "test") if part not in index or not len(index[part])]
    if absent:
        raise InputError(f"the split {split!r} has nobody in {absent[0]!r}: give one with the parts train and test")
    return index
