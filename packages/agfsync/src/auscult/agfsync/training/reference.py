"""What the reference model says: an adapter switched off, a frozen copy, or scalars computed before training."""

import contextlib
import copy
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auscult.core.canonical import digest
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically


@contextlib.contextmanager
def adapters_off(unet: Any) -> Iterator[None]:
    """Switch the adapters of a diffusers model off, and on again whatever happens inside."""
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()


REFERENCE = "reference"
"""The name of the frozen copy of an adapter that training went on from."""


def keep_reference(unet: Any, adapter: str) -> None:
    """Keep a frozen copy of an adapter beside it, without dropout, as the reference of training that adapter."""
    config = copy.deepcopy(unet.peft_config[adapter])
    config.lora_dropout = 0.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # two adapters are meant
        unet.add_adapter(config, REFERENCE)
    unet.set_adapter(adapter)
    weights = dict(unet.named_parameters())
    for name, kept in weights.items():
        if f".{REFERENCE}." in name:
            kept.data = weights[name.replace(f".{REFERENCE}.", f".{adapter}.")].detach().clone()
            kept.requires_grad_(False)


@contextlib.contextmanager
def as_reference(unet: Any, adapter: str) -> Iterator[None]:
    """Let a diffusers model with an adapter be its reference: with the kept copy, or without any adapter."""
    if REFERENCE not in unet.peft_config:
        with adapters_off(unet):
            yield
        return
    unet.set_adapter(REFERENCE)
    try:
        yield
    finally:
        unet.set_adapter(adapter)


def weights_digest(module: torch.nn.Module) -> str:
    """Return a digest of a module's weights, which changes where any bit of any of them does."""
    return items_digest([module.state_dict()])


def items_digest(items: Iterable[Mapping[str, Tensor]]) -> str:
    """Return a digest of mappings of tensors, which changes where any bit of any of them does."""
    import hashlib

    found = hashlib.blake2b(digest_size=16)
    for item in items:
        for name, tensor in sorted(item.items()):
            found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


class ReferenceErrors:
    """The reference's mean squared errors for every pair and draw, kept in float64.

    Parameters
    ----------
    errors
        (pairs, draws, 2): of the preferred image and of the other.
    pairs
        The pairs' numbers, in the order of the rows.
    """

    def __init__(self, errors: Tensor, pairs: list[int]) -> None:
        self.errors = errors
        self._row = {pair: row for row, pair in enumerate(pairs)}

    def of(self, pairs: Tensor, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """Return the errors (B,) of preferred and other images for the draws of a batch."""
        rows = [self._row[pair] for pair in pairs.tolist()]
        found = self.errors[rows, numbers].to(pairs.device)
        return found[:, 0], found[:, 1]

    def save(self, path: Path, key: dict[str, Any]) -> None:
        """Write the errors and what they depend on into one safetensors file."""
        from safetensors.torch import save_file

        tensors = {"errors": self.errors.contiguous(), "pairs": torch.tensor(list(self._row))}
        replace_atomically(path, lambda partial: save_file(tensors, partial, {"key": digest(key)}))

    @classmethod
    def load(cls, path: Path, key: dict[str, Any]) -> "ReferenceErrors | None":
        """Return what was saved under the same key, else None."""
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("key") != digest(key):
                    return None
                return cls(file.get_tensor("errors"), file.get_tensor("pairs").tolist())
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise InputError(f"{path} is damaged: delete it, and it will be computed again") from error
