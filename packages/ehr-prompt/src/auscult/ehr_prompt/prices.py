"""What tokens cost: a dated table that a user extends."""

import datetime
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from auscult.core.config import load_config


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
