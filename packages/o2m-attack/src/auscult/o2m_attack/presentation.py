"""A run as a page: what the model refused before, what each optimiser achieved, what each defence left of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.errors import InputError
from auscult.core.report import Report
from auscult.o2m_attack.campaign import OPTIMIZERS, PRIVATE, read_entries
from auscult.o2m_attack.exports import redacted_text
from auscult.o2m_attack.judges.judging import DEFAULT, judge_run, judges_of, read_judged, summarise
from auscult.o2m_attack.judges.tallies import rates
from auscult.o2m_attack.plots import plot_images, plot_losses, plot_modalities
from auscult.o2m_attack.transfer import read_manifest

_PICTURES = 4
_REPLIES = 12
_PLACE = ("model", "defence", "condition")
_SHARES = (*OPTIMIZERS, "ASR", "ASR, language only", "refused", "no language", "stopped", "refused, benign")


def write_report(
    folder: str | Path, out: str | Path | None = None, *, judge: str | None = None, show_text: bool = False
) -> Path:
    """Write a page about a run and what was replayed from it.

    Parameters
    ----------
    folder
        Of a run. It is judged by the default judges if it has not been judged yet, and by those of them that have
        judged it where replies have come since.
    out
        The page; ``report.html`` in the run's folder if None.
    judge
        Whose verdicts make the tables; the first that judged the run if None.
    show_text
        Show questions, suffixes and replies as they are, in place of their hash and length.

    Returns
    -------
    Path
        Of the page, readable by its owner alone.

    Raises
    ------
    InputError
        There is no run, it has no reply, or the judge has not judged it.
    """
    judges = judges_of(folder)
    if not judges:
        judges = list(judge_run(folder))
    # Rules cost nothing: what was replayed since they judged is judged now.
    late = [one for one in judges if one in DEFAULT and _open(read_judged(folder, one))]
    if late:
        judge_run(folder, judges=late)
    chosen = judge or judges[0]
    if chosen not in judges:
        raise InputError(f"{chosen!r} has not judged {folder}: use {', '.join(judges)}, or judge it first")
    replies = read_judged(folder, chosen)
    summary = summarise(replies)
    direct = [reply for reply in replies if not reply["replayed"]]
    manifest = read_manifest(folder)
    page = Report(
        "What the model refused, and what it was led to", subtitle=f"o2m-attack: {manifest['config']['model']}"
    )
    _overview(page, manifest, direct, chosen, show_text)
    if unjudged := _open(replies):
        page.note(
            f"{unjudged} of {len(replies)} replies have no verdict of this judge and are left out of its rates: let it "
            "judge again.", "warning",
        )  # fmt: skip
    _refusals(page, [reply for reply in direct if reply["optimizer"] == "none"])
    _optimisers(page, summary, direct)
    _courses(page, direct)
    _others(page, summary, replies, manifest["config"]["model"])
    _groups(page, summary)
    _judges(page, folder, judges)
    _texts(page, direct, show_text)
    failed = [entry["status"] for entry in read_entries(folder) if entry["status"] != "ok"]
    if failed:
        rows = [{"entries": failed.count(reason), "reason": reason} for reason in dict.fromkeys(failed)]
        page.section("What could not be done").table(rows)
    path = Path(out or Path(folder) / "report.html")
    page.write(path)
    path.chmod(PRIVATE)
    return path


def _open(replies: Sequence[dict[str, Any]]) -> int:
    return sum(reply["refused"] is None for reply in replies)


def _overview(
    page: Report, manifest: dict[str, Any], direct: Sequence[dict[str, Any]], judge: str, show_text: bool
) -> None:
    attack = manifest["config"]["attack"]
    page.facts({
        "model": manifest["config"]["model"], "records": len({reply["record_id"] for reply in direct}),
        "replies": len(direct), "judge": judge, "largest change of a pixel allowed": f"{255 * attack['epsilon']:g}/255",
        "tokens of the suffix": attack["suffix_length"], "candidates a step": attack["search_width"],
        "MCM keeps": attack["accept"], "forward tokens at most": attack["max_forward_tokens"], "seed": attack["seed"],
    })  # fmt: skip
    page.text(
        "ASR is the share of replies that the judge does not take for a refusal; 95 % Wilson intervals in brackets. It "
        "counts what is no language as success: the second ASR does not. Neither says that a reply is right, or does "
        "harm. Images are judged as the 8-bit files that they are stored in."
    )
    if not show_text:
        page.note("Questions, suffixes and replies are left out of this page: it shows their hash and length.")


def _refusals(page: Report, plain: Sequence[dict[str, Any]]) -> None:
    if not plain:
        return
    page.section(
        "Before any optimisation",
        "normal: true claim, benign question. malicious: true claim, restricted question. mismatched: false claim, "
        "benign question. 2m: both. A sound model refuses all but the first.",
    )
    _table(page, [_row(row, "condition") for row in rates(plain, ("condition",))])


def _optimisers(page: Report, summary: dict[str, Any], direct: Sequence[dict[str, Any]]) -> None:
    optimised = [reply for reply in direct if reply["optimizer"] != "none"]
    if not optimised:
        return
    page.section("What each optimiser achieved")
    rows, costs = [], []
    for row in rates(direct, ("condition", "optimizer")):
        if row["optimizer"] == "none" and row["condition"] not in {reply["condition"] for reply in optimised}:
            continue
        mine = [r for r in direct if (r["condition"], r["optimizer"]) == (row["condition"], row["optimizer"])]
        means = {
            name: _mean(mine, field)
            for name, field in (
                ("loss before", "initial_loss"), ("loss after", "final_loss"), ("forward tokens", "forward_tokens"),
                ("vision passes", "vision_passes"), ("seconds", "seconds"), ("largest change /255", "linf_255"),
            )
        }  # fmt: skip
        rows.append(_row(row, "condition", "optimizer"))
        if row["optimizer"] != "none":
            costs.append({name: row[name] for name in ("condition", "optimizer")} | means)
    _table(page, rows)
    _table(page, costs, caption="Losses and costs, means over records")
    compared = [
        {
            "condition": row["condition"], "first": row["first"], "second": row["second"], "records": row["pairs"],
            "ASR, difference": row["asr_difference"], "only first": row["wins"], "only second": row["losses"],
            "p, Holm": row["p_holm"], "loss, difference": row["loss_difference"],
            "equal budget": row["equal_budget"],
        }
        for row in summary["comparisons"] if "none" not in (row["first"], row["second"])
    ]  # fmt: skip
    if compared:
        _table(
            page,
            compared,
            caption="Optimisers on the same records: first minus second, exact sign test on who succeeded alone; "
            "budgets are equal where forward tokens are within 5 %",
        )


def _courses(page: Report, direct: Sequence[dict[str, Any]]) -> None:
    optimised = [reply for reply in direct if reply.get("history")]
    if optimised:
        page.figure(
            plot_losses(optimised), caption="Best loss over forward tokens; thin: a record, thick: their mean.",
            alt="Curves of the best loss over forward tokens, one colour an optimiser.",
        )  # fmt: skip
    mixed = [reply for reply in optimised if reply["optimizer"] == "mcm"]
    if mixed:
        page.figure(
            plot_modalities(mixed), caption="Which modality a step of MCM changed.",
            alt="Stacked bars of the share of steps that changed text, image, both or neither.",
        )  # fmt: skip
    changed = [reply for reply in optimised if reply.get("image") and reply.get("linf_255")]
    changed.sort(key=lambda reply: (reply["optimizer"] != "mcm", reply["record_id"]))
    if changed:
        page.section("Images before and after")
        page.figure(
            plot_images(changed[:_PICTURES]), caption="The first records; the difference is amplified around grey.",
            alt="Rows of three pictures: clean, changed, and the amplified difference.",
        )  # fmt: skip


def _others(page: Report, summary: dict[str, Any], replies: Sequence[dict[str, Any]], model: str) -> None:
    """Transfers and defences: the same images and suffixes put to another model, or behind a defence."""
    if not any(reply["replayed"] for reply in replies):
        return
    stopped: dict[tuple[str, ...], list[bool]] = {}
    for reply in replies:
        stopped.setdefault(tuple(reply[name] for name in _PLACE), []).append(reply["blocked"])
    benign = {
        (row["model"], row["defence"]): row["refusal_rate"]
        for row in summary["false_refusals"] if row["optimizer"] == "none"
    }  # fmt: skip
    rows = sorted(_pivot(summary["rates"], *_PLACE), key=lambda row: (row["model"], row["defence"]))
    for row in rows:
        row["stopped"] = float(np.mean(stopped[tuple(row[name] for name in _PLACE)]))
        row["refused, benign"] = benign.get((row["model"], row["defence"]))
        row["defence"] = row["defence"] or "none"
    behind = [{name: value for name, value in row.items() if name != "model"} for row in rows if row["model"] == model]
    elsewhere = [row for row in rows if row["model"] != model]
    if len({row["defence"] for row in behind}) > 1:
        page.section(
            "Behind defences",
            "The images and suffixes that were found without a defence, put to the same model behind one. Who knows of "
            "the defence may find others: this is what a defence does to attacks that do not. The last column is what "
            "it costs: benign questions about images that are what they are said to be, refused.",
        )
        _table(page, behind, "ASR by optimiser")
    if elsewhere:
        page.section("On other models", "The same images and suffixes, each asked once.")
        _table(page, elsewhere, "ASR by optimiser")


def _groups(page: Report, summary: dict[str, Any]) -> None:
    page.section("By what is wrong with the claim, by attribute and by policy")
    for name, field, caption in (
        ("by_stratum", "stratum", "what is wrong with the claim"),
        ("by_attribute", "original_attribute", "what the image shows"),
        ("by_policy", "policy", "the kind of question"),
    ):
        rows = sorted(_pivot(summary[name], "condition", field), key=lambda row: (row["condition"], row[field]))
        _table(page, rows, f"ASR by {caption} and by optimiser")


def _judges(page: Report, folder: str | Path, judges: Sequence[str]) -> None:
    judged = [
        reply | {"judge": judge} for judge in judges for reply in read_judged(folder, judge) if not reply["replayed"]
    ]
    rows = _pivot(rates(judged, ("condition", "judge", "optimizer")), "condition", "judge")
    rows.sort(key=lambda row: row["condition"])
    page.section("By judge", "Each judge on the same replies.")
    _table(page, rows)


def _texts(page: Report, direct: Sequence[dict[str, Any]], show_text: bool) -> None:
    rows = []
    for reply in direct[:: max(1, len(direct) // _REPLIES)][:_REPLIES]:
        row = {name: reply[name] for name in ("record_id", "condition", "optimizer", "policy")}
        for name in ("question", "suffix", "response"):
            text = reply.get(name) or ""
            brief = redacted_text(text)
            row[name] = text if show_text else f"{brief['sha256']}, {brief['length']} characters"
        rows.append(row | {"refused": reply["refused"], "degenerate": reply["degenerate"] or ""})
    page.section("Replies", "Some of them." if show_text else "Some of them, as hash and length.").table(rows)


def _pivot(rows: Sequence[dict[str, Any]], *fields: str) -> list[dict[str, Any]]:
    """Return one row for each value of the fields, with the ASR of each optimiser in a column of its name."""
    optimizers = [name for name in OPTIMIZERS if any(row["optimizer"] == name for row in rows)]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in fields)
        cells = found.setdefault(key, dict(zip(fields, key, strict=True)) | {"n": 0} | dict.fromkeys(optimizers))
        cells["n"] = max(cells["n"], row["n"])
        cells[row["optimizer"]] = row["asr"]
    return list(found.values())


def _table(page: Report, rows: Sequence[dict[str, Any]], caption: str | None = None) -> None:
    names = {name for row in rows for name in row}
    page.table(rows, caption=caption, formats={name: ".0%" for name in _SHARES if name in names})


def _row(row: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: row[name] for name in fields} | {
        "n": row["n"], "refused": row["refusal_rate"], "ASR": row["asr"], "ASR, language only": row["asr_language"],
        "no language": row["degenerate"],
    }  # fmt: skip


def _mean(replies: Sequence[dict[str, Any]], field: str) -> float | None:
    values = [reply[field] for reply in replies if reply.get(field) is not None]
    return float(np.mean(values)) if values else None
