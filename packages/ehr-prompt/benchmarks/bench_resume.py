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
from sklearn import metrics

from auscult.core.data import Cohort, load_cohort
from auscult.core.data.splits import Split
from auscult.core.endpoint import Reply
from auscult.ehr_prompt import PromptConfig, RunConfig, prepare, run, score
from auscult.ehr_prompt.backends import Deliver, Item

from runner import row, store  # isort: skip

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
    quick = parser.parse_args().quick
    stays, repeats = (2000, 2) if quick else (100_000, 3)
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
        start = time.perf_counter()
        outcome = run(config, folder / "run", Stub(), prepared=prepared)
        first = time.perf_counter() - start
        print(f"{outcome.stored} answers in {first:.1f} s")
        reopened, scored, plain = [], [], []
        label = np.resize(cohort.labels["mortality"], stays)
        for _ in range(repeats):
            start = time.perf_counter()
            again = run(config, folder / "run", Stub(), prepared=prepared)
            assert (again.stored, again.reused) == (0, outcome.stored)
            middle = time.perf_counter()
            result = score(folder / "run")
            assert result["coverage"] == 1.0
            end = time.perf_counter()
            risk = np.resize(np.linspace(0, 1, 101), stays)
            for metric in (metrics.roc_auc_score, metrics.average_precision_score, metrics.brier_score_loss):
                metric(label, risk)
            plain.append(time.perf_counter() - end)
            reopened.append(middle - start)
            scored.append(end - middle)
    note = f"{stays} stays, window first; planning and asking a stub took {first:.0f} s"
    rows = [
        row("finished run", "ehr-prompt", stays, "time to open again", reopened, "s", note=note),
        row(
            "finished run", "ehr-prompt", stays, "time to score", scored, "s",
            baseline=("scikit-learn, three estimates without intervals", plain), distributions=["scikit-learn"],
            note="answers under four policies, seven baselines, 1,000 resamples",
        ),
    ]  # fmt: skip
    if not quick:
        store(rows)


if __name__ == "__main__":
    main()
