"""Sample weights in PyTorch training: a loss, a sampler, a dataset wrapper (extra ``torch``).

Use the weights once: in the loss, or in the sampler, never in both. For sequences give one weight a patient.
"""

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError, missing_dependency
from auscult.m3fair.table import check_weights

try:
    import torch
    from torch.utils.data import Dataset, WeightedRandomSampler
except ImportError:
    raise missing_dependency("torch", purpose="auscult.m3fair.torch", install="m3fair[torch]") from None


def normalize_weights(weights: npt.ArrayLike) -> torch.Tensor:
    """Return weights (n,) of the whole training set as float32 with a mean of 1.

    Raises
    ------
    InputError
        For weights that are negative, not finite, or all 0.
    """
    array = check_weights(np.asarray(weights))
    if not array.sum():
        raise InputError("the weights are all 0: give at least one row some weight")
    return torch.as_tensor(array / array.mean(), dtype=torch.float32)


def weighted_bce(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    *,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> torch.Tensor:
    """Return the weighted binary cross entropy of logits.

    ``"mean"`` divides by the batch size, not by the batch's sum of weights, which would make the expected
    gradient depend on how batches are drawn: normalise the weights over the whole training set
    (:func:`normalize_weights`) instead.

    Parameters
    ----------
    logits, target, weight
        Tensors of one shape: floats, labels 0 or 1, weights.

    Raises
    ------
    InputError
        For different shapes or an unknown reduction.

    Examples
    --------
    >>> weighted_bce(torch.zeros(2), torch.tensor([0, 1]), torch.tensor([0.5, 1.5])).item()  # ln 2
    0.6931471824645996
    """
    if not logits.shape == target.shape == weight.shape:
        raise InputError(
            f"logits, target and weight have shapes {tuple(logits.shape)}, {tuple(target.shape)} and "
            f"{tuple(weight.shape)}: give one of each a row"
        )
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction={reduction!r} is unknown: choose 'mean', 'sum' or 'none'")
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target.to(logits.dtype), weight=weight.to(logits.dtype), reduction="none"
    )
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def weighted_sampler(
    weights: npt.ArrayLike, *, num_samples: int | None = None, generator: torch.Generator | None = None
) -> WeightedRandomSampler:
    """Return a sampler that draws rows with replacement in proportion to their weights.

    Do not also weight the loss.

    Parameters
    ----------
    weights
        (n,) weights of the whole training set.
    num_samples
        Draws an epoch; n by default.
    generator
        The source of randomness.
    """
    normal = normalize_weights(weights).double()
    draws = len(normal) if num_samples is None else num_samples
    return WeightedRandomSampler(normal.tolist(), draws, replacement=True, generator=generator)


class Items(Protocol):
    """What has a length and an item at each position: a map-style dataset, a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class WeightedDataset(Dataset[Any]):
    """A map-style dataset with its weights: a tuple item gains the weight, a mapping a key ``weight``.

    The Hugging Face Trainer and others hand such a key to the loss.

    Parameters
    ----------
    dataset
        A dataset of n items.
    weights
        (n,) weights, normalised to a mean of 1.

    Raises
    ------
    InputError
        For another number of weights than items.
    """

    def __init__(self, dataset: Items, weights: npt.ArrayLike) -> None:
        self.dataset = dataset
        self.weights = normalize_weights(weights)
        if len(self.weights) != len(dataset):
            raise InputError(f"there are {len(self.weights)} weights for {len(dataset)} items: give one an item")

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: int) -> Any:
        item, weight = self.dataset[index], self.weights[index]
        if isinstance(item, dict):
            return {**item, "weight": weight}
        return (*item, weight) if isinstance(item, tuple) else (item, weight)
