"""Multi-level, multi-sensitive-attribute reweighting (M3Fair, arXiv 2306.04118) and a disparity audit."""

from typing import TYPE_CHECKING

from auscult.core import lazy
from auscult.m3fair._version import __version__

if TYPE_CHECKING:
    from auscult.m3fair.attributes import Attribute as Attribute
    from auscult.m3fair.auditing import audit as audit
    from auscult.m3fair.auditing import audit_table as audit_table
    from auscult.m3fair.classifier import ReweightedClassifier as ReweightedClassifier
    from auscult.m3fair.monitoring import audit_over_time as audit_over_time
    from auscult.m3fair.permutation import permutation_test as permutation_test
    from auscult.m3fair.results import DisparityReport as DisparityReport
    from auscult.m3fair.reweigher import Reweigher as Reweigher
    from auscult.m3fair.scorers import disparity_scorer as disparity_scorer
    from auscult.m3fair.scorers import worst_disparity as worst_disparity
    from auscult.m3fair.table import CountTable as CountTable

_NAMES = {
    "Attribute": "attributes",
    "CountTable": "table",
    "DisparityReport": "results",
    "ReweightedClassifier": "classifier",
    "Reweigher": "reweigher",
    "audit": "auditing",
    "audit_over_time": "monitoring",
    "audit_table": "auditing",
    "disparity_scorer": "scorers",
    "permutation_test": "permutation",
    "worst_disparity": "scorers",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
