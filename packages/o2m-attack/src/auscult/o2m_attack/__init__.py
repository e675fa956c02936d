"""Robustness evaluation of medical multimodal LLMs (in development: only the version is here)."""

from auscult.o2m_attack._version import __version__

__all__ = ["__version__"]
