"""Multi-level, multi-sensitive-attribute reweighting and a disparity audit."""

from auscult.m3fair._version import __version__

__all__ = ["__version__"]
