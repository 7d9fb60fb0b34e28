"""The schema of what comes from outside: values that must be of a kind and within bounds, named where they are not.

The types of frozen dataclasses are the schema of files: :func:`part` reads an object into one, member by member. What a
user gives to a function or a value of options is checked by :func:`check_argument` and :func:`check_fields`.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from numbers import Integral, Real
from os import PathLike
from reprlib import Repr
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from sentinel_match.wording import suggestion

T = TypeVar("T")


class Unfit(ValueError):
    """A value that is missing, or none that its member can have; in words for the user."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both allowed."""

    low: float
    high: float

    def __str__(self) -> str:
        """Say what a number must be."""
        return f"from {self.low:,.10g} to {self.high:,.10g}"


COORDINATE = Within(-1e8, 1e8)
"""Metres, feet or degrees: no map of the earth is wider."""
LENGTH = Within(1e-6, 1e6)
"""Metres of a pixel, a distance or an error: one of 0 would outweigh all others."""
REACH = Within(1e-3, 1e5)
"""Metres within which something is searched."""
SHARE = Within(0, 1)
FACTOR = Within(1e-3, 1e3)
"""By which an error is corrected."""
COUNT = Within(0, 1e15)
ANGLE = Within(-2 * math.pi, 2 * math.pi)
"""Radians."""

Coordinate = Annotated[float, COORDINATE]
Length = Annotated[float, LENGTH]
Reach = Annotated[float, REACH]
Angle = Annotated[float, ANGLE]
Factor = Annotated[float, FACTOR]
Count = Annotated[int, COUNT]

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40
_SHORT.maxlevel = 2


def shown(value: object) -> str:
    """Write a value for a message: on one line and short, whatever it is."""
    if isinstance(value, float):
        return f"{value:g}"
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


class ArgumentKind(NamedTuple):
    """What an argument may be."""

    types: type | tuple[type, ...]
    words: str
    """As the end of a sentence: ``a number of metres``."""
    is_usable: Callable[[Any], bool] = lambda _: True
    """Tell whether a value of these types can be used."""
    must: str = ""
    """What such a value must be; the words where empty."""

    def or_none(self) -> ArgumentKind:
        """Allow ``None`` as well."""
        types = self.types if isinstance(self.types, tuple) else (self.types,)
        words, must = f"{self.words}, or None", self.must or f"{self.words}, or None"
        return ArgumentKind((*types, NoneType), words, lambda value: value is None or self.is_usable(value), must)


def _above_0(value: Any) -> bool:
    return bool(value > 0)


TRUE_OR_FALSE = ArgumentKind(bool, "True or False")
ANY_WORD = ArgumentKind(str, "a word")
ANY_NUMBER = ArgumentKind(Real, "a number")
ANY_WHOLE = ArgumentKind(Integral, "a whole number")
COUNTING = ArgumentKind(Integral, "a whole number", _above_0, "larger than 0")
IN_METRES = ArgumentKind(Real, "a number of metres", _above_0, "larger than 0")
AMOUNT = ArgumentKind(Real, "a number, 0 or more", lambda value: value >= 0)
IN_PERCENT = ArgumentKind(Real, "a number from 0 to 100", lambda value: 0 <= value <= 100)
A_SHARE = ArgumentKind(Real, "a number from 0 to 1", lambda value: 0 <= value <= 1)
HEARS = ArgumentKind(Callable, "a function that hears of progress: what, done, of")  # type: ignore[arg-type]
A_PATH = ArgumentKind((str, PathLike), "a path", lambda path: str(path) != "", "a path that is not empty")


def one_of(words: Iterable[str]) -> ArgumentKind:
    """Make the kind of an argument that is one of some words."""
    known = tuple(words)
    return ArgumentKind(str, f"one of {', '.join(known)}", known.__contains__)


def instance(kind: type) -> ArgumentKind:
    """Make the kind of an argument that is a value of options: ``Masking(...)``."""
    return ArgumentKind(kind, f"{kind.__name__}(...)")


def check_argument(name: str, value: object, kind: ArgumentKind) -> None:
    """Check what a user has given.

    Raises:
        TypeError: it is of another type.
        ValueError: it is of the right type, and cannot be used.
    """
    types = kind.types if isinstance(kind.types, tuple) else (kind.types,)
    if not isinstance(value, types) or (isinstance(value, bool) and not {bool, object} & {*types}):
        raise TypeError(f"{name} is {shown(value)}, and must be {kind.words}")
    if not kind.is_usable(value):
        hint = suggestion(value, kind.words.removeprefix("one of ").split(", ")) if isinstance(value, str) else ""
        raise ValueError(f"{name} is {shown(value)}, and must be {kind.must or kind.words}{hint}")


def check_given(**given: tuple[object, type]) -> None:
    """Check arguments that may be left out: each with the type of its value.

    Raises:
        TypeError: one is given, and of another type.
    """
    for name, (value, kind) in given.items():
        check_argument(name, value, instance(kind).or_none())


def check_fields(options: object, kinds: Mapping[str, ArgumentKind]) -> None:
    """Check the fields of a value of options, in the order of their kinds.

    Raises:
        TypeError, ValueError: see :func:`check_argument`.
    """
    for name, kind in kinds.items():
        check_argument(f"{type(options).__name__}.{name}", getattr(options, name), kind)


def parse(text: str) -> Any:
    """Parse JSON.

    Raises:
        Unfit: it is none, is nested too deeply, or holds a whole number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise Unfit("its objects are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Unfit(f"it is no JSON: {error}") from None
    except ValueError:
        raise Unfit("it holds a number of thousands of digits") from None


def member(record: object, name: str, kind: Any, where: str) -> Any:
    """Read a member of an object.

    Args:
        record: the object.
        name: of the member.
        kind: its type, ``bool``, ``int``, ``float`` or ``str``, bounds as ``Annotated``, ``| None``; tuples,
            mappings from words to one type, and frozen dataclasses of all these.
        where: the object stands, ``summary.fitting``; for the error.

    Raises:
        Unfit: it is missing, or none of its kind.
    """
    if name not in an_object(record, where):
        raise Unfit(f"{where} has no {name}")
    return value_of(kind, an_object(record, where)[name], f"{where}.{name}")


def part(kind: type[T], record: object, where: str) -> T:
    """Read an object as a frozen dataclass, each member by its type; members that it does not know are passed over.

    Raises:
        Unfit: a member is missing, or none of its kind.
    """
    members, hints = an_object(record, where), _hints(kind)  # type: ignore[arg-type]  # classes can be hashed
    return kind(**{
        name: member(members, name, hint, where) for name, (hint, needed) in hints.items() if needed or name in members
    })


def an_object(value: object, where: str) -> Mapping[str, Any]:
    """Return a value that must be an object.

    Raises:
        Unfit: it is none.
    """
    if not isinstance(value, Mapping):
        raise Unfit(f"{where} is {shown(value)}, and must be an object")
    return value


def value_of(kind: Any, value: object, where: str) -> Any:  # noqa: PLR0911
    """Read a value of a type; see :func:`member`.

    Raises:
        Unfit: it is none.
    """
    if kind is Any:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else value_of(next(k for k in inner if k is not type(None)), value, where)
    if origin is Annotated:
        return _number(value, inner[0], where, inner[1])
    if origin is tuple:
        return _tuple(inner, value, where)
    if origin is not None and issubclass(origin, Mapping):
        return {str(k): value_of(inner[1], v, f"{where}.{k}") for k, v in an_object(value, where).items()}
    if kind in (int, float):
        return _number(value, kind, where)
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise Unfit(f"{where} is {shown(value)}, and must be {'true or false' if kind is bool else 'a word'}")
        return value
    return part(kind, value, where)


def _number(value: object, kind: type, where: str, within: Within | None = None) -> float:
    if value is None and kind is float and within is None:
        return math.nan  # how our files write it
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    if not isinstance(value, (int, float)) or not right or (kind is int and value != int(value)):
        raise Unfit(f"{where} is {shown(value)}, and must be a {'whole ' if kind is int else ''}number")
    if within is not None and not within.low <= value <= within.high:
        raise Unfit(f"{where} is {shown(value)}, and must be {within}")
    try:
        return kind(value)  # type: ignore[no-any-return]
    except OverflowError:
        raise Unfit(f"{where} is {shown(value)}, and must be a number that a computer counts with") from None


def _tuple(inner: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    any_length = inner[-1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not any_length and len(value) != len(inner)):
        raise Unfit(f"{where} is {shown(value)}, and must be a list{'' if any_length else f' of {len(inner)}'}")
    kinds = inner[:1] * len(value) if any_length else inner
    return tuple(value_of(kind, one, f"{where}[{k}]") for k, (kind, one) in enumerate(zip(kinds, value, strict=True)))


@cache
def _hints(kind: type) -> Mapping[str, tuple[Any, bool]]:
    """Find the type of each field, and whether a file must have it."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)}


def plain(part: Any) -> dict[str, Any]:
    """Return the fields of a flat part, tuples as lists."""
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}
