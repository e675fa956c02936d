"""Panels: what each variable is called, its unit and its reference range, as a validated YAML file.

A range is written as in a laboratory's list: ``"3.5 - 5.0"``, ``"< 14"``, ``"> 90"``, or one for each sex,
``"140 - 180 (M), 120 - 160 (F)"``.
"""

import difflib
import functools
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from auscult.core.canonical import digest
from auscult.core.config import load_config
from auscult.core.data.cohort import Cohort
from auscult.core.data.feature import ReferenceRange
from auscult.core.errors import InputError

RangeSet = Literal["paper", "corrected", "none"]
"""Which reference ranges a prompt shows: as published, with known errors corrected, or none."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"(?:([<>])\s*({_NUMBER})|({_NUMBER})\s*-\s*({_NUMBER}))\s*(?:\((M|F)\))?")
_SEX: dict[str, Literal["male", "female"]] = {"M": "male", "F": "female"}
_SEX_WORDS = {"m": "male", "male": "male", "f": "female", "female": "female"}


def parse_range(text: str | None) -> tuple[ReferenceRange, ...]:
    """Return the bounds that a range's text names; none for None.

    Examples
    --------
    >>> parse_range("< 14")
    (ReferenceRange(low=None, high=14.0, sex=None),)
    >>> [(one.sex, one.low) for one in parse_range("140 - 180 (M), 120 - 160 (F)")]
    [('male', 140.0), ('female', 120.0)]
    """
    if text is None:
        return ()
    found = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"the range {text!r} is not understood: write 'LOW - HIGH', '< HIGH' or '> LOW'")
        sign, bound, low, high, sex = match.groups()
        lower = float(low) if low else float(bound) if sign == ">" else None
        upper = float(high) if high else float(bound) if sign == "<" else None
        found.append(ReferenceRange(lower, upper, _SEX.get(sex or "")))
    if len(found) > 1 and {one.sex for one in found} != {"male", "female"}:
        raise ValueError(f"the range {text!r} has several parts: give one range, or one (M) and one (F)")
    return tuple(found)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Correction(_Model):
    """What replaces a unit or a range in the set ``corrected``; a range of null removes it."""

    unit: str | None = None
    range: str | None = None

    @field_validator("range")
    @classmethod
    def _range_is_understood(cls, text: str | None) -> str | None:
        parse_range(text)
        return text


class PanelFeature(_Model):
    """One variable: ``name`` is the data's own column name, ``display`` what a reader sees."""

    name: str
    display: str | None = None
    unit: str | None = None
    range: str | None = None
    corrected: Correction | None = None
    reason: str | None = None

    @field_validator("range")
    @classmethod
    def _range_is_understood(cls, text: str | None) -> str | None:
        parse_range(text)
        return text


class PanelExample(_Model):
    """A patient whom the panel's author made up, with answers.

    Parameters
    ----------
    sex, age
        As the prompt shows them.
    hours
        Times of the visits from the start of the stay.
    values
        Variable -> one value a visit, null where not measured.
    answers
        Task (``outcome``, ``los``, ``readmission``, ``multitask``) -> the numbers of the answer; for ``los`` one a
        visit.
    """

    sex: Literal["female", "male"]
    age: float
    hours: tuple[float, ...]
    values: dict[str, tuple[float | None, ...]]
    answers: dict[str, tuple[float, ...]]

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        n = len(self.hours)
        for name, numbers in {**self.values, **{k: v for k, v in self.answers.items() if k == "los"}}.items():
            if len(numbers) != n or not n:
                raise ValueError(f"an example has {n} visits and {len(numbers)} numbers for {name!r}: give one a visit")
        return self


class Described(NamedTuple):
    """A variable as one set of ranges describes it."""

    name: str
    display: str
    unit: str | None
    range: str | None
    ranges: tuple[ReferenceRange, ...]


class Panel(_Model):
    """The variables that a prompt may show, and how the patient's stay is spoken of.

    Parameters
    ----------
    name
        The panel's name, noted with every run.
    persona
        The system message.
    visit
        What one time step is called.
    time_unit
        Times are shown in days or in hours from the start of the stay.
    features
        The variables; a prompt shows them in the order of the data's columns.
    examples
        Patients of the author's own making, for examples by hand.
    """

    name: str
    persona: str
    visit: str = "visit"
    time_unit: Literal["day", "hour"] = "hour"
    features: tuple[PanelFeature, ...]
    examples: tuple[PanelExample, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [feature.name for feature in self.features]
        strange = {name for one in self.examples for name in one.values} - set(names)
        if strange:
            raise ValueError(f"an example names {min(strange)!r}, which is no feature of the panel")
        twice = [name for name in names if names.count(name) > 1]
        if twice or not names:
            raise ValueError(f"the panel names {twice[0]!r} twice" if twice else "the panel names no feature")
        return self

    @property
    def hash(self) -> str:
        """A digest of the content, in which the order of the features does not count."""
        content = self.model_dump() | {"features": {feature.name: feature.model_dump() for feature in self.features}}
        return digest(content)[:16]

    def describe(self, cohort: Cohort, ranges: RangeSet) -> dict[int, Described]:
        """Return column -> description of the panel's variables, in the order of the cohort's columns.

        With ``"none"`` units are the corrected ones, and no range is given.

        Raises
        ------
        InputError
            The panel names a variable that the data do not have.
        """
        columns = {feature.name: i for i, feature in enumerate(cohort.features)}
        found = {}
        for feature in self.features:
            if feature.name not in columns:
                names = {name.lower(): name for name in columns}
                near = difflib.get_close_matches(feature.name.lower(), names, n=1, cutoff=0.5)
                hint = f"the nearest column is {names[near[0]]!r}" if near else "leave it out of the panel"
                raise InputError(f"the panel {self.name!r} names {feature.name!r}, which the data do not have: {hint}")
            column = columns[feature.name]
            unit, text = feature.unit, feature.range
            if ranges != "paper" and feature.corrected is not None:
                given = feature.corrected.model_fields_set
                unit = feature.corrected.unit if "unit" in given else unit
                text = feature.corrected.range if "range" in given else text
            text = None if ranges == "none" else text
            display = feature.display or cohort.features[column].display_name
            found[column] = Described(feature.name, display, unit, text, parse_range(text))
        return dict(sorted(found.items()))


def sex_levels(cohort: Cohort, described: Iterable[Described] = ()) -> tuple[str, ...] | None:
    """Return what the codes of the static column ``sex`` stand for, M and F of any case as male and female.

    None where the data have no such column.

    Raises
    ------
    InputError
        A described variable has a range for each sex, and the column says neither male nor female.
    """
    column = next((feature for feature in cohort.static_features if feature.name == "sex"), None)
    if column is None:
        return None
    levels = tuple(_SEX_WORDS.get(level.strip().lower(), level) for level in column.levels)
    by_sex = next((one.name for one in described if any(part.sex for part in one.ranges)), None)
    if by_sex is not None and not {"male", "female"} & set(levels):
        held = ", ".join(map(repr, levels)) or "numbers"
        raise InputError(
            f"{by_sex!r} has a reference range for each sex, but the column 'sex' holds {held}: write male and female "
            "there, or M and F, or give one range for all"
        )
    return levels


def load_panel(source: str | Path | None, cohort: Cohort) -> Panel:
    """Return a bundled panel by name, one of your own by path, or, for None, the one that names these very columns.

    Where no bundled panel does, the cohort's own names, units and ranges are taken.

    Raises
    ------
    InputError
        There is no such panel, or the file is not a valid one.
    """
    if source is None:
        columns = {feature.name for feature in cohort.features}
        fitting = (panel for panel in map(_bundled, _names()) if {one.name for one in panel.features} == columns)
        return next(fitting, None) or _from_cohort(cohort)
    if str(source) in _names():
        return _bundled(str(source))
    if not Path(source).suffix:
        raise InputError(f"there is no panel {str(source)!r}: use {', '.join(_names())} or the path of a YAML file")
    return load_config(Panel, Path(source))


def _names() -> list[str]:
    folder = resources.files("auscult.ehr_prompt").joinpath("panels")
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


@functools.cache
def _bundled(name: str) -> Panel:
    with resources.as_file(resources.files("auscult.ehr_prompt").joinpath(f"panels/{name}.yaml")) as path:
        return load_config(Panel, path)


def _from_cohort(cohort: Cohort) -> Panel:
    def text(ranges: tuple[ReferenceRange, ...]) -> str | None:
        parts = []
        for one in ranges:
            bounds = f"{one.low:g} - {one.high:g}" if None not in (one.low, one.high) else ""
            bounds = bounds or (f"< {one.high:g}" if one.high is not None else f"> {one.low:g}")
            parts.append(bounds + (f" ({one.sex[0].upper()})" if one.sex else ""))
        return ", ".join(parts) or None

    features = tuple(PanelFeature(name=f.name, unit=f.unit, range=text(f.reference_ranges)) for f in cohort.features)
    persona = "You are an experienced hospital physician."
    return Panel(name=cohort.provenance.get("data_set", "data"), persona=persona, features=features)
