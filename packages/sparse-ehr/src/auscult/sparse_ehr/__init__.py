"""Prototype patient representations for sparse EHR (in development: only the version is here)."""

from auscult.sparse_ehr._version import __version__

__all__ = ["__version__"]
