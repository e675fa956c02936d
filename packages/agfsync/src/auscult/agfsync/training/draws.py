"""The random part of a training step: timestep, noise and latents of each pair, from a seed alone.

A draw depends on the run's seed, the pair and the draw's number, and on nothing else: not on the batch, its
order, the device or what was drawn before. So a batch may be cut anywhere, a run may resume anywhere, and the
reference's errors can be computed before training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auscult.core.device import derive_seed
from auscult.core.errors import InputError


@dataclass(frozen=True)
class Noised:
    """A batch of B pairs made noisy: rows 0 to B-1 are the preferred images, B to 2B-1 the others.

    Attributes
    ----------
    noisy, target
        (2B, C, h, w): what the network sees, and what it has to predict.
    timesteps
        (2B,); both halves are equal.
    noise
        (2B, C, h, w); both halves are equal.
    """

    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    noise: Tensor


def noise_pairs(
    batch: dict[str, Tensor],
    numbers: Sequence[int],
    scheduler: Any,
    *,
    seed: int,
    timestep_set: Sequence[int] = (),
    sample_latents: bool = True,
) -> Noised:
    """Draw timestep, noise and latents for every pair of a batch.

    Parameters
    ----------
    batch
        ``pair`` (B,) and ``mean_w``, ``std_w``, ``mean_l``, ``std_l`` (B, C, h, w).
    numbers
        (B,) the number of the draw of each pair.
    scheduler
        A scheduler of diffusers: its ``alphas_cumprod`` and ``config.prediction_type`` count, not how it samples.
    seed
        Of the run.
    timestep_set
        The only timesteps to draw; all if empty.
    sample_latents
        Whether to draw from the posterior or take its mean.
    """
    mean_w, mean_l = batch["mean_w"], batch["mean_l"]
    total = scheduler.config.num_train_timesteps
    if any(step >= total for step in timestep_set):
        raise InputError(
            f"timestep_set has {max(timestep_set)}, but the schedule ends at {total - 1}: use smaller ones"
        )
    steps, noises, samples = [], [], []
    for pair, number in zip(batch["pair"].tolist(), numbers, strict=True):
        source = torch.Generator().manual_seed(derive_seed(seed, "draw", pair, number))
        step = int(torch.randint(len(timestep_set) or total, (), generator=source))
        steps.append(timestep_set[step] if timestep_set else step)
        noises.append(torch.randn(mean_w.shape[1:], generator=source))
        if sample_latents:
            samples.append(torch.randn(2, *mean_w.shape[1:], generator=source))
    clean_w, clean_l = mean_w, mean_l
    if sample_latents:
        drawn = torch.stack(samples, 1).to(mean_w)
        clean_w, clean_l = mean_w + batch["std_w"] * drawn[0], mean_l + batch["std_l"] * drawn[1]
    clean = torch.cat([clean_w, clean_l])
    noise = torch.stack(noises).to(mean_w).repeat(2, 1, 1, 1)
    timesteps = torch.tensor(steps, device=mean_w.device).repeat(2)
    return Noised(*_noisy_and_target(scheduler, clean, noise, timesteps), timesteps, noise)


def _noisy_and_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the network sees and what it has to predict, by the schedule's kind."""
    if not hasattr(scheduler, "alphas_cumprod"):
        raise InputError(
            f"{type(scheduler).__name__} has no alphas_cumprod: the trainer takes schedules of SD and SDXL; "
            "for flow matching, use diffusion_dpo_loss with noise minus latents as the target"
        )
    # By the schedule's own abar: a sampler such as Euler's has an add_noise in other units than the network's input.
    kept = scheduler.alphas_cumprod.to(clean)[timesteps].reshape(-1, 1, 1, 1)
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noisy, noise
    if kind == "v_prediction":
        return noisy, kept.sqrt() * noise - (1 - kept).sqrt() * clean
    if kind == "sample":
        return noisy, clean
    raise InputError(f"the schedule predicts {kind!r}: epsilon, v_prediction and sample are known")
