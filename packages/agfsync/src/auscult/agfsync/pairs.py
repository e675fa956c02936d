"""Stage 5: from scores to preference pairs; weights can be swept here without scoring again.

Sums run in float64. A prompt gives no pair where its best and worst are equal, are one image, or cannot be
compared (a score is missing or NaN, or the picture is black).
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auscult.agfsync.config import PairsConfig
from auscult.agfsync.images import open_image, pixel_hash
from auscult.agfsync.scoring.scoring import SCORES
from auscult.core.device import generator
from auscult.core.errors import InputError

Scores = npt.NDArray[np.float64]


def combine(raw: Scores, config: PairsConfig) -> Scores:
    """Return the total score S (n,) of the pictures of one prompt.

    Parameters
    ----------
    raw
        (n, 3): VQA, CLIP and aesthetics, NaN where a score is not there.
    config
        Weights, normalisation and aggregate. Scores of weight 0 do not count, not even as missing.

    Examples
    --------
    >>> combine(np.array([[75.0, 28, 55], [100, 26, 50], [50, 31, 70]]), PairsConfig()).round(2).tolist()
    [47.15, 54.3, 41.55]
    """
    weights = np.asarray(config.used_weights, np.float64)
    used = weights > 0
    values, weights = _normalized(np.asarray(raw, np.float64)[:, used], config.normalize), weights[used]
    if config.aggregate == "weighted_sum":
        return np.asarray(values @ weights, np.float64)
    whole = np.isfinite(values).all(1)
    total = np.full(len(values), np.nan)
    for i in np.flatnonzero(whole):
        others = values[whole & (np.arange(len(values)) != i)]
        better, worse = values[i] > others, values[i] < others
        if config.aggregate == "majority_vote":
            votes = (weights * (better.astype(float) - worse)).sum(1)
            total[i] = (votes > 0).sum() - (votes < 0).sum()
        else:
            dominates, is_dominated = better.any(1) & ~worse.any(1), worse.any(1) & ~better.any(1)
            total[i] = dominates.sum() - is_dominated.sum()
    return total


def _normalized(values: Scores, how: str) -> Scores:
    """Return the columns on one scale over the pictures of a prompt; a constant column becomes 0."""
    if how == "none" or not len(values):
        return values
    result = np.full_like(values, np.nan)
    for column in range(values.shape[1]):
        there = np.isfinite(values[:, column])
        x = values[there, column]
        if not len(x):
            continue
        if how == "rank":
            x = np.array([(x < value).sum() + ((x == value).sum() - 1) / 2 for value in x])
        low, spread = (x.min(), np.ptp(x)) if how != "zscore" else (x.mean(), x.std())
        constant = np.ptp(values[there, column]) == 0
        result[there, column] = 0.0 if constant else (x - low) / spread
    return result


def select_pairs(
    scores: Sequence[Mapping[str, Any]],
    candidates: Sequence[Mapping[str, Any]],
    config: PairsConfig | None = None,
    *,
    seed: int = 0,
    categories: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Choose the pairs of every prompt.

    Parameters
    ----------
    scores
        Rows of stage 4: ``id``, ``k``, ``vqa``, ``clip``, ``aesthetic``, ``extras`` with ``pixels`` and ``black``.
    candidates
        Rows of stage 3, for captions and paths; matched by id and k, never by position.
    config
        See :class:`~auscult.agfsync.config.PairsConfig`.
    seed
        Of the strategy ``best_random``.
    categories
        The category of each id, if there are any.

    Returns
    -------
    list of dict
        ``id, caption, category, good_k, bad_k, good_path, bad_path, good_pixels, bad_pixels, score_good,
        score_bad, margin, sub_scores_good, sub_scores_bad``; a good score is above the bad by more than ``min_margin``.

    Raises
    ------
    InputError
        A scored picture is not among the candidates, or no picture has the scores that the weights ask for.
    """
    config = config or PairsConfig()
    pictures = {(str(row["id"]), int(row["k"])): row for row in candidates}
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(scores, key=lambda row: int(row["k"])):
        by_id.setdefault(str(row["id"]), []).append(row)
    _refuse_missing_scores(scores, config)
    pairs = []
    for id in dict.fromkeys(str(row["id"]) for row in scores):
        rows = by_id[id]
        raw = np.array([[np.nan if row[name] is None else row[name] for name in SCORES] for row in rows], np.float64)
        black = np.array([bool(row.get("extras", {}).get("black")) for row in rows])
        total = np.where(black, np.nan, combine(np.where(black[:, None], np.nan, raw), config))
        for good, bad in _chosen(total, config, seed, id):
            pixels = [rows[i].get("extras", {}).get("pixels") for i in (good, bad)]
            if pixels[0] is not None and pixels[0] == pixels[1]:
                continue
            try:
                shown = [pictures[id, int(rows[i]["k"])] for i in (good, bad)]
            except KeyError as error:
                raise InputError(
                    f"picture {error.args[0]} has scores, but is no candidate: score these candidates"
                ) from error
            pairs.append(
                {
                    "id": id, "caption": shown[0]["prompt"], "category": (categories or {}).get(id, ""),
                    "good_k": int(rows[good]["k"]), "bad_k": int(rows[bad]["k"]),
                    "good_path": shown[0]["path"], "bad_path": shown[1]["path"],
                    "good_pixels": pixels[0], "bad_pixels": pixels[1],
                    "score_good": float(total[good]), "score_bad": float(total[bad]),
                    "margin": float(total[good] - total[bad]),
                    "sub_scores_good": raw[good].tolist(), "sub_scores_bad": raw[bad].tolist(),
                }
            )  # fmt: skip
    return pairs


def _refuse_missing_scores(scores: Sequence[Mapping[str, Any]], config: PairsConfig) -> None:
    for name, weight in zip(SCORES, config.used_weights, strict=True):
        if weight > 0 and scores and all(row[name] is None for row in scores):
            raise InputError(
                f"the weights {config.used_weights} use {name}, but no picture has that score: score it, or set its "
                "weight to 0"
            )


def _chosen(total: Scores, config: PairsConfig, seed: int, id: str) -> list[tuple[int, int]]:
    """Return positions of good and bad; of equal scores the earlier picture comes first on either side."""
    there = np.flatnonzero(np.isfinite(total))
    if len(there) < 2:
        return []
    falling = sorted(there.tolist(), key=lambda i: (-total[i], i))
    rising = sorted(there.tolist(), key=lambda i: (total[i], i))
    if config.strategy == "best_worst":
        found = [(falling[0], rising[0])]
    elif config.strategy == "top_bottom_k":
        found = list(zip(falling[: config.k], rising[: config.k], strict=True))
    elif config.strategy == "best_random":
        others = [i for i in rising if total[i] < total[falling[0]]]
        found = [(falling[0], int(generator(seed, "pair", id).choice(others)))] if others else []
    else:
        found = list(itertools.permutations(falling, 2))
    return [(good, bad) for good, bad in found if total[good] - total[bad] > config.min_margin]


def variance_shares(rows: Sequence[Mapping[str, Any]], config: PairsConfig) -> dict[str, float]:
    """Return the share of each weighted score in the sum of their variances within prompts.

    Raw scores have different ranges, so that a score may decide more, or less, than its weight suggests.
    """
    by_id: dict[str, list[list[float]]] = {}
    for row in rows:
        values = [np.nan if row[name] is None else row[name] for name in SCORES]
        by_id.setdefault(str(row["id"]), []).append(values)
    weighted = [
        _normalized(np.array(values, np.float64), config.normalize) * config.used_weights for values in by_id.values()
    ]
    spread = {}
    for column, name in enumerate(SCORES):
        found = [values[:, column][np.isfinite(values[:, column])] for values in weighted]
        spread[name] = float(np.mean([float(np.var(values)) for values in found if len(values)] or [0.0]))
    total = sum(spread.values())
    return {name: value / total if total else 0.0 for name, value in spread.items()}


def write_pairs(pairs: Sequence[Mapping[str, Any]], images: Path, path: Path) -> None:
    """Write pairs with the bytes of their pictures into one parquet file, in the published layout and with scores.

    Parameters
    ----------
    pairs
        From :func:`select_pairs`.
    images
        The folder that ``good_path`` and ``bad_path`` are relative to.
    path
        Columns ``caption``, ``good_jpg`` and ``bad_jpg`` are those of the published data set.
    """
    import pyarrow
    import pyarrow.parquet

    from auscult.core.files import replace_atomically

    rows = []
    for pair in pairs:
        row = {name: value for name, value in pair.items() if not name.endswith(("_path", "_pixels"))}
        for side in ("good", "bad"):
            picture, pixels = images / pair[f"{side}_path"], pair[f"{side}_pixels"]
            if pixels not in (None, pixel_hash(open_image(picture))):
                raise InputError(f"{picture} is another picture than was scored: restore it, or score again")
            row[f"{side}_jpg"] = picture.read_bytes()
        rows.append(row)
    replace_atomically(path, lambda partial: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial))
