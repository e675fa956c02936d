"""Rates of success and refusal with their intervals, and tests between methods on the same records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from auscult.core.errors import InputError
from auscult.core.intervals import Interval, holm, percentile_bounds, sign_test, wilson

Reply = Mapping[str, Any]
"""A reply with its verdict: ``refused`` (None is no verdict), ``degenerate``, and what it is grouped by."""

_SAME_BUDGET = 0.05
_DRAWS = 1_000_000


def rates(replies: Iterable[Reply], by: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rates of each group, with Wilson's 95 % intervals.

    Parameters
    ----------
    replies
        With ``refused`` and ``degenerate``.
    by
        The fields that make a group; groups come in the order of their first reply.

    Returns
    -------
    list[dict]
        The group's fields; ``n`` replies with a verdict and ``no_verdict`` without one; ``asr``, the share that is not
        refused; ``asr_language``, the share that is neither refused nor degenerate; ``refusal_rate``, which is
        1 - asr; ``degenerate``, the share that is no language.
    """
    groups: dict[tuple[Any, ...], list[Reply]] = {}
    for reply in replies:
        groups.setdefault(tuple(reply.get(name) for name in by), []).append(reply)
    return [dict(zip(by, group, strict=True)) | _rates(members) for group, members in groups.items()]


def rate(count: int, total: int) -> Interval:
    """Return a share with Wilson's interval; NaN of nobody."""
    low, high = wilson(count, total)
    return Interval(count / total if total else np.nan, float(low), float(high))


def compare_methods(
    replies: Iterable[Reply], first: str, second: str, *, field: str = "optimizer", n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare two methods on the records that both have.

    Parameters
    ----------
    replies
        Of one condition, model and defence; each with ``record_id``, the field that names its method, ``refused``, and
        where there was an optimisation ``final_loss`` and ``forward_tokens``.
    first, second
        The methods.
    field
        The field that names the method.
    n_boot, seed
        Of the bootstrap over records.

    Returns
    -------
    dict
        ``pairs``; ``asr_difference`` and ``loss_difference``, first minus second, with intervals by record; ``wins``
        and ``losses`` of the first in success, and ``p``, the exact sign test of them (which is McNemar's);
        ``tokens`` of both in the mean, and ``equal_budget``, whether those are within 5 % of each other.

    Raises
    ------
    InputError
        A record has several replies of one method.
    """
    by_method: dict[Any, dict[Any, Reply]] = {first: {}, second: {}}
    for reply in replies:
        if reply.get(field) in by_method:
            if reply["record_id"] in by_method[reply[field]]:
                raise InputError(
                    f"record {reply['record_id']!r} has several replies of {reply[field]}: compare those of one "
                    "condition, model and defence"
                )
            by_method[reply[field]][reply["record_id"]] = reply
    for method, found in by_method.items():
        by_method[method] = {one: reply for one, reply in found.items() if reply.get("refused") is not None}
    shared = [one for one in by_method[first] if one in by_method[second]]
    pairs = [(by_method[first][one], by_method[second][one]) for one in shared]
    success = np.array([[not a["refused"], not b["refused"]] for a, b in pairs], dtype=float).reshape(-1, 2)
    wins, losses = (int(np.sum(success[:, i] > success[:, 1 - i])) for i in (0, 1))
    tokens = [
        float(np.mean([pair[i].get("forward_tokens") or 0 for pair in pairs])) if pairs else np.nan for i in (0, 1)
    ]
    loss = np.array([[_number(a.get("final_loss")), _number(b.get("final_loss"))] for a, b in pairs]).reshape(-1, 2)
    return {
        "first": first, "second": second, "pairs": len(pairs),
        "asr_difference": _difference(success, n_boot, seed), "wins": wins, "losses": losses,
        "p": sign_test(wins, losses) if wins + losses else float("nan"),
        "loss_difference": _difference(loss[~np.isnan(loss).any(axis=1)], n_boot, seed),
        "tokens": tokens,
        "equal_budget": bool(pairs) and abs(tokens[0] - tokens[1]) <= _SAME_BUDGET * max(*tokens, 1.0),
    }  # fmt: skip


def compare_all(replies: Sequence[Reply], methods: Sequence[str], **options: Any) -> list[dict[str, Any]]:
    """Compare every pair of methods in every condition; ``p_holm`` is adjusted for all of these tests together."""
    found = []
    for condition in dict.fromkeys(reply["condition"] for reply in replies):
        mine = [reply for reply in replies if reply["condition"] == condition]
        for i, first in enumerate(methods):
            for second in methods[i + 1 :]:
                compared = compare_methods(mine, first, second, **options)
                if compared["pairs"]:
                    found.append({"condition": condition, **compared})
    for row, adjusted in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = float(adjusted)
    return found


def _rates(replies: Sequence[Reply]) -> dict[str, Any]:
    judged = [reply for reply in replies if reply["refused"] is not None]
    success = [reply for reply in judged if not reply["refused"]]
    n = len(judged)
    return {
        "n": n, "no_verdict": len(replies) - n, "asr": rate(len(success), n),
        "asr_language": rate(sum(not reply["degenerate"] for reply in success), n),
        "refusal_rate": rate(n - len(success), n), "degenerate": rate(sum(bool(r["degenerate"]) for r in judged), n),
    }  # fmt: skip


def _difference(values: "np.ndarray[Any, np.dtype[np.float64]]", n_boot: int, seed: int) -> Interval:
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    difference = values[:, 0] - values[:, 1]
    rng = np.random.default_rng(seed)
    replicates: list[float] = []
    while len(replicates) < n_boot:  # some resamples at once: there are many pairs of methods
        some = min(n_boot - len(replicates), max(1, _DRAWS // len(difference)))
        replicates += difference[rng.integers(len(difference), size=(some, len(difference)))].mean(axis=1).tolist()
    low, high = percentile_bounds(replicates)
    return Interval(float(difference.mean()), float(low), float(high))


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
