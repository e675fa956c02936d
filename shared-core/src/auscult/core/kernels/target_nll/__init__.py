r"""How unlikely a target is, from hidden states: linear head and cross entropy over the target's positions alone.

For rows b of a batch that share a target y of T tokens, with hidden states h and the head's weight W::

    nll_b = (1/T) sum_t [ log sum_v exp(h_bt . W_v) - h_bt . W_{y_t} ]

The scores of all rows would be an array of B x T x V: at B = 512, T = 20 and a vocabulary of 32 000 more than a
gigabyte in float32, before its softmax. Here positions go through in bands whose scores are dropped once their two
numbers are known; the gradient computes them again. Sums run in float32 at least.
"""

from auscult.core.kernels.target_nll.op import target_nll

__all__ = ["target_nll"]
