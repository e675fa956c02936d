"""A vision model on a server as the judge of two pictures; it sees both orders (needs the extra ``endpoint``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.agfsync.evaluation import matched, verdict_of_both_orders
from auscult.core.errors import InputError
from auscult.core.progress import progress

if TYPE_CHECKING:
    from auscult.core.endpoint import ChatRequest, Endpoint
    from auscult.core.runs import RunStore

ORDERS = ("base-first", "tuned-first")
QUESTIONS = {
    "prompt_following": "Which picture shows better what this text says, the first or the second? Text: {caption}",
    "aesthetics": "Which picture is more beautiful, the first or the second?",
}


def judge_pairs(
    endpoint: "Endpoint",
    base: Sequence[Mapping[str, Any]],
    tuned: Sequence[Mapping[str, Any]],
    images: Path,
    *,
    store: "RunStore",
    question: str = "prompt_following",
) -> list[tuple[str, float]]:
    """Return ``(id, outcome)`` of each pair of pictures; two orders that disagree are a tie.

    Parameters
    ----------
    endpoint
        The server and its model.
    base, tuned
        Rows with ``id``, ``k``, ``prompt`` and ``path``.
    images
        The folder that paths are relative to.
    store
        Keeps every answer; what it has is not asked again. A request that failed is asked again by a next call, and
        until then its pair is a tie.
    question
        A key of :data:`QUESTIONS`.

    Raises
    ------
    InputError
        There is no such question, or no server answers at the address.
    """
    from auscult.core.endpoint import Answer, Reply, complete_all

    wording = wording_of(question)
    pairs = {f"{one['id']}/{one['k']}": (one, other) for one, other in matched(base, tuned)}
    todo = store.missing(f"{pair}/{order}" for pair in pairs for order in ORDERS)
    requests = ((key, _request(*pairs[key.rpartition("/")[0]], key, images, wording)) for key in todo)
    with progress("Judging pairs", len(todo)) as advance:

        def keep(answers: list[tuple[str, Answer]]) -> None:
            with store.batch():
                for key, answer in answers:
                    if isinstance(answer, Reply):
                        store.put(key, {"choice": _choice(answer.text)})
            advance(len(answers))

        complete_all(endpoint, requests, keep)

    def choice(key: str) -> str | None:
        return store[key]["choice"] if key in store else None

    return [
        (str(one["id"]), verdict_of_both_orders(*(choice(f"{pair}/{order}") for order in ORDERS)))
        for pair, (one, _) in pairs.items()
    ]


def wording_of(question: str) -> str:
    """Return how a judge is asked, by a key of :data:`QUESTIONS`."""
    if question not in QUESTIONS:
        raise InputError(f"there is no question {question!r}: use {' or '.join(QUESTIONS)}")
    return QUESTIONS[question]


def _request(base: Mapping[str, Any], tuned: Mapping[str, Any], key: str, images: Path, wording: str) -> "ChatRequest":
    from auscult.core.endpoint import ChatRequest, image_part, text_part

    parts = [image_part((images / row["path"]).read_bytes(), _media_type(row["path"])) for row in (base, tuned)]
    if key.endswith(ORDERS[1]):
        parts.reverse()
    text = text_part(wording.format(caption=base["prompt"]) + " Answer with one word.")
    return ChatRequest(messages=[{"role": "user", "content": [*parts, text]}], max_tokens=8, temperature=0.0)


def _choice(reply: str) -> str | None:
    """Return the first of the words first and second in a reply, or None."""
    words = (word.strip(".,!'\"") for word in reply.lower().split())
    return next((word for word in words if word in ("first", "second")), None)


def _media_type(path: str) -> str:
    return f"image/{Path(path).suffix.removeprefix('.').replace('jpg', 'jpeg')}"
