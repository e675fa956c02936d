"""The formula of :mod:`auscult.core.kernels.confident_similarity`, with every difference written out."""

import torch
from torch import Tensor


def confident_similarity_reference(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor) -> Tensor:
    """Return the similarity [N, M] of rows x [N, F] and y [M, F] with confidences c and d."""
    distance = (x[:, None] - y[None]) ** 2
    doubt = torch.exp(1 - c[:, None]) * torch.exp(1 - d[None])
    return 1 / ((1 - zeta) * distance + zeta * doubt).mean(dim=2)


def most_similar_reference(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest similarities of each row of x, and whose they are."""
    similarity, index = confident_similarity_reference(x, c, y, d, zeta).sort(dim=1, descending=True, stable=True)
    return similarity[:, :k], index[:, :k]


def similarity_pool_reference(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor) -> Tensor:
    """Return the mean [N, V] of values [M, V], weighted by the softmax of the similarity."""
    return confident_similarity_reference(x, c, y, d, zeta).softmax(dim=1) @ values
