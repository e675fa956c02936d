"""The Triton kernels of :mod:`auscult.core.kernels.paired_error` (not measured on CUDA).

A program reduces one block of one row; the few partial sums of a row are added afterwards, always in one order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096


@triton.jit
def _forward_kernel(policy, reference, target, errors, differences, n, blocks, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    element = block * BLOCK + tl.arange(0, BLOCK)
    ok = element < n
    at = row * n + element
    p = tl.load(policy + at, mask=ok, other=0.0).to(tl.float32)
    r = tl.load(reference + at, mask=ok, other=0.0).to(tl.float32)
    t = tl.load(target + at, mask=ok, other=0.0).to(tl.float32)
    off = p - t
    apart = p - r
    tl.store(errors + row * blocks + block, tl.sum(off * off))
    tl.store(differences + row * blocks + block, tl.sum(apart * (2.0 * off - apart)))


@triton.jit
def _backward_kernel(policy, target, grad, result, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    element = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ok = element < n
    at = row * n + element
    p = tl.load(policy + at, mask=ok, other=0.0).to(tl.float32)
    t = tl.load(target + at, mask=ok, other=0.0).to(tl.float32)
    scale = tl.load(grad + row) * 2.0 / n
    tl.store(result + at, ((p - t) * scale).to(result.dtype.element_ty), mask=ok)


def forward(policy: Tensor, reference: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return error [N] and difference [N] in float32."""
    rows, n = policy.shape[0], policy[:1].numel()
    blocks = triton.cdiv(n, _BLOCK)
    parts = torch.empty(2, rows, blocks, dtype=torch.float32, device=policy.device)
    if rows:
        _forward_kernel[(rows, blocks)](
            policy.contiguous(),
            reference.contiguous(),
            target.contiguous(),
            parts[0],
            parts[1],
            n,
            blocks,
            BLOCK=_BLOCK,
        )
    error, difference = parts.sum(2) / n
    return error.clone(), difference.clone()


def backward(policy: Tensor, target: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient with respect to the policy, in its type."""
    rows, n = policy.shape[0], policy[:1].numel()
    result = torch.empty_like(policy, memory_format=torch.contiguous_format)
    if rows:
        _backward_kernel[(rows, triton.cdiv(n, _BLOCK))](
            policy.contiguous(), target.contiguous(), grad.float().contiguous(), result, n, BLOCK=_BLOCK
        )
    return result
