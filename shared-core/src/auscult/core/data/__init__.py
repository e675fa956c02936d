"""Clinical data sets as cohorts: one ragged table of patients x time x features for every source.

>>> from auscult.core.data import load_cohort
>>> cohort = load_cohort("tjh")
>>> len(cohort), cohort.values.shape
(361, (361, 13, 73))
"""

from auscult.core import lazy

__all__ = [
    "AttritionRow",
    "Binning",
    "Cohort",
    "Feature",
    "Filled",
    "Filler",
    "ReferenceRange",
    "Split",
    "carry_forward",
    "describe",
    "few_shot",
    "first_steps",
    "last_steps",
    "load_cohort",
    "missing_over_time",
    "plot_missing",
    "presence_rate",
    "split_subjects",
    "stay_statistics",
    "time_since_last",
    "trimmed_statistics",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AttritionRow": "cohort",
        "Binning": "bins",
        "Cohort": "cohort",
        "Feature": "feature",
        "Filled": "fill",
        "Filler": "fill",
        "ReferenceRange": "feature",
        "Split": "splits",
        "carry_forward": "fill",
        "describe": "summary",
        "few_shot": "splits",
        "first_steps": "bins",
        "last_steps": "bins",
        "load_cohort": "open",
        "missing_over_time": "summary",
        "plot_missing": "summary",
        "presence_rate": "fill",
        "split_subjects": "splits",
        "stay_statistics": "fill",
        "time_since_last": "fill",
        "trimmed_statistics": "fill",
    },
)
