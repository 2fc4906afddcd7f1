"""Predictions of a whole folder: which files, and how far their context can be trusted."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from aacf_tf.evaluation.classification import MIN_CLIPS_FOR_RELIABILITY, context_reliability
from aacf_tf.serving.prediction import Prediction
from tfrecords.media import images, video
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)

# Kind of a model -> suffixes of its files.
SUFFIXES = {"image": images.EXTENSIONS, "video": (*video.EXTENSIONS, ".gif")}
FRAMES = (
    "Frames in files of their own become a video by: ffmpeg -framerate 25 -pattern_type glob -i "
    "'FOLDER/*.png' VIDEO.mp4."
)
_NAMED = 20  # files that a warning names


def find(folder: str | Path, kind: str, for_whom: str = "") -> list[Path]:
    """Finds the files of a kind in a folder and its subfolders, in the order of their paths.

    Hidden files and folders are left out, links to folders are not followed; files of other kinds
    are named in a warning.

    Args:
        folder: Folder to look in.
        kind: Kind, `image` or `video`.
        for_whom: Words that an error says after the folder, default none.

    Raises:
        UsageError: There is no such folder, or no file of the kind in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"Expected a folder of {kind}s, received {str(folder)!r}.")
    paths, others = [], []

    def warn(error: OSError) -> None:
        logger.warning(f"Warning: left out, since it cannot be read: {error.filename}")

    for place, inner, names in os.walk(root, onerror=warn):
        inner[:] = [name for name in inner if name[0] != "."]
        for name in names:
            path = Path(place, name)
            if name[0] != ".":
                taken = path.suffix.lower() in SUFFIXES[kind] and path.is_file()
                (paths if taken else others).append(path)
    if others:
        shown = [str(path.relative_to(root)) for path in sorted(others)]
        more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        logger.warning(
            f"Warning: not taken, since no {kind}s by their names: "
            f"{', '.join(shown[:_NAMED])}{more}"
        )
    if not paths:
        frames = kind == "video" and any(images.is_photograph(path.name) for path in others)
        raise UsageError(
            f"Expected {kind}s in the folder {str(folder)!r}{for_whom}, received none"
            f"{'. ' + FRAMES if frames else '.'}"
        )
    return sorted(paths)


def add_reliability(predictions: list[Prediction]) -> None:
    """Adds `reliable` and `context_trust` if there are enough predictions, with both scores."""
    if len(predictions) < MIN_CLIPS_FOR_RELIABILITY or predictions[0].context is None:
        return
    action, context = (
        np.array([list(getattr(prediction, score).values()) for prediction in predictions])
        for score in ("action", "context")
    )
    scores, trust = context_reliability(action, context)
    for prediction, row in zip(predictions, scores.tolist()):
        prediction.reliable = dict(zip(prediction.probabilities, row))
        prediction.context_trust = trust
