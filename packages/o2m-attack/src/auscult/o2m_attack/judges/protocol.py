"""What a judge of refusal has to offer."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Answer(NamedTuple):
    """What was asked and what was said."""

    question: str
    response: str


@runtime_checkable
class Judge(Protocol):
    """Anything that tells refusals from the rest."""

    @property
    def name(self) -> str:
        """What reports call it; another name for other rules."""

    def refused(self, answers: Sequence[Answer]) -> list[bool | None]:
        """Return for each answer whether it refuses; None where there is no verdict."""
