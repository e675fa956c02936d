"""Fork while a run is open: the fork may neither write to the run nor release it: fork_run.py FOLDER."""

import os
import sys

from auscult.core.errors import InputError, RunLockedError
from auscult.core.runs import RunStore

with RunStore.open(sys.argv[1], config={}) as run:
    child = os.fork()
    if child == 0:
        try:
            run.put("from the fork", {})
        except InputError:
            run.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    run.put("from the driver", {})
    try:
        RunStore.open(sys.argv[1], config={})
    except RunLockedError:
        sys.exit(0)
sys.exit("the fork has released the run")
