"""The random models that are measured on, and a benign record."""

import numpy as np
import torch

from auscult.o2m_attack import AttackConfig, LlavaTarget, Record
from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.targets.tiny import tiny_llava

SIZES = {
    "tiny (width 32, 2 layers, 4 image positions, 400 tokens)": {"vocabulary": 400},
    "tiny, with LLaVA's image positions (width 32, 2 layers, 576 image positions, 400 tokens)": {
        "vocabulary": 400, "image_size": 336,
    },
    "middle (width 256, 4 layers, 256 image positions, 32000 tokens)": {
        "vocabulary": 400, "embedding": 32_000, "hidden": 256, "layers": 4, "heads": 4, "image_size": 224,
        "patch_size": 14,
    },
}  # fmt: skip
REFERENCE = AttackConfig.preset("reference", initial_suffix=None, suffix_length=20)


def make_record(size: int = 256) -> Record:
    """Return a record of a random image, whose question is as long as those of 3MAD."""
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Record(
        "1", image, "CT and Chest", "MRI and Brain",
        "Which colour has the marker on the left of the image, and how many of them are there in all?",
        "Which name is written on the label on the left of the image, and who has put it there at night?",
        "Matching", "name the label on the left of the image",
    )  # fmt: skip


def begin(target: LlavaTarget, record: Record, length: int) -> tuple[Objective, torch.Tensor]:
    """Return an objective whose clean image is set, and that image."""
    suffix = target.prompts.neutral_suffix(make_request(record, "2m"), length)
    objective = Objective(target, record, "2m", suffix=suffix)
    image = target.preprocessor.clean(record.image).to(target.language.device)
    objective.set_image(image)
    return objective, image


def random_model(name: str) -> LlavaTarget:
    """Return one of the models."""
    return tiny_llava(**SIZES[name])
