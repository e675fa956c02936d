"""Stage 2: questions about a picture of each prompt, all of which the right picture answers with yes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auscult.agfsync.config import QuestionsConfig
from auscult.agfsync.prompts import ask_until_usable
from auscult.agfsync.repetition import Embed, keep_first, load_encoder
from auscult.agfsync.replies import ELEMENT_TYPES, read_questions
from auscult.agfsync.writers import Writer, make_writer
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from auscult.core.runs import RunStore

SYSTEM = (
    "You check pictures against their descriptions. For a description, write at least 15 different questions that a "
    "picture of it answers with yes, each about one thing only, each settled by the text itself and not by common "
    "sense, together covering the whole text. Write a JSON list of objects with the keys question, answer (always "
    f'"yes"), element_type (one of {", ".join(ELEMENT_TYPES)}), element (the words asked about) and flag (0 if the '
    "text does not mention it after all, else 1), and nothing else."
)


def make_questions(
    prompts: Sequence[Mapping[str, Any]],
    config: QuestionsConfig,
    *,
    store: "RunStore",
    writer: Writer | None = None,
    embed: Embed | None = None,
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the prompts with their questions, without those that have too few, and what was rejected.

    Parameters
    ----------
    prompts
        Rows of stage 1.
    config
        Of the stage.
    store
        Keeps every usable reply under the prompt's id and the sample's number.
    writer, embed
        In place of those that the configuration names.

    Returns
    -------
    rows
        ``id, prompt, category, questions`` (``qid, question, answer, element_type, element``), ``stats``. Ids are
        those of stage 1.
    rejected
        Counts by reason.

    Raises
    ------
    InputError
        No prompt has enough questions.
    """
    rejected: Counter[str] = Counter()
    chats = {
        f"{row['id']}/{sample}": (SYSTEM, f"Description: {row['prompt']}")
        for row in prompts
        for sample in range(config.samples)
    }
    if config.backend in ("endpoint", "local"):
        ask_until_usable(
            chats, store, writer or make_writer(config.backend, config.llm), config.llm.attempts, rejected,
            lambda text, counts: {"questions": read_questions(text, counts)}, "questions",
        )  # fmt: skip
    if embed is None and config.dedup.method == "embedding":
        embed = load_encoder(config.dedup.model)
    rows = []
    for row in prompts:
        raw = _offline(config.backend, row["prompt"])
        for sample in range(config.samples):
            if f"{row['id']}/{sample}" in store:
                raw += store[f"{row['id']}/{sample}"]["questions"]
        kept = [raw[i] for i in keep_first([f"{item['question']} yes" for item in raw], config.dedup, embed)]
        rejected["repeated"] += len(raw) - len(kept)
        kept = kept[: config.max_questions]
        if len(kept) < config.min_questions:
            rejected["prompts with too few questions"] += 1
            continue
        questions = [{"qid": qid, "answer": "yes", **item} for qid, item in enumerate(kept)]
        stats = {"raw": len(raw), "kept": len(kept)}
        rows.append(
            {
                "id": row["id"],
                "prompt": row["prompt"],
                "category": row["category"],
                "questions": questions,
                "stats": stats,
            }
        )
    if not rows:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in rejected.items() if count)
        raise InputError(
            f"none of {len(prompts)} prompts has {config.min_questions} questions ({reasons or 'there is no prompt'}): "
            "lower min_questions, or use longer prompts"
        )
    return rows, {reason: count for reason, count in rejected.items() if count}


def _offline(backend: str, prompt: str) -> list[dict[str, str]]:
    """Return the questions of the backends that need no model."""
    if backend == "shapes":
        from auscult.agfsync.shapes.questions import questions_of

        return questions_of(prompt)
    if backend == "template":
        return split_questions(prompt)
    return []


_LINKS = {
    "with",
    "and",
    "in",
    "on",
    "of",
    "at",
    "over",
    "under",
    "beside",
    "behind",
    "next",
    "to",
    "by",
    "from",
    "near",
}
_ARTICLES = {"a", "an", "the", "its", "his", "her", "their"}
_NUMBERS = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}


def split_questions(prompt: str) -> list[dict[str, str]]:
    """Return one question a phrase of a prompt: what stands between two link words.

    Examples
    --------
    >>> [item["question"] for item in split_questions("A red fox on a mossy log")]
    ['Does the picture show red fox?', 'Does the picture show mossy log?']
    """
    import re

    phrases: list[list[str]] = [[]]
    for word in re.findall(r"[\w'-]+|[,.;:]", prompt.lower()):
        if word in _LINKS or word in ",.;:":
            phrases.append([])
        elif word not in _ARTICLES:
            phrases[-1].append(word)
    unique = list(dict.fromkeys(" ".join(words) for words in phrases if words))
    return [
        {
            "question": f"Does the picture show {phrase}?",
            "element_type": "counting" if phrase.split()[0] in _NUMBERS else "object",
            "element": phrase,
        }
        for phrase in unique
    ]
