"""Stage 6 as one job: pairs and a model in, a tuned model out; goes on from its last checkpoint."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from auscult.agfsync.config import CandidatesConfig, TrainConfig
from auscult.core.canonical import finite
from auscult.core.errors import AuscultError, InputError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
OTHERS = ("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "conv")
"""Layers of a diffusers UNet's blocks, by name."""


def train(
    pairs: Path, model: str, config: TrainConfig, folder: Path, *, seed: int, revision: str | None = None
) -> dict[str, Any]:
    """Tune a model on pairs.

    Parameters
    ----------
    pairs
        See :func:`auscult.agfsync.importing.read_pairs`.
    model
        The ID or folder of a pipeline of SD or SDXL, or ``shapes``.
    config
        Of the stage.
    folder
        Gets the cache, checkpoints, ``log.json``, and ``adapter/`` (for ``load_lora_weights``) or ``pipeline/``.
    seed
        Of the run.
    revision
        Of the model.

    Returns
    -------
    dict
        ``pairs, steps, export``, and the last means of loss, accuracy and margin.
    """
    import torch
    from diffusers import AutoPipelineForText2Image
    from transformers import PrinterCallback

    from auscult.agfsync.candidates import open_pipeline
    from auscult.agfsync.importing import read_pairs
    from auscult.agfsync.training.cache import cache_pairs
    from auscult.agfsync.training.export import save_adapter
    from auscult.agfsync.training.trainer import DiffusionDPOTrainer
    from auscult.core.device import choose_device, choose_dtype

    rows = read_pairs(pairs)
    device = choose_device(config.device)
    dtype = choose_dtype(device, config.dtype)
    pipeline = open_pipeline(model, revision, torch.float32, AutoPipelineForText2Image).to(device)
    resolution = config.resolution or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    data = cache_pairs(rows, pipeline, folder / "cache", resolution=resolution)
    if config.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    trainer = DiffusionDPOTrainer(
        pipeline.unet, args=_arguments(config, folder, device, dtype, seed), train_dataset=data,
        noise_scheduler=pipeline.scheduler, peft_config=adapter_config(config, seed) if config.lora_rank else None,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder)
    with _failed_writing(folder), progress("Training", config.steps) as advance:
        trainer.add_callback(_advancing(advance))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = trainer.state.log_history
    text = json.dumps(finite(history), indent=1)
    replace_atomically(folder / "log.json", lambda partial: partial.write_text(text, encoding="utf-8"))
    export = folder / ("adapter" if trainer.adapter else "pipeline")
    with _failed_writing(folder):
        if trainer.adapter:
            save_adapter(trainer.unet, export)
        else:
            pipeline.save_pretrained(export)
    lines = [line for line in history if "loss" in line]
    last = lines[-max(len(lines) // 5, 1) :]
    keys = ("loss", "rewards/accuracies", "rewards/margins", "errors/chosen_excess", "errors/rejected_excess")
    means = {key: sum(line[key] for line in last) / len(last) for key in keys} if last else {}
    return {
        "pairs": len(data),
        "steps": trainer.state.global_step,
        "export": export.name,
        "beta": trainer.beta,
        **means,
    }


def _arguments(config: TrainConfig, folder: Path, device: str, dtype: str, seed: int) -> Any:
    from auscult.agfsync.training.config import DiffusionDPOConfig

    return DiffusionDPOConfig(
        output_dir=str(folder), max_steps=config.steps, per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation, learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps, lr_scheduler_type="cosine", save_steps=config.save_steps,
        save_total_limit=2, logging_steps=max(config.steps // 50, 1), seed=seed, use_cpu=device == "cpu",
        bf16=dtype == "bfloat16", disable_tqdm=True, log_level="error", beta=config.beta, loss_type=config.loss_type,
        precompute_ref_log_probs=config.ref_draws > 0, ref_draws=config.ref_draws,
        split_backward=config.split_backward,
        timestep_set=list(config.timestep_set), guard_window=config.guard_window,
    )  # fmt: skip


@contextlib.contextmanager
def _failed_writing(folder: Path) -> Iterator[None]:
    """Turn what safetensors and torch raise where the system refuses to write into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, SafetensorError) or "PytorchStreamWriter" in reason or "inline_container" in reason:
            raise AuscultError(
                f"{folder} could not be written ({reason}): make room and start again; it goes on from its last "
                "checkpoint"
            ) from error
        raise


def _advancing(advance: Callable[[int], None]) -> Any:
    """Return a callback that moves a progress bar."""
    from transformers import TrainerCallback

    class Advancing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            advance(1)

    return Advancing()


def adapter_config(config: TrainConfig, seed: int) -> Any:
    """Return the ``LoraConfig`` of a training, and seed the numbers that the adapter starts from."""
    import torch
    from peft import LoraConfig

    torch.manual_seed(seed)
    return LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_rank, init_lora_weights="gaussian",
        target_modules=[*ATTENTION, *(OTHERS if config.lora_targets == "all" else ())],
    )  # fmt: skip


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, or None."""
    found = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").exists()]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def export_in(folder: Path) -> Path:
    """Return where the folder of a training has the tuned model."""
    for name in ("adapter", "pipeline"):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder} has neither adapter nor pipeline: train first")


def load_tuned(config: CandidatesConfig, folder: Path) -> Any:
    """Return what a training exported as plain diffusers loads it, ready to draw as the configuration's model does."""
    import torch
    from diffusers import AutoPipelineForText2Image

    from auscult.agfsync.candidates import add_adapter, open_pipeline, prepare
    from auscult.core.device import choose_device, choose_dtype

    device = choose_device(config.device)
    dtype = getattr(torch, choose_dtype(device, config.dtype))
    export = export_in(folder)
    if export.name == "pipeline":
        pipeline = open_pipeline(str(export), None, dtype, AutoPipelineForText2Image)
    else:
        pipeline = open_pipeline(config.model, config.revision, dtype, AutoPipelineForText2Image)
        add_adapter(pipeline, export)
    return prepare(pipeline.to(device, dtype), config)
