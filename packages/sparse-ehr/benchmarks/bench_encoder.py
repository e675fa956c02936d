"""The encoder's forward and backward pass against a Python loop over F ``nn.GRU`` modules."""

import argparse
from collections.abc import Callable

import torch
from rows import measure, store
from torch import Tensor, nn

from auscult.sparse_ehr.nn.encoder import ChannelGRU

STEPS = 48
SHAPES = ((64, 37, 16), (256, 37, 16), (1024, 61, 64))  # patients, variables, width of a state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small shape, nothing stored: does it run?")
    quick = parser.parse_args().quick
    rows = []
    for batch, features, channel in [(4, 3, 8)] if quick else SHAPES:
        loop, ours = make(batch, features, channel)
        rows += measure(
            f"encoder forward and backward, B={batch} T={STEPS} F={features} C={channel}, float32, CPU",
            {"loop over nn.GRU": loop, "channel_gru": ours}, repeats=3 if quick else 9, seconds=90,
        )  # fmt: skip
    if not quick:
        store(rows)


def make(batch: int, features: int, channel: int, device: str = "cpu") -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a pass of the loop and one of ours, with the same weights, after a check that both agree."""
    torch.manual_seed(0)
    ours = ChannelGRU([1] * features, channel).to(device)
    modules = nn.ModuleList(nn.GRU(1, channel, batch_first=True) for _ in range(features)).to(device)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for f, module in enumerate(modules):
            for name in names:
                getattr(module, f"{name}_l0").copy_(getattr(ours, name)[f])
    values = torch.randn(batch, STEPS, features, device=device)
    gradient = torch.randn(batch, STEPS, features, channel, device=device)

    def run_loop() -> Tensor:
        return torch.stack([module(values[:, :, f : f + 1])[0] for f, module in enumerate(modules)], dim=2)

    def step(forward: Callable[[], Tensor], parts: nn.Module) -> Callable[[], None]:
        def run() -> None:
            parts.zero_grad(set_to_none=True)
            forward().backward(gradient)

        return run

    both = step(run_loop, modules), step(lambda: ours(values), ours)
    with torch.no_grad():
        torch.testing.assert_close(ours(values), run_loop(), rtol=1e-4, atol=1e-5)
    for run in both:
        run()
    expected = torch.stack([module.weight_hh_l0.grad for module in modules])
    scale = expected.abs().max().item()
    torch.testing.assert_close(ours.weight_hh.grad, expected, rtol=1e-3, atol=1e-4 * scale)
    return both


if __name__ == "__main__":
    main()
