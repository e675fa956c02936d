"""Files of your own in place of what a stage would make: questions, pictures, scores, or a tuned model."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auscult.agfsync.prompts import write_rows
from auscult.agfsync.replies import ELEMENT_TYPES
from auscult.agfsync.stages import adopt, content_of, id_of, read_lines, read_rows, read_stage
from auscult.core.canonical import digest
from auscult.core.errors import InputError

Row = dict[str, Any]
_KINDS: Mapping[str, type] = {"k": int, "prompt": str, "path": str}


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
        for left in (root / "train" / "adapter", root / "train" / "pipeline"):
            if left.exists() and read_stage(root, "train") is None:
                raise InputError(
                    f"{left} is there from a training that did not end: delete it, or choose another folder"
                )
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
        if not isinstance(asked, list) or not all(
            isinstance(item, dict) and isinstance(item.get("question"), str) and item["question"].strip()
            for item in asked
        ):
            raise InputError(f"{place} has no list of questions: write objects with 'question'")
        plain = {"answer": "yes", "element_type": "other", "element": ""}
        asked = [{"qid": qid, **plain, **item} for qid, item in enumerate(asked)]
        if other := [item for item in asked if item["answer"] != "yes"]:
            raise InputError(f"{place} has a question with the answer {other[0]['answer']!r}: ask so that it is yes")
        if other := [item for item in asked if item["element_type"] not in ELEMENT_TYPES]:
            raise InputError(
                f"{place} has the element_type {other[0]['element_type']!r}: use {', '.join(ELEMENT_TYPES)}"
            )
        found.append({"category": "", **row, "questions": asked})
    return found


def _candidates(source: Path, root: Path) -> list[Row]:
    import numpy as np

    from auscult.agfsync.images import is_black, open_image, pixel_hash

    found = []
    captions: dict[str, str] = {}
    for place, row in _lines(source, ("id", "k", "prompt", "path")):
        if captions.setdefault(row["id"], row["prompt"]) != row["prompt"]:
            raise InputError(f"{place} has another prompt for {row['id']!r} than before: pictures of an id share it")
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
        if wrong := [name for name, value in values.items() if type(value) not in (int, float, type(None))]:
            raise InputError(f"{place} has the {wrong[0]} score {values[wrong[0]]!r}: give a number or null")
        extras = {"pixels": picture["pixels"], "black": picture["black"]}
        found.append({"vqa_answers": [], "vqa_yes": [], **row, **values, "extras": extras})
    return found


def _lines(source: Path, needed: tuple[str, ...]) -> list[tuple[str, Row]]:
    """Return the rows of a file of JSON lines, each with its place for an error; what names a row occurs once."""
    found: dict[tuple[Any, ...], tuple[str, Row]] = {}
    for place, row in read_lines(source):
        if not isinstance(row, dict) or (missing := [name for name in needed if name not in row]):
            raise InputError(
                f"{place} has no {missing[0] if isinstance(row, dict) else 'object'!r}: write all of {needed}"
            )
        row = {**row, "id": id_of(row["id"], place)}
        for name, kind in _KINDS.items():
            if name in needed and (type(row[name]) is not kind or not (row[name] >= 0 if kind is int else row[name])):
                what = "a whole number of 0 or more" if kind is int else "text"
                raise InputError(f"{place} has the {name} {row[name]!r}: write {what}")
        key = tuple(row[name] for name in ("id", "k") if name in needed)
        if key in found:
            raise InputError(f"{place} has {'/'.join(map(str, key))} again, after {found[key][0]}: keep one")
        found[key] = place, row
    return list(found.values())


def _export_of(source: Path) -> str:
    if (source / "model_index.json").exists():
        return "pipeline"
    if (source / "pytorch_lora_weights.safetensors").exists():
        return "adapter"
    raise InputError(f"{source} holds neither a pipeline nor pytorch_lora_weights.safetensors: give a tuned model")
