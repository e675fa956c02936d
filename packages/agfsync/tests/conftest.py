"""Small random models of the real kinds, and pairs of plain pictures."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet():
    # The libraries below announce their own deprecations; ours must show none.
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"(diffusers|transformers|peft|torch|accelerate)\..*"
    )
    warnings.filterwarnings(
        "ignore", category=DeprecationWarning, module=r"(diffusers|transformers|peft|torch|accelerate)\..*"
    )


def make_unet(seed=0, **options):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    settings = {
        "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "cross_attention_dim": 96,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 2, "norm_num_groups": 4,
    }  # fmt: skip
    return UNet2DConditionModel(**settings | options)


@pytest.fixture(scope="session")
def _sd():
    from diffusers import StableDiffusionPipeline

    from auscult.agfsync.shapes import models

    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=models.make_vae(), text_encoder=models.make_text_encoder(), tokenizer=models.make_tokenizer(),
        unet=make_unet(), scheduler=models.make_scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def sd(_sd):
    """A pipeline of SD with random weights, whose UNet a test may change."""
    pipeline = copy.copy(_sd)
    pipeline.register_modules(unet=copy.deepcopy(_sd.unet))
    return pipeline


@pytest.fixture(scope="session")
def sdxl():
    """A pipeline of SDXL with random weights."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from auscult.agfsync.shapes import models

    torch.manual_seed(0)
    text = models._text_config() | {"hidden_size": 32, "intermediate_size": 37, "projection_dim": 24}
    pipeline = StableDiffusionXLPipeline(
        vae=models.make_vae(), text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**text)), tokenizer=models.make_tokenizer(),
        tokenizer_2=models.make_tokenizer(),
        unet=make_unet(
            cross_attention_dim=64, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1), add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_picture(value, size=(32, 32), kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def rows():
    """Eight pairs of a bright and a dark picture."""
    captions = ("a red circle", "two blue squares")
    return [
        {"caption": captions[i % 2], "good_jpg": make_picture(200 + i), "bad_jpg": make_picture(40 + i)}
        for i in range(8)
    ]


@pytest.fixture
def cache(sd, rows, tmp_path):
    from auscult.agfsync import cache_pairs

    return cache_pairs(rows, sd, tmp_path / "cache", resolution=32)


@pytest.fixture
def picture():
    """From a grey value, size (height, width) and format to the bytes of a plain picture."""
    return make_picture


@pytest.fixture
def tiny_unet():
    """From a seed to a small random UNet."""
    return make_unet
