"""Pictures of the shapes world, 32 pixels a side, drawn with soft edges."""

import numpy as np
import numpy.typing as npt

from auscult.agfsync.shapes.captions import BACKGROUND, COLOURS, Scene

SIZE = 32
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


def draw(scene: Scene, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a picture [32, 32, 3] of the scene; places and sizes are drawn at random."""
    picture = np.broadcast_to(np.array(BACKGROUND, np.float32), (SIZE, SIZE, 3)).copy()
    for group, half in zip(scene.groups, _halves(scene), strict=True):
        for x, y in _places(group.count, half, random):
            covered = _coverage(group.shape, _X - x, _Y - y, float(random.uniform(3.2, 4.2)))[:, :, None]
            picture = picture * (1 - covered) + np.array(COLOURS[group.colour], np.float32) * covered
    return picture.round().astype(np.uint8)


def _halves(scene: Scene) -> tuple[str, ...]:
    """Return the part of the picture that each group gets."""
    if scene.relation is None:
        return ("all",)
    first, second = {
        "left of": ("left", "right"), "right of": ("right", "left"),
        "above": ("top", "bottom"), "below": ("bottom", "top"),
    }[scene.relation]  # fmt: skip
    return first, second


def _places(count: int, half: str, random: np.random.Generator) -> list[tuple[float, float]]:
    """Return centres in a half, one in each of as many equal slots along its long side."""
    slot = SIZE / count
    slack = slot / 2 - 5.5 if count > 1 else 6.0
    along = [(index + 0.5) * slot + float(random.uniform(-slack, slack)) for index in range(count)]
    low, high = {"all": (9, 23), "left": (6, 9.5), "right": (22.5, 26), "top": (6, 9.5), "bottom": (22.5, 26)}[half]
    across = [float(random.uniform(low, high)) for _ in range(count)]
    if half in ("left", "right") or (half == "all" and random.random() < 0.5):
        return list(zip(across, along, strict=True))
    return list(zip(along, across, strict=True))


def _coverage(
    shape: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], radius: float
) -> npt.NDArray[np.float32]:
    """Return how much of each pixel the shape covers, 0 to 1, from the distance to its edge."""
    if shape == "circle":
        outside = np.hypot(x, y) - radius
    elif shape == "square":
        outside = np.maximum(np.abs(x), np.abs(y)) - 0.9 * radius
    else:
        outside = np.maximum(y - radius, (2 * np.abs(x) - y - radius) / np.float32(5**0.5))
    return np.clip(0.5 - outside, 0, 1).astype(np.float32)


def draw_many(scenes: list[Scene], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return one picture a scene [N, 32, 32, 3]."""
    return np.stack([draw(scene, random) for scene in scenes])
