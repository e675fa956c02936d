"""Fitting a prompt into a model's context: what is left out, in which order, and what was."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from auscult.core.errors import InputError
from auscult.ehr_prompt.rendering import Prompt, Renderer
from auscult.ehr_prompt.windows import Case

CHARACTERS_PER_TOKEN = 2.5
"""Few, as digits make more tokens than words do: without the model's tokenizer the count errs to the safe side."""

_PER_MESSAGE = 8


def count_tokens(prompt: Prompt, tokenizer: Callable[[str], Sequence[object]] | None = None) -> int:
    """Return the tokens of a prompt by the model's tokenizer, or an estimate that is rather too high."""
    texts = (prompt.system, prompt.user)
    if tokenizer is not None:
        return sum(len(tokenizer(text)) + _PER_MESSAGE for text in texts)
    return sum(math.ceil(len(text) / CHARACTERS_PER_TOKEN) + _PER_MESSAGE for text in texts)


class Fitted(NamedTuple):
    """A prompt that fits, or None where nothing helps; its tokens; what was left out, in words."""

    prompt: Prompt | None
    tokens: int
    dropped: tuple[str, ...]


class Budget(NamedTuple):
    """What a model can take.

    Parameters
    ----------
    context
        Tokens of prompt and reply together; None for no limit.
    max_tokens
        Kept free for the reply.
    margin
        Kept free beside it.
    keep_last
        How many of the latest visits stay, beside the first, when visits have to go.
    tokenizer
        From text to tokens; None estimates.
    """

    context: int | None = None
    max_tokens: int = 64
    margin: int = 16
    keep_last: int = 2
    tokenizer: Callable[[str], Sequence[object]] | None = None

    def fit(self, renderer: Renderer, case: Case, prompt: Prompt) -> Fitted:
        """Leave out what is needed: examples, then ranges of variables never measured, then the oldest visits.

        Examples go from the last to the first. The first visit and the latest ``keep_last`` stay; with one
        number a visit asked for, no visit goes. No line is ever cut.
        """
        tokens = count_tokens(prompt, self.tokenizer)
        if self.context is None:
            return Fitted(prompt, tokens, ())
        limit = self.context - self.max_tokens - self.margin
        if limit < 1:
            raise InputError(
                f"a context of {self.context} leaves no room beside {self.max_tokens} tokens of reply: give more"
            )
        if tokens <= limit:
            return Fitted(prompt, tokens, ())
        shown = len(renderer.examples_for(case.row))
        examples, without, dropped = shown, frozenset[int](), []
        while examples and tokens > limit:
            examples -= 1
            prompt = renderer.prompt(case, examples=examples)
            tokens = count_tokens(prompt, self.tokenizer)
        if examples < shown:
            dropped.append(f"{shown - examples} examples")
        never = frozenset(np.flatnonzero(~renderer.measured(case)).tolist())
        if tokens > limit and never and renderer.lists_variables:
            without = never
            prompt = renderer.prompt(case, examples=examples, without=without)
            tokens = count_tokens(prompt, self.tokenizer)
            dropped.append(f"ranges of {len(never)} variables never measured")
        steps = list(range(case.start, case.end + 1))
        visits = len(steps)
        while tokens > limit and len(steps) > 1 + self.keep_last and not renderer.task.per_visit:
            del steps[1]
            prompt = renderer.prompt(case, examples=examples, without=without, steps=steps)
            tokens = count_tokens(prompt, self.tokenizer)
        if len(steps) < visits:
            dropped.append(f"{visits - len(steps)} visits")
        return Fitted(prompt if tokens <= limit else None, tokens, tuple(dropped))
