"""Zero-shot clinical prediction by prompting LLMs with structured EHR (arXiv 2402.01713)."""

from typing import TYPE_CHECKING

from auscult.core import lazy
from auscult.ehr_prompt._version import __version__

if TYPE_CHECKING:
    from auscult.ehr_prompt.ablation import compare_runs as compare_runs
    from auscult.ehr_prompt.ablation import read_grid as read_grid
    from auscult.ehr_prompt.budget import Budget as Budget
    from auscult.ehr_prompt.config import PromptConfig as PromptConfig
    from auscult.ehr_prompt.config import RunConfig as RunConfig
    from auscult.ehr_prompt.examples import choose_examples as choose_examples
    from auscult.ehr_prompt.examples import show_examples as show_examples
    from auscult.ehr_prompt.panel import Panel as Panel
    from auscult.ehr_prompt.panel import load_panel as load_panel
    from auscult.ehr_prompt.parsing import parse_reply as parse_reply
    from auscult.ehr_prompt.parsing import read_probability as read_probability
    from auscult.ehr_prompt.planning import prepare as prepare
    from auscult.ehr_prompt.presentation import write_report as write_report
    from auscult.ehr_prompt.rendering import Renderer as Renderer
    from auscult.ehr_prompt.running import make_backend as make_backend
    from auscult.ehr_prompt.running import run as run
    from auscult.ehr_prompt.scoring import score as score

_NAMES = {
    "Budget": "budget",
    "Panel": "panel",
    "PromptConfig": "config",
    "Renderer": "rendering",
    "RunConfig": "config",
    "choose_examples": "examples",
    "compare_runs": "ablation",
    "load_panel": "panel",
    "make_backend": "running",
    "parse_reply": "parsing",
    "prepare": "planning",
    "read_grid": "ablation",
    "read_probability": "parsing",
    "run": "running",
    "score": "scoring",
    "show_examples": "examples",
    "write_report": "presentation",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
