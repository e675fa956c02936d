"""A finished run of 100,000 stays: how long until it is open again with nothing to ask, and until it is scored.

The stays are those of the TJH cohort, repeated with other numbers; the answers are two-decimal numbers. Scoring gives
every metric of the answers under four policies and of seven baselines with intervals from 1,000 resamples of subjects.
The baseline scores as many rows with scikit-learn, estimates alone, without any interval.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rows import store, to_rows
from sklearn import metrics

from auscult.core.data import Cohort, load_cohort
from auscult.core.data.splits import Split
from auscult.core.endpoint import Reply
from auscult.core.testing.benchmark import load
from auscult.ehr_prompt import PromptConfig, RunConfig, prepare, run, score
from auscult.ehr_prompt.backends import Deliver, Item

TRAIN = 2000


class Stub:
    """Answers at once, with a number that goes by the prompt's length and place."""

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item."""
        page = []
        for place, item in enumerate(items):
            page.append((item.key, Reply(f"0.{(place * 37 + len(item.key)) % 100:02d}", "stop", None, 900, 3)))
            if len(page) == 500:
                deliver(page)
                page = []
        if page:
            deliver(page)


def repeated(stays: int) -> Cohort:
    """Return the first visits of the TJH cohort, over and over, two values made anew so that no two stays are alike."""
    cohort = load_cohort("tjh")
    rng = np.random.default_rng(0)
    rows = np.arange(stays) % len(cohort)
    steps = 3
    values = cohort.values[rows, :steps]
    for name, low, high in (("Lactate dehydrogenase", 100, 1900), ("Platelet count", 10, 500)):
        values[:, 0, cohort.feature_index(name)] = rng.integers(low, high, stays)
    return dataclasses.replace(
        cohort, record_id=np.arange(stays), subject_id=np.arange(stays), time=cohort.time[rows, :steps], values=values,
        length=np.minimum(cohort.length[rows], steps), static=cohort.static[rows],
        labels={"mortality": cohort.labels["mortality"][rows]}, anchor=None,
    )  # fmt: skip


def main() -> None:
    """Measure, print, and store unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few stays, nothing stored: does it run?")
    parser.add_argument("--stays", type=int, default=100_000, help="stays that are asked about")
    chosen = parser.parse_args()
    quick = chosen.quick
    stays, repeats = (2000, 2) if quick else (chosen.stays, 3)
    clock = time.perf_counter, time.process_time
    cohort = repeated(stays + TRAIN)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = np.arange(stays + TRAIN)
        Split({"train": ids[:TRAIN], "test": ids[TRAIN:]}, 0, False).save(folder / "split.json")
        config = RunConfig(
            backend="openai", model="m", base_url="http://127.0.0.1/v1", split=str(folder / "split.json"),
            prompt=PromptConfig(window="first"),
        )  # fmt: skip
        prepared = prepare(config, cohort)
        begin = time.perf_counter()
        outcome = run(config, folder / "run", Stub(), prepared=prepared)
        first = time.perf_counter() - begin
        print(f"{outcome.stored} answers in {first:.1f} s", flush=True)
        reopened: dict[str, list[float]] = {"time": [], "processor time": []}
        scored: dict[str, list[float]] = {"time": [], "processor time": []}
        plain: list[float] = []
        label = np.resize(cohort.labels["mortality"], stays)
        for _ in range(repeats):
            start = [read() for read in clock]
            again = run(config, folder / "run", Stub(), prepared=prepared)
            assert (again.stored, again.reused) == (0, outcome.stored)
            middle = [read() for read in clock]
            result = score(folder / "run")
            assert result["coverage"] == 1.0
            end = [read() for read in clock]
            risk = np.resize(np.linspace(0, 1, 101), stays)
            for metric in (metrics.roc_auc_score, metrics.average_precision_score, metrics.brier_score_loss):
                metric(label, risk)
            plain.append(time.perf_counter() - end[0])
            for place, name in enumerate(reopened):
                reopened[name].append(middle[place] - start[place])
                scored[name].append(end[place] - middle[place])
    note = f"{stays} stays, window first; planning and asking a stub took {first:.0f} s; {load()}"
    rows = []
    for name in reopened:
        found = {"ehr-prompt": reopened[name]}
        rows += to_rows("finished run", f"{name} to open again", "s", found, n=stays, baseline=False, note=note)
        found = {"scikit-learn, three estimates without intervals": plain, "ehr-prompt": scored[name]}
        note_of_score = f"answers under four policies, seven baselines, 1,000 resamples; {load()}"
        rows += to_rows("finished run", f"{name} to score", "s", found, n=stays, note=note_of_score)
    if not quick:
        store(rows)


if __name__ == "__main__":
    main()
