"""Finds recipes by name."""

from __future__ import annotations

from typing import Any, Dict

from aacf_tf.recipes.options import Recipe
from aacf_tf.recipes.ours import default, demo, jhmdb, stills
from aacf_tf.recipes.overrides import from_dict
from aacf_tf.recipes.paper import actionthread, hacs30, hollywood2, voc2012
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import read_json

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
            return from_dict(read_json(name, Dict[str, Any]).get("recipe"))
        except UserError as error:
            reason = str(error).rstrip(".")
            raise UsageError(
                f"--recipe: expected the config.json of a run, received {name} ({reason})."
            ) from error
    if name not in RECIPES:
        raise UsageError(
            f"--recipe: expected one of {', '.join(RECIPES)} or a config.json, received {name!r}."
        )
    return RECIPES[name]()
