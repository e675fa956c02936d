"""The operator of :mod:`auscult.core.kernels.target_nll`: checks, dispatch, shapes and gradients."""

from typing import Any

import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.core.kernels.dispatch import choose_implementation
from auscult.core.kernels.target_nll import banded


def target_nll(hidden: Tensor, weight: Tensor, target: Tensor, *, implementation: str = "auto") -> Tensor:
    """Return how unlikely a target is for each row of a batch; differentiable in hidden states and head.

    Parameters
    ----------
    hidden
        [B, T, d]: the states that predict the target's tokens, so one position before each.
    weight
        [V, d]: the head, without a bias.
    target
        [T] token ids, the same for all rows.
    implementation
        As for :func:`auscult.core.kernels.dispatch.choose_implementation`.

    Returns
    -------
    Tensor
        [B], the mean negative log-likelihood of a token; float32, or float64 for such inputs.

    Raises
    ------
    InputError
        For shapes or types that do not fit together, or an empty target. Ids are not looked at, as that would wait
        for the device: one outside of the vocabulary is the caller's mistake.

    Examples
    --------
    >>> import torch
    >>> target_nll(torch.zeros(1, 3, 2), torch.ones(4, 2), torch.tensor([0, 1, 2])).exp()
    tensor([4.])
    """
    if hidden.ndim != 3 or weight.ndim != 2 or target.ndim != 1 or hidden.shape[1:] != (len(target), weight.shape[1]):
        shapes = tuple(hidden.shape), tuple(weight.shape), tuple(target.shape)
        raise InputError(f"shapes {shapes} do not fit: give hidden [B, T, d], weight [V, d] and target [T]")
    if not len(target) or target.dtype != torch.int64 or hidden.dtype != weight.dtype:
        raise InputError(
            f"a target of {len(target)} {target.dtype} ids, with {hidden.dtype} states and a {weight.dtype} head: give "
            "at least one int64 id, and states of the head's type"
        )
    chosen = choose_implementation("target_nll", hidden.device.type, implementation)
    rows = hidden.reshape(-1, hidden.shape[2])
    with torch.autocast(hidden.device.type, enabled=False):
        loss, _ = row_operator(rows, weight, target.repeat(len(hidden)), chosen)
    mean: Tensor = loss.reshape(hidden.shape[:2]).mean(dim=1)
    return mean


def _row_nll(hidden: Tensor, weight: Tensor, target: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    if implementation == "triton":
        from auscult.core.kernels.target_nll import _triton

        return _triton.row_nll(hidden, weight, target)
    return banded.row_nll(hidden, weight, target)


def _row_nll_backward(
    grad: Tensor, hidden: Tensor, weight: Tensor, target: Tensor, total: Tensor, need_weight: bool
) -> tuple[Tensor, Tensor]:
    return banded.row_nll_gradient(grad, hidden, weight, target, total, need_weight)


def _row_nll_fake(hidden: Tensor, weight: Tensor, target: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    loss = hidden.new_empty(hidden.shape[0], dtype=banded.wide(hidden))
    return loss, torch.empty_like(loss)


def _row_nll_backward_fake(
    grad: Tensor, hidden: Tensor, weight: Tensor, target: Tensor, total: Tensor, need_weight: bool
) -> tuple[Tensor, Tensor]:
    d_weight = torch.empty_like(weight, dtype=grad.dtype) if need_weight else grad.new_empty(0)
    return torch.empty_like(hidden), d_weight


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor | None, None, None]:
    hidden, weight, target, total = ctx.saved_tensors
    need_weight = ctx.needs_input_grad[1]
    d_hidden, d_weight = row_backward_operator(grad.contiguous(), hidden, weight, target, total, need_weight)
    return d_hidden, d_weight.to(weight.dtype) if need_weight else None, None, None


row_operator = torch.library.custom_op("auscult::target_nll_rows", _row_nll, mutates_args=())
row_operator.register_fake(_row_nll_fake)
row_backward_operator = torch.library.custom_op("auscult::target_nll_rows_backward", _row_nll_backward, mutates_args=())
row_backward_operator.register_fake(_row_nll_backward_fake)
row_operator.register_autograd(_gradient, setup_context=_remember)
