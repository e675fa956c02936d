"""What tokens cost: a dated table that a user extends, and a meter that stops before a limit is passed."""

import datetime
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from auscult.core.config import load_config
from auscult.core.endpoint import Answer, Reply
from auscult.ehr_prompt.backends import Item


class Price(BaseModel):
    """US dollars per million tokens of prompts (``input``) and replies (``output``), as listed on a date."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: datetime.date
    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the dollars that so many tokens cost."""
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prices: dict[str, Price]


def find_price(model: str, file: Path | None = None) -> Price | None:
    """Return a model's price from the user's table, else from the bundled one; None where neither has it."""
    with resources.as_file(resources.files("auscult.ehr_prompt").joinpath("prices.yaml")) as bundled:
        for path in (*([file] if file else []), bundled):
            table = load_config(_Prices, path).prices
            if model in table:
                return table[model]
    return None


def count_used(reply: Mapping[str, Any], planned: int, max_tokens: int) -> tuple[int, int, bool]:
    """Return the tokens of a stored reply's prompt and of itself, and whether they are an estimate.

    Where the server did not count, they are what was planned and the longest reply.
    """
    prompt, completion = reply["prompt_tokens"], reply["completion_tokens"]
    if prompt is None or completion is None:
        return planned, max_tokens, True
    return prompt, completion, False


class Meter:
    """Holds back a request whose reply could take the cost beyond a limit.

    Parameters
    ----------
    price
        Of the model; None measures nothing.
    limit
        US dollars; None for no limit.
    spent
        What was spent before.
    max_tokens
        Of a reply, at most.

    Attributes
    ----------
    stopped
        Why requests were held back; None as long as none was.
    """

    def __init__(self, price: Price | None, limit: float | None, spent: float, max_tokens: int) -> None:
        self._price, self._limit, self._spent, self._max_tokens = price, limit, spent, max_tokens
        self._reserved: dict[str, float] = {}
        self._held = 0.0
        self.stopped: str | None = None

    def limit(self, items: Iterator[tuple[Item, int]]) -> Iterator[Item]:
        """Yield the items, given with the tokens of their prompts, as long as the limit allows."""
        for item, tokens in items:
            if self._price is not None:
                most = self._price.cost(tokens, self._max_tokens)
                if self._limit is not None and self._spent + self._held + most > self._limit:
                    self.stopped = f"the cost limit of {self._limit:g} USD would be passed"
                    return
                self._reserved[item.key] = most
                self._held += most
            yield item

    @property
    def spent(self) -> float | None:
        """US dollars for all answers so far; None without a price."""
        return None if self._price is None else self._spent

    def settle(self, key: str, answer: Answer) -> None:
        """Note what an answer cost in place of what was reserved for it; where nobody counted, that stays."""
        reserved = self._reserved.pop(key, 0.0)
        self._held = self._held - reserved if self._reserved else 0.0
        if self._price is not None and isinstance(answer, Reply):
            prompt, completion = answer.prompt_tokens, answer.completion_tokens
            counted = prompt is not None and completion is not None
            self._spent += self._price.cost(prompt or 0, completion or 0) if counted else reserved
