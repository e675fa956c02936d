"""From a run's folder to its results: what was answered, how well, and what classical models make of the same stays."""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.core.errors import InputError
from auscult.core.intervals import bootstrap
from auscult.core.risk import compare, evaluate
from auscult.core.runs import RunStore
from auscult.ehr_prompt.parsing import USABLE, parse_reply
from auscult.ehr_prompt.prices import Price

METRICS = {
    "auroc": "auroc",
    "auprc": "auprc",
    "minpse": "min_precision_sensitivity",
    "f1": "f1",
    "accuracy": "accuracy",
    "brier": "brier",
    "ece": "expected_calibration_error",
}
POLICIES = ("exclude", "impute_prior", "impute_half", "worst_case")
HALF = 0.501
"""What the reference code puts for every answer that it cannot read."""


class Answers(NamedTuple):
    """One row a question (samples of one averaged): plan, status, value; the tokens counted; facts of the plan."""

    table: pd.DataFrame
    prompt_tokens: int
    completion_tokens: int
    facts: dict[str, Any]


def read_answers(folder: Path) -> Answers:
    """Return what a run has been told so far; what it has no answer to is a ``transport_error``.

    Raises
    ------
    InputError
        The folder holds no run.
    """
    with RunStore.read(folder) as store:
        try:
            plan = pd.read_parquet(folder / "plan.parquet")
            facts = json.loads((folder / "plan.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} has no plan of a run ({error}): start it again") from None
        replies = dict(store.items())
    found: list[tuple[str, tuple[float, ...] | None, str]] = []
    for row in plan[["key", "status", "numbers"]].to_dict("records"):
        reply = replies.get(row["key"])
        if reply is None:
            planned = isinstance(row["status"], str)
            found.append((row["status"] if planned else "transport_error", None, "" if planned else "no answer"))
            continue
        parsed = parse_reply(
            reply["text"], numbers=row["numbers"], kind=facts["kind"], finish_reason=reply["finish_reason"],
            refusal=reply["refusal"],
        )  # fmt: skip
        found.append((parsed.status, parsed.value, parsed.reason))
    columns = zip(("status", "value", "reason"), zip(*found, strict=True), strict=True)
    plan = plan.assign(**{name: list(column) for name, column in columns})
    tokens = [sum(reply[name] or 0 for reply in replies.values()) for name in ("prompt_tokens", "completion_tokens")]
    return Answers(_vote(plan), tokens[0], tokens[1], facts)


def score(folder: Path, *, price: Price | None = None, n_boot: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the results of a run as plain values, for JSON.

    Keys: ``n`` (questions), ``coverage`` (share with a usable answer), ``status`` (counts), ``policies`` (metrics
    with intervals by what stands for an answer that cannot be used), ``baselines``, ``differences`` (ours minus
    each baseline on the covered stays, paired), ``tokens``, ``cost`` (US dollars, None without a price). A metric that
    is undefined is None. With two labels, ``second`` holds the policies of the second.
    """
    answers = read_answers(folder)
    table, facts = answers.table, answers.facts
    usable = table["status"].isin(USABLE).to_numpy()
    result: dict[str, Any] = {
        "n": len(table),
        "coverage": float(usable.mean()) if len(table) else 0.0,
        "status": {str(name): int(count) for name, count in table["status"].value_counts().sort_index().items()},
    }
    if facts["kind"] == "days":
        result["policies"] = _score_days(table, usable, facts, n_boot, seed)
        result["baselines"] = {"train median": _days_metrics(table, [facts["prior"][0]] * len(table), n_boot, seed)}
    else:
        with_data = (table["status"] != "no_data").to_numpy()
        result["policies"] = _score_risk(table[with_data], 0, facts["prior"][0], n_boot, seed)
        if len(facts["labels"]) > 1:
            result["second"] = _score_risk(table[with_data], 1, facts["prior"][1], n_boot, seed)
        result |= _score_baselines(folder, table[usable], table[with_data], n_boot, seed)
    result["tokens"] = {"prompt": answers.prompt_tokens, "completion": answers.completion_tokens}
    result["cost"] = None if price is None else price.cost(answers.prompt_tokens, answers.completion_tokens)
    return result


def predictions(table: pd.DataFrame, output: int, policy: str, prior: float) -> NDArray[np.float64]:
    """Return one probability a row of answers; NaN where the policy ``exclude`` leaves the row out."""
    value = np.array([v[output] if v is not None else np.nan for v in table["value"]], np.float64)
    label = np.array([one[output] for one in table["label"]], np.float64)
    fill = {"exclude": np.full(len(value), np.nan), "impute_prior": np.full(len(value), prior),
            "impute_half": np.full(len(value), HALF), "worst_case": 1.0 - label}[policy]  # fmt: skip
    return np.where(np.isnan(value), fill, value)


def _vote(plan: pd.DataFrame) -> pd.DataFrame:
    """Average the usable samples of each question; without one, the first sample says why."""
    if (plan["sample"] == 0).all():
        return plan
    rows = []
    for _, group in plan.groupby(["row", "end"], sort=False):
        good = group[group["status"].isin(USABLE)]
        first = (good if len(good) else group).iloc[0].copy()
        if len(good):
            first["value"] = tuple(np.mean(np.array(good["value"].tolist()), axis=0))
        rows.append(first)
    return pd.DataFrame(rows).reset_index(drop=True)


def _score_risk(table: pd.DataFrame, output: int, prior: float, n_boot: int, seed: int) -> dict[str, Any]:
    label = np.array([one[output] for one in table["label"]], np.float64)
    return {
        policy: _risk_metrics(
            label, predictions(table, output, policy, prior), table["subject_id"].to_numpy(), n_boot, seed
        )
        for policy in POLICIES
    }


def _risk_metrics(label: Any, risk: Any, subjects: Any, n_boot: int, seed: int) -> dict[str, Any]:
    known = ~np.isnan(risk) & ~np.isnan(label)
    if not known.any():
        return dict.fromkeys(METRICS)
    found = evaluate(
        label[known], risk[known], subjects[known], metrics=tuple(METRICS.values()), n_boot=n_boot, seed=seed
    )
    return {short: _defined(found[name].to_dict()) for short, name in METRICS.items()}


def _score_baselines(
    folder: Path, covered: pd.DataFrame, asked: pd.DataFrame, n_boot: int, seed: int
) -> dict[str, dict[str, Any]]:
    frame = pd.read_parquet(folder / "baselines.parquet").set_index("row")
    label = np.array([one[0] for one in asked["label"]], np.float64)
    subjects = asked["subject_id"].to_numpy()
    baselines = {
        name: _risk_metrics(label, frame[name].reindex(asked["row"]).to_numpy(), subjects, n_boot, seed)
        for name in frame.columns
    }
    differences: dict[str, Any] = dict.fromkeys(frame.columns)
    if len(covered):
        ours = np.array([value[0] for value in covered["value"]])
        truth = np.array([one[0] for one in covered["label"]])
        for name in frame.columns:
            found = compare(
                truth, ours, frame[name].reindex(covered["row"]).to_numpy(), covered["subject_id"].to_numpy(),
                metrics=("auroc",), n_boot=n_boot, seed=seed,
            )  # fmt: skip
            differences[name] = _defined(found["auroc"].to_dict())
    return {"baselines": baselines, "differences": differences}


def _score_days(table: pd.DataFrame, usable: NDArray[np.bool_], facts: dict[str, Any], n_boot: int, seed: int) -> Any:
    imputed = [v if v is not None else facts["prior"][0] for v in table["value"]]
    return {
        "exclude": _days_metrics(table[usable], table["value"][usable].tolist(), n_boot, seed),
        "impute_prior": _days_metrics(table, imputed, n_boot, seed),
    }


def _days_metrics(table: pd.DataFrame, values: list[Any], n_boot: int, seed: int) -> dict[str, Any]:
    """Return MAE, MSE, RMSE and R² over all visits, and the MAE averaged over patients."""
    names = ("mae", "mse", "rmse", "r2", "mae_by_patient")
    label = [np.asarray(one, float) for one in table["label"]]
    error = [np.broadcast_to(np.asarray(v, float), y.shape) - y for v, y in zip(values, label, strict=True)]
    if not error:
        return dict.fromkeys(names)
    subject = np.repeat(table["subject_id"].to_numpy(), [len(y) for y in label])
    errors, truth = np.concatenate(error), np.concatenate(label)

    def statistic(name: str, rows: NDArray[np.intp]) -> float:
        e, y = errors[rows], truth[rows]
        if name == "mae":
            return float(np.abs(e).mean())
        if name == "mae_by_patient":
            return float(pd.Series(np.abs(e)).groupby(subject[rows]).mean().mean())
        if name == "r2":
            spread = float(((y - y.mean()) ** 2).sum())
            return 1 - float((e**2).sum()) / spread if spread else float("nan")
        return float((e**2).mean() ** (0.5 if name == "rmse" else 1))

    return {
        name: _defined(bootstrap(functools.partial(statistic, name), subject, n_boot=n_boot, seed=seed).to_dict())
        for name in names
    }


def _defined(value: dict[str, Any]) -> dict[str, Any] | None:
    return None if value["value"] is None else value
