"""Patients who are shown with their answers: training patients, or those that a panel's author wrote."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.data.fill import Filler
from auscult.core.data.splits import few_shot
from auscult.core.errors import InputError
from auscult.ehr_prompt.panel import PanelExample, sex_levels
from auscult.ehr_prompt.rendering import Example, Renderer
from auscult.ehr_prompt.tasks import read_labels, write_answer


def show_examples(renderer: Renderer) -> None:
    """Let a renderer's prompts show the examples that its configuration asks for.

    Raises
    ------
    InputError
        There are fewer suitable examples than shots, or ``balanced`` has no classes to balance.
    """
    config = renderer.config
    if not config.shots:
        return
    if config.examples == "hand":
        written = tuple(_written(renderer))
        renderer.examples_for = lambda row: written
        return
    made = cache(lambda row: make_example(renderer, row))
    if config.examples == "nearest":
        nearest = _nearest(renderer)
        renderer.examples_for = lambda row: tuple(made(one) for one in nearest(row))
        return
    chosen = tuple(made(row) for row in choose_examples(renderer))
    renderer.examples_for = lambda row: chosen


def choose_examples(renderer: Renderer, row: int | None = None) -> list[int]:
    """Return the training stays to show: ``shots`` many, one stay a subject, all with something in their window.

    Parameters
    ----------
    renderer
        Its configuration says how many and by which rule.
    row
        The stay in question, which the rule ``nearest`` goes by.

    Raises
    ------
    InputError
        There are fewer suitable training subjects than shots, ``balanced`` has no classes to balance, or ``nearest``
        has no stay to go by.
    """
    cohort, config = renderer.cohort, renderer.config
    rows = _candidates(renderer)
    if config.examples == "nearest":
        if row is None:
            raise InputError("nearest examples belong to one patient: name the stay in question")
        return _nearest(renderer)(row)
    generator = np.random.default_rng(config.seed)
    if config.examples == "random":
        return [int(one) for one in generator.choice(rows, config.shots, replace=False)]
    label = read_labels(cohort, renderer.task)[0]
    if label.ndim != 1 or config.shots % 2:
        raise InputError(
            f"{config.shots} examples cannot be balanced here: use an even number, and a task with two classes"
        )
    drawn = few_shot(cohort.subject_id[rows], label[rows], per_class=config.shots // 2, seed=config.seed)
    by_subject = {subject: int(one) for subject, one in zip(cohort.subject_id[rows].tolist(), rows, strict=True)}
    # Classes alternate: drawn one after the other they would end with all patients of one class.
    half = len(drawn) // 2
    return [by_subject[drawn[i % 2 * half + i // 2].item()] for i in range(len(drawn))]


def make_example(renderer: Renderer, row: int) -> Example:
    """Return a training stay as an example: the patient as any other, and the known answer.

    Raises
    ------
    InputError
        The stay is not one of the training stays, or its window holds no visit.
    """
    if row not in renderer.train:
        raise InputError(f"stay {row} is no training stay: examples come from training patients only")
    config, task = renderer.config, renderer.task
    cases = renderer.cases([row])
    if not cases:
        raise InputError("an example's window holds no visit: choose another window or other examples")
    case = cases[-1]
    labels = [label[row] for label in read_labels(renderer.cohort, task)]
    if task.kind == "days":
        steps = range(case.start, case.end + 1) if task.per_visit else [case.end]
        values = [float(labels[0][step]) for step in steps]
    else:
        values = [config.soft_labels[int(label if label.ndim == 0 else label[case.end])] for label in labels]
    answer = write_answer(values, reasoning=config.reasoning, reply=config.reply)
    return Example(renderer.patient(case, variables=config.example_variables), answer, row)


def _candidates(renderer: Renderer) -> NDArray[np.intp]:
    """Return one training stay a subject, by record, with a visit in its window and known labels."""
    cohort, shots = renderer.cohort, renderer.config.shots
    known = np.ones(len(cohort), np.bool_)
    for label in read_labels(cohort, renderer.task):
        known &= ~np.isnan(label) if label.ndim == 1 else cohort.length > 0
    rows = sorted(
        {case.row for case in renderer.cases(renderer.train) if known[case.row]}, key=lambda r: cohort.record_id[r]
    )
    _, first = np.unique(cohort.subject_id[rows], return_index=True)
    found = np.array(rows, np.intp)[np.sort(first)]
    if shots > len(found):
        raise InputError(f"{shots} examples are asked for, but {len(found)} training subjects are there: ask for fewer")
    return found


def _nearest(renderer: Renderer) -> Callable[[int], list[int]]:
    """Return a function from a stay to the training stays that are like it in scaled static and first-visit values."""
    cohort, rows = renderer.cohort, _candidates(renderer)
    filled = Filler().fit(cohort, renderer.train).transform(cohort)
    points = np.hstack([filled.static, filled.values[:, 0]]).astype(np.float64)

    def find(row: int) -> list[int]:
        others = rows[cohort.subject_id[rows] != cohort.subject_id[row]]
        if renderer.config.shots > len(others):
            raise InputError(f"{renderer.config.shots} examples are asked for, but {len(others)} others: ask for fewer")
        distance = np.linalg.norm(points[others] - points[row], axis=1)
        return [int(one) for one in others[np.argsort(distance, kind="stable")[: renderer.config.shots]]]

    return find


def _written(renderer: Renderer) -> list[Example]:
    """Return the panel's own examples for the task, set in the layout of the prompt."""
    config, panel = renderer.config, renderer.panel
    name = "los" if renderer.task.kind == "days" else renderer.task.name
    found = [one for one in panel.examples if name in one.answers]
    if config.shots > len(found):
        raise InputError(
            f"{config.shots} examples by hand are asked for, but the panel {panel.name!r} has {len(found)} for the "
            f"task {name!r}: ask for fewer, or write some under 'examples' in a panel of your own"
        )
    examples = []
    for one in found[: config.shots]:
        shown = renderer.on(_cohort_of(one, renderer.cohort))
        [case] = shown.cases([0])[-1:]
        values = list(one.answers[name])
        if renderer.task.per_visit:
            values = values[case.start : case.end + 1]
        elif renderer.task.kind == "days":
            values = values[-1:]
        answer = write_answer(values, reasoning=config.reasoning, reply=config.reply)
        examples.append(Example(shown.patient(case, variables=len(one.values)), answer))
    return examples


def _cohort_of(example: PanelExample, like: Cohort) -> Cohort:
    """Return a cohort of one invented patient with the columns of another."""
    values = np.full((1, len(example.hours), len(like.features)), np.nan, np.float32)
    for name, numbers in example.values.items():
        values[0, :, like.feature_index(name)] = [np.nan if number is None else number for number in numbers]
    static = np.full((1, len(like.static_features)), np.nan, np.float32)
    for place, feature in enumerate(like.static_features):
        if feature.name == "age":
            static[0, place] = example.age
        elif feature.name == "sex" and example.sex in (levels := sex_levels(like) or ()):
            static[0, place] = levels.index(example.sex)
    return Cohort(
        record_id=np.zeros(1, int), subject_id=np.zeros(1, int), values=values,
        time=np.array([example.hours], np.float32),
        length=np.array([len(example.hours)]),
        features=like.features, static=static, static_features=like.static_features,
        anchor=None if like.anchor is None else np.array(["2020-01-01"], "datetime64[us]"),
    )  # fmt: skip
