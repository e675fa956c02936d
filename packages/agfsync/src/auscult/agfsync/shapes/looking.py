"""What is in a picture of the shapes world, told from its pixels alone.

Every pixel gets the nearest colour of the palette; the connected areas of one colour are the objects. A circle,
a square and a triangle fill about 79, 100 and 50 percent of the box around them, which tells them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auscult.agfsync.shapes.captions import BACKGROUND, COLOURS, SHAPES
from auscult.agfsync.shapes.drawing import SIZE
from auscult.core.errors import InputError

SMALLEST, LARGEST = 14, 100
"""Pixels of the smallest and the largest area that is taken for one shape."""


@dataclass(frozen=True)
class Seen:
    """One object: colour, shape ("blob" where it is none of the three), centre and area in pixels."""

    colour: str
    shape: str
    x: float
    y: float
    area: int


def look(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> list[list[Seen]]:
    """Return what is seen in each picture [H, W, 3], from left to right."""
    if not len(images):
        return []
    labels, colours = _areas(_stacked(images))
    return [_objects(label, colour) for label, colour in zip(labels, colours, strict=True)]


def _stacked(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if sizes := {image.shape[:2] for image in images} - {(SIZE, SIZE)}:
        high, wide = min(sizes)
        raise InputError(f"a picture is {wide} by {high}: those of the shapes world are {SIZE} by {SIZE}")
    return np.stack(list(images))


def _areas(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each pixel [N, H, W] the number of its area (0: background) and its colour's index."""
    import torch

    palette = np.array([BACKGROUND, *COLOURS.values()], np.float32)
    distance = np.square(images[:, :, :, None].astype(np.float32) - palette).sum(-1)
    colour = torch.from_numpy(distance.argmin(-1)) - 1
    inside = colour >= 0
    each = torch.stack([colour == index for index in range(len(COLOURS))], 1).float()
    count = colour[0].numel()
    label = each * torch.arange(1, count + 1, dtype=torch.float32).reshape(colour[0].shape)
    for _ in range(count):
        grown = torch.nn.functional.max_pool2d(label, 3, 1, 1) * each
        if torch.equal(grown, label):
            break
        label = grown
    return (label.sum(1).long() * inside).numpy(), colour.numpy()


def _objects(label: npt.NDArray[np.int64], colour: npt.NDArray[np.int64]) -> list[Seen]:
    found = []
    for number, area in zip(*np.unique(label[label > 0], return_counts=True), strict=True):
        if area < SMALLEST:
            continue
        y, x = np.nonzero(label == number)
        name = list(COLOURS)[colour[y[0], x[0]]]
        height, width = int(np.ptp(y)) + 1, int(np.ptp(x)) + 1
        found.append(Seen(name, _shape(int(area), height, width), float(x.mean()), float(y.mean()), int(area)))
    return sorted(found, key=lambda seen: (seen.x, seen.y))


def _shape(area: int, height: int, width: int) -> str:
    if area > LARGEST or not 0.65 < height / width < 1.55:
        return "blob"
    circle, square, triangle = SHAPES
    filled = area / (height * width)
    if filled < 0.45:
        return "blob"
    return triangle if filled < 0.68 else circle if filled < 0.92 else square


def tidiness(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return how clean each picture is, 0 to 100: how near its pixels are to the palette, smears counting against it.

    The aesthetic measure of this world. A drawn picture has about 90, since its soft edges are mixed colours.
    """
    palette = np.array([BACKGROUND, *COLOURS.values()], np.float32)
    pixels = _stacked(images).astype(np.float32)
    distance = np.sqrt(np.square(pixels[:, :, :, None] - palette).sum(-1).min(-1))
    return np.asarray(100 * np.exp(-distance.mean((1, 2)) / 50), np.float64)
