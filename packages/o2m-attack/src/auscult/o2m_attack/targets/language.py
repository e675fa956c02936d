"""The language model of a target, as the objective needs it: embeddings in, log-likelihoods out."""

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from auscult.core.kernels.target_nll import target_nll
from auscult.o2m_attack.optimise.budget import Ledger
from auscult.o2m_attack.targets.cache import Prefix, SharedCache


class LanguageModel:
    """A decoder of transformers with its head; counts what goes forward through it.

    Parameters
    ----------
    decoder
        Takes ``inputs_embeds`` and a cache and returns ``last_hidden_state``.
    head
        The linear layer from hidden states to the vocabulary.
    embedding
        Of token ids [V, d].
    layers
        How many the decoder has.
    context
        Positions it was made for at most.
    """

    def __init__(
        self, decoder: nn.Module, head: nn.Linear, embedding: nn.Embedding, *, layers: int, context: int
    ) -> None:
        self._decoder = decoder
        self._layers = layers
        self.head = head
        self.embedding = embedding
        self.context = context
        # transformers called the argument past_key_values before 5.24, and warns of that name since.
        names = inspect.signature(decoder.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"
        self._plain = _is_plainly_causal(decoder)
        self._mask = lru_cache(maxsize=4)(self._make_mask)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type it computes in."""
        return self.embedding.weight.dtype

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings [..., d] of token ids."""
        embedded: Tensor = self.embedding(ids.to(self.device))
        return embedded

    def hidden(self, embeds: Tensor, prefix: Prefix, ledger: Ledger) -> Tensor:
        """Return the last hidden states [B, S, d] of positions that follow a prefix."""
        return self._forward(embeds, SharedCache(prefix, self._layers) if len(prefix) else None, ledger)

    def extend(self, prefix: Prefix, embeds: Tensor, ledger: Ledger) -> Prefix:
        """Return a prefix with further positions [1, S, d] behind it; none of it is differentiable."""
        if not embeds.shape[1]:
            return prefix
        cache = SharedCache(prefix, self._layers, record=True)
        with torch.no_grad():
            self._forward(embeds, cache, ledger)
        return cache.recorded

    def negative_log_likelihood(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the target's tokens [T] for each row of hidden states [B, T, d]."""
        return target_nll(hidden, self.head.weight, target.to(self.device))

    def _forward(self, embeds: Tensor, cache: SharedCache | None, ledger: Ledger) -> Tensor:
        ledger.forward_tokens += embeds.shape[0] * embeds.shape[1]
        arguments: dict[str, Any] = {} if cache is None else {self._cache_name: cache}
        if cache is not None and self._plain and cache.get_seq_length():
            arguments["attention_mask"] = self._mask(embeds.shape[1], cache.get_seq_length())
        output = self._decoder(inputs_embeds=embeds.to(self.dtype), use_cache=False, **arguments)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _make_mask(self, new: int, old: int) -> Tensor:
        """Return what is added to the attention [1, 1, new, old + new] of new positions behind old ones.

        transformers makes a mask of booleans for every row of a batch, which each layer turns into numbers.
        """
        with torch.inference_mode(False):
            mask = torch.full((new, old + new), -torch.inf, dtype=self.dtype, device=self.device)
            return mask.triu(old + 1)[None, None]


def _is_plainly_causal(decoder: nn.Module) -> bool:
    """Return whether every layer of a decoder sees all positions before its own, in an attention that takes a mask."""
    config: Any = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    plain = kinds == {"full_attention"} and not getattr(config, "sliding_window", None)
    return plain and getattr(config, "_attn_implementation", None) in ("eager", "sdpa")
