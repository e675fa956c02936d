"""Helpers that the tests of several distributions share: commands, imports, files, pages.

Everything here raises AssertionError with what was seen, so that it reads the same under any test runner. A
page in a real browser is in :mod:`auscult.core.testing.browser`.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from auscult.core.testing.pages import assert_self_contained

__all__ = [
    "Completed",
    "assert_one_sentence",
    "assert_self_contained",
    "files_below",
    "imported_modules",
    "run_command",
    "run_group",
]


@dataclass(frozen=True)
class Completed:
    """What a command answered."""

    returncode: int
    stdout: str
    stderr: str


def run_command(
    *args: str | Path,
    cwd: Path | None = None,
    input: str | None = None,
    timeout: float = 900,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command of the current environment and return what it answered, whatever its exit code.

    Parameters
    ----------
    args
        A console script installed beside this interpreter and its arguments, ``"m3fair", "demo"``; or
        arguments of the interpreter itself, ``"-m", "auscult.core"``.
    cwd
        The working folder.
    input
        Text for its stdin, which is empty otherwise.
    timeout
        Seconds after which it is killed.
    env
        Variables of its environment, beside those of this process.

    Raises
    ------
    AssertionError
        Where there is no such script.
    """
    program, *rest = map(str, args)
    if program.startswith("-"):
        command = [sys.executable, program, *rest]
    else:
        folder = Path(sys.executable).parent
        script = shutil.which(program, path=str(folder))
        assert script, f"no console script {program!r} in {folder}: is its distribution installed?"
        command = [script, *rest]
    done = subprocess.run(
        command, cwd=cwd, input=input or "", capture_output=True, timeout=timeout, encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"} | dict(env or {}), check=False,
    )  # fmt: skip
    return Completed(done.returncode, done.stdout, done.stderr)


def run_group(*args: str | Path, processes: int, cwd: Path | None = None) -> list[Completed]:
    """Run a command as every process of one torch group at once, and return what each answered.

    They get what ``torchrun`` would set, without its watch over processes, which a busy machine can fail.

    Parameters
    ----------
    args, cwd
        See :func:`run_command`.
    processes
        How many; process r has rank r.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    group["OMP_NUM_THREADS"] = "1"

    def run(rank: int) -> Completed:
        return run_command(*args, cwd=cwd, env=group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(run, range(processes)))


def assert_one_sentence(completed: Completed, *words: str) -> None:
    """Assert that a command refused its input in one sentence that holds each of the words.

    That is: exit code 2, nothing on stdout, and one line on stderr that starts with ``error:``.
    """
    lines = completed.stderr.strip().splitlines()
    assert completed.returncode == 2, f"exit code {completed.returncode}, expected 2: {completed}"
    assert completed.stdout == "", f"stdout is not empty: {completed.stdout!r}"
    assert len(lines) == 1, f"expected one line, got {len(lines)}:\n{completed.stderr}"
    assert lines[0].startswith("error: "), f"not an error sentence: {lines[0]!r}"
    missing = [word for word in words if word not in lines[0]]
    assert not missing, f"{missing} not in {lines[0]!r}"


def imported_modules(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter holds after a statement.

    Examples
    --------
    >>> "torch" in imported_modules("import auscult.core")
    False
    """
    done = run_command("-c", f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')")
    assert done.returncode == 0, f"{statement!r} failed:\n{done.stderr}"
    return set(done.stdout.split())


def files_below(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder by its relative path, to compare before and after.

    A folder that does not exist holds no files.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
