"""How the value of a raw row is read: expressions of SQL over its ``number``, ``text`` and ``unit``.

NULL says that the row has no usable value. Each function takes an expression and returns one.

>>> times(2.54)
'(number) * 2.54'
"""

from collections.abc import Mapping, Sequence

NUMBER = "number"
# The text alone decides where there is one: 'ERROR' or '>1000' is no measurement, whatever stands beside it.
PLAIN_TEXT = (
    r"(CASE WHEN text IS NULL THEN number WHEN regexp_full_match(trim(text), '[0-9]+(\.[0-9]*)?|\.[0-9]+') "
    "THEN TRY_CAST(trim(text) AS DOUBLE) END)"
)
NUMBER_OR_TEXT = f"coalesce(number, {PLAIN_TEXT})"


def times(factor: float, value: str = NUMBER) -> str:
    """Return a value times a factor."""
    return f"({value}) * {factor!r}"


def fahrenheit(value: str = NUMBER) -> str:
    """Return degrees Celsius of degrees Fahrenheit."""
    return f"({value} - 32) / 1.8"


def celsius(value: str = NUMBER) -> str:
    """Return degrees Celsius, where 79 and more can only be Fahrenheit."""
    return f"CASE WHEN {value} >= 79 THEN ({value} - 32) / 1.8 ELSE {value} END"


def oxygen_fraction(value: str = NUMBER) -> str:
    """Return a fraction of inspired oxygen: from 20 on per cent, between 1 and 20 a flow, a pressure none at all."""
    return (
        f"CASE WHEN unit ILIKE '%torr%' THEN NULL WHEN {value} <= 1 THEN {value} "
        f"WHEN {value} BETWEEN 20 AND 100 THEN {value} / 100 END"
    )


def percent(value: str = NUMBER) -> str:
    """Return a per cent, where 1 and less can only be a fraction."""
    return f"CASE WHEN {value} <= 1 THEN {value} * 100 ELSE {value} END"


def before_slash(otherwise: str = NUMBER) -> str:
    """Return the systolic pressure where the text is like 120/80."""
    return f"CASE WHEN text LIKE '%/%' THEN TRY_CAST(split_part(text, '/', 1) AS DOUBLE) ELSE {otherwise} END"


def after_slash(otherwise: str = NUMBER) -> str:
    """Return the diastolic pressure where the text is like 120/80."""
    return f"CASE WHEN text LIKE '%/%' THEN TRY_CAST(split_part(text, '/', 2) AS DOUBLE) ELSE {otherwise} END"


def unless_unit(pattern: str, value: str, otherwise: str) -> str:
    """Return ``otherwise`` where the unit is like the pattern, in any case of letters; the value elsewhere."""
    return f"CASE WHEN unit ILIKE {literal(pattern)} THEN {otherwise} ELSE {value} END"


def levels(words: Mapping[str, float]) -> str:
    """Return the level that a text stands for, whatever the case of its letters."""
    known = {word.lower(): level for word, level in words.items()}
    cases = " ".join(f"WHEN {literal(word)} THEN {literal(level)}" for word, level in known.items())
    return f"CASE lower(trim(text)) {cases} END"


def positions(listed: Sequence[str], value: str = "text") -> str:
    """Return the position of a text, letter for letter, or of a number, in a list."""
    cases = " ".join(f"WHEN {literal(item) if value == 'text' else item} THEN {i}" for i, item in enumerate(listed))
    return f"CASE {value} {cases} END"


def literal(value: str | float) -> str:
    """Return a text or a number as SQL writes it."""
    return repr(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"
