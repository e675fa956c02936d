"""Dropping repetitions: of texts that are alike, the first is kept. Similarities are computed in blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.agfsync.config import DedupConfig
from auscult.core.errors import InputError

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
_BLOCK = 1024


def keep_first(texts: Sequence[str], config: DedupConfig, embed: Embed | None = None) -> list[int]:
    """Return the positions of the texts that repeat no kept text before them.

    Parameters
    ----------
    texts
        In order.
    config
        Method and threshold.
    embed
        From texts to unit embeddings (n, D), for the method ``embedding``; see :func:`load_encoder`.

    Examples
    --------
    >>> keep_first(["A red fox.", "a  red fox.", "two owls"], DedupConfig(method="exact"))
    [0, 2]
    """
    seen: dict[str, None] = {}
    unique = []
    for position, text in enumerate(texts):
        folded = " ".join(text.split()).casefold()
        if folded not in seen:
            seen[folded] = None
            unique.append(position)
    if config.method == "exact" or len(unique) < 2:
        return unique
    chosen = [texts[position] for position in unique]
    if config.method == "ngram":
        kept = _keep_by_ngrams(chosen, config.threshold)
    elif embed is None:
        raise InputError("the method embedding needs an encoder: give one, or use the method ngram")
    else:
        kept = keep_by_embedding(np.asarray(embed(chosen), np.float32), config.threshold)
    return [unique[position] for position in kept]


def keep_by_embedding(embeddings: npt.NDArray[np.float32], threshold: float, block: int = _BLOCK) -> list[int]:
    """Return the rows whose cosine to every kept row before them is below a threshold; greedy, in order."""
    kept: list[int] = []
    for start in range(0, len(embeddings), block):
        own = embeddings[start : start + block]
        alive = np.ones(len(own), bool)
        for other in range(0, len(kept), block):
            alive &= (own @ embeddings[kept[other : other + block]].T < threshold).all(1)
        near = own @ own.T >= threshold
        for row in range(len(own)):
            if alive[row]:
                kept.append(start + row)
                alive[row + 1 :] &= ~near[row, row + 1 :]
    return kept


def _keep_by_ngrams(texts: Sequence[str], threshold: float) -> list[int]:
    """Compare with those kept texts that share an n-gram, by the Jaccard index of their sets."""
    kept: list[int] = []
    sizes: dict[int, int] = {}
    by_gram: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        grams = ngrams(text)
        shared: dict[int, int] = {}
        for gram in grams:
            for other in by_gram.get(gram, ()):
                shared[other] = shared.get(other, 0) + 1
        if any(n / (len(grams) + sizes[other] - n) >= threshold for other, n in shared.items()):
            continue
        kept.append(position)
        sizes[position] = len(grams)
        for gram in grams:
            by_gram.setdefault(gram, []).append(position)
    return kept


def ngrams(text: str, n: int = 3) -> set[str]:
    """Return the letter n-grams of a text, case and spaces folded."""
    folded = f" {' '.join(text.split()).casefold()} "
    return {folded[i : i + n] for i in range(max(len(folded) - n + 1, 1))}


def load_encoder(model: str, device: str = "cpu") -> Embed:
    """Return a sentence encoder of transformers: the first token's state, of unit length, as the BGE models want it."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
        encoder: Any = AutoModel.from_pretrained(model).to(device).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"the encoder {model!r} cannot be loaded: give a folder, or use the method ngram") from error

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(list(texts[start : start + 64]), padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                state = encoder(**batch.to(device)).last_hidden_state[:, 0].float()
            parts.append((state / state.norm(dim=1, keepdim=True)).cpu().numpy())
        return np.concatenate(parts)

    return embed
