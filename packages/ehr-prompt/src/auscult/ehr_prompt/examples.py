"""Which training patients are shown as examples."""

import numpy as np
from numpy.typing import NDArray

from auscult.core.data.fill import Filler
from auscult.core.data.splits import few_shot
from auscult.core.errors import InputError
from auscult.ehr_prompt.rendering import Renderer
from auscult.ehr_prompt.tasks import read_labels


def choose_examples(renderer: Renderer, row: int | None = None) -> list[int]:
    """Return the stays to show: ``shots`` many, one stay a subject, all with something in their window.

    Parameters
    ----------
    renderer
        Its configuration says how many and by which rule.
    row
        The stay in question, which the rule ``nearest`` goes by.

    Raises
    ------
    InputError
        There are fewer suitable training subjects than shots, or ``balanced`` has no classes to balance.
    """
    cohort, config = renderer.cohort, renderer.config
    if not config.shots:
        return []
    with_visits = [case.row for case in renderer.cases(renderer.train)]
    if row is not None:
        with_visits = [other for other in with_visits if cohort.subject_id[other] != cohort.subject_id[row]]
    rows = np.array(sorted(set(with_visits), key=lambda r: cohort.record_id[r]), np.intp)
    _, first = np.unique(cohort.subject_id[rows], return_index=True)
    rows = rows[np.sort(first)]
    if config.shots > len(rows):
        raise InputError(
            f"{config.shots} examples are asked for, but {len(rows)} training subjects are there: ask for fewer"
        )
    if config.examples == "nearest":
        if row is None:
            raise InputError("nearest examples belong to one patient: name the stay in question")
        distance = _distances(renderer, rows, row)
        return [int(one) for one in rows[np.argsort(distance, kind="stable")[: config.shots]]]
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


def _distances(renderer: Renderer, rows: NDArray[np.intp], row: int) -> NDArray[np.float64]:
    """Return the Euclidean distance of scaled static and first-visit values; nothing later counts."""
    cohort = renderer.cohort
    filled = Filler().fit(cohort, renderer.train).transform(cohort)
    points = np.hstack([filled.static, filled.values[:, 0]]).astype(np.float64)
    return np.asarray(np.linalg.norm(points[rows] - points[row], axis=1))
