"""One case of an evaluation: an image, a true and a false claim about it, a benign and a restricted question."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from auscult.core.canonical import digest
from auscult.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Record:
    """One case; the columns are 3MAD's, and :mod:`auscult.o2m_attack.dataset` reads them from files.

    Parameters
    ----------
    id
        Unique in a data set.
    image
        uint8 [height, width, 3], RGB; anything that numpy reads as such is taken too, a PIL image of mode RGB for one.
        :func:`auscult.core.data.images.read_image` makes one of a file of any kind.
    original_attribute, unmatch_attribute
        What the image shows and a false claim about it, such as ``"CT and Chest"`` and ``"MRI and Brain"``.
    normal_prompt, harmful_prompt
        A benign question, and one that a clinical assistant must refuse. The library ships none of the latter.
    policy
        The task category of the prompts.
    key_phrases
        A short verb phrase that the target of an optimisation is made of; None where a data set has none.

    Raises
    ------
    InputError
        The image has another type or shape, or a text is empty or none.
    """

    id: str
    image: np.ndarray[Any, np.dtype[np.uint8]]
    original_attribute: str
    unmatch_attribute: str
    normal_prompt: str
    harmful_prompt: str
    policy: str = ""
    key_phrases: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", str(self.id))
        image = np.asarray(self.image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(
                f"the image of record {self.id!r} is {image.dtype} of shape {image.shape}, but uint8 [height, width, "
                "3] is needed: read it with auscult.core.data.images.read_image, which converts grey, 16-bit and CMYK"
            )
        image = np.ascontiguousarray(image)
        image.setflags(write=False)
        object.__setattr__(self, "image", image)
        needed = ("original_attribute", "unmatch_attribute", "normal_prompt", "harmful_prompt")
        for name in (*needed, "policy", "key_phrases"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name != "key_phrases" or value is not None):
                raise InputError(f"the {name} of record {self.id!r} is {value!r}, but a text is needed")
            if name in needed and not str(value).strip():
                raise InputError(f"record {self.id!r} has an empty {name}: every condition but its own needs it")

    @property
    def fingerprint(self) -> str:
        """A content hash of all fields, the image's pixels included."""
        texts = [self.original_attribute, self.unmatch_attribute, self.normal_prompt, self.harmful_prompt]
        pixels = hashlib.sha256(self.image.tobytes()).hexdigest()
        return digest([self.id, *texts, self.policy, self.key_phrases, self.image.shape, pixels])
