import csv
import gzip
import io
import random

import pyarrow as pa
import pytest

from auscult.core.data import csv_blocks
from auscult.core.data.csv_blocks import CsvBlocks

HEADER = ["code", "words", "number"]
TYPES = {"words": pa.string(), "code": pa.int64(), "number": pa.float64()}


def written(path, draw, rows, *, line_end="\n", quoting=csv.QUOTE_MINIMAL):
    """Write rows of a code, a text with all that a CSV file must quote, and a number; return them as read."""
    parts = ["a", ",", '"', "\n", "\r\n", "µ", " "]
    made = [
        (draw.randrange(4), "".join(draw.choices(parts, k=draw.randrange(6))) or None, draw.choice([None, 0.5, -3.0]))
        for _ in range(rows)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)
    writer.writerow(HEADER)
    writer.writerows(["" if cell is None else cell for cell in row] for row in made)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return made


def read(path, only=None, threads=2):
    blocks = CsvBlocks(path, HEADER, TYPES, only, threads=threads)
    table = blocks.reader().read_all()
    assert blocks.error is None
    return list(zip(*(table[name].to_pylist() for name in HEADER), strict=True)), blocks.rows


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_blocks_of_any_size_hold_what_the_standard_library_reads(tmp_path, monkeypatch, name, line_end):
    draw = random.Random(0)
    for size in (1, 2, 7, 64, 1000, 1 << 20):
        monkeypatch.setattr(csv_blocks, "_BLOCK", size)
        quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        made = written(tmp_path / name, draw, 40, line_end=line_end, quoting=quoting)
        assert read(tmp_path / name, threads=draw.choice([1, 3])) == (made, 40)


def test_only_the_wanted_rows_are_given_and_all_are_counted(tmp_path):
    made = written(tmp_path / "t.csv.gz", random.Random(1), 200)
    wanted = [row for row in made if row[0] in (1, 3)]
    assert read(tmp_path / "t.csv.gz", ("code", [3, 1, 99])) == (wanted, 200)


@pytest.mark.parametrize("rows", ["", "\n"])
def test_a_header_alone_has_no_row(tmp_path, rows):
    (tmp_path / "t.csv").write_text("code,words,number" + rows)
    assert read(tmp_path / "t.csv") == ([], 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"\n2,", b"\ntwo,", 1),
        lambda data: data + b"1,2\n",
        lambda data: data + b'1,"never closed,2\n' * 5,
        lambda data: data + b"1,\xff,2\n",
    ],
)
def test_what_is_not_as_declared_ends_the_reading_and_is_kept(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(csv_blocks, "_BLOCK", 64)
    written(tmp_path / "t.csv", random.Random(2), 100)
    path = tmp_path / "t.csv"
    path.write_bytes(damage(path.read_bytes()))
    blocks = CsvBlocks(path, HEADER, TYPES, None, threads=2)
    with pytest.raises(pa.ArrowInvalid):
        blocks.reader().read_all()
    assert isinstance(blocks.error, pa.ArrowInvalid)


def test_a_cut_off_gz_is_an_error(tmp_path):
    written(tmp_path / "t.csv.gz", random.Random(3), 1000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    blocks = CsvBlocks(path, HEADER, TYPES, None, threads=2)
    with pytest.raises(OSError, match=r"[Tt]runcated"):
        blocks.reader().read_all()
    assert blocks.error is not None


def test_a_quote_that_is_never_closed_is_not_read_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK", 100)
    monkeypatch.setattr(csv_blocks, "_LONGEST_CELL", 1000)
    (tmp_path / "t.csv").write_text('code,words,number\n1,"' + "x,1\n" * 10_000)
    blocks = CsvBlocks(tmp_path / "t.csv", HEADER, TYPES, None, threads=1)
    with pytest.raises(pa.ArrowInvalid, match="never closed"):
        blocks.reader().read_all()
