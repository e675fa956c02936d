"""The demonstration: the whole method on the shapes world, with the models that come along, offline."""

from pathlib import Path
from typing import Any

from auscult.agfsync.config import (
    CandidatesConfig,
    DedupConfig,
    EvaluateConfig,
    PairsConfig,
    PromptsConfig,
    QuestionsConfig,
    RunConfig,
    TrainConfig,
)
from auscult.agfsync.jobs import quiet
from auscult.agfsync.pipeline import run
from auscult.core.device import one_thread

DEMO = RunConfig(
    seed=0,
    prompts=PromptsConfig(backend="shapes", per_request=320, dedup=DedupConfig(method="exact")),
    questions=QuestionsConfig(backend="shapes", dedup=DedupConfig(method="exact")),
    candidates=CandidatesConfig(
        model="shapes", num_candidates=8, steps=10, guidance_scale=1.0, batch_size=32, device="cpu"
    ),
    pairs=PairsConfig(preset="paper", strategy="best_worst"),
    train=TrainConfig(
        lora_rank=16,
        lora_targets="all",
        steps=250,
        batch_size=16,
        gradient_accumulation=1,
        learning_rate=1e-3,
        warmup_steps=10,
        beta=300.0,
        ref_draws=0,
        save_steps=125,
        device="cpu",
    ),
    evaluate=EvaluateConfig(num_prompts=96, images_per_prompt=4),
)
"""What the demonstration runs."""


def run_demo(out: Path, config: RunConfig = DEMO) -> dict[str, Any]:
    """Run all stages into a folder and return what the evaluation found, with the report's path."""
    quiet()
    with one_thread():
        result = run(config, out)["evaluate"]
    return {**result, "report": str(out / "evaluate" / "report.html")}
