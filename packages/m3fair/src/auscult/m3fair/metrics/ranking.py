"""Ranking by a score: the area under the ROC curve, weighted, with ties and an interval, from one sort."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from auscult.core.intervals import wilson_proportion

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Auroc:
    """Probability that a positive scores above a negative, ties counting one half; NaN without both classes."""

    value: float
    low: float
    high: float


def auroc(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Auroc:
    """Return the weighted area under the ROC curve with its interval.

    The interval is DeLong's on the logit scale (DeLong et al. 1988), its structural components weighted; where
    the ranking is perfect and the variance 0, it is Wilson's for the smaller class, each member of which ranked
    right.

    Parameters
    ----------
    label
        (n,) 1 for positive, 0 for negative.
    score
        (n,) finite; higher means more likely positive.
    weight
        (n,) prior weights, 1 by default; rows of weight 0 do not count.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value
    0.75
    """
    y = np.asarray(label, dtype=float)
    s = np.asarray(score, dtype=float)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    kept = w > 0
    y, s, w = y[kept], s[kept], w[kept]
    positive, negative = float((w * y).sum()), float((w * (1 - y)).sum())
    if positive <= 0 or negative <= 0:
        return Auroc(np.nan, np.nan, np.nan)
    order = np.argsort(s, kind="stable")
    y, s, w = y[order], s[order], w[order]
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    pos, neg, pos2, neg2 = (np.add.reduceat(part, starts) for part in (w * y, w * (1 - y), w**2 * y, w**2 * (1 - y)))
    beaten = (np.cumsum(neg) - neg / 2) / negative
    beating = (positive - np.cumsum(pos) + pos / 2) / positive
    area = float((pos * beaten).sum() / positive)
    sizes = [positive**2 / pos2.sum(), negative**2 / neg2.sum()]
    variance = sum(
        (squared * (placement - area) ** 2).sum() / total**2 * size / max(size - 1, 0.5)
        for squared, placement, total, size in (
            (pos2, beaten, positive, sizes[0]),
            (neg2, beating, negative, sizes[1]),
        )
    )
    if variance > 0 and 0 < area < 1:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        logit, half = np.log(area / (1 - area)), z * np.sqrt(variance) / (area * (1 - area))
        low, high = (1 / (1 + np.exp(-np.clip(end, -700, 700))) for end in (logit - half, logit + half))
    else:
        low, high = wilson_proportion(area, min(sizes), confidence=confidence)
    return Auroc(area, float(low), float(high))
