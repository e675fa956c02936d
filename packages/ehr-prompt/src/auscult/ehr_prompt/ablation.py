"""A grid of conditions, one run each, compared with each other on the same stays."""

import difflib
import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from auscult.core.canonical import canonical_json, digest
from auscult.core.config import load_config
from auscult.core.data.cohort import Cohort
from auscult.core.data.open import load_cohort
from auscult.core.errors import InputError
from auscult.ehr_prompt.config import PromptConfig, RunConfig
from auscult.ehr_prompt.resampling import evaluate_days, evaluate_risks
from auscult.ehr_prompt.scoring import Answers, coverage, numbers_of, plain_interval, read_answers

CONDITIONS = "conditions.json"


class Condition(NamedTuple):
    """One cell of a grid: its name, the settings in which it differs, and the whole configuration."""

    name: str
    settings: dict[str, Any]
    config: RunConfig

    @property
    def folder(self) -> str:
        """A name for its folder: the settings as far as they go, and a digest of the whole configuration."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:60]
        return f"{words}-{digest(self.config)[:8]}"


class _Grid(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]]


def read_grid(source: Path | Mapping[str, Any]) -> list[Condition]:
    """Return the conditions of a grid, every combination of its values in the order written.

    Parameters
    ----------
    source
        A YAML file or its content: ``base``, settings as in :class:`~auscult.ehr_prompt.config.RunConfig`, and
        ``grid``, from a setting of a run or of its prompt to a list of values.

    Raises
    ------
    InputError
        A setting is unknown, has no value, or a combination does not fit together.

    Examples
    --------
    >>> grid = {"base": {"prompt": {"window": "first"}}, "grid": {"layout": ["string", "list"]}}
    >>> [condition.name for condition in read_grid(grid)]
    ['layout=string', 'layout=list']
    """
    grid = load_config(_Grid, source)
    of_prompt, of_run = set(PromptConfig.model_fields), set(RunConfig.model_fields) - {"prompt"}
    for name, values in grid.grid.items():
        if name not in of_prompt | of_run:
            near = difflib.get_close_matches(name, sorted(of_prompt | of_run), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(of_prompt | of_run))}"
            raise InputError(f"the grid varies {name!r}, which is no setting: {hint}")
        if not values or len({canonical_json(value) for value in values}) < len(values):
            raise InputError(f"the grid gives {name!r} the values {values}: give each value once, one at least")
    if not grid.grid:
        raise InputError("the grid varies nothing: give a setting and its values under 'grid'")
    shared = grid.base.get("prompt") or {}
    if not isinstance(shared, Mapping):
        raise InputError(f"'base.prompt' of the grid is {shared!r}: give settings, such as {{window: first}}")
    conditions = []
    for chosen in itertools.product(*grid.grid.values()):
        settings = dict(zip(grid.grid, chosen, strict=True))
        # "seed" belongs to both; a run's is the one that providers see.
        run = {name: value for name, value in settings.items() if name in of_run}
        prompt = {name: value for name, value in settings.items() if name not in of_run}
        whole = {**grid.base, **run, "prompt": {**shared, **prompt}}
        name = ", ".join(f"{key}={_word(value)}" for key, value in settings.items())
        conditions.append(Condition(name, settings, load_config(RunConfig, whole)))
    return conditions


def cohorts_of(conditions: list[Condition]) -> Iterator[tuple[Condition, Cohort]]:
    """Yield each condition with its data, which are read once for all that share them."""
    last, cohort = None, None
    for condition in conditions:
        source = (condition.config.data, canonical_json(condition.config.data_options))
        if source != last or cohort is None:
            last, cohort = source, load_cohort(condition.config.data, **condition.config.data_options)
        yield condition, cohort


def write_conditions(folder: Path, conditions: list[Condition]) -> None:
    """Note which run's folder holds which condition."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({one.name: one.folder for one in conditions}, indent=1)
    (folder / CONDITIONS).write_text(text + "\n", encoding="utf-8")


def compare_runs(folders: Mapping[str, Path], *, n_boot: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return what each run's answers are worth, and how they differ from those of the first run.

    Each run is scored against its own labels; all share their resamples of subjects. ``difference`` is the AUROC (of
    days the MAE) of a run minus that of the first, on the stays for which both have a usable answer, whatever window
    they saw; None for the first itself, and where ``unpaired`` says why the two cannot be paired.

    Parameters
    ----------
    folders
        Name -> a run's folder; the runs are about the same data and ask for the same kind of number.
    n_boot, seed
        Of the resamples.

    Raises
    ------
    InputError
        The runs ask for different kinds of numbers or are about different data.
    """
    runs = {name: read_answers(folder) for name, folder in folders.items()}
    first, *others = runs
    kind = runs[first].facts["kind"]
    frames = {}
    for name, answers in runs.items():
        if (answers.facts["kind"], answers.config["data"]) != (kind, runs[first].config["data"]):
            raise InputError(f"the runs {first!r} and {name!r} are about different things: compare like with like")
        frames[name] = _by_stay(answers)
    unpaired = {
        name: _why_unpaired(
            frames[name], frames[first], kind == "days" and runs[name].config["bins"] != runs[first].config["bins"]
        )
        for name in others
    }
    index = functools.reduce(lambda one, other: one.union(other), (frame.index for frame in frames.values()))
    whole = {name: frame.reindex(index) for name, frame in frames.items()}
    values, labels = (
        {name: frame[column].to_numpy(np.float64) for name, frame in whole.items()} for column in ("value", "label")
    )
    subject = functools.reduce(
        lambda one, other: one.combine_first(other), (frame["subject"] for frame in frames.values())
    )
    evaluate = evaluate_days if kind == "days" else evaluate_risks
    found, differences = evaluate(
        labels, values, subject.reindex(index).to_numpy(np.str_),
        pairs=[(name, first) for name in others if unpaired[name] is None], n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return {
        name: {
            "n": len(answers.table),
            "coverage": coverage(answers),
            **{metric: plain_interval(one) for metric, one in found[name].items()},
            "difference": plain_interval(differences[name, first]) if (name, first) in differences else None,
            "unpaired": unpaired.get(name),
        }
        for name, answers in runs.items()
    }


def _by_stay(answers: Answers) -> pd.DataFrame:
    """Return subject, label and value of every number by its stay, of days by its stay and step."""
    numbers = numbers_of(answers)
    record = answers.table.drop_duplicates("row").set_index("row")["record_id"]
    stay = record.reindex(numbers.key.get_level_values("row")).to_numpy()
    keys = [stay, numbers.key.get_level_values("end")] if answers.facts["kind"] == "days" else [stay]
    frame = pd.DataFrame({"subject": numbers.subject, "label": numbers.label, "value": numbers.value})
    return frame.set_index(keys)


def _why_unpaired(run: pd.DataFrame, first: pd.DataFrame, other_steps: bool) -> str | None:
    """Return why two runs cannot be compared number by number; None where they can."""
    if other_steps:
        return "its steps are others than those of the first condition"
    shared = run.index.intersection(first.index)
    if shared.empty:
        return "it shares no stay with the first condition"
    if not run["label"].reindex(shared).equals(first["label"].reindex(shared)):
        return "its labels are others than those of the first condition"
    return None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
