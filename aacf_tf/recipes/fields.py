"""What the annotations of a recipe's fields say: type, choices, bounds, and if None is a value."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, is_dataclass
from typing import Any, Dict, Literal, Tuple, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Bounds:
    """Range of a number, both ends included; stands in `Annotated`.

    Attributes:
        low: Least value.
        high: Greatest value; None: any.
    """

    low: float
    high: float | None = None

    def __contains__(self, value: Any) -> bool:
        # An edited config.json may hold anything.
        known = isinstance(value, (int, float)) and math.isfinite(value)
        return known and self.low <= value and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class FieldType:
    """One field's annotation.

    Attributes:
        kind: Type of its values.
        optional: Whether None is a value, too.
        choices: The only values; empty: any.
        bounds: Range of a number.
        nested: Whether it holds fields of its own.
    """

    kind: type
    optional: bool = False
    choices: Tuple[Any, ...] = ()
    bounds: Bounds | None = None
    nested: bool = False


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
    choices = [extra for extra in extras if isinstance(extra, tuple)]
    bounds = [extra for extra in extras if isinstance(extra, Bounds)]
    if get_origin(member) is Literal:
        choices, member = [arguments], type(arguments[0])
    return FieldType(
        get_origin(member) or member,
        optional,
        choices[0] if choices else (),
        bounds[0] if bounds else None,
        nested=any(map(is_dataclass, (member, *arguments))),
    )
