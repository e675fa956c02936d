"""A server with an OpenAI-compatible API."""

from collections.abc import Iterable
from dataclasses import dataclass

from auscult.core.endpoint import Endpoint, complete_all
from auscult.ehr_prompt.backends import Deliver, Item


@dataclass(frozen=True)
class EndpointBackend:
    """Asks the endpoint, many questions at once."""

    endpoint: Endpoint

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item, read only as fast as they are sent."""
        complete_all(self.endpoint, ((item.key, item.request) for item in items), deliver)
