"""Defences that take away from an image what a perturbation needs: JPEG, fewer bits, another size and place."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from auscult.core.canonical import digest
from auscult.core.errors import InputError
from auscult.o2m_attack.defences.protocol import Transform
from auscult.o2m_attack.targets.protocol import Query

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Jpeg(Transform):
    """Compress and decompress the image (Dziugaite et al., 2016, arXiv 1608.00853).

    Parameters
    ----------
    quality
        PIL's, from 1 to 95; lower removes more, of the image as well.
    """

    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise InputError(f"the JPEG quality is {self.quality}: use 1 to 95")

    @property
    def name(self) -> str:
        """Kind and quality."""
        return f"JPEG {self.quality}"

    def change(self, query: Query) -> Query:
        """Return the query with the re-encoded image."""
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(query.image).save(content, format="JPEG", quality=self.quality, subsampling=0)
        return replace(query, image=np.asarray(Image.open(content).convert("RGB")))


@dataclass(frozen=True)
class BitDepth(Transform):
    """Round each channel to fewer bits (Xu et al., 2018, feature squeezing).

    Parameters
    ----------
    bits
        From 1 to 7.
    """

    bits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 7:
            raise InputError(f"the bit depth is {self.bits}: use 1 to 7, of the 8 that an image has")

    @property
    def name(self) -> str:
        """Kind and bits."""
        return f"{self.bits} bits"

    def change(self, query: Query) -> Query:
        """Return the query with the rounded image."""
        levels = 2**self.bits - 1
        rounded = np.round(np.round(query.image / 255 * levels) / levels * 255)
        return replace(query, image=rounded.astype(np.uint8))


@dataclass(frozen=True)
class ResizePad(Transform):
    """Shrink the image and put it somewhere into a frame of its old size (Xie et al., 2018, arXiv 1711.01991).

    Parameters
    ----------
    smallest
        Scales are drawn between this share and 1.
    seed
        Of scale and place, which depend on the image too: equal images are changed equally.
    """

    smallest: float = 0.85
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1:
            raise InputError(f"the smallest scale is {self.smallest}: use a number above 0 and at most 1")

    @property
    def name(self) -> str:
        """Kind, scale and seed."""
        return f"resize to {self.smallest:g} and pad, seed {self.seed}"

    def change(self, query: Query) -> Query:
        """Return the query with the shrunken image; what it no longer fills is black."""
        from PIL import Image

        pixels: Pixels = query.image
        rng = np.random.default_rng([self.seed, int(digest(pixels.tobytes().hex())[:12], 16)])
        height, width = pixels.shape[:2]
        scale = rng.uniform(self.smallest, 1)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top = (int(rng.integers(0, whole - part + 1)) for whole, part in zip((width, height), small, strict=True))
        frame = Image.new("RGB", (width, height))
        frame.paste(Image.fromarray(pixels).resize(small, Image.Resampling.BILINEAR), (left, top))
        return replace(query, image=np.asarray(frame))
