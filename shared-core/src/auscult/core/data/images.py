"""Reading one image of any usual kind as 8-bit RGB: PNG, JPEG, TIFF and the rest of what PIL reads, and DICOM.

Nothing is guessed in silence. A value outside the range that its kind allows, a page that was not chosen, a file that
ends too early are each one sentence. DICOM needs pydicom, which is imported where such a file is read.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import InputError, missing_dependency

Image = NDArray[np.uint8]
"""[height, width, 3], RGB."""

SMALLEST = 8
"""Pixels that an edge has at least: less is no picture of anything."""

LARGEST = 100_000_000
"""Pixels at most; a file that claims more is refused before it is decoded."""

_DICOM = b"DICM"


def read_image(
    source: str | Path | bytes, *, frame: int | None = None, window: tuple[float, float] | None = None
) -> Image:
    """Return an image as uint8 [height, width, 3], RGB.

    Parameters
    ----------
    source
        The path of a file, or its content.
    frame
        Which page of a TIFF or frame of a DICOM file, from 0; needed where there are several.
    window
        The values that become black and white. Left out: what a DICOM file says, else its smallest and largest value;
        for 16-bit files the range of the fewest bits (8, 10, 12, 14 or 16) that hold the largest value; for floating
        point 0 and 1.

    Returns
    -------
    Image
        Grey is repeated in three channels, CMYK converted, transparency put on black, the camera's turning undone. Of
        a DICOM file: rescaled, windowed, MONOCHROME1 inverted, palettes and YBR turned to RGB.

    Raises
    ------
    InputError
        The file is missing, broken, empty, too small or too large, or has several pages and ``frame`` is None.
    MissingDependencyError
        It is a DICOM file and pydicom is not installed.
    """
    name = "the image" if isinstance(source, bytes) else str(source)
    with _one_sentence(name):
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not content:
            raise InputError(f"{name} is empty: give the file of an image")
        dicom = content[128:132] == _DICOM or name.lower().endswith((".dcm", ".dicom"))
        image = _read_dicom(content, name, frame, window) if dicom else _read_picture(content, name, frame, window)
    return image


def check_image(image: Any, name: str = "the image") -> Image:
    """Return an image that is one: uint8 [height, width, 3] of a size that can be looked at.

    Raises
    ------
    InputError
        It has another type or shape, or is too small.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(
            f"{name} is {pixels.dtype} of shape {pixels.shape}, but uint8 [height, width, 3] is needed: read_image "
            "makes it of any file"
        )
    _check_size(pixels.shape[1], pixels.shape[0], name)
    return pixels


def _read_picture(content: bytes, name: str, frame: int | None, window: tuple[float, float] | None) -> Image:
    from PIL import Image as pil
    from PIL import ImageOps

    with pil.open(io.BytesIO(content)) as opened:
        _check_size(*opened.size, name)
        opened.seek(_choose_frame(getattr(opened, "n_frames", 1), frame, name))
        opened.load()
        picture: Any = ImageOps.exif_transpose(opened)
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            return _grey(np.asarray(picture).astype(np.float64), window or _picture_window(picture, name), name)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = pil.alpha_composite(pil.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
        pixels = np.array(picture.convert("RGB"))
    return pixels if window is None else _grey(pixels.astype(np.float64), window, name)


def _picture_window(picture: Any, name: str) -> tuple[float, float]:
    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite: replace them before it is read")
    low, high = float(values.min()), float(values.max())
    if picture.mode == "F":
        if low < 0 or high > 1:
            raise InputError(f"{name} has values from {low:g} to {high:g}, not from 0 to 1: give their window")
        return 0.0, 1.0
    if low < 0 or high > 65535:
        raise InputError(f"{name} has values from {low:g} to {high:g}, not of 16 bits: give their window")
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
    return 0.0, 2.0**bits - 1


def _read_dicom(content: bytes, name: str, frame: int | None, window: tuple[float, float] | None) -> Image:
    try:
        import pydicom
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise missing_dependency("pydicom", purpose=f"reading {name}", install="pydicom") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what many devices write
        data = pydicom.dcmread(io.BytesIO(content))
        if "PixelData" not in data:
            raise InputError(f"{name} is a DICOM file without an image: give one that has pixel data")
        _check_size(int(data.Columns), int(data.Rows), name)
        kind = str(data.PhotometricInterpretation)
        index = _choose_frame(int(data.get("NumberOfFrames", 1) or 1), frame, name)
        values = pixel_array(data, index=index)
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, data)
        if values.ndim == 3:
            return _grey(values.astype(np.float64), window or (0.0, 2.0 ** (8 * values.dtype.itemsize) - 1), name)
        values = np.asarray(apply_modality_lut(values, data), dtype=np.float64)
        values, stored = (values, window) if window else _voi(values, data)
    grey = _grey(values, stored, name)
    return 255 - grey if kind == "MONOCHROME1" else grey


def _voi(values: NDArray[np.float64], data: Any) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return values and the window that a DICOM file asks for, the first where it has several (PS3.3, C.11.2)."""
    from pydicom.pixels.processing import apply_voi_lut

    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        return np.asarray(apply_voi_lut(values.astype(np.int64), data), dtype=np.float64), (0.0, 2.0**bits - 1)
    if data.get("WindowCenter") is None or data.get("WindowWidth") is None:
        return values, (float(values.min()), float(values.max()))
    centre, width = (float(np.ravel(data[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    function = str(data.get("VOILUTFunction", "LINEAR") or "LINEAR")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))), (0.0, 1.0)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return values, (centre - width / 2, centre + width / 2)


def _grey(values: NDArray[np.float64], window: tuple[float, float], name: str) -> Image:
    """Map a window to 0 to 255; grey values get three channels."""
    low, high = map(float, window)
    if not (np.isfinite([low, high]).all() and low <= high):
        raise InputError(f"the window of {name} is {low:g} to {high:g}: give black first and white above it")
    # A window of one value: what lies above it is white.
    scaled = (values > low) * 1.0 if high == low else np.clip((values - low) / (high - low), 0, 1)
    pixels = np.floor(255 * scaled + 0.5).astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _choose_frame(frames: int, frame: int | None, name: str) -> int:
    if frame is None and frames > 1:
        raise InputError(f"{name} holds {frames} images: say which with frame, from 0 to {frames - 1}")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"{name} has no frame {frame}: it holds {frames}, counted from 0")
    return frame or 0


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < SMALLEST:
        raise InputError(f"{name} is {width} x {height} pixels: an edge needs {SMALLEST} or more")
    if width * height > LARGEST:
        raise InputError(f"{name} is {width} x {height} pixels, more than {LARGEST:,}: scale it down before")


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of sizes, which are checked here, and of odd tags
            yield
    except (InputError, ImportError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {name!r}: give the path of an image") from error
    except Exception as error:  # decoders of damaged files raise nearly everything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{name} cannot be read as an image ({reason}): replace it or leave it out") from error
