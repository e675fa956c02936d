"""What stages of a run share: their folders, and whether a stage is done with just these settings and inputs."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auscult.core.canonical import difference, digest, finite, plain
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.files import replace_atomically

STAGES = ("prompts", "questions", "candidates", "score", "pairs", "train", "evaluate")
_SHORT = 10_000


@dataclass(frozen=True)
class Stage:
    """One stage of a run, in a folder of its own.

    Parameters
    ----------
    name
        One of :data:`STAGES`.
    root
        The run's folder.
    settings
        What the stage's results depend on, beside the stage before.
    after
        The digest of the stage before; empty for a first one.
    """

    name: str
    root: Path
    settings: Any
    after: str = ""

    @property
    def folder(self) -> Path:
        """Where the stage writes."""
        return self.root / self.name

    @property
    def digest(self) -> str:
        """Of settings and inputs."""
        return digest([self.name, self.settings, self.after])

    def summary(self) -> dict[str, Any] | None:
        """Return what the stage said when it was done with just these settings and inputs, else None.

        Raises
        ------
        RunMismatchError
            It was done with others.
        """
        known = read_stage(self.root, self.name)
        if known is None:
            return None
        if known["digest"] == self.digest:
            summary: dict[str, Any] = known["summary"]
            return summary
        changes = difference(known["settings"], plain(self.settings)) or ["what the stage before gave"]
        raise RunMismatchError(
            f"the stage {self.name} in {self.root} was done with other settings: {'; '.join(changes)} (old -> new): "
            "give the old ones, or choose another folder"
        )

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Note that the stage is done."""
        record = {"digest": self.digest, "settings": plain(self.settings), "summary": finite(plain(dict(summary)))}
        text = json.dumps(record, indent=1, ensure_ascii=False)
        replace_atomically(self.folder / "stage.json", lambda partial: partial.write_text(text, encoding="utf-8"))
        result: dict[str, Any] = record["summary"]
        return result


def content_of(path: str | Path) -> str:
    """Return the text of a short file, else a digest of what a file or folder holds."""
    path = Path(path)
    try:
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            return digest([[file.relative_to(path).as_posix(), _hash_of(file)] for file in files])
        if path.stat().st_size <= _SHORT:
            with contextlib.suppress(UnicodeDecodeError):
                return path.read_text("utf-8")
        return _hash_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give an existing file") from error


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adopt(
    root: Path, name: str, source: str, content: str, summary: Mapping[str, Any], write: Callable[[Path], Any]
) -> dict[str, Any]:
    """Note that files of the user stand for a stage, and write them into its folder.

    Raises
    ------
    InputError
        The stage was done already, with something else.
    """
    known = read_stage(root, name)
    if known is None:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        write(folder)
        known = {"digest": digest([name, "own", content]), "settings": {"own": source}, "summary": dict(summary)}
        text = json.dumps(known, indent=1, ensure_ascii=False)
        replace_atomically(folder / "stage.json", lambda partial: partial.write_text(text, encoding="utf-8"))
    elif known["digest"] != digest([name, "own", content]):
        raise InputError(f"the stage {name} in {root} was done with something else: choose another folder")
    result: dict[str, Any] = known["summary"]
    return result


def is_adopted(root: Path, name: str) -> bool:
    """Whether files of the user stand for a stage."""
    known = read_stage(root, name)
    return known is not None and isinstance(known["settings"], dict) and set(known["settings"]) == {"own"}


def read_stage(root: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a finished stage, or None."""
    try:
        record: dict[str, Any] = json.loads((root / name / "stage.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{root / name / 'stage.json'} is damaged: delete it, and the stage is done again") from error
    return record


def read_lines(path: Path) -> list[tuple[str, Any]]:
    """Return what the lines of a file of JSON lines hold, each with its place for an error; blank lines aside.

    Raises
    ------
    InputError
        The file cannot be read, or a line is no JSON.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: give a UTF-8 file of JSON lines") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append((f"line {number} of {path}", json.loads(line)))
            except ValueError as error:
                raise InputError(f"line {number} of {path} is no JSON: write one object a line") from error
    return found


def id_of(value: Any, place: str) -> str:
    """Return an id of the user's as text, which can be part of a file's name and of a CSV."""
    if type(value) not in (str, int) or not re.fullmatch(r"[^/\\,\"\x00-\x1f]+", str(value)):
        raise InputError(
            f"{place} has the id {value!r}: use text without slashes, commas and quotes, or a whole number"
        )
    return str(value)


def read_rows(root: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows that a finished stage wrote.

    Raises
    ------
    InputError
        The stage is not done.
    """
    path = root / name / f"{name}.jsonl"
    if not path.exists():
        raise InputError(f"the stage {name} is not done in {root}: run 'agfsync {name}' first, or 'agfsync run'")
    return [row for _, row in read_lines(path)]
