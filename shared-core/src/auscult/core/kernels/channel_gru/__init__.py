r"""Independent small GRUs, one a channel, in one call.

Channel f with input x_t of width P_f and state h of width C follows the equations of ``torch.nn.GRU``
(Cho et al. 2014, arXiv 1406.1078, with the reset gate after the matrix, as cuDNN has it)::

    r = sigmoid(W_r x_t + b_r + U_r h + c_r)
    z = sigmoid(W_z x_t + b_z + U_z h + c_z)
    n = tanh(W_n x_t + b_n + r * (U_n h + c_n))
    h = (1 - z) * n + z * h

Where a mask is False the state is kept, which is z = 1: the value is exact, and all gradients of that step
vanish by themselves. The plain-torch formula lays a block of channels out as [channel, unit, patient], so that
gates are contiguous, and takes one batched product a step for all three gates of the state with the input
and a row of ones appended. Its gradient is written out, from the saved gates. Blocks are chosen to stay in
the cache.
"""

from auscult.core.kernels.channel_gru.op import channel_gru

__all__ = ["channel_gru"]
