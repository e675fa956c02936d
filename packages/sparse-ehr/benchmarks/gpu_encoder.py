"""The encoder on a CUDA device, forward and backward, against the loop over modules and against the memory floor.

Not part of ``nox -s bench``, which runs on a CPU: ``python gpu_encoder.py`` on a machine with a CUDA device, Triton and
the CUDA build of torch. The floor is the time that the device's memory needs for the bytes that no implementation can
avoid, at the rate of a plain copy measured in the same run: states written once in the forward pass; states and their
gradient read, and the states' recomputation kept on chip, in the backward pass.
"""

import argparse

import torch
from bench_encoder import STEPS, make
from rows import measure, store, to_rows
from torch import Tensor, nn

from auscult.core.kernels.channel_gru import channel_gru
from auscult.sparse_ehr.nn.encoder import ChannelGRU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=1024)
    parser.add_argument("--variables", type=int, default=61)
    parser.add_argument("--channel", type=int, default=64)
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device: run this where torch.cuda.is_available()")
    batch, features, channel = chosen.patients, chosen.variables, chosen.channel
    loop, ours = make(batch, features, channel, device="cuda")
    kernel = make_kernel(batch, features, channel)
    name = f"encoder forward and backward, B={batch} T={STEPS} F={features} C={channel}, float32, CUDA"
    rows = measure(
        name, {"loop over nn.GRU": loop, "channel_gru, torch": ours, "channel_gru, Triton": kernel},
        repeats=20, wait=torch.cuda.synchronize,
    )  # fmt: skip
    states = batch * STEPS * features * channel * 4
    floor = 3 * states / copy_rate()
    for row in rows[1:]:
        values = {"memory floor": [floor], row["provider"]: [float(row["p50"])]}
        rows += to_rows(f"{name}, against the floor", "time", "s", values, note="3 passes over the states, 1 to write")[
            1:
        ]
    store(rows)


def make_kernel(batch: int, features: int, channel: int) -> object:
    """Return a pass of the Triton kernel, after a check that it agrees with the torch formula."""
    torch.manual_seed(0)
    module = ChannelGRU([1] * features, channel).to("cuda")
    values = torch.randn(batch, STEPS, features, device="cuda")
    gradient = torch.randn(batch, STEPS, features, channel, device="cuda")
    parameters = (module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh)

    def forward(implementation: str) -> Tensor:
        return channel_gru(values, *parameters, implementation=implementation)

    with torch.no_grad():
        torch.testing.assert_close(forward("triton"), forward("torch"), rtol=1e-3, atol=1e-3)

    def run() -> None:
        nn.Module.zero_grad(module, set_to_none=True)
        forward("triton").backward(gradient)

    return run


def copy_rate() -> float:
    """Return bytes a second that a copy reads and writes."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    target.copy_(source)
    start.record()
    for _ in range(20):
        target.copy_(source)
    end.record()
    torch.cuda.synchronize()
    return 20 * 2 * source.numel() * 4 / (start.elapsed_time(end) / 1000)


if __name__ == "__main__":
    main()
