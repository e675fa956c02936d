"""A training loop that writes a log and checkpoints, and goes on from its last checkpoint as if never stopped."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.device import generator

LossOfStep = Callable[[np.random.Generator], Any]


def fit(
    name: str,
    modules: dict[str, Any],
    loss_of_step: LossOfStep,
    *,
    folder: Path,
    steps: int,
    learning_rate: float,
    seed: int,
    decay: float = 0.995,
    every: int = 100,
) -> None:
    """Train modules in place and leave in them the moving average of their weights.

    A step draws its randomness from the seed, the name and its own number, so a run that was stopped goes on
    from its last checkpoint and ends with the weights of one that was not.

    Parameters
    ----------
    name
        Names the checkpoint and the lines of the log.
    modules
        Name -> ``torch.nn.Module``.
    loss_of_step
        From the step's randomness to the loss.
    folder
        Where ``<name>.pt`` and ``log.jsonl`` are.
    steps
        Their number; the rate rises over the first 100 and falls over the last third.
    learning_rate
        At its highest.
    decay
        Of the moving average.
    every
        Steps between two checkpoints and lines of the log.
    """
    import torch

    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    checkpoint = folder / f"{name}.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        start = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for kept, values in ((parameters, state["parameters"]), (average, state["average"])):
                for tensor, value in zip(kept, values, strict=True):
                    tensor.copy_(value)
    losses, began = [], time.perf_counter()
    for step in range(start, steps):
        rate = learning_rate * min(1.0, (step + 1) / 100, (steps - step) / (steps / 3))
        for group in optimizer.param_groups:
            group["lr"] = rate
        random = generator(seed, name, step)
        torch.manual_seed(int(random.integers(2**62)))
        loss = loss_of_step(random)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(decay, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == steps:
            line = {"stage": name, "step": step + 1, "loss": round(float(np.mean(losses)), 6), "rate": rate,
                    "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
            partial = checkpoint.with_suffix(".part")
            torch.save({"step": step + 1, "optimizer": optimizer.state_dict(),
                        "parameters": parameters, "average": average}, partial)  # fmt: skip
            os.replace(partial, checkpoint)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
