"""CLIP: how well picture and caption agree; its embedding of a picture also serves the aesthetic head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.shapes.drawing import SIZE
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


_HALF = np.float32(0.5)
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class CLIPScorer:
    """Scores pictures against captions, one vision pass a picture.

    Parameters
    ----------
    model
        A ``CLIPModel``.
    tokenizer
        Its tokenizer; captions are cut at the tokens that the model takes, never at characters.
    scale
        ``"cosine"``: 100 max(cos, 0); ``"logit"``: the model's temperature times the cosine.
    long
        ``"truncate"`` a caption that is too long, or average the cosines of its ``"chunks"``.
    """

    def __init__(self, model: Any, tokenizer: Any, *, scale: str = "cosine", long: str = "truncate") -> None:
        self._model, self._tokenizer, self._scale, self._long = model, tokenizer, scale, long

    @classmethod
    def load(cls, config: ScoreConfig) -> "CLIPScorer":
        """Return the scorer that a configuration names."""
        import torch
        from transformers import AutoTokenizer, CLIPModel

        from auscult.agfsync.shapes.models import WEIGHTS, load_clip
        from auscult.core.device import choose_device, choose_dtype

        how = {"scale": config.clip_scale, "long": config.clip_long}
        if config.clip == "shapes":
            return cls(load_clip(), AutoTokenizer.from_pretrained(WEIGHTS / "clip"), **how)
        device = choose_device(config.device)
        try:
            dtype = getattr(torch, choose_dtype(device, config.dtype))
            model: Any = CLIPModel.from_pretrained(config.clip, dtype=dtype)
            tokenizer = AutoTokenizer.from_pretrained(config.clip)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"the CLIP {config.clip!r} cannot be loaded ({reason}): give a folder or an ID") from error
        return cls(model.to(device).eval(), tokenizer, **how)

    def embed_images(self, images: "Sequence[Image]") -> npt.NDArray[np.float32]:
        """Return unit embeddings (N, D)."""
        import torch

        pixels = self._pixels(images).to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            return _unit(features(self._model.get_image_features(pixel_values=pixels)))

    def embed_texts(self, captions: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return embeddings (N, D): unit, or the mean of the unit embeddings of a caption's chunks."""
        import torch

        limit = self._model.config.text_config.max_position_embeddings
        chunks = self._long == "chunks"
        tokens = self._tokenizer(
            list(captions), truncation=True, padding="max_length", max_length=limit, return_tensors="pt",
            return_overflowing_tokens=chunks,
        )  # fmt: skip
        ids = tokens.input_ids.to(self._model.device)
        with torch.inference_mode():
            found = _unit(features(self._model.get_text_features(input_ids=ids)))
        if not chunks:
            return found
        owner = np.asarray(tokens.overflow_to_sample_mapping)
        return np.stack([found[owner == row].mean(0) for row in range(len(captions))])

    def score(self, image: npt.NDArray[np.float32], text: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the scores (N,) of rows of embeddings."""
        cosine = (image.astype(np.float64) * text).sum(1)
        if self._scale == "logit":
            return np.asarray(cosine * self._model.logit_scale.detach().exp().item(), np.float64)
        return np.asarray(100 * np.maximum(cosine, 0), np.float64)

    def _pixels(self, images: "Sequence[Image]") -> Any:
        """Return pixel values as CLIP was trained on them: the shapes world's are in [-1, 1], others standardised."""
        import torch
        from PIL import Image

        side = self._model.config.vision_config.image_size
        mean, std = (_HALF, _HALF) if side == SIZE else (_MEAN, _STD)
        rows = []
        for image in images:
            scale = side / min(image.size)
            size = max(round(image.width * scale), side), max(round(image.height * scale), side)
            resized = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
            left, top = (size[0] - side) // 2, (size[1] - side) // 2
            rows.append(np.asarray(resized.crop((left, top, left + side, top + side)), np.float32) / 255)
        return torch.from_numpy(((np.stack(rows) - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)


def features(output: Any) -> Any:
    """Return the projected embedding, which older versions of transformers give as a tensor and newer in an object."""
    return getattr(output, "pooler_output", output)


def _unit(embedding: Any) -> npt.NDArray[np.float32]:
    wide = embedding.float()
    return np.asarray((wide / wide.norm(dim=1, keepdim=True)).cpu().numpy(), np.float32)
