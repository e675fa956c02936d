"""Prototype patients: similarity, graph and assignment (sections 5.2 to 5.5)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from auscult.core.errors import InputError
from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.parameters import Share
from auscult.sparse_ehr.nn.similarity import patient_similarity

_MOMENTUM = 0.9


class Assignment(NamedTuple):
    """``embedding`` [B, F] of each patient's prototype, ``prototype`` [B] its index, ``similarity`` [B, K]."""

    embedding: Tensor
    prototype: Tensor
    similarity: Tensor


class PrototypeGraph(nn.Module):
    """Finds each patient's prototype and embeds it by a graph of prototypes and the patients of a batch.

    Only the prototypes' rows of the graph are read, so only those are computed. Nothing flows back to the
    encoder. Prototypes, their confidence and, for evaluation, the running mean of their embeddings are buffers:
    a saved model holds them, and evaluation changes none (except with ``prototype_update="batch"``).

    Parameters
    ----------
    config
        Of the model.
    """

    centres: Tensor
    confidence: Tensor
    embedding: Tensor
    updates: Tensor

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        self.config = config
        features, hidden, count = config.n_features, config.hidden, config.n_prototypes
        bound = hidden**-0.5
        self.weight = nn.Parameter(torch.empty(features, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.out = nn.Linear(hidden, features)
        self.zeta = Share(0.05, constrain=config.constrain)
        self.register_buffer("centres", torch.randn(count, features))
        self.register_buffer("confidence", torch.ones(count, features))
        self.register_buffer("embedding", torch.zeros(count, features))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def initialize(self, centres: Tensor, confidence: Tensor | None = None) -> None:
        """Set the prototypes [K, F] and their confidence (1 without it), and forget the embeddings.

        Raises
        ------
        InputError
            For another shape, or a value that is not finite.
        """
        for given in (centres, *([] if confidence is None else [confidence])):
            if given.shape != self.centres.shape or not given.isfinite().all():
                raise InputError(
                    f"prototypes of shape {tuple(given.shape)}: give {tuple(self.centres.shape)} finite numbers"
                )
        self.centres.copy_(centres)
        if confidence is None or not self.config.member_confidence:
            self.confidence.fill_(1.0)
        else:
            self.confidence.copy_(confidence)
        self.embedding.zero_()
        self.updates.zero_()

    def forward(self, summary: Tensor, confidence: Tensor) -> Assignment:
        """Assign patients, of summaries [B, F] and confidences [B, F], to prototypes."""
        x, c = summary.detach(), confidence.detach()
        # Copies, as the update must not change what the gradient needs.
        centres, sure = self.centres.clone(), self.confidence.clone()
        kind, zeta = self.config.similarity, self.zeta()
        similarity = patient_similarity(kind, x, c, centres, sure, zeta.detach())
        prototype = similarity.argmax(1)
        update = self.config.prototype_update
        if not self.training and update != "batch" and self.updates:
            return Assignment(self.embedding[prototype].to(x.dtype), prototype, similarity)
        alone = not self.training and update != "batch"
        rows = centres if alone else torch.cat([x, centres])
        rows_sure = sure if alone else torch.cat([c, sure])
        adjacency = patient_similarity(kind, centres, sure, rows, rows_sure, zeta)
        own = torch.eye(len(centres), dtype=torch.bool, device=x.device)
        own = nn.functional.pad(own, (len(rows) - len(centres), 0))
        adjacency = self._normalize(adjacency.masked_fill(own, 1.0))
        mixed = adjacency @ (rows @ self.weight.to(rows.dtype)) + self.bias
        embedding = torch.sigmoid(self.out(mixed))
        if not alone:
            self._update(embedding.detach(), x, c, prototype)
        return Assignment(embedding[prototype], prototype, similarity)

    def _normalize(self, adjacency: Tensor) -> Tensor:
        if self.config.graph_normalization == "none":
            return adjacency
        by_row = adjacency / adjacency.sum(1, keepdim=True)
        if self.config.graph_normalization == "row":
            return by_row
        # A patient's degree counts its edges to prototypes, as there are no others here.
        return adjacency / (adjacency.sum(1, keepdim=True) * adjacency.sum(0)).sqrt()

    @torch.no_grad()
    def _update(self, embedding: Tensor, x: Tensor, c: Tensor, prototype: Tensor) -> None:
        if self.config.prototype_update == "batch":
            self.centres.copy_(embedding)
            return
        self.embedding.copy_(embedding if not self.updates else self._moved(self.embedding, embedding))
        self.updates += 1
        if self.config.prototype_update == "fixed":
            return
        member = nn.functional.one_hot(prototype, len(self.centres)).T.to(x.dtype)
        count = member.sum(1, keepdim=True)
        filled = count > 0
        count = count.clamp_min(1)
        self.centres.copy_(torch.where(filled, self._moved(self.centres, member @ x / count), self.centres))
        if self.config.member_confidence:
            moved = self._moved(self.confidence, member @ c / count)
            self.confidence.copy_(torch.where(filled, moved, self.confidence))

    @staticmethod
    def _moved(old: Tensor, new: Tensor) -> Tensor:
        return _MOMENTUM * old + (1 - _MOMENTUM) * new
