"""Steps, windows, and the moment of prediction after which nothing may be known."""

from typing import Literal, NamedTuple

import numpy as np

from auscult.core.data.bins import Binning, last_steps
from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError

Window = Literal["full", "first", "first24h", "first48h", "last", "last_before"]
"""The whole stay (retrospective); the first visit; visits of the first 24 or 48 hours after it; the last visit; the
last ``last_k`` visits up to ``before_hours`` before the last one."""

Bins = Literal["none", "12h", "days"]
KEPT_DAYS = 7


def coarsen(cohort: Cohort, bins: Bins) -> Cohort:
    """Return a cohort with coarser steps.

    ``12h``: bins of twelve hours from the start of the stay, numbers averaged, of a state the last one, as in
    arXiv 2402.01713; with the window ``first48h``, its prompts about intensive care. ``days``: of each calendar day
    the last value, the last seven days one by one and all before as one more step, as its authors did later (arXiv
    2407.18525); this looks back from the end of the stay.
    """
    if bins == "none":
        return cohort
    if bins == "12h":
        return Binning(hours=12, aggregate="mean").apply(cohort)
    origin: Literal["midnight", "anchor"] = "anchor" if cohort.anchor is None else "midnight"
    days = Binning(hours=24, origin=origin, aggregate="last", pre_anchor="keep").apply(cohort)
    return last_steps(days, KEPT_DAYS, fold_earlier=True)


class Case(NamedTuple):
    """One question: stay ``row``, shown from step ``start`` to ``end`` (inclusive), asked at the time of ``end``."""

    row: int
    start: int
    end: int


def choose_case(cohort: Cohort, row: int, window: Window, *, last_k: int = 3, before_hours: float = 24) -> Case | None:
    """Return what a window shows of a stay; None where it holds no visit.

    Times go by what the data resolve: where they are calendar days, the first 24 hours are the first day.
    """
    n = int(cohort.length[row])
    if n == 0:
        return None
    hours = cohort.time[row, :n].astype(np.float64)
    if window == "full":
        return Case(row, 0, n - 1)
    if window == "first":
        return Case(row, 0, 0)
    if window == "last":
        return Case(row, n - 1, n - 1)
    if window in ("first24h", "first48h"):
        limit = 24 if window == "first24h" else 48
        return Case(row, 0, int(np.count_nonzero(hours < hours[0] + limit)) - 1)
    if window == "last_before":
        end = int(np.count_nonzero(hours <= hours[-1] - before_hours)) - 1
        return Case(row, max(0, end - last_k + 1), end) if end >= 0 else None
    raise InputError(f"there is no window {window!r}: use full, first, first24h, first48h, last or last_before")


def prefixes(case: Case) -> list[Case]:
    """Return one case a visit, each of which sees what was known then."""
    return [Case(case.row, case.start, end) for end in range(case.start, case.end + 1)]
