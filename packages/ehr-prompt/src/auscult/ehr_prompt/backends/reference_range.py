"""A scorer without any language model: how far the measured values lie outside their reference ranges.

It is the floor that a language model has to beat, and what the library does when no model is at hand. It is no
calibrated probability.
"""

from collections.abc import Iterable

import numpy as np

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import ReferenceRange
from auscult.core.data.fill import carry_forward
from auscult.core.endpoint import Reply
from auscult.core.errors import InputError
from auscult.ehr_prompt.backends import Deliver, Item
from auscult.ehr_prompt.panel import Panel, RangeSet, sex_levels
from auscult.ehr_prompt.windows import Case

_PAGE = 200


def deviation(value: float, low: float | None, high: float | None) -> float:
    """Return how far a value lies outside its range, from 0 (inside) to 1 (twice the upper or half the lower bound).

    Between them it is the logarithm to base 2 of the ratio to the bound.

    Examples
    --------
    >>> deviation(250, 140, 280), deviation(560, 140, 280), round(deviation(350, 140, 280), 3)
    (0.0, 1.0, 0.322)
    """
    if high is not None and value > high:
        return min(1.0, float(np.log2(value / high))) if high > 0 else 1.0
    if low is not None and value < low:
        return min(1.0, float(np.log2(low / value))) if value > 0 else 1.0
    return 0.0


class ReferenceRangeBackend:
    """Answers with the mean deviation of the latest measured values; abstains where none was measured.

    Parameters
    ----------
    cohort
        The data.
    panel, ranges
        Which ranges count; ``none`` takes the corrected ones.

    Raises
    ------
    InputError
        The panel has no range, or one for each sex where the data do not say male and female.
    """

    def __init__(self, cohort: Cohort, panel: Panel, ranges: RangeSet) -> None:
        self.cohort = cohort
        described = panel.describe(cohort, "corrected" if ranges == "none" else ranges)
        self._ranges: dict[int, tuple[ReferenceRange, ...]] = {
            column: one.ranges for column, one in described.items() if one.ranges
        }
        if not self._ranges:
            raise InputError(f"the panel {panel.name!r} has no reference range, which this scorer goes by: add some")
        self._levels = sex_levels(cohort, described.values())
        by_sex = [one.name for one in described.values() if any(part.sex for part in one.ranges)]
        if by_sex and self._levels is None:
            raise InputError(
                f"{by_sex[0]!r} has a reference range for each sex, but these data have no static column 'sex': give "
                "them one, or give one range for all"
            )

    def score(self, case: Case) -> float | None:
        """Return the mean deviation, from 0 to 1, of what was known at the end of the case."""
        columns = list(self._ranges)
        latest = carry_forward(self.cohort.values[case.row : case.row + 1, : case.end + 1][..., columns])[0, -1]
        sex = self._sex(case.row)
        found = [
            deviation(float(value), *bounds)
            for column, value in zip(columns, latest, strict=True)
            if not np.isnan(value) and (bounds := self._bounds(column, sex)) is not None
        ]
        return float(np.mean(found)) if found else None

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item in the form of a reply, so that it is read like any other."""
        page: list[tuple[str, Reply]] = []
        for item in items:
            score = self.score(item.case)
            page.append((item.key, Reply("I do not know" if score is None else f"{score:.6f}", "stop")))
            if len(page) == _PAGE:
                deliver(list(page))
                page.clear()
        if page:
            deliver(list(page))

    def _sex(self, row: int) -> str | None:
        if not self._levels:
            return None
        code = self.cohort.static[row, [feature.name for feature in self.cohort.static_features].index("sex")]
        return None if np.isnan(code) else self._levels[int(code)]

    def _bounds(self, column: int, sex: str | None) -> tuple[float | None, float | None] | None:
        """Return the bounds for this sex; None where ranges go by sex and it is not known."""
        for one in self._ranges[column]:
            if one.sex in (None, sex):
                return one.low, one.high
        return None
