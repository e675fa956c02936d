"""What is asked, which label it is compared with, and the form of the answer: in words and as a JSON schema."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError
from auscult.ehr_prompt.formatting import format_number

TaskName = Literal["outcome", "los", "los_causal", "readmission", "multitask"]
Horizon = Literal["discharge", "1month", "6months"]
ReplyForm = Literal["text", "json", "yes_no", "digit"]

FINAL = "FINAL ANSWER:"
"""Marks the line that holds the answer after free text."""


@dataclass(frozen=True)
class Task:
    """A question.

    Parameters
    ----------
    name
        ``outcome``, ``los`` (one number a visit, with all visits in view, as published), ``los_causal`` (one
        question a visit, which sees nothing later), ``readmission`` or ``multitask`` (death, then readmission).
    labels
        The cohort's labels that the answers are compared with.
    question
        The question in words.
    kind
        ``probability`` or ``days``.
    per_visit
        Whether the answer is a list with one number a visit.
    """

    name: TaskName
    labels: tuple[str, ...]
    question: str
    kind: Literal["probability", "days"]
    per_visit: bool = False

    def numbers(self, visits: int) -> int:
        """Return how many numbers an answer about so many visits holds."""
        return visits if self.per_visit else len(self.labels)


_DEATH = {
    "discharge": "the patient dies during this hospital stay",
    "1month": "the patient dies during this hospital stay or within one month after it",
    "6months": "the patient dies during this hospital stay or within six months after it",
}
_LABEL = {"discharge": "mortality", "1month": "mortality_1month", "6months": "mortality_6months"}
_READMISSION = "the patient returns to intensive care, or dies, within 30 days after leaving it"


def make_task(name: TaskName, horizon: Horizon = "discharge") -> Task:
    """Return a task by its name; the horizon belongs to ``outcome``."""
    if name == "outcome":
        return Task(name, (_LABEL[horizon],), f"Estimate the probability that {_DEATH[horizon]}.", "probability")
    if name == "los":
        question = (
            "For each visit, estimate how many days the patient stays in hospital after it. Answer with one number "
            "for each visit, in order."
        )
        return Task(name, ("los_days",), question, "days", per_visit=True)
    if name == "los_causal":
        question = "Estimate how many days the patient stays in hospital after the last visit shown."
        return Task(name, ("los_days",), question, "days")
    if name == "readmission":
        return Task(name, ("readmission",), f"Estimate the probability that {_READMISSION}.", "probability")
    if name == "multitask":
        first, second = _DEATH["discharge"], _READMISSION
        question = f"Estimate two probabilities, in this order: first, that {first}; second, that {second}."
        return Task(name, ("mortality", "readmission"), question, "probability")
    raise InputError(f"there is no task {name!r}: use outcome, los, los_causal, readmission or multitask")


def read_labels(cohort: Cohort, task: Task) -> list[NDArray[Any]]:
    """Return the labels that match the question's wording.

    Raises
    ------
    InputError
        The data do not have them. Death in hospital is no answer to a question about months after it, so no
        other label steps in.
    """
    missing = [label for label in task.labels if label not in cohort.labels]
    if missing:
        raise InputError(
            f"the task {task.name!r} is scored against the label {missing[0]!r}, which these data do not have "
            f"(they have: {', '.join(cohort.labels) or 'none'}): choose another task or horizon"
        )
    found = [np.asarray(cohort.labels[label], np.float64) for label in task.labels]
    if task.kind == "days" and found[0].ndim != 2:
        raise InputError("the label 'los_days' is given per stay, not per visit: choose another task")
    return found


def describe_answer(task: Task, numbers: int | None, *, reasoning: bool, reply: ReplyForm, abstain: bool) -> str:
    """Return the sentence that says how to answer; ``numbers`` None stands for one number a visit.

    In JSON it says how to abstain, too; elsewhere the prompt has a sentence for that.
    """
    if reply == "yes_no":
        return 'Reply with one word, "Yes" if you expect this to happen and "No" if you do not, and nothing else.'
    if reply == "digit":
        return "Reply with one digit from 0 (certainly not) to 9 (certainly), and nothing else."
    several = numbers is None or numbers > 1
    one = "a probability between 0 and 1" if task.kind == "probability" else "a number of days from 0 up"
    what = one if not several else f"{numbers or 'as many'} numbers, each {one}"
    what += ", one for each visit" if task.per_visit else ""
    if reply == "json":
        shape = "a list of numbers" if several else "a number"
        keys = '"reasoning" (text) and "answer"' if reasoning else 'the key "answer"'
        unknown = "; null if the data do not allow a reasonable conclusion" if abstain else ""
        return f"Reply with one JSON object with {keys} ({shape}: {what}{unknown}), and nothing else."
    separated = ", separated by commas" if several else ""
    if reasoning:
        return f'End with a last line that starts with "{FINAL}" and holds {what}{separated}, and nothing else.'
    return f"Reply with {what}{separated}, and nothing else: no words, no unit."


def write_answer(values: Sequence[float], *, reasoning: bool, reply: ReplyForm) -> str:
    """Return known values in the form that the prompt asks for."""
    if reply == "yes_no":
        return "Yes" if values[0] > 0.5 else "No"
    if reply == "digit":
        return str(round(9 * values[0]))
    text = ", ".join(format_number(value) for value in values)
    if reply == "json":
        steps = '"reasoning": "...", ' if reasoning else ""
        return f'{{{steps}"answer": {text if len(values) == 1 else f"[{text}]"}}}'
    return f"{FINAL} {text}" if reasoning else text


def answer_schema(numbers: int, *, reasoning: bool, abstain: bool) -> dict[str, Any]:
    """Return the JSON schema of an answer; bounds are left to our own check, as servers get them wrong."""
    number: dict[str, Any] = {"type": "number"}
    answer = number if numbers == 1 else {"type": "array", "items": number, "minItems": numbers, "maxItems": numbers}
    properties: dict[str, Any] = {"reasoning": {"type": "string"}} if reasoning else {}
    properties["answer"] = {"anyOf": [answer, {"type": "null"}]} if abstain else answer
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
