import bz2
import decimal
import gzip
import lzma
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from auscult.core.errors import InputError
from auscult.m3fair import reading
from auscult.m3fair.reading import column_names, find_files, read_blocks, read_frame, to_numbers, to_scores, to_weights

ROWS = "name,sex,y\nA,F,0\nB,M,1\n"
COLUMNS = {"sex": ["F", "M"], "y": ["0", "1"]}


def read(*paths, columns=("sex", "y")):
    """Return the columns of files as lists, and the number of blocks."""
    blocks = list(read_blocks(paths, columns))
    return {name: [v for block in blocks for v in block[name].to_pylist()] for name in columns}, len(blocks)


@pytest.fixture
def write(tmp_path):
    def call(content, name="rows.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return call


# Formats.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", ROWS.encode()),
        ("ROWS.CSV", ROWS.encode()),
        ("rows.v2.csv", ROWS.encode()),
        ("rows.tsv", ROWS.replace(",", "\t").encode()),
        ("rows.csv.gz", gzip.compress(ROWS.encode())),
        ("rows.csv.xz", lzma.compress(ROWS.encode())),
        ("rows.csv.bz2", bz2.compress(ROWS.encode())),
        ("rows.tsv.gz", gzip.compress(ROWS.replace(",", "\t").encode())),
        ("parts.csv.gz", gzip.compress(ROWS[:20].encode()) + gzip.compress(ROWS[20:].encode())),
        ("bom.csv", b"\xef\xbb\xbf" + ROWS.encode()),
        ("bom.csv.gz", gzip.compress(b"\xef\xbb\xbf" + ROWS.replace("name,sex,y", '"name","sex",y').encode())),
        ("crlf.csv", ROWS.replace("\n", "\r\n").encode()),
        ("cr.csv", ROWS.replace("\n", "\r").encode()),
        ("no newline at the end.csv", ROWS[:-1].encode()),
        ("blank lines.csv", ("\n\n" + ROWS + "\n\n").encode()),
        ("quoted.csv", b'name,"sex",y\n"A, ""the\nfirst""","F","0"\nB,M,1\n'),
        ("other order.csv", b"y,extra,sex\n0,,F\n1,,M\n"),
    ],
)
def test_every_form_of_a_text_file(write, name, content):
    path = write(content, name)
    assert read(path)[0] == COLUMNS
    assert set(column_names(path)) >= {"sex", "y"}


def test_parquet(tmp_path):
    frame = pd.DataFrame({"sex": ["F", None], "y": [0, 1], "other": [1.5, 2.5]})
    for name in ("rows.parquet", "rows.pq", "ROWS.PARQUET"):
        frame.to_parquet(tmp_path / name)
        assert read(tmp_path / name)[0] == {"sex": ["F", None], "y": [0, 1]}
        assert column_names(tmp_path / name) == ["sex", "y", "other"]


def test_values_stand_as_they_are_in_the_file_and_only_an_empty_field_is_missing(write):
    """As in the raw text of Adult: spaces, question marks, leading zeros and words for missing stay."""
    texts = [" White", "White", "?", "NA", "nan", "null", "None", "01", "1.0", "1e3", "TRUE", "é", "N/A", "-"]
    path = write("race,y\n" + "".join(f"{text},0\n" for text in texts) + ',1\n"",1\n')
    assert read(path, columns=["race"])[0]["race"] == [*texts, None, None]


def test_columns_with_any_name(write):
    names = ["--json", "-x", "a b", "a.b", "ü", "'", "x,y", "1", ""]
    header = ",".join(f'"{name}"' for name in names)
    path = write(header + "\n" + ",".join("abcdefghi") + "\n")
    assert read(path, columns=names)[0] == dict(zip(names, ([letter] for letter in "abcdefghi"), strict=True))
    pd.DataFrame([list("abcdefghi")], columns=names).to_parquet(path.with_suffix(".parquet"))
    found = read(path.with_suffix(".parquet"), columns=names)[0]
    assert found == dict(zip(names, ([letter] for letter in "abcdefghi"), strict=True))


@pytest.mark.parametrize("block", [40, 100, 1000])
def test_blocks_keep_the_order_of_rows(write, tmp_path, monkeypatch, block):
    numbers = [str(i) for i in range(500)]
    texts = [f'"line {i}\nof text, {"é" * (i % 7)}"' for i in range(500)]
    content = "i,text\n" + "".join(f"{i},{text}\n" for i, text in zip(numbers, texts, strict=True))
    paths = [write(content), write(gzip.compress(content.encode()), "rows.csv.gz")]
    pd.DataFrame({"i": numbers}).to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    monkeypatch.setattr(reading, "BLOCK_ROWS", block)
    for path in paths:
        found, blocks = read(path, columns=["i", "text"])
        assert found["i"] == numbers
        assert found["text"] == [text.strip('"') for text in texts]
        assert blocks > 5
    found, blocks = read(*paths, tmp_path / "rows.parquet", columns=["i"])
    assert found["i"] == numbers * 3


def test_files_without_rows_between_others(write):
    empty, rows = write("sex,y\n", "empty.csv"), write(ROWS)
    assert read(empty)[0] == {"sex": [], "y": []}
    assert read(empty, rows, empty, rows)[0] == {"sex": ["F", "M"] * 2, "y": ["0", "1"] * 2}


def test_a_frame_of_all_columns(write):
    path = write('id,age,sex,y,note\n01,34,F,0,"a\nb"\n02,,M,1,\n')
    frame = read_frame([path, path], text=["id"])
    assert frame["id"].tolist() == ["01", "02", "01", "02"]
    np.testing.assert_array_equal(frame["age"], [34, np.nan, 34, np.nan])
    assert frame["note"].tolist()[0] == "a\nb"
    assert frame["y"].tolist() == [0, 1, 0, 1]


# Names and patterns.


def test_patterns_are_sorted_and_names_come_in_the_order_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("deep/er")
    for name in ("b2.csv", "b10.csv", "a.csv", "[x].csv", "deep/er/c.csv"):
        (tmp_path / name).write_text(ROWS)

    def found(*patterns):
        return [str(path) for path in find_files(patterns)]

    assert found("b*.csv", "a.csv") == ["b10.csv", "b2.csv", "a.csv"]
    assert found("a.csv", "b2.csv") == ["a.csv", "b2.csv"]
    for again in ("a.csv", "./a.csv", "*.csv", str(tmp_path / "a.csv")):
        with pytest.raises(InputError, match="is read twice, for 'a"):
            find_files(["a.csv", "b2.csv", again])
    assert found("[x].csv") == ["[x].csv"]
    assert found("**/c.csv") == ["deep/er/c.csv"]
    for pattern in ("nothing*.csv", "b3.csv"):
        with pytest.raises(InputError, match="there is no file"):
            find_files([pattern])
    for pattern in ("deep", "d*"):
        with pytest.raises(InputError, match="'deep' is a folder"):
            find_files([pattern])


# What is wrong with a file.


def spoil(packed, at=0.5):
    """Return bytes with some in the middle changed."""
    middle = int(len(packed) * at)
    return packed[:middle] + bytes(255 - byte for byte in packed[middle : middle + 20]) + packed[middle + 20 :]


LONG = ROWS + "".join(f"{i * i % 997},{'FM'[i % 2]},{i % 3 % 2}\n" for i in range(2000))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "is empty"),
        ("rows.csv", "\n\n\n", "is empty"),
        ("rows.csv.gz", "", "is empty|cannot be unpacked"),
        ("rows.csv", "name,y\nA,0\n", "has no column 'sex'; it has 'name', 'y'"),
        ("rows.csv", "sex;y\nF;0\n", "has no column 'sex'; it has 'sex;y'"),
        ("rows.csv", "sex,sex,y\nF,F,0\n", "several columns called 'sex'"),
        ("rows.csv", ROWS + "C,F\n", "Expected 3 columns, got 2"),
        ("rows.csv", ROWS + "C,F,1,1\n", "Expected 3 columns, got 4"),
        ("rows.csv", ROWS + '"C,F,1\n', "Expected 3 columns"),
        ("rows.csv", '"' + LONG * 10, "no header line"),
        ("rows.csv", ROWS.encode() + b"C,\xe9,1\n", "not UTF-8: byte 0xe9 in line 4"),
        ("rows.csv", ROWS.encode() + b"\xe9,F,1\n", "not UTF-8: byte 0xe9 in line 4"),
        ("rows.csv", LONG.encode() + b"\xe9,F,1\n", "not UTF-8: byte 0xe9 in line 2004"),
        ("rows.csv", b"n\xe9," + ROWS.encode(), "not UTF-8: byte 0xe9 in line 1"),
        ("rows.csv", ROWS.encode() + b"C,F,1\xc3", "not UTF-8: byte 0xc3 in line 4"),
        ("rows.csv", ROWS.encode("utf-16"), "not UTF-8"),
        ("rows.csv.gz", gzip.compress(LONG.encode() + b"\xe9,F,1\n"), "not UTF-8: byte 0xe9 in line 2004"),
        ("rows.csv.gz", ROWS, "cannot be unpacked"),
        ("rows.csv.xz", ROWS, "cannot be unpacked"),
        ("rows.csv.bz2", ROWS, "cannot be read"),
        ("rows.csv.gz", gzip.compress(LONG.encode())[:-200], "cannot be unpacked"),
        ("rows.csv.xz", lzma.compress(LONG.encode())[:-200], "cannot be unpacked"),
        ("rows.csv.bz2", bz2.compress(LONG.encode())[:-200], "cannot be unpacked"),
        ("rows.csv.gz", spoil(gzip.compress(LONG.encode())), "cannot be|not UTF-8|has no column|no header"),
        ("rows.csv.gz", spoil(gzip.compress(LONG.encode()), 0.01), "cannot be|not UTF-8|has no column|no header"),
        ("rows.csv.xz", spoil(lzma.compress(LONG.encode())), "cannot be unpacked"),
        ("rows.csv.bz2", spoil(bz2.compress(LONG.encode())), "cannot be"),
        ("rows.parquet", "", "cannot be read"),
        ("rows.parquet", ROWS, "cannot be read"),
        ("rows.parquet", b"PAR1 PAR1", "cannot be read"),
        ("rows.txt", ROWS, "unknown format"),
        ("rows", ROWS, "unknown format"),
        ("rows.gz", gzip.compress(ROWS.encode()), "unknown format"),
        ("rows.parquet.gz", ROWS, "unknown format"),
        ("rows.xlsx", ROWS, "unknown format"),
    ],
)
@pytest.mark.parametrize("block", [200, 1 << 24])
def test_a_file_that_cannot_be_read_is_one_sentence(write, monkeypatch, name, content, message, block):
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    path = write(content, name)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="every file can be read by this user")
def test_a_file_that_may_not_be_read(write):
    path = write(ROWS)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read(path)


def test_a_parquet_file_without_the_column(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="has no column 'sex'; it has 'a'"):
        read(tmp_path / "rows.parquet")


def test_a_reader_that_stops_early_leaves_nothing_open(write, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 100)
    blocks = read_blocks([write(LONG)], ["sex"])
    assert next(blocks)["sex"].to_pylist()[0] == "F"
    blocks.close()


# Numbers and scores.


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["1", " 2.5 ", "-3e-2", "+.5", None], [1, 2.5, -0.03, 0.5, np.nan]),
        (["nan", "NaN", "7."], [np.nan, np.nan, 7]),
        (pa.array([1, None], pa.int32()), [1, np.nan]),
        (pa.array([1.5, None], pa.float32()), [1.5, np.nan]),
        (pa.array([True, False]), [1, 0]),
        (pa.array([2**63, 2**53 + 1], pa.uint64()), [2.0**63, 2.0**53]),
        (pa.array([decimal.Decimal("1.25"), None]), [1.25, np.nan]),
        (pa.array(["1", "2", "1"]).dictionary_encode(), [1, 2, 1]),
        (pa.array(["1", "2"], pa.large_string()), [1, 2]),
        (pa.nulls(2), [np.nan, np.nan]),
        (pa.chunked_array([["1"], ["2"]]), [1, 2]),
        (pa.chunked_array([], pa.string()), []),
    ],
)
def test_numbers_of_any_column(column, expected):
    found = to_numbers(column if hasattr(column, "type") else pa.array(column), "w")
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


NOT_NUMBERS = [
    "a", "1,5", "1_000", "0x10", "1 2", "--1", "1e", "e5", "１", "½", "True", "[1]", "__import__('os').system('true')",
    "1" + "x" * 100,
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_text_that_is_no_number_is_shown_and_never_evaluated(text):
    for function in (to_numbers, to_weights):
        with pytest.raises(InputError, match=r"'w' holds .* which is not a number") as caught:
            function(pa.array(["1", text]), "w")
        assert len(str(caught.value)) < 120
    if text != "[1]":
        with pytest.raises(InputError, match=r"'w' holds .* which is not a number"):
            to_scores(pa.array(["1", text]), "w")


@pytest.mark.parametrize("column", [pa.array([[1.0]]), pa.array([{"a": 1}]), pa.array([pd.Timestamp("2020")])])
def test_columns_of_something_else_are_no_numbers(column):
    with pytest.raises(InputError, match=r"'w' holds .*, not numbers"):
        to_numbers(column, "w")


@pytest.mark.parametrize("brackets", ["[0.9, 0.9]", "[0.1, 5]", "[0.1, 0.2]", "[-0.2, 1.2]", "[3]"])
def test_brackets_that_hold_no_probabilities_are_refused(brackets):
    with pytest.raises(InputError, match=r"'s' holds '\[.*\]', which are no class probabilities"):
        to_scores(pa.array(["[0.33, 0.66]", brackets]), "s")


def test_scores_in_brackets_are_those_of_the_second_class():
    """The challenge's format, which the reference passes to eval."""
    texts = ["[0.2, 0.8]", "[0.9 0.1]", " [ 0.25 ,0.75 ] ", "[0.7]", "[1.0,\n 0.0]", "[2e-1 8e-1]", "0.3", "[0,1]"]
    np.testing.assert_array_equal(to_scores(pa.array(texts), "s"), [0.8, 0.1, 0.75, 0.7, 0, 0.8, 0.3, 1])
    np.testing.assert_array_equal(to_scores(pa.array(texts).dictionary_encode(), "s")[:2], [0.8, 0.1])


@pytest.mark.parametrize(
    "text",
    [
        "[]", "[0.1, 0.2, 0.7]", "[0.2, 0.8", "0.2, 0.8]", "[[0.2, 0.8]]", "(0.2, 0.8)", "[0.2; 0.8]", "[0.2,, 0.8]",
        "[0.2, exec('1')]", "[__import__('os').system('true'), 1]", "[a, b]", "[0.2, 0.8] + [1]", "array([0.2, 0.8])",
        "{0.2, 0.8}", "[0.2, None]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("beside", ["0.5", "[0.5, 0.5]"])
def test_any_other_text_among_scores_is_an_error(text, beside):
    with pytest.raises(InputError, match=r"'s' holds .* which is not a number"):
        to_scores(pa.array([beside, text]), "s")


def test_brackets_of_any_length_take_no_time():
    """A pattern that tries every split of a text would not end."""
    with pytest.raises(InputError):
        to_scores(pa.array(["[" + " " * 50_000 + "0.1" * 50_000]), "s")
    with pytest.raises(InputError):
        to_scores(pa.array(["[0.1" + " " * 100_000 + "x x]"]), "s")


@pytest.mark.parametrize(
    "column", [["0.5", None], ["0.5", "nan"], ["0.5", "inf"], ["[0.5]", "[0.1, nan]"], [0.5, np.inf], [0.5, None]]
)
def test_scores_must_be_finite(column):
    with pytest.raises(InputError, match="'s' has 1 missing or infinite"):
        to_scores(pa.array(column), "s")


@pytest.mark.parametrize("column", [["1", "-1"], [1.0, -0.5], ["1", None], ["1", "nan"], ["1", "inf"], [1.0, 1e200]])
def test_weights_must_be_finite_and_not_negative(column):
    with pytest.raises(InputError, match=r"'w' has the weight .* \(1 such\)"):
        to_weights(pa.array(column), "w")


@pytest.mark.parametrize("name", ["rows.arrow", "rows.feather", "rows.jsonl", "rows.ndjson.gz"])
def test_arrow_and_json_lines_hold_their_own_types(tmp_path, monkeypatch, name):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 400)
    frame = pd.DataFrame({"sex": ["F", "M", None, "F"] * 25, "y": [0, 1, 1, 0] * 25, "other": [1.5] * 100})
    path = tmp_path / name
    if "json" in name:
        frame.to_json(path, orient="records", lines=True)
    else:
        table = pa.Table.from_pandas(frame)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=30)
    blocks = list(reading.read_blocks([path], ["y", "sex"]))
    assert len(blocks) > 1
    assert [value for block in blocks for value in block["y"].to_pylist()] == frame["y"].tolist()
    expected = [None if pd.isna(value) else value for value in frame["sex"]]
    assert [value for block in blocks for value in block["sex"].to_pylist()] == expected
    assert reading.column_names(path) == ["sex", "y", "other"]
    with pytest.raises(InputError, match="has no column 'race'"):
        list(reading.read_blocks([path], ["race"]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty: it needs rows"),
        ("a.jsonl", b'{"y": 1}\n{"y"', "cannot be read"),
        ("a.jsonl", b'{"y": "\xff"}\n', "is not UTF-8: byte 0xff in line 1"),
        ("a.arrow", b"no arrow", "cannot be read"),
        ("a.arrow", b"", "cannot be read"),
        ("a.arrow.gz", b"", "unknown format"),
    ],
)
def test_arrow_and_json_lines_that_cannot_be_read(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(reading.read_blocks([path], ["y"]))
    assert "\n" not in str(caught.value)
