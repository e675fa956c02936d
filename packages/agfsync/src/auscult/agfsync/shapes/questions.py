"""Questions about a picture of the shapes world, and the judge that answers them from the pixels.

Every question of :func:`questions_of` has the answer yes where the picture shows what the caption says.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from auscult.agfsync.shapes.captions import COLOURS, RELATIONS, SHAPES, Group, parse_caption
from auscult.agfsync.shapes.looking import Seen, look
from auscult.core.errors import InputError

_THING = rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_COUNTING = re.compile(rf"(?:is|are) there exactly (one|two) {_THING}s?")
_TOTAL = re.compile(r"(?:is|are) there exactly (one|two|three|four) objects?")
_ATTRIBUTE = re.compile(rf"is there an? {_THING}")
_COLOUR = re.compile(rf"is there something ({'|'.join(COLOURS)})")
_SHAPE = re.compile(rf"is there an? ({'|'.join(SHAPES)})")
_SPATIAL = re.compile(rf"is every {_THING} ({'|'.join(RELATIONS)}) every {_THING}")
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
_WORDS = {number: word for word, number in _NUMBERS.items()}


def questions_of(caption: str) -> list[dict[str, str]]:
    """Return the questions of a caption: text, element type and element, as the stage of questions stores them."""
    scene = parse_caption(caption)
    asked = [item for group in scene.groups for item in _about_group(group)]
    if scene.second is not None and scene.relation is not None:
        ends = [f"{group.colour} {group.shape}" for group in scene.groups]
        asked.append((f"Is every {ends[0]} {scene.relation} every {ends[1]}?", "spatial", scene.relation))
    total = sum(group.count for group in scene.groups)
    asked.append((f"{_exactly(total)} object{'s' if total > 1 else ''}?", "counting", str(total)))
    unique = {text: {"question": text, "element_type": kind, "element": element} for text, kind, element in asked}
    return list(unique.values())


def _about_group(group: Group) -> list[tuple[str, str, str]]:
    thing = f"{group.colour} {group.shape}"
    plural = "s" if group.count > 1 else ""
    return [
        (f"Is there something {group.colour}?", "color", group.colour),
        (f"Is there a {group.shape}?", "shape", group.shape),
        (f"Is there a {thing}?", "object", thing),
        (f"{_exactly(group.count)} {thing}{plural}?", "counting", f"{group.count} {thing}{plural}"),
    ]


def _exactly(count: int) -> str:
    return f"{'Is' if count == 1 else 'Are'} there exactly {_WORDS[count]}"


def answer(seen: Sequence[Seen], question: str) -> bool:
    """Return whether the answer to a question is yes.

    Raises
    ------
    InputError
        The question is none of this world.
    """
    text = question.strip().lower().rstrip("?").strip()
    if match := _COUNTING.fullmatch(text):
        return len(_those(seen, *match.groups()[1:])) == _NUMBERS[match[1]]
    if match := _TOTAL.fullmatch(text):
        return len(seen) == _NUMBERS[match[1]]
    if match := _ATTRIBUTE.fullmatch(text):
        return bool(_those(seen, *match.groups()))
    if match := _COLOUR.fullmatch(text):
        return any(thing.colour == match[1] for thing in seen)
    if match := _SHAPE.fullmatch(text):
        return any(thing.shape == match[1] for thing in seen)
    if match := _SPATIAL.fullmatch(text):
        return _all_lie(_those(seen, match[1], match[2]), match[3], _those(seen, match[4], match[5]))
    raise InputError(f"the judge of the shapes world does not know the question {question!r}: see questions_of")


def _those(seen: Sequence[Seen], colour: str, shape: str) -> list[Seen]:
    return [thing for thing in seen if (thing.colour, thing.shape) == (colour, shape)]


def _all_lie(first: list[Seen], relation: str, second: list[Seen]) -> bool:
    if not first or not second:
        return False
    if relation in ("right of", "below"):
        first, second = second, first
    axis = "x" if relation in ("left of", "right of") else "y"
    return bool(max(getattr(thing, axis) for thing in first) < min(getattr(thing, axis) for thing in second))


def judge(images: Sequence[npt.NDArray[np.uint8]], questions: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Return whether the answer is yes, for each question about each picture; every picture is looked at once."""
    return [[answer(seen, question) for question in asked] for seen, asked in zip(look(images), questions, strict=True)]
