"""A model behind an OpenAI-compatible server, as a target of replay; needs the extra ``endpoint``.

Nothing here chooses an address: a server is asked only where its user names it. Ask only systems that you own or may
test.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from auscult.core.endpoint import (
    Answer,
    ChatRequest,
    Endpoint,
    RequestFailedError,
    complete_all,
    image_part,
    text_part,
)
from auscult.o2m_attack.conditions import Templates
from auscult.o2m_attack.targets.protocol import Query


class EndpointTarget:
    """A model that gives replies alone.

    Parameters
    ----------
    endpoint
        Where it is.
    templates
        The wordings around claim and prompt; question, image and suffix become parts of one message.
    """

    def __init__(self, endpoint: Endpoint, *, templates: Templates | None = None) -> None:
        self.endpoint = endpoint
        self.templates = templates or Templates()

    @property
    def name(self) -> str:
        """The model's name and its server's address: another server may have another model of that name."""
        return server_name(self.endpoint)

    def generate(self, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the reply to each query, at temperature 0; where a server marks a refusal, its text.

        Raises
        ------
        RequestFailedError
            A query got no answer; the others are lost with it, so a runner asks them again one by one.
        """
        requests = [
            (
                str(index),
                ChatRequest(messages=[self._message(query)], max_tokens=max_new_tokens, temperature=0.0),
            )
            for index, query in enumerate(queries)
        ]
        answers: dict[str, Answer] = {}
        complete_all(self.endpoint, requests, answers.update)
        replies = []
        for key, _ in requests:
            answer = answers[key]
            if isinstance(answer, RequestFailedError):
                raise answer
            replies.append((answer.text or answer.refusal or "").strip())
        return replies

    def _message(self, query: Query) -> dict[str, Any]:
        turn = self.templates.turn.format(question=query.question, image="\u241f", suffix=query.suffix)
        before, _, behind = turn.partition("\u241f")
        parts = [text_part(before.strip()), image_part(_png(query.image), "image/png")]
        if behind.strip():
            parts.append(text_part(behind.strip()))
        return {"role": "user", "content": parts}


def server_name(endpoint: Endpoint) -> str:
    """Return ``<model> at <address>``."""
    return f"{endpoint.model} at {endpoint.base_url.partition('://')[2].rstrip('/')}"


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
