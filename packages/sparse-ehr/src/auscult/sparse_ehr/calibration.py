"""From the scores of one or two models to calibrated risks, all fitted on stays that no model was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.errors import InputError

FloatArray = NDArray[np.float64]
Method = Literal["temperature", "isotonic"]

# Risks of exactly 0 or 1 have no log-odds.
_TINY = 1e-6
# Pulls the two weights of a stack to one half each, and the logarithm of a temperature to zero: few held-out stays
# that a model happens to part perfectly would ask for risks of 0 and 1.
_PRIOR = 10.0


def log_odds(probability: ArrayLike) -> FloatArray:
    """Return the log-odds of probabilities, which are kept 1e-6 away from 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), _TINY, 1 - _TINY)
    return np.log(p / (1 - p))


def probability(log_odds: ArrayLike) -> FloatArray:
    """Return the probabilities of log-odds."""
    z = np.asarray(log_odds, np.float64)
    positive = 1 / (1 + np.exp(-np.abs(z)))
    return np.where(z >= 0, positive, 1 - positive)


@dataclass(frozen=True)
class Stack:
    """A weighted sum of two models' log-odds.

    Parameters
    ----------
    weights
        Of the first and the second model, none negative.
    intercept
        Added to it.
    """

    weights: tuple[float, float]
    intercept: float

    @classmethod
    def fit(cls, first: ArrayLike, second: ArrayLike, label: ArrayLike) -> Self:
        """Return the weights that maximise the likelihood of held-out labels [N], given two log-odds [N].

        Where the labels say little, both weights are near one half.
        """
        from scipy.optimize import minimize

        z = np.column_stack([first, second]).astype(np.float64)
        y = np.asarray(label, np.float64)

        def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
            score = z @ parameters[:2] + parameters[2]
            away = parameters[:2] - 0.5
            value = np.logaddexp(0, score).sum() - y @ score + _PRIOR / 2 * (away @ away)
            error = probability(score) - y
            return float(value), np.append(z.T @ error + _PRIOR * away, error.sum())

        bounds = [(0.0, 4.0), (0.0, 4.0), (-20.0, 20.0)]
        found = minimize(loss, np.array([0.5, 0.5, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B").x
        return cls((float(found[0]), float(found[1])), float(found[2]))

    def __call__(self, first: ArrayLike, second: ArrayLike) -> FloatArray:
        """Return the log-odds [N] of two log-odds [N]."""
        return self.weights[0] * np.asarray(first) + self.weights[1] * np.asarray(second) + self.intercept

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"weights": list(self.weights), "intercept": self.intercept}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` describes."""
        first, second = saved["weights"]
        return cls((float(first), float(second)), float(saved["intercept"]))


@dataclass(frozen=True)
class Calibrator:
    """A map from log-odds to calibrated risks that keeps their order.

    Parameters
    ----------
    method
        ``"temperature"`` divides the log-odds by one number (Guo et al. 2017, ICML); ``"isotonic"`` is the best
        map that never falls (Zadrozny and Elkan 2002, KDD), which makes ties.
    points
        Of a temperature, the number; of an isotonic map, log-odds and risks between which it is linear.
    """

    method: Method
    points: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, method: Method, log_odds: ArrayLike, label: ArrayLike) -> Self:
        """Return the calibrator of held-out log-odds [N] and labels [N] of 0 and 1.

        Raises
        ------
        InputError
            For an unknown method.
        """
        z, y = np.asarray(log_odds, np.float64), np.asarray(label, np.float64)
        if method == "temperature":
            return cls(method, ((_temperature(z, y),),))
        if method != "isotonic":
            raise InputError(f"calibration is {method!r}: use 'temperature', 'isotonic' or None")
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(z, y)
        return cls(method, (tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())))

    def __call__(self, log_odds: ArrayLike) -> FloatArray:
        """Return the risks [N] of log-odds [N]."""
        z = np.asarray(log_odds, np.float64)
        if self.method == "temperature":
            return probability(z / self.points[0][0])
        return np.interp(z, self.points[0], self.points[1])

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"method": self.method, "points": [list(row) for row in self.points]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` describes."""
        return cls(saved["method"], tuple(tuple(map(float, row)) for row in saved["points"]))


def _temperature(z: FloatArray, y: FloatArray) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = z * np.exp(-log_temperature)
        return float(np.logaddexp(0, scaled).sum() - y @ scaled + _PRIOR / 2 * log_temperature**2)

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))
