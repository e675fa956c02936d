"""Making sparse data sparser: observed values deleted at random."""

import dataclasses

import numpy as np

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.device import generator
from auscult.core.errors import InputError


def delete_observed(cohort: Cohort, share: float, *, seed: int) -> Cohort:
    """Return the cohort without a random share of the observed values of each variable.

    What is deleted at one share is deleted at every larger one of the same seed. Steps stay, static values too.

    Parameters
    ----------
    cohort
        The data.
    share
        Of each variable's observed values, from 0 to below 1; the number is rounded down.
    seed
        Of the draw.

    Raises
    ------
    InputError
        For a share outside [0, 1).

    Examples
    --------
    >>> from auscult.core.data import load_cohort
    >>> cohort = load_cohort("tjh")
    >>> thinned = delete_observed(cohort, 0.5, seed=0)
    >>> round(float(thinned.observed.sum() / cohort.observed.sum()), 2)
    0.5
    """
    if not 0 <= share < 1:
        raise InputError(f"the share to delete is {share}: give a number from 0 to below 1")
    values = np.array(cohort.values)
    for column in range(values.shape[2]):
        stay, step = np.nonzero(cohort.observed[..., column])
        gone = generator(seed, "deletion", column).permutation(len(stay))[: int(share * len(stay))]
        values[stay[gone], step[gone], column] = np.nan
    deleted = int(cohort.observed.sum() - (~np.isnan(values)).sum())
    row = AttritionRow(
        "delete at random", int(cohort.length.sum()), len(cohort), deleted, f"cells: {share:.0%} of each variable's"
    )
    return dataclasses.replace(cohort, values=values, attrition=(*cohort.attrition, row))
