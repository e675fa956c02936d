"""Runs in a process of their own, slowed down so that they can be killed in the middle: FOLDER PAUSE, ..."""

import sys
import time

import numpy as np

from auscult.o2m_attack import AttackConfig, Record, run
from auscult.o2m_attack.optimise import mcm
from auscult.o2m_attack.targets.tiny import tiny_llava

pause = 0.0
records = [
    Record(
        f"r{seed}", np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8), "CT and Chest",
        "MRI and Brain", "What colour is the marker?", "Which name is on the label?", "Matching", "name the label",
    )
    for seed in range(2)
]  # fmt: skip
iterate = mcm._Run._iterate


def slowly(self, state, clock):
    time.sleep(pause)
    return iterate(self, state, clock)


mcm._Run._iterate = slowly
config = AttackConfig(steps=8, search_width=8, topk=16, suffix_length=5, epsilon=8 / 255, new_tokens=6)
model = tiny_llava(vocabulary=400)
for folder, seconds in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    pause = float(seconds)
    run(model, records, folder, config=config, save_every_seconds=0)
