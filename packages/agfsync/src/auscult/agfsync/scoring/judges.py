"""Judges: models that answer questions about a picture with yes or no.

A judge gets pictures with the questions about each and returns, for each question, the probability of yes (soft)
or 0 and 1 (hard), and the answer in words. Judges share no code but this shape, so yours needs only ``ask``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.scoring.parsing import parse_answer
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Verdict:
    """The answers to the questions about one picture.

    Attributes
    ----------
    answers
        ``yes``, ``no``, ``unparsed`` or ``failed``, one a question.
    yes
        The probability of yes of each: 0 or 1 in hard mode, NaN where the question failed.
    """

    answers: list[str]
    yes: list[float]

    @property
    def score(self) -> float:
        """100 times the mean over the questions; NaN without any, and where one failed."""
        return 100 * float(np.mean(self.yes)) if self.yes else float("nan")


class Judge(Protocol):
    """Answers yes/no questions about pictures."""

    def ask(self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]) -> list[Verdict]:
        """Return one verdict a picture."""


def make_judge(config: ScoreConfig) -> Judge | None:
    """Return the judge that a configuration names; None for ``none``."""
    if config.vqa == "none":
        return None
    if config.vqa == "shapes":
        return ShapesJudge()
    if config.vqa == "endpoint":
        from auscult.agfsync.scoring.endpoint_judge import EndpointJudge

        return EndpointJudge(config)
    from auscult.agfsync.scoring.model_judge import Blip2Judge, ChatJudge

    return Blip2Judge(config) if config.vqa == "blip2" else ChatJudge(config)


class ShapesJudge:
    """The judge of the shapes world: it looks at the pixels of a picture, once, and answers what is asked."""

    def ask(self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]) -> list[Verdict]:
        """Return one verdict a picture; soft and hard are the same here."""
        from auscult.agfsync.shapes.questions import judge

        found = judge([np.asarray(image) for image in images], questions)
        return [
            Verdict(["yes" if yes else "no" for yes in answers], [float(yes) for yes in answers]) for answers in found
        ]


def hard_verdict(replies: Sequence[str]) -> Verdict:
    """Return the verdict of replies in words; what is neither yes nor no counts as 0."""
    answers = [parse_answer(reply) for reply in replies]
    return Verdict(list(answers), [float(answer == "yes") for answer in answers])


def yes_probability(logits: Any, yes: Sequence[int], no: Sequence[int]) -> list[float]:
    """Return P(yes) / (P(yes) + P(no)) of rows of first-token logits (N, V)."""
    import torch

    if not yes or not no:
        raise InputError("the tokenizer has no token for yes or for no: use vqa_mode hard")
    both = torch.stack([logits[:, list(yes)].logsumexp(1), logits[:, list(no)].logsumexp(1)], 1).float()
    result: list[float] = both.softmax(1)[:, 0].tolist()
    return result
