"""From a stay's arrays to the messages that a model sees.

Everything shown is computed from the steps up to the moment of prediction: gaps are filled over all of them, then
the window is cut. Identifiers, the order of the stays and labels have no way into a prompt, except the labels of
the training patients who serve as examples.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.fill import Filler, carry_forward
from auscult.core.errors import InputError
from auscult.ehr_prompt.answers import describe_answer, write_answer
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.formatting import format_number
from auscult.ehr_prompt.panel import Described, Panel
from auscult.ehr_prompt.tasks import make_task, read_labels
from auscult.ehr_prompt.windows import Case, choose_case, prefixes
from auscult.ehr_prompt.wording import render

_CHUNK = 256


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


class Renderer:
    """Renders the stays of a cohort.

    Parameters
    ----------
    cohort, panel, config
        The data, the variables to show and how to show them.
    train
        Positions of the training stays: medians and examples come from them alone.

    Raises
    ------
    InputError
        A variable or the task's label is missing in the data, or there are more examples than training patients.
    """

    def __init__(self, cohort: Cohort, panel: Panel, config: PromptConfig, train: ArrayLike) -> None:
        self.cohort, self.panel, self.config = cohort, panel, config
        self.task = make_task(config.task, config.horizon)
        self.train = np.asarray(train, np.intp)
        if config.times == "dates" and cohort.anchor is None:
            raise InputError("these data have no calendar dates: use times 'relative'")
        self.described = panel.describe(cohort, config.ranges)
        self._columns = list(self.described)
        everything = [panel.describe(cohort, ranges) for ranges in ("paper", "corrected")]
        self._bounds = [
            sorted({b for one in everything for r in one[column].ranges for b in (r.low, r.high) if b is not None})
            for column in self._columns
        ]
        self._texts: list[dict[float, str]] = [{} for _ in self._columns]
        self._names = [one.display for one in self.described.values()]
        self._median = None
        if config.missing == "median_locf":
            self._median = Filler(standardize=False).fit(cohort, self.train).statistics_.median[self._columns]
        static = [feature.name for feature in cohort.static_features]
        self._sex = static.index("sex") if "sex" in static else None
        self._age = static.index("age") if "age" in static else None
        self.system = render("system", persona=panel.persona)
        self._heads: dict[tuple[int, int], str] = {}
        self._tails: dict[int, str] = {}
        self.example_rows: list[int] = []
        self._examples: list[dict[str, str]] = []

    def set_examples(self, rows: Sequence[int]) -> None:
        """Show these training stays, with their answers, in every prompt."""
        outside = sorted(set(rows) - set(self.train.tolist()))
        if outside:
            raise InputError(f"stay {outside[0]} is no training stay: examples come from training patients only")
        self.example_rows, self._heads = list(rows), {}
        self._examples = [self.example(row) for row in rows]

    def example(self, row: int) -> dict[str, str]:
        """Return a stay as an example: the patient as any other, and the known answer."""
        case = self.cases([row])[-1:]
        if not case:
            raise InputError("an example's window holds no visit: choose another window or other examples")
        labels = [label[row] for label in read_labels(self.cohort, self.task)]
        if self.task.kind == "days":
            steps = range(case[0].start, case[0].end + 1) if self.task.per_visit else [case[0].end]
            values = [float(labels[0][step]) for step in steps]
        else:
            values = [self.config.soft_labels[int(label)] for label in labels]
        [patient] = self._patients(case)
        answer = write_answer(values, reasoning=self.config.reasoning, reply=self.config.reply)
        return {"patient": patient, "answer": answer}

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
        for start in range(0, len(cases), _CHUNK):
            part = cases[start : start + _CHUNK]
            for case, patient in zip(part, self._patients(part), strict=True):
                yield self._assemble(case, patient, len(self._examples))

    def prompt(
        self,
        case: Case,
        *,
        examples: int | None = None,
        without: frozenset[int] = frozenset(),
        steps: Sequence[int] | None = None,
    ) -> Prompt:
        """Return one prompt, with fewer examples, without the ranges of some columns, with some steps only."""
        [patient] = self._patients([case], steps)
        count = len(self._examples) if examples is None else examples
        return self._assemble(case, patient, count, without, None if steps is None else len(steps))

    def measured(self, case: Case) -> NDArray[np.bool_]:
        """Return, for each panel variable, whether it was ever measured up to the moment of prediction."""
        return np.asarray(self.cohort.observed[case.row, : case.end + 1][:, self._columns].any(axis=0))

    def _assemble(self, case: Case, patient: str, examples: int, without: frozenset[int] = frozenset(),
                  visits: int | None = None) -> Prompt:  # fmt: skip
        numbers = self.task.numbers(case.end - case.start + 1 if visits is None else visits)
        head = self._head(numbers, examples, without)
        return Prompt(case, self.system, f"{head}\n{patient}\n\n{self._tail(numbers)}", numbers)

    def _answer_form(self, numbers: int) -> str:
        return describe_answer(self.task, numbers, reasoning=self.config.reasoning, reply=self.config.reply)

    def _tail(self, numbers: int) -> str:
        if numbers not in self._tails:
            self._tails[numbers] = render("tail", answer_form=self._answer_form(numbers))
        return self._tails[numbers]

    def _head(self, numbers: int, examples: int, without: frozenset[int]) -> str:
        key = (numbers, examples)
        if without or key not in self._heads:
            config = self.config
            # One number a visit is said in the reminder, so that this part stays the same for every patient.
            form = describe_answer(
                self.task, None if self.task.per_visit else numbers, reasoning=config.reasoning, reply=config.reply
            )
            head = render(
                "head", visit=self.panel.visit, layout=config.layout, missing=config.missing,
                question=self.task.question, answer_form=form, reasoning=config.reasoning, abstain=config.abstain,
                context=list(self._context(without)), examples=self._examples[:examples],
            )  # fmt: skip
            if without:
                return head
            self._heads[key] = head
        return self._heads[key]

    def _context(self, without: frozenset[int]) -> Iterator[str]:
        if not self.config.units and self.config.ranges == "none":
            return
        for place, one in enumerate(self.described.values()):
            if place in without:
                continue
            unit = f" Unit: {one.unit or '/'}." if self.config.units else ""
            bounds = f" Reference range: {one.range or '/'}." if self.config.ranges != "none" else ""
            yield f"- {one.display}:{unit}{bounds}"

    def _patients(self, cases: Sequence[Case], steps: Sequence[int] | None = None) -> Iterator[str]:
        rows = np.array([case.row for case in cases], np.intp)
        used = int(max((case.end for case in cases), default=0)) + 1
        raw = self.cohort.values[rows, :used][..., self._columns]
        texts, observed = self._cells(raw), ~np.isnan(raw)
        for i, case in enumerate(cases):
            shown = np.arange(case.start, case.end + 1) if steps is None else np.asarray(steps)
            times = self._times(case.row, shown)
            detail = self._detail(texts[i, shown], observed[i, shown], times)
            yield render(
                "patient", sex=self._sex_of(case.row), age=self._age_of(case.row), count=len(shown),
                times=", ".join(times), detail=detail,
            )  # fmt: skip

    def _cells(self, raw: NDArray[np.float32]) -> NDArray[Any]:
        """Return [n, T, F] texts of filled values; each step depends on itself and earlier ones."""
        missing = self.config.missing
        filled = carry_forward(raw) if missing in ("locf", "locf_marked", "median_locf") else raw
        if self._median is not None:
            filled = np.where(np.isnan(filled), self._median.astype(np.float32), filled)
        texts = np.empty(filled.shape, object)
        for place in range(filled.shape[2]):
            values, inverse = np.unique(filled[..., place], return_inverse=True)
            known = self._texts[place]
            numbers: list[float] = values.tolist()
            for value in numbers:
                if value not in known and value == value:
                    known[value] = self._show(place, value)
            words = np.array([known.get(value, "nan") for value in numbers], object)
            texts[..., place] = words[inverse].reshape(filled.shape[:2])
        if missing == "locf_marked":
            carried = np.isnan(raw) & ~np.isnan(filled)
            texts[carried] += "**"
        return texts

    def _show(self, place: int, value: float) -> str:
        feature = self.cohort.features[self._columns[place]]
        if feature.levels and feature.kind == "categorical":
            return feature.levels[int(value)]
        return format_number(value, self._bounds[place], decimals=feature.decimals)

    def _detail(self, texts: NDArray[Any], observed: NDArray[np.bool_], times: list[str]) -> str:
        """Lay out [steps, F] texts."""
        layout, missing = self.config.layout, self.config.missing
        names: list[str] = self._names
        columns = texts.T.tolist()
        if layout == "batches":
            seen: list[bool] = np.asarray(observed.any(axis=0)).tolist() if missing == "omit" else [True] * len(names)
            blocks = []
            for step, moment in enumerate(times):
                lines = [f"Visit {step + 1} ({moment}):"]
                for place, name in enumerate(names):
                    if seen[place] and (missing != "delta" or observed[step, place]):
                        lines.append(f"- {name}: {columns[place][step]}")
                blocks.append("\n".join(lines))
            return "\n\n".join(blocks)
        if missing == "omit":
            kept: list[bool] = np.asarray(observed.any(axis=0)).tolist()
            pairs = [(n, c) for n, c, keep in zip(names, columns, kept, strict=True) if keep]
        elif missing == "delta":
            pairs = []
            measured: list[list[bool]] = observed.T.tolist()
            for name, column, here in zip(names, columns, measured, strict=True):
                values = [
                    f"{text}@{i + 1}" for i, (text, seen_here) in enumerate(zip(column, here, strict=True)) if seen_here
                ]
                if values:
                    pairs.append((name, values))
        else:
            pairs = list(zip(names, columns, strict=True))
        if layout == "string":
            return "\n".join([f'- {name}: "{", ".join(values)}"' for name, values in pairs])
        if layout == "list":
            return "\n".join([f"- {name}: [{', '.join(values)}]" for name, values in pairs])
        return "\n".join(self._sentence(name, values) for name, values in pairs)

    def _sentence(self, name: str, values: list[str]) -> str:
        one: Described = self._by_display[name]
        unit = f" (in {one.unit})" if self.config.units and one.unit else ""
        count = f"{len(values)} value{'s' * (len(values) > 1)}"
        normal = f"; the reference range is {one.range}" if one.range else ""
        return f"{name}{unit} has {count}: {', '.join(values)}{normal}."

    @property
    def _by_display(self) -> dict[str, Described]:
        return {one.display: one for one in self.described.values()}

    def _times(self, row: int, steps: NDArray[np.intp]) -> list[str]:
        hours = self.cohort.time[row, steps].astype(np.float64)
        day = self.panel.time_unit == "day"
        if self.config.times == "dates" and self.cohort.anchor is not None:
            moments = self.cohort.anchor[row] + (hours * 3600).round().astype("timedelta64[s]")
            return [str(np.datetime_as_string(moment, unit="D" if day else "m")) for moment in moments]
        return [f"day {format_number(h / 24)}" if day else f"hour {format_number(h)}" for h in hours.tolist()]

    def _sex_of(self, row: int) -> str:
        if self._sex is None:
            return ""
        value = self.cohort.static[row, self._sex]
        levels = self.cohort.static_features[self._sex].levels
        return "unknown" if np.isnan(value) else levels[int(value)] if levels else format_number(float(value))

    def _age_of(self, row: int) -> str:
        if self._age is None or np.isnan(self.cohort.static[row, self._age]):
            return ""
        return format_number(float(self.cohort.static[row, self._age]), decimals=0)
