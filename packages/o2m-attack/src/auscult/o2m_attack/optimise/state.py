"""Where an optimisation stands after an iteration: enough to go on in another process with equal results."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.run_files import create
from auscult.o2m_attack.optimise.result import Step

_TENSORS = ("image", "suffix_ids", "best_image", "best_suffix_ids")
_NUMBERS = ("step", "loss", "best_loss", "initial_loss", "best_step", "forward_tokens", "vision_passes", "seconds")


@dataclass
class AttackState:
    """The current and the best point, what was spent, and the rows so far; random streams depend on the step alone."""

    image: Tensor
    suffix_ids: Tensor
    loss: float
    initial_loss: float
    best_image: Tensor
    best_suffix_ids: Tensor
    best_loss: float
    step: int = 0
    best_step: int = 0
    forward_tokens: int = 0
    vision_passes: int = 0
    seconds: float = 0.0
    history: list[Step] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state to a private ``.npz`` file, in one step."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _TENSORS}
        numbers = {name: getattr(self, name) for name in _NUMBERS} | {"history": self.history}
        text = np.frombuffer(json.dumps(numbers).encode(), dtype=np.uint8)

        def write(partial: Path) -> None:
            create(partial, 0o600)
            with partial.open("wb") as file:
                np.savez(file, numbers=text, **arrays)

        replace_atomically(path, write)

    @classmethod
    def load(cls, path: Path) -> "AttackState":
        """Read a state.

        Raises
        ------
        InputError
            The file is none.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                numbers: dict[str, Any] = json.loads(arrays["numbers"].tobytes())
                tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} holds no state of an optimisation ({error}): delete it to begin again") from error
        history = [Step(*row) for row in numbers.pop("history")]
        return cls(**tensors, **numbers, history=history)
