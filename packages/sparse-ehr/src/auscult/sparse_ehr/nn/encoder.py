"""Encoders: an affine map for each static value, a GRU of its own for each dynamic variable."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auscult.core.kernels.channel_gru import channel_gru


class ChannelGRU(nn.Module):
    """Independent one-layer GRUs, one a variable, as :func:`auscult.core.kernels.channel_gru.channel_gru`.

    Parameters
    ----------
    widths
        Input columns of each variable.
    hidden
        Width C of each state.
    """

    def __init__(self, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.widths = list(widths)
        count, bound = len(self.widths), 1 / math.sqrt(hidden)
        shapes = ((count, 3 * hidden, max(self.widths)), (count, 3 * hidden, hidden), (count, 3 * hidden))
        uniform = [nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) for shape in (*shapes, shapes[2])]
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = uniform

    def forward(self, values: Tensor, *, mask: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        """Return the states [B, T, F, C] of columns [B, T, sum of widths]; a masked step keeps the state."""
        parameters = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return channel_gru(values, *parameters, widths=self.widths, mask=mask, length=length)


class StaticEncoder(nn.Module):
    """One affine map from a number to C for each of S static values."""

    def __init__(self, count: int, channel: int) -> None:
        super().__init__()
        # As nn.Linear(1, channel) starts.
        self.weight = nn.Parameter(torch.empty(count, channel).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(count, channel).uniform_(-1, 1))

    def forward(self, static: Tensor) -> Tensor:
        """Return [B, S, C]."""
        return static[..., None] * self.weight + self.bias
