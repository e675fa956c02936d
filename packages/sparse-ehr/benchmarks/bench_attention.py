"""Calibrated attention in its cheap form against the form as released, tiled to [B, T F, T F]."""

import argparse
import math
from collections.abc import Callable

import torch
from rows import measure, store
from torch import Tensor

from auscult.sparse_ehr.nn.attention import CalibratedAttention
from auscult.sparse_ehr.nn.config import PrismConfig

SHAPES = ((2, 48, 37, 16), (8, 48, 37, 16))  # patients, steps, features, width of a state: where both run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small shape, nothing stored: does it run?")
    quick = parser.parse_args().quick
    rows = []
    for shape in [(2, 5, 3, 4)] if quick else SHAPES:
        batch, steps, features, channel = shape
        tiled, ours = make(*shape)
        rows += measure(
            f"calibrated attention forward and backward, B={batch} T={steps} F={features} C={channel}, float32, CPU",
            {"tiled, as released": tiled, "cheap form": ours}, repeats=3 if quick else 9, seconds=90,
        )  # fmt: skip
    if not quick:
        store(rows)


def make(batch: int, steps: int, features: int, channel: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a pass of either form with the same weights, after a check that both agree."""
    torch.manual_seed(0)
    config = PrismConfig.released((1,) * features, channel=channel)
    module = CalibratedAttention(config)
    states = torch.randn(batch, steps, features, channel)
    tau, never = torch.rand(batch, steps, features), torch.rand(batch, steps, features) < 0.3
    rate, valid = torch.rand(features), torch.ones(batch, steps, dtype=torch.bool)

    def run_tiled(states: Tensor) -> Tensor:
        """Repeat the rows of the attention for every step, transpose, and multiply with all values (section 4.4)."""
        tokens = steps * features
        query, key, value = module.query(states[:, -1]), module.key(states), module.value(states)
        scores = query @ key.reshape(batch, tokens, channel).transpose(1, 2) / math.sqrt(channel)
        attention = scores.softmax(2)
        received = attention.mean(1).view(batch, steps, features)
        sure = module.confidence(received, tau, never, rate, torch.tensor(1.0))
        mu = module.mu()
        calibrated = mu * sure.view(batch, 1, tokens) + (1 - mu) * attention
        tiled = calibrated.repeat(1, steps, 1)
        return states + (tiled.transpose(1, 2) @ value.reshape(batch, tokens, channel)).view(states.shape)

    def run_ours(states: Tensor) -> Tensor:
        calibrated: Tensor = module(states, tau, never, rate, valid)[0]
        return calibrated

    torch.testing.assert_close(run_ours(states), run_tiled(states), rtol=1e-4, atol=1e-4)

    def step(forward: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            module.zero_grad(set_to_none=True)
            leaf = states.clone().requires_grad_()
            forward(leaf).square().mean().backward()

        return run

    return step(run_tiled), step(run_ours)


if __name__ == "__main__":
    main()
