"""A driver with two workers: drive_workers.py FOLDER FIFO; stores one record, then its workers hang."""

import sys

import record_jobs

from auscult.core import errors
from auscult.core.parallel import map_records
from auscult.core.runs import RunStore

if __name__ == "__main__":
    with RunStore.open(sys.argv[1], config={}) as run:
        map_records(record_jobs.square, {"first": 1}, store=run, workers=2)
        print("ready", flush=True)
        try:
            map_records(record_jobs.touch_fifo_and_hang, {str(n): sys.argv[2] for n in range(8)}, workers=2)
        except KeyboardInterrupt:
            sys.exit(130)
        except errors.AuscultError as error:
            sys.exit(str(error))
