"""The models of the shapes world, small enough to be a part of the package.

A Stable Diffusion pipeline of the usual parts (CLIP text encoder, UNet with cross-attention, VAE with latents of
8 by 8), and a CLIP that scores pictures of this world. All are plain diffusers and transformers models.
"""

from pathlib import Path
from typing import Any

from auscult.agfsync.shapes.captions import words
from auscult.agfsync.shapes.drawing import SIZE

WEIGHTS = Path(__file__).parent / "weights"
TOKENS = 16
# The end must not have number 2: CLIP then takes the token of the highest number for the end of the text.
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<start>", "unk_token": "<unknown>", "eos_token": "<end>"}


def load_pipeline(folder: str | Path = WEIGHTS / "pipeline") -> Any:
    """Return the ``StableDiffusionPipeline`` of the shapes world, in float32 on the CPU."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_clip(folder: str | Path = WEIGHTS / "clip") -> Any:
    """Return the ``CLIPModel`` of the shapes world, in float32 on the CPU."""
    import torch
    from transformers import CLIPModel

    model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval()


def make_tokenizer() -> Any:
    """Return a tokenizer that knows the words of this world, one token each."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([*_SPECIAL.values(), *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = _SPECIAL["bos_token"], _SPECIAL["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=tokenizer, model_max_length=TOKENS, **_SPECIAL)


def make_vae() -> Any:
    """Return an untrained VAE: 32 by 32 pixels to 4 channels of 8 by 8."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32, 48), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False,
    )  # fmt: skip


def make_text_encoder() -> Any:
    """Return an untrained CLIP text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**_text_config()))


def make_unet() -> Any:
    """Return an untrained UNet, conditioned on the text encoder's states."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // 4, block_out_channels=(32, 96), layers_per_block=1, cross_attention_dim=96,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip


def make_scheduler() -> Any:
    """Return the noise schedule: 1000 steps, the network predicts v."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1,
        set_alpha_to_one=False, prediction_type="v_prediction",
    )  # fmt: skip


def make_clip() -> Any:
    """Return an untrained CLIP for pictures and captions of this world."""
    from transformers import CLIPConfig, CLIPModel

    vision = {
        "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
        "image_size": SIZE, "patch_size": 4, "projection_dim": 64,
    }  # fmt: skip
    text = _text_config()
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def _text_config() -> dict[str, Any]:
    return {
        "vocab_size": len(_SPECIAL) + len(words()), "hidden_size": 96, "intermediate_size": 192,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": TOKENS,
        "projection_dim": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3,
    }  # fmt: skip
