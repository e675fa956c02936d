"""A cohort in numbers."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import Feature


def describe(cohort: Cohort) -> dict[str, Any]:
    """Return counts, time span, missing rates, labels and attrition, ready for JSON (None where undefined).

    Rates are over the steps that exist, padding left out.

    Examples
    --------
    >>> from auscult.core.data import load_cohort
    >>> numbers = describe(load_cohort("tjh"))
    >>> numbers["steps"], round(numbers["missing_rate"], 3), numbers["hours"]["max"]
    (1704, 0.564, 528.0)
    """
    valid = cohort.valid
    return {
        "records": len(cohort),
        "subjects": len(np.unique(cohort.subject_id)),
        "steps": int(cohort.length.sum()),
        "steps_per_record": _summary(cohort.length),
        "hours": _summary(cohort.time[valid]),
        "missing_rate": _missing(cohort.values[valid]),
        "features": _columns(cohort.features, cohort.values[valid]),
        "static": _columns(cohort.static_features, cohort.static),
        "labels": {
            name: {"per": "record", **_summary(label)} if label.ndim == 1 else {"per": "step", **_summary(label[valid])}
            for name, label in cohort.labels.items()
        },
        "attrition": [dataclasses.asdict(row) for row in cohort.attrition],
        "provenance": dict(cohort.provenance),
        "notes": list(cohort.notes),
        "fingerprint": cohort.fingerprint(),
    }


def _columns(features: tuple[Feature, ...], values: NDArray[Any]) -> dict[str, dict[str, Any]]:
    return {
        feature.name: {"kind": feature.kind, "unit": feature.unit, "missing_rate": _missing(values[:, i])}
        for i, feature in enumerate(features)
    }


def _missing(values: NDArray[Any]) -> float | None:
    return float(np.isnan(values).mean()) if values.size else None


def _summary(values: NDArray[Any]) -> dict[str, Any]:
    known = values[~np.isnan(values)].astype(np.float64)
    if not known.size:
        return {"n": 0, **dict.fromkeys(("mean", "min", "q1", "median", "q3", "max"))}
    quartiles = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {
        "n": known.size,
        "mean": float(known.mean()),
        **dict(zip(("min", "q1", "median", "q3", "max"), quartiles, strict=True)),
    }
