"""Attention that confidence calibrates, in its exact cheap form (sections 4.1, 4.3 to 4.5)."""

import math

import torch
from torch import Tensor, nn

from auscult.sparse_ehr.nn.confidence import FeatureConfidence
from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.parameters import Share
from auscult.sparse_ehr.nn.received import received_attention


class CalibratedAttention(nn.Module):
    """Queries of the last step attend to the cells of all steps, mixed with the cells' confidence.

    The released code tiles the attention over steps, to [B, TF, TF]. As confidence does not depend on the query,
    the same result is a product with [B, F, TF] and a term of rank one; nothing larger is built.

    Parameters
    ----------
    config
        Of the model.
    """

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        self.config = config
        self.query, self.key, self.value = (nn.Linear(config.channel, config.channel) for _ in range(3))
        self.confidence = FeatureConfidence(config)
        self.mu = Share(0.05, constrain=config.constrain)

    def forward(
        self, states: Tensor, tau: Tensor, never: Tensor, rate: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return calibrated states [B, T, F, C], confidence [B, T, F], mean attention [B, T, F].

        Parameters
        ----------
        states
            [B, T, F, C]; the last step holds each patient's last valid state.
        tau, never, rate
            As in :class:`~auscult.sparse_ehr.nn.confidence.FeatureConfidence`.
        valid
            Boolean [B, T]: the steps that belong to a stay, at least one each.
        """
        batch, steps, features, channel = states.shape
        tokens = steps * features
        query = self.query(states[:, -1]).to(torch.promote_types(states.dtype, torch.float32)) / math.sqrt(channel)
        key = self.key(states).reshape(batch, tokens, channel).to(query.dtype)
        value = self.value(states).to(query.dtype) * valid[:, :, None, None]
        inside = valid[:, :, None].expand(batch, steps, features).reshape(batch, tokens)
        # One more column of values, the same for all queries, collects the mean attention.
        by_query = torch.cat([value.sum(1), query.new_full((batch, features, 1), 1 / features)], dim=2)
        collected, received = received_attention(query, key, by_query, inside).split([channel, 1], dim=2)
        received = received.view(batch, steps, features)
        cells = (valid.sum(1) * features).view(batch, 1, 1).to(query.dtype)
        confidence = self.confidence(received, tau, never, rate, cells) * valid[:, :, None]
        weight, mu = self._weight(confidence), self.mu() if self.config.calibrated_attention else 0.0
        if self.config.attention_apply == "paid":
            flat = value.view(batch, tokens, channel)
            # Autocast would round the products.
            with torch.autocast(states.device.type, enabled=False):
                common = weight.view(batch, 1, tokens) @ flat
                attention = (query @ key.transpose(1, 2)).masked_fill(~inside[:, None], -torch.inf).softmax(dim=2)
                paid = mu * common + (1 - mu) * (attention @ flat)
            step = torch.arange(steps, device=states.device)
            out = paid[:, None] * (step == valid.sum(1)[:, None] - 1)[:, :, None, None]
        else:
            all_values = value.sum((1, 2))[:, None, None]
            out = mu * weight[..., None] * all_values + (1 - mu) * collected.reshape(states.shape)
        return states + out, confidence, received

    def _weight(self, confidence: Tensor) -> Tensor:
        if not self.config.normalize_confidence:
            return confidence
        positive = confidence.relu()
        return positive / positive.sum((1, 2), keepdim=True).clamp_min(torch.finfo(positive.dtype).tiny)
