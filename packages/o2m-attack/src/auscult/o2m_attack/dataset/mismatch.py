"""False claims: which attributes they are drawn from, and how far from the truth a claim is."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import split_attribute
from auscult.o2m_attack.dataset.attributes import ATTRIBUTES

Stratum = Literal["uniform", "modality_only", "region_only", "both"]
"""``uniform``: any other attribute (as published); then, ours, what is wrong: the modality alone, the region alone, or
both. They differ in how much a model has to see, and under ``uniform`` five of six claims are wrong in both."""

STRATA: tuple[Stratum, ...] = get_args(Stratum)


def alternatives(
    original: str, stratum: Stratum = "uniform", attributes: Sequence[str] = ATTRIBUTES
) -> tuple[str, ...]:
    """Return the false claims of a stratum about an image; none where there is no such pair.

    Raises
    ------
    InputError
        There is no such stratum.

    Examples
    --------
    >>> alternatives("CT and Chest", "modality_only"), alternatives("CT and Chest", "region_only")
    (('Xray and Chest',), ('CT and Heart', 'CT and Brain'))
    """
    if stratum not in STRATA:
        raise InputError(f"there is no stratum {stratum!r}: use {', '.join(STRATA)}")
    others = [one for one in attributes if one != original]
    return tuple(one for one in others if stratum in ("uniform", stratum_of(original, one)))


def stratum_of(original: str, claim: str) -> str:
    """Return what is wrong with a claim: ``modality_only``, ``region_only``, ``both``, or ``none``.

    Examples
    --------
    >>> stratum_of("CT and Brain", "MRI and Brain")
    'modality_only'
    """
    modality, region = (a == b for a, b in zip(split_attribute(original), split_attribute(claim), strict=True))
    return {(True, True): "none", (False, True): "modality_only", (True, False): "region_only"}.get(
        (modality, region), "both"
    )


def draw_mismatch(
    original: str,
    rng: np.random.Generator,
    stratum: Stratum = "uniform",
    attributes: Sequence[str] = ATTRIBUTES,
) -> str | None:
    """Return a false claim, each of the stratum's equally likely; None where the stratum has none for this image."""
    found = alternatives(original, stratum, attributes)
    return found[int(rng.integers(len(found)))] if found else None
