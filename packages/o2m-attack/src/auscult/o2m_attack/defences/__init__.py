"""Defences that stand before a model: they change its input, or stop a question, and cost some benign ones."""

from auscult.core import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
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
    },
)
