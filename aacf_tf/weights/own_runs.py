"""Loads weights that this project has written: a run's checkpoint, or a `.weights.h5` file.

From a checkpoint it loads the backbone and, if the head is of the same kind, the attention.

Both formats name variables by their position in the model. The names that the backbone itself would
write are compared with those of the file, so that a misfit is known before anything is assigned.
For that the backbone is written to a temporary folder (I3D: 50 MB): Keras and TensorFlow expose
these names in no other way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow import keras

from aacf_tf.weights import files
from aacf_tf.weights.mismatch import raise_misfit
from aacf_tf.weights.packaged import NAMES
from tfrecords.utils.errors import UsageError

_OTHER_PARTS = {"head": "of the head", "optimizer": "of an optimizer"}
Shapes = dict[str, tuple[int, ...]]


def load_checkpoint(backbone: keras.Model, prefix: str) -> tuple[int, dict[str, str]]:
    """Loads the backbone from a checkpoint `tf.train.Checkpoint(backbone=..., ...)`.

    Returns:
        The number of variables loaded; the file's unused variables with the reasons.

    Raises:
        UsageError: The checkpoint does not fit.
    """
    checkpoint = tf.train.Checkpoint(backbone=backbone)
    with tempfile.TemporaryDirectory() as folder:
        wanted = _shapes_of_checkpoint(checkpoint.write(f"{folder}/own"))
    given = _shapes_of_checkpoint(prefix)
    ignored = {}
    for name in [name for name in given if not name.startswith("backbone/")]:
        ignored[name] = _OTHER_PARTS.get(name.partition("/")[0], "not of the backbone")
        del given[name]
    _check(f"{prefix} ({files.OWN_CHECKPOINT})", backbone, wanted, given, ignored)
    _load(backbone, prefix, lambda: checkpoint.restore(prefix).expect_partial())
    return len(wanted), ignored


def load_h5(backbone: keras.Model, path: str) -> tuple[int, dict[str, str]]:
    """Loads the backbone from a file that `backbone.save_weights("NAME.weights.h5")` has written.

    Returns and raises as `load_checkpoint`.
    """
    with tempfile.TemporaryDirectory() as folder:
        backbone.save_weights(f"{folder}/own.weights.h5")
        wanted = files.shapes_in_h5(f"{folder}/own.weights.h5")
        given, ignored = files.shapes_in_h5(path), {}
        _check(f"{path} ({files.OWN_H5})", backbone, wanted, given, ignored)
        # Keras recognizes the format by the file name's suffix.
        link = Path(folder, "given.weights.h5")
        link.symlink_to(Path(path).resolve())
        _load(backbone, path, lambda: backbone.load_weights(str(link)))
    return len(wanted), ignored


def load_attention(head: keras.layers.Layer, path: str) -> str:
    """Loads a run's head without its classifiers, which depend on the run's classes.

    Args:
        head: Built head, one of `aacf_tf.models.heads`.
        path: Any weight file; only checkpoints of runs are used.

    Returns:
        A summary for the user; empty if nothing was loaded.

    Raises:
        UsageError: The file cannot be read.
    """
    if not path or "," in path or path in NAMES:
        return ""
    kind, prefix = files.recognise(path)
    parts = {
        name: part
        for name, part in vars(head).items()
        if isinstance(part, keras.layers.Layer)
        and part.trainable_weights
        and "classifier" not in name
    }
    if kind != files.OWN_CHECKPOINT or not parts:
        return ""
    checkpoint = tf.train.Checkpoint(head=tf.train.Checkpoint(**parts))
    with tempfile.TemporaryDirectory() as folder:
        wanted = _shapes_of_checkpoint(checkpoint.write(f"{folder}/own"))
    given = _shapes_of_checkpoint(prefix)
    wanted = {name: shape for name, shape in wanted.items() if name.startswith("head/")}
    names = " and ".join(parts)
    if any(given.get(name) != shape for name, shape in wanted.items()):
        return f"head     new: {path} has no {names} of this form"
    checkpoint.restore(prefix).expect_partial()
    return f"head     {names} from {path}; the classifiers are new, for {head.actions} classes"


LOADERS = {files.OWN_CHECKPOINT: load_checkpoint, files.OWN_H5: load_h5}


def _shapes_of_checkpoint(prefix: str) -> Shapes:
    shapes = files.open_checkpoint(prefix).get_variable_to_shape_map()
    return {name: tuple(shape) for name, shape in shapes.items() if "VARIABLE_VALUE" in name}


def _check(
    where: str, backbone: keras.Model, wanted: Shapes, given: Shapes, ignored: dict[str, str]
) -> None:
    """Raises UsageError if the two do not fit; notes layers beyond the model's in `ignored`."""
    places = {_place(name) for name in wanted}
    for name in [name for name in given if _place(name) not in places]:
        ignored[name] = "of a layer that the model does not have"
        del given[name]
    misfits = {
        "the file lacks": [f"{n} {list(wanted[n])}" for n in wanted if n not in given],
        "other shapes": [
            f"{n} {list(given[n])} for {list(wanted[n])}"
            for n in wanted
            if given.get(n, wanted[n]) != wanted[n]
        ],
        "nothing in the model takes": [
            f"{n} {list(given[n])}" for n in sorted(given) if n not in wanted
        ],
    }
    others = not set(wanted) & set(given)
    hints = ["No layer is the same: the file is of another backbone."] if others else []
    raise_misfit(where, backbone, misfits, hints)


def _place(name: str) -> tuple[str, ...]:
    """Returns the layer of the model that a variable belongs to."""
    return tuple(name.split("/")[:2])


def _load(backbone: keras.Model, path: str, load: Callable[[], None]) -> None:
    before = backbone.get_weights()
    try:
        load()
    except Exception as error:  # a damaged file raises anything
        backbone.set_weights(before)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path}: expected whole weights of the model ({reason}).") from error
