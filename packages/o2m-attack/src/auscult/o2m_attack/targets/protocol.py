"""What a model under test has to offer: replies, and for optimisation a loss with gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from auscult.o2m_attack.record import Record

if TYPE_CHECKING:
    from torch import Tensor

    from auscult.o2m_attack.optimise.budget import Ledger
    from auscult.o2m_attack.preprocess import Preprocessor
    from auscult.o2m_attack.targets.language import LanguageModel
    from auscult.o2m_attack.targets.prompts import Prompts


@dataclass(frozen=True, eq=False)
class Query:
    """One question to a model.

    Parameters
    ----------
    image
        uint8 [height, width, 3], RGB.
    question
        Claim and prompt, as :func:`~auscult.o2m_attack.conditions.make_request` words them.
    suffix
        The optimised suffix, or the empty text.
    """

    image: np.ndarray[Any, np.dtype[np.uint8]]
    question: str
    suffix: str = ""


@runtime_checkable
class Target(Protocol):
    """Any model that can be asked; this is all that a transfer needs."""

    @property
    def name(self) -> str:
        """What reports call it, and what replies are kept under: another name for another model or other settings."""

    def generate(self, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the greedy reply to each query, without the prompt and special tokens."""


@runtime_checkable
class WhiteBoxTarget(Target, Protocol):
    """A model with gradients, which the optimisers work on."""

    @property
    def language(self) -> "LanguageModel":
        """Embeddings in, log-likelihoods out."""

    @property
    def prompts(self) -> "Prompts":
        """How its chat is written and read."""

    @property
    def preprocessor(self) -> "Preprocessor":
        """From an image to what its vision tower sees."""

    def features(self, image: "Tensor", ledger: "Ledger | None" = None) -> "Tensor":
        """Return the image's positions [M, d] in the language model's input; differentiable in the image [3, H, W]."""

    def loss(
        self, image: "Tensor", suffix_ids: "Tensor | Sequence[int]", record: Record, condition: str = "2m"
    ) -> "Tensor":
        """Return the mean negative log-likelihood of the target; differentiable in the image.

        Parameters
        ----------
        image
            [3, H, W] in [0, 1], of the size that the vision tower sees.
        suffix_ids
            [n] token ids.
        record, condition
            What is asked and what is the target.
        """
