"""From a stay's arrays to the messages that a model sees.

Everything shown is computed from the steps up to the moment of prediction: gaps are filled over all of them, then
the window is cut. Identifiers, the order of the stays and labels have no way into a prompt, except the labels of
the training patients who serve as examples.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.fill import Filler
from auscult.core.errors import InputError
from auscult.ehr_prompt.cells import CaseCells, Cells, batched, measured
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.formatting import format_number
from auscult.ehr_prompt.layouts import Setter
from auscult.ehr_prompt.panel import Panel, sex_levels
from auscult.ehr_prompt.tasks import describe_answer, make_task
from auscult.ehr_prompt.windows import Case, choose_case, prefixes
from auscult.ehr_prompt.wording import patient_form, render

_REMEMBERED = 10_000


class Prompt(NamedTuple):
    """One question as it is sent: who is asked about (never part of the text), the messages, the answer's length."""

    case: Case
    system: str
    user: str
    numbers: int

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages in the form of chat servers."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


class Example(NamedTuple):
    """A patient who is shown with the answer; ``row`` is None where the panel's author wrote it."""

    patient: str
    answer: str
    row: int | None = None


class Renderer:
    """Renders the stays of a cohort.

    Parameters
    ----------
    cohort, panel, config
        The data, the variables to show and how to show them.
    train
        Positions of the training stays: medians and examples come from them alone.

    Attributes
    ----------
    examples_for : callable
        From a position to the examples that a prompt about this stay shows; nobody by default
        (:func:`auscult.ehr_prompt.examples.show_examples` sets it).

    Raises
    ------
    InputError
        A variable of the panel is missing in the data, or they have no dates to show.
    """

    examples_for: Callable[[int], tuple[Example, ...]]

    def __init__(self, cohort: Cohort, panel: Panel, config: PromptConfig, train: ArrayLike) -> None:
        if config.times == "dates" and cohort.anchor is None:
            raise InputError("these data have no calendar dates: use times 'relative'")
        self.panel, self.config = panel, config
        self.task = make_task(config.task, config.horizon)
        self.train = np.asarray(train, np.intp)
        self.described = panel.describe(cohort, config.ranges)
        self.median: NDArray[np.float64] | None = None
        if config.missing == "median_locf":
            self.median = Filler(standardize=False).fit(cohort, self.train).statistics_.median[list(self.described)]
        self.system = render("system", persona=panel.persona)
        self.examples_for = lambda row: ()
        self._setter = Setter(config.layout, config.missing, self.described.values(), units=config.units)
        self._heads: dict[tuple[int, tuple[Example, ...], frozenset[int]], str] = {}
        self._tails: dict[int, str] = {}
        self._moments: dict[float, str] = {}
        self._look_at(cohort)

    def on(self, cohort: Cohort) -> Self:
        """Return a renderer of other data with the same columns, by the medians of these."""
        other = copy.copy(self)
        other._look_at(cohort)
        return other

    def cases(self, rows: Iterable[int]) -> list[Case]:
        """Return the questions about some stays; a stay whose window holds no visit has none."""
        config = self.config
        found = (
            choose_case(self.cohort, int(row), config.window, last_k=config.last_k, before_hours=config.before_hours)
            for row in rows
        )
        cases = [case for case in found if case is not None]
        return [one for case in cases for one in prefixes(case)] if self.task.name == "los_causal" else cases

    def prompts(self, cases: Sequence[Case]) -> Iterator[Prompt]:
        """Yield the prompt of every case, in order."""
        for part in batched(cases):
            about = self._about([case.row for case in part])
            for case, (who, hours), cells in zip(part, about, self._cells.read(part), strict=True):
                shown = hours[case.start : case.end + 1]
                patient = self._patient(case.row, who, shown, cells)
                yield self._assemble(case, patient, len(shown), self.examples_for(case.row))

    def prompt(
        self,
        case: Case,
        *,
        examples: int | None = None,
        without: frozenset[int] = frozenset(),
        steps: Sequence[int] | None = None,
    ) -> Prompt:
        """Return one prompt, with fewer examples, without the ranges of some columns, with some steps only."""
        patient = self._patient_of(case, steps)
        visits = case.end - case.start + 1 if steps is None else len(steps)
        return self._assemble(case, patient, visits, self.examples_for(case.row)[:examples], without)

    def patient(self, case: Case, *, variables: int | None = None) -> str:
        """Return the part about the patient alone; with ``variables``, of that many that were measured."""
        return self._patient_of(case, None, variables)

    @property
    def lists_variables(self) -> bool:
        """Whether the prompts have a list of units and ranges; the layout ``text`` has them in its sentences."""
        return self.config.layout != "text" and (self.config.units or self.config.ranges != "none")

    def measured(self, case: Case) -> NDArray[np.bool_]:
        """Return, for each panel variable, whether it was ever measured up to the moment of prediction."""
        return measured(self.cohort, case, list(self.described))

    def _look_at(self, cohort: Cohort) -> None:
        self.cohort = cohort
        columns, missing = list(self.described), self.config.missing
        sets = [self.panel.describe(cohort, ranges) for ranges in ("paper", "corrected")]
        bounds = [
            sorted({b for one in sets for r in one[column].ranges for b in (r.low, r.high) if b is not None})
            for column in columns
        ]
        carry = missing in ("locf", "locf_marked", "median_locf")
        mark = missing == "locf_marked"
        self._cells = Cells(cohort, columns, bounds, carry=carry, median=self.median, mark=mark)
        static = [feature.name for feature in cohort.static_features]
        self._sex = static.index("sex") if "sex" in static else None
        self._sexes = sex_levels(cohort, self.described.values())
        self._age = static.index("age") if "age" in static else None

    def _assemble(
        self,
        case: Case,
        patient: str,
        visits: int,
        examples: tuple[Example, ...],
        without: frozenset[int] = frozenset(),
    ) -> Prompt:
        numbers = self.task.numbers(visits)
        if numbers not in self._tails:
            self._tails[numbers] = render("tail", answer_form=self._answer_form(numbers))
        return Prompt(
            case, self.system, f"{self._head(numbers, examples, without)}\n{patient}\n\n{self._tails[numbers]}", numbers
        )

    def _answer_form(self, numbers: int | None) -> str:
        config = self.config
        return describe_answer(
            self.task, numbers, reasoning=config.reasoning, reply=config.reply, abstain=config.abstain
        )

    def _head(self, numbers: int, examples: tuple[Example, ...], without: frozenset[int]) -> str:
        """Return what precedes the patient: the same text for all, so that a server can keep it."""
        # One number a visit is said in the reminder.
        asked = None if self.task.per_visit else numbers
        key = (asked or 0, examples, without)
        if key not in self._heads:
            config = self.config
            head = render(
                "head", visit=self.panel.visit, layout=config.layout, missing=config.missing,
                question=self.task.question, answer_form=self._answer_form(asked), reasoning=config.reasoning,
                abstain=config.abstain and config.reply != "json", context=list(self._context(without)),
                examples=examples,
            )  # fmt: skip
            if without or config.examples == "nearest":
                return head
            self._heads[key] = head
        return self._heads[key]

    def _context(self, without: frozenset[int]) -> Iterator[str]:
        config = self.config
        if not self.lists_variables:
            return
        for place, one in enumerate(self.described.values()):
            if place in without:
                continue
            unit = f" Unit: {one.unit or '/'}." if config.units else ""
            bounds = f" Reference range: {one.range or '/'}." if config.ranges != "none" else ""
            yield f"- {one.display}:{unit}{bounds}"

    def _about(self, rows: Sequence[int]) -> Iterator[tuple[tuple[str, str], list[float]]]:
        """Yield sex and age in words, and the hours of all steps, of some stays."""
        static = self.cohort.static[rows].tolist()
        for facts, hours in zip(static, self.cohort.time[rows].tolist(), strict=True):
            yield (self._sex_of(facts), self._age_of(facts)), hours

    def _patient_of(self, case: Case, steps: Sequence[int] | None, variables: int | None = None) -> str:
        [(who, hours)] = self._about([case.row])
        [cells] = self._cells.read([case])
        shown = hours[case.start : case.end + 1]
        if steps is not None:
            cells = cells.only([step - case.start for step in steps])
            shown = [hours[step] for step in steps]
        return self._patient(case.row, who, shown, cells, variables)

    def _patient(
        self, row: int, who: tuple[str, str], hours: list[float], cells: CaseCells, variables: int | None = None
    ) -> str:
        (sex, age), times = who, self._times(row, hours)
        detail = self._setter.set(cells, times, variables=variables)
        form = patient_form(bool(sex), bool(age), bool(detail))
        return form % {"sex": sex, "age": age, "count": len(times), "times": ", ".join(times), "detail": detail}

    def _times(self, row: int, hours: list[float]) -> list[str]:
        day = self.panel.time_unit == "day"
        if self.config.times == "dates" and self.cohort.anchor is not None:
            later = (np.array(hours) * 3600).round().astype("timedelta64[s]")
            moments = self.cohort.anchor[row] + later
            return [str(np.datetime_as_string(moment, unit="D" if day else "m")) for moment in moments]
        known = self._moments
        if len(known) > _REMEMBERED:
            known.clear()
        for hour in hours:
            if hour not in known:
                known[hour] = f"day {format_number(hour / 24)}" if day else f"hour {format_number(hour)}"
        return [known[hour] for hour in hours]

    def _sex_of(self, static: list[float]) -> str:
        if self._sex is None:
            return ""
        value, levels = static[self._sex], self._sexes
        return "unknown" if value != value else levels[int(value)] if levels else format_number(value)

    def _age_of(self, static: list[float]) -> str:
        age = float("nan") if self._age is None else static[self._age]
        return "" if age != age else str(round(age))
