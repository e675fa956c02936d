import pytest

torch = pytest.importorskip("torch", reason="the kernels need torch")

from torch.autograd.gradcheck import GradcheckError  # noqa: E402

from auscult.core.testing.kernels import assert_close, check_gradients, check_operator, poisoned_memory  # noqa: E402

pytestmark = pytest.mark.torch


def test_close_is_by_dtype_and_nan_is_never_close():
    one = torch.ones(3)
    assert_close(one + 5e-5, one.double())
    with pytest.raises(AssertionError):
        assert_close(one + 5e-4, one)
    assert_close(one + 5e-3, one, dtype=torch.bfloat16)
    with pytest.raises(AssertionError):
        assert_close(one * torch.nan, one * torch.nan)


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_a_wrong_gradient_is_seen():
    check_gradients(lambda x: x * x, torch.tensor([1.0, 2.0]))
    with pytest.raises(GradcheckError):
        check_gradients(WrongGradient.apply, torch.tensor([1.0, 2.0]))
    with pytest.raises(AssertionError, match="nothing"):
        check_gradients(lambda x: x, torch.tensor([1]))


def test_an_operator_that_changes_its_input_in_secret_is_seen():
    def double(x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).clone()

    operator = torch.library.custom_op("auscult_tests::secret", double, mutates_args=())
    operator.register_fake(torch.empty_like)
    with pytest.raises(Exception, match="mutated"):
        check_operator(operator, (torch.ones(2),))


def test_memory_is_poisoned_inside_only():
    with poisoned_memory():
        assert torch.empty(1000).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()
