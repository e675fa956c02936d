"""Files of your own in place of what a stage would make: questions, pictures, scores, or a tuned model."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auscult.agfsync.prompts import write_rows
from auscult.agfsync.stages import adopt, content_of, read_rows
from auscult.core.canonical import digest
from auscult.core.errors import InputError

Row = dict[str, Any]


def use(name: str, source: Path, root: Path) -> dict[str, Any]:
    """Take a stage as done with your files, so that the stages after it can start; return what was taken.

    Parameters
    ----------
    name
        ``questions``: JSON lines with ``id, prompt, questions`` (each with ``question``, and ``element_type`` if you
        have it). ``candidates``: ``id, k, prompt, path``, the path of a picture from the file's folder. ``score``:
        ``id, k`` and any of ``vqa, clip, aesthetic``, of pictures that the run has. ``train``: a folder with a LoRA
        or a whole pipeline of diffusers.
    source
        The file or folder.
    root
        The run's folder.

    Raises
    ------
    InputError
        The stage takes no files, a line or picture cannot be used, or the stage was done with something else.
    """
    readers: Mapping[str, Callable[[Path, Path], list[Row]]] = {
        "questions": _questions, "candidates": _candidates, "score": _scores,
    }  # fmt: skip
    if name == "train":
        export = _export_of(source)
        summary: dict[str, Any] = {"export": export}
        return adopt(
            root, name, str(source), content_of(source), summary,
            lambda folder: shutil.copytree(source, folder / export, dirs_exist_ok=True),
        )  # fmt: skip
    if name not in readers:
        raise InputError(
            f"the stage {name!r} takes no rows: use questions, candidates, score or train (prompts have the backend "
            "file, and train has --pairs)"
        )
    rows = readers[name](source, root)
    if not rows:
        raise InputError(f"{source} has no line: give at least one")
    return adopt(
        root, name, str(source), digest(rows), {"rows": len(rows)},
        lambda folder: write_rows(rows, folder / f"{name}.jsonl"),
    )  # fmt: skip


def _questions(source: Path, root: Path) -> list[Row]:
    found = []
    for place, row in _lines(source, ("id", "prompt", "questions")):
        asked = row["questions"]
        if not isinstance(asked, list) or not all(isinstance(item, dict) and item.get("question") for item in asked):
            raise InputError(f"{place} has no list of questions: write objects with 'question'")
        plain = {"answer": "yes", "element_type": "other", "element": ""}
        asked = [{"qid": qid, **plain, **item} for qid, item in enumerate(asked)]
        if other := [item for item in asked if item["answer"] != "yes"]:
            raise InputError(f"{place} has a question with the answer {other[0]['answer']!r}: ask so that it is yes")
        found.append({"category": "", **row, "questions": asked})
    return found


def _candidates(source: Path, root: Path) -> list[Row]:
    import numpy as np

    from auscult.agfsync.images import is_black, open_image, pixel_hash

    found = []
    for _, row in _lines(source, ("id", "k", "prompt", "path")):
        path = (source.parent / row["path"]).resolve()
        image = open_image(path)
        found.append({**row, "path": str(path), "black": is_black(np.asarray(image)), "pixels": pixel_hash(image)})
    return found


def _scores(source: Path, root: Path) -> list[Row]:
    from auscult.agfsync.scoring.scoring import SCORES

    pictures = {(row["id"], row["k"]): row for row in read_rows(root, "candidates")}
    found = []
    for place, row in _lines(source, ("id", "k")):
        picture = pictures.get((row["id"], row["k"]))
        if picture is None:
            raise InputError(f"{place} scores the picture {row['id']}/{row['k']}, which the run does not have")
        values = {name: row.get(name) for name in SCORES}
        if wrong := [name for name, value in values.items() if not isinstance(value, (int, float, type(None)))]:
            raise InputError(f"{place} has the {wrong[0]} score {values[wrong[0]]!r}: give a number or null")
        extras = {"pixels": picture["pixels"], "black": picture["black"]}
        found.append({"vqa_answers": [], "vqa_yes": [], **row, **values, "extras": extras})
    return found


def _lines(source: Path, needed: tuple[str, ...]) -> list[tuple[str, Row]]:
    """Return the rows of a file of JSON lines, each with its place for an error."""
    try:
        lines = source.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: give a UTF-8 file of JSON lines") from error
    found = []
    for number, line in enumerate(lines, 1):
        place = f"line {number} of {source}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place} is no JSON: write one object a line") from error
        if not isinstance(row, dict) or (missing := [name for name in needed if name not in row]):
            raise InputError(
                f"{place} has no {missing[0] if isinstance(row, dict) else 'object'!r}: write all of {needed}"
            )
        found.append((place, {**row, "id": str(row["id"])}))
    return found


def _export_of(source: Path) -> str:
    if (source / "model_index.json").exists():
        return "pipeline"
    if (source / "pytorch_lora_weights.safetensors").exists():
        return "adapter"
    raise InputError(f"{source} holds neither a pipeline nor pytorch_lora_weights.safetensors: give a tuned model")
