"""MEDS: the Medical Event Data Standard, version 0.4.

On disk: ``data/**/*.parquet`` (one event a row: ``subject_id``, ``time``, ``code``, ``numeric_value``; a null time is
static), ``metadata/codes.parquet``, ``metadata/dataset.json``, and label files anywhere (``subject_id``,
``prediction_time``, one value). Schemas: Medical-Event-Data-Standard/meds, ``src/meds/schema.py``. Licence and
access are those of the data that were converted.

Two ways in:

- what ``write`` wrote comes back as it was, without any option;
- any other data set needs a ``panel`` (which codes are which features) and what a stay is: ``anchor`` (a code
  that starts one), ``labels`` (one stay a label), or both.

A label's ``prediction_time`` is inclusive: an event at that very time is used, one a microsecond later is not. That
cut comes before anything else is done with the events. Code ``MEDS_DEATH`` is never a feature, whatever the
panel says, and a note counts the stays in which somebody dies before the window ends.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.meds_export import HOUR, is_written, read_written, write
from auscult.core.data.meds_files import STATIC_TIME, Codes, Tasks, find, is_code, keys, read, read_tasks, scan, starts
from auscult.core.data.ragged import gather
from auscult.core.errors import InputError

__all__ = ["load", "write"]

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
STAY = "icustay_id"
YEAR = 365.25 * 24 * HOUR

Panel = Mapping[str, str | Sequence[str]]


def load(
    path: Path | None = None,
    *,
    panel: Panel | None = None,
    anchor: str | None = None,
    window: float | None = None,
    static: Panel | None = None,
    labels: Path | str | None = None,
) -> Cohort:
    r"""Return the cohort of a MEDS data set.

    Parameters
    ----------
    path
        The root: the folder with ``data/`` and ``metadata/``.
    panel
        Feature -> its codes: a regular expression that matches whole codes, or a list of codes. None for a
        data set that ``write`` wrote. A feature's unit is the ``unit`` column of ``codes.parquet``, else the
        last part of a code of three parts or more (``LAB//220045//bpm``; ``UNK`` is none). Values of one feature
        and time are averaged; rows without ``numeric_value`` are counted and left out.
    anchor
        A code that starts a stay, alone or as a prefix (``ICU_ADMISSION`` also stands for
        ``ICU_ADMISSION//Medical``): hour 0. The stay's id is its ``icustay_id`` where the events have that
        column, else subject and number.
    window
        Hours to keep from the anchor on, both ends inclusive. With ``labels`` and ``anchor`` it may be left out: the
        window ends at the prediction time in any case.
    static
        Static feature -> its codes among the rows without a time. Where such a code has a number, that; else
        which of the codes it is (levels are the last parts of the codes, as in ``GENDER//F``). Age in years at
        the anchor is added wherever ``MEDS_BIRTH`` is known.
    labels
        A label file or a folder of them, whose name is the label's. One stay a label: it ends at the prediction
        time and begins at the last ``anchor`` before, or ``window`` hours before where ``anchor`` is None.
        Labels without an anchor are dropped and counted.

    Raises
    ------
    InputError
        Where the folder is no MEDS 0.4 data set, a subject lies in two files or is not sorted by time, a label
        is null or of an unknown subject, the codes of a feature have several units, or an option is missing.

    Examples
    --------
    >>> load(
    ...     Path("mimic-iv-meds"),
    ...     panel={"heart rate": r"LAB//220045//.*", "lactate": ["LAB//RESULT//50813//mmol/L"]},
    ...     static={"sex": r"GENDER//.*"},
    ...     anchor="ICU_ADMISSION",
    ...     window=48,
    ... )  # doctest: +SKIP
    """
    root, files, metadata = find(path)
    if panel is None and not (anchor or labels or static or window) and is_written(root, metadata):
        return read_written(root, metadata, files)
    if not panel:
        raise InputError(f"{root} needs panel={{feature: codes}}: MEDS does not say which codes are features")
    if anchor is None and labels is None:
        raise InputError("say what a stay is: anchor=CODE, labels=FILE, or both")
    if window is None and (anchor is None or labels is None):
        raise InputError("give window=HOURS: only labels and anchor together say where a stay ends")
    if window is not None and not 0 < window < np.inf:
        raise InputError(f"window is {window} hours: give a positive number")

    codes = scan(root, files)
    features, feature_of = _features(panel, codes)
    constants = {name: _matches("static", name, asked, codes) for name, asked in (static or {}).items()}
    absent = [
        f"no row has the code {code!r} of {name!r}"
        for name, asked in (*panel.items(), *(static or {}).items())
        if not isinstance(asked, str)
        for code in asked
        if not codes.rows.get(code)
    ]
    tasks = None if labels is None else read_tasks(Path(labels))
    shards = [_read_shard(file, feature_of, constants, anchor, window, tasks) for file in files]
    provenance = {
        "data_set": str(metadata.get("dataset_name") or "MEDS"),
        "licence": str(metadata.get("license") or "that of the data that were converted"),
        "folder": root.name,
        "options": json.dumps({"panel": panel, "anchor": anchor, "window": window, "static": static}, default=list),
    }
    return _assemble(shards, features, constants, tasks, codes, provenance, absent)


class _Shard(NamedTuple):
    """The stays of one file, one an entry, and their events and static rows, one an entry too."""

    subject: NDArray[np.int64]
    start: NDArray[np.int64]
    age: NDArray[np.float64]
    died: NDArray[np.bool_]
    stay_id: list[Any]
    label: NDArray[np.int64]  # position among the labels; empty without labels
    event: list[NDArray[Any]]  # stay, hours, feature, value
    fixed: list[NDArray[Any]]  # subject, constant, which of its codes, value
    subjects: NDArray[np.int64]
    rows: dict[str, int]


def _matches(what: str, name: str, asked: str | Sequence[str], codes: Codes) -> list[str]:
    """Return the codes that one entry of a panel means, sorted."""
    try:
        pattern = re.compile(asked) if isinstance(asked, str) else None
    except re.error as error:
        raise InputError(f"{what} {name!r} has {asked!r}, which is no regular expression: {error}") from None
    found = [code for code in codes.rows if (pattern.fullmatch(code) if pattern else code in asked)]
    found = sorted(code for code in found if not is_code(DEATH, code))
    if not found:
        raise InputError(f"{what} {name!r} matches none of the {len(codes.rows)} codes, it asks for {asked!r}")
    return found


def _features(panel: Panel, codes: Codes) -> tuple[tuple[Feature, ...], dict[str, int]]:
    features: list[Feature] = []
    feature_of: dict[str, int] = {}
    for name, asked in panel.items():
        matches = _matches("feature", name, asked, codes)
        taken = [code for code in matches if code in feature_of]
        if taken:
            other = features[feature_of[taken[0]]].name
            raise InputError(f"code {taken[0]!r} is in two features, {other!r} and {name!r}: keep it in one")
        units: dict[str, int] = {}
        for code in matches:
            if unit := codes.unit[code]:
                units[unit] = units.get(unit, 0) + codes.rows[code]
        held = {unit: rows for unit, rows in units.items() if rows} or units
        if len(held) > 1:
            counts = ", ".join(f"{unit} ({rows} rows)" for unit, rows in sorted(held.items()))
            raise InputError(f"feature {name!r} has several units, {counts}: make it one feature a unit")
        feature_of |= dict.fromkeys(matches, len(features))
        features.append(Feature(name, unit=next(iter(held), None)))
    return tuple(features), feature_of


def _read_shard(
    file: Path,
    feature_of: dict[str, int],
    constants: dict[str, list[str]],
    anchor: str | None,
    window: float | None,
    tasks: Tasks | None,
) -> _Shard:
    table = read(file, ["subject_id", "time", "code"], others=["numeric_value", STAY])
    subject, time = keys(table)
    texts = table["code"].combine_chunks().dictionary_encode()
    code_of, code = texts.dictionary.to_pylist(), texts.indices.to_numpy()
    value = np.full(len(table), np.nan)
    if "numeric_value" in table.column_names:
        value = table["numeric_value"].to_numpy().astype(np.float64)
    timed = time > STATIC_TIME

    def rows_of(wanted: str) -> NDArray[np.int64]:
        return np.flatnonzero(np.array([is_code(wanted, text) for text in code_of], np.bool_)[code] & timed)

    owner, start, end, stay_id, label = _stays(table, subject, time, rows_of(anchor) if anchor else None, window, tasks)
    born = dict(zip(subject[rows_of(BIRTH)][::-1].tolist(), time[rows_of(BIRTH)][::-1].tolist(), strict=True))
    age = np.array([at - born.get(who, np.nan) for who, at in zip(owner.tolist(), start.tolist(), strict=True)]) / YEAR
    deaths = rows_of(DEATH)
    low, high = _between(subject[deaths], time[deaths], owner, start, end)

    feature = np.array([feature_of.get(text, -1) for text in code_of], np.int64)[code]
    known = ~np.isnan(value)
    usable = np.flatnonzero((feature >= 0) & timed & known)
    first, last = _between(subject[usable], time[usable], owner, start, end)
    stay = np.repeat(np.arange(len(owner)), last - first)
    row = usable[np.arange(len(stay)) + np.repeat(first - (np.cumsum(last - first) - (last - first)), last - first)]
    hours = (time[row] - start[stay]) / HOUR

    place = {text: (i, j) for i, asked in enumerate(constants.values()) for j, text in enumerate(asked)}
    which = np.array([place.get(text, (-1, -1)) for text in code_of], np.int64).reshape(-1, 2)[code]
    fixed = np.flatnonzero((which[:, 0] >= 0) & ~timed)
    return _Shard(
        owner,
        start,
        age,
        high > low,
        stay_id,
        label,
        [stay, hours, feature[row], value[row]],
        [subject[fixed], which[fixed, 0], which[fixed, 1], value[fixed]],
        subject[starts(subject)],
        {
            "read": len(table),
            "panel": int((feature >= 0).sum()),
            "timed": int(((feature >= 0) & timed).sum()),
            "usable": len(usable),
            "inside": len(np.unique(row)),
        },
    )


def _stays(
    table: pa.Table,
    subject: NDArray[np.int64],
    time: NDArray[np.int64],
    anchors: NDArray[np.int64] | None,
    window: float | None,
    tasks: Tasks | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[Any], NDArray[np.int64]]:
    """Return subject, first and last microsecond, id (None: to be made) and label of the stays of a file."""
    width = None if window is None else round(window * HOUR)
    if anchors is not None:
        again = (np.diff(subject[anchors]) == 0) & (np.diff(time[anchors]) == 0)
        anchors = anchors[np.concatenate([[True], ~again])] if len(anchors) else anchors
    if tasks is None:
        assert anchors is not None
        assert width is not None
        owner, start = subject[anchors], time[anchors]
        end = start + width
        followed = np.flatnonzero(owner[1:] == owner[:-1])
        end[followed] = np.minimum(end[followed], start[followed + 1] - 1)
        ids = table[STAY].take(pa.array(anchors)).to_pylist() if STAY in table.column_names else [None] * len(owner)
        return owner, start, end, ids, np.empty(0, np.int64)
    label = np.flatnonzero(np.isin(tasks.subject, subject))
    owner, end = tasks.subject[label], tasks.time[label]
    if anchors is None:
        assert width is not None
        return owner, end - width, end, [None] * len(label), label
    first, last = _between(subject[anchors], time[anchors], owner, np.full(len(owner), STATIC_TIME), end)
    has = last > first
    owner, end, label = owner[has], end[has], label[has]
    start = time[anchors[last[has] - 1]]
    if width is not None:
        end = np.minimum(end, start + width)
    return owner, start, end, [None] * len(label), label


def _between(
    subject: NDArray[np.int64],
    time: NDArray[np.int64],
    owner: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the rows of each owner from ``start`` to ``end``, both inclusive, begin and end."""
    begins = starts(subject)
    lows, highs = begins.tolist(), np.append(begins[1:], len(subject)).tolist()
    bounds = {number: (low, high) for number, low, high in zip(subject[begins].tolist(), lows, highs, strict=False)}
    first, last = np.zeros(len(owner), np.int64), np.zeros(len(owner), np.int64)
    for i, number in enumerate(owner.tolist()):
        low, high = bounds.get(number, (0, 0))
        first[i] = low + np.searchsorted(time[low:high], start[i], "left")
        last[i] = low + np.searchsorted(time[low:high], end[i], "right")
    return first, np.maximum(first, last)


def _assemble(
    shards: list[_Shard],
    features: tuple[Feature, ...],
    constants: dict[str, list[str]],
    tasks: Tasks | None,
    codes: Codes,
    provenance: dict[str, str],
    notes: list[str],
) -> Cohort:
    owner, start, age, died, label = (
        np.concatenate([getattr(shard, name) for shard in shards])
        for name in ("subject", "start", "age", "died", "label")
    )
    if tasks is not None:
        everybody = np.concatenate([shard.subjects for shard in shards])
        strangers = np.setdiff1d(tasks.subject, everybody)
        if len(strangers):
            raise InputError(
                f"{len(strangers)} subjects of the label file are not in the data, {strangers[0]} is the first: "
                "give the labels of these data"
            )
    if not len(owner):
        raise InputError("no stay was found: no event has the anchor's code, or no label has an anchor before it")
    offsets = np.cumsum([0, *(len(shard.subject) for shard in shards)])
    stay = np.concatenate([shard.event[0] + offset for shard, offset in zip(shards, offsets, strict=False)])
    hours, feature, value = (np.concatenate([shard.event[i] for shard in shards]) for i in (1, 2, 3))
    gathered = gather(stay, hours, feature, value, records=len(owner), features=len(features))

    subject, constant, which, fixed = (np.concatenate([shard.fixed[i] for shard in shards]) for i in range(4))
    static_features: list[Feature] = []
    static: list[NDArray[Any]] = []
    row_of = {number: row for row, number in enumerate(np.unique(owner).tolist())}
    for i, (name, asked) in enumerate(constants.items()):
        rows = constant == i
        numeric = ~np.isnan(fixed[rows]).all() if rows.any() else False
        column = np.full(len(row_of), np.nan)
        several = set()
        for number, said in zip(subject[rows].tolist(), (fixed if numeric else which)[rows].tolist(), strict=True):
            if number in row_of:
                before = column[row_of[number]]
                if not np.isnan(before) and before != said:
                    several.add(number)
                column[row_of[number]] = said
        if several:
            notes.append(
                f"{len(several)} subjects have several values of static {name!r}: the last of their rows counts"
            )
        ends = [code.split("//")[-1] for code in asked]
        levels = tuple(ends if len(set(ends)) == len(ends) else asked)
        static_features.append(Feature(name) if numeric else Feature(name, kind="categorical", levels=levels))
        static.append(column[[row_of[number] for number in owner.tolist()]])
    if not np.isnan(age).all() and "age" not in constants:
        static_features.append(Feature("age", unit="years", decimals=0))
        static.append(age)

    stay_ids = [name for shard in shards for name in shard.stay_id]
    made = any(name is None for name in stay_ids) or len(set(stay_ids)) < len(stay_ids)
    read = {key: sum(shard.rows[key] for shard in shards) for key in shards[0].rows}
    n = len(owner)
    attrition = [AttritionRow("read", read["read"], n, 0, "every event; one stay an anchor or label")]
    for step, key, before, reason in (
        ("keep the panel", "panel", "read", "rows: their codes belong to no feature"),
        ("drop rows without a time", "timed", "panel", "rows: static ones have no place in a series"),
        ("drop rows without a number", "usable", "timed", "rows: numeric_value is null"),
        ("keep the windows", "inside", "usable", "rows: before the anchor, after the window or in no stay"),
    ):
        attrition.append(AttritionRow(step, read[key], n, read[before] - read[key], reason))
    if len(value) > read["inside"]:
        again, reason = len(value) - read["inside"], "rows: they lie in the windows of several stays"
        attrition.append(AttritionRow("use rows again", len(value), n, again, reason))
    cells = int((~np.isnan(gathered.values)).sum())
    attrition.append(
        AttritionRow("average equal times", cells, n, len(value) - cells, "rows: several of one feature and time")
    )
    return Cohort(
        record_id=_numbered(owner) if made else np.array(stay_ids),
        subject_id=owner,
        time=gathered.time,
        values=gathered.values,
        length=gathered.length,
        features=features,
        static=np.array(static, np.float32).reshape(-1, n).T,
        static_features=tuple(static_features),
        labels={} if tasks is None else {tasks.name: tasks.value[label]},
        anchor=start.astype("datetime64[us]"),
        attrition=tuple(attrition),
        provenance=provenance,
        notes=(*notes, *_notes(tasks, label, died, gathered.length, codes)),
    )


def _notes(
    tasks: Tasks | None, label: NDArray[Any], died: NDArray[np.bool_], length: NDArray[np.int64], codes: Codes
) -> tuple[str, ...]:
    counts = {
        "labels have no anchor at or before their prediction time and were dropped": (
            0 if tasks is None else len(tasks.subject) - len(label)
        ),
        "stays have a death inside their window: their outcome is known before its end": int(died.sum()),
        "stays have no event of the panel": int((length == 0).sum()),
        "codes are not in metadata/codes.parquet": codes.unlisted,
    }
    said = tuple(f"{count} {what}" for what, count in counts.items() if count)
    return said if tasks is None else (*tasks.notes, *said)


def _numbered(owner: NDArray[np.int64]) -> NDArray[Any]:
    """Name the stays of each subject by its number and their own: 7_1, 7_2."""
    seen: dict[int, int] = {}
    names = []
    for number in owner.tolist():
        seen[number] = seen.get(number, 0) + 1
        names.append(f"{number}_{seen[number]}")
    return np.array(names)
