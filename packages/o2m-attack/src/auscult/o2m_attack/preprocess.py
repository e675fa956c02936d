"""From an image to what the vision tower sees: once exactly as the model's processor does, then differentiably.

The optimised image is the tensor behind resizing and cropping, in pixels of [0, 1]; rescaling and normalising happen
inside the graph. Saved as PNG and read again, it passes through resizing and cropping unchanged.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from auscult.core.errors import InputError

_MODES = {2: "bilinear", 3: "bicubic"}
_WIDEST = 50


class Preprocessor(Protocol):
    """How an image becomes what a vision tower sees."""

    def clean(self, image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """Return what is optimised: [3, H, W] float32 in whole 255ths, from uint8 [height, width, 3]."""

    def views(self, image: Tensor) -> Tensor:
        """Return the normalised views [views, 3, size, size] of such a tensor; differentiable."""


class SingleView:
    """One square view, as LLaVA has it.

    Parameters
    ----------
    processor
        The image processor of the model; its PIL backend does resizing and cropping.

    Raises
    ------
    InputError
        It scales pixels to another range than [0, 1], or would resize or crop its own result again.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._normalise = _Normalise(processor)
        seen = self.clean(np.arange(3 * 64 * 64, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3))
        if not torch.equal(self.clean(to_uint8(seen)), seen):
            raise InputError(
                f"the image processor, of size {processor.size}, changes what it has made, so that a saved image would "
                "not be the one that was optimised: give size and crop_size one edge in its preprocessor_config.json"
            )

    def clean(self, image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """Return the image after the processor's own padding, resizing and cropping."""
        _refuse_ribbons(image)
        pixels = self._processor(
            images=image, input_data_format="channels_last", do_rescale=False, do_normalize=False, return_tensors="np"
        )["pixel_values"]
        return _lattice(np.asarray(pixels)[0])

    def views(self, image: Tensor) -> Tensor:
        """Return the image, normalised."""
        return self._normalise(image)[None]


class AnyResolution:
    """A coarse view and the tiles of a grid, as LLaVA-NeXT has it.

    Parameters
    ----------
    processor
        The image processor of the model.
    grid
        Resolutions (height, width) to choose from.
    """

    def __init__(self, processor: Any, grid: Sequence[Sequence[int]]) -> None:
        self._processor = processor
        self._grid = [tuple(one) for one in grid]
        size = processor.crop_size or processor.size
        self._size = int(size["height"])
        self._normalise = _Normalise(processor)
        if processor.resample not in _MODES:
            raise InputError(f"the processor resizes by PIL's filter {processor.resample}: only 2 and 3 are known here")
        self._mode = _MODES[int(processor.resample)]

    def clean(self, image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """Return the image at the resolution that it has on the grid, without padding."""
        from PIL import Image

        _refuse_ribbons(image)
        picture = Image.fromarray(image)
        size = (picture.height, picture.width)
        # The enlarged image may fit another resolution of the grid than the small one did.
        for _ in self._grid:
            fitted = self._fitted(size)
            if fitted == size:
                break
            size = fitted
        if size != (picture.height, picture.width):
            picture = picture.resize(size[::-1], resample=Image.Resampling(int(self._processor.resample)))
        return _lattice(np.asarray(picture).transpose(2, 0, 1))

    def views(self, image: Tensor) -> Tensor:
        """Return the coarse view and the tiles, normalised; what pads the tiles is black."""
        height, width = image.shape[-2:]
        high, wide = self._resolution((height, width))
        top, left = (high - height) // 2, (wide - width) // 2
        padded = functional.pad(image, (left, wide - width - left, top, high - height - top))
        size = self._size
        tiles = padded.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
        return self._normalise(torch.cat([resize(image, (size, size), self._mode)[None], tiles]))

    def _resolution(self, size: tuple[int, int]) -> tuple[int, int]:
        from transformers.image_processing_utils import select_best_resolution

        best: tuple[int, int] = select_best_resolution(size, self._grid)
        return best

    def _fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        from transformers.image_processing_utils import get_patch_output_size

        shape = np.empty((3, *size), np.uint8)
        fit: Any = get_patch_output_size
        height, width = fit(shape, self._resolution(size), input_data_format="channels_first")
        return int(height), int(width)


def resize(image: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Return an image [3, H, W] at another size, as PIL's filter of that name computes it; differentiable.

    PIL rounds to 8 bits after each of its two passes, and this does not: the two differ by 1.5/255 at most, and by far
    less on average.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    resized = functional.interpolate(image[None], size, mode=mode, antialias=True, align_corners=False)[0]
    return resized.clamp(0, 1)


def to_uint8(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return uint8 [height, width, 3] of an image [3, H, W] in [0, 1], rounded."""
    return (image.detach().float().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


class _Normalise:
    def __init__(self, processor: Any) -> None:
        if not processor.do_rescale or abs(255 * processor.rescale_factor - 1) > 1e-6:
            raise InputError(
                f"the image processor has do_rescale {processor.do_rescale} and rescale_factor "
                f"{processor.rescale_factor}: models whose pixels lie in [0, 1] before they are normalised can be used"
            )
        ones = [1.0, 1.0, 1.0]
        wanted = bool(processor.do_normalize)
        self._mean = torch.tensor(processor.image_mean if wanted else [0.0, 0.0, 0.0])[:, None, None]
        self._std = torch.tensor(processor.image_std if wanted else ones)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        return (image - self._mean.to(image)) / self._std.to(image)


def _lattice(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.rint(pixels).astype(np.uint8).copy()).to(torch.float32) / 255


def _refuse_ribbons(image: np.ndarray[Any, Any]) -> None:
    height, width = image.shape[:2]
    if max(height, width) > _WIDEST * min(height, width):
        raise InputError(
            f"the image is {width} x {height} pixels: a side more than {_WIDEST} times the other leaves nothing to "
            "see; crop it first"
        )
