"""What a prompt looks like: one frozen model, whose defaults are the paper's where it has any."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from auscult.ehr_prompt.panel import RangeSet
from auscult.ehr_prompt.tasks import Horizon, TaskName
from auscult.ehr_prompt.windows import Window

Layout = Literal["string", "list", "batches", "text"]
Missing = Literal["nan", "locf", "locf_marked", "omit", "delta", "median_locf"]
ExampleChoice = Literal["random", "balanced", "nearest"]


class PromptConfig(BaseModel):
    """How a patient becomes a prompt.

    Parameters
    ----------
    task, horizon
        What is asked (:mod:`auscult.ehr_prompt.tasks`).
    window, last_k, before_hours
        Which visits are shown (:mod:`auscult.ehr_prompt.windows`).
    layout
        ``string`` or ``list``, a line for each variable; ``batches``, a block for each visit; ``text``, sentences.
    missing
        What stands where nothing was measured: ``nan``; the last value (``locf``, or ``locf_marked`` with **);
        ``omit`` leaves out variables that were never measured; ``delta`` shows measured values only;
        ``median_locf`` the last value, before the first one the training median, unmarked.
    units, ranges
        Whether units are named, and which reference ranges.
    shots, examples
        How many training patients are shown with their answers, and how they are chosen.
    soft_labels
        What an example answers for a patient without and with the event.
    reasoning
        Ask for the steps before the answer, which then stands on a marked last line.
    reply
        ``text``, or ``json`` with a schema.
    abstain
        Whether "I do not know" is offered.
    times
        ``relative`` to the start of the stay, or ``dates``.
    seed
        Of the choice of examples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskName = "outcome"
    horizon: Horizon = "discharge"
    window: Window = "full"
    last_k: int = Field(default=3, ge=1)
    before_hours: float = Field(default=24, ge=0)
    layout: Layout = "string"
    missing: Missing = "median_locf"
    units: bool = False
    ranges: RangeSet = "none"
    shots: int = Field(default=0, ge=0)
    examples: ExampleChoice = "random"
    soft_labels: tuple[float, float] = (0.0, 1.0)
    reasoning: bool = False
    reply: Literal["text", "json"] = "text"
    abstain: bool = True
    times: Literal["relative", "dates"] = "relative"
    seed: int = 0
