"""From the measured numbers of some stays to the texts that stand in their prompts, gaps filled or named."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.ehr_prompt.formatting import format_number, format_numbers
from auscult.ehr_prompt.windows import Case

BLANK = "nan"
# Texts of one variable: laboratories report few distinct values, but a derived variable may have many.
_REMEMBERED = 10_000
MARK = "**"


class CaseCells(NamedTuple):
    """What one case shows: the texts of F variables at n steps, variable by variable in one list; F x n observed."""

    texts: list[str]
    observed: NDArray[np.bool_]

    def columns(self) -> list[list[str]]:
        """Return the texts of each variable."""
        n = self.observed.shape[1]
        return [self.texts[start : start + n] for start in range(0, len(self.texts), n)]

    def visits(self) -> list[list[str]]:
        """Return the texts of each step."""
        n = self.observed.shape[1]
        return [self.texts[step::n] for step in range(n)]

    def only(self, steps: Sequence[int]) -> "CaseCells":
        """Return some of the steps."""
        texts = [column[step] for column in self.columns() for step in steps]
        return CaseCells(texts, self.observed[:, list(steps)])


class Cells:
    """Writes values as text; each text depends on its own step and earlier ones.

    Parameters
    ----------
    cohort
        The data.
    columns
        Which of its columns to show, in this order.
    bounds
        For each of them the bounds that rounding must not cross.
    carry
        Whether a gap shows the latest value before it.
    median
        [F] what stands before the first value; None leaves a blank.
    mark
        Whether a carried value is marked.
    """

    def __init__(
        self,
        cohort: Cohort,
        columns: Sequence[int],
        bounds: Sequence[Sequence[float]],
        *,
        carry: bool,
        median: NDArray[np.float64] | None = None,
        mark: bool = False,
    ) -> None:
        self.cohort, self._columns, self._bounds = cohort, list(columns), bounds
        self._carry, self._mark = carry, mark
        self._known: list[dict[float, str]] = [{} for _ in self._columns]
        self._blank = [BLANK] * len(self._columns)
        if median is not None:
            for place, value in enumerate(median.astype(np.float32).tolist()):
                self._blank[place] = BLANK if np.isnan(value) else self._words(place, [value])[0]

    def read(self, cases: Sequence[Case]) -> Iterator[CaseCells]:
        """Yield what each case shows, in order."""
        sizes = np.array([case.end + 1 for case in cases], np.intp)
        starts = np.cumsum(sizes) - sizes
        row = np.repeat(np.array([case.row for case in cases], np.intp), sizes)
        step = np.arange(len(row)) - np.repeat(starts, sizes)
        raw = np.ascontiguousarray(self.cohort.values[row, step].T[self._columns])
        observed = ~np.isnan(raw)
        shown = [
            slice(start + case.start, start + case.end + 1) for case, start in zip(cases, starts.tolist(), strict=True)
        ]
        number, table = self._texts(raw, observed, step == 0)
        texts = table[np.concatenate([number[:, part].ravel() for part in shown])].tolist()
        place = 0
        for part in shown:
            seen = observed[:, part]
            yield CaseCells(texts[place : place + seen.size], seen)
            place += seen.size

    def _texts(
        self, raw: NDArray[np.float32], observed: NDArray[np.bool_], first: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
        """Return the texts of stays that stand side by side: numbers [F, steps] into a table of texts.

        ``first`` [steps] says where a stay begins.
        """
        stops = np.cumsum(observed.sum(axis=1)).tolist()
        values = raw[observed].tolist()
        words: list[str] = []
        for place, stop in enumerate(stops):
            words += self._words(place, values[len(words) : stop])
        measured = len(words)
        blank = measured + np.arange(len(raw))[:, None]
        number = np.where(observed, np.cumsum(observed.ravel()).reshape(raw.shape) - 1, blank)
        if self._carry:
            latest = np.where(observed | first, np.arange(raw.shape[1]), 0)
            np.maximum.accumulate(latest, axis=1, out=latest)
            number = np.take_along_axis(number, latest, axis=1)
        words += self._blank
        if self._mark:
            number = np.where(~observed & (number < measured), number + len(words), number)
            words += [word + MARK for word in words]
        return number, np.array(words, object)

    def _words(self, place: int, values: list[float]) -> list[str]:
        """Return the texts of measured values of one column; each distinct value is written once."""
        known = self._known[place]
        try:
            return list(map(known.__getitem__, values))
        except KeyError:
            if len(known) > _REMEMBERED:
                known.clear()
            self._learn(place, list(set(values).difference(known)))
        return list(map(known.__getitem__, values))

    def _learn(self, place: int, values: list[float]) -> None:
        feature = self.cohort.features[self._columns[place]]
        if feature.levels and feature.kind == "categorical":
            words = [feature.levels[int(value)] for value in values]
        elif feature.decimals is not None:
            words = [format_number(value, self._bounds[place], decimals=feature.decimals) for value in values]
        else:
            words = format_numbers(values, self._bounds[place])
        self._known[place].update(zip(values, words, strict=True))


def measured(cohort: Cohort, case: Case, columns: Sequence[int]) -> NDArray[np.bool_]:
    """Return, for each column, whether it was ever measured up to the moment of prediction."""
    return np.asarray(cohort.observed[case.row, : case.end + 1][:, list(columns)].any(axis=0))


def batched(cases: Sequence[Case], size: int = 512) -> Iterator[Sequence[Case]]:
    """Yield the cases in groups whose cells fit into memory."""
    for start in itertools.count(0, size):
        if start >= len(cases):
            return
        yield cases[start : start + size]
