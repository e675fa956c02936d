"""Clinical data sets as cohorts: one ragged table of patients x time x features for every source.

>>> from auscult.core.data import load_cohort
>>> cohort = load_cohort("tjh")
>>> len(cohort), cohort.values.shape
(361, (361, 13, 73))
"""

from auscult.core import lazy

__all__ = [
    "AttritionRow",
    "Cohort",
    "Feature",
    "ReferenceRange",
    "Split",
    "describe",
    "few_shot",
    "load_cohort",
    "split_subjects",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AttritionRow": "cohort",
        "Cohort": "cohort",
        "Feature": "feature",
        "ReferenceRange": "feature",
        "Split": "splits",
        "describe": "summary",
        "few_shot": "splits",
        "load_cohort": "open",
        "split_subjects": "splits",
    },
)
