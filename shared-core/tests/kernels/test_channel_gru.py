import math
import os

import pytest

torch = pytest.importorskip("torch", reason="the kernels need torch")

from auscult.core.errors import InputError  # noqa: E402
from auscult.core.kernels.channel_gru import channel_gru, op  # noqa: E402
from auscult.core.kernels.channel_gru.reference import channel_gru_reference  # noqa: E402
from auscult.core.testing.kernels import assert_close, check_gradients, check_operator, poisoned_memory  # noqa: E402

pytestmark = pytest.mark.torch
MIXED = (2, 8, 12, 13, 12, 1, 1, 1)


def make(batch=7, steps=6, widths=(2, 1, 1, 3), hidden=5, dtype=torch.float32, seed=0):
    """Return inputs and the four parameters."""
    generator = torch.Generator().manual_seed(seed)
    channels, widest = len(widths), max(widths)
    shapes = [
        (batch, steps, sum(widths)),
        (channels, 3 * hidden, widest),
        (channels, 3 * hidden, hidden),
        (channels, 3 * hidden),
        (channels, 3 * hidden),
    ]
    scales = [1.0, *[1 / math.sqrt(hidden)] * 4]
    return [
        (scale * torch.randn(shape, generator=generator)).to(dtype) for shape, scale in zip(shapes, scales, strict=True)
    ]


def as_modules(arguments, widths):
    """Return one nn.GRU a channel with the same parameters."""
    modules = []
    for f, width in enumerate(widths):
        module = torch.nn.GRU(width, arguments[2].shape[2], batch_first=True, dtype=arguments[0].dtype)
        with torch.no_grad():
            module.weight_ih_l0.copy_(arguments[1][f, :, :width])
            for name, source in zip(("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), arguments[2:], strict=True):
                getattr(module, name).copy_(source[f])
        modules.append(module)
    return modules


def differentiate(function, arguments, weight):
    leaves = [argument.detach().clone().requires_grad_() for argument in arguments]
    result = function(*leaves)
    return result.detach(), torch.autograd.grad((result * weight).sum(), leaves)


def assert_same(first, second, dtype=None):
    assert_close(first[0], second[0], dtype=dtype)
    for one, other in zip(first[1], second[1], strict=True):
        assert_close(one, other, dtype=dtype)


def assert_close_to_scale(found, expected, dtype):
    """Gradients of half types start from states that were rounded: what counts is the error in the largest."""
    scale = expected.abs().max().clamp_min(1e-12)
    assert_close(found / scale, expected / scale, dtype=dtype)


@pytest.mark.parametrize("path", ["reference", "torch", "large"])
@pytest.mark.parametrize("widths", [(1,), (1, 1, 1), MIXED])
def test_equal_to_one_module_a_channel_gradients_included(path, widths, monkeypatch):
    monkeypatch.setattr(op, "_LARGE", 0 if path == "large" else op._LARGE)
    arguments = make(batch=5, steps=9, widths=widths, dtype=torch.float64)
    weight = torch.randn(5, 9, len(widths), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    modules = as_modules(arguments, widths)
    x = arguments[0].clone().requires_grad_()
    expected = torch.stack(
        [module(part)[0] for module, part in zip(modules, x.split(list(widths), 2), strict=True)], dim=2
    )
    (expected * weight).sum().backward()

    def run(*given):
        if path == "reference":
            return channel_gru_reference(*given, None, widths)
        return channel_gru(*given, widths=widths, implementation="torch")

    states, grads = differentiate(run, arguments, weight)
    assert_close(states, expected.detach())
    assert_close(grads[0], x.grad)
    for f, (module, width) in enumerate(zip(modules, widths, strict=True)):
        assert_close(grads[1][f, :, :width], module.weight_ih_l0.grad)
        assert not grads[1][f, :, width:].any(), "columns that a channel does not have count for nothing"
        for found, name in zip(grads[2:], ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), strict=True):
            assert_close(found[f], getattr(module, name).grad)


@pytest.mark.parametrize("hidden", [3, 32])
def test_every_block_of_patients_and_channels_is_computed(hidden):
    """More patients than a block holds, and more channels than fit a step."""
    arguments = make(batch=300, steps=2, widths=(1,) * 25, hidden=hidden)
    weight = torch.ones(300, 2, 25, hidden)
    expected = differentiate(lambda *a: channel_gru_reference(*a, None, (1,) * 25), arguments, weight)
    with poisoned_memory():
        found = differentiate(channel_gru, arguments, weight)
    assert_close(found[0], expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["steps", "cells"])
def test_a_masked_step_keeps_the_state_and_is_not_looked_at(shape):
    widths = (2, 1, 1, 3)
    arguments = make(widths=widths, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand((7, 6) if shape == "steps" else (7, 6, 4), generator=generator) > 0.4
    by_channel = mask[..., None].expand(7, 6, 4) if shape == "steps" else mask
    weight = torch.randn(7, 6, 4, 5, dtype=torch.float64, generator=generator)
    expected = differentiate(lambda *a: channel_gru_reference(*a, by_channel, widths), arguments, weight)
    by_column = by_channel.repeat_interleave(torch.tensor(widths), dim=2)
    arguments[0][~by_column] = torch.nan
    found = differentiate(lambda *a: channel_gru(*a, widths=widths, mask=mask), arguments, weight)
    assert_same(found, expected)
    assert not found[1][0][~by_column].any()
    before = torch.cat([torch.zeros_like(found[0][:, :1]), found[0][:, :-1]], dim=1)
    assert torch.equal(found[0][~by_channel], before[~by_channel])


def test_a_mask_counts_in_large_batches_too(monkeypatch):
    arguments = make(dtype=torch.float64)
    mask = torch.rand(7, 6, generator=torch.Generator().manual_seed(2)) > 0.4
    expected = channel_gru_reference(*arguments, mask[..., None].expand(7, 6, 4), (2, 1, 1, 3))
    monkeypatch.setattr(op, "_LARGE", 0)
    assert_close(channel_gru(*arguments, widths=(2, 1, 1, 3), mask=mask), expected)
    length = torch.tensor([6, 1, 3, 2, 6, 5, 0])
    states = channel_gru(*arguments, widths=(2, 1, 1, 3), length=length)
    assert torch.equal(states[1, 0], states[1, 5])


def test_the_last_step_holds_the_last_valid_state_of_a_shorter_row():
    arguments = make(widths=(1, 1), dtype=torch.float64)
    length = torch.tensor([6, 1, 3, 2, 6, 5, 0])
    states = channel_gru(*arguments, length=length)
    for f, module in enumerate(as_modules(arguments, (1, 1))):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            arguments[0][:6, :, f : f + 1], length[:6], batch_first=True, enforce_sorted=False
        )
        assert_close(states[:6, -1, f], module(packed)[1][0])
    assert not states[6].any()


def test_mask_and_length_hold_together():
    arguments = make(widths=(1, 1))
    mask = torch.rand(7, 6, generator=torch.Generator().manual_seed(0)) > 0.3
    length = torch.tensor([6, 1, 3, 2, 6, 5, 0])
    both = mask & (torch.arange(6) < length[:, None])
    assert torch.equal(channel_gru(*arguments, mask=mask, length=length), channel_gru(*arguments, mask=both))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_differences(masked):
    arguments = make(batch=3, steps=3, widths=(2, 1), hidden=2)
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool) if masked else None
    check_gradients(lambda *a: channel_gru(*a, widths=(2, 1), mask=mask), *arguments)


@pytest.mark.parametrize("masked", [False, True])
def test_the_operator_keeps_torch_s_rules(masked):
    arguments = make(batch=3, steps=2, widths=(2, 1), hidden=2)
    for argument in arguments:
        argument.requires_grad_()
    mask = torch.ones(3, 2, 2, dtype=torch.bool) if masked else None
    check_operator(op.forward_operator, (*arguments, mask, [2, 1], "torch", True))


def test_patients_do_not_see_each_other():
    arguments = make(batch=9)
    states = channel_gru(*arguments, widths=(2, 1, 1, 3))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    permuted = channel_gru(arguments[0][order], *arguments[1:], widths=(2, 1, 1, 3))
    assert_close(permuted, states[order])
    alone = channel_gru(arguments[0][3:4], *arguments[1:], widths=(2, 1, 1, 3))
    torch.testing.assert_close(alone[0], states[3], rtol=0, atol=1e-6)


def test_nothing_is_saved_where_no_gradient_is_asked():
    arguments = make()
    assert op.forward_operator(*arguments, None, [2, 1, 1, 3], "torch", False)[1].numel() == 0
    arguments[1].requires_grad_()
    with torch.no_grad():
        assert not channel_gru(*arguments, widths=(2, 1, 1, 3)).requires_grad


@pytest.mark.parametrize(("batch", "steps"), [(0, 6), (7, 0)])
def test_empty_inputs_give_empty_states_and_zero_gradients(batch, steps):
    arguments = make(batch=batch, steps=steps)
    states, grads = differentiate(
        lambda *a: channel_gru(*a, widths=(2, 1, 1, 3)), arguments, torch.ones(batch, steps, 4, 5)
    )
    assert states.shape == (batch, steps, 4, 5)
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    arguments = make(dtype=dtype)
    expected = channel_gru_reference(*[a.float() for a in arguments], None, (2, 1, 1, 3))
    found = channel_gru(*arguments, widths=(2, 1, 1, 3))
    assert found.dtype == dtype
    assert_close(found, expected)


def test_autocast_does_not_round_inside():
    arguments = make()
    with torch.autocast("cpu", torch.bfloat16):
        found = channel_gru(*arguments, widths=(2, 1, 1, 3))
    assert torch.equal(found, channel_gru(*arguments, widths=(2, 1, 1, 3)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (2, 1, 1)}, "widths"),
        ({"widths": (4, 1, 1, 1)}, "widths"),
        ({}, "widths"),
        ({"widths": (2, 1, 1, 3), "mask": torch.ones(7, 5, dtype=torch.bool)}, "mask"),
        ({"widths": (2, 1, 1, 3), "mask": torch.ones(7, 6)}, "mask"),
        ({"widths": (2, 1, 1, 3), "length": torch.ones(3)}, "length"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        channel_gru(*make(), **change)


def test_parameters_that_do_not_fit_are_refused():
    arguments = make()
    with pytest.raises(InputError, match=r"bias_ih has shape \(4, 12\)"):
        channel_gru(*arguments[:3], arguments[3][:, :12], arguments[4], widths=(2, 1, 1, 3))
    with pytest.raises(InputError, match="batch, steps, columns"):
        channel_gru(arguments[0][0], *arguments[1:])


INTERPRETED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernel on a CPU"
)


@INTERPRETED
def test_the_kernel_equals_one_module_a_channel_gradients_included():
    pytest.importorskip("triton")
    widths = (2, 1, 3)
    arguments = make(batch=5, steps=4, widths=widths)
    weight = torch.randn(5, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    modules = as_modules(arguments, widths)
    parts = arguments[0].split(list(widths), 2)
    expected = torch.stack([module(x)[0] for module, x in zip(modules, parts, strict=True)], dim=2)
    (expected * weight).sum().backward()
    states, grads = differentiate(lambda *a: channel_gru(*a, widths=widths, implementation="triton"), arguments, weight)
    assert_close(states, expected.detach())
    for f, (module, width) in enumerate(zip(modules, widths, strict=True)):
        assert_close(grads[1][f, :, :width], module.weight_ih_l0.grad)
        for found, name in zip(grads[2:], ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), strict=True):
            assert_close(found[f], getattr(module, name).grad)


@INTERPRETED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("batch", "steps", "widths", "hidden", "masked"),
    [(5, 3, (2, 1, 3), 5, False), (19, 2, (1, 1), 17, True), (1, 1, (1,), 16, False)],
)
def test_kernel_against_reference(dtype, batch, steps, widths, hidden, masked):
    pytest.importorskip("triton")
    arguments = make(batch, steps, widths, hidden, dtype)
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(batch, steps, len(widths), generator=generator) > 0.4 if masked else None
    weight = torch.randn(batch, steps, len(widths), hidden, generator=generator)
    wide = [argument.float() for argument in arguments]
    expected = differentiate(lambda *a: channel_gru_reference(*a, mask, widths), wide, weight)
    with poisoned_memory():
        found = differentiate(
            lambda *a: channel_gru(*a, widths=widths, mask=mask, implementation="triton"), arguments, weight
        )
    assert_close(found[0], expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        assert_close_to_scale(one, other, dtype)


@INTERPRETED
def test_the_kernel_s_operator_keeps_torch_s_rules():
    pytest.importorskip("triton")
    arguments = [argument.requires_grad_() for argument in make(batch=2, steps=2, widths=(2, 1), hidden=2)]
    check_operator(op.forward_operator, (*arguments, None, [2, 1], "triton", True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_on_cuda(dtype):
    pytest.importorskip("triton")
    widths = (2, 1, 1, 3)
    arguments = [argument.cuda() for argument in make(batch=100, steps=12, widths=widths, hidden=20, dtype=dtype)]
    weight = torch.randn(100, 12, 4, 20, device="cuda")
    expected = differentiate(lambda *a: channel_gru_reference(*a, None, widths), [a.float() for a in arguments], weight)
    found = differentiate(lambda *a: channel_gru(*a, widths=widths, implementation="triton"), arguments, weight)
    assert_close(found[0], expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        assert_close_to_scale(one, other, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_large_batches_by_torch_s_own_gru_are_the_same(monkeypatch, dtype):
    arguments = make(dtype=dtype)
    weight = torch.ones(7, 6, 4, 5, dtype=dtype)
    both = []
    for large in (2**27, 0):
        monkeypatch.setattr(op, "_LARGE", large)
        both.append(differentiate(lambda *a: channel_gru(*a, widths=(2, 1, 1, 3)), arguments, weight))
    assert both[0][0].dtype == both[1][0].dtype == dtype
    assert_close(both[0][0], both[1][0], dtype=dtype)
    for one, other in zip(both[0][1], both[1][1], strict=True):
        assert_close_to_scale(one, other, dtype)
