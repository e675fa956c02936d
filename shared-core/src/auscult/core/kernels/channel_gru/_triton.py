"""The Triton kernels of :mod:`auscult.core.kernels.channel_gru` (not measured on CUDA).

A program holds the recurrent weights of one channel and the states of a block of patients through all steps.
The gradient recomputes the gates from the saved states; products over all steps are left to torch.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

_PATIENTS = 16


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2.0 * _sigmoid(2.0 * x) - 1.0


@triton.jit
def _matrix(pointer, gate, out, into, C, ok):
    """Load U of one gate as [state unit, gate unit]."""
    return tl.load(pointer + (gate * C + out[None, :]) * C + into[:, None], mask=ok, other=0.0).to(tl.float32)


@triton.jit
def _gates(x, w_ih, b_ih, b_hh, h, u_r, u_z, u_n, rows, rows_ok, unit, unit_ok, row_step, first, width, P, C):
    """Return reset, update, new and the state part of new, [patients, units] each."""
    b_r = tl.load(b_ih + unit, mask=unit_ok, other=0.0).to(tl.float32)
    b_z = tl.load(b_ih + C + unit, mask=unit_ok, other=0.0).to(tl.float32)
    b_n = tl.load(b_ih + 2 * C + unit, mask=unit_ok, other=0.0).to(tl.float32)
    c_r = tl.load(b_hh + unit, mask=unit_ok, other=0.0).to(tl.float32)
    c_z = tl.load(b_hh + C + unit, mask=unit_ok, other=0.0).to(tl.float32)
    c_n = tl.load(b_hh + 2 * C + unit, mask=unit_ok, other=0.0).to(tl.float32)
    r = tl.dot(h, u_r, input_precision="ieee") + (b_r + c_r)[None, :]
    z = tl.dot(h, u_z, input_precision="ieee") + (b_z + c_z)[None, :]
    s = tl.dot(h, u_n, input_precision="ieee") + c_n[None, :]
    n = tl.zeros_like(s) + b_n[None, :]
    for p in range(width):
        column = tl.load(x + row_step + first + p, mask=rows_ok, other=0.0).to(tl.float32)
        w_r = tl.load(w_ih + unit * P + p, mask=unit_ok, other=0.0).to(tl.float32)
        w_z = tl.load(w_ih + (C + unit) * P + p, mask=unit_ok, other=0.0).to(tl.float32)
        w_n = tl.load(w_ih + (2 * C + unit) * P + p, mask=unit_ok, other=0.0).to(tl.float32)
        r += column[:, None] * w_r[None, :]
        z += column[:, None] * w_z[None, :]
        n += column[:, None] * w_n[None, :]
    r = _sigmoid(r)
    return r, _sigmoid(z), _tanh(n + r * s), s


@triton.jit
def _forward_kernel(
    x, w_ih, w_hh, b_ih, b_hh, mask, firsts, widths, out, B, T, F, columns, P, C,
    HAS_MASK: tl.constexpr, UNITS: tl.constexpr, PATIENTS: tl.constexpr,
):  # fmt: skip
    f = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1).to(tl.int64) * PATIENTS + tl.arange(0, PATIENTS)
    unit = tl.arange(0, UNITS)
    rows_ok, unit_ok = rows < B, unit < C
    cell_ok = rows_ok[:, None] & unit_ok[None, :]
    square_ok = unit_ok[:, None] & unit_ok[None, :]
    first, width = tl.load(firsts + f), tl.load(widths + f)
    w_ih += f * 3 * C * P
    w_hh += f * 3 * C * C
    b_ih += f * 3 * C
    b_hh += f * 3 * C
    u_r = _matrix(w_hh, 0, unit, unit, C, square_ok)
    u_z = _matrix(w_hh, 1, unit, unit, C, square_ok)
    u_n = _matrix(w_hh, 2, unit, unit, C, square_ok)
    h = tl.zeros((PATIENTS, UNITS), tl.float32)
    for t in range(T):
        _r, z, n, _s = _gates(
            x, w_ih, b_ih, b_hh, h, u_r, u_z, u_n, rows, rows_ok, unit, unit_ok,
            (rows * T + t) * columns, first, width, P, C,
        )  # fmt: skip
        if HAS_MASK:
            keep = tl.load(mask + (rows * T + t) * F + f, mask=rows_ok, other=0)
            z = tl.where(keep[:, None] != 0, z, 1.0)
        h = n + z * (h - n)
        h = tl.where(cell_ok, h, 0.0)
        where = ((rows * T + t) * F + f) * C
        tl.store(out + where[:, None] + unit[None, :], h.to(out.dtype.element_ty), mask=cell_ok)


@triton.jit
def _backward_kernel(
    grad, out, x, w_ih, w_hh, b_ih, b_hh, mask, firsts, widths, parts, B, T, F, columns, P, C,
    HAS_MASK: tl.constexpr, UNITS: tl.constexpr, PATIENTS: tl.constexpr,
):  # fmt: skip
    f = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1).to(tl.int64) * PATIENTS + tl.arange(0, PATIENTS)
    unit = tl.arange(0, UNITS)
    rows_ok, unit_ok = rows < B, unit < C
    cell_ok = rows_ok[:, None] & unit_ok[None, :]
    square_ok = unit_ok[:, None] & unit_ok[None, :]
    first, width = tl.load(firsts + f), tl.load(widths + f)
    w_ih += f * 3 * C * P
    w_hh += f * 3 * C * C
    b_ih += f * 3 * C
    b_hh += f * 3 * C
    u_r = _matrix(w_hh, 0, unit, unit, C, square_ok)
    u_z = _matrix(w_hh, 1, unit, unit, C, square_ok)
    u_n = _matrix(w_hh, 2, unit, unit, C, square_ok)
    d_h = tl.zeros((PATIENTS, UNITS), tl.float32)
    for i in range(T):
        t = T - 1 - i
        where = ((rows * T + t) * F + f) * C
        before = (where - F * C)[:, None] + unit[None, :]
        h = tl.load(out + before, mask=cell_ok & (t > 0), other=0.0).to(tl.float32)
        r, z, n, s = _gates(
            x, w_ih, b_ih, b_hh, h, u_r, u_z, u_n, rows, rows_ok, unit, unit_ok,
            (rows * T + t) * columns, first, width, P, C,
        )  # fmt: skip
        if HAS_MASK:
            keep = tl.load(mask + (rows * T + t) * F + f, mask=rows_ok, other=0)
            z = tl.where(keep[:, None] != 0, z, 1.0)
        d_h += tl.load(grad + where[:, None] + unit[None, :], mask=cell_ok, other=0.0).to(tl.float32)
        d_n = d_h * (1.0 - z) * (1.0 - n * n)
        d_z = d_h * (h - n) * z * (1.0 - z)
        d_r = d_n * s * r * (1.0 - r)
        d_s = d_n * r
        place = parts + (4 * where)[:, None] + unit[None, :]
        tl.store(place, d_r, mask=cell_ok)
        tl.store(place + C, d_z, mask=cell_ok)
        tl.store(place + 2 * C, d_n, mask=cell_ok)
        tl.store(place + 3 * C, d_s, mask=cell_ok)
        d_h = d_h * z + tl.dot(d_r, tl.trans(u_r), input_precision="ieee")
        d_h += tl.dot(d_z, tl.trans(u_z), input_precision="ieee")
        d_h += tl.dot(d_s, tl.trans(u_n), input_precision="ieee")
        d_h = tl.where(cell_ok, d_h, 0.0)


def forward(inputs: Tensor, weights: Sequence[Tensor], mask: Tensor | None, widths: Sequence[int]) -> Tensor:
    """Return the states [B, T, F, C] in the inputs' dtype."""
    batch, steps, _ = inputs.shape
    channels, _, hidden = weights[1].shape
    states = inputs.new_empty(batch, steps, channels, hidden)
    if states.numel():
        _launch(_forward_kernel, (), inputs, weights, mask, widths, states)
    return states


def backward(
    grad: Tensor, states: Tensor, inputs: Tensor, weights: Sequence[Tensor], mask: Tensor | None, widths: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the inputs and of the four parameters, in float32."""
    batch, steps, channels, hidden = states.shape
    widest = weights[0].shape[2]
    parts = states.new_empty(batch, steps, channels, 4 * hidden, dtype=torch.float32)
    if parts.numel():
        _launch(_backward_kernel, (grad.contiguous(), states), inputs, weights, mask, widths, parts)
    rows = parts.permute(2, 0, 1, 3).reshape(channels, batch * steps, 4 * hidden)
    from_input = rows[..., : 3 * hidden]
    from_state = torch.cat([rows[..., : 2 * hidden], rows[..., 3 * hidden :]], dim=2)
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1).float()
    before = before.permute(2, 0, 1, 3).reshape(channels, batch * steps, hidden)
    place = torch.tensor([f * widest + p for f, width in enumerate(widths) for p in range(width)], device=grad.device)
    padded = inputs.new_zeros(batch, steps, channels * widest, dtype=torch.float32)
    padded[..., place] = inputs.float()
    x = padded.view(batch, steps, channels, widest).permute(2, 0, 1, 3).reshape(channels, batch * steps, widest)
    d_x = (from_input @ weights[0].float()).view(channels, batch, steps, widest)
    d_inputs = d_x.permute(1, 2, 0, 3).reshape(batch, steps, channels * widest)[..., place]
    d_weight_ih = from_input.transpose(1, 2) @ x
    d_weight_hh = from_state.transpose(1, 2) @ before
    return d_inputs, d_weight_ih, d_weight_hh, from_input.sum(1), from_state.sum(1)


def _launch(
    kernel: object,
    first_tensors: Sequence[Tensor],
    inputs: Tensor,
    weights: Sequence[Tensor],
    mask: Tensor | None,
    widths: Sequence[int],
    result: Tensor,
) -> None:
    batch, steps, columns = inputs.shape
    channels, _, hidden = weights[1].shape
    wide = torch.tensor(list(widths), device=inputs.device)
    firsts = wide.cumsum(0) - wide
    keep = wide if mask is None else mask.to(torch.int8).contiguous()
    kernel[(channels, triton.cdiv(batch, _PATIENTS))](  # type: ignore[index]
        *first_tensors, inputs.contiguous(), *(weight.contiguous() for weight in weights), keep, firsts, wide, result,
        batch, steps, channels, columns, weights[0].shape[2], hidden,
        HAS_MASK=mask is not None, UNITS=max(16, triton.next_power_of_2(hidden)), PATIENTS=_PATIENTS,
    )  # fmt: skip
