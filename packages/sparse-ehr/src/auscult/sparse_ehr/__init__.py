"""Prototype patient representations for sparse EHR (in development: the model is in ``nn``)."""

from auscult.sparse_ehr._version import __version__

__all__ = ["__version__"]
