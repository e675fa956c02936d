"""Whether a reply refuses, whether it is language at all, whether it is about what was asked; and rates of all that."""

from auscult.core import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Answer": "protocol",
        "ClassifierJudge": "models",
        "Following": "refusal",
        "Judge": "protocol",
        "LlmJudge": "models",
        "PhraseJudge": "refusal",
        "compare_methods": "tallies",
        "degeneracy": "degenerate",
        "judge_run": "judging",
        "rates": "tallies",
        "reference39": "refusal",
        "refuses_at_start": "refusal",
    },
)
