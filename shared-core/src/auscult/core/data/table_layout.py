"""What a user says of a table: which column plays which role, and how cells are to be read."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from auscult.core.data.table_values import HOURS, TextRule
from auscult.core.errors import InputError

LABELS = ("mortality", "readmission", "los_days")
ROLES = ("subject", "record", "time", "code", "value", "unit", "text", "anchor", "static", "drop", *LABELS)
# What a column is called where its role is not named.
USUAL = {
    "subject": ("subject", "subject_id"),
    "record": ("record", "record_id"),
    "time": ("time",),
    "code": ("code",),
    "value": ("value",),
    "unit": ("unit",),
    "text": ("text", "text_value"),
    "anchor": ("anchor",),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The options of :func:`auscult.core.data.table.load`, checked and in one form."""

    columns: Mapping[str, Any] | str | None = None
    codes: Sequence[str] | str | None = None
    units: Mapping[str, str] | str | None = None
    time_unit: Literal["minutes", "hours", "days"] = "hours"
    anchor: Literal["first_event"] | None = None
    text: TextRule = "refuse"
    decimal: Literal[".", ","] = "."
    roles: Mapping[str, str] = field(init=False)
    several: Mapping[str, tuple[str, ...]] = field(init=False)
    panel: tuple[str, ...] | None = field(init=False)
    wanted: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        columns = _pairs("columns", self.columns)
        for role in columns:
            if role not in ROLES:
                near = difflib.get_close_matches(role, ROLES, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise InputError(f"columns names the role {role!r}; {hint}roles are {', '.join(ROLES)}")
        for name, value, known in (
            ("time_unit", self.time_unit, tuple(HOURS)),
            ("anchor", self.anchor, (None, "first_event")),
            ("text", self.text, get_args(TextRule)),
            ("decimal", self.decimal, (".", ",")),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}: use {' or '.join(repr(k) for k in known if k)}")
        several = {role: columns.get(role, ()) for role in ("static", "drop")}
        split = {role: names.split("+") if isinstance(names, str) else names for role, names in several.items()}
        codes = self.codes.split(",") if isinstance(self.codes, str) else self.codes
        derived: dict[str, Any] = {
            "roles": {role: name for role, name in columns.items() if role not in several},
            "several": {role: tuple(names) for role, names in split.items()},
            "panel": None if codes is None else tuple(code.strip() for code in codes),
            "wanted": _pairs("units", self.units),
        }
        for name, part in derived.items():
            object.__setattr__(self, name, part)
        if self.panel is not None and (not self.panel or len(set(self.panel)) < len(self.panel)):
            raise InputError(f"codes is {list(self.panel)}: name each code once, one at least")


def _pairs(option: str, given: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return a mapping as it is, or what 'a=b,c=d' says."""
    if not isinstance(given, str):
        return dict(given or {})
    pairs = [part.partition("=") for part in given.split(",")]
    wrong = ["".join(pair) for pair in pairs if not (pair[0].strip() and pair[2].strip())]
    if wrong:
        raise InputError(f"{option} has {wrong[0]!r}: write pairs as in 'subject=patient,time=when'")
    return {name.strip(): value.strip() for name, _, value in pairs}
