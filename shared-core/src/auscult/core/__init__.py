"""The core of the auscult libraries: clinical cohorts, resumable runs, intervals, reports, devices."""

from auscult.core._version import __version__

__all__ = ["__version__"]
