import io

import numpy as np
import pytest
from PIL import Image

from auscult.core.data.images import check_image, read_image
from auscult.core.errors import InputError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 10), dtype=np.uint8)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_colour_comes_back_as_it_was(kind, tmp_path):
    content = encoded(Image.fromarray(COLOUR), kind, **({"lossless": True} if kind == "WEBP" else {}))
    (tmp_path / "image").write_bytes(content)
    for source in (content, tmp_path / "image"):
        np.testing.assert_array_equal(read_image(source), COLOUR)


def test_jpeg_is_near():
    smooth = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 32, 0).repeat(3, 2)
    found = read_image(encoded(Image.fromarray(smooth), "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth).max() < 12


def test_grey_is_repeated():
    found = read_image(encoded(Image.fromarray(GREY)))
    np.testing.assert_array_equal(found, np.stack([GREY] * 3, axis=2))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_files_use_the_bits_that_their_values_need(bits, kind):
    values = np.linspace(0, 2**bits - 1, 100).round().astype(np.uint16).reshape(10, 10)
    found = read_image(encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(found[:, :, 0], np.floor(255 * (values / (2**bits - 1)) + 0.5))


def test_a_window_maps_its_ends_to_black_and_white():
    values = np.array([[0, 100, 150, 200, 60000, 100, 150, 200]] * 8, np.uint16)
    found = read_image(encoded(Image.fromarray(values)), window=(100, 200))
    assert found[0, :5, 0].tolist() == [0, 0, 128, 255, 255]


def test_floating_point_is_read_between_0_and_1():
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    found = read_image(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(found[:, :, 0], np.floor(255 * values.astype(float) + 0.5))
    with pytest.raises(InputError, match="values from 0 to 3, not from 0 to 1: give their window"):
        read_image(encoded(Image.fromarray(3 * values), "TIFF"))
    values[0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        read_image(encoded(Image.fromarray(values), "TIFF"))


def test_cmyk_palette_bilevel_and_transparency():
    white = Image.new("CMYK", (9, 9), (0, 0, 0, 0))
    np.testing.assert_array_equal(read_image(encoded(white, "TIFF")), np.full((9, 9, 3), 255))
    palette = Image.fromarray(COLOUR).quantize(200)
    np.testing.assert_array_equal(read_image(encoded(palette)), np.asarray(palette.convert("RGB")))
    bilevel = Image.fromarray(GREY > 127)
    np.testing.assert_array_equal(read_image(encoded(bilevel))[:, :, 1], 255 * (GREY > 127))
    clear = Image.new("RGBA", (9, 9), (200, 100, 0, 0))
    np.testing.assert_array_equal(read_image(encoded(clear)), np.zeros((9, 9, 3)))


def test_the_cameras_turn_is_undone():
    picture = Image.fromarray(COLOUR)
    exif = picture.getexif()
    exif[0x0112] = 6
    assert read_image(encoded(picture, "TIFF", exif=exif)).shape == (10, 12, 3)


def test_pages_have_to_be_chosen():
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert read_image(content, frame=1)[0, 0, 0] == 20
    with pytest.raises(InputError, match="holds 2 images: say which with frame, from 0 to 1"):
        read_image(content)
    with pytest.raises(InputError, match="no frame 2: it holds 2"):
        read_image(content, frame=2)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "is empty"), (b"no image at all", "cannot be read as an image"),
    (encoded(Image.fromarray(COLOUR), "JPEG")[:200], "cannot be read as an image"),
    (encoded(Image.new("RGB", (64, 64), (3, 4, 5)), "TIFF")[:500], "cannot be read as an image"),
    (encoded(Image.new("L", (1, 1))), "is 1 x 1 pixels: an edge needs 8 or more"),
    (encoded(Image.new("1", (10_001, 10_001))), "more than 100,000,000: scale it down"),
])  # fmt: skip
def test_what_is_no_image_is_one_sentence(content, said, tmp_path):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"there is no file .nowhere\.png."):
        read_image("nowhere.png")


@pytest.mark.parametrize("window", [(5, 2), (float("nan"), 1)])
def test_a_window_upside_down_is_refused(window):
    with pytest.raises(InputError, match="black first"):
        read_image(encoded(Image.fromarray(GREY)), window=window)


def test_arrays_are_checked():
    assert check_image(COLOUR) is COLOUR
    with pytest.raises(InputError, match="float64 of shape"):
        check_image(COLOUR / 255)
    with pytest.raises(InputError, match="3 x 3 pixels"):
        check_image(COLOUR[:3, :3])
