"""One plain form for every value: what is stored, hashed, compared and printed.

Configurations, records and keys all pass through :func:`plain`, so that a frozen dataclass, a pydantic
model, a numpy scalar and the same content read back from JSON mean the same thing.
"""

import dataclasses
import datetime
import enum
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from auscult.core.errors import InputError

_LONGEST_SHOWN = 60


def plain(value: object) -> Any:
    """Return a copy made of dict, list, str, int, float, bool and None only.

    Dataclasses and pydantic models become dicts, tuples become lists, paths and dates become text, numpy
    scalars and arrays become numbers and lists; NaN and infinities stay.

    Raises
    ------
    InputError
        A value of a type that has no plain form, with its type.

    Examples
    --------
    >>> from pathlib import Path
    >>> plain({"folder": Path("runs/a"), "sizes": (1, 2)})
    {'folder': 'runs/a', 'sizes': [1, 2]}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return plain(value.model_dump(by_alias=True, round_trip=True))
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise InputError(
        f"a value of type {type(value).__name__} cannot be stored or hashed: "
        "use text, numbers, lists, mappings, paths, dates, dataclasses or pydantic models"
    )


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, 1.0 written as 1.

    Equal values have equal texts whatever the order of their keys. NaN and infinities are written as
    ``NaN`` and ``Infinity``, which Python's json reads back.
    """
    return json.dumps(_normal(plain(value)), sort_keys=True, separators=(",", ":"))


def digest(value: object) -> str:
    """Return the SHA-256 (64 hex digits) of a value's :func:`canonical_json`.

    Examples
    --------
    >>> digest({"beta": 0.1, "steps": 10}) == digest({"steps": 10.0, "beta": 0.1})
    True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def difference(old: object, new: object) -> list[str]:
    """Return one line for each key whose value differs: ``"training.beta: 0.1 -> 0.2"``.

    A key that one side lacks reads ``(absent)``; a long text is shown from the first difference on.
    """
    return _difference(_normal(plain(old)), _normal(plain(new)), "")


def finite(value: Any) -> Any:
    """Return a strict-JSON copy: None in place of NaN and infinities, and text for types JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return str(value)


def _plain_key(key: object) -> str | int | float | bool:
    if isinstance(key, (str, int, float)):
        return key
    raise InputError(f"the key {key!r} of type {type(key).__name__} cannot be stored or hashed: use text")


def _normal(value: Any) -> Any:
    """Make equal values identical: text keys as in JSON, whole floats as integers (exact below 2**53)."""
    if isinstance(value, dict):
        return {str(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _difference(old: Any, new: Any, key: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in dict.fromkeys((*old, *new)):
            inner = f"{key}.{name}" if key else name
            if name not in old or name not in new:
                sides = ("(absent)" if name not in side else _shown(side[name]) for side in (old, new))
                lines.append(f"{inner}: {' -> '.join(sides)}")
            else:
                lines += _difference(old[name], new[name], inner)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for place, pair in pairs for line in _difference(*pair, f"{key}[{place}]")]
    if json.dumps(old) == json.dumps(new):
        return []
    start = 0
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > _LONGEST_SHOWN:
        shared = (place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
        start = max(0, next(shared, min(len(old), len(new))) - 10)
    return [f"{key or 'value'}: {_shown(old, start)} -> {_shown(new, start)}"]


def _shown(value: Any, start: int = 0) -> str:
    if isinstance(value, str) and start:
        value = "..." + value[start:]
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
