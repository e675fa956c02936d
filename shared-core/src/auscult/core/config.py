"""Configurations: a frozen dataclass or a pydantic model, read from and written to YAML.

Nothing is guessed and nothing is ignored: an unknown key, a missing key, a key given twice and a value of
the wrong type are each a :class:`~auscult.core.errors.ConfigError` that says where it stands.
"""

import collections.abc
import dataclasses
import difflib
import numbers
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from auscult.core.canonical import canonical_json, difference, digest, plain
from auscult.core.errors import ConfigError

__all__ = ["canonical_json", "difference", "digest", "dump_config", "load_config", "plain"]

T = TypeVar("T")

_MAPPING = "the configuration"
_LISTS = (list, tuple, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)
# YAML 1.1 takes a number for text unless its exponent follows a point and a sign: 1e-4, 1e5, 2.5e3.
_EXPONENT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def load_config(cls: type[T], source: str | Path | Mapping[str, Any]) -> T:
    """Read a configuration.

    Parameters
    ----------
    cls
        A dataclass, whose fields are annotated with str, int, float, bool, Path, Literal, unions (also with
        None), lists, tuples, dicts and further dataclasses; or a pydantic model, with its own rules.
    source
        The path of a YAML file, or its content as a mapping.

    Returns
    -------
    cls
        Lists become tuples where the annotation says so; text such as ``1e-4``, which YAML 1.1 does not take
        for a number, becomes one where a float is expected.

    Raises
    ------
    ConfigError
        The file cannot be read or is no YAML; a key is unknown (the nearest valid one is named), missing or
        given twice; a value has the wrong type, or ``cls`` refuses it with a ValueError.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Training:
    ...     beta: float = 0.1
    ...     layers: tuple[int, ...] = ()
    >>> load_config(Training, {"beta": 1, "layers": [8, 4]})
    Training(beta=1.0, layers=(8, 4))
    >>> load_config(Training, {"bta": 1})
    Traceback (most recent call last):
    auscult.core.errors.ConfigError: unknown key 'bta' in the configuration: did you mean 'beta'?
    """
    if isinstance(source, Mapping):
        return typing.cast(T, _section(cls, source, _Place(_MAPPING)))
    return typing.cast(T, _section(cls, _read_yaml(Path(source)), _Place(str(source))))


def dump_config(config: object) -> str:
    """Return a configuration as YAML that :func:`load_config` reads back as an equal one."""
    text: str = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    return text


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a value stands: the file (or what else to call the source) and the keys down to it."""

    source: str
    path: str = ""

    def key(self, key: object) -> "_Place":
        return _Place(self.source, f"{self.path}.{key}" if self.path else str(key))

    def item(self, index: int) -> "_Place":
        return _Place(self.source, f"{self.path}[{index}]")

    def __str__(self) -> str:
        return f"section '{self.path}' of {self.source}" if self.path else self.source

    def wrong(self, value: object, expected: Any) -> ConfigError:
        hint = ""
        if isinstance(value, bool) and any(isinstance(arm, str) or arm is str for arm in _arms(expected)):
            hint = " (YAML reads on, off, yes and no as true and false: put the text in quotes)"
        elif str in _arms(expected) and value is not None and not isinstance(value, (str, list, dict)):
            hint = " (put the text in quotes)"
        shown = f"{value!r}" if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        what = f"'{self.path}' in {self.source}" if self.path else self.source
        return ConfigError(f"{what} is {shown}, but {_described(expected)} is expected{hint}")


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text("utf-8")
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader), path, set())
        return yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line} is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _refuse_repeated_keys(node: Any, path: Path, visited: set[int]) -> None:
    """YAML keeps the last of two equal keys in silence; a setting would be lost."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path, visited)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    lines = f"lines {seen[key.value]} and {line}"
                    raise ConfigError(f"key '{key.value}' is given twice in {path}, {lines}: keep one")
                seen[key.value] = line
            _refuse_repeated_keys(item, path, visited)


def _section(cls: type[Any], value: Any, place: _Place) -> Any:
    """Build a dataclass or pydantic model from a mapping; an empty section means its defaults."""
    if isinstance(value, cls):
        return value
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise place.wrong(value, cls)
    if not dataclasses.is_dataclass(cls):
        return _model(cls, value, place)
    expected = _refuse_unknown_keys(cls, value, place)
    for field in dataclasses.fields(cls):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if field.init and not optional and field.name not in value:
            raise ConfigError(f"key '{field.name}' is missing in {place}: it has no default")
    arguments = {key: _convert(expected[key], item, place.key(key)) for key, item in value.items()}
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ConfigError(f"{error} (in {place})") from error


def _model(cls: Any, value: Mapping[str, Any], place: _Place) -> Any:
    _refuse_unknown_keys_inside(cls, value, place)
    try:
        return cls.model_validate(dict(value))
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise ConfigError(f"{error} (in {place})") from error
        first = error.errors()[0]
        for step in first["loc"]:
            place = place.item(step) if isinstance(step, int) else place.key(step)
        message = first["msg"].removeprefix("Value error, ")
        if not place.path:  # a check across settings
            raise ConfigError(message + f" (in {place})" * (place.source != _MAPPING)) from error
        given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
        raise ConfigError(f"'{place.path}' in {place.source}: {message}{given}") from error


def _convert(expected: Any, value: Any, place: _Place) -> Any:
    """Return the value as the annotation wants it, or raise."""
    arguments = get_args(expected)
    kind = get_origin(expected) or expected
    if expected in (Any, object):
        return value
    if kind in (Union, types.UnionType):
        return _convert_union(expected, value, place)
    if kind is Literal:
        for allowed in arguments:
            if type(allowed) is type(value) and allowed == value:
                return value
    elif _is_section(kind):
        return _section(kind, value, place)
    elif kind in _LISTS and isinstance(value, (list, tuple)):
        return _convert_list(kind, expected, value, place)
    elif kind in _DICTS and isinstance(value, Mapping):
        of_keys, of_values = arguments or (Any, Any)
        items = {
            _convert(of_keys, key, place): _convert(of_values, item, place.key(key)) for key, item in value.items()
        }
        return items
    elif kind is float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and _EXPONENT_NUMBER.fullmatch(value):
            return float(value)
    elif kind is int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return int(value)
    elif kind is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
    elif expected is None or kind is types.NoneType:
        if value is None:
            return None
    elif isinstance(kind, type) and isinstance(value, kind):
        return value
    raise place.wrong(value, expected)


def _convert_union(expected: Any, value: Any, place: _Place) -> Any:
    arms = [arm for arm in _arms(expected) if arm is not types.NoneType]
    if value is None and types.NoneType in _arms(expected):
        return None
    if isinstance(value, Mapping) and sum(map(_is_section, arms)) == 1:
        arms = [arm for arm in arms if _is_section(arm)]
    if len(arms) == 1:
        return _convert(arms[0], value, place)
    # An arm of the value's own type goes first: of float | str, the text "1e-4" stays text.
    for arm in sorted(arms, key=lambda arm: arm is not type(value)):
        try:
            return _convert(arm, value, place)
        except ConfigError:
            continue
    raise place.wrong(value, expected)


def _convert_list(kind: Any, expected: Any, value: Any, place: _Place) -> Any:
    arguments = get_args(expected)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(arguments) != len(value):
            raise place.wrong(value, expected)
        of_items = arguments
    else:
        of_items = (arguments[:1] or (Any,)) * len(value)
    pairs = enumerate(zip(of_items, value, strict=True))
    items = [_convert(arm, item, place.item(index)) for index, (arm, item) in pairs]
    return items if kind is list else tuple(items)


def _refuse_unknown_keys(cls: Any, value: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    """Return the annotation of each valid key of a section."""
    valid = _keys(cls)
    for key in value:
        if key not in valid:
            close = difflib.get_close_matches(str(key), list(valid), n=1, cutoff=0.5)
            remedy = f"did you mean '{close[0]}'?" if close else f"valid keys are {', '.join(valid) or 'none'}"
            raise ConfigError(f"unknown key '{key}' in {place}: {remedy}")
    return valid


def _refuse_unknown_keys_inside(expected: Any, value: Any, place: _Place) -> None:
    """Refuse unknown keys at any depth, which a pydantic model ignores unless it is told otherwise."""
    if _is_section(expected) and isinstance(value, Mapping):
        if getattr(expected, "model_config", {}).get("extra") == "allow":
            return
        valid = _refuse_unknown_keys(expected, value, place)
        for key, item in value.items():
            _refuse_unknown_keys_inside(valid[key], item, place.key(key))
    elif get_origin(expected) in (Union, types.UnionType):
        arms = [arm for arm in _arms(expected) if _is_section(arm) or get_origin(arm)]
        if len(arms) == 1:
            _refuse_unknown_keys_inside(arms[0], value, place)
    elif get_args(expected) and isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_unknown_keys_inside(get_args(expected)[-1], item, place.key(key))
    elif get_args(expected) and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_unknown_keys_inside(get_args(expected)[0], item, place.item(index))


def _keys(cls: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    named = {name: field.annotation for name, field in cls.model_fields.items()}
    return named | {field.alias: field.annotation for field in cls.model_fields.values() if field.alias}


def _is_section(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    return dataclasses.is_dataclass(kind) or (hasattr(kind, "model_validate") and hasattr(kind, "model_fields"))


def _arms(expected: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union or the values of a Literal; else the annotation itself."""
    return get_args(expected) if get_origin(expected) in (Union, types.UnionType, Literal) else (expected,)


def _described(expected: Any) -> str:
    arguments = get_args(expected)
    kind = get_origin(expected) or expected
    if kind in (Union, types.UnionType):
        return " or ".join(_described(arm) for arm in arguments)
    if kind is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(repr, arguments))
    if kind is types.NoneType:
        return "null"
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} ({', '.join(map(_described, arguments))})"
    if kind in _LISTS:
        return f"a list of {_described(arguments[0])}" if arguments else "a list"
    if _is_section(kind):
        return f"a section with the keys {', '.join(_keys(kind))}"
    if kind in _DICTS:
        return "a section"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
