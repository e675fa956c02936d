"""Which patients are alike, by the method's own similarity, and what the prototypes stand for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.core.errors import InputError
from auscult.core.kernels.confident_similarity import most_similar

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SimilarPatients:
    """For each of N stays the k most similar training stays, the most similar first.

    Parameters
    ----------
    similarity
        [N, k]; positive, and about 1/zeta at most. NaN where there are fewer than k others.
    index
        [N, k] positions among the training stays; -1 where there are fewer.
    record_id
        [N, k] their stays' ids (their positions, of an array).
    label
        [N, k] their outcomes, -1 where there are fewer.
    """

    similarity: FloatArray
    index: NDArray[np.int64]
    record_id: NDArray[np.object_]
    label: NDArray[np.int64]


@dataclass(frozen=True)
class Prototypes:
    """The K prototype patients.

    Parameters
    ----------
    centres
        [K, F] where they lie in the space that patients are compared in.
    confidence
        [K, F] how far their values are trusted.
    size
        [K] training stays that each is the nearest to.
    risk
        [K] share of these with the outcome; NaN for none.
    features
        The F names: static columns, then variables.
    """

    centres: FloatArray
    confidence: FloatArray
    size: NDArray[np.int64]
    risk: NDArray[np.float64]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """The training stays as they are compared: ``summary`` and ``confidence`` [M, F], ids and labels [M]."""

    summary: FloatArray
    confidence: FloatArray
    prototype: NDArray[np.int64]
    record_id: NDArray[np.object_]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.summary)


def find_similar(
    summary: FloatArray,
    confidence: FloatArray,
    reference: Reference,
    zeta: float,
    k: int,
    *,
    kind: str = "confident",
    scale: bool = False,
    device: str,
    own: NDArray[np.int64] | None = None,
) -> SimilarPatients:
    """Return the most similar reference stays; nothing of size N x M is made.

    Parameters
    ----------
    summary, confidence
        [N, F].
    reference
        Whom they are compared with.
    zeta
        Weight of doubt against distance.
    k
        How many.
    kind
        As in :func:`~auscult.sparse_ehr.nn.similarity.patient_similarity`.
    scale
        Measure each of the F distances in standard deviations of the references. Unscaled distances are small beside
        doubt, and then the few references that are trusted most are the nearest to everybody.
    device
        Where to compute.
    own
        [N] position of the very same stay among the references, to be left out; -1 where it is not there.

    Raises
    ------
    InputError
        Where k is not within 1 to M.
    """
    asked: Any = k
    if not isinstance(asked, (int, np.integer)) or not 1 <= k <= len(reference):
        raise InputError(f"k is {k!r}: give a whole number from 1 to {len(reference)}, the number of training stays")
    count = min(k + (own is not None), len(reference))
    arrays = (summary, confidence, reference.summary, reference.confidence)
    x, c, y, d = (torch.from_numpy(array).to(device) for array in arrays)
    if scale:
        middle, spread = y.mean(0), y.std(0, correction=0)
        constant = spread <= 1e-6 * y.abs().amax(0)  # but for rounding
        x, y = ((rows - middle) / spread.masked_fill(constant, 1) for rows in (x, y))
    if kind != "confident":
        c, d = torch.ones_like(c), torch.ones_like(d)
    if kind == "cosine":  # the nearest of vectors of length 1 are those of the largest cosine
        x, y = torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)
    found, place = most_similar(x, c, y, d, zeta, count)
    if kind == "cosine":
        found = (1 + (x[:, None] * y[place]).sum(2)) / 2
    similarity: NDArray[Any] = found.cpu().numpy()
    index: NDArray[Any] = place.cpu().numpy()
    # Equal similarities come in no particular order: put them in that of the training stays.
    order = np.lexsort((index, -similarity), axis=1)
    similarity, index = (np.take_along_axis(part, order, axis=1) for part in (similarity, index))
    if own is not None:
        kept = np.argsort(index == own[:, None], axis=1, kind="stable")
        similarity, index = (np.take_along_axis(part, kept, axis=1) for part in (similarity, index))
        same = index == own[:, None]
        similarity, index = np.where(same, np.nan, similarity)[:, :k], np.where(same, -1, index)[:, :k]
        if index.shape[1] < k:
            missing = ((0, 0), (0, k - index.shape[1]))
            similarity = np.pad(similarity, missing, constant_values=np.nan)
            index = np.pad(index, missing, constant_values=-1)
    ids = reference.record_id[index]
    ids[index < 0] = None
    return SimilarPatients(similarity, index, ids, np.where(index >= 0, reference.label[index], -1))
