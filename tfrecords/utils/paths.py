"""Judges local paths: links that lead out of a folder, and the file that a missing one may mean."""

from __future__ import annotations

import functools
import os
import unicodedata
from typing import Optional, Sequence


def is_inside(path: str, folder: str) -> bool:
    """Returns whether an absolute path lies below a folder, by the names alone."""
    return path.startswith(os.path.join(folder, ""))


def target_outside(path: str, folder: str) -> Optional[str]:
    """Returns where a path below a folder really leads if that lies outside; None: it does not."""
    parent, name = os.path.split(path)
    target = os.path.join(_real(parent), name)
    if os.path.islink(target):
        target = os.path.realpath(target)
    root = _real(folder)
    return None if is_inside(target, root) or target == root else target


def similar(path: str, extensions: Sequence[str] = ()) -> Optional[str]:
    """Returns what exists in place of a missing path, or None.

    Names may differ by case, Unicode form and slashes, the last one also by its extension.

    Args:
        path: Local path that does not exist.
        extensions: Extensions that may stand for each other, in lower case, the likeliest first;
            so may a folder of that name.
    """
    parts = os.path.abspath(path.replace("\\", "/")).split("/")
    found = "/"
    for number, part in enumerate(parts[1:], 2):
        exact = os.path.join(found, part)
        if not os.path.exists(exact):
            kinds = extensions if number == len(parts) else ()
            names = _names(found).get(_key(part)) or _of_other_extension(found, part, kinds)
            if not names:
                return None
            exact = os.path.join(found, names[0])
        found = exact
    return found


def _of_other_extension(folder: str, name: str, extensions: Sequence[str]) -> list[str]:
    """Lists files of one stem, by the order of their extensions."""
    stem, extension = os.path.splitext(name)
    stems = [name, stem] if extension.lower() in extensions else [name]
    kinds = (*extensions, "") if extensions else ()
    found = (_names(folder).get(_key(stem + kind), ()) for kind in kinds for stem in stems)
    return [other for others in found for other in others]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@functools.lru_cache(maxsize=64)
def _names(folder: str) -> dict[str, list[str]]:
    """Maps keys to the names in a folder."""
    names: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            names.setdefault(_key(name), []).append(name)
    except OSError:
        pass
    return names


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
