"""The usual Diffusion-DPO step, as a baseline: everything in the loop, nothing kept.

Text encoder and VAE run in every step, and winner and loser go through policy and reference one after the other:
four calls of the UNet. It is fixed: a change here would move the yardstick.
"""

from typing import Any

import torch
from torch.nn import functional


def naive_step(
    unet: Any,
    reference: Any,
    pipeline: Any,
    optimizer: Any,
    pixels_w: Any,
    pixels_l: Any,
    captions: list[str],
    beta: float,
) -> float:
    """Do one optimisation step on a batch of pairs and return its loss."""
    scheduler = pipeline.scheduler
    with torch.no_grad():
        embeds = pipeline.encode_prompt(captions, unet.device, 1, False)[0].to(unet.dtype)
        scale = pipeline.vae.config.scaling_factor
        latents = [pipeline.vae.encode(pixels).latent_dist.sample() * scale for pixels in (pixels_w, pixels_l)]
    noise = torch.randn_like(latents[0])
    t = torch.randint(scheduler.config.num_train_timesteps, (len(captions),), device=noise.device)
    errors = []
    for clean in latents:
        noisy = scheduler.add_noise(clean, noise, t)
        target = (
            scheduler.get_velocity(clean, noise, t) if scheduler.config.prediction_type == "v_prediction" else noise
        )
        policy = functional.mse_loss(unet(noisy, t, embeds).sample.float(), target.float(), reduction="none")
        with torch.no_grad():
            ref = functional.mse_loss(reference(noisy, t, embeds).sample.float(), target.float(), reduction="none")
        errors.append(policy.mean((1, 2, 3)) - ref.mean((1, 2, 3)))
    loss = -functional.logsigmoid(-0.5 * beta * (errors[0] - errors[1])).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in unet.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    return loss.item()
