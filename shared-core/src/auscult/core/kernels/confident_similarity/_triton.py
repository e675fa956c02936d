"""The Triton kernels of :mod:`auscult.core.kernels.confident_similarity` (not measured on CUDA).

A program holds a block of rows and goes over all others in tiles; similarities never reach memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _OTHERS = 16, 64


@triton.jit
def _tile(x, u, y, w, zeta, rows, others, N, M, F, FEATURES: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr):
    """Return the similarities [rows, others] of a tile, minus infinity where there is no other."""
    rows_ok, others_ok = rows < N, others < M
    feature = tl.arange(0, FEATURES)
    distance = tl.zeros((ROWS, OTHERS), tl.float32)
    doubt = tl.zeros((ROWS, OTHERS), tl.float32)
    squares_x = tl.zeros((ROWS,), tl.float32)
    squares_y = tl.zeros((OTHERS,), tl.float32)
    for start in range(0, F, FEATURES):
        column = start + feature
        at_row = rows.to(tl.int64)[:, None] * F + column[None, :]
        at_other = others.to(tl.int64)[:, None] * F + column[None, :]
        row_ok = rows_ok[:, None] & (column < F)[None, :]
        other_ok = others_ok[:, None] & (column < F)[None, :]
        a = tl.load(x + at_row, mask=row_ok, other=0.0).to(tl.float32)
        b = tl.load(y + at_other, mask=other_ok, other=0.0).to(tl.float32)
        p = tl.load(u + at_row, mask=row_ok, other=0.0).to(tl.float32)
        q = tl.load(w + at_other, mask=other_ok, other=0.0).to(tl.float32)
        squares_x += tl.sum(a * a, axis=1)
        squares_y += tl.sum(b * b, axis=1)
        distance += tl.dot(a, tl.trans(b), input_precision="ieee")
        doubt += tl.dot(p, tl.trans(q), input_precision="ieee")
    distance = tl.maximum(squares_x[:, None] + squares_y[None, :] - 2.0 * distance, 0.0)
    total = (1.0 - zeta) * distance + zeta * doubt
    ok = rows_ok[:, None] & others_ok[None, :]
    return tl.where(ok, F / tl.where(ok, total, 1.0), float("-inf"))


@triton.jit
def _top_kernel(
    x, u, y, w, zeta_at, best_at, index_at, N, M, F, K,
    FEATURES: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    zeta = tl.load(zeta_at)
    slot = tl.arange(0, KEPT)
    # Slots beyond K are never the lowest.
    best = tl.where(slot[None, :] < K, float("-inf"), float("inf")) + tl.zeros((ROWS, KEPT), tl.float32)
    index = tl.zeros((ROWS, KEPT), tl.int64)
    for start in range(0, M, OTHERS):
        others = start + tl.arange(0, OTHERS)
        found = _tile(x, u, y, w, zeta, rows, others, N, M, F, FEATURES, ROWS, OTHERS)
        for _ in range(K):
            value = tl.max(found, axis=1)
            place = tl.argmax(found, axis=1)
            lowest = tl.argmin(best, axis=1)
            enters = value > tl.min(best, axis=1)
            here = (slot[None, :] == lowest[:, None]) & enters[:, None]
            best = tl.where(here, value[:, None], best)
            index = tl.where(here, (start + place).to(tl.int64)[:, None], index)
            found = tl.where(tl.arange(0, OTHERS)[None, :] == place[:, None], float("-inf"), found)
    at = rows.to(tl.int64)[:, None] * K + slot[None, :]
    ok = (rows < N)[:, None] & (slot < K)[None, :]
    tl.store(best_at + at, best, mask=ok)
    tl.store(index_at + at, index, mask=ok)


@triton.jit
def _pool_kernel(
    x, u, y, w, zeta_at, values, pooled_at, N, M, F, V,
    FEATURES: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    zeta = tl.load(zeta_at)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    pooled = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, M, OTHERS):
        others = start + tl.arange(0, OTHERS)
        found = _tile(x, u, y, w, zeta, rows, others, N, M, F, FEATURES, ROWS, OTHERS)
        found = tl.where((rows < N)[:, None], found, 0.0)
        higher = tl.maximum(top, tl.max(found, axis=1))
        old = tl.exp(top - higher)
        weight = tl.exp(found - higher[:, None])
        at = others.to(tl.int64)[:, None] * V + column[None, :]
        ok = (others < M)[:, None] & (column < V)[None, :]
        value = tl.load(values + at, mask=ok, other=0.0).to(tl.float32)
        total = total * old + tl.sum(weight, axis=1)
        pooled = pooled * old[:, None] + tl.dot(weight, value, input_precision="ieee")
        top = higher
    at = rows.to(tl.int64)[:, None] * V + column[None, :]
    tl.store(pooled_at + at, pooled / total[:, None], mask=(rows < N)[:, None] & (column < V)[None, :])


def most_similar(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest similarities [N, k], falling, and whose they are."""
    best = x.new_empty(x.shape[0], k, dtype=torch.float32)
    index = torch.empty(x.shape[0], k, dtype=torch.int64, device=x.device)
    if len(x):
        _top_kernel[(triton.cdiv(len(x), _ROWS),)](
            *_operands(x, c, y, d), zeta.float(), best, index, len(x), len(y), x.shape[1], k,
            FEATURES=32, ROWS=_ROWS, OTHERS=_OTHERS, KEPT=triton.next_power_of_2(k),
        )  # fmt: skip
    best, order = best.sort(dim=1, descending=True)
    return best.to(x.dtype), index.gather(1, order)


def similarity_pool(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor) -> Tensor:
    """Return the mean [N, V] of values, weighted by the softmax of the similarity."""
    pooled = x.new_empty(x.shape[0], values.shape[1])
    if pooled.numel():
        _pool_kernel[(triton.cdiv(len(x), _ROWS), triton.cdiv(values.shape[1], 32))](
            *_operands(x, c, y, d), zeta.float(), values.contiguous(), pooled, len(x), len(y), x.shape[1],
            values.shape[1], FEATURES=32, ROWS=_ROWS, OTHERS=_OTHERS, COLUMNS=32,
        )  # fmt: skip
    return pooled


def _operands(x: Tensor, c: Tensor, y: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    middle = y.mean(0)
    return (x - middle).contiguous(), torch.exp(1 - c).contiguous(), (y - middle).contiguous(), torch.exp(1 - d)
