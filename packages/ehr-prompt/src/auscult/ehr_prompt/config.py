"""What a prompt looks like and what a run's answers depend on: two frozen models with checked combinations."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from auscult.ehr_prompt.panel import RangeSet
from auscult.ehr_prompt.tasks import Horizon, ReplyForm, TaskName
from auscult.ehr_prompt.windows import Bins, Window

Layout = Literal["string", "list", "batches", "text"]
Missing = Literal["nan", "locf", "locf_marked", "omit", "delta", "median_locf"]
ExampleChoice = Literal["hand", "random", "balanced", "nearest"]

MAX_TOKENS = 64
MAX_TOKENS_REASONING = 2048


class PromptConfig(BaseModel):
    """How a patient becomes a prompt; the defaults are the paper's where it has any.

    Parameters
    ----------
    task, horizon
        What is asked (:mod:`auscult.ehr_prompt.tasks`).
    window, last_k, before_hours
        Which visits are shown (:mod:`auscult.ehr_prompt.windows`).
    layout
        ``string`` or ``list``, a line for each variable; ``batches``, a block for each visit; ``text``, sentences,
        which hold unit and range themselves.
    missing
        What stands where nothing was measured: ``nan``; the last value (``locf``, or ``locf_marked`` with **);
        ``omit`` leaves out variables that were never measured; ``delta`` shows measured values only;
        ``median_locf`` the last value, before the first one the training median, unmarked.
    units, ranges
        Whether units are named, and which reference ranges.
    shots, examples
        How many patients are shown with their answers, and which: written by ``hand`` in the panel, or training
        patients at ``random``, ``balanced`` by class, or the ``nearest`` to the one in question.
    example_variables
        An example shows the first so many variables that it has values of, then an ellipsis; None shows all.
    soft_labels
        What an example answers for a patient without and with the event.
    reasoning
        Ask for the steps before the answer, which then stands on a marked last line (or in the JSON).
    reply
        ``text``, ``json`` with a schema, or one word whose log-probabilities are read: ``yes_no`` or ``digit``
        (own extensions, for one probability).
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
    example_variables: int | None = Field(default=None, ge=1)
    soft_labels: tuple[float, float] = (0.0, 1.0)
    reasoning: bool = False
    reply: ReplyForm = "text"
    abstain: bool = True
    times: Literal["relative", "dates"] = "relative"
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.reply in ("yes_no", "digit") and (self.reasoning or self.task not in ("outcome", "readmission")):
            raise ValueError(
                f"reply {self.reply!r} reads the log-probabilities of one word about one event: leave reasoning out "
                "and ask for outcome or readmission, or use reply text or json"
            )
        return self


class RunConfig(BaseModel):
    """What the answers of a run depend on.

    Parameters
    ----------
    data, data_options
        As in :func:`auscult.core.data.load_cohort`.
    bins
        Coarser steps: ``12h`` or ``days`` (:func:`auscult.ehr_prompt.windows.coarsen`).
    split
        ``paper`` (30 % train, 10 % validation, 60 % test, stratified, seed 42), or the path of a saved split with
        the parts ``train`` and ``test``.
    panel
        A bundled panel, or the path of your own; None takes what suits the data.
    prompt
        What the prompt looks like.
    backend, model, base_url
        Who answers. For ``local`` the model is a folder or a name that transformers knows.
    temperature, seed, max_tokens
        Sent with every request. ``max_tokens`` None stands for 64, with reasoning for 2,048. Providers do not guarantee
        that a seed repeats an answer.
    request
        Further fields of every request to a server; null leaves one out, such as ``{"max_tokens": null,
        "max_completion_tokens": 2048}``.
    context
        Tokens that the model takes, prompt and reply together.
    tokenizer
        A folder or name of the model's tokenizer, to count its tokens (extra ``local``); a local model brings its
        own. Without one the count is an estimate that is rather too high.
    samples
        Answers to ask for a question; their mean counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = "tjh"
    data_options: dict[str, Any] = Field(default_factory=dict)
    bins: Bins = "none"
    split: str = "paper"
    panel: str | None = None
    prompt: PromptConfig = PromptConfig()
    backend: Literal["openai", "local", "reference-range"] = "reference-range"
    model: str = "reference-range"
    base_url: str | None = None
    temperature: float | None = Field(default=0.0, ge=0)
    seed: int | None = 0
    max_tokens: int = Field(default=None, ge=1, validate_default=True)
    request: dict[str, Any] = Field(default_factory=dict)
    context: int | None = Field(default=None, ge=1)
    tokenizer: str | None = None
    samples: int = Field(default=1, ge=1)

    @field_validator("max_tokens", mode="before")
    @classmethod
    def _reasoning_takes_room(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        prompt = info.data.get("prompt")
        return MAX_TOKENS_REASONING if prompt is not None and prompt.reasoning else MAX_TOKENS

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.backend == "openai" and not self.base_url:
            raise ValueError("a server needs its address: give base_url, such as http://127.0.0.1:8000/v1")
        if self.backend != "openai" and self.base_url:
            raise ValueError(f"a base URL belongs to the backend openai, not {self.backend}: use that, or leave it out")
        if (self.backend == "reference-range") != (self.model == "reference-range"):
            raise ValueError(
                f"the backend {self.backend!r} cannot use the model {self.model!r}: the reference-range scorer has no "
                "model, a server or a local model needs its name"
            )
        if self.backend == "reference-range" and self.prompt.task not in ("outcome", "readmission"):
            raise ValueError("the reference-range scorer gives one risk: use the task outcome or readmission")
        if self.backend == "reference-range" and self.prompt.reply in ("yes_no", "digit"):
            raise ValueError(
                f"the reference-range scorer has no log-probabilities, which reply {self.prompt.reply!r} reads: use "
                "reply text or json, or ask a model"
            )
        for name in ("max_tokens", "max_completion_tokens"):
            if self.request.get(name, self.max_tokens) not in (None, self.max_tokens):
                raise ValueError(
                    f"the request field {name} is {self.request[name]!r}, but cost and room go by max_tokens, which is "
                    f"{self.max_tokens}: give both the same number"
                )
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"{self.samples} answers at temperature 0 would all be the same: give a temperature above 0, such as 1"
            )
        return self
