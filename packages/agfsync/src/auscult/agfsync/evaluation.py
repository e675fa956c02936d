"""Stage 7: base against tuned, picture against picture of the same seed, with intervals.

The unit of every interval is the caption: pictures of one caption are drawn together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auscult.agfsync.scoring.scoring import SCORES
from auscult.core.errors import InputError
from auscult.core.intervals import Interval, bootstrap, paired_difference, sign_test

BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Comparison:
    """One score of base and tuned.

    Attributes
    ----------
    base, tuned
        Mean over captions of the mean over a caption's pictures; for VQA this is TIFA, as a percentage.
    difference
        Tuned minus base, paired.
    """

    base: Interval
    tuned: Interval
    difference: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the three as JSON."""
        return {name: getattr(self, name).to_dict() for name in ("base", "tuned", "difference")}


@dataclass(frozen=True)
class WinRate:
    """How often tuned is preferred to base.

    Attributes
    ----------
    rate
        (wins + ties / 2) / n with its interval.
    wins, ties, losses
        Counts of pictures.
    p_value
        Of the two-sided sign test over captions: more wins or more losses of each.
    """

    rate: Interval
    wins: int
    ties: int
    losses: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the rate, the counts and the p-value as JSON."""
        return {
            "rate": self.rate.to_dict(), "wins": self.wins, "ties": self.ties, "losses": self.losses,
            "p_value": self.p_value,
        }  # fmt: skip


def compare(
    base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]], name: str, *, confidence: float = 0.95
) -> Comparison | None:
    """Compare one score of two sets of pictures; None where nobody has it.

    Parameters
    ----------
    base, tuned
        Rows of stage 4, of the same ids and k.
    name
        ``vqa``, ``clip`` or ``aesthetic``.
    confidence
        Of the intervals.
    """
    pairs = matched(base, tuned)
    values = np.array([[_number(one[name]), _number(other[name])] for one, other in pairs])
    there = np.isfinite(values).all(1)
    if not there.any():
        return None
    ids = np.array([one["id"] for one, _ in pairs])[there]
    by_caption = np.array([values[there][ids == id].mean(0) for id in dict.fromkeys(ids)])

    def mean(column: int) -> Any:
        return lambda rows: float(by_caption[rows, column].mean())

    options: dict[str, Any] = {"n_boot": BOOTSTRAPS, "seed": 0, "confidence": confidence}
    return Comparison(
        bootstrap(mean(0), len(by_caption), **options),
        bootstrap(mean(1), len(by_caption), **options),
        paired_difference(mean(1), mean(0), len(by_caption), **options),
    )


def by_element_type(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Sequence[Mapping[str, str]]]
) -> dict[str, float]:
    """Return the percentage of yes by the type of what is asked about."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for item, yes in zip(questions.get(row["id"], []), row["vqa_yes"], strict=False):
            if np.isfinite(_number(yes)):
                found.setdefault(item["element_type"], []).append(yes)
    return {kind: 100 * float(np.mean(values)) for kind, values in sorted(found.items())}


def win_rate(verdicts: Sequence[tuple[str, float]], *, confidence: float = 0.95) -> WinRate:
    """Return the win rate of tuned.

    Parameters
    ----------
    verdicts
        ``(id, outcome)`` of each pair of pictures: 1 tuned wins, 0 base wins, 0.5 tie.
    confidence
        Of the interval, which resamples ids.

    Raises
    ------
    InputError
        There is no verdict.
    """
    if not verdicts:
        raise InputError("there is no verdict to count: compare at least one pair of pictures")
    ids = np.array([id for id, _ in verdicts])
    outcome = np.array([value for _, value in verdicts], np.float64)
    rate = bootstrap(lambda rows: float(outcome[rows].mean()), ids, n_boot=BOOTSTRAPS, seed=0, confidence=confidence)
    balance = [np.sign((outcome[ids == id] - 0.5).sum()) for id in dict.fromkeys(ids)]
    p_value = sign_test(int(np.sum(np.array(balance) > 0)), int(np.sum(np.array(balance) < 0)))
    return WinRate(rate, int((outcome == 1).sum()), int((outcome == 0.5).sum()), int((outcome == 0).sum()), p_value)


def verdicts_by_score(
    base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]], names: Sequence[str] = SCORES
) -> list[tuple[str, float]]:
    """Return who wins each pair of pictures by the first of the scores in which they differ.

    A pair without a score that both have is left out.
    """
    found = []
    for one, other in matched(base, tuned):
        known = [(_number(one[name]), _number(other[name])) for name in names]
        known = [values for values in known if np.isfinite(values).all()]
        if known:
            outcome = next((float(y > x) for x, y in known if x != y), 0.5)
            found.append((str(one["id"]), outcome))
    return found


def verdict_of_both_orders(first: str | None, second: str | None) -> float:
    """Return the outcome of a judge that saw both orders; disagreement, or no answer, is a tie.

    Parameters
    ----------
    first
        ``"first"`` or ``"second"``: its choice with base shown first.
    second
        Its choice with tuned shown first.

    Examples
    --------
    >>> verdict_of_both_orders("second", "first"), verdict_of_both_orders("first", "first")
    (1.0, 0.5)
    """
    if (first, second) == ("second", "first"):
        return 1.0
    return 0.0 if (first, second) == ("first", "second") else 0.5


def matched(
    base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return pairs of rows of the same picture.

    Raises
    ------
    InputError
        One side has a picture that the other lacks.
    """
    other = {(row["id"], row["k"]): row for row in tuned}
    if len(other) != len(base) or any((row["id"], row["k"]) not in other for row in base):
        raise InputError("base and tuned have different pictures: evaluate both on the same captions and seeds")
    return [(row, other[row["id"], row["k"]]) for row in base]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
