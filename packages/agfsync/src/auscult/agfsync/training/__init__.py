"""From preference pairs to a tuned model: cached latents, the Diffusion-DPO loss, its trainer, export."""
