"""What a column of a cohort means."""

from dataclasses import dataclass
from typing import Literal

from auscult.core.errors import InputError


@dataclass(frozen=True)
class ReferenceRange:
    """The normal range of a feature; a bound that is None is open, ``sex`` None means everybody."""

    low: float | None = None
    high: float | None = None
    sex: Literal["female", "male"] | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InputError(f"a reference range from {self.low} to {self.high} is empty: give low <= high")


@dataclass(frozen=True)
class Feature:
    """What one column of ``Cohort.values`` or ``Cohort.static`` means.

    Parameters
    ----------
    name
        The column's name in the source, character for character (trailing blanks included).
    display_name
        The name for readers; ``name`` without surplus blanks by default.
    kind
        ``numeric``, ``ordinal`` (numbers whose order counts, distances do not) or ``categorical``
        (values are codes 0, 1, ... into ``levels``).
    unit
        Unit of the values, None if there is none or it is not known.
    reference_ranges
        Normal ranges: none, one, or one for each sex.
    levels
        The texts that codes stand for; required if categorical, possible if ordinal.
    decimals
        Digits after the point to show; None if not known.
    """

    name: str
    display_name: str = ""
    kind: Literal["numeric", "categorical", "ordinal"] = "numeric"
    unit: str | None = None
    reference_ranges: tuple[ReferenceRange, ...] = ()
    levels: tuple[str, ...] = ()
    decimals: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a feature has no name: give its column's name in the source")
        if self.kind not in ("numeric", "categorical", "ordinal"):
            raise InputError(f"feature {self.name!r} is of kind {self.kind!r}: use numeric, categorical or ordinal")
        if self.levels and self.kind == "numeric":
            raise InputError(f"feature {self.name!r} is numeric and has levels: make it categorical or ordinal")
        if not self.levels and self.kind == "categorical":
            raise InputError(f"feature {self.name!r} is categorical without levels: name what its codes stand for")
        if len(set(self.levels)) < len(self.levels):
            twice = next(level for level in self.levels if self.levels.count(level) > 1)
            raise InputError(f"feature {self.name!r} has the level {twice!r} twice: a text has one code")
        if not self.display_name:
            object.__setattr__(self, "display_name", " ".join(self.name.split()))
