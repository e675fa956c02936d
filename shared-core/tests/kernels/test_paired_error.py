import os

import pytest

torch = pytest.importorskip("torch", reason="the kernels need torch")

from auscult.core.errors import InputError  # noqa: E402
from auscult.core.kernels.paired_error import op, paired_error  # noqa: E402
from auscult.core.kernels.paired_error.reference import paired_error_reference  # noqa: E402
from auscult.core.testing.kernels import assert_close, check_gradients, check_operator, poisoned_memory  # noqa: E402

pytestmark = pytest.mark.torch
INTERPRETED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernel on a CPU"
)


def make(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).to(dtype) for _ in range(3)]


def test_reference_against_a_loop():
    policy, reference, target = make(3, 2, 5)
    error, difference = paired_error_reference(policy, reference, target)
    for row in range(3):
        p, r, t = (tensor[row].flatten().tolist() for tensor in (policy, reference, target))
        own = sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / 10
        other = sum((a - b) ** 2 for a, b in zip(r, t, strict=True)) / 10
        torch.testing.assert_close(error[row].item(), own, rtol=1e-12, atol=0)
        torch.testing.assert_close(difference[row].item(), own - other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 4, 8, 8), (1, 1), (63, 100), (2, 5, 7)])
def test_the_factored_form_is_the_difference(dtype, shape):
    arguments = make(*shape, dtype=dtype)
    found = paired_error(*arguments)
    for one, other in zip(found, paired_error_reference(*(a.double() for a in arguments)), strict=True):
        assert one.dtype == dtype
        assert_close(one, other)


def test_close_predictions_keep_their_digits():
    """At beta 5000 four separate errors in float32 lose what the factored form keeps."""
    policy, _, target = make(8, 4, 64, 64, dtype=torch.float32)
    reference = policy + 1e-4 * torch.randn(policy.shape, generator=torch.Generator().manual_seed(1))
    exact = paired_error_reference(policy.double(), reference.double(), target.double())[1]
    factored = ((paired_error(policy, reference, target)[1] - exact).abs() / exact.abs().mean()).max()
    separate = ((paired_error_reference(policy, reference, target)[1] - exact).abs() / exact.abs().mean()).max()
    assert factored < 1e-6
    assert separate > 10 * factored


def test_equal_predictions_differ_by_exactly_nothing():
    policy, _, target = make(3, 4, 8, 8, dtype=torch.float32)
    assert torch.equal(paired_error(policy, policy, target)[1], torch.zeros(3))


def test_gradient_by_differences():
    policy, reference, target = make(3, 2, 4)
    check_gradients(lambda p: paired_error(p, reference, target), policy)


def test_reference_and_target_are_constants():
    policy, reference, target = (tensor.requires_grad_() for tensor in make(3, 2, 4))
    sum(paired_error(policy, reference, target)).sum().backward()
    assert policy.grad is not None
    assert reference.grad is None
    assert target.grad is None


def test_the_operators_keep_torch_s_rules():
    policy, reference, target = make(3, 2, 4)
    check_operator(op.operator, (policy.requires_grad_(), reference, target, "torch"))
    check_operator(op.backward_operator, (policy.detach(), target, torch.randn(3, dtype=torch.float64), "torch"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_reduced_in_float32(dtype):
    arguments = make(4, 4, 8, 8, dtype=dtype)
    found = paired_error(*arguments)
    for one, other in zip(found, paired_error_reference(*(a.double() for a in arguments)), strict=True):
        assert one.dtype == torch.float32
        assert_close(one, other)
    policy = arguments[0].requires_grad_()
    paired_error(policy, *arguments[1:])[0].sum().backward()
    assert policy.grad.dtype == dtype


def test_mixed_types_are_computed_in_the_widest():
    policy, reference, target = make(2, 6)
    assert paired_error(policy.float(), reference.float(), target)[0].dtype == torch.float64


def test_what_does_not_fit_is_refused():
    policy, reference, target = make(3, 4)
    with pytest.raises(InputError, match="shapes"):
        paired_error(policy, reference[:2], target)
    with pytest.raises(InputError, match="shapes"):
        paired_error(policy[:, :0], reference[:, :0], target[:, :0])
    with pytest.raises(InputError, match="shapes"):
        paired_error(policy[:, 0], reference[:, 0], target[:, 0])


@INTERPRETED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(3, 63), (2, 3, 5, 7), (2, 5000), (1, 1)])
def test_kernels_against_reference(dtype, shape):
    pytest.importorskip("triton")
    arguments = make(*shape, dtype=dtype)
    wide = [argument.double() for argument in arguments]
    policy, exact = arguments[0].requires_grad_(), wide[0].requires_grad_()
    with poisoned_memory():
        found = paired_error(policy, *arguments[1:], implementation="triton")
        found[0].sum().backward()
    expected = paired_error_reference(exact, *wide[1:])
    expected[0].sum().backward()
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    assert_close(policy.grad, exact.grad, dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_on_cuda(dtype):
    pytest.importorskip("triton")
    arguments = [argument.cuda() for argument in make(6, 4, 64, 63, dtype=dtype)]
    found = paired_error(*arguments, implementation="triton")
    for one, other in zip(found, paired_error_reference(*(a.double() for a in arguments)), strict=True):
        assert_close(one, other)
