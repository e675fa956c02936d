"""Open a run as its driver, say so, and stay until stdin ends: hold_run.py FOLDER [fork]."""

import os
import sys

from auscult.core.runs import RunStore

with RunStore.open(sys.argv[1], config={}) as run:
    run.put("first", {"value": 1})
    if "fork" in sys.argv:
        os.fork()  # parent and child both go on to wait; the test kills the parent
    os.write(sys.stdout.fileno(), b"ready\n")  # one write: print may make two, and those of a fork mingle
    sys.stdin.read()
    os._exit(0)
