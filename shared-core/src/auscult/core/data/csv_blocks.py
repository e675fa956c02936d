"""A large CSV file as Arrow batches: unpacked on one thread, parsed on others, only the rows that are wanted.

Unpacking takes one core, so it must not be done twice: rows are counted on the way.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

_BLOCK = 1 << 20  # stays in the cache of a core
_NO_QUOTES = pacsv.ParseOptions(quote_char=False)
# A quoted cell that is longer than this has lost its end.
_LONGEST_CELL = 1 << 26


class CsvBlocks:
    """The rows of a CSV file of RFC 4180 with a header, to be read once.

    Parameters
    ----------
    path
        ``.csv`` or ``.csv.gz``, UTF-8.
    header
        Its column names, each once.
    types
        Column -> type, of those to read.
    only
        A column, and the values of it that are wanted; None reads all rows.
    threads
        That parse, beside the one that unpacks.

    Attributes
    ----------
    rows : int
        How many there are in what was read so far, those that were not wanted included.
    error : Exception or None
        What was wrong with the file.
    """

    def __init__(
        self,
        path: Path,
        header: Sequence[str],
        types: Mapping[str, pa.DataType],
        only: tuple[str, Sequence[Any]] | None,
        *,
        threads: int,
    ) -> None:
        self.path, self.header, self.types, self.threads = path, list(header), dict(types), threads
        self._column = only[0] if only else ""
        self._wanted = pa.array(only[1], self.types[only[0]]) if only else None
        self.rows = 0
        self.error: Exception | None = None

    def reader(self) -> pa.RecordBatchReader:
        """Return the wanted rows, in the order of the file; a cell, line or file that is not as declared ends it."""
        return pa.RecordBatchReader.from_batches(pa.schema(self.types), self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        waiting: deque[Future[tuple[int, pa.Table]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for block in _whole_lines(self.path):
                    waiting.append(pool.submit(self._parse, block))
                    if len(waiting) > self.threads:
                        yield from self._done(waiting)
                while waiting:
                    yield from self._done(waiting)
            except (pa.ArrowException, OSError) as error:
                self.error = error
                raise
            finally:
                for parsing in waiting:
                    parsing.cancel()

    def _done(self, waiting: "deque[Future[tuple[int, pa.Table]]]") -> list[pa.RecordBatch]:
        rows, table = waiting.popleft().result()
        self.rows += rows
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches

    def _parse(self, block: bytes) -> tuple[int, pa.Table]:
        """Return the number of rows of a block, and those that are wanted."""
        table = pacsv.read_csv(
            pa.BufferReader(block),
            read_options=pacsv.ReadOptions(column_names=self.header, use_threads=False, block_size=2 * _LONGEST_CELL),
            parse_options=pacsv.ParseOptions(newlines_in_values=True) if b'"' in block else _NO_QUOTES,
            convert_options=pacsv.ConvertOptions(
                column_types=self.types, include_columns=list(self.types), null_values=[""], strings_can_be_null=True
            ),
        )
        if self._wanted is None:
            return table.num_rows, table
        return table.num_rows, table.filter(pc.is_in(table[self._column], self._wanted))


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield a file after its header, unpacked, in blocks that end where a line does."""
    rest, in_header = b"", True
    with pa.input_stream(str(path)) as file:
        while chunk := file.read(_BLOCK):
            data = rest + chunk
            if in_header:
                end = _line_end(data, data.find)
                if end == 0:
                    rest = data
                    continue
                data, in_header = data[end:], False
            end = _line_end(data, data.rfind)
            if end == 0 and len(data) > _LONGEST_CELL:
                raise pa.ArrowInvalid("a quote is never closed")
            if end:
                yield data[:end]
            rest = data[end:]
    if rest and not in_header:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _line_end(data: bytes, search: Any) -> int:
    """Return the place after the first or last line break (``find`` or ``rfind``) outside quotes, 0 if none is."""
    end = search(b"\n")
    if b'"' not in data:
        return int(end) + 1
    while end >= 0 and data.count(b'"', 0, end) % 2:
        end = search(b"\n", end + 1) if search == data.find else search(b"\n", 0, end)
    return int(end) + 1
