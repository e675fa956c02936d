"""The form of an answer: in words for the prompt, as a JSON schema for the server."""

from collections.abc import Sequence
from typing import Any

from auscult.ehr_prompt.formatting import format_number
from auscult.ehr_prompt.tasks import Task

FINAL = "FINAL ANSWER:"
"""Marks the line that holds the answer after free text."""


def describe_answer(task: Task, numbers: int | None, *, reasoning: bool, reply: str) -> str:
    """Return the sentence that says how to answer; ``numbers`` None stands for one number a visit."""
    several = numbers is None or numbers > 1
    one = "a probability between 0 and 1" if task.kind == "probability" else "a number of days from 0 up"
    what = one if not several else f"{numbers or 'as many'} numbers, each {one}"
    what += ", one for each visit" if task.per_visit else ""
    if reply == "json":
        shape = "a list of numbers" if several else "a number"
        keys = '"reasoning" (text) and "answer"' if reasoning else 'the key "answer"'
        return f"Reply with one JSON object with {keys} ({shape}: {what}; null if you do not know)."
    separated = ", separated by commas" if several else ""
    if reasoning:
        return f'End with a last line that starts with "{FINAL}" and holds {what}{separated}, and nothing else.'
    return f"Reply with {what}{separated}, and nothing else: no words, no unit."


def write_answer(values: Sequence[float], *, reasoning: bool, reply: str) -> str:
    """Return known values in the form that the prompt asks for."""
    text = ", ".join(format_number(value) for value in values)
    if reply == "json":
        return f'{{"answer": {text if len(values) == 1 else f"[{text}]"}}}'
    return f"{FINAL} {text}" if reasoning else text


def answer_schema(numbers: int, *, reasoning: bool) -> dict[str, Any]:
    """Return the JSON schema of an answer; bounds are left to our own check, as servers get them wrong."""
    number: dict[str, Any] = {"type": "number"}
    answer = number if numbers == 1 else {"type": "array", "items": number, "minItems": numbers, "maxItems": numbers}
    properties: dict[str, Any] = {"reasoning": {"type": "string"}} if reasoning else {}
    properties["answer"] = {"anyOf": [answer, {"type": "null"}]}
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
