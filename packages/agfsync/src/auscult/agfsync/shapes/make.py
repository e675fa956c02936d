"""Make the weights of the shapes world: ``python -m auscult.agfsync.shapes.make FOLDER``.

On the same drawn pictures are trained the VAE, its decoder for longer, the text encoder (to foresee the latents of a
caption), the UNet together with the text encoder, and the CLIP that scores. The folder keeps checkpoints and
``log.jsonl``; started again, the script goes on where it was. At the end ``FOLDER/weights`` has what the package ships.
Pipeline and CLIP do not depend on each other, nor does the UNet on the longer training of the decoder: ``--only``
trains parts side by side, and a last call without it puts them together.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from auscult.agfsync.shapes import models
from auscult.agfsync.shapes.captions import sample_scene
from auscult.agfsync.shapes.drawing import draw_many
from auscult.agfsync.shapes.fitting import fit
from auscult.core.device import generator

STEPS = {"vae": 700, "decoder": 900, "text": 800, "unet": 1000, "clip": 600}


def make(
    folder: str | Path,
    *,
    seed: int = 0,
    pictures: int = 12_000,
    steps: dict[str, int] | None = None,
    only: str | None = None,
) -> Path:
    """Train the pipeline and the CLIP, or ``only`` one of them, and return the folder of the weights (float16).

    Parameters
    ----------
    folder
        For checkpoints, log and weights.
    seed
        Of everything.
    pictures
        Drawn to train on.
    steps
        Of ``vae``, ``decoder``, ``text``, ``unet`` and ``clip``, where they differ from :data:`STEPS`.
    only
        ``"decoder"`` (after the VAE), ``"unet"`` (after VAE and text encoder) or ``"clip"``.
    """
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    steps = STEPS | (steps or {})
    torch.manual_seed(seed)
    tokenizer = models.make_tokenizer()
    random = generator(seed, "pictures")
    scenes = [sample_scene(random) for _ in range(pictures)]
    pixels = torch.from_numpy(draw_many(scenes, random)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
    ids = _tokenize(tokenizer, [scene.caption for scene in scenes])
    if only != "clip":
        _make_pipeline(folder, tokenizer, pixels, ids, steps, seed, only)
    if only in (None, "clip"):
        clip = models.make_clip()
        fit("clip", {"clip": clip}, _CLIPLoss(clip, pixels, ids), folder=folder, steps=steps["clip"],
            learning_rate=1e-3, seed=seed)  # fmt: skip
        clip.half().save_pretrained(folder / "weights/clip")
        tokenizer.save_pretrained(folder / "weights/clip")
    return folder / "weights"


def _make_pipeline(
    folder: Path, tokenizer: Any, pixels: Any, ids: Any, steps: dict[str, int], seed: int, only: str | None
) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    vae, unet, text_encoder = models.make_vae(), models.make_unet(), models.make_text_encoder()
    scheduler, head = models.make_scheduler(), torch.nn.Linear(96, 4 * 8 * 8)
    fit("vae", {"vae": vae}, _VAELoss(vae, pixels), folder=folder, steps=steps["vae"], learning_rate=2e-3, seed=seed)
    vae.eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(256)])
    scale = 1 / latents.std().item()
    vae.register_to_config(scaling_factor=scale)
    if only != "unet":
        decoding = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
        fit("decoder", decoding, _DecoderLoss(vae, pixels, latents), folder=folder, steps=steps["decoder"],
            learning_rate=1e-3, seed=seed)  # fmt: skip
    if only == "decoder":
        return
    latents *= scale
    fit("text", {"text_encoder": text_encoder, "head": head}, _TextLoss(text_encoder, head, latents, ids),
        folder=folder, steps=steps["text"], learning_rate=2e-3, seed=seed)  # fmt: skip
    loss = _DiffusionLoss(unet, text_encoder, scheduler, latents, ids, _tokenize(tokenizer, [""])[0])
    fit("unet", {"unet": unet, "text_encoder": text_encoder}, loss, folder=folder, steps=steps["unet"],
        learning_rate=1.5e-3, seed=seed, every=50)  # fmt: skip
    if only == "unet":
        return
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(torch.float16).save_pretrained(folder / "weights/pipeline", safe_serialization=True)


class _VAELoss:
    def __init__(self, vae: Any, pixels: Any) -> None:
        self.vae, self.pixels = vae, pixels

    def __call__(self, random: np.random.Generator) -> Any:
        import torch

        batch = self.pixels[torch.from_numpy(random.integers(len(self.pixels), size=16))]
        posterior = self.vae.encode(batch).latent_dist
        decoded = self.vae.decode(posterior.sample()).sample
        return (decoded - batch).abs().mean() + (decoded - batch).square().mean() + 1e-5 * posterior.kl().mean()


class _DecoderLoss:
    """The decoder's error on latents that stay as they are, so that nothing else has to be trained again."""

    def __init__(self, vae: Any, pixels: Any, latents: Any) -> None:
        self.vae, self.pixels, self.latents = vae, pixels, latents

    def __call__(self, random: np.random.Generator) -> Any:
        import torch

        rows = torch.from_numpy(random.integers(len(self.pixels), size=16))
        off = self.vae.decode(self.latents[rows]).sample - self.pixels[rows]
        return off.abs().mean() + off.square().mean()


class _CLIPLoss:
    def __init__(self, clip: Any, pixels: Any, ids: Any) -> None:
        self.clip, self.pixels, self.ids = clip, pixels, ids

    def __call__(self, random: np.random.Generator) -> Any:
        import torch

        rows = torch.from_numpy(random.integers(len(self.pixels), size=64))
        similarity = self.clip(input_ids=self.ids[rows], pixel_values=self.pixels[rows]).logits_per_image
        # Two pictures of one caption are both right.
        same = (self.ids[rows][:, None] == self.ids[rows][None]).all(2).float()
        target = same / same.sum(1, keepdim=True)
        cross = torch.nn.functional.cross_entropy
        return (cross(similarity, target) + cross(similarity.T, target)) / 2


class _TextLoss:
    """How well the state at the end of a caption foretells the latents: their mean over all pictures of it."""

    def __init__(self, text_encoder: Any, head: Any, latents: Any, ids: Any) -> None:
        self.text_encoder, self.head, self.latents, self.ids = text_encoder, head, latents.flatten(1), ids

    def __call__(self, random: np.random.Generator) -> Any:
        import torch

        rows = torch.from_numpy(random.integers(len(self.ids), size=128))
        return (self.head(self.text_encoder(self.ids[rows]).pooler_output) - self.latents[rows]).square().mean()


class _DiffusionLoss:
    """Mean squared error of the predicted v; a tenth of the captions is left out, for guidance."""

    def __init__(self, unet: Any, text_encoder: Any, scheduler: Any, latents: Any, ids: Any, empty: Any) -> None:
        self.unet, self.text_encoder, self.scheduler = unet, text_encoder, scheduler
        self.latents, self.ids, self.empty = latents, ids, empty

    def __call__(self, random: np.random.Generator) -> Any:
        import torch

        rows = torch.from_numpy(random.integers(len(self.latents), size=64))
        clean = self.latents[rows]
        ids = torch.where(torch.rand(len(rows), 1) < 0.1, self.empty, self.ids[rows])
        noise = torch.randn_like(clean)
        steps = torch.randint(self.scheduler.config.num_train_timesteps, (len(rows),))
        noisy = self.scheduler.add_noise(clean, noise, steps)
        target = self.scheduler.get_velocity(clean, noise, steps)
        states = self.text_encoder(ids).last_hidden_state
        return (self.unet(noisy, steps, states).sample - target).square().mean()


def _tokenize(tokenizer: Any, captions: list[str]) -> Any:
    return tokenizer(captions, padding="max_length", max_length=models.TOKENS, return_tensors="pt").input_ids


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=12_000)
    for name, default in STEPS.items():
        parser.add_argument(f"--{name}-steps", type=int, default=default)
    parser.add_argument("--only", choices=("decoder", "unet", "clip"))
    options = vars(parser.parse_args())
    steps = {name: options.pop(f"{name}_steps") for name in STEPS}
    print(json.dumps({"weights": str(make(options.pop("folder"), steps=steps, **options))}))


if __name__ == "__main__":
    main()
