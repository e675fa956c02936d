"""The Triton kernel of :mod:`auscult.core.kernels.target_nll` (not measured on CUDA).

A program holds a block of rows and goes over the vocabulary in tiles; no score reaches memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _WORDS, _FEATURES = 16, 64, 32


@triton.jit
def _row_kernel(
    hidden, weight, target, loss_at, total_at, R, V, D,
    ROWS: tl.constexpr, WORDS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    rows_ok = rows < R
    wanted = tl.load(target + rows, mask=rows_ok, other=0)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    chosen = tl.zeros((ROWS,), tl.float32)
    for start in range(0, V, WORDS):
        words = start + tl.arange(0, WORDS)
        words_ok = words < V
        scores = tl.zeros((ROWS, WORDS), tl.float32)
        for first in range(0, D, FEATURES):
            feature = first + tl.arange(0, FEATURES)
            feature_ok = feature < D
            at_row = rows.to(tl.int64)[:, None] * D + feature[None, :]
            at_word = words.to(tl.int64)[:, None] * D + feature[None, :]
            a = tl.load(hidden + at_row, mask=rows_ok[:, None] & feature_ok[None, :], other=0.0).to(tl.float32)
            b = tl.load(weight + at_word, mask=words_ok[:, None] & feature_ok[None, :], other=0.0).to(tl.float32)
            scores += tl.dot(a, tl.trans(b), input_precision="ieee")
        chosen += tl.sum(tl.where(words[None, :] == wanted[:, None], scores, 0.0), axis=1)
        scores = tl.where(words_ok[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(scores - higher[:, None]), axis=1)
        top = higher
    total = top + tl.log(total)
    tl.store(total_at + rows, total, mask=rows_ok)
    tl.store(loss_at + rows, total - chosen, mask=rows_ok)


def row_nll(hidden: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood [R] of each row, and the log of its softmax's sum, in float32."""
    loss = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    total = torch.empty_like(loss)
    if len(hidden):
        _row_kernel[(triton.cdiv(len(hidden), _ROWS),)](
            hidden.contiguous(), weight.contiguous(), target.contiguous(), loss, total, len(hidden), *weight.shape,
            ROWS=_ROWS, WORDS=_WORDS, FEATURES=_FEATURES,
        )  # fmt: skip
    return loss, total
