"""Records from files: 3MAD as it is published, its Tiny variant, and sets of one's own.

No data and no prompt comes with the library. Whoever names a hub id accepts the terms of that data set there.
"""

from typing import TYPE_CHECKING

from auscult.core import lazy

if TYPE_CHECKING:
    from auscult.o2m_attack.dataset.attributes import ATTRIBUTES as ATTRIBUTES
    from auscult.o2m_attack.dataset.attributes import MODALITIES as MODALITIES
    from auscult.o2m_attack.dataset.building import build_own as build_own
    from auscult.o2m_attack.dataset.building import build_tiny as build_tiny
    from auscult.o2m_attack.dataset.mismatch import STRATA as STRATA
    from auscult.o2m_attack.dataset.mismatch import draw_mismatch as draw_mismatch
    from auscult.o2m_attack.dataset.mismatch import stratum_of as stratum_of
    from auscult.o2m_attack.dataset.policies import POLICIES as POLICIES
    from auscult.o2m_attack.dataset.reading import load_records as load_records

_NAMES = {
    "ATTRIBUTES": "attributes",
    "MODALITIES": "attributes",
    "POLICIES": "policies",
    "STRATA": "mismatch",
    "build_own": "building",
    "build_tiny": "building",
    "draw_mismatch": "mismatch",
    "load_records": "reading",
    "stratum_of": "mismatch",
}
__all__ = [*_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
