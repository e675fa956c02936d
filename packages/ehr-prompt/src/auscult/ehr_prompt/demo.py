"""The demonstration: mortality at Tongji from the first and the last visit, by a scorer without a language model."""

from pathlib import Path
from typing import Any

from auscult.core.data.open import load_cohort
from auscult.ehr_prompt.config import PromptConfig, RunConfig
from auscult.ehr_prompt.planning import prepare
from auscult.ehr_prompt.presentation import write_report
from auscult.ehr_prompt.running import run

WINDOWS = ("first", "last")


def run_demo(out: Path) -> dict[str, Any]:
    """Run both windows into ``out/first`` and ``out/last``, write ``out/report.html``, return the scores and paths."""
    cohort = load_cohort("tjh")
    folders = {}
    for window in WINDOWS:
        prompt = PromptConfig(window=window, units=True, ranges="corrected")  # type: ignore[arg-type]
        config = RunConfig(prompt=prompt)
        prepared = prepare(config, cohort)
        folders[f"{window} visit"] = out / window
        run(config, out / window, prepared=prepared)
    example = prepared.renderer.prompt(prepared.renderer.cases(prepared.parts["test"])[0])
    scores = write_report(folders, out / "report.html", example=example)
    return {"report": str(out / "report.html"), "runs": {name: str(path) for name, path in folders.items()}, **scores}
