"""The ladder that every operation of :mod:`auscult.core.kernels` climbs, as helpers for tests (needs torch)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from auscult.core.kernels.tolerance import tolerance


def assert_close(actual: torch.Tensor, expected: torch.Tensor, *, dtype: object = None) -> None:
    """Assert that a result equals its reference within the tolerance of a dtype (that of ``actual``).

    The reference may have a wider type. NaN equals nothing, so memory that was never written is seen.
    """
    allowed = tolerance(dtype or actual.dtype)
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=allowed.relative, atol=allowed.absolute, equal_nan=False
    )


def check_gradients(function: Callable[..., Any], *inputs: Any) -> None:
    """Assert that analytic gradients of a function equal numeric ones, in float64.

    Every floating-point tensor among the inputs is differentiated.
    """
    given = [
        item.detach().double().requires_grad_() if torch.is_tensor(item) and item.is_floating_point() else item
        for item in inputs
    ]
    assert any(torch.is_tensor(item) and item.requires_grad for item in given), "there is nothing to differentiate"
    assert torch.autograd.gradcheck(function, given, atol=1e-7, rtol=1e-5)


def check_operator(operator: Any, arguments: Sequence[Any]) -> None:
    """Assert that a custom operator keeps torch's rules: schema, fake tensors, autograd, ahead-of-time dispatch."""
    torch.library.opcheck(operator, tuple(arguments))


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill what ``torch.empty`` returns with NaN, so that a cell nobody wrote shows in the result."""
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
