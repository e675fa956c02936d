"""What each key receives from all queries, a few patients at a time: the attention itself is never kept."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Attention of so many bytes at a time: on a CPU it stays in a cache.
_BLOCK = {"cpu": 2**20}
_LARGE_BLOCK = 2**29


def received_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor) -> Tensor:
    """Return [B, N, D]: the queries' values, weighed by how far each query attends to each of N keys.

    That is A' v for A = softmax(q k') over the valid keys. A, [B, Q, N], is made a block of patients at a time and
    again for the gradient, so memory does not grow with it, and the many passes over it stay in the cache.

    Parameters
    ----------
    query, key, value
        [B, Q, C], [B, N, C], [B, Q, D]; any scaling of the scores is in the query.
    valid
        Boolean [B, N], at least one True a patient; other keys receive nothing.
    """
    # Autocast would round the products inside.
    with torch.autocast(query.device.type, enabled=False):
        # A score of -1e30 rather than an infinite one, whose product with a zero gradient would be NaN.
        hidden = torch.where(valid, 0.0, -1e30).to(key.dtype)
        queries = torch.cat([query, query.new_ones(*query.shape[:2], 1)], dim=2)
        keys = torch.cat([key, hidden[..., None]], dim=2)
        received: Tensor = _ReceivedAttention.apply(queries, keys, value)  # type: ignore[no-untyped-call]
    return received


class _ReceivedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        out = value.new_empty(*key.shape[:2], value.shape[2])
        for rows in _blocks(query, key):
            attention = _attention(query[rows], key[rows])
            torch.bmm(attention.transpose(1, 2), value[rows], out=out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors
        to_query, to_key, to_value = map(torch.empty_like, (query, key, value))
        with torch.autocast(query.device.type, enabled=False):
            for rows in _blocks(query, key):
                q, k, v, g = query[rows], key[rows], value[rows], gradient[rows].contiguous()
                attention = _attention(q, k)
                torch.bmm(attention, g, out=to_value[rows])
                # The mean of the gradient under the attention, which softmax takes off.
                mean = (v * to_value[rows]).sum(2, keepdim=True)
                scores = torch.bmm(v, g.transpose(1, 2)).sub_(mean).mul_(attention)
                torch.bmm(scores, k, out=to_query[rows])
                torch.bmm(scores.transpose(1, 2), q, out=to_key[rows])
        return to_query, to_key, to_value


def _attention(query: Tensor, key: Tensor) -> Tensor:
    return torch.bmm(query, key.transpose(1, 2)).softmax(dim=2)


def _blocks(query: Tensor, key: Tensor) -> list[slice]:
    of_one = query.shape[1] * key.shape[1] * query.element_size()
    size = max(1, _BLOCK.get(query.device.type, _LARGE_BLOCK) // of_one)
    return [slice(start, start + size) for start in range(0, len(query), size)]
