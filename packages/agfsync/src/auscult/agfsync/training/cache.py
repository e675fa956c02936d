"""What the training loop needs of the pairs, computed once: posteriors of the VAE and text embeddings.

Mean and standard deviation of the posterior are kept, not one sample of it, so every step can draw anew. Each
caption is embedded once. The cache knows the model, the resolution and the pairs that it was made from, and is
refused for any other.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from auscult.agfsync.images import open_image
from auscult.agfsync.training.reference import weights_digest
from auscult.core.canonical import digest
from auscult.core.errors import InputError
from auscult.core.progress import progress

_PER_PAIR = ("mean_w", "std_w", "mean_l", "std_l", "time_ids_w", "time_ids_l")


class PairCache(Dataset[dict[str, Tensor]]):
    """The cached pairs as training data; items as :class:`~auscult.agfsync.training.trainer.DiffusionDPOTrainer` wants.

    Parameters
    ----------
    folder
        From :func:`cache_pairs`.
    fingerprint
        What the cache has to be of; refused otherwise. None takes whatever it is of.
    """

    def __init__(self, folder: str | Path, fingerprint: str | None = None) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.folder} holds no cache of pairs: make one with cache_pairs") from error
        self.fingerprint: str = self.manifest["fingerprint"]
        if fingerprint is not None and fingerprint != self.fingerprint:
            raise InputError(
                f"the cache in {self.folder} is of another model, resolution or set of pairs: delete the folder, and "
                "it will be made again"
            )
        self._arrays = {
            name: np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r")) for name in self.manifest["arrays"]
        }

    def __len__(self) -> int:
        return int(self.manifest["pairs"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        caption = int(self._arrays["caption"][index])
        item = {
            name: torch.from_numpy(np.array(self._arrays[name][index])) for name in _PER_PAIR if name in self._arrays
        }
        for name in ("prompt_embeds", "pooled"):
            if name in self._arrays:
                item[name] = torch.from_numpy(np.array(self._arrays[name][caption])).float()
        return {"pair": torch.tensor(index), **item}


def cache_pairs(
    pairs: Sequence[dict[str, Any]],
    pipeline: Any,
    folder: str | Path,
    *,
    resolution: int,
    batch_size: int = 8,
) -> PairCache:
    """Encode the images and captions of pairs, or open the cache that a folder already has of just these.

    Parameters
    ----------
    pairs
        Rows with ``caption``, ``good_jpg`` and ``bad_jpg`` (encoded images as bytes).
    pipeline
        A pipeline of SD or SDXL: its VAE, text encoders and ``encode_prompt`` are used.
    folder
        Appears when it is complete.
    resolution
        Images are scaled to it by their shorter side and cropped around the centre.
    batch_size
        Images a pass.

    Raises
    ------
    InputError
        There is no pair, an image cannot be read, the resolution does not fit the VAE, or the folder has a cache
        of something else.
    """
    folder = Path(folder)
    if not pairs:
        raise InputError("there is no pair to train on: lower min_margin, or score more candidates")
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    if resolution % factor or resolution < factor:
        raise InputError(f"the resolution {resolution} does not fit the VAE: use a multiple of {factor}")
    fingerprint = _fingerprint(pairs, pipeline, resolution)
    if folder.exists():
        return PairCache(folder, fingerprint)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        arrays = _encode_captions(pairs, pipeline, partial)
        arrays += _encode_images(pairs, pipeline, partial, resolution, batch_size)
        manifest = {"fingerprint": fingerprint, "pairs": len(pairs), "resolution": resolution, "arrays": arrays}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return PairCache(folder, fingerprint)


def _fingerprint(pairs: Sequence[dict[str, Any]], pipeline: Any, resolution: int) -> str:
    import hashlib

    def of(content: bytes) -> str:
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    parts = ("vae", "text_encoder", "text_encoder_2")
    models = [weights_digest(part) for part in (getattr(pipeline, name, None) for name in parts) if part is not None]
    rows = [(row["caption"], of(row["good_jpg"]), of(row["bad_jpg"])) for row in pairs]
    return digest([models, resolution, rows, pipeline.vae.config.scaling_factor])


@torch.no_grad()
def _encode_captions(pairs: Sequence[dict[str, Any]], pipeline: Any, folder: Path) -> list[str]:
    captions = list(dict.fromkeys(row["caption"] for row in pairs))
    position = {caption: index for index, caption in enumerate(captions)}
    write = _Writer(folder, len(captions))
    for start in range(0, len(captions), 16):
        embeds, pooled = encode_captions(pipeline, captions[start : start + 16])
        write("prompt_embeds", start, embeds)
        if pooled is not None:
            write("pooled", start, pooled)
    names = write.close()
    np.save(folder / "caption.npy", np.array([position[row["caption"]] for row in pairs], np.int64))
    return [*names, "caption"]


def encode_captions(pipeline: Any, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Return the embeddings (N, T, D) of captions as the pipeline conditions on them, and SDXL's pooled ones (N, P)."""
    found = pipeline.encode_prompt(
        list(captions), device=pipeline.unet.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return found[0], found[2] if len(found) == 4 else None


@torch.no_grad()
def _encode_images(
    pairs: Sequence[dict[str, Any]], pipeline: Any, folder: Path, resolution: int, batch_size: int
) -> list[str]:
    vae = pipeline.vae
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    scale = vae.config.scaling_factor
    sdxl = hasattr(pipeline, "text_encoder_2")
    write = _Writer(folder, len(pairs))
    with progress("Encoding pairs", len(pairs)) as advance:
        for start in range(0, len(pairs), batch_size):
            rows = pairs[start : start + batch_size]
            for side, column in (("w", "good_jpg"), ("l", "bad_jpg")):
                images, sizes = zip(
                    *(crop(open_image(row[column], f"{column} of {row['caption']!r}"), resolution) for row in rows),
                    strict=True,
                )
                pixels = torch.stack(images).to(vae.device, vae.dtype)
                posterior = vae.encode(pixels).latent_dist
                write(f"mean_{side}", start, (posterior.mean - shift) * scale)
                write(f"std_{side}", start, posterior.std * scale)
                if sdxl:
                    ids = [[*size, resolution, resolution] for size in sizes]
                    write(f"time_ids_{side}", start, torch.tensor(ids, dtype=torch.float32))
            advance(len(rows))
    return write.close()


def crop(image: Image.Image, resolution: int) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Return an image as a square in [-1, 1] (3, R, R), and its height and width and the crop's top and left."""
    width, height = image.size
    scale = resolution / min(width, height)
    wide, high = max(round(width * scale), resolution), max(round(height * scale), resolution)
    left, top = (wide - resolution) // 2, (high - resolution) // 2
    resized = image if (wide, high) == image.size else image.resize((wide, high), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized.crop((left, top, left + resolution, top + resolution)), np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1, (height, width, top, left)


class _Writer:
    """Writes arrays piece by piece into .npy files that can be read without loading them."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._rows = folder, rows
        self._open: dict[str, Any] = {}

    def __call__(self, name: str, start: int, values: Tensor) -> None:
        content = (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()
        if name not in self._open:
            self._open[name] = np.lib.format.open_memmap(
                self._folder / f"{name}.npy", mode="w+", dtype=content.dtype, shape=(self._rows, *content.shape[1:])
            )
        self._open[name][start : start + len(content)] = content

    def close(self) -> list[str]:
        for array in self._open.values():
            array.flush()
        return list(self._open)
