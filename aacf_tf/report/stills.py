"""The pictures of a report on photographs: a row each, as in the figures of the paper's supplement.

sample | boxes of the people who act | conjugate | action map | context map
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions
from aacf_tf.visualization import overlays
from aacf_tf.visualization import panels as figures
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.preprocess import preprocess
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import load_info, shard_paths

_HEIGHT = 192  # of a picture, pixels; but
_WIDTH = 4096  # at most: five strips beside each other must fit into a JPEG, of 65535


class Panel(NamedTuple):
    """One picture of a row, uint8 `[H, W, 3]`, and what it is."""

    title: str
    image: np.ndarray


def load(data_dir: Path, split: str, ids: set[str]) -> dict[str, ClipPair]:
    """The records of these ids, by id, at the size they are stored in."""
    found: dict[str, ClipPair] = {}
    paths = shard_paths(data_dir, load_info(data_dir), split)
    records = tf.data.TFRecordDataset([str(path) for path in paths])
    named = records.map(lambda record: (codec.parse(record, masks=False)["id"], record))
    with translate_errors(data_dir):
        for name, record in named.as_numpy_iterator():
            if name.decode() in ids:
                found[name.decode()] = codec.decode(record)
            if len(found) == len(ids):
                break
    return found


def draw(pair: ClipPair, model: ActionModel, data: DataOptions) -> list[Panel]:
    """The row of a photograph; what its record or the model's head lacks is left out.

    Of a video, of which the model sees one frame, it is the one that tests take.
    """
    middle = (len(pair.clip) - 1) // 2
    image = pair.clip[middle]
    frame = image.shape[:2]
    seen = preprocess(tf.constant(image[None, None]), (data.height, data.width), data.resize)
    outputs = {key: value.numpy()[0] for key, value in model(seen, training=False).items()}
    _, *axes = receptive_field(model.geometry, seen.shape[1:4])
    places = [axis.centres for axis in axes]

    shown = max(1, min(_HEIGHT, _WIDTH * frame[0] // frame[1]))
    small = overlays.enlarge(image, shown)
    mask = None if pair.mask is None else overlays.enlarge(pair.mask[middle], shown)

    def outlined(picture: np.ndarray) -> np.ndarray:
        return picture if mask is None else overlays.outline(picture, mask)

    panels = [Panel("sample", small)]
    if pair.boxes is not None and len(pair.boxes):
        boxed = small.copy()
        height, width = boxed.shape[:2]
        for box in np.rint(pair.boxes * (width, height, width, height)).astype(int):
            overlays.draw_box(boxed, box.tolist())
        panels.append(Panel("boxes", boxed))
    elif mask is not None:
        panels.append(Panel("actor", outlined(small)))
    if pair.conjugate is not None:
        other = pair.conjugate[(len(pair.conjugate) - 1) // 2]
        panels.append(Panel("conjugate", overlays.enlarge(other, shown)))
    for title, (heat, *_), colors in figures.display_maps(outputs):
        spread = overlays.in_space(heat, frame, seen.shape[2:4], places, data.resize)
        tinted = overlays.tint(small, overlays.enlarge(spread, shown), colors)
        panels.append(Panel(title, outlined(tinted)))
    return panels


def join(panels: list[Panel]) -> np.ndarray:
    """The panels side by side, each under its title."""
    joined = figures.join([[panel.image for panel in panels]])
    return figures.with_titles(joined, [panel.title for panel in panels])
