"""3MAD's attributes: the eighteen valid pairs of modality and region, as they stand in its files and prompts."""

import difflib
from collections.abc import Sequence

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import split_attribute

ATTRIBUTES = (
    "Dermoscopy and Skin", "MRI and Alzheimer", "MRI and Brain", "Fundus and Retina", "Mamography and Breast",
    "OCT and Retina", "CT and Chest", "CT and Heart", "CT and Brain", "Xray and Chest", "Xray and Skeleton",
    "Xray and Dental", "Endoscopy and Gastroent", "Ultrasound and Baby", "Ultrasound and Breast",
    "Ultrasound and Carotid", "Ultrasound and Ovary", "Ultrasound and Brain",
)  # fmt: skip
"""Spelt as published, misspellings included: they are keys, and part of the prompts."""

MODALITIES = tuple(dict.fromkeys(split_attribute(attribute)[0] for attribute in ATTRIBUTES))
"""The nine modalities."""


def split_name(attribute: str) -> str:
    """Return the name of an attribute's split.

    Examples
    --------
    >>> split_name("CT and Chest")
    'CT_Chest'
    """
    return "_".join(split_attribute(attribute)).replace(" ", "_")


def check_attribute(attribute: str, known: Sequence[str] | None = ATTRIBUTES, *, where: str = "") -> str:
    """Return an attribute that is known, or, where ``known`` is None, any that has a modality and a region.

    Raises
    ------
    InputError
        It is not; the nearest known one is named.
    """
    if known is None:
        split_attribute(attribute)
    elif attribute not in known:
        near = difflib.get_close_matches(attribute, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the known ones are {', '.join(known)}"
        raise InputError(f"{where}{': ' * bool(where)}the attribute {attribute!r} is unknown: {hint}")
    return attribute
