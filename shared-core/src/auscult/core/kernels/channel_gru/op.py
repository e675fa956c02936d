"""The operator of :mod:`auscult.core.kernels.channel_gru`: checks, dispatch, shapes and gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.core.kernels.channel_gru import blocked
from auscult.core.kernels.dispatch import choose_implementation

# Values from which on what all channels keep for the gradient at once no longer pays: torch's own GRU was faster.
_LARGE = 2**27


def channel_gru(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    *,
    widths: Sequence[int] | None = None,
    mask: Tensor | None = None,
    length: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Run F independent one-layer GRUs from a zero state; equal to F ``torch.nn.GRU`` modules.

    Parameters
    ----------
    inputs
        [B, T, sum of widths]: the channels' columns side by side.
    weight_ih, weight_hh, bias_ih, bias_hh
        [F, 3C, P], [F, 3C, C], [F, 3C], [F, 3C]: the parameters of ``torch.nn.GRU`` stacked, gates in its order
        (reset, update, new). P is the largest width; columns beyond a channel's width count for nothing.
    widths
        F numbers of columns; by default every channel has P.
    mask
        Boolean [B, T] or [B, T, F]: where False, the state stays as it is and the input is not looked at
        (it may be NaN).
    length
        Integers [B]: steps from there on are masked, so the last step holds the last valid state.
    implementation
        See :func:`auscult.core.kernels.dispatch.choose_implementation`; the kernel is not measured on CUDA.

    Returns
    -------
    Tensor
        [B, T, F, C], the states after each step. Half types are computed in float32.

    Raises
    ------
    InputError
        For shapes that do not fit together.

    Examples
    --------
    >>> import torch
    >>> gru = torch.nn.GRU(1, 4, batch_first=True)
    >>> stacked = [parameter[None] for parameter in gru.parameters()]
    >>> x = torch.randn(2, 5, 1)
    >>> torch.allclose(channel_gru(x, *stacked)[:, :, 0], gru(x)[0], atol=1e-6)
    True
    """
    if inputs.ndim != 3 or weight_ih.ndim != 3:
        raise InputError(
            f"inputs of shape {tuple(inputs.shape)} and weight_ih of shape {tuple(weight_ih.shape)} do not fit: "
            "give [batch, steps, columns] and [channels, 3 * hidden, width]"
        )
    batch, steps, columns = inputs.shape
    channels, gates, widest = weight_ih.shape
    wide = [widest] * channels if widths is None else [int(width) for width in widths]
    if len(wide) != channels or sum(wide) != columns or not all(1 <= width <= widest for width in wide):
        raise InputError(
            f"{columns} columns do not divide into {channels} channels of widths {wide}: "
            f"give one width from 1 to {widest} for each channel, of this sum"
        )
    expected = {"weight_hh": (channels, gates, gates // 3), "bias_ih": (channels, gates), "bias_hh": (channels, gates)}
    for name, tensor in (("weight_hh", weight_hh), ("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        if tuple(tensor.shape) != expected[name]:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, but weight_ih asks for {expected[name]}")
    steps_kept = _keep(mask, length, (batch, steps, channels), inputs.device)
    if steps_kept is not None:
        by_column = steps_kept.repeat_interleave(torch.tensor(wide, device=inputs.device), dim=2, output_size=columns)
        inputs = inputs.masked_fill(~by_column, 0.0)
    tensors = (inputs, weight_ih, weight_hh, bias_ih, bias_hh)
    chosen = choose_implementation("channel_gru", inputs.device.type, implementation)
    if chosen == "torch" and steps_kept is None and batch * steps * channels * gates // 3 > _LARGE:
        return _one_by_one(tensors, wide)
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    # Autocast would round the products inside to bfloat16.
    with torch.autocast(inputs.device.type, enabled=False):
        states: Tensor = forward_operator(*tensors, steps_kept, wide, chosen, save)[0]
    return states


def _one_by_one(tensors: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """Return the states by torch's own GRU, channel after channel."""
    inputs, weight_ih, *others = tensors
    with torch.autocast(inputs.device.type, enabled=False):
        start = _wide(inputs).new_zeros(1, len(inputs), others[0].shape[2])
        states = []
        # Unbound at once: a gradient of one channel would otherwise be as large as that of all.
        parameters = zip(*(_wide(tensor).unbind(0) for tensor in (weight_ih, *others)), strict=True)
        for x, (first, *more) in zip(_wide(inputs).split(list(widths), dim=2), parameters, strict=True):
            weights = [first[:, : x.shape[2]], *more]
            states.append(torch.gru(x, start, weights, True, 1, 0.0, False, False, True)[0])
        return torch.stack(states, dim=2).to(inputs.dtype)


def _keep(
    mask: Tensor | None, length: Tensor | None, shape: tuple[int, int, int], device: torch.device
) -> Tensor | None:
    """Return one mask [B, T, F] of the steps that count, or None where all do."""
    batch, steps, _ = shape
    if mask is not None:
        if mask.dtype != torch.bool or tuple(mask.shape) not in (shape[:2], shape):
            raise InputError(
                f"the mask is {mask.dtype} of shape {tuple(mask.shape)}: give booleans of shape {shape[:2]} or {shape}"
            )
        mask = (mask if mask.ndim == 3 else mask[..., None]).expand(shape)
    if length is not None:
        if tuple(length.shape) != (batch,):
            raise InputError(f"length has shape {tuple(length.shape)}: give one number for each of {batch} rows")
        inside = (torch.arange(steps, device=device) < length.to(device)[:, None])[..., None].expand(shape)
        mask = inside if mask is None else mask & inside
    return mask


def _forward(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    mask: Tensor | None,
    widths: Sequence[int],
    implementation: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Return the states, and what the gradient needs beside them (empty unless ``save``)."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if implementation == "triton":
        from auscult.core.kernels.channel_gru import _triton

        return _triton.forward(inputs, weights, mask, widths), inputs.new_empty(0)
    states, gates = blocked.forward(_wide(inputs), [_wide(w) for w in weights], mask, widths, save)
    return states.to(inputs.dtype), gates


def _backward(
    grad: Tensor,
    states: Tensor,
    gates: Tensor,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    mask: Tensor | None,
    widths: Sequence[int],
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the inputs and of the four parameters."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if implementation == "triton":
        from auscult.core.kernels.channel_gru import _triton

        grads = _triton.backward(grad, states, inputs, weights, mask, widths)
    else:
        grads = blocked.backward(_wide(grad), _wide(states), gates, _wide(inputs), [_wide(w) for w in weights], widths)
    dx, dw_ih, dw_hh, db_ih, db_hh = (
        found.to(tensor.dtype) for found, tensor in zip(grads, (inputs, *weights), strict=True)
    )
    return dx, dw_ih, dw_hh, db_ih, db_hh


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 where it is that already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _forward_fake(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    mask: Tensor | None,
    widths: Sequence[int],
    implementation: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    batch, steps, _ = inputs.shape
    channels, _, hidden = weight_hh.shape
    saved = 4 * batch * steps * channels * hidden if save and implementation == "torch" else 0
    wide = torch.float64 if inputs.dtype == torch.float64 else torch.float32
    kind = wide if implementation == "torch" else inputs.dtype
    return inputs.new_empty(batch, steps, channels, hidden), inputs.new_empty(saved, dtype=kind)


def _backward_fake(
    grad: Tensor,
    states: Tensor,
    gates: Tensor,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    mask: Tensor | None,
    widths: Sequence[int],
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dx, dw_ih, dw_hh, db_ih, db_hh = (
        tensor.new_empty(tensor.shape) for tensor in (inputs, weight_ih, weight_hh, bias_ih, bias_hh)
    )
    return dx, dw_ih, dw_hh, db_ih, db_hh


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, widths, implementation, _ = inputs
    ctx.widths, ctx.implementation = widths, implementation
    ctx.save_for_backward(*output, *tensors)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    grads = backward_operator(grad, *ctx.saved_tensors, ctx.widths, ctx.implementation)
    return (*grads, None, None, None, None)


forward_operator = torch.library.custom_op("auscult::channel_gru", _forward, mutates_args=())
backward_operator = torch.library.custom_op("auscult::channel_gru_backward", _backward, mutates_args=())
forward_operator.register_fake(_forward_fake)
backward_operator.register_fake(_backward_fake)
forward_operator.register_autograd(_gradient, setup_context=_remember)
