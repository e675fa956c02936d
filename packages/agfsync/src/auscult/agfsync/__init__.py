"""AI feedback and Diffusion-DPO for text-to-image models (in development: only the version is here)."""

from auscult.agfsync._version import __version__

__all__ = ["__version__"]
