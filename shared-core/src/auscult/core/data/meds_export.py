"""Writing a cohort as MEDS 0.4 so that reading it back gives every bit again.

Everything that other programs read is plain MEDS: ``data/*.parquet``, ``metadata/codes.parquet``,
``metadata/dataset.json`` and one folder of labels a task. What MEDS has no place for goes where its schemas
are open:

- two extra columns of the events: ``record_id`` (the stay; MEDS knows subjects only) and ``hours`` (float32,
  the cohort's own time; ``time`` is the anchor plus these hours, rounded to microseconds);
- extra columns of ``codes.parquet``: role, position, name, kind, unit, levels, reference ranges, decimals;
- a key ``auscult`` in ``dataset.json``: padding, attrition, provenance, notes;
- ``metadata/stays.parquet``: order of the stays, ids as they were, anchors, labels in their own types (the
  label schema is closed, has no stay and no missing value).

Codes: ``STAY_START`` once a stay at its anchor, ``MEASUREMENT//<feature>`` at its time, ``STATIC//<feature>``
without a time, ``STEP`` for a step at which nothing was observed. No label is ever an event.

Schemas: Medical-Event-Data-Standard/meds, ``src/meds/schema.py``, version 0.4.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.core._version import __version__
from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature, ReferenceRange
from auscult.core.data.ragged import gather
from auscult.core.errors import InputError

START, STEP, MEASUREMENT, STATIC = "STAY_START", "STEP", "MEASUREMENT//", "STATIC//"
EPOCH = np.datetime64("1970-01-01", "us")
HOUR = 3_600_000_000  # microseconds
SUBJECTS_A_SHARD = 1000
NOWHERE = -2
BINARY = ("mortality", "readmission")
LABEL_TYPES = {"boolean_value": pa.bool_(), "integer_value": pa.int64(), "float_value": pa.float32()}
RANGE_TYPE = pa.struct([("low", pa.float64()), ("high", pa.float64()), ("sex", pa.string())])


def write(cohort: Cohort, folder: Path | str) -> None:
    """Write a cohort as a MEDS 0.4 data set; ``load_cohort("meds:FOLDER")`` gives the same cohort back.

    Shards hold 1,000 subjects each. Text subject ids become their rank (MEDS wants int64); the text is kept
    in ``metadata/stays.parquet``. A cohort without anchors is written as if each stay began at 1970-01-01, and
    ``dataset.json`` says so. Labels are also written for other programs, one folder a task under ``labels/``:
    at the stay's last step (labels per stay) or at each step, ``boolean_value`` for mortality, readmission and
    labels of type bool, else ``integer_value`` or ``float_value``; unknown ones are left out, as MEDS demands.

    Parameters
    ----------
    cohort
        What to write.
    folder
        The root of the data set; must not exist or be empty. It appears complete or not at all.

    Raises
    ------
    InputError
        Where the folder holds something, or a time or a label does not fit what MEDS can hold.
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} exists and is not an empty folder: choose a new one for the MEDS data set")
    subjects, rank = np.unique(cohort.subject_id, return_inverse=True)
    number = rank if subjects.dtype.kind == "U" else cohort.subject_id
    times = _step_times(cohort)
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f".{root.name}.{os.getpid()}.part")
    try:
        for shard, first in enumerate(range(0, max(len(subjects), 1), SUBJECTS_A_SHARD)):
            rows = np.flatnonzero((rank >= first) & (rank < first + SUBJECTS_A_SHARD))
            _write_table(_events(cohort, rows, number, times), partial / "data" / f"{shard}.parquet")
        _write_table(_codes(cohort), partial / "metadata" / "codes.parquet")
        _write_table(_stays(cohort, number), partial / "metadata" / "stays.parquet")
        text = json.dumps(_metadata(cohort), indent=1, ensure_ascii=False, default=int) + "\n"
        (partial / "metadata" / "dataset.json").write_text(text, encoding="utf-8")
        for name in cohort.labels:
            safe = quote(name, safe=" ").replace(".", "%2E")
            _write_table(_task(cohort, name, number, times), partial / "labels" / safe / "0.parquet")
        if root.exists():
            root.rmdir()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_written(root: Path, metadata: dict[str, Any]) -> bool:
    """Say whether a MEDS data set holds a whole cohort, as ``write`` leaves it."""
    return "auscult" in metadata and (root / "metadata" / "stays.parquet").is_file()


def read_written(root: Path, metadata: dict[str, Any], files: list[Path]) -> Cohort:
    """Return the cohort that ``write`` wrote; of a data set with fewer subjects, the stays that are left."""
    own = metadata["auscult"]
    if own.get("cohort_format") != 1:
        raise InputError(f"{root} holds a cohort in format {own.get('cohort_format')!r}: this version reads format 1")
    names = ["record_id", "code", "numeric_value", "hours"]
    try:
        events = pa.concat_tables([pq.read_table(file, columns=names, partitioning=None) for file in files])
        stays, codes = (pq.read_table(root / "metadata" / name) for name in ("stays.parquet", "codes.parquet"))
        features, static_features = (_features(codes, role) for role in ("value", "static"))
        ids = np.array(stays["record_id"].to_pylist())
        record, code = (events[name].combine_chunks() for name in names[:2])
        value, hours = (events[name].cast(pa.float32()).combine_chunks() for name in names[2:])
    except (pa.ArrowException, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{root} was written as a cohort and altered since ({reason}): write it again") from None

    record, code = record.dictionary_encode(), code.dictionary_encode()
    texts = code.dictionary.to_pylist()
    record_of, code_of = record.indices.to_numpy(), code.indices.to_numpy()
    started = record_of[code_of == texts.index(START)].tolist() if START in texts else []
    present = record.dictionary.take(pa.array(started, pa.int64())).to_pylist()
    left = np.isin(ids, present) if present else np.zeros(len(ids), np.bool_)
    stays, ids = stays.filter(pa.array(left, pa.bool_())), ids[left]
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    strangers = [name for name in record.dictionary.to_pylist() if name not in row_of]
    if strangers:
        raise InputError(f"{root} has events of record {strangers[0]}, which is no stay of its own: write it again")
    stay = np.array([row_of[name] for name in record.dictionary.to_pylist()], np.int64)[record_of]

    number = np.array(value.to_numpy(zero_copy_only=False), np.float32)
    column = _positions(texts, {STEP: -1} | {MEASUREMENT + f.name: i for i, f in enumerate(features)})[code_of]
    steps = column > NOWHERE
    time = hours.to_numpy(zero_copy_only=False)[steps]
    gathered = gather(
        stay[steps], time, column[steps], number[steps], records=len(ids), features=len(features), combine="last"
    )
    column = _positions(texts, {STATIC + f.name: i for i, f in enumerate(static_features)})[code_of]
    fixed = column > NOWHERE
    static = np.full((len(ids), len(static_features)), np.nan, np.float32)
    static[stay[fixed], column[fixed]] = number[fixed]

    padding = ((0, 0), (0, max(own["steps"] - gathered.time.shape[1], 0)))
    time = np.pad(gathered.time, padding, constant_values=np.nan)
    attrition = [AttritionRow(**row) for row in own["attrition"]]
    if not left.all():
        reason = "records: their subjects are no longer among the events"
        attrition.append(AttritionRow("read MEDS", int(gathered.length.sum()), len(ids), int((~left).sum()), reason))
    return Cohort(
        record_id=ids,
        subject_id=np.array(stays["source_subject_id"].to_pylist()),
        time=time,
        values=np.pad(gathered.values, (*padding, (0, 0)), constant_values=np.nan),
        length=gathered.length,
        features=features,
        static=static,
        static_features=static_features,
        labels=_read_labels(stays, gathered.length, time.shape[1], root),
        anchor=stays["anchor"].to_numpy() if own["real_times"] else None,
        attrition=tuple(attrition),
        provenance=own["provenance"],
        notes=tuple(own["notes"]),
    )


def _positions(codes: list[str], position: dict[str, int]) -> NDArray[np.int64]:
    return np.array([position.get(code, NOWHERE) for code in codes], np.int64)


def _step_times(cohort: Cohort) -> NDArray[np.int64]:
    """Return [N, T] microseconds since 1970 of each step, 0 beyond ``length``."""
    anchor = np.zeros(len(cohort)) if cohort.anchor is None else cohort.anchor.astype(np.int64)
    hours = np.where(cohort.valid, cohort.time, 0).astype(np.float64)
    reach = np.abs(hours).max(initial=0) * HOUR + np.abs(anchor.astype(np.float64)).max(initial=0)
    if reach >= 2**63:
        raise InputError(f"a time of {np.abs(hours).max():g} hours does not fit a MEDS timestamp: leave that step out")
    return np.asarray(anchor.astype(np.int64)[:, None] + np.round(hours * HOUR).astype(np.int64), np.int64)


def _events(cohort: Cohort, rows: NDArray[np.int64], number: NDArray[Any], times: NDArray[np.int64]) -> pa.Table:
    """Return the events of some stays, by subject, then static rows, then time."""
    names = [START, STEP, *(MEASUREMENT + f.name for f in cohort.features)]
    names += [STATIC + f.name for f in cohort.static_features]
    observed, static = cohort.observed[rows], ~np.isnan(cohort.static[rows])
    stay, step, feature = np.nonzero(observed)
    bare_stay, bare_step = np.nonzero(cohort.valid[rows] & ~observed.any(axis=2))
    fixed_stay, fixed = np.nonzero(static)
    every = np.arange(len(rows))
    anchor = np.zeros(len(rows), np.int64) if cohort.anchor is None else cohort.anchor[rows].astype(np.int64)
    blocks: list[tuple[Any, ...]] = [  # stay within the shard, code, time, hours, value
        (fixed_stay, 2 + len(cohort.features) + fixed, None, None, cohort.static[rows][fixed_stay, fixed]),
        (every, np.zeros(len(rows), np.int64), anchor, None, None),
        (bare_stay, np.ones(len(bare_stay), np.int64), times[rows][bare_stay, bare_step],
         cohort.time[rows][bare_stay, bare_step], None),
        (stay, 2 + feature, times[rows][stay, step], cohort.time[rows][stay, step],
         cohort.values[rows][stay, step, feature]),
    ]  # fmt: skip

    def joined(index: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        parts = [np.zeros(len(block[0]), dtype) if block[index] is None else block[index] for block in blocks]
        absent = [np.full(len(block[0]), block[index] is None) for block in blocks]
        return np.concatenate(parts).astype(dtype), np.concatenate(absent)

    (within, _), (code, _) = joined(0, "i8"), joined(1, "i8")
    (time, timeless), (hours, hourless), (value, valueless) = joined(2, "i8"), joined(3, "f4"), joined(4, "f4")
    subject = number[rows][within].astype(np.int64)
    order = np.lexsort((code, within, time, ~timeless, subject))
    levels = [(), (), *(f.levels for f in cohort.features), *(f.levels for f in cohort.static_features)]
    text = np.full(len(code), None, dtype=object)
    for index in np.unique(code[~valueless]):
        if levels[index]:
            text[code == index] = np.array(levels[index], dtype=object)[value[code == index].astype(np.int64)]
    columns = {
        "subject_id": pa.array(subject[order], pa.int64()),
        "time": pa.array(time[order].astype("datetime64[us]"), pa.timestamp("us"), mask=timeless[order]),
        "code": pa.array(np.array(names, dtype=object)[code[order]], pa.string()),
        "numeric_value": pa.array(value[order], pa.float32(), mask=valueless[order]),
        "text_value": pa.array(text[order], pa.large_string()),
        "record_id": pa.array(cohort.record_id[rows][within][order]),
        "hours": pa.array(hours[order], pa.float32(), mask=hourless[order]),
    }
    required = ("subject_id", "code", "record_id")
    fields = [pa.field(name, column.type, nullable=name not in required) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _codes(cohort: Cohort) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {"code": START, "description": "the anchor of a stay: where its hours count from", "role": "start"},
        {"code": STEP, "description": "a step at which no feature was observed", "role": "step"},
    ]
    for role, prefix, features in (
        ("value", MEASUREMENT, cohort.features),
        ("static", STATIC, cohort.static_features),
    ):
        for position, feature in enumerate(features):
            meaning = dataclasses.asdict(feature)
            described = {"code": prefix + feature.name, "description": meaning.pop("display_name"), "role": role}
            rows.append({**described, "position": position, **meaning})
    fields = [
        pa.field("code", pa.string(), nullable=False),
        ("description", pa.string()),
        ("parent_codes", pa.list_(pa.string())),
        ("role", pa.string()),
        ("position", pa.int64()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("unit", pa.string()),
        ("levels", pa.list_(pa.string())),
        ("reference_ranges", pa.list_(RANGE_TYPE)),
        ("decimals", pa.int64()),
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _features(codes: pa.Table, role: str) -> tuple[Feature, ...]:
    rows = sorted((row for row in codes.to_pylist() if row["role"] == role), key=lambda row: row["position"])
    return tuple(
        Feature(
            row["name"],
            display_name=row["description"],
            kind=row["kind"],
            unit=row["unit"],
            reference_ranges=tuple(ReferenceRange(**r) for r in row["reference_ranges"]),
            levels=tuple(row["levels"]),
            decimals=row["decimals"],
        )
        for row in rows
    )


def _stays(cohort: Cohort, number: NDArray[Any]) -> pa.Table:
    anchor = np.full(len(cohort), np.datetime64("NaT", "us")) if cohort.anchor is None else cohort.anchor
    columns: dict[str, Any] = {
        "record_id": pa.array(cohort.record_id),
        "subject_id": pa.array(number, pa.int64()),
        "source_subject_id": pa.array(cohort.subject_id),
        "anchor": pa.array(anchor, pa.timestamp("us")),
    }
    for name, label in cohort.labels.items():
        try:
            if label.ndim == 1:
                columns[f"label//{name}"] = pa.array(label)
            else:
                ends = np.concatenate([[0], np.cumsum(cohort.length)])
                columns[f"label//{name}"] = pa.ListArray.from_arrays(
                    pa.array(ends, pa.int32()), pa.array(label[cohort.valid])
                )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"label {name!r} is of type {label.dtype}, which parquet lacks: give float64") from None
    return pa.table(columns)


def _read_labels(stays: pa.Table, length: NDArray[np.int64], steps: int, root: Path) -> dict[str, NDArray[Any]]:
    labels: dict[str, NDArray[Any]] = {}
    for column in stays.column_names:
        if not column.startswith("label//"):
            continue
        name, content = column.removeprefix("label//"), stays[column]
        if not pa.types.is_list(content.type):
            labels[name] = content.to_numpy()
            continue
        lengths = np.array([len(entry) for entry in content.to_pylist()], np.int64)
        if not np.array_equal(lengths, length):
            raise InputError(f"label {name!r} of {root} has another number of steps than its events: write it again")
        cells = content.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        valid = np.arange(steps) < length[:, None]
        labels[name] = np.full(valid.shape, np.nan if cells.dtype.kind == "f" else 0, cells.dtype)
        labels[name][valid] = cells
    return labels


def _task(cohort: Cohort, name: str, number: NDArray[Any], times: NDArray[np.int64]) -> pa.Table:
    """Return a label as MEDS has it: subject, time up to which data may be used, one value."""
    label = cohort.labels[name]
    if label.ndim == 1:
        stay, step = np.arange(len(cohort)), np.maximum(cohort.length - 1, 0)
        value = label
        anchor = np.zeros(len(cohort), np.int64) if cohort.anchor is None else cohort.anchor.astype(np.int64)
        time = np.where(cohort.length > 0, times[stay, step], anchor)
    else:
        stay, step = np.nonzero(cohort.valid)
        value, time = label[stay, step], times[stay, step]
    known = ~np.isnan(value)
    subject, time, value = number[stay][known].astype(np.int64), time[known], value[known]
    binary = label.dtype.kind == "b" or (name in BINARY and bool(np.isin(value, (0, 1)).all()))
    column = "boolean_value" if binary else "float_value" if label.dtype.kind == "f" else "integer_value"
    order = np.lexsort((time, subject))
    try:
        values = pa.array(value[order].astype(np.bool_) if binary else value[order]).cast(LABEL_TYPES[column])
    except pa.ArrowInvalid:
        raise InputError(f"label {name!r} holds numbers beyond 64-bit integers: give it as float64") from None
    fields = [("subject_id", pa.int64()), ("prediction_time", pa.timestamp("us")), (column, LABEL_TYPES[column])]
    schema = pa.schema([pa.field(*field, nullable=False) for field in fields])
    return pa.table([subject[order], time[order].astype("datetime64[us]"), values], schema=schema)


def _metadata(cohort: Cohort) -> dict[str, Any]:
    own: dict[str, Any] = {
        "cohort_format": 1,
        "real_times": cohort.anchor is not None,
        "steps": cohort.time.shape[1],
        "attrition": [dataclasses.asdict(row) for row in cohort.attrition],
        "provenance": cohort.provenance,
        "notes": list(cohort.notes),
    }
    if cohort.anchor is None:
        own["times"] = "the source has no dates: every stay begins at 1970-01-01 here, only differences mean something"
    known = {"dataset_name": "data_set", "license": "licence", "description_uri": "source"}
    return {
        **{key: cohort.provenance[ours] for key, ours in known.items() if ours in cohort.provenance},
        "etl_name": "auscult-core",
        "etl_version": __version__,
        "meds_version": "0.4.1",
        "raw_source_id_columns": ["record_id"],
        "other_extension_columns": ["hours"],
        "auscult": own,
    }


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
