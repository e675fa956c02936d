"""A run: every question asked once, every answer stored, at any moment ready to be killed and resumed.

The folder holds, beside the files of :class:`~auscult.core.runs.RunStore`, ``plan.parquet`` (one row a question:
whom it is about, the label, the key of its answer), ``plan.json`` (what scoring needs to know of the training
patients) and ``baselines.parquet``. Scoring reads the folder alone. The folder holds labels and replies about patients:
keep it as private as the data.
"""

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from auscult.core.canonical import finite
from auscult.core.endpoint import Answer, Endpoint, Reply
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress
from auscult.core.run_files import MANIFEST, read_manifest
from auscult.core.runs import RunStore, record_key
from auscult.ehr_prompt.backends import Backend, EndpointBackend
from auscult.ehr_prompt.baselines import predict_baselines
from auscult.ehr_prompt.config import RunConfig
from auscult.ehr_prompt.costs import Meter, Price, count_used
from auscult.ehr_prompt.planning import Prepared, plan_questions, prepare, requests_of
from auscult.ehr_prompt.wording import VERSION, template_hash


class Outcome(NamedTuple):
    """What a run did.

    Parameters
    ----------
    planned, reused, stored, failed
        Questions; answers that were there before; new ones; those that failed for good.
    stopped
        Why not all were asked; None where all were.
    cost
        US dollars for all answers in the folder; None without a price.
    reasons
        Of failures, with their number.
    """

    planned: int
    reused: int
    stored: int
    failed: int
    stopped: str | None
    cost: float | None
    reasons: dict[str, int]


def run(
    config: RunConfig,
    folder: Path,
    backend: Backend | None = None,
    *,
    prepared: Prepared | None = None,
    price: Price | None = None,
    max_cost: float | None = None,
    baselines: MutableMapping[str, pd.DataFrame] | None = None,
) -> Outcome:
    """Ask what the folder does not hold yet, and store every answer as it comes.

    Failures are not stored, so that a later call asks them again. With ``max_cost`` (US dollars) no request is
    sent whose reply could take the run beyond it.

    Parameters
    ----------
    config
        What the answers depend on.
    folder
        Of the run; made if it is not there. One without an answer may be of another configuration, and becomes this
        one's.
    backend
        Who answers; by default whom the configuration names.
    prepared
        In place of :func:`~auscult.ehr_prompt.planning.prepare`.
    price, max_cost
        Of the model, and the limit.
    baselines
        What was predicted for earlier runs of this process, by what it depends on; runs that share it share their
        baselines, and add theirs.

    Raises
    ------
    InputError
        The folder holds answers of another run, the server cannot be used, or a limit is given without a price.
    """
    if max_cost is not None and price is None:
        raise InputError(
            f"a cost limit needs the price of {config.model!r}: add it to a table and name it with --prices"
        )
    prepared = prepared or prepare(config)
    backend = backend or make_backend(config, prepared)
    identity = {
        **config.model_dump(mode="json"), "template": f"{VERSION} {template_hash()}",
        "panel_hash": prepared.renderer.panel.hash,
    }  # fmt: skip
    with _open(folder, identity, config.seed, prepared.cohort.fingerprint()) as store:
        plan = _plan(folder, config, prepared, {} if baselines is None else baselines)
        asked = plan.loc[plan["key"].notna()].drop_duplicates("key")
        todo = asked[asked["key"].isin(store.missing(asked["key"]))]
        spent = 0.0 if price is None or not len(store) else _spent(store, price, asked, config.max_tokens)
        meter = Meter(price, max_cost, spent, config.max_tokens)
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

            if len(todo):
                backend.answer(meter.limit(requests_of(config, prepared, todo)), deliver)
        return Outcome(
            len(plan), len(asked) - len(todo), counts["stored"], counts["failed"], meter.stopped, meter.spent, reasons
        )


def make_backend(config: RunConfig, prepared: Prepared, **options: Any) -> Backend:
    """Return the backend that a configuration names.

    Parameters
    ----------
    config, prepared
        The run.
    **options
        Of :class:`~auscult.core.endpoint.Endpoint`, or of :class:`~auscult.ehr_prompt.backends.local.LocalBackend`.
    """
    if config.backend == "openai":
        return EndpointBackend(Endpoint(base_url=config.base_url or "", model=config.model, **options))
    if config.backend == "local":
        from auscult.ehr_prompt.backends.local import LocalBackend

        return LocalBackend(config.model, **options)
    from auscult.ehr_prompt.backends.reference_range import ReferenceRangeBackend

    return ReferenceRangeBackend(prepared.cohort, prepared.renderer.panel, config.prompt.ranges)


def _open(folder: Path, identity: dict[str, Any], seed: int | None, fingerprint: str) -> RunStore:
    """Open the folder; one that another configuration has claimed without storing an answer is taken over."""

    def start() -> RunStore:
        return RunStore.open(folder, config=identity, seed=seed, data_fingerprint=fingerprint, package="ehr-prompt")

    try:
        return start()
    except RunMismatchError:
        if read_manifest(folder) is None:
            raise
        with RunStore.read(folder) as store:
            if len(store):
                raise
        for name in ("plan.parquet", "plan.json", "baselines.parquet", MANIFEST):  # last what claims the others
            (folder / name).unlink(missing_ok=True)
        return start()


def _plan(
    folder: Path, config: RunConfig, prepared: Prepared, baselines: MutableMapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the folder's plan, or make it, with the baselines, where one of its files is missing or damaged."""
    path = folder / "plan.parquet"
    try:
        pd.read_parquet(folder / "baselines.parquet", columns=["row"])
        json.loads((folder / "plan.json").read_text("utf-8"))
        return pd.read_parquet(path)
    except (OSError, ValueError):
        pass
    train, test = prepared.parts["train"], prepared.parts["test"]
    cases = [prepared.renderer.cases(part) for part in (train, test)]
    same = record_key(prepared.cohort.fingerprint(), prepared.renderer.task, train, test, cases)
    if same not in baselines:
        baselines[same] = predict_baselines(prepared.renderer, train, test)
    frame = baselines[same]
    replace_atomically(folder / "baselines.parquet", lambda partial: frame.to_parquet(partial, index=False))
    text = json.dumps(finite(prepared.facts), indent=1) + "\n"
    replace_atomically(folder / "plan.json", lambda partial: partial.write_text(text, encoding="utf-8"))
    plan = plan_questions(config, prepared)
    replace_atomically(path, lambda partial: plan.to_parquet(partial, index=False))
    return plan


def _spent(store: RunStore, price: Price, asked: pd.DataFrame, max_tokens: int) -> float:
    planned = dict(zip(asked["key"], asked["tokens"].tolist(), strict=True))
    used = (count_used(reply, planned.get(key, 0), max_tokens) for key, reply in store.items())
    return sum(price.cost(prompt, completion) for prompt, completion, _ in used)
