"""The models and data that the benchmarks of training share, and the ways of doing a step."""

import copy
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from naive_loop import naive_step
from peft import LoraConfig

from auscult.agfsync import DiffusionDPOConfig, DiffusionDPOTrainer, cache_pairs
from auscult.agfsync.images import encode_image

CAPTIONS = ("a red circle left of two blue squares", "two green triangles")


@dataclass(frozen=True)
class Setup:
    """A random-weight pipeline, a batch size and a resolution."""

    name: str
    pipeline: Any
    batch: int
    resolution: int
    device: str = "cpu"
    dtype: str = "float32"


def random_pairs(count: int, resolution: int) -> list[dict[str, Any]]:
    """Return pairs of noise pictures."""
    random = np.random.default_rng(0)
    return [
        {"caption": CAPTIONS[i % 2],
         **{f"{side}_jpg": encode_image(random.integers(0, 256, (resolution, resolution, 3), dtype=np.uint8), "png")
            for side in ("good", "bad")}}
        for i in range(count)
    ]  # fmt: skip


def lora() -> LoraConfig:
    """Return the adapter that all benchmarks train."""
    return LoraConfig(
        r=16, lora_alpha=16, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]
    )


def make_trainer(
    setup: Setup, folder: Path, *, adapter: bool = True, steps: int, **options: Any
) -> DiffusionDPOTrainer:
    """Return our trainer on cached pairs, with its reference errors computed where they are asked for."""
    from transformers import PrinterCallback

    data = cache_pairs(
        random_pairs(2 * setup.batch, setup.resolution), setup.pipeline, folder / "cache", resolution=setup.resolution
    )
    args = DiffusionDPOConfig(
        output_dir=str(folder / "out"), max_steps=steps, per_device_train_batch_size=setup.batch, beta=2000.0,
        use_cpu=setup.device == "cpu", disable_tqdm=True, log_level="error", save_strategy="no", logging_steps=10_000,
        bf16=setup.dtype == "bfloat16", **options,
    )  # fmt: skip
    unet = copy.deepcopy(setup.pipeline.unet)
    trainer = DiffusionDPOTrainer(
        unet,
        args=args,
        train_dataset=data,
        noise_scheduler=setup.pipeline.scheduler,
        peft_config=lora() if adapter else None,
    )
    trainer.remove_callback(PrinterCallback)
    if args.precompute_ref_log_probs:
        trainer.reference_errors = trainer._precompute()
    return trainer


def ours(setup: Setup, steps: int, **options: Any) -> Callable[[], float]:
    """Return a function that trains some steps and returns pairs per second."""
    folder = Path(tempfile.mkdtemp())
    trainer = make_trainer(setup, folder, steps=steps, **options)

    def run() -> float:
        begin = clock(setup)
        trainer.train()
        return setup.batch * steps / (clock(setup) - begin)

    run.folder = folder  # type: ignore[attr-defined]
    return run


def naive(setup: Setup, steps: int) -> Callable[[], float]:
    """Return the same for the usual loop."""
    pipeline = setup.pipeline
    reference = copy.deepcopy(pipeline.unet).requires_grad_(False).eval()
    unet = copy.deepcopy(pipeline.unet).requires_grad_(False)
    unet.add_adapter(lora())
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=1e-5)
    shape = (setup.batch, 3, setup.resolution, setup.resolution)
    pixels = [torch.rand(shape).mul(2).sub(1).to(pipeline.vae.device, pipeline.vae.dtype) for _ in range(2)]
    captions = [CAPTIONS[i % 2] for i in range(setup.batch)]

    def run() -> float:
        begin = clock(setup)
        with torch.autocast(setup.device.split(":")[0], torch.bfloat16, enabled=setup.dtype == "bfloat16"):
            for _ in range(steps):
                naive_step(unet, reference, pipeline, optimizer, *pixels, captions, 2000.0)
        return setup.batch * steps / (clock(setup) - begin)

    return run


def clean_up(*runs: Any) -> None:
    """Remove the caches that :func:`ours` made."""
    for run in runs:
        if hasattr(run, "folder"):
            shutil.rmtree(run.folder, ignore_errors=True)


def clock(setup: Setup) -> float:
    """Return seconds: of this process's own work on a CPU, whoever else is on it, else of the wall."""
    if setup.device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
