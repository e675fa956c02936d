"""What a trained model says of stays, a batch at a time."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.sparse_ehr.inputs import Inputs
from auscult.sparse_ehr.nn.prism import Prism

FloatArray = NDArray[np.float32]

# Small enough to stay in a cache; results do not depend on it.
_BATCH = 64


@dataclass(frozen=True)
class Findings:
    """What a model says of N stays.

    Parameters
    ----------
    logits
        [N] log-odds of the outcome.
    summary, summary_confidence
        [N, F] what patients are compared by.
    prototype
        [N] index of the most similar prototype.
    confidence
        [N, T, L] of each cell of the grid's dynamic variables; empty unless it was asked for.
    """

    logits: FloatArray
    summary: FloatArray
    summary_confidence: FloatArray
    prototype: NDArray[np.int64]
    confidence: FloatArray


@torch.no_grad()
def forward(
    model: Prism, inputs: Inputs, *, device: str, cells: tuple[FloatArray, NDArray[np.int64]] | None = None
) -> Findings:
    """Return what a model says of stays, in evaluation mode and in float32.

    Parameters
    ----------
    model
        On ``device``.
    inputs
        The stays.
    device
        Where to compute.
    cells
        Of which cells confidence is asked for, as :meth:`~auscult.sparse_ehr.inputs.Preparer.cells` returns them.
    """
    model.eval()
    parts: list[list[Tensor]] = []
    for start in range(0, len(inputs), _BATCH):
        rows = slice(start, start + _BATCH)
        found = model(*to_tensors(inputs.rows(rows), device))
        confidence = found.logits[:0]
        if cells is not None:
            hours, step = (torch.from_numpy(array).to(device) for array in (cells[0][rows], cells[1]))
            confidence = model.cell_confidence(found.attention, hours, step)
        parts.append([found.logits, found.summary, found.summary_confidence, found.prototype, confidence])
    if not parts:
        features = model.config.n_features
        asked = inputs.hours.shape if cells is None else cells[0].shape
        shapes = ((0,), (0, features), (0, features), (0,), asked)
        empty = [np.empty(shape, np.float32) for shape in shapes]
        return Findings(empty[0], empty[1], empty[2], empty[3].astype(np.int64), empty[4])
    arrays = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    return Findings(*arrays)


def to_tensors(inputs: Inputs, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arguments of a model."""
    values, static, hours = (torch.from_numpy(a).to(device) for a in (inputs.values, inputs.static, inputs.hours))
    return values, static, hours
