"""Reading what a language model wrote where JSON was asked for: strictly first, then with one tolerant pass."""

import json
import re
from collections import Counter
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


def parse_json(text: str) -> Any:
    r"""Return the JSON value in a reply.

    The tolerant pass takes the content of a code fence, or what stands between the outermost brackets, and
    drops trailing commas.

    Raises
    ------
    ValueError
        There is none.

    Examples
    --------
    >>> parse_json('Sure! ```json\n{"descriptions": ["a fox",]}\n```')
    {'descriptions': ['a fox']}
    """
    try:
        return json.loads(text)
    except ValueError:
        pass
    fenced = _FENCE.search(text)
    body = fenced[1] if fenced else text
    starts = [place for place in (body.find("{"), body.find("[")) if place >= 0]
    end = max(body.rfind("}"), body.rfind("]"))
    if not starts or end < min(starts):
        raise ValueError("no JSON in the reply")
    return json.loads(_TRAILING_COMMA.sub(r"\1", body[min(starts) : end + 1]))


def read_prompts(text: str, rejected: Counter[str], *, longest: int = 1000) -> list[str]:
    """Return the prompts in a reply of the form ``{"descriptions": [...]}``; what is no prompt is counted by reason."""
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        rejected["not JSON"] += 1
        return []
    items = value.get("descriptions") if isinstance(value, dict) else value
    if not isinstance(items, list):
        rejected["no list of descriptions"] += 1
        return []
    found = []
    for item in items:
        if not isinstance(item, str):
            rejected["not a text"] += 1
        elif not (words := " ".join(item.split())):
            rejected["empty"] += 1
        elif len(words) > longest:
            rejected["too long"] += 1
        else:
            found.append(words)
    return found


ELEMENT_TYPES = (
    "object", "human", "animal", "food", "activity", "attribute", "counting", "color", "material", "spatial",
    "location", "shape", "other",
)  # fmt: skip


def read_questions(text: str, rejected: Counter[str]) -> list[dict[str, str]]:
    """Return the questions in a reply, a list of items or ``{"questions": [...]}``; what is none is counted by reason.

    Kept are items with a question that ends in "?", the answer yes, and no flag 0; an unknown type becomes
    ``other``.
    """
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        rejected["not JSON"] += 1
        return []
    items = value.get("questions") if isinstance(value, dict) else value
    if not isinstance(items, list):
        rejected["no list of questions"] += 1
        return []
    found = []
    for item in items:
        if not isinstance(item, dict):
            rejected["not an item"] += 1
            continue
        question = " ".join(str(item.get("question") or "").split())
        answer = re.sub(r"[^a-z]", "", str(item.get("answer") or "").lower())
        if len(question) < 2 or not question.endswith("?"):
            rejected["no question"] += 1
        elif answer != "yes":
            rejected["answer is not yes"] += 1
        elif str(item.get("flag", 1)).strip().lower() in ("0", "false", "0.0"):
            rejected["flagged by its writer"] += 1
        else:
            kind = str(item.get("element_type") or "").strip().lower()
            found.append(
                {
                    "question": question,
                    "element_type": kind if kind in ELEMENT_TYPES else "other",
                    "element": " ".join(str(item.get("element") or "").split()),
                }
            )
    return found
