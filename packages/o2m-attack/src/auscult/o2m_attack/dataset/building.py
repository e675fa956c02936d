"""Making a data set: 3MAD's Tiny variant from the whole, and one's own from a folder of images and a table of prompts.

Both are written in the published layout, one parquet file a split with the images in it, and read again by
:func:`~auscult.o2m_attack.dataset.reading.load_records`.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.data.images import read_image
from auscult.core.errors import InputError
from auscult.core.progress import progress
from auscult.o2m_attack.dataset.attributes import ATTRIBUTES, check_attribute, split_name
from auscult.o2m_attack.dataset.mismatch import Stratum, draw_mismatch
from auscult.o2m_attack.dataset.rows import Row, read_rows, read_table

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom")


def build_tiny(
    source: str | Path,
    out: str | Path,
    *,
    per_attribute: int = 60,
    seed: int = 0,
    attributes: Sequence[str] | None = ATTRIBUTES,
    revision: str | None = None,
) -> dict[str, Any]:
    """Write a small variant of a data set that has as many rows of each attribute, spread evenly over its policies.

    With 60 rows and 18 policies each cell gets 3 rows and 6 of them a fourth. A row is taken twice only where an
    attribute has fewer rows than are wanted; the published variant draws with replacement always.

    Parameters
    ----------
    source
        As for :func:`~auscult.o2m_attack.dataset.reading.load_records`.
    out
        A folder that does not exist, or is empty.
    per_attribute
        Rows of each attribute.
    seed
        Of the choice.
    attributes, revision
        As for :func:`~auscult.o2m_attack.dataset.reading.load_records`.

    Returns
    -------
    dict
        ``rows``, ``splits`` with their rows, and ``repeated`` rows.

    Raises
    ------
    InputError
        The source cannot be read, or the folder is in use.
    """
    if per_attribute < 1:
        raise InputError(f"per_attribute is {per_attribute}: ask for 1 row or more")
    rows = read_rows(source, attributes=attributes, revision=revision)
    chosen: list[Row] = []
    for attribute in dict.fromkeys(row.original_attribute for row in rows):
        mine = [row for row in rows if row.original_attribute == attribute]
        chosen += _spread(mine, per_attribute, np.random.default_rng([seed, *attribute.encode()]))
    repeated = len(chosen) - len({id(row) for row in chosen})
    return {**_write(out, ((row, row.read()) for row in chosen), len(chosen)), "repeated": repeated}


def build_own(
    images: str | Path,
    prompts: str | Path,
    out: str | Path,
    *,
    mismatch: Stratum = "uniform",
    seed: int = 0,
    per_attribute: int | None = None,
    attributes: Sequence[str] | None = ATTRIBUTES,
) -> dict[str, Any]:
    """Write a data set of one's own images and prompts.

    Every image gets one pair of prompts at random and a false claim from a stratum. The prompts are the user's: this
    library neither has nor makes restricted ones.

    Parameters
    ----------
    images
        A folder ``<Modality>/<Region>/<file>`` of PNG, JPEG, TIFF, BMP, WebP or DICOM files.
    prompts
        A table with the columns ``normal_prompt``, ``harmful_prompt``, ``policy`` and, if there are any,
        ``key_phrases``.
    out
        A folder that does not exist, or is empty.
    mismatch, seed
        Of the false claims; the seed also decides which prompts an image gets. An image for which the stratum has no
        claim is left out and counted.
    per_attribute
        Images of each attribute at most, chosen at random.
    attributes
        The known attributes; None takes those that the folder has.

    Returns
    -------
    dict
        ``rows``, ``splits`` with their rows, and ``without_claim``, the images that were left out.

    Raises
    ------
    InputError
        There is no image or prompt, one cannot be used, or the folder is in use.
    """
    rng = np.random.default_rng(seed)
    found = _find_images(Path(images), attributes)
    if per_attribute is not None:
        if per_attribute < 1:
            raise InputError(f"per_attribute is {per_attribute}: ask for 1 image or more")
        found = {name: _choose(paths, per_attribute, rng) for name, paths in found.items()}
    pairs = _prompts(Path(prompts))
    known = tuple(found) if attributes is None else attributes
    rows, left_out = [], 0
    for attribute, paths in found.items():
        for path in paths:
            pair = pairs[int(rng.integers(len(pairs)))]
            claim = draw_mismatch(attribute, rng, mismatch, known)
            if claim is None:
                left_out += 1
                continue
            name = path.relative_to(images).as_posix()
            rows.append(
                Row("", name, attribute, claim, pair["normal_prompt"], pair["harmful_prompt"], pair.get("policy") or "",
                    pair.get("key_phrases"), _Png(path))
            )  # fmt: skip
    if not rows:
        raise InputError(f"no image in {images} has a false claim of the stratum {mismatch!r}: choose another")
    return {**_write(out, ((row, row.read()) for row in rows), len(rows)), "without_claim": left_out}


class _Png:
    """An image of any kind as a PNG file of 8-bit RGB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> bytes:
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(read_image(self.path)).save(content, format="PNG")
        return content.getvalue()


def _spread(rows: list[Row], wanted: int, rng: np.random.Generator) -> list[Row]:
    """Return so many rows, as evenly over the policies as they allow; again from the start where they run out."""
    order = [rows[index] for index in rng.permutation(len(rows))]
    rank: dict[str, int] = {}
    ranked = []
    # Which policies get one more is a matter of chance as well.
    tie = {policy: int(place) for policy, place in _shuffled(sorted({row.policy for row in rows}), rng)}
    for row in order:
        rank[row.policy] = rank.get(row.policy, 0) + 1
        ranked.append((rank[row.policy], tie[row.policy], row))
    ranked.sort(key=lambda one: one[:2])
    return [ranked[index % len(ranked)][2] for index in range(wanted)]


def _shuffled(names: list[str], rng: np.random.Generator) -> Iterable[tuple[str, int]]:
    return zip(names, rng.permutation(len(names)), strict=True)


def _choose(paths: list[Path], wanted: int, rng: np.random.Generator) -> list[Path]:
    return [paths[index] for index in sorted(rng.permutation(len(paths))[:wanted])]


def _find_images(folder: Path, attributes: Sequence[str] | None) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}: give one with <Modality>/<Region>/<image>")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in _IMAGES:
            modality, region = path.parent.parent.name, path.parent.name
            attribute = check_attribute(f"{modality} and {region}", attributes, where=str(path.parent))
            found.setdefault(attribute, []).append(path)
    if not found:
        raise InputError(f"{folder} holds no image: put them into <Modality>/<Region>/, as CT/Chest/scan.png")
    return found


def _prompts(path: Path) -> list[dict[str, Any]]:
    pairs = read_table(path)
    for index, pair in enumerate(pairs):
        for name in ("normal_prompt", "harmful_prompt"):
            if not pair.get(name):
                raise InputError(f"row {index + 1} of {path} has no {name}: a pair of prompts needs both")
    if not pairs:
        raise InputError(f"{path} has no rows: give a table of prompts")
    return pairs


def _write(out: str | Path, rows: Iterable[tuple[Row, bytes]], total: int) -> dict[str, Any]:
    """Write one parquet file a split into a folder that appears whole, with ids from 1."""
    import pyarrow
    import pyarrow.parquet

    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(out)!r} is in use: give a folder that does not exist")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    tables: dict[str, list[dict[str, Any]]] = {}
    try:
        with progress("Writing records", total) as advance:
            for number, (row, content) in enumerate(rows, start=1):
                cells = {
                    "id": number, "file_name": row.file_name, "original_attribute": row.original_attribute,
                    "unmatch_attribute": row.unmatch_attribute, "normal_prompt": row.normal_prompt,
                    "harmful_prompt": row.harmful_prompt, "policy": row.policy, "key_phrases": row.key_phrases,
                    "image": {"bytes": content, "path": Path(row.file_name).name},
                }  # fmt: skip
                tables.setdefault(split_name(row.original_attribute), []).append(cells)
                advance(1)
        (partial / "data").mkdir()
        for name, split in tables.items():
            pyarrow.parquet.write_table(
                pyarrow.Table.from_pylist(split, schema=_schema()),
                partial / "data" / f"{name}-00000-of-00001.parquet", row_group_size=64,
            )  # fmt: skip
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"rows": sum(map(len, tables.values())), "splits": {name: len(split) for name, split in tables.items()}}


def _schema() -> Any:
    import pyarrow

    texts = (
        "file_name", "original_attribute", "unmatch_attribute", "normal_prompt", "harmful_prompt", "policy",
        "key_phrases",
    )  # fmt: skip
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    return pyarrow.schema([("id", pyarrow.int64()), *((name, pyarrow.string()) for name in texts), ("image", image)])
