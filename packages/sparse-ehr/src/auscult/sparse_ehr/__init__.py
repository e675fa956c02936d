"""Risk from sparse clinical time series: PRISM (CIKM 2024, arXiv 2309.04160), its confidence, and similar patients."""

from typing import TYPE_CHECKING

from auscult.core import lazy
from auscult.sparse_ehr._version import __version__

if TYPE_CHECKING:
    from auscult.sparse_ehr.baselines import LightGBMBaseline as LightGBMBaseline
    from auscult.sparse_ehr.baselines import LogisticBaseline as LogisticBaseline
    from auscult.sparse_ehr.estimator import PrismClassifier as PrismClassifier
    from auscult.sparse_ehr.inputs import to_grid as to_grid

_NAMES = {
    "LightGBMBaseline": "baselines",
    "LogisticBaseline": "baselines",
    "PrismClassifier": "estimator",
    "to_grid": "inputs",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
