"""The operator of :mod:`auscult.core.kernels.paired_error`: checks, dispatch, shapes and gradient."""

from typing import Any

import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.core.kernels.dispatch import choose_implementation


def paired_error(
    policy: Tensor, reference: Tensor, target: Tensor, *, implementation: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Return the policy's mean squared error and its difference from the reference's, for each row.

    Parameters
    ----------
    policy, reference, target
        [N, ...], one shape: two predictions and what was to be predicted. Any floating-point types.
    implementation
        As for :func:`auscult.core.kernels.dispatch.choose_implementation`.

    Returns
    -------
    error, difference
        [N] each, in float32, or float64 where an argument is; differentiable with respect to ``policy`` alone.

    Raises
    ------
    InputError
        For shapes that differ, or rows without elements.

    Examples
    --------
    >>> import torch
    >>> policy, reference, target = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.0]]), torch.zeros(1, 2)
    >>> paired_error(policy, reference, target)
    (tensor([5.]), tensor([1.]))
    """
    shapes = [tuple(tensor.shape) for tensor in (policy, reference, target)]
    if len(set(shapes)) > 1 or policy.ndim < 2 or not policy[:1].numel():
        raise InputError(f"policy, reference and target have shapes {shapes}: give one shape [rows, elements, ...]")
    chosen = choose_implementation("paired_error", policy.device.type, implementation)
    result: tuple[Tensor, Tensor] = operator(policy, reference, target, chosen)
    return result


def _wide(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def _forward(policy: Tensor, reference: Tensor, target: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    wide = _wide(policy, reference, target)
    if implementation == "triton" and wide == torch.float32:
        from auscult.core.kernels.paired_error import _triton

        return _triton.forward(policy, reference, target)
    p, r, t = (tensor.to(wide).flatten(1) for tensor in (policy, reference, target))
    off = p - t
    # p + r - 2t = 2 (p - t) - (p - r): one pass less.
    apart = p - r
    return off.square().mean(1), (apart * off.mul(2).sub_(apart)).mean(1)


def _backward(policy: Tensor, target: Tensor, grad: Tensor, implementation: str) -> Tensor:
    wide = _wide(policy, target)
    if implementation == "triton" and wide == torch.float32:
        from auscult.core.kernels.paired_error import _triton

        return _triton.backward(policy, target, grad)
    scale = (grad.to(wide) * (2 / policy[0].numel())).reshape(-1, *[1] * (policy.ndim - 1))
    return ((policy.to(wide) - target.to(wide)) * scale).to(policy.dtype)


def _forward_fake(policy: Tensor, reference: Tensor, target: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    wide = _wide(policy, reference, target)
    return policy.new_empty(policy.shape[0], dtype=wide), policy.new_empty(policy.shape[0], dtype=wide)


def _backward_fake(policy: Tensor, target: Tensor, grad: Tensor, implementation: str) -> Tensor:
    return torch.empty_like(policy, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    policy, _, target, ctx.implementation = inputs
    ctx.save_for_backward(policy, target)


def _gradient(ctx: Any, grad_error: Tensor, grad_difference: Tensor) -> tuple[Tensor, None, None, None]:
    return backward_operator(*ctx.saved_tensors, grad_error + grad_difference, ctx.implementation), None, None, None


_custom = torch.library.custom_op
operator = _custom("auscult::paired_error", _forward, mutates_args=())
backward_operator = _custom("auscult::paired_error_backward", _backward, mutates_args=())
operator.register_fake(_forward_fake)
backward_operator.register_fake(_backward_fake)
operator.register_autograd(_gradient, setup_context=_remember)
