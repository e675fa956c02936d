"""AI feedback and Diffusion-DPO for text-to-image models (AGFSync, arXiv 2403.13352)."""

from typing import TYPE_CHECKING

from auscult.agfsync._version import __version__
from auscult.core import lazy

if TYPE_CHECKING:
    from auscult.agfsync.candidates import generate_candidates as generate_candidates
    from auscult.agfsync.config import PairsConfig as PairsConfig
    from auscult.agfsync.config import RunConfig as RunConfig
    from auscult.agfsync.importing import read_pairs as read_pairs
    from auscult.agfsync.pairs import select_pairs as select_pairs
    from auscult.agfsync.pipeline import run as run
    from auscult.agfsync.scoring.scoring import Scorers as Scorers
    from auscult.agfsync.scoring.scoring import score_candidates as score_candidates
    from auscult.agfsync.training.cache import PairCache as PairCache
    from auscult.agfsync.training.cache import cache_pairs as cache_pairs
    from auscult.agfsync.training.config import DiffusionDPOConfig as DiffusionDPOConfig
    from auscult.agfsync.training.losses import DPOLossOutput as DPOLossOutput
    from auscult.agfsync.training.losses import diffusion_dpo_loss as diffusion_dpo_loss
    from auscult.agfsync.training.trainer import DiffusionDPOTrainer as DiffusionDPOTrainer

_NAMES = {
    "DPOLossOutput": "training.losses",
    "DiffusionDPOConfig": "training.config",
    "DiffusionDPOTrainer": "training.trainer",
    "PairCache": "training.cache",
    "PairsConfig": "config",
    "RunConfig": "config",
    "Scorers": "scoring.scoring",
    "cache_pairs": "training.cache",
    "diffusion_dpo_loss": "training.losses",
    "generate_candidates": "candidates",
    "read_pairs": "importing",
    "run": "pipeline",
    "score_candidates": "scoring.scoring",
    "select_pairs": "pairs",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
