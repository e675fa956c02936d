"""Reading and writing images: what cannot be opened, is black or was seen before is told from what is one."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"png": "PNG", "webp": "WEBP"}


def open_image(source: bytes | str | Path, name: str | None = None) -> "Image.Image":
    """Return a picture in RGB, wholly read.

    Parameters
    ----------
    source
        A file's path, or its content.
    name
        What to call it in an error.

    Raises
    ------
    InputError
        It is missing, truncated, of 32 bits a pixel, too large for Pillow, or no image.
    """
    from PIL import Image

    what = name or (str(source) if isinstance(source, (str, Path)) else "an image")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode.startswith("I;16"):  # which convert would cut at 255
                return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
            if image.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits and no known range: save it with 8")
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise InputError(f"{what} is missing: restore it, or leave it out") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{what} cannot be read as an image ({error}): it may be truncated; make it again") from error


def is_present(path: Path) -> bool:
    """Return whether a file is there and opens as a whole image."""
    try:
        open_image(path)
    except InputError:
        return False
    return True


def encode_image(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    """Return pixels [H, W, 3] as a lossless PNG or WebP file."""
    from PIL import Image

    buffer = io.BytesIO()
    options: dict[str, Any] = {"lossless": True, "quality": 0} if kind == "webp" else {"compress_level": 1}
    Image.fromarray(pixels).save(buffer, FORMATS[kind], **options)
    return buffer.getvalue()


def write_image(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """Write pixels [H, W, 3] to a file whose suffix names the format; readers never see half of it."""
    content = encode_image(pixels, path.suffix.removeprefix("."))
    replace_atomically(path, lambda partial: partial.write_bytes(content))


def is_black(pixels: npt.NDArray[np.uint8]) -> bool:
    """Return whether an image is black, as safety checkers make those that they block."""
    return bool(pixels.max(initial=0) <= 2)


def pixel_hash(image: "Image.Image") -> str:
    """Return a digest of an image's size and pixels, whatever file format it is in."""
    return hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16).hexdigest()
