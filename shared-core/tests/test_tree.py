import gzip
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auscult.core.data.tree import Table, Tree
from auscult.core.errors import InputError, MissingDependencyError

WANTED = Table("icu/items", {"itemid": "BIGINT", "valuenum": "DOUBLE", "charttime": "TIMESTAMP", "value": "VARCHAR"})
CONTENT = (
    'ROW_ID,ITEMID,VALUENUM,CHARTTIME,VALUE\n1,7,1.5,2150-01-01 10:00:00,"a, ""b"""\n2,8,,2150-01-02,"two\nlines"\n'
)

LONG = CONTENT.replace("1,7", "0,6,1,2150-01-01,x\n" * 20000 + "1,7")


def opened(folder):
    return Tree(folder, data_set="TEST", source="https://example.org", threads=2)


def put(folder, content=CONTENT, name="icu/items.csv", **how):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode(**how) if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(folder, table=WANTED):
    with opened(folder) as tree:
        return tree.rows(f"SELECT itemid, valuenum, epoch(charttime), value FROM {tree.open(table)} ORDER BY itemid")


MIDNIGHT = datetime(2150, 1, 1, tzinfo=UTC).timestamp()
EXPECTED = [(7, 1.5, MIDNIGHT + 10 * 3600, 'a, "b"'), (8, None, MIDNIGHT + 24 * 3600, "two\nlines")]


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("icu/items.csv", CONTENT, {}),
        ("icu/items.csv.gz", CONTENT, {}),
        ("ICU/ITEMS.CSV", CONTENT, {}),
        ("Icu/Items.csv.gz", CONTENT.replace("ITEMID", " itemid "), {}),
        ("icu/items.csv", CONTENT, {"encoding": "utf-8-sig"}),
        ("icu/items.csv", CONTENT.replace("\n", "\r\n").replace("two\r\n", "two\n"), {}),
        ("icu/items.csv", CONTENT.replace("7,1.5", '"7","1.5"').removesuffix("\n"), {}),
        ("icu/items.csv", CONTENT.replace(",7,", ",7.0,"), {}),
    ],
)
def test_a_table_is_the_same_in_every_form(tmp_path, name, content, how):
    put(tmp_path, content, name, **how)
    assert rows(tmp_path) == EXPECTED


def test_parquet_is_read_whatever_its_types(tmp_path):
    columns = {"VALUE": ["two\nlines", 'a, "b"'], "extra": [1, 2], "ItemId": [8.0, 7.0], "VALUENUM": [None, "1.5"]}
    columns["charttime"] = ["2150-01-02", "2150-01-01 10:00:00"]
    (tmp_path / "icu").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "icu" / "items.parquet")
    assert rows(tmp_path) == EXPECTED


def test_several_members_of_one_gz_are_one_table(tmp_path):
    path = put(tmp_path, "", "icu/items.csv.gz")
    data = CONTENT.encode()
    path.write_bytes(gzip.compress(data[:60]) + gzip.compress(data[60:]))
    assert rows(tmp_path) == EXPECTED


def test_names_that_look_like_patterns_are_names(tmp_path):
    folder = tmp_path / "it's [a] *?"
    put(folder)
    put(tmp_path / "it's a b", CONTENT.replace(",7,", ",9,"))
    assert rows(folder) == EXPECTED


def test_of_two_forms_the_faster_is_read_and_a_note_says_so(tmp_path):
    put(tmp_path)
    put(tmp_path, CONTENT.replace(",7,", ",9,"), "icu/items.csv.gz")
    with opened(tmp_path) as tree:
        tree.open(WANTED)
        tree.open(WANTED)
        assert tree.rows("SELECT min(itemid) FROM items") == [(7,)]
        assert tree.notes == ["icu/items is there as items.csv and items.csv.gz: items.csv was read"]


def test_optional_columns_are_null_where_they_are_missing(tmp_path):
    put(tmp_path)
    table = Table("icu/items", {"itemid": "BIGINT"}, optional={"warning": "INTEGER", "value": "VARCHAR"})
    with opened(tmp_path) as tree:
        found = tree.rows(f"SELECT itemid, warning, value IS NULL FROM {tree.open(table)} ORDER BY itemid")
        assert tree.count("items") == 2
    assert found == [(7, None, False), (8, None, False)]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (CONTENT.replace("VALUENUM", "VAL"), "icu/items.csv", "items.csv lacks the column 'valuenum' that TEST has; it "
         "holds ROW_ID, ITEMID, VAL, CHARTTIME, VALUE: get the file again from https://example.org"),
        (CONTENT.replace("ROW_ID", "itemid"), "icu/items.csv", "items.csv has two columns of one name"),
        (CONTENT.replace("2,8,", "2,eight,"), "icu/items.csv", "items.csv, line 3, holds 'eight' in column 'ITEMID', "
         "which is no whole number: get the file again"),
        (CONTENT.replace("1.5", "high"), "icu/items.csv.gz", "items.csv.gz, line 2, holds 'high' in column 'VALUENUM', "
         "which is no number"),
        (CONTENT.replace("2150-01-02", "today"), "icu/items.csv", "line 3, holds 'today' in column 'CHARTTIME', "
         "which is no time"),
        (CONTENT.replace("2,8,", "2,8,8,"), "icu/items.csv", "items.csv, line 3"),
        (CONTENT + "3,9\n", "icu/items.csv", "has 2 fields, and the header names 5"),
        (CONTENT + '3,9,1,2150-01-01,"open\n', "icu/items.csv", "opens a quote that is never closed"),
        (LONG.encode().replace(b"two", b"\xff\xfe"), "icu/items.csv", "is not UTF-8"),
        (CONTENT.encode("utf-16"), "icu/items.csv", "items.csv cannot be read"),
        ("", "icu/items.csv", "items.csv is empty: get"),
        ("", "icu/items.csv.gz", "items.csv.gz is empty: get"),
        ("no parquet", "icu/items.parquet", "items.parquet cannot be read"),
        (CONTENT, "icu/other.csv", r"TEST needs the table icu/items \(.parquet, .csv, .csv.gz\), and '.*' holds "
         "icu/other.csv: get it from https://example.org"),
        (CONTENT, "items.csv", "holds items.csv: get it"),
        (CONTENT, "hosp/patients.csv.gz", "holds hosp/patients.csv.gz: get it"),
    ],
)  # fmt: skip
def test_a_malformed_table_is_one_sentence(tmp_path, content, name, message):
    put(tmp_path, content, name)
    with pytest.raises(InputError, match=message) as error:
        rows(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [5, 40, -1, -9])
def test_a_truncated_gz_is_one_sentence(tmp_path, kept):
    path = put(tmp_path, CONTENT + "3,9,2.5,2150-01-03,x\n" * 20000, "icu/items.csv.gz")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"items.csv.gz is cut off or damaged: get the file again from https"):
        rows(tmp_path)


def test_a_gz_that_is_none_is_one_sentence(tmp_path):
    put(tmp_path, "", "icu/items.csv.gz").write_text(CONTENT)
    with pytest.raises(InputError, match=r"items.csv.gz cannot be read \(Not a gzipped file"):
        rows(tmp_path)


def test_text_in_a_number_of_a_parquet_file_is_one_sentence(tmp_path):
    (tmp_path / "icu").mkdir()
    columns = {"itemid": ["1", "one"], "valuenum": [1.0, 2.0], "charttime": ["2150-01-01"] * 2, "value": ["", ""]}
    pq.write_table(pa.table(columns), tmp_path / "icu" / "items.parquet")
    with pytest.raises(InputError, match=r"a table of TEST holds 'one'.*which is no whole number"):
        rows(tmp_path)


def test_a_folder_of_another_data_set_is_recognised(tmp_path):
    for name in ("PATIENTS", "ICUSTAYS", "CHARTEVENTS"):
        put(tmp_path, name=f"{name}.csv")
    with pytest.raises(InputError, match=r"holds CHARTEVENTS.csv, ICUSTAYS.csv, PATIENTS.csv \(this looks like mimic3"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "TEST does not come with this library: name its folder, from https://example.org"),
        (lambda folder: folder / "absent", "'.*absent' does not exist: name the folder of TEST"),
        (lambda folder: folder, "the folder '.*' is empty: put the tables of TEST there"),
        (lambda folder: put(folder), "'.*items.csv' is a file: name the folder of TEST"),
    ],
)
def test_no_folder_is_one_sentence(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        opened(make(tmp_path))


@pytest.mark.parametrize("options", [{"memory": "much"}, {"threads": 0}, {"threads": -2}])
def test_limits_that_cannot_be_used_are_refused(tmp_path, options):
    put(tmp_path)
    with pytest.raises(InputError, match=r"do not suit DuckDB .*: give something like memory='2GB', threads=2"):
        Tree(tmp_path, data_set="TEST", source="https://example.org", **options)


def test_a_fault_of_our_own_is_not_blamed_on_the_files(tmp_path):
    put(tmp_path)
    with opened(tmp_path) as tree, pytest.raises(Exception, match="nothing_here") as error:
        tree.rows("SELECT nothing_here")
    assert not isinstance(error.value, InputError)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    put(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    before = sorted(Path().rglob("*"))
    with Tree(tmp_path / "data", data_set="TEST", source="", memory="30MB", threads=1) as tree:
        tree.run("CREATE TEMP TABLE big AS SELECT i, hash(i) AS h FROM range(3000000) AS t(i) ORDER BY h")
        assert len(sorted(Path().rglob("*"))) > len(before)
        assert tree.count("big") == 3_000_000
    assert sorted(Path().rglob("*")) == before


def test_without_duckdb_the_message_says_what_to_install(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingDependencyError, match=r"reading the tables of TEST needs duckdb.*auscult-core\[data\]"):
        opened(tmp_path)


def test_an_older_duckdb_is_refused(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setattr("duckdb.__version__", "1.5.6")
    with pytest.raises(MissingDependencyError, match=r"needs duckdb 2, and 1.5.6, which is installed, takes a cut-off"):
        opened(tmp_path)


def consumed(folder, only=None, threads=2):
    """Return the rows that a statement sees that reads the table once, and how many rows there are."""
    with Tree(folder, data_set="TEST", source="https://example.org", threads=threads) as tree:
        view = tree.open(WANTED)
        columns = "itemid, valuenum, epoch(charttime) AS charttime, value"
        n = tree.consume(f"CREATE TABLE copy AS SELECT {columns} FROM {view}", view, only)
        assert tree.count(view) == n, "the view shows the file again"
        return tree.rows("SELECT * FROM copy ORDER BY itemid"), n


@pytest.mark.parametrize("name", ["icu/items.csv.gz", "icu/items.csv"])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_read_once_is_counted(tmp_path, name, threads):
    put(tmp_path, LONG, name)
    found, n = consumed(tmp_path, threads=threads)
    assert n == len(found) == 20002
    assert found[-2:] == EXPECTED


def test_rows_of_other_codes_are_counted_and_not_given(tmp_path):
    put(tmp_path, LONG, "icu/items.csv.gz")
    assert consumed(tmp_path, ("itemid", [7, 8, 9])) == (EXPECTED, 20002)
    pq.write_table(pa.table({"itemid": [7, 6], "valuenum": [1, 2], "charttime": ["2150-01-01"] * 2, "value": ["", ""]}),
                   tmp_path / "icu/items.parquet")  # fmt: skip
    assert consumed(tmp_path, ("itemid", [7]))[1] == 2


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        CONTENT.replace(",7,", ",7.0,"),
        CONTENT.replace("\n", "\r\n").replace("two\r\n", "two\n"),
        CONTENT.replace("7,1.5", '"7","1.5"').removesuffix("\n"),
        CONTENT.replace("8,,2150-01-02", '8,"",2150-01-02 00:00:00'),
    ],
)
def test_read_once_a_table_is_the_same_in_every_form(tmp_path, content):
    put(tmp_path, content)
    assert consumed(tmp_path) == (EXPECTED, 2)
    assert rows(tmp_path) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LONG.replace("7,1.5", "seven,1.5"), r"items.csv.gz, line 20002, holds 'seven' in column 'ITEMID'"),
        (LONG + "1,2\n", r"has 2 fields, and the header names 5"),
        (LONG + '1,2,3,2150-01-01,"never', r"opens a quote that is never closed"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_read_once(tmp_path, content, message):
    put(tmp_path, content, "icu/items.csv.gz")
    with pytest.raises(InputError, match=message):
        consumed(tmp_path)


def test_a_cut_off_gz_is_one_sentence_when_it_is_read_once(tmp_path):
    path = put(tmp_path, LONG, "icu/items.csv.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"^items.csv.gz is cut off or damaged: get the file again"):
        consumed(tmp_path)


def test_a_fault_of_the_statement_is_not_blamed_on_the_file(tmp_path):
    put(tmp_path, LONG)
    with opened(tmp_path) as tree:
        view = tree.open(WANTED)
        with pytest.raises(Exception, match="nonsense") as caught:
            tree.consume(f"CREATE TABLE copy AS SELECT nonsense, itemid FROM {view}", view)
        assert not isinstance(caught.value, InputError)
        assert tree.count(view) == 20002


def test_importing_the_readers_loads_no_duckdb():
    program = (
        "import sys; from auscult.core.data import events, lookalike, mimic3, mimic4, tree; lookalike.write_mimic3; "
        "print([m for m in ('duckdb', 'pandas', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
