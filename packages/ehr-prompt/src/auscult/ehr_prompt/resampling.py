"""Intervals of many systems on the same resamples of subjects, fast enough for a hundred thousand stays.

The resamples are those of :func:`auscult.core.intervals.bootstrap_replicates` for the same seed and subjects, and the
metrics those of :mod:`auscult.core.risk`; they are computed for blocks of resamples at once, from how often each
distinct risk was drawn with either label. Of more than :data:`CELLS` distinct risks, neighbours share a cell in the
resamples (not in the estimates).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.intervals import Interval, percentile_bounds
from auscult.core.progress import progress
from auscult.core.risk import METRICS

FloatArray = NDArray[np.float64]

CELLS = 1000
_BLOCK = 64
_LINE = 16  # float32 values in a line of the processor's cache
_BINS = 15

RISK_METRICS = {
    "auroc": "auroc",
    "auprc": "auprc",
    "minpse": "min_precision_sensitivity",
    "f1": "f1",
    "accuracy": "accuracy",
    "brier": "brier",
    "ece": "expected_calibration_error",
}
"""Our short names of the metrics of risks -> the core's."""
DAYS_METRICS = ("mae", "mse", "rmse", "r2", "mae_by_patient")


def evaluate_risks(
    label: FloatArray | Mapping[str, FloatArray],
    risks: Mapping[str, FloatArray],
    subjects: NDArray[Any],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Interval]], dict[tuple[str, str], Interval]]:
    """Return the metrics of every system, and for each pair the AUROC of the first minus that of the second.

    Parameters
    ----------
    label
        [N] 1 or 0, NaN where unknown; or such labels by the name of the system, those of a pair equal on the rows that
        both have.
    risks
        Name -> [N] risks in [0, 1], NaN where a system has none: such rows do not count for it, nor for its pairs.
    subjects
        [N] whom a row belongs to.
    pairs
        Names to compare on the rows that both have.
    n_boot, seed
        Of the resamples, which all systems share.
    """
    place, blocks = _draws(subjects, n_boot, seed)
    labels = _by_name(label, risks)
    known = {name: ~(np.isnan(labels[name]) | np.isnan(risk)) for name, risk in risks.items()}
    systems: dict[Any, _System] = {}
    for name, risk in risks.items():
        same = (
            one for other, one in systems.items()
            if np.array_equal(risk, risks[other], equal_nan=True)
            and (labels[name] is labels[other] or np.array_equal(labels[name], labels[other], equal_nan=True))
        )  # fmt: skip
        systems[name] = next(same, None) or _System(labels[name], risk, known[name], tuple(RISK_METRICS))
    for pair in pairs:
        both = known[pair[0]] & known[pair[1]]
        for name in pair:
            whole = np.array_equal(both, known[name])
            systems[*pair, name] = systems[name] if whole else _System(labels[name], risks[name], both, ("auroc",))
    distinct = list(dict.fromkeys(systems.values()))
    with ThreadPoolExecutor() as threads:  # sorts, random numbers and sparse products run beside each other
        drawn = threads.submit(next, blocks, None)
        list(threads.map(lambda system: system.start(place), distinct))
        with progress("Resampling", n_boot) as advance:
            while (block := drawn.result()) is not None:
                drawn = threads.submit(next, blocks, None)
                list(threads.map(lambda system, block=block: system.add(block), distinct))
                advance(block.shape[1])
    found = {name: {metric: systems[name].interval(metric) for metric in RISK_METRICS} for name in risks}
    differences = {}
    for pair in pairs:
        one, other = (systems[*pair, name] for name in pair)
        low, high = percentile_bounds(one.replicates["auroc"] - other.replicates["auroc"])
        differences[pair] = Interval(one.value["auroc"] - other.value["auroc"], float(low), float(high))
    return found, differences


def evaluate_days(
    label: FloatArray | Mapping[str, FloatArray],
    days: Mapping[str, FloatArray],
    subjects: NDArray[Any],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Interval]], dict[tuple[str, str], Interval]]:
    """Return MAE, MSE, RMSE, R² over all rows and the MAE averaged over patients, and each pair's difference in MAE.

    Parameters are those of :func:`evaluate_risks`.
    """
    place, blocks = _draws(subjects, n_boot, seed)
    count = int(place.max(initial=-1)) + 1
    drawn = np.concatenate([np.ones((count, 1)), *(blocks if count else ())], axis=1)

    labels = _by_name(label, days)
    known = {name: ~(np.isnan(labels[name]) | np.isnan(value)) for name, value in days.items()}

    def replicates(name: str, known: NDArray[np.bool_]) -> dict[str, FloatArray]:
        """Return each metric of all rows and of every resample, from sums over each subject's rows."""
        y, who = labels[name][known], place[known]
        error = days[name][known] - y
        columns = (np.ones_like(y), np.abs(error), error**2, y, y**2)
        parts = [np.bincount(who, weights=column, minlength=count) for column in columns]
        mean = np.divide(parts[1], parts[0], out=np.zeros(count), where=parts[0] > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            n, absolute, square, y1, y2, means, patients = np.stack([*parts, mean, parts[0] > 0]) @ drawn
            mse = square / n
            spread = y2 - y1**2 / n
            r2 = 1 - square / np.where(spread > 1e-9, spread, np.nan)
            values = (absolute / n, mse, np.sqrt(mse), r2, means / patients)
        return dict(zip(DAYS_METRICS, values, strict=True))

    found = {}
    for name in days:
        made = replicates(name, known[name])
        found[name] = {metric: _interval(made[metric][0], made[metric][1:]) for metric in DAYS_METRICS}
    differences = {}
    for one, other in pairs:
        both = known[one] & known[other]
        gap = replicates(one, both)["mae"] - replicates(other, both)["mae"]
        differences[one, other] = _interval(gap[0], gap[1:])
    return found, differences


def _by_name(label: FloatArray | Mapping[str, FloatArray], systems: Mapping[str, Any]) -> Mapping[str, FloatArray]:
    return label if isinstance(label, Mapping) else dict.fromkeys(systems, label)


def _draws(subjects: NDArray[Any], n_boot: int, seed: int) -> tuple[NDArray[np.intp], Iterator[NDArray[np.float32]]]:
    """Return the number of each row's subject, and blocks [S, B] of how often each subject was drawn."""
    unique, place = np.unique(subjects, return_inverse=True)

    def blocks() -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        for start in range(0, n_boot, _BLOCK):
            block = np.empty((len(unique), min(_BLOCK, n_boot - start)), np.float32)
            for column in range(0, block.shape[1], _LINE):
                columns = block[:, column : column + _LINE]
                draws = (rng.integers(len(unique), size=len(unique)) for _ in range(columns.shape[1]))
                columns[:] = np.stack([np.bincount(draw, minlength=len(unique)) for draw in draws], axis=-1)
            yield block

    return place, blocks()


def _interval(value: float, replicates: FloatArray) -> Interval:
    low, high = percentile_bounds(replicates) if len(replicates) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), undefined=int(np.isnan(replicates).sum()))


class _System:
    """One system's estimates and, block by block, its replicates."""

    def __init__(self, label: FloatArray, risk: FloatArray, known: NDArray[np.bool_], metrics: Sequence[str]) -> None:
        self.known = known
        self._label, self._risk = label[known].astype(np.bool_), risk[known]
        self.replicates: dict[str, FloatArray] = {name: np.empty(0) for name in metrics}

    def start(self, place: NDArray[np.intp]) -> None:
        """Compute the estimates, and the cells of the replicates; ``place`` has the number of each row's subject."""
        from scipy.sparse import csr_array

        y, p = self._label, self._risk
        self.value = {name: METRICS[RISK_METRICS[name]](y, p) if len(y) else np.nan for name in self.replicates}
        scores, cell = np.unique(p, return_inverse=True)
        if len(scores) > CELLS:
            rank = np.empty(len(p), np.intp)
            rank[np.argsort(p, kind="stable")] = np.arange(len(p))
            cell = rank * CELLS // len(p)
            scores = np.bincount(cell, weights=p) / np.bincount(cell)
        self._scores = scores
        shape = (2 * len(scores), int(place.max(initial=-1)) + 1)
        ones = np.ones(len(p), np.float32)
        self._members = csr_array((ones, (cell + len(scores) * y, place[self.known])), shape=shape)

    def add(self, drawn: NDArray[np.float32]) -> None:
        """Append the replicates of a block of draws [S, B]."""
        counts = (self._members @ drawn).astype(np.float64)
        others, cases = np.split(counts, 2)
        found = _metrics(self._scores, others, cases, self.replicates)
        self.replicates = {name: np.append(self.replicates[name], found[name]) for name in self.replicates}

    def interval(self, metric: str) -> Interval:
        return _interval(self.value[metric], self.replicates[metric])


def _metrics(scores: FloatArray, others: FloatArray, cases: FloatArray, wanted: Any) -> dict[str, FloatArray]:
    """Return metrics [B] from the counts [C, B] of non-cases and cases at each ascending score [C]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        true, false = cases[::-1].cumsum(axis=0), others[::-1].cumsum(axis=0)
        positives, negatives = cases.sum(axis=0), others.sum(axis=0)
        n = positives + negatives
        if not len(scores):
            return dict.fromkeys(RISK_METRICS, np.full(others.shape[1], np.nan))
        before = true - cases[::-1]
        found = {"auroc": (others[::-1] * (before + true)).sum(axis=0) / 2 / (positives * negatives)}
        if set(wanted) == {"auroc"}:
            return found
        precision = true / np.maximum(true + false, 1)
        found["auprc"] = (cases[::-1] * precision).sum(axis=0) / positives
        least = np.minimum(precision, true / positives).max(axis=0)
        found["minpse"] = np.where(positives > 0, least, np.nan)
        high = scores > 0.5
        hits, alarms = cases[high].sum(axis=0), others[high].sum(axis=0)
        found["f1"] = 2 * hits / (positives + hits + alarms)
        found["accuracy"] = (hits + negatives - alarms) / n
        found["brier"] = ((scores - 1) ** 2 @ cases + scores**2 @ others) / n
        found["ece"] = _calibration_error(scores, others + cases, cases, n)
    return found


def _calibration_error(scores: FloatArray, counts: FloatArray, cases: FloatArray, n: FloatArray) -> FloatArray:
    """Return the error over bins of equal mass, whose edges are the quantiles of each resample."""
    zero = np.zeros((1, counts.shape[1]))
    upto = np.concatenate([zero, counts.cumsum(axis=0)])
    events = np.concatenate([zero, cases.cumsum(axis=0)])
    mass = np.concatenate([zero, (counts * scores[:, None]).cumsum(axis=0)])
    rank = np.maximum(n - 1, 0) * (np.arange(1, _BINS) / _BINS)[:, None]
    low = np.floor(rank)
    share = rank - low
    ends = np.empty((_BINS + 1, counts.shape[1]), np.intp)
    ends[0], ends[-1] = 0, len(scores)
    last = len(scores) - 1
    for column in range(counts.shape[1]):
        held = upto[1:, column]
        a = scores[np.minimum(np.searchsorted(held, low[:, column], "right"), last)]
        b = scores[np.minimum(np.searchsorted(held, low[:, column] + 1, "right"), last)]
        part = share[:, column]
        edge = np.where(part >= 0.5, b - (b - a) * (1 - part), a + (b - a) * part)  # as numpy's quantile rounds
        ends[1:-1, column] = np.searchsorted(scores, edge, "right")
    predicted, observed = (np.diff(np.take_along_axis(one, ends, axis=0), axis=0) for one in (mass, events))
    error: FloatArray = np.abs(predicted - observed).sum(axis=0) / n
    return error
