"""Learned numbers that stay where they mean something."""

import math

import torch
from torch import Tensor, nn

_LEAST = 1e-3


class Share(nn.Module):
    """One learned weight of a mixture: in (0, 1) by a sigmoid, or any number where not constrained."""

    def __init__(self, start: float, *, constrain: bool) -> None:
        super().__init__()
        self.constrain = constrain
        self.raw = nn.Parameter(torch.tensor(math.log(start / (1 - start)) if constrain else start))

    def forward(self) -> Tensor:
        """Return the weight."""
        return torch.sigmoid(self.raw) if self.constrain else self.raw


class Positive(nn.Module):
    """Learned positive numbers, by a softplus above 0.001; any numbers where not constrained."""

    def __init__(self, count: int, start: float, *, constrain: bool) -> None:
        super().__init__()
        self.constrain = constrain
        self.raw = nn.Parameter(torch.full((count,), math.log(math.expm1(start - _LEAST)) if constrain else start))

    def forward(self) -> Tensor:
        """Return the numbers."""
        return nn.functional.softplus(self.raw) + _LEAST if self.constrain else self.raw
