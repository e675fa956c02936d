"""What a run found, put to another model or to the same one behind a defence; and all replies of a run together."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auscult.core.canonical import digest
from auscult.core.endpoint import RequestFailedError
from auscult.core.errors import InputError
from auscult.core.progress import progress as show_progress
from auscult.core.runs import RunStore
from auscult.o2m_attack.campaign import MOST_UNANSWERED, PRIVATE, read_entries, read_png, run_parts, templates_of
from auscult.o2m_attack.defences.protocol import STOPPED, Defence
from auscult.o2m_attack.targets.protocol import Query, Target

_REPLAYS = "replays"


@dataclass(frozen=True, eq=False)
class ClaimedQuery(Query):
    """A question whose claim about the image is known by itself, as a check of it needs."""

    claim: str = ""


def transfer_run(
    folder: str | Path,
    target: Target,
    *,
    defence: Defence | None = None,
    optimizers: Sequence[str] | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> dict[str, Any]:
    """Ask a model everything that a run asked, with the images and suffixes that the run found.

    Each entry is asked once, in the target's own format. The replies are kept in the run's folder, private as the run
    is; a transfer that was interrupted goes on.

    Parameters
    ----------
    folder
        Of a finished run, or of one that is under way: what it has so far is asked.
    target
        A model; replies are all that it has to give.
    defence
        Put before the model.
    optimizers
        Replay the entries of these only; all if None.
    batch_size
        Entries that are asked, and stored, together.
    progress
        Show a bar on stderr.

    Returns
    -------
    dict
        ``model``, ``defence``, ``entries``, ``done`` in this call, ``stopped``, how many the defence held back, and
        ``failed``, how many requests a server did not answer, with the counts of their ``reasons``; the next call asks
        them again.

    Raises
    ------
    InputError
        There is no run, it has no entry to replay, the model is its own and no defence stands before it, or it has
        replies of that model to another wording of the turn.
    RequestFailedError
        A server left ten requests in a row unanswered.
    """
    name = "" if defence is None else defence.name
    manifest = read_manifest(folder)
    if defence is None and target.name == manifest["config"]["model"]:
        raise InputError(f"{target.name} is the run's own model, whose replies the run has: give a defence")
    entries = [
        entry
        for entry in read_entries(folder)
        if entry["status"] == "ok" and (optimizers is None or entry["optimizer"] in optimizers)
    ]
    if not entries:
        raise InputError(f"{folder} has no entry to replay: run it first, or choose other optimizers")
    tokens = int(manifest["config"]["attack"]["new_tokens"])
    # Tables tell replies apart by these two names, so that what has both has to agree in all that decides a reply.
    identity = {"model": target.name, "defence": name, "new_tokens": tokens, "turn": templates_of(target).turn}
    place = Path(folder) / _REPLAYS / digest([target.name, name])[:16]
    place.parent.mkdir(mode=0o700, exist_ok=True)
    done, silent, failed = 0, 0, []
    with RunStore.open(
        place, config=identity, data_fingerprint=manifest["data_fingerprint"], package="o2m-attack", mode=PRIVATE
    ) as store:
        waiting = [entry for entry in entries if entry["key"] not in store]
        with show_progress(f"Asking {target.name}", len(waiting)) if progress else nullcontext(_ignore) as advance:
            for start in range(0, len(waiting), batch_size):
                batch = waiting[start : start + batch_size]
                replies = _ask(target, defence, [_query(entry) for entry in batch], tokens)
                with store.batch():
                    for entry, reply in zip(batch, replies, strict=True):
                        if isinstance(reply, str):
                            store.put(entry["key"], {"kind": "replay", "response": reply, "stopped": reply == STOPPED})
                for reply in replies:
                    silent = 0 if isinstance(reply, str) else silent + 1
                    if not isinstance(reply, str):
                        failed.append(f"failed: {reply}")
                        if silent == MOST_UNANSWERED:
                            raise reply
                done += sum(isinstance(reply, str) for reply in replies)
                advance(len(batch))
        stopped = sum(store[entry["key"]]["stopped"] for entry in entries if entry["key"] in store)
    return {
        "model": target.name, "defence": name, "entries": len(entries), "done": done, "stopped": stopped,
        "failed": len(failed), "reasons": {reason: failed.count(reason) for reason in dict.fromkeys(failed)},
    }  # fmt: skip


def read_replies(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Yield every reply of a run and of what was replayed from it.

    Yields
    ------
    dict
        The run's entry with ``model``, ``defence`` (empty where there was none), ``replayed``, and ``blocked``, whether
        the defence answered in the model's place. Entries that failed are left out.

    Raises
    ------
    InputError
        There is no run in the folder.
    """
    model = read_manifest(folder)["config"]["model"]
    entries = {entry["key"]: entry for entry in read_entries(folder) if entry["status"] == "ok"}
    for entry in entries.values():
        yield {**entry, "model": model, "defence": "", "replayed": False, "blocked": False}
    for place in sorted(Path(folder).glob(f"{_REPLAYS}/*/manifest.json")):
        with RunStore.read(place.parent) as store:
            settings = store.manifest["config"]
            for key, reply in store.items():
                if key in entries:
                    yield {
                        **entries[key], "model": settings["model"], "defence": settings["defence"], "replayed": True,
                        "response": reply["response"], "blocked": reply["stopped"],
                    }  # fmt: skip


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a run, of its first shard where it has several."""
    with RunStore.read(run_parts(folder)[0]) as store:
        return store.manifest


def _ask(
    target: Target, defence: Defence | None, queries: Sequence[Query], tokens: int
) -> list[str | RequestFailedError]:
    """Return the replies; where a request fails, those of the others and the reason."""
    try:
        if defence is None:
            return [*target.generate(queries, max_new_tokens=tokens)]
        return [*defence.generate(target, queries, max_new_tokens=tokens)]
    except RequestFailedError as error:
        if len(queries) == 1:
            return [error]
        return [reply for query in queries for reply in _ask(target, defence, [query], tokens)]


def _query(entry: dict[str, Any]) -> ClaimedQuery:
    image = read_png(entry.get("image") or entry["clean_image"])
    return ClaimedQuery(image, entry["question"], entry.get("suffix") or "", claim=entry["claim"])


def _ignore(_: int) -> None:
    pass
