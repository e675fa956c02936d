"""What stands behind one stay's risk: how far each value was trusted, and whom the patient was compared with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature
from auscult.sparse_ehr.estimator import PrismClassifier
from auscult.sparse_ehr.inputs import to_grid

_SHOWN_STATIC, _SHOWN_VALUES = 2, 5


@dataclass(frozen=True)
class Neighbour:
    """A similar training stay: its id, outcome, similarity, and the values that are shown of this stay too."""

    record_id: Any
    outcome: int
    similarity: float
    values: dict[str, float | str | None]


@dataclass(frozen=True)
class Explanation:
    """What a model says of one stay.

    Parameters
    ----------
    subject_id, record_id
        Whose.
    probability
        Of the outcome.
    base_rate
        Share of training stays with the outcome.
    hours
        [T] when each step begins.
    features
        The F variables.
    confidence
        [T, F] how far each cell was trusted.
    observed
        [T, F] which were measured.
    values
        The stay's first static values, and the last measured ones of the variables that were trusted most.
    neighbours
        Similar training stays, the most similar first.
    most_similar
        The similarity of a stay to its like where every value is fully trusted, 1/zeta; NaN of the cosine.
    """

    subject_id: Any
    record_id: Any
    probability: float
    base_rate: float
    hours: NDArray[np.float32]
    features: tuple[Feature, ...]
    confidence: NDArray[np.float32]
    observed: NDArray[np.bool_]
    values: dict[str, float | str | None]
    neighbours: tuple[Neighbour, ...]
    most_similar: float

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "subject_id": self.subject_id,
            "record_id": self.record_id,
            "probability": self.probability,
            "base_rate": self.base_rate,
            "confidence": [
                {
                    "feature": feature.display_name,
                    "measured_steps": int(self.observed[:, i].sum()),
                    "mean": float(self.confidence[:, i].mean()),
                    "last": float(self.confidence[-1, i]),
                }
                for i, feature in enumerate(self.features)
            ],
            "values": self.values,
            "similar": [
                {"record_id": n.record_id, "outcome": n.outcome, "similarity": n.similarity, "values": n.values}
                for n in self.neighbours
            ],
        }


def explain(
    model: PrismClassifier, cohort: Cohort, row: int, *, reference: Cohort | None = None, k: int = 10
) -> Explanation:
    """Return what a model says of one stay of a cohort.

    Parameters
    ----------
    model
        Fitted.
    cohort, row
        Where the stay is.
    reference
        The stays that the model was fitted on, for their values.
    k
        How many similar patients.
    """
    stay = cohort.select([row])
    grid = to_grid(stay, bin_hours=model.bin_hours, window_hours=model.window_hours)
    grid = model.members_[0].preparer.align(grid)
    confidence = model.confidence(stay)[0]
    # The variables that were measured here and trusted most.
    measured = grid.observed[0].any(0)
    order = np.argsort(-np.where(measured, confidence.mean(0), -1), kind="stable")
    shown = [int(i) for i in order[:_SHOWN_VALUES] if measured[i]]
    found = model.similar_patients(stay, k)
    place = {} if reference is None else {record: i for i, record in enumerate(reference.record_id.tolist())}
    neighbours = []
    for record, outcome, similarity in zip(found.record_id[0], found.label[0], found.similarity[0], strict=True):
        values: dict[str, float | str | None] = {}
        if reference is not None and record in place:
            other = to_grid(
                reference.select([place[record]]), bin_hours=model.bin_hours, window_hours=model.window_hours
            )
            values = _shown_values(model.members_[0].preparer.align(other), shown)
        neighbours.append(Neighbour(record, int(outcome), float(similarity), values))
    return Explanation(
        subject_id=stay.subject_id.tolist()[0],
        record_id=stay.record_id.tolist()[0],
        probability=float(model.predict_proba(stay)[0, 1]),
        base_rate=float(model.reference_.label.mean()),
        hours=grid.time[0],
        features=grid.features,
        confidence=confidence,
        observed=grid.observed[0],
        values=_shown_values(grid, shown),
        neighbours=tuple(neighbours),
        most_similar=_most_similar(model),
    )


def _shown_values(grid: Cohort, columns: list[int]) -> dict[str, float | str | None]:
    """Return the first static values of a cohort's only stay, and the last measured one of some variables."""
    pairs = list(zip(grid.static_features, grid.static[0], strict=True))[:_SHOWN_STATIC]
    for i in columns:
        known = grid.values[0, grid.observed[0, :, i], i]
        pairs.append((grid.features[i], known[-1] if len(known) else np.float32(np.nan)))
    result: dict[str, float | str | None] = {}
    for feature, value in pairs:
        name = f"{feature.display_name}, {feature.unit}" if feature.unit else feature.display_name
        if np.isnan(value):
            result[name] = None
        elif feature.kind == "categorical":
            result[name] = feature.levels[int(value)]
        else:
            result[name] = float(f"{value:.5g}")
    return result


def _most_similar(model: PrismClassifier) -> float:
    network = model.members_[0].network
    return float("nan") if network.config.similarity == "cosine" else 1 / float(network.prototypes.zeta().detach())
