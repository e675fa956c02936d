"""Panels: which codes of which raw tables become which feature, how they are read, and which values are plausible.

>>> from auscult.core.data.conversions import times
>>> from auscult.core.data.feature import Feature
>>> height = Variable(
...     Feature("Height", unit="cm"),
...     (Source("chartevents", (226730,)), Source("chartevents", (226707,), times(2.54))),
...     Bounds(0, 275),
... )
>>> Panel("mine", (height,)).features[0].name
'Height'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from auscult.core.data.conversions import NUMBER
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import Combine
from auscult.core.errors import InputError

RangeRule = Literal["none", "drop", "clip"]


@dataclass(frozen=True)
class Source:
    """Codes of one raw table that are read alike.

    Parameters
    ----------
    table
        The table's name, as the reader calls it.
    codes
        Its codes: all whole numbers or all texts.
    value
        How the value is read, in the feature's unit: an expression of :mod:`auscult.core.data.conversions`.
    """

    table: str
    codes: tuple[int, ...] | tuple[str, ...]
    value: str = NUMBER


@dataclass(frozen=True)
class Bounds:
    """Which values are plausible, bounds included; one that is None is open.

    Parameters
    ----------
    low, high
        Beyond these a value is an outlier.
    valid_low, valid_high
        Between these and the outer ones it is implausible, but may be moved to the nearest of these; the outer
        ones by default.
    """

    low: float | None = None
    high: float | None = None
    valid_low: float | None = None
    valid_high: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "valid_low", self.low if self.valid_low is None else self.valid_low)
        object.__setattr__(self, "valid_high", self.high if self.valid_high is None else self.valid_high)
        known = [bound for bound in (self.low, self.valid_low, self.valid_high, self.high) if bound is not None]
        if known != sorted(known):
            raise InputError(f"the bounds {known} do not increase: give low, valid_low, valid_high, high in order")


@dataclass(frozen=True)
class Variable:
    """A feature and where its values come from.

    Parameters
    ----------
    feature
        What the values mean.
    sources
        In order of priority, and so are the codes of each. A variable without any is a column without values.
    bounds
        Which values are plausible.
    combine
        How values of one time become one, where it is not what the reader was asked for: ``sum`` for amounts.
    sum_of
        Features whose sum stands in at a time when all of them have a value and this one has none.
    by_text
        Under the rule ``text`` for duplicates: whether the largest text wins instead of the largest number.
    """

    feature: Feature
    sources: tuple[Source, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    combine: Combine | None = None
    sum_of: tuple[str, ...] = ()
    by_text: bool = False

    def __post_init__(self) -> None:
        codes = [(source.table, code) for source in self.sources for code in source.codes]
        twice = [code for code in codes if codes.count(code) > 1]
        if twice:
            raise InputError(f"{self.feature.name!r} names the code {twice[0][1]} of {twice[0][0]} twice: name it once")


@dataclass(frozen=True)
class Panel:
    """Variables that are read together; their order is that of the cohort's features.

    Parameters
    ----------
    name
        For messages and the provenance.
    variables
        At least one; each feature's name once.
    """

    name: str
    variables: tuple[Variable, ...]

    def __post_init__(self) -> None:
        names = [variable.feature.name for variable in self.variables]
        twice = [name for name in names if names.count(name) > 1]
        unknown = [part for variable in self.variables for part in variable.sum_of if part not in names]
        if not names:
            raise InputError(f"the panel {self.name!r} is empty: give it one variable at least")
        if twice:
            raise InputError(f"the panel {self.name!r} has {twice[0]!r} twice: name each feature once")
        if unknown:
            raise InputError(f"the panel {self.name!r} sums {unknown[0]!r}, which it lacks: add the variable")

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features, in order."""
        return tuple(variable.feature for variable in self.variables)

    @property
    def tables(self) -> tuple[str, ...]:
        """The raw tables that the panel reads, in order of first use."""
        return tuple(dict.fromkeys(source.table for variable in self.variables for source in variable.sources))

    def codes(self, table: str) -> list[int | str]:
        """Return the codes of a raw table that the panel reads, in order of first use."""
        sources = [source for variable in self.variables for source in variable.sources if source.table == table]
        return list(dict.fromkeys(code for source in sources for code in source.codes))


def choose(panels: Mapping[str, Panel], panel: str | Panel) -> Panel:
    """Return a panel by its name, or the panel itself.

    Raises
    ------
    InputError
        Where there is none of the name.
    """
    if isinstance(panel, Panel):
        return panel
    if panel not in panels:
        raise InputError(f"there is no panel {panel!r}: use {' or '.join(map(repr, panels))}, or a Panel of your own")
    return panels[panel]
