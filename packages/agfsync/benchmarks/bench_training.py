"""Pairs per second and peak memory of Diffusion-DPO on the CPU: the usual loop, and ours with and without its cache."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rows import load, store, to_rows
from setups import Setup, clean_up, make_trainer, naive, ours

from auscult.agfsync.shapes import models

ACTIVATIONS_BATCH = 32


def setup_of(name: str) -> Setup:
    """Return a random-weight pipeline: ``tiny`` (the shapes world's sizes) or ``mid`` (64 pixels, 13 million)."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    vae, unet, side = models.make_vae(), models.make_unet(), 32
    if name == "mid":
        side = 128
        vae = AutoencoderKL(
            block_out_channels=(32, 64, 64, 64), layers_per_block=1, latent_channels=4, norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=16, block_out_channels=(64, 128, 192), layers_per_block=1, cross_attention_dim=96,
            attention_head_dim=4, norm_num_groups=16,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=models.make_text_encoder(), tokenizer=models.make_tokenizer(), unet=unet,
        scheduler=models.make_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return Setup(name, pipeline, 8 if name == "tiny" else 4, side)


def peak(kind: str, name: str) -> float:
    """Return the peak resident memory, in MB, that two steps add to a loaded trainer; in a process of its own."""
    import tempfile

    setup = setup_of(name)
    setup = Setup(setup.name, setup.pipeline, ACTIVATIONS_BATCH if name == "tiny" else 8, setup.resolution)
    options: dict[str, Any] = {"ref_draws": 2, "precompute_ref_log_probs": True}
    if kind == "split":
        options["split_backward"] = True
    trainer = make_trainer(setup, Path(tempfile.mkdtemp()), adapter=kind != "full", steps=2, **options)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    trainer.train()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps, nothing stored: does it run?")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    found = []
    for name in ("tiny", "mid"):
        setup = setup_of(name)
        steps = 2 if chosen.quick else 6
        runs = {
            "naive loop": naive(setup, steps),
            "agfsync, reference pass in the loop": ours(setup, steps),
            "agfsync, cached reference errors": ours(setup, steps, ref_draws=4, precompute_ref_log_probs=True),
        }
        for run in runs.values():
            run()
        note = f"LoRA rank 16, batch of {setup.batch} pairs, {setup.resolution} px, float32, {load()}"
        values: dict[str, list[float]] = {provider: [] for provider in runs}
        for _ in range(1 if chosen.quick else chosen.repeats):
            for provider, run in runs.items():
                values[provider].append(run())
        clean_up(*runs.values())
        found += to_rows(f"training, {name} UNet, CPU", "pairs per second", "1/s", values, note=note)
        cached = {key: values[key] for key in list(values)[1:]}
        found += to_rows(
            f"training, {name} UNet, CPU, by reference cache", "pairs per second", "1/s", cached, note=note
        )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            peaks = {kind: [pool.submit(peak, kind, name).result()] for kind in ("full", "lora", "split")}
        names = {"full": "full fine-tuning", "lora": "LoRA", "split": "LoRA, split backward"}
        found += to_rows(
            f"training, {name} UNet, CPU",
            "peak memory added by two steps",
            "MB",
            {names[k]: v for k, v in peaks.items()},
        )
    if not chosen.quick:
        store(found)


if __name__ == "__main__":
    main()
