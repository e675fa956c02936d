"""Does preference tuning help on the shapes world? VQA accuracy on held-out captions, over seeds, with ablations.

Every variant is the demonstration with one thing changed. Stages that two variants share are done once.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rows import load, store, to_rows

from auscult.agfsync.comparing import captions_of, draw_and_score
from auscult.agfsync.config import PairsConfig, RunConfig
from auscult.agfsync.demo import DEMO
from auscult.agfsync.jobs import quiet
from auscult.agfsync.pipeline import run
from auscult.agfsync.scoring.scoring import Scorers
from auscult.core.intervals import bootstrap

BEFORE = ("prompts", "questions", "candidates", "score")


def variants(config: RunConfig) -> dict[str, RunConfig]:
    """Return the demonstration and what is changed in it, by name."""

    def weights(*three: float) -> RunConfig:
        return replace(config, pairs=PairsConfig(weights=three))

    return {
        "all three scores, 8 candidates": config,
        "VQA alone": weights(1, 0, 0),
        "CLIP alone": weights(0, 1, 0),
        "aesthetics alone": weights(0, 0, 1),
        "2 candidates": replace(config, candidates=replace(config.candidates, num_candidates=2)),
        "4 candidates": replace(config, candidates=replace(config.candidates, num_candidates=4)),
        "no noise on the embedding": replace(config, candidates=replace(config.candidates, diversity="seed_only")),
    }


def gains(config: RunConfig, root: Path, shared: Path | None) -> dict[str, float]:
    """Return the gain in VQA of each held-out caption; the first stages are copied from a run that has them."""
    if shared is not None and not root.exists():
        root.mkdir(parents=True)
        for stage in BEFORE:
            shutil.copytree(shared / stage, root / stage)
    run(config, root, stages=(*BEFORE, "pairs", "train"))
    folder = root / "evaluate"
    prompts, scorers = captions_of(config, root), Scorers.load(replace(config.score, clip="none", aesthetic="none"))
    rows: dict[str, Any] = {
        name: draw_and_score(name, config, root, folder, prompts, scorers) for name in ("base", "tuned")
    }
    return {
        id: float(
            np.mean([row["vqa"] for row in rows["tuned"] if row["id"] == id])
            - np.mean([row["vqa"] for row in rows["base"] if row["id"] == id])
        )
        for id in dict.fromkeys(row["id"] for row in rows["base"])
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps, nothing stored: does it run?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="variants with this in their name")
    chosen = parser.parse_args()
    quiet()
    seeds = range(1 if chosen.quick else chosen.seeds)
    found = []
    with tempfile.TemporaryDirectory() as place:
        names = [name for name in variants(DEMO) if not chosen.only or chosen.only in name]
        for name in names:
            by_caption: list[tuple[str, float]] = []
            for seed in seeds:
                config = replace(variants(DEMO)[name], seed=seed)
                if chosen.quick:
                    config = replace(
                        config, train=replace(config.train, steps=4), evaluate=replace(config.evaluate, num_prompts=4)
                    )
                same = Path(place, f"{names[0]}-{seed}")
                shared = same if same.exists() and config.candidates == DEMO.candidates else None
                by_caption += gains(config, Path(place, f"{name}-{seed}"), shared).items()
            ids = [id for id, _ in by_caption]
            values = np.array([value for _, value in by_caption])
            gain = bootstrap(lambda rows, values=values: float(values[rows].mean()), ids, n_boot=2000, seed=0)
            bounds = f"95 % interval {gain.low:.2f} to {gain.high:.2f} over captions"
            note = f"mean gain {gain.value:.2f} points, {bounds}, {len(seeds)} seeds; {load()}"
            per_seed = np.array_split(values, len(seeds))
            found += to_rows("shapes world: gain in VQA accuracy on held-out captions", f"points, {name}", "points",
                             {"tuned minus base": [float(part.mean()) for part in per_seed]}, note=note)  # fmt: skip
    if not chosen.quick:
        store(found)


if __name__ == "__main__":
    main()
