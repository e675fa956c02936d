"""Folders that look like those of hospital databases that one must apply for: made up, with every trap of the real.

They let a pipeline run before access is given, and they check the readers: beside the tables each folder has a
``truth.json`` that says what a reader must make of them. Nobody lived any of it.

>>> import tempfile
>>> from auscult.core.data import load_cohort, lookalike
>>> with tempfile.TemporaryDirectory() as folder:
...     truth = lookalike.write_mimic4(folder, n_patients=5, seed=0)
...     cohort = load_cohort(f"mimic4:{folder}")
>>> cohort.record_id.tolist() == sorted(truth.stays)
True
"""

from auscult.core import lazy

__all__ = ["Truth", "write_cdsl", "write_eicu", "write_mimic3", "write_mimic4"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Truth": "scenario",
        "write_cdsl": "cdsl",
        "write_eicu": "eicu",
        "write_mimic3": "mimic3",
        "write_mimic4": "mimic4",
    },
)
