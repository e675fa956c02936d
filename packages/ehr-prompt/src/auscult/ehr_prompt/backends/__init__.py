"""Who answers: a server, a model on this machine, or a transparent scorer without any model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from auscult.core.endpoint import Answer, ChatRequest, Endpoint, complete_all
from auscult.ehr_prompt.windows import Case

Deliver = Callable[[list[tuple[str, Answer]]], object]


class Item(NamedTuple):
    """One question: the key of its record, the request, and the case that the request describes."""

    key: str
    request: ChatRequest
    case: Case


class Backend(Protocol):
    """Answers items and delivers the answers in groups, in any order."""

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item; a question that failed for good is delivered as a ``RequestFailedError``."""
        ...


@dataclass(frozen=True)
class EndpointBackend:
    """A server with an OpenAI-compatible API, asked many questions at once."""

    endpoint: Endpoint

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item, read only as fast as they are sent."""
        complete_all(self.endpoint, ((item.key, item.request) for item in items), deliver)
