"""Metrics: rates, disparities of two and of many groups, ranking and calibration, individuals, inequality, labels."""

from typing import TYPE_CHECKING

from auscult.core import lazy

# For type checkers only, which see no name that is resolved lazily.
if TYPE_CHECKING:
    from auscult.m3fair.metrics.calibration import *  # noqa: F403
    from auscult.m3fair.metrics.confusion import *  # noqa: F403
    from auscult.m3fair.metrics.disparity import *  # noqa: F403
    from auscult.m3fair.metrics.individual import *  # noqa: F403
    from auscult.m3fair.metrics.inequality import *  # noqa: F403
    from auscult.m3fair.metrics.labels import *  # noqa: F403
    from auscult.m3fair.metrics.many import *  # noqa: F403
    from auscult.m3fair.metrics.ranking import *  # noqa: F403

_MODULES = {
    "calibration": (
        "CalibrationCurve", "Recalibration", "brier_score", "calibration_curve", "calibration_in_the_large",
        "expected_calibration_error", "generalized_false_positive_rate", "generalized_true_positive_rate",
        "log_loss", "logistic_recalibration",
    ),
    "confusion": ("PROPORTIONS", "RATES", "Confusion"),
    "disparity": ("DISPARITIES", "Disparity", "symmetric_ratio"),
    "individual": ("CounterfactualChange", "consistency", "counterfactual_flips"),
    "inequality": (
        "benefits", "between_group_entropy", "coefficient_of_variation", "generalized_entropy", "theil_index",
    ),
    "labels": (
        "ConditionalDisparity", "LabelDisparities", "conditional_demographic_disparity", "cramers_v",
        "demographic_disparity", "kl_divergence", "label_disparities", "mass_array", "mutual_information",
    ),
    "many": (
        "GroupValue", "ManyGroups", "bias_amplification", "difference_to_overall", "differential_fairness",
        "equalized_odds_difference", "equalized_odds_ratio", "group_difference", "group_ratio",
        "group_standard_deviation", "summarize", "weighted_violations",
    ),
    "ranking": (
        "Auroc", "CrossAuroc", "EqualityGaps", "ThresholdSweep", "auroc", "average_equality_gaps",
        "average_precision", "cross_auroc", "min_sensitivity_precision", "threshold_sweep",
    ),
}  # fmt: skip
_NAMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_NAMES)
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
