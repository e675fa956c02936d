"""Labels and decisions: which value is positive, and values that are text in one place and a number in another."""

from collections.abc import Hashable, Iterable, Sequence
from math import isfinite

from auscult.core.errors import InputError
from auscult.m3fair.attributes import list_values
from auscult.m3fair.table import CountTable


def match_value(text: str, values: Sequence[Hashable], name: str, role: str = "value") -> Hashable:
    """Return the value of a column that a text names: equal as text, or else as a number.

    Raises
    ------
    InputError
        When no value of the column is meant.
    """
    for value in values:
        if value is not None and str(value) == text:
            return value
    number = as_number(text)
    if not isinstance(number, str):
        for value in values:
            if as_number(value) == number and value is not None:
                return value
    raise InputError(f"the {role} {text!r} of {name!r} does not occur: it has {list_values(values)}")


def as_number(value: Hashable) -> Hashable:
    """Return the number that a text writes, whole ones as int; anything else as it is."""
    if not isinstance(value, str) or "_" in value:
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        return value
    if not isfinite(number):
        return value
    return int(number) if number.is_integer() else number


def check_label(values: Sequence[Hashable], name: str) -> None:
    """Refuse a label that is missing in some rows or has other than two values."""
    if None in values:
        raise InputError(f"the label {name!r} is missing in some rows: drop or fill these rows")
    if len(values) != 2:
        number = f"{len(values)} value{'s' if len(values) > 1 else ''}"
        raise InputError(f"the label {name!r} has {number} ({list_values(values)}): it must have exactly two")


def choose_positive(values: Sequence[Hashable], positive: str | None, name: str) -> Hashable:
    """Return the positive one of a label's two values: the one named, else 1 of 0 (or -1) and 1, or true of false.

    Of 1 and 2, say, only who coded them knows.
    """
    check_label(values, name)
    if positive is not None:
        return match_value(positive, values, name, role="positive value")
    for value, other in (values, values[::-1]):
        texts = str(value).lower(), str(other).lower()
        if (as_number(value) == 1 and as_number(other) in (0, -1)) or texts == ("true", "false"):
            return value
    raise InputError(
        f"the label {name!r} has the values {list_values(values)}: say which is positive (positive=, --positive)"
    )


def unify_outcomes(table: CountTable, label: str, decision: str) -> CountTable:
    """Return a table whose label and decision are numbers where all their texts write numbers.

    So that a label of ``1`` and a decision of ``1.0`` agree.
    """
    columns = {name: table.values[table.columns.index(name)] for name in (label, decision)}
    numbers = {name: {value: as_number(value) for value in values} for name, values in columns.items()}
    if any(isinstance(number, str) for mapping in numbers.values() for number in mapping.values()):
        return table
    return table.map_values(numbers)


def unify_numbers(table: CountTable) -> CountTable:
    """Return a table in which texts that write numbers are numbers, in the columns that hold a number too.

    So that a group of ``1`` in a text file and of 1 in a parquet file is one. A column of nothing but text stays as
    it is: there ``01`` and ``1`` differ.
    """
    mixed = [any(isinstance(value, (int, float)) for value in values) for values in table.values]
    return table.map_values(
        {
            name: {value: as_number(value) for value in values}
            for name, values, numbers in zip(table.columns, table.values, mixed, strict=True)
            if numbers
        }
    )


def align_values(values: Iterable[Hashable], known: Iterable[Hashable]) -> dict[Hashable, Hashable]:
    """Return value -> the known value that it is: itself, or the number of its text, or the text of its number."""
    there = dict.fromkeys(known)
    other = {(isinstance(one, str), as_number(one)): one for one in there}
    return {
        value: value if value in there else other.get((not isinstance(value, str), as_number(value)), value)
        for value in values
    }


def check_decision(values: Sequence[Hashable], label_values: Sequence[Hashable], name: str, label: str) -> None:
    """Refuse decisions that are missing or are none of the label's values."""
    for value in values:
        if value is None:
            raise InputError(f"the decision {name!r} is missing in some rows: drop or fill these rows")
        if value not in label_values:
            raise InputError(
                f"the decision {name!r} has the value {value!r}, which the label {label!r} does not have "
                f"({list_values(label_values)}): give decisions here and scores as y_score or --score"
            )
