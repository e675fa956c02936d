"""Prompts per second beside a straightforward builder of strings, as reference code has it, in one run.

The builder gets gaps that were filled beforehand, as the reference's does. Ours reads the cohort, checks panel, task
and labels, fills the gaps and writes numbers with as many digits as they need; all of that is in its time.
"""

import argparse
import time
from typing import Any

from rows import store, to_rows

from auscult.core.data import Cohort, load_cohort, split_subjects
from auscult.core.data.fill import Filler
from auscult.core.testing.benchmark import load
from auscult.ehr_prompt import Panel, PromptConfig, Renderer, load_panel
from auscult.ehr_prompt.tasks import read_labels

CONFIG = PromptConfig(units=True, ranges="corrected")


def build(patient: dict[str, Any], panel: list[tuple[str, str | None, str | None]]) -> str:
    """Build one prompt value by value, with the variables' units and ranges, as code for one patient does."""
    context = ""
    for name, unit, bounds in panel:
        context += f"- {name}: Unit: {unit or '/'}. Reference range: {bounds or '/'}.\n"
    detail = ""
    for place, (name, _, _) in enumerate(panel):
        values = ", ".join([str(visit[place]) for visit in patient["visits"]])
        detail += f'- {name}: "{values}"\n'
    times = ", ".join(patient["times"])
    return (
        f"Below are the laboratory values of one patient.\nTASK: estimate the probability of death.\n{context}\n"
        f"Sex: {'male' if patient['sex'] == 1 else 'female'}. Age: {patient['age']} years.\n"
        f"Visits: {len(patient['visits'])}, at {times}.\n{detail}\nRESPONSE:"
    )


def ours(cohort: Cohort, panel: Panel, train: Any, passes: int) -> int:
    """Render every stay, all checks included, and return the characters."""
    renderer = Renderer(cohort, panel, CONFIG, train)
    read_labels(cohort, renderer.task)
    cases = renderer.cases(range(len(cohort))) * passes
    return sum(len(prompt.user) for prompt in renderer.prompts(cases))


def main() -> None:
    """Measure, print, and store unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats, nothing stored: does it run?")
    quick = parser.parse_args().quick
    passes, repeats = (2, 3) if quick else (20, 5)
    cohort = load_cohort("tjh")
    train = split_subjects(cohort.subject_id, seed=42).index(cohort.subject_id)["train"]
    panel = load_panel("tjh", cohort)
    described = [(one.display, one.unit, one.range) for one in panel.describe(cohort, "corrected").values()]
    filled = Filler(standardize=False).fit(cohort, train).transform(cohort).values
    patients = [
        {
            "visits": filled[i, : cohort.length[i]].astype(float).tolist(),
            "times": [f"day {hours / 24:g}" for hours in cohort.time[i, : cohort.length[i]].tolist()],
            "sex": float(cohort.static[i, 0]),
            "age": float(cohort.static[i, 1]),
        }
        for i in range(len(cohort))
    ] * passes
    rates: dict[str, list[float]] = {"string builder": [], "ehr-prompt": []}
    for _ in range(repeats):
        start = time.process_time()
        sum(len(build(patient, described)) for patient in patients)
        middle = time.process_time()
        ours(cohort, panel, train, passes)
        end = time.process_time()
        rates["string builder"].append(len(patients) / (middle - start))
        rates["ehr-prompt"].append(len(patients) / (end - middle))
    note = f"TJH, layout string, units and ranges, whole stays, one core, {repeats} repeats, processor time"
    rows = to_rows("rendering", "prompts per second", "1/s", rates, n=len(patients), note=f"{note}, {load()}")
    if not quick:
        store(rows)


if __name__ == "__main__":
    main()
