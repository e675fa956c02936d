"""Writing a file so that no reader ever sees half of it."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there in one step.

    Whatever happens while writing, ``path`` holds either its old content or all of the new.

    Parameters
    ----------
    path
        The file to create or replace; its folder is created.
    write
        Called with the temporary path, which keeps ``path``'s suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
