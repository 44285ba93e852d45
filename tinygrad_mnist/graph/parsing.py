"""Dataclasses from JSON, checked by their annotations.

It knows nothing of graphs. An error says where in the text something is wrong, what was given and what was
expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

LARGEST: Final = 2**63 - 1
"""The largest whole number: no array has more entries or bytes."""

LONGEST: Final = 60
"""Most characters of a value that an error quotes."""


def loaded(text: str) -> Any:
    """Return what a text in JSON holds: strictly, without NaN, infinities and a name given twice.

    Raises
    ------
    ValueError
        If it is no such text, or is nested too deeply.
    """
    if not isinstance(text, str):
        raise ValueError(f"a {type(text).__name__} was given; expected a text")
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def parsed(kind: Any, value: Any, place: str) -> Any:
    """Return a value of JSON as an annotation says: a dataclass of an object, a tuple of an array.

    Parameters
    ----------
    kind : type
        A dataclass, ``str``, ``bool``, ``int``, ``float``, ``tuple[X, ...]``, or ``X | None``.
    value : object
        What `loaded` returned, or a part of it.
    place : str
        The place of the value, for errors: ``nodes[3].values[0]``.

    Raises
    ------
    ValueError
        If the value is of another kind; a whole number, if it is negative or larger than `LARGEST`.
    """
    if is_dataclass(kind):
        return _object(kind, value, place)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        (other,) = (each for each in get_args(kind) if each is not NoneType)
        return None if value is None else parsed(other, value, place)
    if origin is tuple:
        (entry, _) = get_args(kind)
        rows = _of_type(list, "a list", value, place)
        return tuple(parsed(entry, row, f"{place}[{i}]") for i, row in enumerate(rows))
    return _PLAIN[kind](value, place)


def quoted(value: Any) -> str:
    """Return a value for an error, shortened."""
    text = ascii(value) if isinstance(value, str) else type(value).__name__
    if isinstance(value, (bool, float, NoneType)) or (isinstance(value, int) and abs(value) <= LARGEST):
        text = json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def require_keys(value: Mapping[str, Any], required: Iterable[str], known: Iterable[str], place: str) -> None:
    """Raise a ValueError if an object lacks a key, or has one that is not known."""
    if missing := [name for name in required if name not in value]:
        raise ValueError(f"{place} has no {missing[0]!r}")
    if unknown := [name for name in value if name not in set(known)]:
        raise ValueError(f"{place} has {quoted(unknown[0])}, which is not known; expected some of {[*known]}")


def _object(kind: Any, value: Any, place: str) -> Any:
    """Return a dataclass of an object with its fields."""
    hints, required = _fields_of(kind)
    require_keys(_of_type(dict, "an object", value, place), required, hints, place)
    return kind(**{name: parsed(hints[name], each, f"{place}.{name}") for name, each in value.items()})


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the annotations of a dataclass by field, and the fields that have no default."""
    hints = get_type_hints(kind)
    own = fields(kind)
    needed = [each.name for each in own if each.default is MISSING and each.default_factory is MISSING]
    return {each.name: hints[each.name] for each in own}, needed


def _of_type(kind: type, name: str, value: Any, place: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{place} is {quoted(value)}; expected {name}")
    return value


def _text(value: Any, place: str) -> str:
    text: str = _of_type(str, "a text", value, place)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(
            f"{place} is {quoted(text)}, which holds half a character; no file can be written of it"
        )
    return text


def _whole_number(value: Any, place: str) -> int:
    number: int = _of_type(int, "a whole number", value, place)
    if not 0 <= number <= LARGEST:
        what = str(number) if number.bit_length() < 200 else "a number of many digits"
        raise ValueError(f"{place} is {what}; expected a whole number from 0 to {LARGEST}")
    return number


def _number(value: Any, place: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{place} is {quoted(value)}; expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{place} is too large a number; expected a finite one")
    return number


_PLAIN: Final[dict[Any, Callable[[Any, str], Any]]] = {
    str: _text,
    int: _whole_number,
    float: _number,
    bool: lambda value, place: _of_type(bool, "true or false", value, place),
}
"""What checks a value that is no list and no object, by its annotation."""


def _no_number(text: str) -> float:
    raise ValueError(f"it holds {text}; expected finite numbers")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"an object has {quoted(twice)} twice")
    return made
