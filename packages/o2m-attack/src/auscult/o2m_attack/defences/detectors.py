"""Detectors of mismatch: whether what a question claims about the image is what the image shows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from auscult.core.canonical import digest
from auscult.core.errors import InputError
from auscult.o2m_attack.defences.protocol import Filter
from auscult.o2m_attack.targets.protocol import Query, Target

_QUESTION = "Does this image show {claim}? Answer yes or no."


class ClaimEncoder(Protocol):
    """How well claims fit images; :class:`~auscult.o2m_attack.judges.relevance.ClipEncoder` is one."""

    def cosine(self, images: Sequence[Any], texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Return the cosine of each pair; an image is uint8 [height, width, 3]."""


@dataclass(frozen=True)
class SimilarityDetector(Filter):
    """Stop a question whose claim is less similar to the image than true claims are.

    Parameters
    ----------
    encoder
        Of images and texts.
    threshold
        What is below is stopped; :func:`threshold_for` finds one from images with true claims.
    template
        What the encoder reads of a claim.
    """

    encoder: ClaimEncoder
    threshold: float
    template: str = "{claim}"

    @property
    def name(self) -> str:
        """Kind and threshold, and a template of one's own."""
        own = "" if self.template == "{claim}" else f" of {self.template!r}"
        return f"mismatch by similarity{own} below {self.threshold:.6g}"

    def stops(self, target: Target, queries: Sequence[Query]) -> list[bool]:
        """Return which claims are below the threshold; a query without a known claim passes."""
        scores = self.encoder.cosine(
            [query.image for query in queries], [self.template.format(claim=_claim(query)) for query in queries]
        )
        return [bool(_claim(query)) and score < self.threshold for query, score in zip(queries, scores, strict=True)]


@dataclass(frozen=True)
class AskingDetector(Filter):
    """Ask the model itself, by the image alone, before it sees the user's words.

    Parameters
    ----------
    question
        With ``{claim}`` in it, or without.
    fits
        From the reply and the claim to whether they agree.
    max_new_tokens
        Of the reply.
    """

    question: str = _QUESTION
    fits: Callable[[str, str], bool] = field(default=lambda reply, claim: says_yes(reply), compare=False)
    max_new_tokens: int = 24

    @property
    def name(self) -> str:
        """Kind, and a digest of a question that is not the default one."""
        own = "" if self.question == _QUESTION else f", question {digest(self.question)[:8]}"
        return f"mismatch by asking the model{own}"

    def stops(self, target: Target, queries: Sequence[Query]) -> list[bool]:
        """Return which claims the model does not confirm; a query without a known claim passes."""
        asked = [Query(query.image, self.question.format(claim=_claim(query))) for query in queries]
        replies = target.generate(asked, max_new_tokens=self.max_new_tokens)
        pairs = [(reply, _claim(query)) for reply, query in zip(replies, queries, strict=True)]
        return [bool(claim) and not self.fits(reply, claim) for reply, claim in pairs]


class ExampleEncoder:
    """Similarity to labelled examples: a claim stands for the mean feature of the images that it is true of.

    Parameters
    ----------
    features
        From images to vectors [n, d]; a model's vision tower, for one.
    examples
        Claim -> images, uint8 [height, width, 3].
    """

    def __init__(self, features: Callable[[Sequence[Any]], Any], examples: Mapping[str, Sequence[Any]]) -> None:
        self.features = features
        found = {claim: np.asarray(features(images), dtype=float) for claim, images in examples.items()}
        # What all images share would make every pair alike.
        self._centre = np.concatenate(list(found.values())).mean(0)
        self._means = {claim: _unit(rows.mean(0) - self._centre) for claim, rows in found.items()}

    def cosine(self, images: Sequence[Any], texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Return the cosine of each image with the examples of its claim; -1 for a claim without examples."""
        rows = _unit(np.asarray(self.features(images), dtype=float) - self._centre)
        known = [self._means.get(text) for text in texts]
        return np.array([-1.0 if mean is None else float(row @ mean) for row, mean in zip(rows, known, strict=True)])


def says_yes(reply: str) -> bool:
    """Return whether a reply begins with yes."""
    return reply.strip(" \t\n\"'*.").casefold().startswith("yes")


def threshold_for(scores: Sequence[float], *, false_alarms: float = 0.05, above: bool) -> float:
    """Return the threshold that stops at most a share of benign examples.

    Parameters
    ----------
    scores
        Of benign examples.
    false_alarms
        The share.
    above
        Whether what is above the threshold is stopped, or what is below.

    Raises
    ------
    InputError
        There are no scores, or the share is not one.

    Examples
    --------
    >>> threshold_for([1.0, 2.0, 3.0, 4.0], false_alarms=0.25, above=True)
    3.0
    """
    if not len(scores) or not 0 <= false_alarms < 1:
        raise InputError(f"{len(scores)} scores and a share of {false_alarms}: give some of each, the share below 1")
    ordered = sorted(scores, reverse=not above)
    return float(ordered[len(ordered) - 1 - math.floor(false_alarms * len(ordered) + 1e-9)])


def _claim(query: Query) -> str:
    return str(getattr(query, "claim", ""))


def _unit(rows: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    found: np.ndarray[Any, np.dtype[np.float64]] = rows / np.maximum(
        np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12
    )
    return found
