"""What the commands do, apart from words on the terminal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from auscult.agfsync.config import RunConfig
from auscult.core.config import load_config
from auscult.core.errors import InputError


def read_config(path: Path | None, *, pairs: str | None = None, model: str | None = None) -> RunConfig:
    """Return a run's configuration, all defaults without a file; pairs and model replace those of the training."""
    config = RunConfig() if path is None else load_config(RunConfig, path)
    changes: dict[str, Any] = {"pairs": pairs, "model": model}
    changes = {name: value for name, value in changes.items() if value is not None}
    return replace(config, train=replace(config.train, **changes))


def quiet() -> None:
    """Keep the notes of the libraries below from the terminal; errors still come through."""
    import logging
    import warnings

    import diffusers.utils.logging
    import transformers.utils.logging

    libraries: tuple[Any, ...] = (transformers.utils.logging, diffusers.utils.logging)
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def evaluated_rows(root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Path]:
    """Return the rows of base and tuned of a finished evaluation, and the folder that their paths are relative to."""
    from auscult.core.runs import RunStore

    folder = root / "evaluate"
    if not (folder / "stage.json").exists():
        raise InputError(f"the stage evaluate is not done in {root}: run 'agfsync evaluate' first, or 'agfsync run'")
    found = []
    for name in ("base", "tuned"):
        with RunStore.read(folder / name) as store:
            found.append([{**row, "path": f"{name}/{row['path']}"} for row in store.values()])
    return found[0], found[1], folder


def judge_evaluated(root: Path, base_url: str, model: str, question: str) -> dict[str, Any]:
    """Ask a vision model on a server about the pairs of a finished evaluation, and return the win rate of tuned."""
    from auscult.agfsync.evaluation import win_rate
    from auscult.agfsync.pairwise import judge_pairs, wording_of
    from auscult.core.canonical import digest
    from auscult.core.endpoint import Endpoint
    from auscult.core.runs import RunStore

    asked = {"model": model, "wording": wording_of(question)}
    base, tuned, folder = evaluated_rows(root)
    with RunStore.open(folder / f"judge-{digest(asked)[:8]}", config=asked, package="agfsync") as store:
        verdicts = judge_pairs(
            Endpoint(base_url=base_url, model=model), base, tuned, folder, store=store, question=question
        )
        answers = len(store)
    return {**win_rate(verdicts).to_dict(), "unanswered": 2 * len(verdicts) - answers}
