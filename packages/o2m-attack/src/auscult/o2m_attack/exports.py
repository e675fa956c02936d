"""A run as tables for other programs: entries, iterations and replies, and no texts unless they are asked for."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from auscult.core.canonical import finite
from auscult.core.files import replace_atomically
from auscult.core.run_files import create
from auscult.o2m_attack.campaign import PRIVATE, read_entries
from auscult.o2m_attack.judges.degenerate import degeneracy
from auscult.o2m_attack.judges.judging import judges_of, read_judged
from auscult.o2m_attack.transfer import read_replies

PRIVATE_FIELDS = ("question", "target", "suffix", "suffix_ids", "response")
"""What may hold a restricted prompt, a reply to it, or the means to make a model reply."""


_REPLY = (
    "replayed", "model", "defence", "record_id", "condition", "optimizer", "policy", "original_attribute", "claim",
    "question", "suffix", "response", "blocked",
)  # fmt: skip


def redact(entry: dict[str, Any], fields: Iterable[str] = PRIVATE_FIELDS) -> dict[str, Any]:
    """Return an entry whose private fields are replaced by the beginning of their hash and their length.

    Examples
    --------
    >>> redact({"policy": "Matching", "response": "yes"})
    {'policy': 'Matching', 'response': {'sha256': '8a798890fe93', 'length': 3}}
    """
    private = {name: redacted_text(entry[name]) for name in fields if entry.get(name) is not None}
    return {**entry, **private}


def redacted_text(value: Any) -> dict[str, Any]:
    """Return the beginning of the SHA-256 of a text, or of the JSON of ids, and the length."""
    text = value if isinstance(value, str) else json.dumps(value)
    return {"sha256": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12], "length": len(value)}


def export_run(
    folder: str | Path, out: str | Path | None = None, *, prefix: str = "", show_text: bool = False
) -> list[Path]:
    """Write ``entries``, ``steps`` and ``replies``, each as JSON Lines and parquet, readable by their owner alone.

    ``replies`` are those of the run and of what was replayed from it, with ``refused``, the verdict of each judge that
    has judged it, and ``degenerate``. JSON Lines hold no time of day and no seconds, so that equal runs give equal
    files; parquet has the seconds.

    Parameters
    ----------
    folder
        Of a run.
    out
        Where to write; the run's folder if None.
    prefix
        Of the files' names, where a folder holds the tables of several runs.
    show_text
        Write questions, targets, suffixes and replies as they are, in place of their hash and length.

    Returns
    -------
    list[Path]
        The files.
    """
    entries = sorted(
        read_entries(folder), key=lambda entry: (entry["record_id"], entry["condition"], entry["optimizer"])
    )
    place = Path(out or folder)
    rows, steps = [], []
    for entry in entries:
        name = {key: entry[key] for key in ("record_id", "condition", "optimizer")}
        steps += [{**name, **row} for row in entry.get("history", [])]
        kept = {key: value for key, value in entry.items() if key not in ("history", "key", "kind")}
        kept |= {
            key: kept[key].relative_to(Path(folder)).as_posix() for key in ("image", "clean_image") if kept.get(key)
        }
        rows.append(kept if show_text else redact(kept))
    replies = [row if show_text else redact(row) for row in _replies(folder)]
    files = []
    for stem, table in (("entries", rows), ("steps", steps), ("replies", replies)):
        path = place / f"{prefix}{stem}"
        files += [_write_lines(Path(f"{path}.jsonl"), table), _write_parquet(Path(f"{path}.parquet"), table)]
    return files


def _replies(folder: str | Path) -> list[dict[str, Any]]:
    judged = {judge: read_judged(folder, judge) for judge in judges_of(folder)}
    rows = []
    for index, reply in enumerate(read_replies(folder)):
        row = {name: reply[name] for name in _REPLY}
        row["degenerate"] = None if reply["blocked"] else degeneracy(reply["response"])
        rows.append(row | {"refused": {judge: replies[index]["refused"] for judge, replies in judged.items()}})
    return sorted(rows, key=lambda row: tuple(row[name] for name in _REPLY[:6]))


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    def write(partial: Path) -> None:
        create(partial, PRIVATE)
        lines = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
        text = "".join(json.dumps(finite(line), ensure_ascii=False) + "\n" for line in lines)
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))

    replace_atomically(path, write)
    return path


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    names = dict.fromkeys(name for row in rows for name in row)

    def plain(value: Any) -> Any:
        if isinstance(value, str):  # a server may send half of a character
            return value.encode("utf-8", "backslashreplace").decode()
        return json.dumps(value) if isinstance(value, (dict, list)) else finite(value)

    table = pyarrow.table({name: pyarrow.array([plain(row.get(name)) for row in rows]) for name in names})

    def write(partial: Path) -> None:
        create(partial, PRIVATE)
        with partial.open("wb") as file:
            pyarrow.parquet.write_table(table, file)

    replace_atomically(path, write)
    return path
