"""Rows of a data set before their images are decoded, from the layouts in which 3MAD and sets like it lie on disk."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auscult.core.errors import InputError
from auscult.o2m_attack.dataset.attributes import check_attribute, split_name

COLUMNS = (
    "id", "file_name", "original_attribute", "unmatch_attribute", "normal_prompt", "harmful_prompt", "policy",
    "key_phrases",
)  # fmt: skip
"""The published columns; the images are in a column ``image``, or lie where ``file_name`` says."""

_NEEDED = ("original_attribute", "normal_prompt", "harmful_prompt")
_TABLES = (".parquet", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Row:
    """One row; ``read`` returns the content of the image's file."""

    id: str
    file_name: str
    original_attribute: str
    unmatch_attribute: str
    normal_prompt: str
    harmful_prompt: str
    policy: str
    key_phrases: str | None
    read: Callable[[], bytes]

    def with_claim(self, claim: str) -> "Row":
        """Return the row with another false claim."""
        return replace(self, unmatch_attribute=claim)


def read_rows(
    source: str | Path,
    *,
    splits: Sequence[str] | None = None,
    attributes: Sequence[str] | None,
    revision: str | None = None,
) -> list[Row]:
    """Return the rows of a data set.

    Parameters
    ----------
    source
        A table (parquet, CSV, TSV or JSON Lines), a folder of tables, or a data set's hub id.
    splits
        The splits to read (``"CT_Chest"``), all if None.
    attributes
        Those that are known; None takes any.
    revision
        Of a hub id.

    Raises
    ------
    InputError
        There is nothing to read, a column is missing, or a row is wrong.
    """
    wanted = None if splits is None else {name.replace(" and ", "_") for name in splits}
    rows = []
    for path in _tables(source, wanted, revision):
        for index, cells in enumerate(_read_table(path)):
            rows.append(_row(cells, path, index, attributes))
    if wanted is not None:
        rows = [row for row in rows if split_name(row.original_attribute) in wanted]
    if not rows:
        chosen = f" of the splits {', '.join(sorted(wanted))}" if wanted else ""
        raise InputError(f"{source} has no rows{chosen}: give another source or other splits")
    return rows


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table as texts; an empty cell is None, and an image is a function that reads it.

    Raises
    ------
    InputError
        The file is missing, or no table.
    """
    return list(_read_table(path))


def _tables(source: str | Path, splits: set[str] | None, revision: str | None) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.exists():
        path = _download(str(source), splits, revision)
    found = sorted(one for one in path.rglob("*") if one.suffix in _TABLES and not one.name.startswith("."))
    if not found:
        raise InputError(f"{source} holds no table ({', '.join(_TABLES)}): give the folder of a data set")
    named = [one for one in found if splits is None or _split_of(one) in splits]
    # Only published layouts name their files after splits.
    return named or found


def _split_of(path: Path) -> str:
    """Return the split of ``<split>-00000-of-00001.parquet``."""
    return path.name.split("-")[0].split(".")[0]


def _download(source: str, splits: set[str] | None, revision: str | None) -> Path:
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"there is no file or folder {source!r}: give one, or a hub id like org/name")
    import huggingface_hub

    patterns = [f"*{one}*.parquet" for one in sorted(splits)] if splits else ["*.parquet", "*.jsonl", "*.csv", "CMIC/*"]
    try:
        return Path(
            huggingface_hub.snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=patterns)
        )
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"{source} cannot be had from the hub ({reason}): check the id, accept the data set's terms there and log "
            "in, or give a folder"
        ) from error


def _read_table(path: Path) -> Iterator[dict[str, Any]]:
    import pandas

    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}: give a table ({', '.join(_TABLES)})")
    try:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
            return
        if path.suffix == ".jsonl":
            yield from _read_lines(path)
            return
        if path.suffix in (".csv", ".tsv"):
            separator = "\t" if path.suffix == ".tsv" else ","
            frame = pandas.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""])
        else:
            raise InputError(f"{path} is no table that can be read: give one of {', '.join(_TABLES)}")
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path} is no table that can be read ({reason}): replace it") from error
    for cells in frame.to_dict("records"):
        yield {str(name): _text(value) for name, value in cells.items()}


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            cells = json.loads(line)
            if not isinstance(cells, dict):
                raise ValueError(f"a line is {line[:40]!r}, which is no object")
            yield {name: _text(value) for name, value in cells.items()}


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name != "image"]
        pictured = "image" in file.schema_arrow.names
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=names)
            for index, cells in enumerate(table.to_pylist()):
                found = {name: _text(value) for name, value in cells.items()}
                yield {**found, "image": _Cell(path, group, index)} if pictured else found
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no parquet file that can be read: replace it") from error


@dataclass(frozen=True)
class _Cell:
    """An image inside a parquet file: many files hold more of them than memory does."""

    path: Path
    group: int
    index: int

    def __call__(self) -> bytes:
        import pyarrow.parquet

        column = pyarrow.parquet.ParquetFile(self.path).read_row_group(self.group, columns=["image"])["image"]
        value = column[self.index].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            return _File(self.path.parent / value["path"])()
        if not isinstance(content, bytes):
            raise InputError(f"the image of row {self.index} in {self.path} is empty: leave the row out")
        return content


@dataclass(frozen=True)
class _File:
    path: Path

    def __call__(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"the image {str(self.path)!r} cannot be read ({error.strerror}): put it where file_name says"
            ) from error


def _row(cells: dict[str, Any], path: Path, index: int, attributes: Sequence[str] | None) -> Row:
    where = f"row {index + 1} of {path}"
    for name in _NEEDED:
        if name not in cells:
            raise InputError(f"{path} has no column {name!r}: the columns of a data set are {', '.join(COLUMNS)}")
        if cells[name] is None:
            raise InputError(f"{where} has no {name}: fill it in or leave the row out")
    original = check_attribute(cells["original_attribute"], attributes, where=where)
    claim = cells.get("unmatch_attribute") or ""
    if claim:
        check_attribute(claim, attributes, where=where)
    if claim == original:
        raise InputError(f"{where} claims {claim!r}, which is what the image shows: a false claim is another attribute")
    if "image" not in cells and cells.get("file_name") is None:
        raise InputError(f"{where} has neither an image nor a file_name: one of them says what is shown")
    file_name = cells.get("file_name") or ""
    return Row(
        cells.get("id") or str(index + 1), file_name, original, claim, cells["normal_prompt"],
        cells["harmful_prompt"], cells.get("policy") or "", cells.get("key_phrases"),
        cells.get("image") or _File(_place(path, file_name)),
    )  # fmt: skip


def _place(table: Path, file_name: str) -> Path:
    """Return where an image lies: beside its table, or in a folder above it."""
    for folder in (table.parent, *table.parents[1:3]):
        if (folder / file_name).exists():
            return folder / file_name
    return table.parent / file_name


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if text.strip() else None
