"""From a run's folder to its results: what was answered, how well, and what classical models make of the same stays."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.core.errors import InputError
from auscult.core.intervals import Interval
from auscult.core.risk import evaluate
from auscult.core.run_files import MANIFEST, RECORDS
from auscult.core.runs import RunStore
from auscult.ehr_prompt.costs import Price, count_used
from auscult.ehr_prompt.parsing import USABLE, Parsed, Status, parse_reply, read_probability
from auscult.ehr_prompt.resampling import evaluate_days, evaluate_risks

POLICIES = ("exclude", "impute_prior", "impute_half", "worst_case")
DAYS_POLICIES = ("exclude", "impute_prior")
HALF = 0.501
"""What the reference code puts for every answer that it cannot read."""
_CALIBRATED_UP_TO = 5_000

FloatArray = NDArray[np.float64]


class Answers(NamedTuple):
    """One row a question (samples of one averaged): plan, status, value; the tokens; facts and settings.

    ``estimated`` is the number of answers whose tokens the server did not count: they are taken as planned, their
    replies as the longest.
    """

    table: pd.DataFrame
    prompt_tokens: int
    completion_tokens: int
    estimated: int
    facts: dict[str, Any]
    config: dict[str, Any]


class Numbers(NamedTuple):
    """One output of a run, one row a number asked for: subject, key (stay, step), label, value (NaN where unusable)."""

    subject: NDArray[Any]
    key: pd.MultiIndex
    label: FloatArray
    value: FloatArray


def read_answers(folder: Path, *, clamp: bool = False, decimal_comma: bool = False) -> Answers:
    """Return what a run has been told so far; what it has no answer to is a ``transport_error``.

    Parameters
    ----------
    folder
        Of the run.
    clamp, decimal_comma
        As in :func:`~auscult.ehr_prompt.parsing.parse_reply`.

    Raises
    ------
    InputError
        The folder holds no run, or has lost a part of it.
    """
    with open_answers(folder) as store:
        config = store.manifest["config"]
        plan = _part(folder, "plan.parquet", pd.read_parquet)
        facts = _part(folder, "plan.json", lambda path: json.loads(path.read_text("utf-8")))
        form, numbers = config["prompt"]["reply"], dict(zip(plan["key"], plan["numbers"].tolist(), strict=True))

        @functools.lru_cache(maxsize=1000)  # many answers are the same few numbers
        def read(text: str, numbers: int, finish_reason: str | None, refusal: str | None) -> Parsed:
            return parse_reply(
                text, numbers=numbers, kind=facts["kind"], clamp=clamp, finish_reason=finish_reason, refusal=refusal,
                decimal_comma=decimal_comma,
            )._replace(raw="")  # fmt: skip  # long texts are not kept

        said: dict[str, Parsed] = {}
        planned = dict(zip(plan["key"], plan["tokens"].tolist(), strict=True))
        prompts = completions = estimated = 0
        for key, reply in store.items():
            if config["backend"] != "reference-range":
                prompt, completion, guessed = count_used(reply, planned.get(key, 0), config["max_tokens"])
                prompts, completions, estimated = prompts + prompt, completions + completion, estimated + guessed
            if form in ("yes_no", "digit"):
                said[key] = read_probability(reply["text"], reply["logprobs"], form)._replace(raw="")
            else:
                said[key] = read(reply["text"], numbers.get(key, 1), reply["finish_reason"], reply["refusal"])

    def result(key: Any, status: Any) -> Parsed:
        if isinstance(status, str):
            return Parsed(cast(Status, status), None, "")
        return said.get(key) or Parsed("transport_error", None, "", "no answer")

    found = [result(key, status) for key, status in zip(plan["key"], plan["status"], strict=True)]
    for name in ("status", "value", "reason"):
        plan[name] = pd.Series([getattr(one, name) for one in found], index=plan.index, dtype=object)
    return Answers(_vote(plan), prompts, completions, estimated, facts, config)


def open_answers(folder: Path) -> RunStore:
    """Open a run's folder for reading.

    Raises
    ------
    InputError
        It is no folder, holds no run, or has lost its records.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of a run")
    if (folder / MANIFEST).exists() and not (folder / RECORDS).exists():
        raise InputError(f"{folder} has lost its answers ({RECORDS}): restore them, or start the run again")
    return RunStore.read(folder)


def _part(folder: Path, name: str, read: Callable[[Path], Any]) -> Any:
    try:
        return read(folder / name)
    except (OSError, ValueError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else "it is damaged"
        raise InputError(
            f"{folder / name} cannot be read ({reason}): start the run again, which makes it anew and keeps the answers"
        ) from None


def coverage(answers: Answers) -> float:
    """Return the share of the questions with a usable answer; 0 without questions."""
    usable = answers.table["status"].isin(USABLE)
    return float(usable.mean()) if len(usable) else 0.0


def score(
    folder: Path,
    *,
    price: Price | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    clamp: bool = False,
    decimal_comma: bool = False,
) -> dict[str, Any]:
    """Return the results of a run as plain values, for JSON.

    Keys: ``n`` (questions), ``labelled`` (those with a known label, on which the metrics rest), ``coverage`` (share
    with a usable answer), ``status`` (counts), ``policies`` (metrics with intervals by what stands for an answer that
    cannot be used), ``baselines``, ``differences`` (AUROC, of days the MAE, of the answers minus that of each baseline
    on the covered stays, paired), ``calibration`` (slope and intercept of the usable answers; None beyond 5,000),
    ``tokens`` (``estimated``: of how many answers, as the server did not count), ``cost`` (US dollars, None without a
    price). A metric that is undefined is None. With two labels, ``second`` holds the same of the second.

    Parameters
    ----------
    folder
        Of the run.
    price
        Of the model.
    n_boot, seed
        Of the resamples of subjects.
    clamp, decimal_comma
        As in :func:`~auscult.ehr_prompt.parsing.parse_reply`.
    """
    answers = read_answers(folder, clamp=clamp, decimal_comma=decimal_comma)
    table, facts = answers.table, answers.facts
    result: dict[str, Any] = {
        "n": len(table),
        "coverage": coverage(answers),
        "status": {str(name): int(count) for name, count in table["status"].value_counts().sort_index().items()},
    }
    frame = _part(folder, "baselines.parquet", pd.read_parquet)
    for output in range(len(facts["labels"])):
        numbers = numbers_of(answers, output)
        rows = frame[frame["output"] == output].set_index(["row", "end"]).drop(columns="output")
        baselines = {str(name): rows[name].reindex(numbers.key).to_numpy(np.float64) for name in rows.columns}
        measure = _score_days if facts["kind"] == "days" else _score_risks
        known = numbers.key[~np.isnan(numbers.label)]
        part = {"labelled": len(known.unique("row") if facts["task"] == "los" else known)}
        part |= measure(numbers, baselines, facts["prior"][output], n_boot, seed)
        result |= part if output == 0 else {"second": part}
    result["tokens"] = {
        "prompt": answers.prompt_tokens, "completion": answers.completion_tokens, "estimated": answers.estimated,
    }  # fmt: skip
    result["cost"] = None if price is None else price.cost(answers.prompt_tokens, answers.completion_tokens)
    return result


def numbers_of(answers: Answers, output: int = 0) -> Numbers:
    """Return the numbers of one output, of every stay with a visit in its window; lists give one row a visit."""
    table = answers.table[answers.table["status"] != "no_data"]
    per_visit = answers.facts["task"] == "los"
    counts = (table["end"] - table["start"] + 1).to_numpy() if per_visit else np.ones(len(table), np.intp)
    row = np.repeat(table["row"].to_numpy(), counts)
    if per_visit:
        spans = zip(table["start"].tolist(), table["end"].tolist(), strict=True)
        step = np.concatenate([np.arange(a, b + 1) for a, b in spans] or [np.empty(0, np.intp)])
        label = np.concatenate([np.asarray(one, np.float64) for one in table["label"]] or [np.empty(0)])
        value = [v if v is not None else np.full(n, np.nan) for v, n in zip(table["value"], counts, strict=True)]
        flat = np.concatenate([np.asarray(one, np.float64) for one in value] or [np.empty(0)])
    else:
        step = table["end"].to_numpy()
        label = np.array([one[output] for one in table["label"]], np.float64)
        flat = np.array([np.nan if v is None else v[output] for v in table["value"]], np.float64)
    key = pd.MultiIndex.from_arrays([row, step.astype(np.int64)], names=["row", "end"])
    return Numbers(np.repeat(table["subject_id"].to_numpy(np.str_), counts), key, label, flat)


def fill_by_policy(numbers: Numbers, policy: str, prior: float) -> FloatArray:
    """Return one number a row; NaN where the policy ``exclude`` leaves the row out."""
    constants = {"exclude": np.nan, "impute_prior": prior, "impute_half": HALF}
    fill = 1.0 - numbers.label if policy == "worst_case" else np.full(len(numbers.label), constants[policy])
    filled: FloatArray = np.where(np.isnan(numbers.value), fill, numbers.value)
    return filled


def plain_interval(interval: Interval) -> dict[str, Any] | None:
    """Return an interval for JSON; None where its value is undefined."""
    plain = interval.to_dict()
    return None if plain["value"] is None else plain


def _vote(plan: pd.DataFrame) -> pd.DataFrame:
    """Average the usable samples of each question; without one, the first sample says why."""
    if (plan["sample"] == 0).all():
        return plan
    samples: dict[tuple[int, int], list[int]] = {}
    for place, question in enumerate(zip(plan["row"].tolist(), plan["end"].tolist(), strict=True)):
        samples.setdefault(question, []).append(place)
    values = plan["value"].tolist()
    first, mean = [], []
    for places in samples.values():
        good = [place for place in places if values[place] is not None]
        first.append(good[0] if good else places[0])
        mean.append(tuple(np.mean([values[place] for place in good], axis=0).tolist()) if good else None)
    voted = plan.iloc[first].reset_index(drop=True)
    return voted.assign(value=pd.Series(mean, dtype=object))


def _score_risks(
    numbers: Numbers, baselines: dict[str, FloatArray], prior: float, n_boot: int, seed: int
) -> dict[str, Any]:
    risks = {policy: fill_by_policy(numbers, policy, prior) for policy in POLICIES}
    named = {f"baseline {name}": risk for name, risk in baselines.items()}
    found, differences = evaluate_risks(
        numbers.label, risks | named, numbers.subject, pairs=[("exclude", name) for name in named],
        n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return _as_plain(found, differences, POLICIES) | {"calibration": _calibration(numbers, n_boot, seed)}


def _calibration(numbers: Numbers, n_boot: int, seed: int) -> dict[str, Any] | None:
    known = ~(np.isnan(numbers.value) | np.isnan(numbers.label))
    if not 0 < known.sum() <= _CALIBRATED_UP_TO:
        return None
    names = {"slope": "calibration_slope", "intercept": "calibration_intercept"}
    found = evaluate(
        numbers.label[known], numbers.value[known], numbers.subject[known], metrics=tuple(names.values()),
        n_boot=min(n_boot, 200), seed=seed,
    )  # fmt: skip
    return {short: plain_interval(found[name]) for short, name in names.items()}


def _score_days(
    numbers: Numbers, baselines: dict[str, FloatArray], prior: float, n_boot: int, seed: int
) -> dict[str, Any]:
    days = {policy: fill_by_policy(numbers, policy, prior) for policy in DAYS_POLICIES}
    constant = {"train median": np.full(len(numbers.label), prior)}
    named = {f"baseline {name}": made for name, made in (constant | baselines).items()}
    found, differences = evaluate_days(
        numbers.label, days | named, numbers.subject, pairs=[("exclude", name) for name in named],
        n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return _as_plain(found, differences, DAYS_POLICIES)


def _as_plain(found: Any, differences: Any, policies: tuple[str, ...]) -> dict[str, Any]:
    plain = {name: {m: plain_interval(one) for m, one in metrics.items()} for name, metrics in found.items()}
    baselines = [name for name in plain if name not in policies]
    short = {name: name.removeprefix("baseline ") for name in baselines}
    return {
        "policies": {policy: plain[policy] for policy in policies},
        "baselines": {short[name]: plain[name] for name in baselines},
        "differences": {short[name]: plain_interval(differences["exclude", name]) for name in baselines},
    }
