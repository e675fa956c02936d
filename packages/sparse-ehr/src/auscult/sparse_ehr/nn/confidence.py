"""How far each measured or missing value can be trusted (section 4.2 of the specification of PRISM)."""

import math

import torch
from torch import Tensor, nn

from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.parameters import Positive


class FeatureConfidence(nn.Module):
    """Confidence of each cell from attention, time since the last record and how often a variable is measured.

    With attention a (relative to its mean where rescaled) and time tau since the last record::

        c = tanh(a / (gamma_f log(e + (1 - attention) tau)))     where the variable was observed before
        c = beta rate_f                                          where it never was

    Parameters
    ----------
    config
        Of the model.
    """

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        self.config = config
        self.gamma = Positive(config.n_features, 0.8, constrain=config.constrain)
        self.beta = nn.Parameter(torch.tensor(0.3))

    def forward(self, attention: Tensor, tau: Tensor, never: Tensor, rate: Tensor, cells: Tensor) -> Tensor:
        """Return the confidence [B, T, F].

        Parameters
        ----------
        attention
            [B, T, F], with a sum of 1 for each patient.
        tau
            [B, T, F], time since the last record; may be infinite where ``never``.
        never
            [B, T, F], where there was no record so far.
        rate
            [F], the share of all steps that hold a value.
        cells
            [B, 1, 1], how many cells the attention is spread over.
        """
        if not self.config.confidence:
            return torch.ones_like(attention)
        strength = attention * cells if self.config.rescale_attention else attention
        if self.config.confidence_from == "missingness":
            strength = torch.ones_like(attention)
        # Before the logarithm: infinite times would make its gradient NaN.
        tau = torch.where(never, 0.0, tau if self.config.use_time else torch.zeros_like(tau)).to(attention.dtype)
        decay = self.gamma() * torch.log(math.e + (1 - attention) * tau)
        unseen = self.beta * rate if self.config.use_rate else torch.zeros_like(rate)
        return torch.where(never, unseen.to(attention.dtype), torch.tanh(strength / decay))
