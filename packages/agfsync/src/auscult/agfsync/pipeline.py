"""A whole run: every stage as a function of the configuration and the run's folder, and all of them in a row.

A finished stage is not done again; an unfinished one goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auscult.agfsync.config import CandidatesConfig, RunConfig
from auscult.agfsync.prompts import write_rows
from auscult.agfsync.stages import STAGES, Stage, content_of, is_adopted, read_rows, read_stage
from auscult.core.canonical import plain
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.run_files import MANIFEST
from auscult.core.runs import RunStore


def run(config: RunConfig, folder: str | Path, *, stages: Sequence[str] = STAGES) -> dict[str, dict[str, Any]]:
    """Do the stages that are not done yet, in order, and return what each says.

    Parameters
    ----------
    config
        See :class:`~auscult.agfsync.config.RunConfig`.
    folder
        Of the run; every stage has a folder in it.
    stages
        Which; those before them must be done. Where it is all, those that nothing needs are left out: what your own
        questions, pairs or tuned model stand for.

    Raises
    ------
    InputError
        A stage cannot use what it was given.
    RunMismatchError
        The folder has a stage with other settings.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise InputError(f"there is no stage {unknown[0]!r}: use {', '.join(STAGES)}")
    own = any(is_adopted(Path(folder), name) for name in ("questions", "score"))
    if "score" in stages and not own and config.score.vqa == "shapes" and config.questions.backend != "shapes":
        raise InputError(
            f"the judge of the shapes world cannot answer questions of the backend {config.questions.backend!r}: set "
            "score.vqa to blip2, transformers, endpoint or none"
        )
    left_out = unneeded(config, Path(folder)) if set(stages) == set(STAGES) else set()
    return {name: _do(name, config, Path(folder)) for name in STAGES if name in stages and name not in left_out}


def unneeded(config: RunConfig, root: Path) -> set[str]:
    """Return the stages that are not done, and that nothing in the run needs."""
    found = {"prompts"} if is_adopted(root, "questions") else set()
    if config.train.pairs or is_adopted(root, "train"):
        found |= {"candidates", "score", "pairs"}
    return {name for name in found if read_stage(root, name) is None}


def _do(name: str, config: RunConfig, root: Path) -> dict[str, Any]:
    if is_adopted(root, name):
        summary: dict[str, Any] = (read_stage(root, name) or {})["summary"]
        return summary
    return _FUNCTIONS[name](config, root)


def run_prompts(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 1; writes ``prompts.jsonl``."""
    from auscult.agfsync.prompts import make_prompts

    contents = [content_of(path) for path in (config.prompts.path, config.prompts.categories) if path]
    stage = Stage("prompts", root, [config.seed, without_place(config.prompts), *contents])
    if (known := stage.summary()) is not None:
        return known
    with _store(stage, config) as store:
        rows, report = make_prompts(config.prompts, seed=config.seed, store=store)
    write_rows(rows, stage.folder / "prompts.jsonl")
    return stage.finish({"prompts": len(rows), "categories": report.rows, "rejected": report.rejected})


def run_questions(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 2; writes ``questions.jsonl``."""
    from auscult.agfsync.questions import make_questions

    prompts = read_rows(root, "prompts")
    stage = Stage("questions", root, without_place(config.questions), _after(root, "prompts"))
    if (known := stage.summary()) is not None:
        return known
    with _store(stage, config) as store:
        rows, rejected = make_questions(prompts, config.questions, store=store)
    write_rows(rows, stage.folder / "questions.jsonl")
    count = sum(len(row["questions"]) for row in rows)
    return stage.finish({"prompts": len(rows), "questions": count, "rejected": rejected})


def run_candidates(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 3; writes ``candidates.jsonl`` and ``images/``."""
    from auscult.agfsync.candidates import export_parquet, generate_candidates, load_pipeline

    prompts = read_rows(root, "questions")
    stage = Stage("candidates", root, [config.seed, without_place(config.candidates)], _after(root, "questions"))
    if (known := stage.summary()) is not None:
        return known
    with _store(stage, config) as store:
        rows = generate_candidates(
            prompts, load_pipeline(config.candidates), config.candidates, seed=config.seed, store=store
        )
    if config.candidates.image_format == "parquet":
        export_parquet(rows, stage.folder, stage.folder / "candidates.parquet")
    write_rows(rows, stage.folder / "candidates.jsonl")
    return stage.finish({"images": len(rows), "black": sum(row["black"] for row in rows)})


def run_score(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 4; writes ``score.jsonl``."""
    from auscult.agfsync.scoring.scoring import SCORES, Scorers, score_candidates

    candidates = read_rows(root, "candidates")
    head = [content_of(config.score.aesthetic_head)] if config.score.aesthetic_head else []
    stage = Stage("score", root, [without_place(config.score), *head], _after(root, "candidates"))
    if (known := stage.summary()) is not None:
        return known
    questions = {}
    if config.score.vqa != "none":
        questions = {row["id"]: row["questions"] for row in read_rows(root, "questions")}
        if without := [row["id"] for row in candidates if row["id"] not in questions]:
            raise InputError(f"the pictures of {without[0]!r} have no questions: use yours, or set score.vqa to none")
    with _store(stage, config) as store:
        rows = score_candidates(
            candidates, questions, Scorers.load(config.score), folder=root / "candidates", store=store,
            batch_size=config.score.batch_size,
        )  # fmt: skip
    write_rows(rows, stage.folder / "score.jsonl")
    answers = [answer for row in rows for answer in row["vqa_answers"]]
    means = {name: [row[name] for row in rows if row[name] is not None and np.isfinite(row[name])] for name in SCORES}
    return stage.finish(
        {
            "images": len(rows), "unanswered": sum("failed" in row["vqa_answers"] for row in rows),
            "means": {name: float(np.mean(x)) if x else None for name, x in means.items()},
            "answers": {answer: answers.count(answer) for answer in sorted(set(answers))},
        }
    )  # fmt: skip


def run_pairs(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 5; writes ``pairs.parquet``. Other weights replace it, unless a model was trained on it."""
    from auscult.agfsync.pairs import select_pairs, variance_shares, write_pairs

    scores, candidates = read_rows(root, "score"), read_rows(root, "candidates")
    stage = Stage("pairs", root, [config.seed, config.pairs], _after(root, "score"))
    if read_stage(root, "train") is not None and (known := stage.summary()) is not None:
        return known
    asked = read_rows(root, "questions") if read_stage(root, "questions") is not None else []
    categories = {row["id"]: row["category"] for row in asked}
    pairs = select_pairs(scores, candidates, config.pairs, seed=config.seed, categories=categories)
    if not pairs:
        raise InputError(
            f"no prompt has a pair with a margin above {config.pairs.min_margin:g}: lower min_margin, draw more "
            "candidates, or look at the scores for what is missing"
        )
    write_pairs(pairs, root / "candidates", stage.folder / "pairs.parquet")
    margins = np.array([pair["margin"] for pair in pairs])
    quartiles = np.quantile(margins, [0.25, 0.5, 0.75]).tolist()
    without = len({row["id"] for row in scores} - {pair["id"] for pair in pairs})
    shares = variance_shares(scores, config.pairs)
    return stage.finish(
        {"pairs": len(pairs), "prompts_without": without, "margin_quartiles": quartiles, "variance_shares": shares}
    )


def run_train(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 6; writes checkpoints and the export."""
    from auscult.agfsync.training.job import train

    path = Path(config.train.pairs) if config.train.pairs else root / "pairs" / "pairs.parquet"
    if not path.exists():
        raise InputError(f"there are no pairs in {path}: run 'agfsync pairs' first, or name yours as train.pairs")
    after = content_of(path) if config.train.pairs else _after(root, "pairs")
    model, revision = config.trained_model
    stage = Stage("train", root, [config.seed, without_place(config.train), [model, revision]], after)
    if (known := stage.summary()) is not None:
        return known
    with _store(stage, config):
        return stage.finish(train(path, model, config.train, stage.folder, seed=config.seed, revision=revision))


def run_evaluate(config: RunConfig, root: Path) -> dict[str, Any]:
    """Stage 7; writes ``report.html``, ``report.json`` and the pictures of both models."""
    from auscult.agfsync.comparing import asks_anew, evaluate

    trained = read_stage(root, "train")
    if trained is None:
        raise InputError(f"the stage train is not done in {root}: run 'agfsync train' first, or 'agfsync run'")
    if not is_adopted(root, "train") and trained["settings"][2] != list(config.trained_model):
        raise InputError(
            f"the stage train in {root} tuned the model {trained['settings'][2][0]!r}, and the configuration has "
            f"{config.trained_model[0]!r}: compare with the model that was tuned, as train.model"
        )
    contents = [content_of(path) for path in (config.evaluate.prompts, config.score.aesthetic_head) if path]
    asked = without_place(config.questions) if asks_anew(config) else _after(root, "questions")
    settings = [
        config.seed, config.evaluate, without_place(config.candidates), without_place(config.score), asked, *contents,
    ]  # fmt: skip
    stage = Stage("evaluate", root, settings, _after(root, "train"))
    if (known := stage.summary()) is not None:
        return known
    return stage.finish(evaluate(config, root, stage.folder))


def plan_run(config: RunConfig, root: Path | None = None) -> list[dict[str, Any]]:
    """Return what each stage would do that is not done in a folder, before anything is asked, drawn or trained.

    Counts are upper bounds where repetitions or refusals may lower them.
    """
    from auscult.agfsync.prompts import load_categories

    p, c, t, e = config.prompts, config.candidates, config.train, config.evaluate
    categories = 1 if p.backend in ("shapes", "file") else len(load_categories(p.categories))
    prompts = categories * p.per_request * p.requests
    if p.backend == "file":
        from auscult.agfsync.prompts import read_file

        prompts = len(read_file(Path(str(p.path))))
    asked = categories * p.requests if p.backend in ("endpoint", "local") else 0
    images = prompts * c.num_candidates
    passes = 2 if c.guidance_scale > 1 else 1
    trained = t.steps * t.batch_size * t.gradient_accumulation
    # Policy, and reference in every step or once for each draw of a pair; two pictures each.
    training_calls = 2 * (trained + prompts * t.ref_draws if t.ref_draws else 2 * trained)
    held_out = 2 * e.num_prompts * e.images_per_prompt
    questions = f"about {10 * images} answers" if config.score.vqa != "none" else "no question"
    plan = [
        {"stage": "prompts", "does": f"{prompts} prompts", "model_calls": asked},
        {"stage": "questions", "does": f"{prompts} prompts, {config.questions.samples} replies each",
         "model_calls": prompts * config.questions.samples if config.questions.backend in ("endpoint", "local") else 0},
        {"stage": "candidates", "does": f"{images} images", "model_calls": images * c.steps * passes},
        {"stage": "score", "does": f"{images} images, {questions}", "model_calls": images},
        {"stage": "pairs", "does": f"up to {prompts} pairs with best_worst", "model_calls": 0},
        {"stage": "train", "does": f"{t.steps} steps, {trained} pairs seen", "model_calls": training_calls},
        {"stage": "evaluate", "does": f"{held_out} images", "model_calls": held_out * c.steps * passes},
    ]  # fmt: skip
    if root is not None:
        said = dict.fromkeys(unneeded(config, root), "not needed")
        said |= {name: "done" for name in STAGES if read_stage(root, name) is not None}
        plan = [{**row, "does": said[row["stage"]], "model_calls": 0} if row["stage"] in said else row for row in plan]
    return plan


def _after(root: Path, name: str) -> str:
    record = read_stage(root, name)
    if record is None:
        raise InputError(f"the stage {name} is not done in {root}: run 'agfsync {name}' first, or 'agfsync run'")
    return str(record["digest"])


def _store(stage: Stage, config: RunConfig) -> RunStore:
    """Open a stage's store; of other settings, under which nothing came to be, it keeps no memory."""

    def opened() -> RunStore:
        return RunStore.open(
            stage.folder, config={"stage": stage.name, "settings": plain(stage.settings)}, seed=config.seed,
            data_fingerprint=stage.after or None, package="agfsync",
        )  # fmt: skip

    try:
        return opened()
    except RunMismatchError:
        with RunStore.read(stage.folder) as old:
            if len(old) or list(stage.folder.glob("checkpoint-*")):
                raise
        (stage.folder / MANIFEST).unlink()
        return opened()


def without_place(section: Any) -> Any:
    """Return a section without where it runs, which does not change what it is meant to give."""
    return {
        name: without_place(value) if isinstance(value, dict) else value
        for name, value in plain(section).items()
        if name not in ("device", "dtype", "base_url", "vqa_base_url")
    }


def candidates_for_evaluation(config: RunConfig) -> CandidatesConfig:
    """Return how the model that is tuned draws for the evaluation: one seed each, no noise on the embedding."""
    model, revision = config.trained_model
    return replace(
        config.candidates, model=model, revision=revision, num_candidates=config.evaluate.images_per_prompt,
        diversity="seed_only",
    )  # fmt: skip


_FUNCTIONS: Mapping[str, Callable[[RunConfig, Path], dict[str, Any]]] = {
    "prompts": run_prompts, "questions": run_questions, "candidates": run_candidates, "score": run_score,
    "pairs": run_pairs, "train": run_train, "evaluate": run_evaluate,
}  # fmt: skip
