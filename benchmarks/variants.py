"""Variants of a recipe, trained beside each other on one first stage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Collection, Iterable

from aacf_tf import recipes
from aacf_tf.recipes import Recipe
from tfrecords.utils.errors import UsageError


def check_name(name: str, variants: Collection[str]) -> None:
    """UsageError for a value of `--variants` that there is not."""
    if name not in variants:
        raise UsageError(
            f"--variants: expected all or some of {', '.join(variants)}, received {name!r}."
        )


def load(recipe: str, settings: Iterable[tuple[str, Any]]) -> Recipe:
    """A recipe by its name with fields set one after the other: (field, value).

    Raises:
        UsageError: no such field or value.
    """
    changed = recipes.load_recipe(recipe)
    for path, value in settings:
        changed = recipes.override(changed, path, value)
    return changed


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder whole or not at all; one that is there stays."""
    if target.is_dir():
        return
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    os.replace(temporary, target)
