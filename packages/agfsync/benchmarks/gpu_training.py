"""The benchmark of training on a CUDA device: a random-weight UNet of SD 1.5's shape at 512 px in bfloat16.

Not called bench_*: it needs a GPU of at least 24 GB, and no row of it is stored until it has run on one.
"""

import torch
from rows import store, to_rows
from setups import Setup, clean_up, naive, ours

from auscult.agfsync.shapes import models
from auscult.core.kernels.paired_error import paired_error
from auscult.core.kernels.paired_error.reference import paired_error_reference


def setup_sd15() -> Setup:
    """Return a pipeline of SD 1.5's sizes with random weights."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=models.make_tokenizer(), unet=unet, scheduler=models.make_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return Setup("SD 1.5", pipeline.to("cuda"), 4, 512, "cuda", "bfloat16")


def main() -> None:
    setup = setup_sd15()
    runs = {"naive loop": naive(setup, 10), "agfsync": ours(setup, 10, ref_draws=4, precompute_ref_log_probs=True)}
    values: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(6):
        for name, run in runs.items():
            torch.cuda.reset_peak_memory_stats()
            speed = run()
            if repeat:
                values[name].append(speed)
                peaks[name].append(torch.cuda.max_memory_allocated() / 1e6)
    clean_up(*runs.values())
    device = torch.cuda.get_device_name()
    found = to_rows("training, SD 1.5's shape, CUDA", "pairs per second", "1/s", values, note=device)
    found += to_rows("training, SD 1.5's shape, CUDA", "peak memory", "MB", peaks, note=device)
    arguments = [torch.randn(64, 4, 64, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    ways = {
        "plain formula": lambda: paired_error_reference(*arguments),
        "torch": lambda: paired_error(*arguments, implementation="torch"),
        "triton": lambda: paired_error(*arguments, implementation="triton"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(25):
        for name, way in ways.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            way()
            end.record()
            torch.cuda.synchronize()
            if repeat >= 5:
                times[name].append(begin.elapsed_time(end))
    floor = sum(tensor.numel() * tensor.element_size() for tensor in arguments) / 1e9
    found += to_rows(
        "paired_error, 64 x 4 x 64 x 64 bfloat16, CUDA", "time", "ms", times, note=f"{device}; reads {floor:.3f} GB"
    )
    store(found)


if __name__ == "__main__":
    main()
