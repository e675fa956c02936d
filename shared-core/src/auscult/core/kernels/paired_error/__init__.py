r"""Squared errors of a policy and how far they are from a reference's, in one pass.

For rows of predictions p (policy) and r (reference) of one target t, over the n elements of a row::

    error      = (1/n) sum (p - t)^2
    difference = (1/n) sum (p - t)^2 - (1/n) sum (r - t)^2  =  (1/n) sum (p - r) (p + r - 2 t)

The last form does not subtract two numbers that are nearly equal. Diffusion-DPO multiplies the difference by
half of beta, in the thousands, while policy and reference are still close: four errors in float32 then lose
four digits that this form keeps. Everything is computed in float32 at least. Both results have the same
gradient, 2 (p - t) / n, with respect to the policy; reference and target are constants.
"""

from auscult.core.kernels.paired_error.op import paired_error

__all__ = ["paired_error"]
