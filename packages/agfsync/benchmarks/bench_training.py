"""Pairs per second and peak memory of Diffusion-DPO on the CPU: the usual loop, and ours with and without its cache.

Seconds are those that the process worked, on one thread, so that other jobs of the machine do not count.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rows import store, to_rows
from setups import Setup, clean_up, make_trainer, naive, ours

from auscult.agfsync.shapes import models
from auscult.core.testing.benchmark import load

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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--unet", choices=("tiny", "mid"), nargs="+", default=["tiny", "mid"])
    parser.add_argument("--part", choices=("speed", "memory"), nargs="+", default=["speed", "memory"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name in chosen.unet:
        if "speed" in chosen.part:
            found += speed(name, 2 if chosen.quick else chosen.steps, 1 if chosen.quick else chosen.repeats)
        if "memory" in chosen.part:
            found += memory(name)
    if not chosen.quick:
        store(found)


def speed(name: str, steps: int, repeats: int) -> list[dict[str, str]]:
    """Return rows of pairs per second; the ways of doing a step take turns."""
    setup = setup_of(name)
    runs = {
        "naive loop": naive(setup, steps),
        "agfsync, reference pass in the loop": ours(setup, steps),
        "agfsync, cached reference errors": ours(setup, steps, ref_draws=4, precompute_ref_log_probs=True),
    }
    for run in runs.values():
        run()
    note = f"LoRA rank 16, batch of {setup.batch} pairs, {setup.resolution} px, float32, {steps} steps, {load()}"
    values: dict[str, list[float]] = {provider: [] for provider in runs}
    for _ in range(repeats):
        for provider, run in runs.items():
            values[provider].append(run())
    clean_up(*runs.values())
    title, metric = f"training, {name} UNet, CPU", "pairs per second of one core"
    cached = {key: values[key] for key in list(values)[1:]}
    return [
        *to_rows(title, metric, "1/s", values, note=note),
        *to_rows(f"{title}, by reference cache", metric, "1/s", cached, note=note),
    ]


def memory(name: str) -> list[dict[str, str]]:
    """Return rows of the peak that two steps add, each way in a process of its own."""
    names = {"full": "full fine-tuning", "lora": "LoRA", "split": "LoRA, split backward"}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        peaks = {label: [pool.submit(peak, kind, name).result()] for kind, label in names.items()}
    return to_rows(f"training, {name} UNet, CPU", "peak memory added by two steps", "MB", peaks)


if __name__ == "__main__":
    main()
