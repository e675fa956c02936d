"""The text branch: suffix candidates along the gradient by token, as greedy coordinate gradient (GCG) draws them."""

import torch
from torch import Tensor

from auscult.o2m_attack.config import AttackConfig
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.targets.prompts import Prompts


def sample_candidates(
    suffix_ids: Tensor,
    gradient: Tensor,
    forbidden: Tensor,
    config: AttackConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return suffixes [B, n] that differ from the current one in a few tokens.

    Parameters
    ----------
    suffix_ids
        [n], the current suffix.
    gradient
        [n, V], of the loss by the one-hot rows of the suffix.
    forbidden
        [V], the ids that no candidate may bring in.
    config
        ``search_width`` (B), ``topk``, ``n_replace``, ``sampler`` and ``temperature``.
    generator
        Of torch, on the CPU.
    """
    n, width = len(suffix_ids), config.search_width
    if config.sampler == "reference":
        # A row of norm one over the whole vocabulary, which leaves nearly equal weights to its best tokens.
        gradient = gradient / gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
    descent = -gradient.nan_to_num(0.0, 0.0, 0.0).masked_fill(forbidden.to(gradient.device), torch.inf)
    k = min(config.topk, int((~forbidden).sum()))
    values, tokens = (found.cpu() for found in descent.topk(k, dim=1))
    replaced = 1 if config.sampler == "reference" else min(config.n_replace, n)
    if config.sampler == "reference":
        positions = (torch.arange(width) * n // max(width, 1) % n)[:, None]
    else:
        positions = torch.rand(width, n, generator=generator).argsort(dim=1)[:, :replaced]
    weights = _weights(values, config)[positions].reshape(-1, k)
    chosen = torch.multinomial(weights, 1, generator=generator).reshape(width, replaced) if width else positions
    candidates = suffix_ids.cpu().repeat(width, 1)
    return candidates.scatter(1, positions, tokens[positions, chosen])


def keep_survivors(objective: Objective, prompts: Prompts, suffix_ids: Tensor, candidates: Tensor) -> Tensor:
    """Return the different candidates [B', n] that are not the current suffix and survive being written and read."""
    rows = list(dict.fromkeys(map(tuple, candidates.tolist())))
    current = tuple(suffix_ids.tolist())
    rows = [row for row in rows if row != current]
    kept = prompts.survives(objective.segments, rows)
    survivors = [row for row, survives in zip(rows, kept, strict=True) if survives]
    return torch.tensor(survivors, dtype=torch.long).reshape(-1, len(suffix_ids))


def text_branch(
    objective: Objective, prompts: Prompts, suffix_ids: Tensor, config: AttackConfig, generator: torch.Generator
) -> tuple[Tensor, float] | None:
    """Return the best candidate [n] and its loss, all scored with the current image; None where none survives."""
    _, gradient = objective.token_gradient(suffix_ids)
    forbidden = _of_length(prompts.forbidden(allow_non_ascii=config.allow_non_ascii), gradient.shape[1])
    candidates = sample_candidates(suffix_ids, gradient, forbidden, config, generator)
    survivors = keep_survivors(objective, prompts, suffix_ids, candidates)
    if not len(survivors):
        return None
    losses = objective.candidate_losses(survivors).nan_to_num(nan=torch.inf)
    best = int(losses.argmin())
    return survivors[best], float(losses[best])


def _weights(values: Tensor, config: AttackConfig) -> Tensor:
    """Return the probabilities [n, k], up to a factor, of the tokens with the steepest descent."""
    if config.sampler == "uniform":
        return torch.ones_like(values)
    if config.sampler == "gradient":
        # In units of the row's own spread, so that a temperature means the same for every model.
        spread = values.std(dim=1, keepdim=True, correction=0).clamp_min(torch.finfo(values.dtype).tiny)
        values = (values - values.amax(dim=1, keepdim=True)) / spread / config.temperature
    weights: Tensor = values.softmax(dim=1)
    return weights


def _of_length(forbidden: Tensor, size: int) -> Tensor:
    """Forbid also the rows of an embedding matrix that no token has."""
    padded = torch.ones(size, dtype=torch.bool)
    shared = min(size, len(forbidden))
    padded[:shared] = forbidden[:shared]
    return padded
