"""Does preference tuning help on the shapes world? VQA accuracy on held-out captions, over seeds, with ablations.

Every variant is the demonstration with one thing changed; candidates, scores and the base's pictures of a seed are
shared. What is done stays in the folder, so that a call may be stopped, or do a part (``--only``, ``--seeds``), and a
later one goes on. A row says how many seeds it has.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rows import store, to_rows

from auscult.agfsync.comparing import captions_of, draw_and_score
from auscult.agfsync.config import PairsConfig, RunConfig
from auscult.agfsync.demo import DEMO
from auscult.agfsync.evaluation import compare
from auscult.agfsync.jobs import quiet
from auscult.agfsync.pairs import select_pairs, write_pairs
from auscult.agfsync.pipeline import run
from auscult.agfsync.scoring.scoring import Scorers
from auscult.agfsync.stages import read_rows
from auscult.agfsync.training.job import train
from auscult.core.device import one_thread
from auscult.core.files import replace_atomically
from auscult.core.intervals import bootstrap

SEEDS = (0, 1, 2)
BEFORE = ("prompts", "questions", "candidates", "score")


def variants(demo: RunConfig) -> dict[str, RunConfig]:
    """Return the demonstration and what is changed in it, by name."""

    def weights(*three: float) -> RunConfig:
        return replace(demo, pairs=PairsConfig(weights=three))

    return {
        "all three scores, 8 candidates": demo,
        "VQA alone": weights(1, 0, 0),
        "CLIP alone": weights(0, 1, 0),
        "aesthetics alone": weights(0, 0, 1),
        "2 candidates": replace(demo, candidates=replace(demo.candidates, num_candidates=2)),
        "4 candidates": replace(demo, candidates=replace(demo.candidates, num_candidates=4)),
        "no noise on the embedding": replace(demo, candidates=replace(demo.candidates, diversity="seed_only")),
        "LoRA on attention alone": replace(demo, train=replace(demo.train, lora_targets="attention")),
    }


def gains(demo: RunConfig, config: RunConfig, seed: int, root: Path, place: Path) -> dict[str, float]:
    """Return the gain in VQA of each held-out caption, with what a seed's variants share in ``place``."""
    result = root / "gains.json"
    if result.exists():
        found: dict[str, float] = json.loads(result.read_text("utf-8"))
        return found
    whole = replace(demo, seed=seed, candidates=replace(demo.candidates, diversity=config.candidates.diversity))
    shared = place / f"{config.candidates.diversity}-{seed}"
    run(whole, shared, stages=BEFORE)
    # The first pictures of more are those of fewer, down to the last bit.
    scores, candidates = (
        [row for row in read_rows(shared, name) if row["k"] < config.candidates.num_candidates]
        for name in ("score", "candidates")
    )
    pairs = select_pairs(scores, candidates, config.pairs, seed=seed)
    write_pairs(pairs, shared / "candidates", root / "pairs.parquet")
    train(root / "pairs.parquet", "shapes", config.train, root / "train", seed=seed)
    captions = captions_of(whole, shared)
    scorers = Scorers.load(replace(config.score, clip="none", aesthetic="none"))
    base = draw_and_score("base", whole, shared, place / f"evaluate-{seed}", captions, scorers)
    tuned = draw_and_score("tuned", whole, root, root, captions, scorers)
    ids = dict.fromkeys(row["id"] for row in base)
    means = [{id: np.mean([row["vqa"] for row in rows if row["id"] == id]) for id in ids} for rows in (base, tuned)]
    found = {id: float(means[1][id] - means[0][id]) for id in ids}
    comparison = compare(base, tuned, "vqa")
    assert comparison is not None
    print(f"{root.name}: {len(pairs)} pairs, {comparison.to_dict()}", flush=True)
    replace_atomically(result, lambda partial: partial.write_text(json.dumps(found), "utf-8"))
    return found


def rows_of(name: str, found: Sequence[dict[str, float]]) -> list[dict[str, str]]:
    """Return the row of a variant from the gains of its seeds."""
    ids = [id for one in found for id in one]
    values = np.array([value for one in found for value in one.values()])
    gain = bootstrap(lambda rows: float(values[rows].mean()), ids, n_boot=2000, seed=0)
    note = (
        f"mean gain {gain.value:.2f} points, 95 % interval {gain.low:.2f} to {gain.high:.2f} over captions, "
        f"{len(found)} seeds; p20 to p80 over seeds"
    )
    per_seed = {"tuned minus base": [float(np.mean(list(one.values()))) for one in found]}
    title = "shapes world: gain in VQA accuracy on held-out captions"
    return to_rows(title, f"points, {name}", "points", per_seed, baseline=False, note=note)


def material(demo: RunConfig, seeds: Sequence[int], place: Path) -> list[dict[str, str]]:
    """Return rows of the VQA accuracy that the candidates of a prompt have, and the two of its pair."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        shared = place / f"{demo.candidates.diversity}-{seed}"
        scores, candidates = (read_rows(shared, name) for name in ("score", "candidates"))
        pairs = select_pairs(scores, candidates, demo.pairs, seed=seed)
        by_prompt: dict[str, list[float]] = {}
        for row in scores:
            by_prompt.setdefault(row["id"], []).append(row["vqa"])
        values = {
            "best of 8 candidates": [max(some) for some in by_prompt.values()],
            "mean of 8 candidates": [np.mean(some) for some in by_prompt.values()],
            "worst of 8 candidates": [min(some) for some in by_prompt.values()],
            "preferred": [pair["sub_scores_good"][0] for pair in pairs],
            "rejected": [pair["sub_scores_bad"][0] for pair in pairs],
        }
        for name, some in values.items():
            found.setdefault(name, []).append(float(np.mean(some)))
    title = "shapes world: VQA accuracy of the candidates that pairs are made of"
    note = f"{len(seeds)} seeds; p20 to p80 over seeds"
    return to_rows(title, "VQA accuracy", "%", found, baseline=False, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench-shapes"), help="where what is done stays")
    parser.add_argument("--quick", action="store_true", help="one seed, few steps, nothing stored: does it run?")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", help="variants with one of these in their name")
    chosen = parser.parse_args()
    quiet()
    demo = DEMO
    if chosen.quick:
        demo = replace(
            DEMO, prompts=replace(DEMO.prompts, per_request=8), train=replace(DEMO.train, steps=4),
            evaluate=replace(DEMO.evaluate, num_prompts=4),
        )  # fmt: skip
        chosen.seeds, chosen.out = [0], Path(tempfile.mkdtemp())
    wanted = {
        name: config
        for name, config in variants(demo).items()
        if not chosen.only or any(word in name for word in chosen.only)
    }
    with one_thread():
        for seed in chosen.seeds:
            for name, config in wanted.items():
                gains(demo, config, seed, chosen.out / f"{name}, seed {seed}", chosen.out)
    if chosen.quick:
        shutil.rmtree(chosen.out)
        return
    for name in wanted:
        files = [chosen.out / f"{name}, seed {seed}" / "gains.json" for seed in SEEDS]
        if found := [json.loads(file.read_text("utf-8")) for file in files if file.exists()]:
            store(rows_of(name, found))
    shared = [seed for seed in SEEDS if (chosen.out / f"{demo.candidates.diversity}-{seed}" / "score").exists()]
    store(material(demo, shared, chosen.out))


if __name__ == "__main__":
    main()
