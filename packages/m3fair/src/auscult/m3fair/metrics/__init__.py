"""Group metrics: rates of a confusion table, disparities between groups, ranking by a score."""

from auscult.core import lazy

_NAMES = {
    "RATES": "confusion",
    "Confusion": "confusion",
    "DISPARITIES": "disparity",
    "disparity": "disparity",
    "auroc": "ranking",
}
__all__ = list(_NAMES)
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
