"""The formula of :mod:`auscult.core.kernels.paired_error` as it is defined: two errors and their difference."""

from torch import Tensor


def paired_error_reference(policy: Tensor, reference: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the policy's error [N] and what it exceeds the reference's error by [N], for rows of any shape."""
    error = (policy - target).square().flatten(1).mean(1)
    return error, error - (reference - target).square().flatten(1).mean(1)
