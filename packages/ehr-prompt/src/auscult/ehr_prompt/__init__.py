"""Zero-shot clinical prediction by prompting LLMs with structured EHR (in development: only the version is here)."""

from auscult.ehr_prompt._version import __version__

__all__ = ["__version__"]
