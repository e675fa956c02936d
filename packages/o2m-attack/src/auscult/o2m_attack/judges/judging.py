"""Verdicts on every reply of a run, kept in its folder, and what they add up to."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from auscult.core.canonical import finite
from auscult.core.errors import InputError
from auscult.core.runs import RunStore, record_key
from auscult.o2m_attack.campaign import PRIVATE
from auscult.o2m_attack.dataset.mismatch import stratum_of
from auscult.o2m_attack.judges.degenerate import degeneracy
from auscult.o2m_attack.judges.protocol import Answer, Judge
from auscult.o2m_attack.judges.refusal import make_judge
from auscult.o2m_attack.judges.tallies import compare_all, rates
from auscult.o2m_attack.transfer import read_replies

_VERDICTS = "verdicts"
_METHODS = ("none", "gcg", "pgd", "mcm")
DEFAULT = ("reference39", "prefix")
"""The judges that need nothing: the published one first."""


def judge_run(folder: str | Path, *, judges: Sequence[Judge | str] = DEFAULT, batch_size: int = 32) -> dict[str, Any]:
    """Judge every reply of a run that a judge has not judged yet, and return the rates.

    Parameters
    ----------
    folder
        Of a run.
    judges
        Names (``reference39``, ``prefix``) or objects; a verdict is remembered under the judge's name.
    batch_size
        Replies that are judged, and stored, together.

    Returns
    -------
    dict
        Judge -> what :func:`summarise` returns.

    Raises
    ------
    InputError
        There is no run, it has no reply, or there is no such judge.
    """
    chosen = [make_judge(judge) for judge in judges]
    replies = list(read_replies(folder))
    if not replies or not chosen:
        raise InputError(f"{folder} has no {'judge' if replies else 'reply to judge'}: give at least one")
    with RunStore.open(
        Path(folder) / _VERDICTS, config={"kind": "verdicts"}, package="o2m-attack", mode=PRIVATE
    ) as store:
        for judge in chosen:
            first = {_key(judge.name, reply): reply for reply in replies if not reply["blocked"]}
            waiting = store.missing(first)
            for start in range(0, len(waiting), batch_size):
                batch = waiting[start : start + batch_size]
                answers = [Answer(first[key]["question"], first[key]["response"]) for key in batch]
                with store.batch():
                    for key, verdict in zip(batch, judge.refused(answers), strict=True):
                        # What a judge could not say it may say when it is asked again.
                        if verdict is not None:
                            store.put(key, {"judge": judge.name, "refused": bool(verdict)})
        judged = {judge.name: _with_verdicts(replies, store, judge.name) for judge in chosen}
    return {name: summarise(mine) for name, mine in judged.items()}


def read_judged(folder: str | Path, judge: str = "reference39") -> list[dict[str, Any]]:
    """Return every reply with what a judge said of it; ``refused`` is None where it has not judged.

    Raises
    ------
    InputError
        There is no run, or :func:`judge_run` has not been called on it.
    """
    with RunStore.read(Path(folder) / _VERDICTS) as store:
        return _with_verdicts(list(read_replies(folder)), store, judge)


def judges_of(folder: str | Path) -> list[str]:
    """Return the names of the judges that have judged a run."""
    if not (Path(folder) / _VERDICTS / "manifest.json").exists():
        return []
    with RunStore.read(Path(folder) / _VERDICTS) as store:
        return list(dict.fromkeys(verdict["judge"] for verdict in store.values()))


def summarise(replies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the rates of judged replies and the tests between methods.

    Returns
    -------
    dict
        ``rates`` by model, defence, condition and optimiser; ``by_attribute``, ``by_policy`` and ``by_stratum``, those
        without a defence on the run's own model by condition and optimiser as well; ``false_refusals`` by model,
        defence and optimiser, the refusal rate of benign questions about images that are what they are said to be;
        ``comparisons`` of optimisers on the same records.
    """
    direct = [reply for reply in replies if not reply["replayed"]]
    strata = [{**reply, "stratum": _stratum(reply)} for reply in direct]
    benign = [reply for reply in replies if reply["condition"] == "normal"]
    cell = ("condition", "optimizer")
    return {
        "rates": rates(replies, ("model", "defence", *cell)),
        "false_refusals": [
            {name: row[name] for name in ("model", "defence", "optimizer", "n", "refusal_rate")}
            for row in rates(benign, ("model", "defence", "optimizer"))
        ],
        "by_attribute": rates(direct, (*cell, "original_attribute")),
        "by_policy": rates(direct, (*cell, "policy")),
        "by_stratum": rates([reply for reply in strata if reply["stratum"] != "none"], (*cell, "stratum")),
        "comparisons": compare_all(direct, _METHODS),
    }


def plain(summary: Any) -> Any:
    """Return a summary as JSON holds it: an interval is ``{"value": x, "ci": [low, high]}``, what is undefined null."""
    if hasattr(summary, "to_dict"):
        return summary.to_dict()
    if isinstance(summary, dict):
        return {name: plain(item) for name, item in summary.items()}
    return [plain(item) for item in summary] if isinstance(summary, list) else finite(summary)


def _stratum(reply: dict[str, Any]) -> str:
    """Return what is wrong with a claim; ``none`` also where it names no modality and region."""
    try:
        return stratum_of(reply["original_attribute"], reply["claim"])
    except InputError:
        return "none"


def _with_verdicts(replies: Iterable[dict[str, Any]], store: RunStore, judge: str) -> list[dict[str, Any]]:
    judged = []
    for reply in replies:
        key = _key(judge, reply)
        # What a defence stopped is a refusal, whatever a judge thinks of its words.
        refused = True if reply["blocked"] else store[key]["refused"] if key in store else None
        degenerate = None if reply["blocked"] else degeneracy(reply["response"])
        judged.append({**reply, "refused": refused, "degenerate": degenerate})
    return judged


def _key(judge: str, reply: dict[str, Any]) -> str:
    return record_key(judge, reply["question"], reply["response"])
