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
# Laboratories report few distinct values, but a derived variable may have many.
_REMEMBERED = 200_000
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
        # Each distinct value is written once: codes (variable and bits of the value), ascending, and their texts.
        self._codes = np.empty(0, np.uint64)
        self._words = np.empty(0, object)
        self._blank = np.full(len(self._columns), BLANK, object)
        if median is not None:
            for place, value in enumerate(median.astype(np.float32).tolist()):
                self._blank[place] = BLANK if np.isnan(value) else self._write(place, [value])[0]

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
        variable = np.repeat(np.arange(len(raw), dtype=np.uint64) << np.uint64(32), observed.sum(axis=1))
        bits = raw[observed].view(np.uint32).astype(np.uint64)
        found = self._find(np.bitwise_or(variable, bits))
        number = np.repeat(len(self._words) + np.arange(len(raw)), raw.shape[1]).reshape(raw.shape)
        number[observed] = found
        if self._carry:
            latest = np.where(observed | first, np.arange(raw.shape[1]), 0)
            np.maximum.accumulate(latest, axis=1, out=latest)
            number = np.take_along_axis(number, latest, axis=1)
        parts = [self._words, self._blank]
        if self._mark:
            carried = ~observed & (number < len(self._words))
            number[carried] += len(self._words) + len(self._blank)
            parts.append(self._words + MARK)
        return number, np.concatenate(parts)

    def _find(self, codes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the numbers of the texts of some codes, and learn those that are new."""
        place = np.searchsorted(self._codes, codes)
        known = np.append(self._codes, ~np.uint64(0))[place] == codes
        if known.all():
            return place
        if len(self._codes) > _REMEMBERED:
            self._codes, self._words, known = self._codes[:0], self._words[:0], np.zeros_like(known)
        new = np.unique(codes[~known])
        variable, value = (new >> np.uint64(32)).astype(np.intp), new.astype(np.uint32).view(np.float32)
        words: list[str] = []
        for one in np.unique(variable).tolist():
            words += self._write(one, value[variable == one].tolist())
        every = np.concatenate([self._codes, new])
        order = np.argsort(every, kind="stable")
        self._codes, self._words = every[order], np.append(self._words, np.array(words, object))[order]
        return np.searchsorted(self._codes, codes)

    def _write(self, place: int, values: list[float]) -> list[str]:
        """Return the texts of measured values of one variable."""
        feature = self.cohort.features[self._columns[place]]
        if feature.levels and feature.kind == "categorical":
            return [feature.levels[int(value)] for value in values]
        if feature.decimals is not None:
            return [format_number(value, self._bounds[place], decimals=feature.decimals) for value in values]
        return format_numbers(values, self._bounds[place])


def measured(cohort: Cohort, case: Case, columns: Sequence[int]) -> NDArray[np.bool_]:
    """Return, for each column, whether it was ever measured up to the moment of prediction."""
    return np.asarray(cohort.observed[case.row, : case.end + 1][:, list(columns)].any(axis=0))


def batched(cases: Sequence[Case], size: int = 512) -> Iterator[Sequence[Case]]:
    """Yield the cases in groups whose cells fit into memory."""
    for start in itertools.count(0, size):
        if start >= len(cases):
            return
        yield cases[start : start + size]
