"""Defences against suffixes: vote over randomly changed copies, or stop text that no one would write."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from auscult.core.canonical import digest
from auscult.core.errors import InputError
from auscult.o2m_attack.defences.protocol import Filter
from auscult.o2m_attack.judges.refusal import refuses_at_start
from auscult.o2m_attack.targets.protocol import Query, Target

if TYPE_CHECKING:
    from auscult.o2m_attack.targets.language import LanguageModel

_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?"


@dataclass(frozen=True)
class SmoothText:
    """Ask several copies whose characters are changed at random, and answer as most of them (Robey et al., SmoothLLM).

    The vote is whether a copy is refused; the reply is that of the first copy on the winning side, and a tie refuses.

    Parameters
    ----------
    copies
        How many, each a query to the model.
    rate
        Share of the characters of question and suffix that are replaced.
    refuses
        How a refusal is recognised.
    seed
        Of the changes, which depend on the text too.
    """

    copies: int = 5
    rate: float = 0.05
    refuses: Callable[[str], bool] = field(default=refuses_at_start, compare=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"copies is {self.copies}: use 1 or more")
        if not 0 <= self.rate <= 1:
            raise InputError(f"the rate is {self.rate}: use a share from 0 to 1")

    @property
    def name(self) -> str:
        """Kind, copies, rate and seed."""
        return f"smoothing, {self.copies} copies, {100 * self.rate:g}%, seed {self.seed}"

    def generate(self, target: Target, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the reply on the winning side of each vote."""
        changed = [self._change(query, copy) for query in queries for copy in range(self.copies)]
        replies = target.generate(changed, max_new_tokens=max_new_tokens)
        found = []
        for start in range(0, len(replies), self.copies):
            votes = replies[start : start + self.copies]
            refused = Counter(map(self.refuses, votes))
            wins = refused[True] >= refused[False]
            found.append(next(vote for vote in votes if self.refuses(vote) == wins))
        return found

    def _change(self, query: Query, copy: int) -> Query:
        rng = np.random.default_rng([self.seed, copy, int(digest([query.question, query.suffix])[:12], 16)])
        return replace(query, question=self._noisy(query.question, rng), suffix=self._noisy(query.suffix, rng))

    def _noisy(self, text: str, rng: np.random.Generator) -> str:
        drawn = rng.random(len(text)) < self.rate
        letters = rng.integers(len(_CHARACTERS), size=len(text))
        return "".join(
            _CHARACTERS[letter] if change else old for old, change, letter in zip(text, drawn, letters, strict=True)
        )


@dataclass(frozen=True)
class PerplexityFilter(Filter):
    """Stop a text whose least likely stretch is less likely than benign text is (Jain et al., 2023, arXiv 2309.00614).

    Parameters
    ----------
    perplexity
        From texts to the largest mean negative log-likelihood a token of any window; :func:`language_surprise` makes
        one of a local model.
    threshold
        What is above is stopped; :func:`~auscult.o2m_attack.defences.detectors.threshold_for` finds one from benign
        texts.
    """

    perplexity: Callable[[Sequence[str]], list[float]]
    threshold: float

    @property
    def name(self) -> str:
        """Kind and threshold."""
        return f"perplexity filter at {self.threshold:.6g}"

    def stops(self, target: Target, queries: Sequence[Query]) -> list[bool]:
        """Return which texts are above the threshold."""
        texts = [f"{query.question}\n{query.suffix}".rstrip() for query in queries]
        return [score > self.threshold for score in self.perplexity(texts)]


def language_surprise(
    language: "LanguageModel", tokenizer: Callable[..., dict[str, list[int]]], *, window: int = 10
) -> Callable[[Sequence[str]], list[float]]:
    """Return a measure of text by a language model: the largest mean negative log-likelihood of a window of tokens.

    Parameters
    ----------
    language
        Of a local target, ``LlavaTarget.language`` for one.
    tokenizer
        Of the same model.
    window
        Tokens; a suffix of this length cannot hide behind a long question.
    """
    import torch

    from auscult.o2m_attack.optimise.budget import Ledger
    from auscult.o2m_attack.targets.cache import Prefix

    @torch.inference_mode()
    def surprise(text: str) -> float:
        ids = torch.tensor([tokenizer(text)["input_ids"]], device=language.device)
        if ids.shape[1] < 2:
            return 0.0
        logits = language.head(language.hidden(language.embed(ids), Prefix(), Ledger()))[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        width = min(window, len(losses))
        return float(losses.unfold(0, width, 1).mean(1).max())

    return lambda texts: [surprise(text) for text in texts]
