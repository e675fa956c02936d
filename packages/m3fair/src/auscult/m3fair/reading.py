"""Columns of CSV, parquet, Arrow and JSON lines files, block by block, with sentences for what is wrong with a file.

CSV fields stay text, so that groups are the values as they stand in the file; only an empty field is missing.
Text is never evaluated.
"""

import bz2
import codecs
import csv
import glob
import gzip
import io
import lzma
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet as pq

from auscult.core.errors import InputError
from auscult.m3fair.engine import LARGEST_WEIGHT

BLOCK_BYTES = 1 << 24
BLOCK_ROWS = 1 << 20
_OPEN: dict[str, Callable[[Path], IO[bytes]]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}  # type: ignore[dict-item]
_DELIMITER = {".csv": ",", ".tsv": "\t"}
_KIND = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".jsonl": "json",
    ".ndjson": "json",
}  # fmt: skip
_ROUNDED = 0.02
"""How far two probabilities of a row, each written with two decimals, may be from a sum of 1."""
_BRACKETED = re.compile(r"\[\s*([^\s,\[\]]+)(?:(?:\s*,\s*|\s+)([^\s,\[\]]+))?\s*\]")


def find_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that names and glob patterns stand for, in the order given, each pattern's sorted.

    Raises
    ------
    InputError
        For a pattern without a file, and a file that is named twice.
    """
    found: list[Path] = []
    seen: dict[Path, str] = {}
    for pattern in patterns:
        path = Path(pattern)
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
        if not matches:
            raise InputError(f"there is no file {pattern!r}: check the path or the pattern")
        folders = [match for match in matches if match.is_dir()]
        if folders:
            raise InputError(
                f"{str(folders[0])!r} is a folder: name its files, for example {str(folders[0] / '*.csv')!r}"
            )
        for match in matches:
            if match.resolve() in seen:
                other = seen[match.resolve()]
                raise InputError(
                    f"{str(match)!r} is read twice, for {other!r} and for {pattern!r}: name each file once"
                )
            seen[match.resolve()] = pattern
        found.extend(matches)
    return found


def read_blocks(files: Sequence[Path], columns: Sequence[str]) -> Iterator[dict[str, pa.ChunkedArray]]:
    """Yield the columns of files in row order, a block of rows at a time.

    Parameters
    ----------
    files
        ``.csv``, ``.tsv`` or ``.jsonl`` (also ``.gz``, ``.xz``, ``.bz2``), ``.parquet``, ``.arrow`` or ``.feather``.
    columns
        The columns to read; duplicates are read once.

    Raises
    ------
    InputError
        For an unknown format, a missing column, bytes that are not UTF-8, rows of different lengths, a
        truncated or empty file.
    """
    names = list(dict.fromkeys(columns))
    for path in files:
        kind, opener = _format(path)
        with _explained(path):
            if kind in _BINARY:
                yield from _BINARY[kind](path, names)
            elif kind == "json":
                yield from _read_json(path, names, opener)
            else:
                yield from _read_csv(path, names, kind, opener)


def read_frame(files: Sequence[Path], *, text: Sequence[str] = ()) -> Any:
    """Return all columns of files as a pandas frame.

    Parameters
    ----------
    files
        As for :func:`read_blocks`; the columns are those of the first file.
    text
        Columns that stay as they stand in the file; another text column of nothing but numbers becomes numbers.
    """
    import pandas as pd

    columns = column_names(files[0])
    blocks = [
        pd.DataFrame({name: _plain(block[name]).to_pandas() for name in columns})
        for block in read_blocks(files, columns)
    ]
    frame = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=columns)
    for name in columns:
        if name not in text and not pd.api.types.is_numeric_dtype(frame[name]):
            numbers = pd.to_numeric(frame[name], errors="coerce")
            if (numbers.notna() == frame[name].notna()).all():
                frame[name] = numbers
    return frame


def column_names(path: Path) -> list[str]:
    """Return the column names of a file in one of the formats of :func:`read_blocks`."""
    kind, opener = _format(path)
    with _explained(path):
        if kind == "parquet":
            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names)
        if kind == "arrow":
            with pa.OSFile(str(path)) as source:
                return list(pa.ipc.open_file(source).schema.names)
        if kind == "json":
            with opener(path) as file, _open_json(path, file, opener) as reader:
                return list(reader.schema.names)
        return _header(path, kind, opener)


def to_numbers(column: Any, name: str) -> npt.NDArray[np.float64]:
    """Return a column (n,) of numbers or of their texts as float64; missing is NaN.

    Raises
    ------
    InputError
        For text that is not a number.
    """
    array = _plain(column)
    if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        try:
            return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"the column {name!r} holds {array.type}, not numbers") from None
    array = pc.utf8_trim_whitespace(array)
    try:
        return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        return np.array([np.nan if text is None else _number(text, name, "numbers") for text in array.to_pylist()])


def to_weights(column: Any, name: str) -> npt.NDArray[np.float64]:
    """Return a column (n,) of prior weights as float64.

    Raises
    ------
    InputError
        For text that is not a number, and for negative, missing and infinite weights.
    """
    weights = to_numbers(column, name)
    bad = weights[~((weights >= 0) & (weights <= LARGEST_WEIGHT))]
    if len(bad):
        raise InputError(
            f"the column {name!r} has the weight {bad[0]:g} ({len(bad)} such): "
            f"weights must be finite, from 0 to {LARGEST_WEIGHT:g}"
        )
    return weights


def to_scores(column: Any, name: str) -> npt.NDArray[np.float64]:
    """Return a column of scores (n,): numbers, their texts, or class probabilities in brackets.

    ``[0.2, 0.8]`` and ``[0.2 0.8]`` stand for the probability of the second class, ``[0.8]`` for itself.
    Nothing is evaluated.

    Raises
    ------
    InputError
        For any other text, probabilities that lie outside 0 to 1 or do not sum to 1, and missing or infinite scores.
    """
    array = _plain(column)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        texts = array.to_pylist()
        if any(text is not None and text.lstrip().startswith("[") for text in texts):
            scores = np.array([np.nan if text is None else _bracketed(text, name) for text in texts])
        else:
            scores = to_numbers(array, name)
    else:
        scores = to_numbers(array, name)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise InputError(f"the column {name!r} has {len(bad)} missing or infinite scores: drop or fill these rows")
    return scores


def _bracketed(text: str, name: str) -> float:
    match = _BRACKETED.fullmatch(text.strip())
    if match is None:
        return _number(text, name, "numbers or '[p0, p1]'")
    parts = [_number(part, name, "numbers or '[p0, p1]'") for part in match.groups() if part is not None]
    if any(part < 0 or part > 1 for part in parts) or (len(parts) == 2 and abs(sum(parts) - 1) > _ROUNDED):
        raise InputError(
            f"the column {name!r} holds {text.strip()!r}, which are no class probabilities: give '[p0, p1]' of sum 1"
        )
    return parts[-1]


def _number(text: str, name: str, wanted: str) -> float:
    if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*nan\s*", text, re.ASCII | re.IGNORECASE):
        return float(text)
    shown = text if len(text) <= 40 else text[:40] + "..."
    raise InputError(f"the column {name!r} holds {shown!r}, which is not a number: give {wanted}")


def _plain(column: Any) -> Any:
    array = column.to_arrow() if hasattr(column, "to_arrow") else column
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _format(path: Path) -> tuple[str, Callable[[Path], IO[bytes]]]:
    """Return the delimiter of a text file or the kind of another, and what opens it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in _OPEN else ""
    suffix = suffixes[-1] if suffixes else ""
    kind = _DELIMITER.get(suffix) or _KIND.get(suffix)
    if kind is None or (packed and kind in _BINARY):
        raise InputError(
            f"{str(path)!r} has an unknown format: "
            "name it .csv, .tsv or .jsonl (also .gz, .xz, .bz2), .parquet or .arrow"
        )
    return kind, _OPEN.get(packed, _open_plain)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the readers raise about a file into a sentence."""
    try:
        yield
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{str(path)!r} cannot be unpacked ({error}): it is truncated or damaged") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {_first_line(error)}") from None
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror or _first_line(error)}") from None


def _header(path: Path, delimiter: str, opener: Callable[[Path], IO[bytes]]) -> list[str]:
    with opener(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        try:
            header = next(filter(None, csv.reader(text, delimiter=delimiter)), None)
        except UnicodeDecodeError:
            raise _not_utf8(path, opener) from None
        except csv.Error as error:
            raise InputError(f"{str(path)!r} has no header line: {error}; is there a quote without its end?") from None
    if not header:
        raise InputError(f"{str(path)!r} is empty: it needs a header line and rows")
    return header


def _read_csv(
    path: Path, columns: list[str], delimiter: str, opener: Callable[[Path], IO[bytes]]
) -> Iterator[dict[str, pa.ChunkedArray]]:
    header = _header(path, delimiter, opener)
    _check_columns(path, header, columns)
    with opener(path) as file:
        source = _Utf8(file)
        try:
            reader = pyarrow.csv.open_csv(
                source,
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types={name: pa.string() for name in columns},
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
            try:
                for batch in reader:
                    yield {name: pa.chunked_array([batch.column(name)]) for name in columns}
            finally:
                del reader
                _wait_for_release(source)
        except UnicodeDecodeError:
            raise _not_utf8(path, opener) from None
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise


def _wait_for_release(source: io.RawIOBase) -> None:
    """Wait until Arrow's threads have let go of a file: one that needs Python while Python ends aborts the process."""
    # Held here by the caller, by this call and by the call that counts.
    deadline = time.monotonic() + 1
    while sys.getrefcount(source) > 3 and time.monotonic() < deadline:
        time.sleep(0.001)


class _Utf8(io.RawIOBase):
    """A file whose bytes are checked while they are read: also those of columns that nobody asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if not data.isascii() or self._decoder.getstate()[0]:
            self._decoder.decode(data, final=not data)
        return data


def _read_parquet(path: Path, columns: list[str]) -> Iterator[dict[str, pa.ChunkedArray]]:
    with pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names, columns)
        for batch in file.iter_batches(BLOCK_ROWS, columns=columns):
            yield {name: pa.chunked_array([batch.column(name)]) for name in columns}


def _read_arrow(path: Path, columns: list[str]) -> Iterator[dict[str, pa.ChunkedArray]]:
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        _check_columns(path, reader.schema.names, columns)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield {name: pa.chunked_array([batch.column(name)]) for name in columns}


_BINARY = {"parquet": _read_parquet, "arrow": _read_arrow}


def _open_json(path: Path, file: IO[bytes], opener: Callable[[Path], IO[bytes]]) -> Any:
    try:
        return pyarrow.json.open_json(_Utf8(file), read_options=pyarrow.json.ReadOptions(block_size=BLOCK_BYTES))
    except UnicodeDecodeError:
        raise _not_utf8(path, opener) from None
    except pa.ArrowInvalid as error:
        if "Empty JSON" in str(error):
            raise InputError(f"{str(path)!r} is empty: it needs rows") from None
        raise


def _read_json(
    path: Path, columns: list[str], opener: Callable[[Path], IO[bytes]]
) -> Iterator[dict[str, pa.ChunkedArray]]:
    with opener(path) as file, _open_json(path, file, opener) as reader:
        _check_columns(path, reader.schema.names, columns)
        try:
            for batch in reader:
                yield {name: pa.chunked_array([batch.column(name)]) for name in columns}
        except UnicodeDecodeError:
            raise _not_utf8(path, opener) from None


def _check_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in there:
            raise InputError(f"{str(path)!r} has no column {name!r}; it has {', '.join(map(repr, there))}")
        if list(there).count(name) > 1:
            raise InputError(f"{str(path)!r} has several columns called {name!r}: rename all but one")


def _not_utf8(path: Path, opener: Callable[[Path], IO[bytes]]) -> InputError:
    with opener(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return InputError(f"{str(path)!r} is not UTF-8: byte 0x{byte:02x} in line {number}; save it as UTF-8")
    return InputError(f"{str(path)!r} is not UTF-8: save it as UTF-8")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
