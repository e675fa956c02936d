"""A job of many small records, to be killed: run_job.py FOLDER LOG COUNT SEED.

Each key goes to the log, durably, before its record is computed and stored.
"""

import os
import random
import sys
import time

from auscult.core.runs import RunStore, record_key


def main(folder: str, log: str, count: str, seed: str) -> None:
    delays = random.Random(int(seed))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with RunStore.open(folder, config={"count": int(count)}, seed=0) as run:
        for number in range(int(count)):
            key = record_key(number)
            if key in run:
                continue
            os.write(file, f"{key}\n".encode())
            os.fsync(file)
            time.sleep(delays.uniform(0, 0.002))
            run.put(key, {"number": number, "text": "x" * (number % 300)})


if __name__ == "__main__":
    main(*sys.argv[1:])
