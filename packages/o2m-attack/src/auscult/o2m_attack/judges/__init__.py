"""Whether a reply refuses, whether it is language at all, whether it is about what was asked; and rates of all that."""

from typing import TYPE_CHECKING

from auscult.core import lazy

if TYPE_CHECKING:
    from auscult.o2m_attack.judges.degenerate import degeneracy as degeneracy
    from auscult.o2m_attack.judges.judging import judge_run as judge_run
    from auscult.o2m_attack.judges.models import ClassifierJudge as ClassifierJudge
    from auscult.o2m_attack.judges.models import LlmJudge as LlmJudge
    from auscult.o2m_attack.judges.protocol import Answer as Answer
    from auscult.o2m_attack.judges.protocol import Judge as Judge
    from auscult.o2m_attack.judges.refusal import Following as Following
    from auscult.o2m_attack.judges.refusal import PhraseJudge as PhraseJudge
    from auscult.o2m_attack.judges.refusal import reference39 as reference39
    from auscult.o2m_attack.judges.refusal import refuses_at_start as refuses_at_start
    from auscult.o2m_attack.judges.tallies import compare_methods as compare_methods
    from auscult.o2m_attack.judges.tallies import rates as rates

_NAMES = {
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
}
__all__ = [*_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
