"""A data set as records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from auscult.core.canonical import digest
from auscult.core.data.images import read_image
from auscult.core.errors import InputError
from auscult.o2m_attack.dataset.attributes import ATTRIBUTES
from auscult.o2m_attack.dataset.mismatch import Stratum, draw_mismatch
from auscult.o2m_attack.dataset.rows import Row, read_rows
from auscult.o2m_attack.record import Record


def load_records(
    source: str | Path,
    *,
    splits: Sequence[str] | None = None,
    policies: Sequence[str] | None = None,
    limit: int | None = None,
    mismatch: Stratum | None = None,
    seed: int = 0,
    attributes: Sequence[str] | None = ATTRIBUTES,
    revision: str | None = None,
) -> list[Record]:
    """Read a data set in 3MAD's schema.

    Parameters
    ----------
    source
        A table (parquet with images in it, or CSV, TSV, JSON Lines or parquet beside a folder of images), a folder of
        such tables, or the hub id of a data set whose terms you accept.
    splits
        Such as ``["CT_Chest"]``; all if None.
    policies
        Such as ``["Matching"]``; all if None.
    limit
        Records at most, taken from the attributes in turn, so that few records are still of many kinds.
    mismatch
        Draw the false claims anew from a stratum; None keeps the data's. A record for which the stratum has no claim
        is left out: nothing else shows a skin.
    seed
        Of that draw, which depends on the record's own content, not on its place.
    attributes
        The known attributes; None takes any that names a modality and a region.
    revision
        Of a hub id.

    Returns
    -------
    list[Record]
        Ids that occur in several splits get the split's name in front.

    Raises
    ------
    InputError
        Nothing is left to read, or a row, an attribute or an image is wrong.
    """
    rows = read_rows(source, splits=splits, attributes=attributes, revision=revision)
    # Asked of all rows: an id must not depend on how many of them are taken.
    repeated = len({row.id for row in rows}) < len(rows)
    if policies is not None:
        known = sorted({row.policy for row in rows})
        rows = [row for row in rows if row.policy in set(policies)]
        if not rows:
            raise InputError(
                f"no record of {source} has the policy {', '.join(policies)}: there are {', '.join(known)}"
            )
    rows = _with_claims(rows, mismatch, seed, attributes)
    if not rows:
        raise InputError(f"no image of {source} has a false claim of the stratum {mismatch!r}: choose another")
    if repeated:
        rows = [replace(row, id=f"{row.original_attribute.replace(' and ', '_')}-{row.id}") for row in rows]
    if limit is not None:
        rows = take_in_turn(rows, limit)
    return _records(rows)


def take_in_turn(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return so many rows: the first of each attribute, then the second of each, in the order of the data.

    Raises
    ------
    InputError
        The limit is below 1.
    """
    if limit < 1:
        raise InputError(f"limit is {limit}: ask for 1 record or more")
    seen: dict[str, int] = {}
    places = []
    for index, row in enumerate(rows):
        seen[row.original_attribute] = seen.get(row.original_attribute, 0) + 1
        places.append((seen[row.original_attribute], index))
    return [rows[index] for index in sorted(index for _, index in sorted(places)[:limit])]


def _with_claims(rows: list[Row], mismatch: Stratum | None, seed: int, attributes: Sequence[str] | None) -> list[Row]:
    if mismatch is None:
        bare = next((row for row in rows if not row.unmatch_attribute), None)
        if bare is not None:
            raise InputError(
                f"record {bare.id!r} has no unmatch_attribute: give it one, or choose a stratum to draw from"
            )
        return rows
    known = tuple(dict.fromkeys(row.original_attribute for row in rows)) if attributes is None else attributes
    claimed = []
    for row in rows:
        rng = np.random.default_rng([seed, int(digest([row.id, row.file_name, row.original_attribute])[:12], 16)])
        claim = draw_mismatch(row.original_attribute, rng, mismatch, known)
        if claim is not None:
            claimed.append(row.with_claim(claim))
    return claimed


def _records(rows: Sequence[Row]) -> list[Record]:
    records = []
    for row in rows:
        try:
            image = read_image(row.read())
        except InputError as error:
            raise InputError(f"record {row.id!r}: {error}") from error
        records.append(
            Record(
                row.id, image, row.original_attribute, row.unmatch_attribute, row.normal_prompt, row.harmful_prompt,
                row.policy, row.key_phrases,
            )
        )  # fmt: skip
    return records
