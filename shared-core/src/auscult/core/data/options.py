"""Whether the options of a reader are of the kinds that its annotations say."""

import inspect
import numbers
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from auscult.core.errors import InputError

_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    bool: ((bool, np.bool_), "true or false"),
    int: ((numbers.Integral,), "a whole number"),
    float: ((numbers.Real,), "a number"),
    Path: ((os.PathLike,), "a path"),
    NoneType: ((NoneType,), "null"),
}


def check_options(name: str, load: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a reader does not have, or that are of another kind than it takes.

    Parameters
    ----------
    name
        What the reader is called.
    load
        The reader: a function of a path and of the options.
    options
        Given by name.

    Raises
    ------
    InputError
        Where one does not fit; which texts an option knows is left to the reader.
    """
    try:
        inspect.signature(load).bind(None, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(load).parameters)[1:])
        raise InputError(f"the reader of {name!r} {error}; its options are: {known}") from None
    hints = get_type_hints(load)
    for option, value in options.items():
        if not _fits(value, hints[option]):
            kinds = " or ".join(dict.fromkeys(_kinds(hints[option])))
            raise InputError(f"{option} is {value!r}: the reader of {name!r} takes {kinds} there")


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, parts[0]) and _fits(held, parts[1]) for key, held in value.items()
        )
    if origin is Sequence:
        ordered = isinstance(value, Collection) and not isinstance(value, Mapping | set | frozenset)
        return ordered and all(_fits(held, parts[0]) for held in value)
    if origin is Literal or hint is Any:
        return True
    if hint not in _KINDS:
        return isinstance(value, hint)
    if hint in (int, float) and isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, _KINDS[hint][0])


def _kinds(hint: Any) -> list[str]:
    """Say in words what a hint stands for."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return [kind for part in parts for kind in _kinds(part)]
    if origin is Mapping:
        return ["a mapping" if Any in parts else f"a mapping to {' or '.join(_kinds(parts[1]))}"]
    if origin is Sequence:
        return [f"a list of {' or '.join(_kinds(parts[0])).removeprefix('a ')}s"]
    return [_KINDS[hint][1] if hint in _KINDS else f"a {hint.__name__}"]
