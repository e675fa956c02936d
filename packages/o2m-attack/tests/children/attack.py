"""A run in a process of its own, slowed down so that it can be killed in the middle: FOLDER PAUSE."""

import sys
import time

import numpy as np

from auscult.o2m_attack import AttackConfig, Record, run
from auscult.o2m_attack.optimise import mcm
from auscult.o2m_attack.targets.tiny import tiny_llava

records = [
    Record(
        f"r{seed}", np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8), "CT and Chest",
        "MRI and Brain", "What colour is the marker?", "Which name is on the label?", "Matching", "name the label",
    )
    for seed in range(2)
]  # fmt: skip
config = AttackConfig(steps=8, search_width=8, topk=16, suffix_length=5, epsilon=8 / 255, new_tokens=6)


def attack(folder):
    """Run, saving a state after every iteration."""
    run(tiny_llava(vocabulary=400), records, folder, config=config, save_every_seconds=0)


if __name__ == "__main__":
    iterate = mcm._Run._iterate

    def slowly(self, state, clock):
        """Iterate after a pause."""
        time.sleep(float(sys.argv[2]))
        return iterate(self, state, clock)

    mcm._Run._iterate = slowly
    attack(sys.argv[1])
