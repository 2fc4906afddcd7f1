"""Reads JSON files and checks their content against the type hints of a class.

    Count = Annotated[int, Limits(0, 1 << 40)]

    @dataclass
    class Settings:
        name: str
        kind: Literal["rgb", "flow"]
        clips: Dict[str, Count]
        size: Optional[Annotated[List[Count], Limits(2, 2)]] = None  # a list of two

    settings = read_json("settings.json", Settings)

Hints are evaluated: on Python 3.9 they have to be `Optional[int]`, not `int | None`.
"""

from __future__ import annotations

import functools
import json
import math
import reprlib
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import (
    Annotated,
    Any,
    Dict,
    List,
    Literal,
    NamedTuple,
    NoReturn,
    Sequence,
    Type,
    TypeVar,
    Union,
)

from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import file_size, to_path

T = TypeVar("T")

MAX_BYTES = 1 << 26  # parsed, "[[],[], ..." takes 20 times as many
NAMES = {
    **{str: "a text", bool: "true or false", int: "a whole number", float: "a number"},
    **{dict: "an object", list: "a list", type(None): "null"},
}


class Limits(NamedTuple):
    """The range of a number, or of the length of a list, an object or a text; both ends included.

    Stands in `Annotated`.
    """

    low: float
    high: float


class _Unexpected(Exception):
    """A value is not of the type expected: where it stands, what was expected, what came."""


def read_json(path: StrPath, kind: Type[T]) -> T:
    """Reads a JSON file and checks it against a type.

    Args:
        path: Local or remote file, UTF-8.
        kind: As for `parse_json`.

    Raises:
        UserError: The file cannot be read, is not JSON, or a value is not as expected; names file
            and field.
    """
    path = to_path(path)
    try:
        if file_size(path) > MAX_BYTES:
            raise UserError(f"{path}: expected at most {MAX_BYTES:,} bytes, received more.")
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    return parse_json(text, kind, str(path))


def parse_json(text: Union[str, bytes], kind: Type[T], name: str) -> T:
    """Parses JSON and checks it against a type.

    Args:
        text: JSON; bytes are UTF-8.
        kind: Dataclass, of which an instance is returned, or a hint made of `Dict[str, ...]`,
            `List[...]`, `Optional`, `Union`, `Literal`, `Annotated` with `Limits`, `Any`, str,
            bool, int, float, further dataclasses and `TypedDict`s. Keys that a class does not name
            are left out; what has a default may be missing. Numbers are finite, whole ones fit
            into 64 bits.
        name: Name of the file, or whatever else the text is from, for the error.

    Raises:
        UserError: The text is not JSON, or a value is not as expected; names the field.
    """
    try:
        content = text.decode("utf-8") if isinstance(text, bytes) else text
        return _check(json.loads(content, parse_constant=_refuse), kind)
    except _Unexpected as error:
        place, expected, received = error.args
        what = f"{place} to be {expected}" if place else expected
        raise UserError(f"{name}: expected {what}, received {received}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: expected text in UTF-8, received other bytes.") from error
    except RecursionError as error:
        raise UserError(f"{name}: expected JSON, received values nested too deeply.") from error
    except json.JSONDecodeError as error:
        what = f"damaged or cut text ({error})" if error.doc.strip() else "an empty text"
        raise UserError(f"{name}: expected JSON, received {what}.") from error
    except ValueError as error:  # of a dataclass that checks itself; a number of 5000 digits
        raise UserError(f"{name}: {str(error).rstrip('.')}.") from error


def _check(value: Any, kind: Any, place: str = "") -> Any:
    """Returns a value of JSON as a type has it; `_Unexpected` if it is of another."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        kind = {dict: Dict[str, Any], list: List[Any]}.get(type(value), type(value))
        return _check(value, kind, place)
    if origin is Annotated:
        return _check_limits(_check(value, inner[0], place), inner[1:], place)
    if origin is Literal:
        if value not in inner or type(value) not in map(type, inner):
            _fail(place, f"one of {', '.join(map(repr, inner))}", value)
        return value
    if origin is Union:
        kinds = [option for option in inner if option is not type(None)]
        if value is None and len(kinds) < len(inner):
            return None
        for option in kinds[:-1]:
            try:
                return _check(value, option, place)
            except _Unexpected:
                pass
        return _check(value, kinds[-1], place)
    if origin is list:
        _check_type(value, list, place)
        return [_check(item, inner[0], f"{place}[{n}]") for n, item in enumerate(value)]
    if origin is dict:
        _check_type(value, dict, place)
        for name in value:
            _check(name, inner[0], f"a key of {place}" if place else "a key")
        return {name: _check(item, inner[1], _join(place, name)) for name, item in value.items()}
    if is_dataclass(kind) or hasattr(kind, "__required_keys__"):
        return _check_class(value, kind, place)
    _check_type(value, kind, place)
    return value


def _check_class(value: Any, kind: Any, place: str) -> Any:
    """Returns an instance of a dataclass, or the dict of a `TypedDict`."""
    _check_type(value, dict, place)
    hints, required = _hints(kind)
    for name in required:
        if name not in value:
            raise _Unexpected("", f"the field {_join(place, name)}", "none")
    known = {
        name: _check(value[name], hint, _join(place, name))
        for name, hint in hints.items()
        if name in value
    }
    return kind(**known)


@functools.cache
def _hints(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns the hint of every field of a class, and the fields that have to be there."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if not is_dataclass(kind):
        return hints, sorted(kind.__required_keys__)
    known = [field for field in fields(kind) if field.init]
    required = [f.name for f in known if f.default is f.default_factory is MISSING]
    return {field.name: hints[field.name] for field in known}, required


def _check_type(value: Any, kind: Any, place: str) -> None:
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        _fail(place, NAMES[kind], value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        _fail(place, "a number of 64 bits", value)
    if isinstance(value, float) and not math.isfinite(value):
        _fail(place, "a finite number", value)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates
            _fail(place, "a text in Unicode", value)


def _check_limits(value: Any, limits: Sequence[Limits], place: str) -> Any:
    for low, high in limits:
        measured = value if isinstance(value, (int, float)) else len(value)
        if not low <= measured <= high:
            span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            of = "of" if measured is value else "of length"
            _fail(place, f"{NAMES[type(value)]} {of} {span}", value)
    return value


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _fail(place: str, expected: str, value: Any) -> NoReturn:
    raise _Unexpected(place, expected, reprlib.repr(value))


def _refuse(constant: str) -> NoReturn:
    raise _Unexpected("", "finite numbers", constant)
