"""Pairs of others: the published AGFSync layout, Pick-a-Pic, and folders of good and bad pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auscult.core.errors import InputError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def read_pairs(source: str | Path) -> list[dict[str, Any]]:
    """Return pairs as rows with ``caption``, ``good_jpg`` and ``bad_jpg`` (bytes), and what else they bring.

    Parameters
    ----------
    source
        A parquet file, or a folder of such, with the columns ``caption, good_jpg, bad_jpg`` or Pick-a-Pic's
        ``caption, jpg_0, jpg_1, label_0`` (ties, 0.5, are left out); or a folder with ``good/`` and ``bad/``
        that hold pictures of equal names, with the caption in ``<name>.txt`` beside the good one. A picture beside
        itself is left out too.

    Raises
    ------
    InputError
        It is none of these, has no pair, or a picture or caption is missing.
    """
    path = Path(source)
    if (path / "good").is_dir() and (path / "bad").is_dir():
        rows = list(_from_folders(path))
    else:
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].exists():
            raise InputError(f"{path} has no pairs: give a parquet file, a folder of such, or one with good/ and bad/")
        rows = [row for file in files for row in _from_parquet(file)]
    rows = [row for row in rows if row["good_jpg"] != row["bad_jpg"]]
    if not rows:
        raise InputError(f"there is no pair in {path}: ties, and one picture twice, do not count")
    for number, row in enumerate(rows, 1):
        if not isinstance(row["caption"], str) or not row["caption"].strip():
            raise InputError(f"pair {number} of {path} has the caption {row['caption']!r}: write text")
    return rows


def _from_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no parquet file that can be read ({error}): it may be truncated") from error
    names = set(table.column_names)
    if {"caption", "good_jpg", "bad_jpg"} <= names:
        for row in table.to_pylist():
            yield {**row, "good_jpg": _content(row["good_jpg"], path), "bad_jpg": _content(row["bad_jpg"], path)}
    elif {"caption", "jpg_0", "jpg_1", "label_0"} <= names:
        for row in table.to_pylist():
            if row["label_0"] in (0, 1):
                order = ("jpg_0", "jpg_1") if row["label_0"] == 1 else ("jpg_1", "jpg_0")
                good, bad = (_content(row[name], path) for name in order)
                yield {"caption": row["caption"], "good_jpg": good, "bad_jpg": bad}
    else:
        raise InputError(
            f"{path} has the columns {sorted(names)}: pairs need caption, good_jpg and bad_jpg, or Pick-a-Pic's "
            "caption, jpg_0, jpg_1 and label_0"
        )


def _content(cell: Any, path: Path) -> bytes:
    """Return the bytes of a picture, which the Hub's data sets wrap into a mapping."""
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes) or not content:
        raise InputError(f"a picture in {path} has no content: embed the images in the file")
    return content


def _from_folders(path: Path) -> Iterator[dict[str, Any]]:
    sides = [
        sorted(file for file in (path / side).iterdir() if file.suffix.lower() in _SUFFIXES) for side in ("good", "bad")
    ]
    if alone := sorted({file.name for file in sides[1]} - {file.name for file in sides[0]}):
        raise InputError(f"{path / 'bad' / alone[0]} has no counterpart in {path / 'good'}: pairs have equal names")
    for good in sides[0]:
        bad, text = path / "bad" / good.name, good.with_suffix(".txt")
        if not bad.exists() or not text.exists():
            raise InputError(f"{good} has no counterpart {bad if not bad.exists() else text}: pairs have equal names")
        try:
            caption = text.read_text("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{text} is not UTF-8 text: save it as UTF-8") from error
        yield {"caption": caption, "good_jpg": good.read_bytes(), "bad_jpg": bad.read_bytes()}
