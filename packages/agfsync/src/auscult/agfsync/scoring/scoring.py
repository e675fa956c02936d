"""Stage 4: every picture gets its sub-scores once; they are weighted only when pairs are chosen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.images import open_image, pixel_hash
from auscult.agfsync.scoring.aesthetics import Aesthetic, make_aesthetic
from auscult.agfsync.scoring.clip import CLIPScorer
from auscult.agfsync.scoring.judges import Judge, make_judge
from auscult.core.errors import AuscultError, InputError
from auscult.core.progress import progress

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from auscult.core.runs import RunStore

SCORES = ("vqa", "clip", "aesthetic")


class Scorers:
    """The three scorers of a run; any may be left out.

    Parameters
    ----------
    judge, clip, aesthetic
        Each None where it is not wanted.
    """

    def __init__(self, judge: Judge | None, clip: CLIPScorer | None, aesthetic: Aesthetic | None) -> None:
        self._judge, self._clip, self._aesthetic = judge, clip, aesthetic

    @classmethod
    def load(cls, config: ScoreConfig) -> "Scorers":
        """Return the scorers that a configuration names."""
        return cls(
            make_judge(config),
            None if config.clip == "none" else CLIPScorer.load(config),
            make_aesthetic(config.aesthetic, config.aesthetic_head),
        )

    def score(
        self, images: "Sequence[Image]", captions: Sequence[str], questions: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        """Return ``vqa``, ``vqa_answers``, ``vqa_yes``, ``clip`` and ``aesthetic`` of each picture.

        A score is None where its scorer is left out; NaN is kept, and keeps the picture out of every pair.
        """
        rows: list[dict[str, Any]] = [{**dict.fromkeys(SCORES), "vqa_answers": [], "vqa_yes": []} for _ in images]
        if self._judge is not None:
            for row, verdict in zip(rows, self._judge.ask(images, questions), strict=True):
                row |= {"vqa": verdict.score, "vqa_answers": verdict.answers, "vqa_yes": verdict.yes}
        embeddings = None
        if self._clip is not None:
            embeddings = self._clip.embed_images(images)
            unique = list(dict.fromkeys(captions))
            texts = self._clip.embed_texts(unique)[[unique.index(caption) for caption in captions]]
            for row, value in zip(rows, self._clip.score(embeddings, texts), strict=True):
                row["clip"] = float(value)
        if self._aesthetic is not None:
            for row, value in zip(rows, self._aesthetic.rate(images, embeddings), strict=True):
                row["aesthetic"] = float(value)
        return rows


def score_candidates(
    candidates: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Sequence[Mapping[str, str]]],
    scorers: Scorers,
    *,
    folder: "Path",
    store: "RunStore",
    batch_size: int = 32,
) -> list[dict[str, Any]]:
    """Score the pictures that a store does not hold yet, and return the rows of all.

    Parameters
    ----------
    candidates
        Rows of stage 3: ``id``, ``k``, ``prompt``, ``path``, ``pixels``, ``black``.
    questions
        By id, the questions of stage 2.
    scorers
        Who scores.
    folder
        Where the candidates' paths begin.
    store
        Where rows go.
    batch_size
        Pictures a batch.

    Returns
    -------
    list of dict
        ``id, k, vqa, clip, aesthetic, vqa_answers, vqa_yes, extras``; a black picture has None for all. A picture with
        a question that failed has no VQA score; it is not stored, so that a next call asks again.

    Raises
    ------
    InputError
        A picture is missing, truncated, or another than its row says.
    AuscultError
        Every question failed.
    """
    keys = [f"{row['id']}/{row['k']}" for row in candidates]
    missing = set(store.missing(keys))
    unanswered: dict[str, dict[str, Any]] = {}
    todo = [row for key, row in zip(keys, candidates, strict=True) if key in missing]
    with progress("Scoring", len(todo)) as advance:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            good = [row for row in batch if not row["black"]]
            images = [_open(row, folder) for row in good]
            asked = [[item["question"] for item in questions.get(row["id"], [])] for row in good]
            found = scorers.score(images, [row["prompt"] for row in good], asked) if good else []
            by_key = {(row["id"], row["k"]): scores for row, scores in zip(good, found, strict=True)}
            with store.batch():
                for row in batch:
                    empty: dict[str, Any] = {**dict.fromkeys(SCORES), "vqa_answers": [], "vqa_yes": []}
                    scores = by_key.get((row["id"], row["k"]), empty)
                    extras = {"pixels": row["pixels"], "black": row["black"]}
                    record = {"id": row["id"], "k": row["k"], **scores, "extras": extras}
                    if "failed" in scores["vqa_answers"]:
                        unanswered[f"{row['id']}/{row['k']}"] = record
                    else:
                        store.put(f"{row['id']}/{row['k']}", record)
            advance(len(batch))
    rows = [unanswered[key] if key in unanswered else store[key] for key in keys]
    if unanswered and {answer for row in rows for answer in row["vqa_answers"]} == {"failed"}:
        raise AuscultError(
            f"the judge answered no question about {len(unanswered)} pictures: look at the server and start again"
        )
    return rows


def _open(row: Mapping[str, Any], folder: "Path") -> "Image":
    image = open_image(folder / row["path"])
    if pixel_hash(image) != row["pixels"]:
        raise InputError(
            f"{folder / row['path']} is another picture than it was: restore it, or begin with the candidates again"
        )
    return image
