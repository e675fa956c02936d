"""Judgement by people: one HTML page with pairs of pictures, and the import of what they chose."""

import base64
import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auscult.agfsync.evaluation import matched
from auscult.core.device import generator
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Which picture follows the text better?</title>
<style>body{{font-family:sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}
fieldset{{margin:1.5rem 0;border:1px solid #ccc}}img{{width:14rem;max-width:45%;image-rendering:pixelated}}
label{{margin-right:1rem}}button{{font-size:1rem;padding:.5rem 1rem}}</style>
<h1>Which picture follows the text better?</h1><form>{items}</form>
<button type="button" onclick="save()">Save votes.csv</button>
<script>function save(){{let t="item,choice\\n";for(const f of document.querySelectorAll("fieldset")){{
const c=f.querySelector("input:checked");if(c)t+=f.id+","+c.value+"\\n"}}
const a=document.createElement("a");a.href=URL.createObjectURL(new Blob([t],{{type:"text/csv"}}));
a.download="votes.csv";a.click()}}</script></html>
"""
_ITEM = (
    '<fieldset id="{id}"><legend>{caption}</legend><p><img alt="left" src="{left}"> <img alt="right" src="{right}"></p>'
    "{choices}</fieldset>"
)
_CHOICE = '<label><input type="radio" name="{id}" value="{value}"> {label}</label>'
_CHOICES = {"left": "left", "tie": "no difference", "right": "right"}


def write_sheet(
    base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]], images: Path, path: Path, *, seed: int = 0
) -> int:
    """Write a page that shows every pair of pictures in random order, and return how many there are.

    Parameters
    ----------
    base, tuned
        Scored rows with ``id``, ``k``, ``prompt`` and ``path``.
    images
        The folder that paths are relative to.
    path
        The page; it holds its pictures and asks no network. Which side is tuned follows from the seed alone.
    seed
        Of the sides.
    """
    items = []
    for one, other in matched(base, tuned):
        item = f"{one['id']}-{one['k']}"
        pictures = [_inline(images / row["path"]) for row in (one, other)]
        left, right = reversed(pictures) if _tuned_is_left(item, seed) else pictures
        id, caption = html.escape(item), html.escape(str(one["prompt"]))
        choices = "".join(_CHOICE.format(id=id, value=value, label=label) for value, label in _CHOICES.items())
        items.append(_ITEM.format(id=id, caption=caption, left=left, right=right, choices=choices))
    text = _PAGE.format(items="".join(items))
    replace_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return len(items)


def read_votes(path: Path, *, seed: int = 0) -> list[tuple[str, float]]:
    """Return ``(id, outcome)`` of each vote in a CSV: 1 tuned wins, 0 base wins, 0.5 tie; as :func:`win_rate` wants it.

    Raises
    ------
    InputError
        The file has no columns ``item`` and ``choice``, or a choice is neither left, right nor tie.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the votes in {path} cannot be read: give the CSV that the sheet saves") from error
    if not rows or not {"item", "choice"} <= rows[0].keys():
        raise InputError(f"{path} has no votes: give the CSV with item and choice that the sheet saves")
    found = []
    for number, row in enumerate(rows, 2):
        if row["choice"] not in ("left", "right", "tie"):
            raise InputError(f"line {number} of {path} has the choice {row['choice']!r}: use left, right or tie")
        if not row["item"].rpartition("-")[0]:
            raise InputError(f"line {number} of {path} has the item {row['item']!r}: keep what the sheet wrote")
        tuned = "left" if _tuned_is_left(row["item"], seed) else "right"
        found.append((row["item"].rpartition("-")[0], 0.5 if row["choice"] == "tie" else float(row["choice"] == tuned)))
    return found


def _tuned_is_left(item: str, seed: int) -> bool:
    return bool(generator(seed, "sheet", item).random() < 0.5)


def _inline(path: Path) -> str:
    kind = path.suffix.removeprefix(".").lower().replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
