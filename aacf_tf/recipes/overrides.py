"""Overrides fields of a recipe, and converts it to and from plain data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import reprlib
from typing import Any, Mapping, cast

from aacf_tf.recipes.fields import FieldType, field_types
from aacf_tf.recipes.options import DataOptions, LossOptions, Recipe, Stage
from tfrecords.utils.errors import UsageError

_WHOLE = 1 << 63  # beyond it, whole numbers may not have a float
_NOTHING = (None, 0, "", "recipe")  # how earlier versions wrote None


def override(recipe: Recipe, path: str, value: Any) -> Recipe:
    """Returns a copy of the recipe with one field set.

    Args:
        recipe: Recipe to copy.
        path: Dotted name, such as `loss.context`, `data.fps`, `stages.0.epochs`.
        value: Value of the field; a string is parsed as JSON if possible (`0.5`, `true`,
            `{"width": 48}`).

    Raises:
        UsageError: The field does not exist, or the value has another type.
    """
    if isinstance(value, str):
        # Anything else is a plain word.
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if path == "backbone" and value != recipe.backbone:
        # The options belong to the backbone that the recipe named.
        recipe = dataclasses.replace(recipe, backbone_options={})
    return _replace(recipe, FieldType(Recipe, nested=True), path.split("."), value, path)


def _replace(node: Any, field: FieldType, keys: list[str], value: Any, path: str) -> Any:
    if not keys:
        return _convert(field, value, f"--set {path}")
    key, rest = keys[0], keys[1:]
    if isinstance(node, tuple):
        if not key.isdigit() or int(key) >= len(node):
            raise UsageError(f"--set {path}: expected a number 0..{len(node) - 1}, received {key}.")
        index = int(key)
        item = FieldType(type(node[index]), nested=dataclasses.is_dataclass(node[index]))
        changed = _replace(node[index], item, rest, value, path)
        return (*node[:index], changed, *node[index + 1 :])
    if isinstance(node, dict):
        if rest:
            raise UsageError(
                f"--set {path}: expected no field below {key!r}, received {rest[0]!r}."
            )
        return {**node, key: value}
    types = field_types(type(node)) if field.nested else {}
    if key not in types:
        raise UsageError(
            f"--set {path}: expected one of {', '.join(types) or 'no further field'}, "
            f"received {key!r}."
        )
    changed = _replace(getattr(node, key), types[key], rest, value, path)
    return dataclasses.replace(cast(Any, node), **{key: changed})


def _convert(field: FieldType, value: Any, path: str) -> Any:
    """Returns a plain value as one of the field's type."""
    if field.nested:
        raise UsageError(f"{path}: expected one field of it at a time, received {value!r}.")
    if field.optional and not isinstance(value, bool) and value in _NOTHING:
        return None
    if field.kind is float and type(value) is int and abs(value) < _WHOLE:
        return float(value)
    if field.kind is tuple:  # the milestones
        pairs = value if isinstance(value, (list, tuple)) else [value]
        numbers = [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2]
        if len(numbers) < len(pairs) or not all(
            type(number) in (int, float) and abs(number) < _WHOLE
            for pair in numbers
            for number in pair
        ):
            raise UsageError(f"{path}: expected pairs such as [[0.5, 0.1]], received {value!r}.")
        return tuple((float(share), float(factor)) for share, factor in numbers)
    if type(value) is not field.kind:
        raise UsageError(
            f"{path}: expected a value of type {field.kind.__name__}, received {value!r}."
        )
    return value


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as plain data, for `config.json`."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(content: Any) -> Recipe:
    """Returns the recipe of plain data, the inverse of `to_dict`; missing fields get defaults.

    Raises:
        UsageError: A field is unknown or missing, or a value has another type, as in an edited
            file.
    """
    _require(content, Mapping, "recipe")
    for name, kind in {"name": str, "data": Mapping, "loss": Mapping, "stages": list}.items():
        _require(content.get(name), kind, name)
    parts = {
        "data": DataOptions(**_fields(DataOptions, content["data"], "data.")),
        "loss": LossOptions(**_fields(LossOptions, content["loss"], "loss.")),
        "stages": tuple(
            Stage(**_fields(Stage, stage, f"stages.{index}."))
            for index, stage in enumerate(content["stages"])
        ),
    }
    plain = {name: value for name, value in content.items() if name not in parts}
    plain["name"] = content["name"]
    return Recipe(**_fields(Recipe, plain), **parts)


def _fields(cls: type, content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns plain data as the values of a dataclass's fields."""
    types = field_types(cls)
    _require(content, Mapping, prefix.rstrip("."))
    for name in content:
        if name not in types:
            raise UsageError(
                f"{prefix}{name}: expected one of {', '.join(types)}, received {name!r}."
            )
    return {name: _convert(types[name], value, prefix + name) for name, value in content.items()}


def _require(value: Any, kind: type, path: str) -> None:
    """Raises UsageError if plain data are not of a type: a text, a list or fields by name."""
    if not isinstance(value, kind):
        expected = {str: "a text", list: "a list"}.get(kind, "fields by name")
        raise UsageError(f"{path}: expected {expected}, received {reprlib.repr(value)}.")
