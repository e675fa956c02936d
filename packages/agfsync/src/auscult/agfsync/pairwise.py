"""A vision model on a server as the judge of two pictures; it sees both orders (needs the extra ``endpoint``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.agfsync.evaluation import matched, verdict_of_both_orders

if TYPE_CHECKING:
    from auscult.core.endpoint import Endpoint

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
    question
        A key of :data:`QUESTIONS`.
    """
    from auscult.core.endpoint import Answer, ChatRequest, Reply, complete_all, image_part, text_part

    pairs = matched(base, tuned)
    requests = []
    for i, (one, other) in enumerate(pairs):
        parts = [_part(images / row["path"], image_part) for row in (one, other)]
        text = text_part(QUESTIONS[question].format(caption=one["prompt"]) + " Answer with one word.")
        for order, shown in enumerate((parts, parts[::-1])):
            messages = [{"role": "user", "content": [*shown, text]}]
            requests.append((f"{i}/{order}", ChatRequest(messages=messages, max_tokens=8, temperature=0.0)))
    found: dict[str, Answer] = {}
    complete_all(endpoint, requests, found.update)

    def choice(key: str) -> str | None:
        answer = found.get(key)
        words = answer.text.lower().split() if isinstance(answer, Reply) else []
        return next((word.strip(".,!'\"") for word in words if word.strip(".,!'\"") in ("first", "second")), None)

    return [
        (str(one["id"]), verdict_of_both_orders(choice(f"{i}/0"), choice(f"{i}/1"))) for i, (one, _) in enumerate(pairs)
    ]


def _part(path: Path, image_part: Any) -> Any:
    return image_part(path.read_bytes(), f"image/{path.suffix.removeprefix('.').replace('jpg', 'jpeg')}")
