"""The plain-torch formulas of :mod:`auscult.core.kernels.confident_similarity`, and their gradients."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Pairs in a tile: 16 MiB of float32.
_PAIRS = 1 << 22


def similarity(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor) -> Tensor:
    """Return the similarity [N, M]."""
    distance, doubt = _terms(*_prepare(x, c, y, d))
    return x.shape[1] / ((1 - zeta) * distance + zeta * doubt)


def similarity_gradient(
    grad: Tensor, x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, c, y, d and zeta, given that of the similarity [N, M]."""
    x, u, y, w = _prepare(x, c, y, d)
    distance, doubt = _terms(x, u, y, w)
    total = (1 - zeta) * distance + zeta * doubt
    slope = grad * (-x.shape[1] / (total * total))
    near = 2 * (1 - zeta)
    d_x = near * (slope.sum(1, keepdim=True) * x - slope @ y)
    d_y = near * (slope.sum(0)[:, None] * y - slope.T @ x)
    d_c = -zeta * u * (slope @ w)
    d_d = -zeta * w * (slope.T @ u)
    return d_x, d_c, d_y, d_d, (slope * (doubt - distance)).sum().reshape(zeta.shape)


def most_similar(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest similarities [N, k] and whose they are, tile by tile."""
    best = x.new_full((x.shape[0], k), -torch.inf)
    index = torch.zeros(x.shape[0], k, dtype=torch.int64, device=x.device)
    for rows, columns in _tiles(x.shape[0], y.shape[0]):
        found = similarity(x[rows], c[rows], y[columns], d[columns], zeta)
        value, place = found.topk(min(k, found.shape[1]), dim=1)
        place = torch.cat([index[rows], place + columns.start], 1)
        best[rows], order = torch.cat([best[rows], value], 1).topk(k, dim=1)
        index[rows] = place.gather(1, order)
    return best, index


def similarity_pool(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor) -> Tensor:
    """Return the mean of values [M, V] by the softmax of the similarity; the softmax's sums run along."""
    result = values.new_empty(x.shape[0], values.shape[1])
    for rows, columns in _tiles(x.shape[0], y.shape[0]):
        found = similarity(x[rows], c[rows], y[columns], d[columns], zeta)
        if columns.start == 0:
            top, total = found.new_full((len(found), 1), -torch.inf), found.new_zeros(len(found), 1)
            pooled = found.new_zeros(len(found), values.shape[1])
        higher = torch.maximum(top, found.amax(1, keepdim=True))
        old, weight = torch.exp(top - higher), torch.exp(found - higher)
        total, pooled = total * old + weight.sum(1, keepdim=True), pooled * old + weight @ values[columns]
        top = higher
        if columns.stop == y.shape[0]:
            result[rows] = pooled / total
    return result


def similarity_pool_gradient(
    grad: Tensor, x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, c, y, d, zeta and values; tiles are whole rows here."""
    parts = [torch.zeros_like(tensor) for tensor in (x, c, y, d, zeta, values)]
    height = max(1, _PAIRS // max(1, y.shape[0]))
    for start in range(0, x.shape[0], height):
        rows = slice(start, min(start + height, x.shape[0]))
        weight = similarity(x[rows], c[rows], y, d, zeta).softmax(1)
        d_weight = grad[rows] @ values.T
        d_similarity = weight * (d_weight - (weight * d_weight).sum(1, keepdim=True))
        found = similarity_gradient(d_similarity, x[rows], c[rows], y, d, zeta)
        parts[0][rows], parts[1][rows] = found[0], found[1]
        for part, more in zip(parts[2:], (*found[2:], weight.T @ grad[rows]), strict=True):
            part += more
    return parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]


def _prepare(x: Tensor, c: Tensor, y: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centred x, exp(1 - c), centred y, exp(1 - d)."""
    middle = y.mean(0)
    return x - middle, torch.exp(1 - c), y - middle, torch.exp(1 - d)


def _terms(x: Tensor, u: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distances and the products of doubts, [N, M] each."""
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2).clamp_min(0), u @ w.T


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield tiles, all columns of a band of rows before the next band."""
    wide = min(max(columns, 1), 4096)
    high = max(1, _PAIRS // wide)
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            yield slice(top, min(top + high, rows)), slice(left, min(left + wide, columns))
