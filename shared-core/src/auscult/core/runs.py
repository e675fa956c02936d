"""A run: one folder that keeps every record as soon as it is done and refuses to mix two configurations.

The folder holds ``manifest.json`` (what the run is), ``records.sqlite`` (what it has done, keyed by content
hash) and ``driver.lock``. One process, the driver, writes; any number may read meanwhile.

The lock is a SQLite lock on an empty file: a lock of the process, which the system takes back however the
process dies, and which a forked child does not inherit, so that an orphaned worker cannot hold the folder.
To open, copy or delete ``driver.lock`` from within the driver's process would defeat it.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from auscult.core import run_files
from auscult.core.canonical import difference, digest, finite, plain
from auscult.core.device import versions
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.files import replace_atomically

SCHEMA = 1
"""Version of the folder's layout, written to the manifest."""

_PAGE = 500
_OPENING = threading.Lock()


class RunStore(Mapping[str, dict[str, Any]]):
    """The records of a run: a mapping from key to record, in the order in which they were stored.

    Open one with :meth:`open` (the driver) or :meth:`read`. An empty store is false, as every empty
    mapping is: compare with None where a store is optional.

    A record is stored as JSON: what comes back has lists where tuples went in and numbers where numpy
    scalars did; NaN and infinities come back as they were. A stored record never changes, so a job with
    steps stores each step under a key of its own.

    Threads of the driver may share a store; forked or spawned processes may not.

    Examples
    --------
    >>> import tempfile
    >>> with RunStore.open(tempfile.mkdtemp(), config={"beta": 0.1}, seed=0) as run:
    ...     key = record_key("patient-7", "prompt")
    ...     if key not in run:
    ...         run.put(key, {"risk": 0.25})
    ...     run[key]
    {'risk': 0.25}
    """

    def __init__(self, folder: Path, database: sqlite3.Connection, lock: sqlite3.Connection | None) -> None:
        self.folder = folder
        self._database = database
        self._lock = lock
        self._pid = os.getpid()
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        config: object,
        seed: int | None = None,
        data_fingerprint: str | None = None,
        device: str | None = None,
        package: str = "auscult-core",
        mode: int = 0o666,
    ) -> "RunStore":
        """Start a run, or go on with the one in the folder, as its driver.

        Parameters
        ----------
        folder
            Created with its parents. It may hold other files. A local disk is the right place: over a
            network file system, only readers on the driver's own machine see the records while it runs.
        config
            What the records depend on: a dataclass, pydantic model or mapping. Leave out what does not
            change a result, such as the number of workers.
        seed, data_fingerprint
            Further things that must stay as they are; the fingerprint is any text that names the data.
        device, package
            Where it runs, and the distribution whose version and whose requirements' versions are noted, at
            every opening; these may change.
        mode
            Permission bits of new files, lessened by the umask; 0o600 keeps a run private.

        Raises
        ------
        RunLockedError
            Another driver, or this process already, has the folder open.
        RunMismatchError
            The folder belongs to another config, seed or data (the differences are listed), has lost its
            manifest, or is readable by others although ``mode`` forbids it.
        InputError
            The folder cannot be created or written.
        """
        folder = Path(folder)
        identity = {"config": plain(config), "seed": plain(seed), "data_fingerprint": data_fingerprint}
        installed = versions(package)
        with _OPENING, run_files.one_sentence(folder), contextlib.ExitStack() as undo:
            folder.mkdir(mode=mode | (mode & 0o444) >> 2, parents=True, exist_ok=True)
            for name in (run_files.LOCK, run_files.RECORDS):
                run_files.create(folder / name, mode)
            lock = undo.enter_context(contextlib.closing(run_files.take_lock(folder)))
            _refuse_public_files(folder, mode)
            database = undo.enter_context(contextlib.closing(run_files.open_records(folder)))
            run = cls(folder, database, lock)
            if not run._is_continued(identity):
                manifest = {
                    "schema": SCHEMA, "created": run_files.now(), "config_digest": digest(config), **identity,
                    "device": device, "versions": installed,
                }  # fmt: skip
                run_files.write_manifest(folder, manifest, mode)
            run_files.note_driver(database, device, installed)
            undo.pop_all()
        return run

    @classmethod
    def read(cls, folder: str | Path) -> "RunStore":
        """Open a run for reading, also while its driver is writing.

        Raises
        ------
        InputError
            There is no run in the folder, it cannot be read, or another version made it.
        """
        folder = Path(folder)
        with run_files.one_sentence(folder):
            manifest = run_files.read_manifest(folder)
            if manifest is None:
                raise InputError(f"{folder} holds no run (no valid {run_files.MANIFEST}): give the folder of a run")
            _refuse_other_layout(folder, manifest)
            return cls(folder, run_files.open_records_for_reading(folder), lock=None)

    def close(self) -> None:
        """Release the folder; a second call does nothing."""
        if os.getpid() == self._pid:  # a forked child has a copy of this object, but not the run
            self._database.close()
            if self._lock is not None:
                self._lock.close()

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of ``manifest.json``.

        Keys: schema, created, config_digest, config, seed, data_fingerprint, device, versions.
        """
        manifest = run_files.read_manifest(self.folder)
        if manifest is None:
            raise InputError(f"{self.folder / run_files.MANIFEST} is missing or damaged: restore it")
        return manifest

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Store a record; when this returns, the record outlives the death of the process.

        Raises
        ------
        InputError
            The key is stored already, the record is no mapping or holds what JSON cannot hold, or the run
            was opened for reading.
        """
        self._refuse_writing_unless_driver()
        text = _record_text(key, record)
        with self._mutex, run_files.one_sentence(self.folder):
            try:
                self._database.execute("INSERT INTO records (key, record) VALUES (?, ?)", (key, text))
            except sqlite3.IntegrityError as error:
                raise InputError(f"record {key!r} is in {self.folder} already: a record is put once") from error

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Store the records put inside together: all of them, or none if the block does not end well."""
        self._refuse_writing_unless_driver()
        with self._mutex:
            self._query("BEGIN IMMEDIATE")
            try:
                yield
                self._query("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._query("ROLLBACK")

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that are not stored yet, each once, in the order given."""
        wanted = list(dict.fromkeys(keys))
        stored: set[str] = set()
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            marks = ",".join("?" * len(page))
            stored.update(key for (key,) in self._query(f"SELECT key FROM records WHERE key IN ({marks})", *page))
        return [key for key in wanted if key not in stored]

    def items(self) -> ItemsView[str, dict[str, Any]]:
        """Return the pairs of key and record, in the order in which they were stored."""
        return _Items(self)

    def export_jsonl(self, path: str | Path, keys: Iterable[str] | None = None) -> None:
        """Write one JSON line a record, its key as ``record_key`` first; NaN and infinities become null.

        Parameters
        ----------
        path
            Replaced in one step.
        keys
            Which records, in which order; all, as they were stored, if None. Parallel and asynchronous jobs
            store in the order of completion: give their keys in the order of the input for equal files.
        """

        def write(partial: Path) -> None:
            with self._create_export(partial) as file:
                for row in self._rows(keys):
                    file.write(_dumps(finite(row)).encode() + b"\n")

        with run_files.one_sentence(Path(path)):
            replace_atomically(Path(path), write)

    def export_parquet(self, path: str | Path, keys: Iterable[str] | None = None) -> None:
        """Write one row a record and one column a field, its key as ``record_key`` first.

        A field that a record lacks is null. A field that holds mappings, or whose values have no common type,
        is written as JSON text. All records are held in memory. ``path`` and ``keys`` as in
        :meth:`export_jsonl`.
        """
        import pyarrow
        import pyarrow.parquet

        def column(values: list[Any]) -> pyarrow.Array:
            with contextlib.suppress(pyarrow.ArrowException, OverflowError):
                array = pyarrow.array(values)
                if "struct<" not in str(array.type):
                    return array
            return pyarrow.array([None if value is None else _dumps(finite(value)) for value in values])

        def write(partial: Path) -> None:
            rows = list(self._rows(keys))
            names = dict.fromkeys(["record_key", *(name for row in rows for name in row)])
            table = pyarrow.table({name: column([row.get(name) for row in rows]) for name in names})
            with self._create_export(partial) as file:
                pyarrow.parquet.write_table(table, file)

        with run_files.one_sentence(Path(path)):
            replace_atomically(Path(path), write)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bool(self._query("SELECT 1 FROM records WHERE key = ?", key))

    def __getitem__(self, key: str) -> dict[str, Any]:
        rows = self._query("SELECT record FROM records WHERE key = ?", key)
        if not rows:
            raise KeyError(key)
        record: dict[str, Any] = json.loads(rows[0][0])
        return record

    def __len__(self) -> int:
        return int(self._query("SELECT count(*) FROM records")[0][0])

    def __iter__(self) -> Iterator[str]:
        return (key for _, key in self._walk("key"))

    def __repr__(self) -> str:
        return f"<RunStore {str(self.folder)!r}>"

    def _query(self, statement: str, *values: object) -> list[Any]:
        with self._mutex, run_files.one_sentence(self.folder):
            return self._database.execute(statement, values).fetchall()

    def _walk(self, columns: Literal["key", "key, record"]) -> Iterator[Any]:
        """Go through the table in pages: one long read would keep the driver's write-ahead log growing."""
        page = f"SELECT position, {columns} FROM records WHERE position > ? ORDER BY position LIMIT {_PAGE}"
        last = 0
        while rows := self._query(page, last):
            yield from rows
            last = rows[-1][0]

    def _rows(self, keys: Iterable[str] | None) -> Iterator[dict[str, Any]]:
        if keys is None:
            return ({"record_key": key, **record} for key, record in self.items())
        wanted = list(keys)
        if absent := self.missing(wanted):
            raise InputError(f"{self.folder} has no record {absent[0]!r}: export stored keys only")
        return ({"record_key": key, **self[key]} for key in wanted)

    def _is_continued(self, identity: dict[str, Any]) -> bool:
        """Whether the folder has this run already; refuses a folder that has another."""
        old = run_files.read_manifest(self.folder)
        if old is None:
            if len(self):
                raise RunMismatchError(
                    f"{self.folder} holds {len(self)} records but no valid {run_files.MANIFEST}: "
                    "restore the manifest, or choose another folder"
                )
            return False
        _refuse_other_layout(self.folder, old)
        if changes := difference({name: old.get(name) for name in identity}, identity):
            raise RunMismatchError(
                f"{self.folder} belongs to another run: {'; '.join(changes)} (old -> new): "
                "give the old values to go on with it, or choose another folder"
            )
        return True

    def _refuse_writing_unless_driver(self) -> None:
        if self._lock is None or os.getpid() != self._pid:
            raise InputError(f"only the process that called RunStore.open on {self.folder} writes to it")

    @contextlib.contextmanager
    def _create_export(self, path: Path) -> Iterator[IO[bytes]]:
        """Open a file for writing that is as private as the records."""
        run_files.create(path, (self.folder / run_files.RECORDS).stat().st_mode & 0o666)
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


class _Items(ItemsView[str, dict[str, Any]]):
    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self._store = store

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((key, json.loads(text)) for _, key, text in self._store._walk("key, record"))


def record_key(*parts: object) -> str:
    """Return the content hash (64 hex digits) of what a record depends on.

    Equal parts give equal keys on every machine, whatever the order of their mappings' keys.

    Examples
    --------
    >>> record_key("patient-7", {"model": "m", "seed": 0}) == record_key("patient-7", {"seed": 0, "model": "m"})
    True
    """
    return digest(parts)


def _refuse_other_layout(folder: Path, manifest: Mapping[str, Any]) -> None:
    if manifest.get("schema") != SCHEMA:
        raise RunMismatchError(
            f"{folder} has layout {manifest.get('schema')}, but this version of auscult-core uses {SCHEMA}: "
            "use the version that made it, or choose another folder"
        )


def _refuse_public_files(folder: Path, mode: int) -> None:
    if os.name == "posix" and (folder / run_files.RECORDS).stat().st_mode & 0o666 & ~mode:
        raise RunMismatchError(
            f"others may read or write {folder / run_files.RECORDS}, but mode {mode:o} is asked for: "
            "narrow the files' permissions, or choose another folder"
        )


def _record_text(key: object, record: object) -> str:
    if not isinstance(key, str) or not isinstance(record, Mapping):
        given = f"{type(key).__name__} and {type(record).__name__}"
        raise InputError(f"a record is put as a text key and a mapping, not {given}: see record_key")
    for name in record:
        if not isinstance(name, str) or name == "record_key":
            raise InputError(
                f"record {key!r} has a field {name!r}: a field's name is text, and not 'record_key', "
                "which names the key in exports"
            )
    return _dumps(plain(record))


def _dumps(value: Any) -> str:
    """Return JSON text that UTF-8 can hold: a lone surrogate, as broken model output has it, is escaped."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
