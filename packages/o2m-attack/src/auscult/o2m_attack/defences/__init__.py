"""Defences that stand before a model: they change its input, or stop a question, and cost some benign ones."""

from typing import TYPE_CHECKING

from auscult.core import lazy

if TYPE_CHECKING:
    from auscult.o2m_attack.defences.detectors import AskingDetector as AskingDetector
    from auscult.o2m_attack.defences.detectors import ExampleEncoder as ExampleEncoder
    from auscult.o2m_attack.defences.detectors import SimilarityDetector as SimilarityDetector
    from auscult.o2m_attack.defences.detectors import threshold_for as threshold_for
    from auscult.o2m_attack.defences.images import BitDepth as BitDepth
    from auscult.o2m_attack.defences.images import Jpeg as Jpeg
    from auscult.o2m_attack.defences.images import ResizePad as ResizePad
    from auscult.o2m_attack.defences.protocol import STOPPED as STOPPED
    from auscult.o2m_attack.defences.protocol import Defence as Defence
    from auscult.o2m_attack.defences.texts import PerplexityFilter as PerplexityFilter
    from auscult.o2m_attack.defences.texts import SmoothText as SmoothText

_NAMES = {
    "AskingDetector": "detectors",
    "BitDepth": "images",
    "Defence": "protocol",
    "ExampleEncoder": "detectors",
    "Jpeg": "images",
    "PerplexityFilter": "texts",
    "ResizePad": "images",
    "STOPPED": "protocol",
    "SimilarityDetector": "detectors",
    "SmoothText": "texts",
    "threshold_for": "detectors",
}
__all__ = [*_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
