"""The plain-torch formula of :mod:`auscult.core.kernels.target_nll`, band by band, and its gradient."""

from collections.abc import Iterator

import torch
from torch import Tensor

# A band of a small vocabulary stays in a processor's cache: 1 MiB of float32. One of a large vocabulary has rows enough
# for a fast product.
_SCORES, _ROWS = 1 << 18, 128


def row_nll(hidden: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood of each row [R] of hidden states [R, d], and the log of its softmax's sum."""
    loss = hidden.new_empty(len(hidden), dtype=wide(hidden))
    total = torch.empty_like(loss)
    for rows in bands(len(hidden), len(weight)):
        scores = (hidden[rows] @ weight.T).to(loss.dtype)
        wanted = target[rows][:, None]
        # On a CPU the fused log_softmax takes a half to a tenth of logsumexp's time.
        loss[rows] = -scores.log_softmax(dim=1).gather(1, wanted)[:, 0]
        total[rows] = loss[rows] + scores.gather(1, wanted)[:, 0]
    return loss, total


def row_nll_gradient(
    grad: Tensor, hidden: Tensor, weight: Tensor, target: Tensor, total: Tensor, need_weight: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of hidden states [R, d] and head [V, d]; the latter is empty where it is not needed."""
    d_hidden = torch.empty_like(hidden)
    d_weight = torch.zeros_like(weight, dtype=grad.dtype) if need_weight else grad.new_empty(0)
    for rows in bands(len(hidden), len(weight)):
        slope = ((hidden[rows] @ weight.T).to(grad.dtype) - total[rows][:, None]).exp_()
        slope[torch.arange(len(slope), device=slope.device), target[rows]] -= 1
        slope *= grad[rows][:, None]
        d_hidden[rows] = slope.to(weight.dtype) @ weight
        if need_weight:
            d_weight += slope.T @ hidden[rows].to(grad.dtype)
    return d_hidden, d_weight


def wide(tensor: Tensor) -> torch.dtype:
    """Return the type that sums run in."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def bands(rows: int, columns: int) -> Iterator[slice]:
    """Yield bands of rows."""
    height = max(_ROWS, _SCORES // max(1, columns))
    for start in range(0, rows, height):
        yield slice(start, min(start + height, rows))
