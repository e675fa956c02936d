"""Robustness evaluation of medical multimodal LLMs before deployment (arXiv 2405.20775)."""

from typing import TYPE_CHECKING

from auscult.core import lazy
from auscult.o2m_attack._version import __version__

if TYPE_CHECKING:
    from auscult.o2m_attack.campaign import run as run
    from auscult.o2m_attack.conditions import Templates as Templates
    from auscult.o2m_attack.config import AttackConfig as AttackConfig
    from auscult.o2m_attack.optimise.mcm import GCG as GCG
    from auscult.o2m_attack.optimise.mcm import MCM as MCM
    from auscult.o2m_attack.optimise.mcm import PGD as PGD
    from auscult.o2m_attack.optimise.result import AttackResult as AttackResult
    from auscult.o2m_attack.record import Record as Record
    from auscult.o2m_attack.targets.llava import LlavaTarget as LlavaTarget
    from auscult.o2m_attack.targets.protocol import Query as Query

_NAMES = {
    "AttackConfig": "config",
    "AttackResult": "optimise.result",
    "GCG": "optimise.mcm",
    "LlavaTarget": "targets.llava",
    "MCM": "optimise.mcm",
    "PGD": "optimise.mcm",
    "Query": "targets.protocol",
    "Record": "record",
    "Templates": "conditions",
    "run": "campaign",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
