"""Records from files: 3MAD as it is published, its Tiny variant, and sets of one's own.

No data and no prompt comes with the library. Whoever names a hub id accepts the terms of that data set there.
"""

from auscult.core import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ATTRIBUTES": "attributes",
        "MODALITIES": "attributes",
        "POLICIES": "policies",
        "STRATA": "mismatch",
        "build_own": "building",
        "build_tiny": "building",
        "draw_mismatch": "mismatch",
        "load_records": "reading",
        "stratum_of": "mismatch",
    },
)
