"""Stage 7 as one job: both models draw the same captions from the same seeds, and are scored and compared."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auscult.agfsync.config import RunConfig
from auscult.agfsync.evaluation import Comparison, WinRate, by_element_type, compare, verdicts_by_score, win_rate
from auscult.agfsync.scoring.scoring import SCORES, Scorers, score_candidates
from auscult.agfsync.stages import content_of
from auscult.core.canonical import digest, finite
from auscult.core.device import generator
from auscult.core.errors import missing_dependency
from auscult.core.files import replace_atomically
from auscult.core.runs import RunStore


def evaluate(config: RunConfig, root: Path, folder: Path) -> dict[str, Any]:
    """Draw, score and compare base and tuned; write ``report.json`` and ``report.html``.

    Parameters
    ----------
    config
        Of the run.
    root
        The run's folder, for its questions and its training.
    folder
        Of the stage.

    Returns
    -------
    dict
        ``captions``, ``images``, one entry a score (base, tuned, difference), ``prompt_following`` (the win rate by
        VQA) and ``overall`` (by VQA, then CLIP, then aesthetics), and the VQA by element type.
    """
    from auscult.agfsync.presentation import write_report

    if config.evaluate.hps is not None:
        _hps(config.evaluate.hps)  # rather than find after hours that it is not there
    prompts = captions_of(config, root)
    questions = {row["id"]: row["questions"] for row in prompts}
    scorers = Scorers.load(config.score)
    rows = {name: draw_and_score(name, config, root, folder, prompts, scorers) for name in ("base", "tuned")}
    if config.evaluate.hps is not None:
        for own in rows.values():
            add_hps(own, folder, config.evaluate.hps)
    result = summarize(rows["base"], rows["tuned"], questions, config.evaluate.confidence)
    text = json.dumps(finite(result), indent=1, ensure_ascii=False)
    replace_atomically(folder / "report.json", lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
    write_report(config, root, folder, result, rows)
    return result


def add_hps(rows: Sequence[dict[str, Any]], folder: Path, version: str) -> None:
    """Add HPS v2 to scored rows, by the package of its authors.

    Raises
    ------
    MissingDependencyError
        The package is not installed.
    """
    hpsv2 = _hps(version)
    for row in rows:
        found = hpsv2.score(str(folder / row["path"]), row["prompt"], hps_version=version)
        row["hps"] = 100 * float(found[0])


def _hps(version: str) -> Any:
    try:
        return importlib.import_module("hpsv2")
    except ImportError as error:
        raise missing_dependency("hpsv2", purpose=f"HPS {version}", install="hpsv2") from error


def captions_of(config: RunConfig, root: Path) -> list[dict[str, Any]]:
    """Return captions with questions to evaluate on: the shapes world's held-out ones, else a file's or the run's."""
    from auscult.agfsync.config import DedupConfig, PromptsConfig
    from auscult.agfsync.pipeline import without_place
    from auscult.agfsync.prompts import make_prompts
    from auscult.agfsync.questions import make_questions
    from auscult.agfsync.stages import read_rows

    limit = config.evaluate.num_prompts
    if not asks_anew(config):
        return read_rows(root, "questions")[:limit]
    with RunStore.open(
        root / "evaluate" / "questions",
        config=without_place(config.questions),
        seed=config.seed,
        package="agfsync",
    ) as store:
        if config.evaluate.prompts is not None:
            file = PromptsConfig(backend="file", path=config.evaluate.prompts, dedup=DedupConfig(method="exact"))
            prompts, _ = make_prompts(file, seed=config.seed, store=store)
        else:
            from auscult.agfsync.shapes.captions import sample_captions

            captions = sample_captions(limit, generator(config.seed, "held-out"), split="held-out")
            prompts = [
                {"id": digest(["held-out", text])[:16], "prompt": text, "category": "held-out"} for text in captions
            ]
        rows, _ = make_questions(prompts[:limit], config.questions, store=store)
    return rows


def asks_anew(config: RunConfig) -> bool:
    """Whether the evaluation has captions of its own, and makes questions about them."""
    return config.evaluate.prompts is not None or config.questions.backend == "shapes"


def draw_and_score(
    name: str, config: RunConfig, root: Path, folder: Path, prompts: Sequence[dict[str, Any]], scorers: Scorers
) -> list[dict[str, Any]]:
    """Return scored rows, with paths relative to the stage's folder, of ``"base"`` or ``"tuned"``."""
    from auscult.agfsync.candidates import generate_candidates, load_pipeline
    from auscult.agfsync.pipeline import candidates_for_evaluation, without_place
    from auscult.agfsync.training.job import export_in, load_tuned

    settings = candidates_for_evaluation(config)
    pipeline = load_pipeline(settings) if name == "base" else load_tuned(settings, root / "train")
    identity = {
        "model": name if name == "base" else content_of(export_in(root / "train")),
        "settings": [without_place(settings), without_place(config.score)],
        "prompts": digest(prompts),
    }
    with RunStore.open(folder / name, config=identity, seed=config.seed, package="agfsync") as store:
        pictures = generate_candidates(prompts, pipeline, settings, seed=config.seed, store=store)
    with RunStore.open(folder / f"{name}-scores", config=identity, seed=config.seed, package="agfsync") as store:
        questions = {row["id"]: row["questions"] for row in prompts}
        scores = score_candidates(
            pictures, questions, scorers, folder=folder / name, store=store, batch_size=config.score.batch_size
        )
    return [
        {**score, "prompt": picture["prompt"], "path": f"{name}/{picture['path']}"}
        for score, picture in zip(scores, pictures, strict=True)
    ]


def summarize(
    base: Sequence[Mapping[str, Any]],
    tuned: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Sequence[Mapping[str, str]]],
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return every comparison of two sets of scored pictures as JSON."""
    found: dict[str, Comparison | None] = {name: compare(base, tuned, name, confidence=confidence) for name in SCORES}
    known = [name for name in SCORES if found[name] is not None]
    if all("hps" in row for row in (*base, *tuned)):
        found["hps"] = compare(base, tuned, "hps", confidence=confidence)
    wins: dict[str, WinRate] = {"overall": win_rate(verdicts_by_score(base, tuned, known), confidence=confidence)}
    if "vqa" in known:
        wins["prompt_following"] = win_rate(verdicts_by_score(base, tuned, ["vqa"]), confidence=confidence)
    return {
        "captions": len({row["id"] for row in base}), "images": len(base),
        **{name: comparison.to_dict() if comparison else None for name, comparison in found.items()},
        "win_rate": {name: one.to_dict() for name, one in wins.items()},
        "vqa_by_element_type": {"base": by_element_type(base, questions), "tuned": by_element_type(tuned, questions)},
    }  # fmt: skip
