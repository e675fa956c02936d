"""The equations of :mod:`auscult.core.kernels.channel_gru`, channel by channel and step by step."""

from collections.abc import Sequence

import torch


def channel_gru_reference(
    inputs: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias_ih: torch.Tensor,
    bias_hh: torch.Tensor,
    mask: torch.Tensor | None,
    widths: Sequence[int],
) -> torch.Tensor:
    """Return the states [B, T, F, C]; arguments as in :func:`auscult.core.kernels.channel_gru.channel_gru`."""
    batch, steps, _ = inputs.shape
    channels = []
    for f, x in enumerate(inputs.split(list(widths), dim=2)):
        w_r, w_z, w_n = weight_ih[f, :, : widths[f]].chunk(3)
        u_r, u_z, u_n = weight_hh[f].chunk(3)
        b_r, b_z, b_n = bias_ih[f].chunk(3)
        c_r, c_z, c_n = bias_hh[f].chunk(3)
        h = inputs.new_zeros(batch, weight_hh.shape[2])
        states = []
        for t in range(steps):
            r = torch.sigmoid(x[:, t] @ w_r.T + b_r + h @ u_r.T + c_r)
            z = torch.sigmoid(x[:, t] @ w_z.T + b_z + h @ u_z.T + c_z)
            n = torch.tanh(x[:, t] @ w_n.T + b_n + r * (h @ u_n.T + c_n))
            new = (1 - z) * n + z * h
            h = new if mask is None else torch.where(mask[:, t, f, None], new, h)
            states.append(h)
        channels.append(torch.stack(states, dim=1))
    return torch.stack(channels, dim=2)
