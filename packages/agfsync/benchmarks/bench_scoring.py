"""Judging pictures with BLIP-2: one vision pass a question, as the released code does it, or one a picture."""

import argparse
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from rows import store, to_rows

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.scoring.model_judge import BLIP2_PROMPT, Blip2Judge
from auscult.agfsync.testing import save_tiny_blip2
from auscult.core.testing.benchmark import load

QUESTIONS = [f"Is there a red circle number {i}?" for i in range(10)]


def one_by_one(judge: Any, images: list[Any]) -> None:
    """Answer as the released code does: picture and question together, one after the other."""
    for image in images:
        for question in QUESTIONS:
            inputs = judge._processor(images=image, text=[BLIP2_PROMPT.format(question=question)], return_tensors="pt")
            with torch.inference_mode():
                judge._model.generate(**inputs, do_sample=False, max_new_tokens=8)


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one picture, nothing stored: does it run?")
    chosen = parser.parse_args()
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(1 if chosen.quick else 4)
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_blip2(folder)
        judge = Blip2Judge(ScoreConfig(vqa="blip2", vqa_model=folder, device="cpu"))
        ways = {
            "one question at a time": lambda: one_by_one(judge, images),
            "agfsync": lambda: judge.ask(images, [QUESTIONS] * len(images)),
        }
        values: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(2 if chosen.quick else 6):
            for name, way in ways.items():
                begin = time.perf_counter()
                way()
                values[name].append(len(images) * len(QUESTIONS) / (time.perf_counter() - begin))
    found = to_rows("scoring, BLIP-2 of random weights, 10 questions a picture, CPU", "answers per second", "1/s",
                    {name: list(times[1:]) for name, times in values.items()}, note=load())  # fmt: skip
    if not chosen.quick:
        store(found)


if __name__ == "__main__":
    main()
