import numpy as np
import pytest

from auscult.core.data.images import read_image
from auscult.core.errors import InputError

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def path(name):
    """Return the path of a slice that comes with pydicom."""
    from pydicom.data import get_testdata_file

    found = get_testdata_file(name, download=False)
    assert found, name
    return found


def by_the_standard(name):
    """Return the grey values of a slice by pydicom's own formulas, in [0, 1]."""
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    data = pydicom.dcmread(path(name))
    values = apply_modality_lut(data.pixel_array, data)
    shown = apply_windowing(values, data).astype(float) if "WindowCenter" in data else values.astype(float)
    if "WindowCenter" not in data:
        return (shown - shown.min()) / (shown.max() - shown.min())
    low, high = (-(2 ** (data.BitsStored - 1)), 2 ** (data.BitsStored - 1) - 1) if data.PixelRepresentation else (
        0, 2**data.BitsStored - 1)  # fmt: skip
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    return (shown - (low * slope + intercept)) / ((high - low) * slope)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
def test_slices_are_shown_as_the_standard_says(name):
    found = read_image(path(name))
    expected = by_the_standard(name)
    assert found.shape == (*expected.shape, 3)
    assert found.std() > 20
    assert np.abs(found[:, :, 0] / 255 - expected).max() < 0.51 / 255
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])


def test_a_window_of_ones_own_is_in_hounsfield_units():
    data = pydicom.dcmread(path("CT_small.dcm"))
    units = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    found = read_image(path("CT_small.dcm"), window=(-160, 240))[:, :, 0]
    assert (found[units <= -160] == 0).all()
    assert (found[units >= 240] == 255).all()
    inside = (units > -160) & (units < 240)
    np.testing.assert_allclose(found[inside], 255 * (units[inside] + 160) / 400, atol=0.51)


def test_monochrome1_is_inverted(tmp_path):
    data = pydicom.dcmread(path("MR_small.dcm"))
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(tmp_path / "inverted.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "inverted.dcm"), 255 - read_image(path("MR_small.dcm")))


def test_a_sigmoid_window(tmp_path):
    data = pydicom.dcmread(path("MR_small.dcm"))
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = 600, 1600, "SIGMOID"
    data.save_as(tmp_path / "sigmoid.dcm")
    expected = 255 / (1 + np.exp(-4 * (data.pixel_array.astype(float) - 600) / 1600))
    np.testing.assert_allclose(read_image(tmp_path / "sigmoid.dcm")[:, :, 0], expected, atol=0.51)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "examples_ybr_color.dcm", "examples_palette.dcm"])
def test_colour_becomes_rgb(name):
    frames = int(pydicom.dcmread(path(name), stop_before_pixels=True).get("NumberOfFrames", 1) or 1)
    found = read_image(path(name), frame=0 if frames > 1 else None)
    assert found.dtype == np.uint8
    assert (found[:, :, 0] != found[:, :, 1]).any()


def test_frames_have_to_be_chosen():
    with pytest.raises(InputError, match="holds 2 images"):
        read_image(path("SC_rgb_rle_2frame.dcm"))
    first, second = (read_image(path("SC_rgb_rle_2frame.dcm"), frame=frame) for frame in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize(("name", "said"), [
    ("rtplan.dcm", "without an image"), ("MR_truncated.dcm", "cannot be read as an image"),
])  # fmt: skip
def test_files_without_a_whole_image_are_refused(name, said):
    with pytest.raises(InputError, match=said):
        read_image(path(name))


def test_16_bit_is_not_cut_to_8(tmp_path):
    found = read_image(path("MR_small.dcm"))[:, :, 0]
    assert len(np.unique(found)) > 100
