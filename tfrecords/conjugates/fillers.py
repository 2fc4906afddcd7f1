"""Fills holes in pictures by `telea` or by an exported completion network.

    DIR/saved_model.pb                one version
    DIR/1/saved_model.pb, DIR/2/...   versions: the last one serves

A network is a SavedModel with the signature

    serving_default(image uint8 [batch, H, W, 3], mask uint8 [batch, H, W], 1 in the hole)
        -> image uint8 [batch, H, W, 3]

of any H and W; nothing of the program that trained it is needed.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Callable

import cv2
import numpy as np

from tfrecords.utils import atomic
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, to_path

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]

RADIUS = 4  # pixels around a pixel of which `telea` makes it
MODEL = "saved_model.pb"
SIGNATURE = "serving_default"
# What a network must take: the shape of an odd picture, and in words.
INPUTS = {
    "image": ((1, 41, 67, 3), "uint8 [batch, H, W, 3]"),
    "mask": ((1, 41, 67), "uint8 [batch, H, W]"),
}


def telea(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fills a hole from its rim inwards.

    A. Telea: An image inpainting technique based on the fast marching method, 2004.

    Args:
        image: Picture, uint8 [H, W, 3].
        hole: Map of the hole, bool [H, W], not all True.

    Returns:
        The filled picture, uint8 [H, W, 3].
    """
    # Where a hole touches the picture's border, OpenCV looks into it: not at the person, then.
    _, nearest = cv2.distanceTransformWithLabels(
        hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(nearest, np.int32)
    colours = np.zeros((nearest.max() + 1, 3), np.uint8)
    colours[nearest[~hole]] = image[~hole]
    start = colours[nearest]
    return cv2.inpaint(start, hole.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)


class Network:
    """A completion network with the interface of `telea`, loaded once by the first call.

    Attributes:
        digest: Hash of its graph and variables, the same wherever it lies.

    Raises:
        UsageError: If `path` holds no SavedModel, or (on the first call) one of another kind.
    """

    def __init__(self, path: str):
        self._folder = _newest(path)
        self.digest = _digest(self._folder)
        self._lock = threading.Lock()
        self._model: Any = None

    def __call__(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Fills a hole as `telea` does; UserError if the network returns no such picture."""
        import tensorflow as tf

        with self._lock:
            if self._model is None:
                self._model = _load(self._folder)
        run = self._model.signatures[SIGNATURE]
        mask = hole.astype(np.uint8)
        filled = run(image=tf.constant(image[None]), mask=tf.constant(mask[None]))["image"].numpy()
        if filled.shape != (1, *image.shape) or filled.dtype != np.uint8:
            raise UserError(
                f"Expected the model {self._folder} to fill a picture of uint8 {image.shape}, "
                f"received {filled.dtype} {filled.shape[1:]}."
            )
        return filled[0]


def _newest(path: str) -> AnyPath:
    """Returns the folder of a SavedModel: `path`, or the last version in it."""
    folder = to_path(path)
    if (folder / MODEL).is_file():
        return folder
    versions = [p for p in (folder.iterdir() if folder.is_dir() else ()) if p.name.isdigit()]
    versions = [version for version in versions if (version / MODEL).is_file()]
    if not versions:
        raise UsageError(
            "Expected --filler=telea, or the folder of an exported completion network, received "
            f"{path or 'none'}, which has no {MODEL}."
        )
    return max(versions, key=lambda version: int(version.name))


def _digest(folder: AnyPath) -> str:
    parts = [folder / MODEL, *sorted((folder / "variables").glob("*"))]
    names = [f"{path.name} {atomic.sha256(path)}" for path in parts]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _load(folder: AnyPath) -> Any:
    """Loads a completion network and checks its signature."""
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # a damaged file sends the loader into errors of every kind
        reason = " ".join(str(error).split())
        raise UsageError(f"The model {folder} of --filler cannot be loaded: {reason}.") from error
    function = model.signatures.get(SIGNATURE)
    takes = function.structured_input_signature[1] if function else {}
    gives = function.structured_outputs if function else {}
    fits = takes.keys() == INPUTS.keys() and all(
        spec.dtype == tf.uint8 and spec.shape.is_compatible_with(INPUTS[name][0])
        for name, spec in takes.items()
    )
    if not fits or "image" not in gives:
        wanted = ", ".join(f"{name} {what}" for name, (_, what) in INPUTS.items())
        received = ", ".join(f"{n} {s.dtype.name} {s.shape}" for n, s in sorted(takes.items()))
        raise UsageError(
            f"Expected --filler to have the signature {SIGNATURE} of {wanted}, any H and W, that "
            f"gives image, received {folder} with {received or 'no such signature'} that gives "
            f"{', '.join(sorted(gives)) or 'nothing'}."
        )
    return model
