"""Finds recipes by name."""

from __future__ import annotations

import json

from aacf_tf.recipes.options import (
    Recipe,
)
from aacf_tf.recipes.ours import default, demo, jhmdb, stills
from aacf_tf.recipes.overrides import from_dict
from aacf_tf.recipes.paper import actionthread, hacs30, hollywood2, voc2012
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import to_path

RECIPES = {
    "default": default,
    "demo": demo,
    "jhmdb": jhmdb,
    "stills": stills,
    "actionthread": actionthread,
    "hollywood2": hollywood2,
    "hacs30": hacs30,
    "voc2012": voc2012,
}


def load_recipe(name: str) -> Recipe:
    """Returns a recipe by its name, or the recipe of a run from its `config.json`.

    Raises:
        UsageError: The name is unknown, or the file holds no recipe.
    """
    if name.endswith(".json"):
        try:
            return from_dict(json.loads(to_path(name).read_text(encoding="utf-8"))["recipe"])
        except KeyError as error:
            raise UsageError(
                f"--recipe: expected the config.json of a run, received {name}, which has no "
                f"{error}."
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"--recipe: expected the config.json of a run, received {name} "
                f"({type(error).__name__}: {error})."
            ) from error
    if name not in RECIPES:
        raise UsageError(
            f"--recipe: expected one of {', '.join(RECIPES)} or a config.json, received {name!r}."
        )
    return RECIPES[name]()
