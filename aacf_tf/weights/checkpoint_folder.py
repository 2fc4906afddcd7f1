"""Finds the newest whole checkpoint of a folder, and mends a folder after a kill.

TensorFlow notes the newest one in a file `checkpoint`. That file, or the checkpoint, may be missing
or damaged: then a run goes on from the newest one that is whole, and never begins anew beside it.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from aacf_tf.weights.bundles import check_checkpoint
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError, UserError

logger = logging.getLogger(__name__)

NOTE = "checkpoint"  # name of TensorFlow's file
_said: set[str] = set()  # warnings; a command asks several times


def newest(folder: Path) -> str | None:
    """Returns the prefix of the newest whole checkpoint of a folder; None: it has none.

    That is the one named in the file `checkpoint`. If that file or the checkpoint is missing or
    damaged, it is the one of the highest number, with a warning.

    Raises:
        UserError: No checkpoint of the folder is whole.
    """
    named, damage = _noted(folder / NOTE), ""
    others = [name for name in _numbered(folder) if name != named]
    for name in [named, *others] if named else others:
        try:
            check_checkpoint(folder / name)
        except UsageError as error:
            # A killed process leaves a half and, until it is whole, this folder. The file with
            # published weights may name a place where they once were.
            half = (folder / f"{name}_temp").is_dir()
            if not half and (_number(name) >= 0 or (folder / f"{name}.index").exists()):
                damage = damage or str(error)
            continue
        wrong = damage or f"{folder / NOTE} is missing or damaged."
        if name != named and wrong not in _said:
            _said.add(wrong)
            logger.warning(f"Warning: {wrong} The newest whole checkpoint is taken, {name}.")
        return str(folder / name)
    if damage:
        raise UserError(
            f"Expected a whole checkpoint in {folder}, received none; copy one back, or remove "
            f"the folder to begin anew: {damage}"
        )
    return None


def tidy(folder: Path) -> None:
    """Removes what a killed process left in a folder of checkpoints, and writes `checkpoint` anew.

    TensorFlow later removes the checkpoints that this file names, whatever files they are.

    Raises:
        UserError: No checkpoint of the folder is whole.
    """
    last = newest(folder)
    whole = [name for name in _numbered(folder) if _is_whole(folder / name)]
    for temporary in folder.glob("ckpt-*_temp"):
        name = temporary.name[: -len("_temp")]
        for path in [] if name in whole else folder.glob(f"{name}.*"):
            path.unlink()
        shutil.rmtree(temporary)  # last: as long as it is there, the half beside it is known as one
    for path in folder.glob(f"{NOTE}.tmp*"):
        path.unlink()
    if last:
        name = Path(last).name
        lines = [f'model_checkpoint_path: "{name}"']
        for other in [*sorted({*whole} - {name}, key=_number), name]:
            lines += [f'all_model_checkpoint_paths: "{other}"']
            lines += ["all_model_checkpoint_timestamps: 1"]
        write_text(folder / NOTE, "\n".join([*lines, "last_preserved_timestamp: 0", ""]))


def _is_whole(prefix: Path) -> bool:
    try:
        check_checkpoint(prefix)
    except UsageError:
        return False
    return True


def _numbered(folder: Path) -> list[str]:
    """Returns the names `ckpt-N` of the checkpoints in a folder, the highest number first."""
    files = [*folder.glob("ckpt-*.index"), *folder.glob("ckpt-*.data-*")]
    names = {path.name.partition(".")[0] for path in files}
    return sorted((name for name in names if _number(name) >= 0), key=_number, reverse=True)


def _number(name: str) -> int:
    """Returns N of `ckpt-N`; -1 for another name."""
    match = re.fullmatch(r"ckpt-([0-9]{1,18})", name)
    return int(match[1]) if match else -1


def _noted(path: Path) -> str:
    """Returns the name of the newest checkpoint in a file `checkpoint`; empty: none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    match = re.search(r'^model_checkpoint_path: "([^"]+)"$', text, re.MULTILINE)
    name = Path(match[1]).name if match else ""
    return name if len(name.encode()) < 200 else ""  # no file system has longer ones
