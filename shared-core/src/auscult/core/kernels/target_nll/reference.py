"""The readable form of :mod:`auscult.core.kernels.target_nll`; the truth in its tests."""

from torch import Tensor


def target_nll_reference(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the mean negative log-likelihood [B] of a target [T], from hidden states [B, T, d] and a head [V, d]."""
    log_likelihood = (hidden @ weight.T).log_softmax(dim=-1)
    wanted = target.expand(hidden.shape[0], -1)[:, :, None]
    return -log_likelihood.gather(2, wanted)[:, :, 0].mean(dim=1)
