"""Property 16, the differentiable path against the PIL processor, and images of every odd kind."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from auscult.core.errors import InputError
from auscult.o2m_attack.preprocess import AnyResolution, SingleView, resize, to_uint8
from auscult.o2m_attack.targets.tiny import tiny_image_processor

SIZES = [(1, 1), (28, 28), (40, 33), (56, 28), (300, 211), (29, 57), (5, 90)]


def picture(height, width, seed=0):
    rough = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", SIZES)
def test_one_view_is_the_processor_s(size):
    processor = tiny_image_processor("llava", 28)
    preprocessor = SingleView(processor)
    image = picture(*size)
    theirs = processor(images=image, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    ours = preprocessor.views(preprocessor.clean(image))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES[1:])
def test_tiles_are_the_processor_s(size):
    processor = tiny_image_processor("llava_next", 28)
    preprocessor = AnyResolution(processor, processor.image_grid_pinpoints)
    image = picture(*size)
    clean = preprocessor.clean(image)
    ours = preprocessor.views(clean)
    again = processor(images=to_uint8(clean), input_data_format="channels_last", return_tensors="pt")
    assert list(again["image_sizes"][0]) == list(clean.shape[1:])
    theirs = again["pixel_values"][0]
    torch.testing.assert_close(ours[1:], theirs[1:], rtol=1e-5, atol=1e-5)
    # The coarse view passes through 8 bits in PIL: half of 1/255, in units of a standard deviation.
    assert (ours[0] - theirs[0]).abs().max() <= 1.01 / 255 / 0.26


@pytest.mark.parametrize("kind", ["llava", "llava_next"])
@pytest.mark.parametrize("size", SIZES)
def test_a_saved_image_passes_through_unchanged(kind, size):
    processor = tiny_image_processor(kind, 28)
    preprocessor = (
        SingleView(processor) if kind == "llava" else AnyResolution(processor, processor.image_grid_pinpoints)
    )
    clean = preprocessor.clean(picture(*size))
    generator = torch.Generator().manual_seed(0)
    other = (torch.randint(0, 256, clean.shape, generator=generator)).float() / 255
    assert torch.equal(preprocessor.clean(to_uint8(other)), other)


def test_processors_whose_result_is_not_what_the_model_sees_are_refused():
    whole, crop = {"shortest_edge": 28}, {"height": 28, "width": 28}
    with pytest.raises(InputError, match="changes what it has made"):
        SingleView(CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop))
    for wrong in ({"rescale_factor": 1 / 127.5}, {"do_rescale": False}):
        with pytest.raises(InputError, match="pixels lie in"):
            SingleView(CLIPImageProcessorPil(size=whole, crop_size=crop, **wrong))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "new"), [((300, 211), (28, 28)), ((20, 31), (28, 28)), ((57, 57), (28, 41))])
def test_resizing_is_pil_s_up_to_rounding(mode, size, new):
    image = picture(*size)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    theirs = np.asarray(Image.fromarray(image).resize(new[::-1], filters[mode])).astype(float)
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    ours = resize(tensor, new, mode).permute(1, 2, 0).numpy() * 255
    # PIL rounds between its two passes, too.
    assert np.abs(ours - theirs).max() <= 1.5
    assert np.abs(ours - theirs).mean() <= 0.3


def test_resizing_is_differentiable():
    image = torch.rand(3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    assert torch.autograd.gradcheck(lambda x: resize(x, (5, 6)), image.requires_grad_())


def test_bounds_of_normalised_pixels():
    """Property 16: what the released code's clamp to [0, 1] cuts off, and its epsilon in pixels."""
    preprocessor = SingleView(tiny_image_processor("llava", 28))
    low, high = preprocessor.views(torch.zeros(3, 28, 28))[0], preprocessor.views(torch.ones(3, 28, 28))[0]
    expected = [(-1.7923, 1.9303), (-1.7521, 2.0749), (-1.4802, 2.1459)]
    for channel, (lowest, highest) in enumerate(expected):
        assert float(low[channel, 0, 0]) == pytest.approx(lowest, abs=1e-4)
        assert float(high[channel, 0, 0]) == pytest.approx(highest, abs=1e-4)
    pixels = [0.3 / float(high[c, 0, 0] - low[c, 0, 0]) * 255 for c in range(3)]
    assert pixels == pytest.approx([20.5, 20.0, 21.1], abs=0.06)


def test_a_ribbon_is_refused():
    with pytest.raises(InputError, match="400 x 2 pixels"):
        SingleView(tiny_image_processor("llava", 28)).clean(picture(2, 400))


def test_an_unknown_filter_is_refused():
    processor = tiny_image_processor("llava_next", 28)
    processor.resample = Image.Resampling.LANCZOS
    with pytest.raises(InputError, match="PIL's filter 1"):
        AnyResolution(processor, [[28, 56]])
