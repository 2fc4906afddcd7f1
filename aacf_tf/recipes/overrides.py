"""A recipe with other values, and as plain data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import fields
from typing import Any, Mapping

from aacf_tf.recipes.options import DataOptions, LossOptions, Recipe, Stage
from tfrecords.utils.errors import UsageError


def override(recipe: Recipe, path: str, value: Any) -> Recipe:
    """A copy of the recipe with one field set.

    Args:
        path: dotted name, such as `loss.context`, `data.fps`, `stages.0.epochs`.
        value: a string is read as JSON where it can be (`0.5`, `true`, `{"width": 48}`).

    Raises:
        UsageError: no such field, or a value of another type.
    """
    if isinstance(value, str):
        # What is not JSON is a plain word.
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    if path == "backbone" and value != recipe.backbone:
        # The options belong to the backbone that the recipe named.
        recipe = dataclasses.replace(recipe, backbone_options={})
    return _replace(recipe, path.split("."), value, path)


def _replace(node: Any, keys: list[str], value: Any, path: str) -> Any:
    if not keys:
        return _convert(node, value, f"--set {path}")
    key, rest = keys[0], keys[1:]
    if isinstance(node, tuple):
        if not key.isdigit() or int(key) >= len(node):
            raise UsageError(f"--set {path}: expected a number 0..{len(node) - 1}, received {key}.")
        place = int(key)
        changed = _replace(node[place], rest, value, path)
        return (*node[:place], changed, *node[place + 1 :])
    if isinstance(node, Mapping):
        if rest:
            raise UsageError(
                f"--set {path}: expected no field below {key!r}, received {rest[0]!r}."
            )
        return {**node, key: value}
    names = [item.name for item in fields(node)] if dataclasses.is_dataclass(node) else []
    if key not in names:
        raise UsageError(
            f"--set {path}: expected one of {', '.join(names) or 'no further field'}, "
            f"received {key!r}."
        )
    return dataclasses.replace(node, **{key: _replace(getattr(node, key), rest, value, path)})


def _convert(old: Any, value: Any, place: str) -> Any:
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if dataclasses.is_dataclass(old[0] if isinstance(old, tuple) and old else old):
        raise UsageError(f"{place}: expected one field of it at a time, received {value!r}.")
    if isinstance(old, tuple):  # the milestones
        pairs = value if isinstance(value, (list, tuple)) else [value]
        numbers = [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2]
        if len(numbers) < len(pairs) or not all(
            type(number) in (int, float) for pair in numbers for number in pair
        ):
            raise UsageError(f"{place}: expected pairs such as [[0.5, 0.1]], received {value!r}.")
        return tuple((float(share), float(factor)) for share, factor in numbers)
    if type(value) is not type(old):
        raise UsageError(
            f"{place}: expected a value of type {type(old).__name__}, received {value!r}."
        )
    return value


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, for `config.json`."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(content: Mapping[str, Any]) -> Recipe:
    """The inverse of `to_dict`; fields that are not there have their defaults.

    Raises:
        UsageError: a field that there is not, or a value of another type, as a file that was
            edited may have them.
        KeyError: there is no `name`, `data`, `loss` or `stages`.
    """
    parts = {
        "data": DataOptions(**_fields(DataOptions(), content["data"], "data.")),
        "loss": LossOptions(**_fields(LossOptions(), content["loss"], "loss.")),
        "stages": tuple(
            Stage(**_fields(Stage("main"), stage, f"stages.{place}."))
            for place, stage in enumerate(content["stages"])
        ),
    }
    plain = {name: value for name, value in content.items() if name not in parts}
    return Recipe(**_fields(Recipe(content["name"]), plain), **parts)


def _fields(defaults: Any, content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of plain data, each of the type that it has in `defaults`."""
    names = [item.name for item in fields(defaults)]
    for name in content:
        if name not in names:
            raise UsageError(
                f"{prefix}{name}: expected one of {', '.join(names)}, received {name!r}."
            )
    return {
        name: _convert(getattr(defaults, name), value, prefix + name)
        for name, value in content.items()
    }
