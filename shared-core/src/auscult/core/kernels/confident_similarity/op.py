"""The operators of :mod:`auscult.core.kernels.confident_similarity`: checks, dispatch, shapes and gradients."""

from typing import Any

import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.core.kernels.confident_similarity import tiled
from auscult.core.kernels.dispatch import choose_implementation


def confident_similarity(
    rows: Tensor, row_confidence: Tensor, others: Tensor, other_confidence: Tensor, zeta: Tensor | float
) -> Tensor:
    """Return the similarity of every row to every other; differentiable.

    Parameters
    ----------
    rows, row_confidence
        [N, F]: values, and how far each is trusted (1 fully, 0 not at all).
    others, other_confidence
        [M, F].
    zeta
        In (0, 1): the weight of doubt against distance, one number.

    Returns
    -------
    Tensor
        [N, M], positive, at most 1/zeta where no confidence exceeds 1; in float32, or float64 for such inputs.

    Raises
    ------
    InputError
        For shapes that do not fit together.

    Examples
    --------
    >>> import torch
    >>> x, sure = torch.zeros(1, 3), torch.ones(1, 3)
    >>> confident_similarity(x, sure, x, sure, 0.05)
    tensor([[20.]])
    """
    arguments = _check(rows, row_confidence, others, other_confidence, zeta)
    with _in_full(rows):
        result: Tensor = similarity_operator(*arguments)
    return result


def most_similar(
    rows: Tensor,
    row_confidence: Tensor,
    others: Tensor,
    other_confidence: Tensor,
    zeta: Tensor | float,
    k: int,
    *,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Return the similarity [N, k] to the k most similar others, falling, and their indices [N, k].

    Others of equal similarity come in no particular order. Not differentiable; arguments as for
    :func:`confident_similarity`, ``implementation`` as for
    :func:`auscult.core.kernels.dispatch.choose_implementation`.

    Raises
    ------
    InputError
        For shapes that do not fit together, or k not within 1 to M.
    """
    given = _check(rows, row_confidence, others, other_confidence, zeta)
    x, c, y, d, z = (tensor.detach() for tensor in given)
    if not 1 <= k <= len(others):
        raise InputError(f"the {k} most similar of {len(others)} were asked for: give k from 1 to {len(others)}")
    if choose_implementation("confident_similarity", rows.device.type, implementation) == "triton":
        from auscult.core.kernels.confident_similarity import _triton

        return _triton.most_similar(x, c, y, d, z, k)
    with _in_full(rows):
        return tiled.most_similar(x, c, y, d, z, k)


def similarity_pool(
    rows: Tensor,
    row_confidence: Tensor,
    others: Tensor,
    other_confidence: Tensor,
    zeta: Tensor | float,
    values: Tensor,
    *,
    implementation: str = "auto",
) -> Tensor:
    """Return the mean of ``values`` [M, V], weighted for each row by the softmax of its similarities; differentiable.

    Returns [N, V]; arguments as for :func:`most_similar`.

    Raises
    ------
    InputError
        For shapes that do not fit together, or no other at all.
    """
    arguments = _check(rows, row_confidence, others, other_confidence, zeta)
    if values.ndim != 2 or len(values) != len(others) or not len(others):
        raise InputError(f"values of shape {tuple(values.shape)} for {len(others)} others: give [others, columns]")
    chosen = choose_implementation("confident_similarity", rows.device.type, implementation)
    with _in_full(rows):
        result: Tensor = pool_operator(*arguments, values.to(arguments[0].dtype), chosen)
    return result


def _in_full(tensor: Tensor) -> torch.autocast:
    """Switch autocast off, which would round the products inside to bfloat16."""
    return torch.autocast(tensor.device.type, enabled=False)


def _check(
    rows: Tensor, row_confidence: Tensor, others: Tensor, other_confidence: Tensor, zeta: Tensor | float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments in one type, float32 at least."""
    shapes = [tuple(tensor.shape) for tensor in (rows, row_confidence, others, other_confidence)]
    if len(shapes[0]) != 2 or shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][1:] != shapes[2][1:]:
        raise InputError(f"shapes {shapes} do not fit: give [N, F] twice and [M, F] twice")
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    weight = torch.as_tensor(zeta, device=rows.device)
    x, c, y, d, z = (tensor.to(wide) for tensor in (rows, row_confidence, others, other_confidence, weight))
    return x, c, y, d, z


def _similarity(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor) -> Tensor:
    return tiled.similarity(x, c, y, d, zeta)


def _similarity_backward(
    grad: Tensor, x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tiled.similarity_gradient(grad, x, c, y, d, zeta)


def _pool(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor, implementation: str) -> Tensor:
    if implementation == "triton":
        from auscult.core.kernels.confident_similarity import _triton

        return _triton.similarity_pool(x, c, y, d, zeta, values)
    return tiled.similarity_pool(x, c, y, d, zeta, values)


def _pool_backward(
    grad: Tensor, x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tiled.similarity_pool_gradient(grad, x, c, y, d, zeta, values)


def _similarity_fake(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], y.shape[0])


def _pool_fake(x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor, values: Tensor, implementation: str) -> Tensor:
    return x.new_empty(x.shape[0], values.shape[1])


def _alike(_: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*(item for item in inputs if isinstance(item, Tensor)))


def _similarity_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    grads: tuple[Tensor, ...] = similarity_backward_operator(grad, *ctx.saved_tensors)
    return grads


def _pool_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*pool_backward_operator(grad, *ctx.saved_tensors), None)


_custom = torch.library.custom_op
similarity_operator = _custom("auscult::confident_similarity", _similarity, mutates_args=())
similarity_backward_operator = _custom("auscult::confident_similarity_backward", _similarity_backward, mutates_args=())
pool_operator = _custom("auscult::similarity_pool", _pool, mutates_args=())
pool_backward_operator = _custom("auscult::similarity_pool_backward", _pool_backward, mutates_args=())
similarity_operator.register_fake(_similarity_fake)
similarity_backward_operator.register_fake(_alike)
pool_operator.register_fake(_pool_fake)
pool_backward_operator.register_fake(_alike)
similarity_operator.register_autograd(_similarity_gradient, setup_context=_remember)
pool_operator.register_autograd(_pool_gradient, setup_context=_remember)
