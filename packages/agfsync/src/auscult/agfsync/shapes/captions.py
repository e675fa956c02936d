"""What a picture of the shapes world can show: groups of coloured shapes and how they lie to each other.

A scene is one group (``"two blue squares"``) or two with a relation (``"a red circle left of two blue squares"``).
Everything else of the world follows from it: the caption, the picture, the questions, and which captions are
held out of the preference pairs.
"""

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auscult.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 200, 40),
}
BACKGROUND = (245, 245, 245)
SHAPES = ("circle", "square", "triangle")
COUNTS = {1: "a", 2: "two"}
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATIONS = tuple(INVERSE)

_GROUP = rf"(a|two) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})s?"
_CAPTION = re.compile(rf"{_GROUP}(?: ({'|'.join(RELATIONS)}) {_GROUP})?")


@dataclass(frozen=True)
class Group:
    """Some equal shapes: ``Group(2, "blue", "square")`` is two blue squares."""

    count: int
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{COUNTS[self.count]} {self.colour} {self.shape}{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Scene:
    """One group, or two and how the first lies to the second."""

    first: Group
    relation: str | None = None
    second: Group | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The one group or the two."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def caption(self) -> str:
        """The scene in words."""
        return " ".join(str(part) for part in (self.first, self.relation, self.second) if part is not None)

    @property
    def triples(self) -> tuple[tuple[str, str, str], ...]:
        """Colour, shape and relation of each group of a scene of two; of the second, the relation is the inverse."""
        if self.relation is None or self.second is None:
            return ()
        relations = (self.relation, INVERSE[self.relation])
        return tuple((group.colour, group.shape, rel) for group, rel in zip(self.groups, relations, strict=True))


def parse_caption(caption: str) -> Scene:
    """Return the scene that a caption names.

    Raises
    ------
    InputError
        The caption is none of this world.

    Examples
    --------
    >>> parse_caption("a red circle left of two blue squares").second
    Group(count=2, colour='blue', shape='square')
    """
    match = _CAPTION.fullmatch(caption.strip().lower().rstrip("."))
    if match is None:
        raise InputError(
            f"{caption!r} is no caption of the shapes world: write it as 'a red circle left of two blue squares'"
        )
    counts = {word: count for count, word in COUNTS.items()}
    found = match.groups()
    first = Group(counts[found[0]], found[1], found[2])
    if found[3] is None:
        return Scene(first)
    return Scene(first, found[3], Group(counts[found[4]], found[5], found[6]))


def is_held_out(triple: tuple[str, str, str]) -> bool:
    """Return whether a triple of colour, shape and relation is kept out of the preference pairs (a third of all)."""
    colour, shape, relation = triple
    return (list(COLOURS).index(colour) + SHAPES.index(shape) + RELATIONS.index(relation) // 2) % 3 == 0


def sample_scene(random: "np.random.Generator", *, split: str = "all") -> Scene:
    """Draw a scene.

    Parameters
    ----------
    random
        The source of randomness.
    split
        ``"all"``: any scene, a quarter of them with one group; ``"preference"``: two groups and no held-out
        triple; ``"held-out"``: two groups and held-out triples only.
    """
    if split not in ("all", "preference", "held-out"):
        raise InputError(f"there is no split {split!r} of the shapes world: use all, preference or held-out")
    while True:
        first = _sample_group(random)
        if split == "all" and random.random() < 0.25:
            return Scene(first)
        second = _sample_group(random)
        if (first.colour, first.shape) == (second.colour, second.shape):
            continue
        scene = Scene(first, RELATIONS[random.integers(len(RELATIONS))], second)
        held_out = [is_held_out(triple) for triple in scene.triples]
        if split == "all" or (all(held_out) if split == "held-out" else not any(held_out)):
            return scene


def sample_captions(count: int, random: "np.random.Generator", *, split: str) -> list[str]:
    """Draw different captions (see :func:`sample_scene`)."""
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        found[sample_scene(random, split=split).caption] = None
    if len(found) < count:
        raise InputError(f"{count} different captions of split {split!r} were asked for; there are about {len(found)}")
    return list(found)


def _sample_group(random: "np.random.Generator") -> Group:
    colour = list(COLOURS)[random.integers(len(COLOURS))]
    return Group(int(random.integers(1, 3)), colour, SHAPES[random.integers(len(SHAPES))])


def words() -> list[str]:
    """Return every word of every caption, in a fixed order."""
    phrases = itertools.chain(COUNTS.values(), COLOURS, SHAPES, (f"{shape}s" for shape in SHAPES), RELATIONS)
    return list(dict.fromkeys(word for phrase in phrases for word in phrase.split()))
