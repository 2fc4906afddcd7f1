"""Reads types, choices and bounds of settings from their annotations, and checks values."""

from __future__ import annotations

import functools
from dataclasses import dataclass, is_dataclass
from typing import Any, Dict, Literal, Tuple, Union, get_args, get_origin, get_type_hints

from tfrecords.utils.errors import UsageError

_MOST = 1e15  # of any number; more than whole numbers of 64 bits can count steps by


@dataclass(frozen=True)
class Bounds:
    """Range of a number, both ends included; stands in `Annotated`.

    Attributes:
        low: Least value.
        high: Greatest value; None: any finite one.
    """

    low: float
    high: float | None = None

    def __contains__(self, value: Any) -> bool:
        # An edited config.json may hold anything.
        high = _MOST if self.high is None else self.high
        return isinstance(value, (int, float)) and self.low <= value <= high

    def __str__(self) -> str:
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class FieldType:
    """One field's annotation."""

    kind: type
    optional: bool = False  # None is a value, too
    choices: Tuple[Any, ...] = ()  # the only values; empty: any
    bounds: Bounds | None = None
    nested: bool = False  # it has fields of its own


@functools.cache
def field_types(cls: type) -> Dict[str, FieldType]:
    """Returns the annotations of a dataclass's fields by name.

    Choices are those of a `Literal`, or a tuple in `Annotated`.
    """
    return {name: _parse(hint) for name, hint in get_type_hints(cls, include_extras=True).items()}


def _parse(hint: Any) -> FieldType:
    extras = getattr(hint, "__metadata__", ())
    member = hint.__origin__ if extras else hint
    optional = get_origin(member) is Union
    if optional:
        member = next(option for option in get_args(member) if option is not type(None))
    arguments = get_args(member)
    choices = next((extra for extra in extras if isinstance(extra, tuple)), ())
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
    nested = any(map(is_dataclass, (member, *arguments)))
    if get_origin(member) is Literal:
        choices, member = arguments, str
    return FieldType(get_origin(member) or member, optional, choices, bounds, nested)


def check_fields(options: Any, prefix: str = "") -> None:
    """Checks every field of a dataclass by its annotation.

    Args:
        options: The dataclass.
        prefix: Text before a field's name in errors.

    Raises:
        UsageError: A value is not one of the choices, or out of bounds.
    """
    for name, field in field_types(type(options)).items():
        value, path = getattr(options, name), f"{prefix}{name}"
        if field.nested and isinstance(value, tuple):
            for index, item in enumerate(value):
                check_fields(item, f"{path}.{index}.")
        elif field.nested:
            check_fields(value, f"{path}.")
        elif value is None and field.optional:
            continue
        elif field.choices and value not in field.choices:
            expected = ", ".join([*["nothing"][: field.optional], *field.choices])
            raise UsageError(f"{path}: expected one of {expected}, received {value!r}.")
        elif field.bounds:
            check_bounds(path, value, field.bounds)


def check_bounds(path: str, value: Any, bounds: Bounds) -> None:
    """Raises UsageError if a number is out of bounds; `path` names it."""
    if value not in bounds:
        raise UsageError(f"{path}: expected {bounds}, received {value!r}.")
