"""PRISM: a risk model of sparse clinical time series that weighs values by how far they can be trusted.

Zhu et al., "PRISM: Mitigating EHR Data Sparsity via Learning from Missing Feature Calibrated Prototype Patient
Representations", CIKM 2024 (arXiv 2309.04160), after the authors' released model file; what differs from it is
a switch of :class:`~auscult.sparse_ehr.nn.config.PrismConfig`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from auscult.core.errors import InputError
from auscult.sparse_ehr.nn.attention import CalibratedAttention
from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.encoder import ChannelGRU, StaticEncoder
from auscult.sparse_ehr.nn.parameters import Share
from auscult.sparse_ehr.nn.prototypes import PrototypeGraph


class PrismOutput(NamedTuple):
    """What the model says about B patients.

    ``logits`` [B] of the outcome; ``confidence`` and ``attention`` [B, T, F] of each cell, 0 beyond a stay;
    ``summary`` and ``summary_confidence`` [B, F], what patients are compared by; ``prototype`` [B] the index of
    the most similar one, ``similarity`` [B, K] to each; ``patient`` [B, H] the last representation.
    """

    logits: Tensor
    confidence: Tensor
    attention: Tensor
    summary: Tensor
    summary_confidence: Tensor
    prototype: Tensor
    similarity: Tensor
    patient: Tensor


class Prism(nn.Module):
    """The whole model. Features are the static values, then the dynamic variables.

    Parameters
    ----------
    config
        Sizes and switches.
    rate
        [L], for each dynamic variable the share of all training steps that hold a value.

    Raises
    ------
    InputError
        For rates that are not L numbers in [0, 1].

    Examples
    --------
    >>> import torch
    >>> model = Prism(PrismConfig((1, 2), n_static=1), torch.tensor([0.9, 0.1])).eval()
    >>> hours = torch.tensor([0.0, torch.inf]).expand(4, 6, 2)
    >>> output = model(torch.randn(4, 6, 3), torch.randn(4, 1), hours)
    >>> output.logits.shape, output.confidence.shape
    (torch.Size([4]), torch.Size([4, 6, 3]))
    """

    rate: Tensor

    def __init__(self, config: PrismConfig, rate: Tensor) -> None:
        super().__init__()
        rate = torch.as_tensor(rate, dtype=torch.float32)
        if tuple(rate.shape) != (len(config.widths),) or not ((rate >= 0) & (rate <= 1)).all():
            raise InputError(f"the rates are {rate.tolist()}: give one in [0, 1] for each of {len(config.widths)}")
        self.config = config
        features, hidden = config.n_features, config.hidden
        self.register_buffer("rate", torch.cat([torch.ones(config.n_static), rate]))
        self.static = StaticEncoder(config.n_static, config.channel)
        self.dynamic = ChannelGRU(config.widths, config.channel)
        self.attention = CalibratedAttention(config)
        self.prototypes = PrototypeGraph(config)
        self.eta = Share(0.05, constrain=config.constrain)
        self.fuse = nn.Linear(features * config.channel, features)
        self.embed = nn.Linear(features, hidden)
        self.first, self.second = ChannelGRU([hidden], hidden), ChannelGRU([hidden], hidden)
        self.normalize = nn.LayerNorm(hidden) if config.normalize_steps else nn.Identity()
        self.state_dropout, self.dropout = nn.Dropout(config.state_dropout), nn.Dropout(config.dropout)
        self.predict = nn.Linear(hidden, 1)
        self.readout = nn.Linear(features * config.channel, 1) if config.direct_readout else None
        if self.readout is not None:
            nn.init.zeros_(self.readout.weight)
            nn.init.zeros_(self.readout.bias)

    def forward(
        self,
        values: Tensor,
        static: Tensor,
        hours: Tensor,
        never: Tensor | None = None,
        length: Tensor | None = None,
    ) -> PrismOutput:
        """Predict; patients are independent in evaluation mode (except with ``prototype_update="batch"``).

        Parameters
        ----------
        values
            [B, T, sum of widths], scaled and without gaps; beyond a stay anything, NaN too.
        static
            [B, S].
        hours
            [B, T, L] since each variable was last observed, 0 where it is observed now.
        never
            Boolean [B, T, L], where a variable was not observed so far; by default where hours are infinite.
        length
            [B], steps of each stay, by default T. A stay without a step is read as one step.

        Raises
        ------
        InputError
            For shapes that do not fit the configuration.
        """
        config = self.config
        batch, steps, columns = values.shape
        shapes = (columns, tuple(static.shape), tuple(hours.shape))
        if shapes != (sum(config.widths), (batch, config.n_static), (batch, steps, len(config.widths))) or not steps:
            raise InputError(
                f"values {tuple(values.shape)}, static {shapes[1]} and hours {shapes[2]} do not fit: give at least "
                f"one step, {sum(config.widths)} columns, {config.n_static} static values, {len(config.widths)} times"
            )
        # Where no stay is shorter than the steps, the GRUs need not look for its end.
        cut = None if length is None or bool((length >= steps).all()) else length.clamp(1, steps)
        lengths = torch.full((batch,), steps, device=values.device) if length is None else length
        step = torch.arange(steps, device=values.device)
        inside = (step < lengths[:, None])[:, :, None]
        lengths = lengths.clamp(1, steps)
        valid = step < lengths[:, None]
        values = values.masked_fill(~inside, 0.0)
        tau, unseen = self._times(hours.masked_fill(~inside, torch.inf), never)
        seen = ~unseen if config.hard_mask else None
        states = self.dynamic(values, mask=seen, length=cut)
        fixed = self.static(static)[:, None].expand(batch, steps, -1, -1)
        states = torch.cat([fixed.to(states.dtype), states], dim=2)
        tau, unseen = self._known(tau, unseen)
        states, confidence, attention = self.attention(states, tau, unseen, self.rate, valid)
        summary = last_step(states, lengths).mean(2)
        last = config.confidence_pool == "last"
        summary_confidence = last_step(confidence, lengths) if last else confidence.sum(1) / lengths[:, None]
        found = self.prototypes(summary, summary_confidence)
        flat = states.flatten(2)
        steps_fused = self.fuse(self.state_dropout(flat))
        eta = self.eta() if config.prototypes else 0.0
        fused = eta * found.embedding[:, None].to(steps_fused.dtype) + (1 - eta) * steps_fused
        lower = self.first(self.normalize(self.embed(fused)), length=cut)[:, :, 0]
        upper = self.second(lower, length=cut)[:, -1, 0]
        patient = (lower[:, -1] + upper) / 2
        logits = self.predict(self.dropout(patient))[:, 0]
        if self.readout is not None:
            logits = logits + self.readout(self.state_dropout(last_step(flat, lengths)))[:, 0]
        return PrismOutput(
            logits, confidence, attention, summary, summary_confidence, found.prototype, found.similarity, patient
        )

    def cell_confidence(self, attention: Tensor, hours: Tensor, step: Tensor) -> Tensor:
        """Return the confidence [B, T, L] of the dynamic variables' cells on a grid finer than the model's steps.

        A cell shares the attention of its step, and has its own time since the last record.

        Parameters
        ----------
        attention
            [B, S, F], as :meth:`forward` returns it for stays of S steps each.
        hours
            [B, T, L] since each variable was last observed.
        step
            [T] the model's step that each of the grid's lies in.
        """
        tau, unseen = self._known(*self._times(hours, None))
        cells = attention.new_full((1, 1, 1), attention.shape[1] * attention.shape[2])
        confidence: Tensor = self.attention.confidence(attention[:, step], tau, unseen, self.rate, cells)
        return confidence[:, :, self.config.n_static :]

    def _known(self, tau: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
        """Put static values, which are known at all times, in front of the dynamic variables."""
        known = (self.config.n_static, 0)
        return nn.functional.pad(tau, known), nn.functional.pad(unseen, known)

    def _times(self, hours: Tensor, never: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return time since the last record in halves of the horizon, and where there was none."""
        if not self.config.explicit_never:
            tau = (hours / 24.0).clamp(max=2.0)
            return tau, tau >= 2.0
        unseen = hours.isinf() if never is None else never | hours.isinf()
        return hours / (self.config.horizon / 2), unseen


def last_step(tensor: Tensor, lengths: Tensor) -> Tensor:
    """Return [B, ...] each stay's last step of [B, T, ...]."""
    return tensor[torch.arange(len(tensor), device=tensor.device), lengths - 1]
