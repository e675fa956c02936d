"""Rates of confusion tables, for any number of groups or replicates at once.

A rate is a ratio of two sums over the four cells (label, prediction), so each is written as two 2 x 2
matrices of coefficients and all of them, for all groups, are one contraction.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError
from auscult.core.intervals import wilson_proportion

Array = npt.NDArray[np.float64]

_TN, _FP, _FN, _TP = (np.array(cell, dtype=float).reshape(2, 2) for cell in np.eye(4))
_ALL = _TN + _FP + _FN + _TP

RATES: dict[str, tuple[Array, Array]] = {
    "selection_rate": (_TP + _FP, _ALL),
    "base_rate": (_TP + _FN, _ALL),
    "true_positive_rate": (_TP, _TP + _FN),
    "false_positive_rate": (_FP, _FP + _TN),
    "false_negative_rate": (_FN, _TP + _FN),
    "true_negative_rate": (_TN, _FP + _TN),
    "precision": (_TP, _TP + _FP),
    "negative_predictive_value": (_TN, _TN + _FN),
    "false_discovery_rate": (_FP, _TP + _FP),
    "false_omission_rate": (_FN, _TN + _FN),
    "accuracy": (_TP + _TN, _ALL),
    "error_rate": (_FP + _FN, _ALL),
    "f1": (2 * _TP, 2 * _TP + _FP + _FN),
    "treatment_ratio": (_FN, _FP),
}
"""Name -> coefficients of the numerator and the denominator over the cells [label, prediction]."""

PROPORTIONS = frozenset(RATES) - {"f1", "treatment_ratio"}
"""The rates whose numerator is a part of the denominator: a binomial interval fits them."""


@dataclass(frozen=True)
class Confusion:
    """Weight sums by label and prediction.

    Parameters
    ----------
    weight
        (..., 2, 2) sums of v, indexed [label, prediction] with 1 for positive.
    weight_squared
        (..., 2, 2) sums of v^2; equal to ``weight`` for unit weights.
    """

    weight: Array
    weight_squared: Array

    def rate(self, name: str, *, zero_division: float | Literal["raise"] = np.nan) -> Array:
        """Return a rate (...).

        Parameters
        ----------
        name
            One of :data:`RATES`.
        zero_division
            The value where the denominator is 0, as in scikit-learn, or ``"raise"``. The default, NaN, is the
            only value that does not make a group without such rows look fair or unfair.

        Raises
        ------
        InputError
            With ``zero_division="raise"``, where a denominator is 0.

        Examples
        --------
        >>> nobody_positive = np.array([[4.0, 1.0], [0.0, 0.0]])
        >>> float(Confusion(nobody_positive, nobody_positive).rate("true_positive_rate"))
        nan
        """
        above, below = (np.einsum("...yp,yp->...", self.weight, part) for part in RATES[name])
        if zero_division == "raise":
            if not np.all(below > 0):
                raise InputError(f"the {name} has a denominator of 0: leave such groups out, or take NaN for it")
            zero_division = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, above / below, zero_division)[()]

    def effective_n(self, name: str) -> Array:
        """Return the effective number of rows (...) behind a rate: (sum v)^2 / sum v^2 of its denominator."""
        inside = RATES[name][1] > 0
        total, squared = (np.einsum("...yp,yp->...", part, inside) for part in (self.weight, self.weight_squared))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(squared > 0, total**2 / squared, 0.0)[()]

    def interval(self, name: str, confidence: float = 0.95) -> tuple[Array, Array]:
        """Return Wilson's interval of a proportion, with the effective number of rows."""
        return wilson_proportion(self.rate(name), self.effective_n(name), confidence=confidence)

    def balanced_accuracy(self) -> Array:
        """Return (TPR + TNR) / 2."""
        return (self.rate("true_positive_rate") + self.rate("true_negative_rate")) / 2
