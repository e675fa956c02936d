"""The files of a run folder: how they are created, locked, opened, and what to say when that fails."""

import contextlib
import datetime
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auscult.core.errors import AuscultError, InputError, RunLockedError
from auscult.core.files import replace_atomically

MANIFEST, RECORDS, LOCK = "manifest.json", "records.sqlite", "driver.lock"

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS drivers (pid INTEGER, host TEXT, opened TEXT, device TEXT, versions TEXT);
COMMIT;
"""


def create(path: Path, mode: int) -> None:
    """Create an empty file with its permission bits from the start, unless it is there.

    A file that is there is not even opened: closing it would drop every lock this process has on it (POSIX).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))


def take_lock(folder: Path) -> sqlite3.Connection:
    """Return a connection whose open transaction is the driver's lock on the folder."""
    lock = _connect(folder / LOCK, timeout=0.0)
    try:
        lock.execute("PRAGMA journal_mode=MEMORY")  # no journal file beside the lock
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        lock.close()
        if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        holder = _holder(folder)
        raise RunLockedError(
            f"{folder} is being written by {holder}: wait for it, stop it, or choose another folder"
        ) from error
    return lock


def open_records(folder: Path) -> sqlite3.Connection:
    """Open the records for writing, with their tables."""
    database = _connect(folder / RECORDS)
    try:
        # In WAL mode readers never wait; NORMAL survives the death of the process at any moment (a power
        # failure may cost the last records, never the file).
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_TABLES)
    except BaseException:
        database.close()
        raise
    return database


def open_records_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the records for reading, also in a folder that cannot be written, where WAL mode fails."""
    path = folder / RECORDS
    try:
        return _connect_readonly(path, "mode=ro")
    except sqlite3.OperationalError:
        # An immutable view would miss the records that are still in the write-ahead log.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connect_readonly(path, "mode=ro&immutable=1")


def note_driver(database: sqlite3.Connection, device: str | None, versions: dict[str, Any]) -> None:
    """Add this process to the list of drivers; the last one is whom :func:`take_lock` names."""
    driver = (os.getpid(), socket.gethostname(), now(), device, json.dumps(versions))
    database.execute("INSERT INTO drivers VALUES (?, ?, ?, ?, ?)", driver)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, or None where it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def write_manifest(folder: Path, manifest: dict[str, Any], mode: int) -> None:
    """Write the manifest in one step, and remove what a killed process left of one."""

    def write(partial: Path) -> None:
        create(partial, mode)
        with partial.open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())

    for leftover in folder.glob(".manifest.*.part.json"):
        leftover.unlink()
    replace_atomically(folder / MANIFEST, write)


def now() -> str:
    """Return the time as ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def one_sentence(place: Path) -> Iterator[None]:
    """Turn what the system or SQLite reports into one sentence with the reason and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            raise AuscultError(
                f"no space is left for {place}: free some and start again, what was stored is kept"
            ) from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            raise InputError(f"{place} cannot be used ({error}): choose a folder that can be written") from error
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise InputError(f"the records in {place} are damaged ({error}): choose another folder") from error
        raise AuscultError(f"the records in {place} could not be used: {error}") from error
    except OSError as error:
        at = error.filename or place
        raise InputError(f"{at} cannot be used ({error.strerror}): choose a place that can be written") from error


def _holder(folder: Path) -> str:
    try:
        with contextlib.closing(open_records_for_reading(folder)) as database:
            last = "SELECT pid, host, opened FROM drivers ORDER BY rowid DESC LIMIT 1"
            pid, host, opened = database.execute(last).fetchone()
    except (sqlite3.Error, TypeError):  # it is about to create the tables
        return "another process"
    return f"process {pid} on {host} (since {opened})"


def _connect(path: Path, timeout: float = 30.0) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def _connect_readonly(path: Path, query: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{query}"
    database = sqlite3.connect(uri, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("SELECT 1 FROM records LIMIT 1").fetchall()
    except BaseException:
        database.close()
        raise
    return database
