"""Draws the photographs of a report, a row each, as in the figures of the paper's supplement.

sample | boxes of the people who act | conjugate | action map | context map
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation.predictions import predict_clip
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays, panels
from tfrecords.media import pictures
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.preprocess import preprocess
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import shard_paths

SHEET_COLUMNS = 1  # five pictures side by side are wide enough
_HEIGHT = 192  # pixels of a picture; but
_WIDTH = 4096  # pixels at most: five pictures in a row must fit into a JPEG, of 65535


class Panel(NamedTuple):
    """One picture of a row, uint8 `[H, W, 3]`, and its title."""

    title: str
    image: np.ndarray


def load(run: Run, split: str, ids: set[str]) -> dict[str, ClipPair]:
    """Loads the records of these ids, by id, at the size they are stored in."""
    pairs: dict[str, ClipPair] = {}
    paths = shard_paths(run.data, run.info, split)
    records = tf.data.TFRecordDataset([str(path) for path in paths])
    named = records.map(lambda record: (codec.parse(record, masks=False)["id"], record))
    with translate_errors(run.data):
        for name, record in named.as_numpy_iterator():
            if name.decode() in ids:
                pairs[name.decode()] = codec.decode(record)
            if len(pairs) == len(ids):
                break
    return pairs


def draw(pair: ClipPair, model: ActionModel, data: DataOptions) -> tuple[np.ndarray, np.ndarray]:
    """Draws a photograph for the page, with titles, and for the sheet: uint8 `[H, W, 3]` both."""
    row = draw_panels(pair, model, data)
    picture = pictures.join([[panel.image for panel in row]])
    titled = pictures.with_titles(picture, [panel.title for panel in row])
    return titled, titled


def draw_panels(pair: ClipPair, model: ActionModel, data: DataOptions) -> list[Panel]:
    """Draws the row of a photograph; what its record or the model's head lacks is left out.

    Of a video, of which the model sees one frame, it is the frame that tests take.
    """
    middle = (len(pair.clip) - 1) // 2
    image = pair.clip[middle]
    frame = image.shape[:2]
    seen = preprocess(tf.constant(image[None]), (data.height, data.width), data.resize).numpy()
    outputs, (_, *centres) = predict_clip(model, {"clip": seen})

    shown = max(1, min(_HEIGHT, _WIDTH * frame[0] // frame[1]))
    small = pictures.enlarge(image, shown)
    mask = None if pair.mask is None else pictures.enlarge(pair.mask[middle], shown)

    def outlined(picture: np.ndarray) -> np.ndarray:
        return picture if mask is None else pictures.outline(picture, mask)

    row = [Panel("sample", small)]
    if pair.boxes is not None and len(pair.boxes):
        row.append(Panel("boxes", pictures.draw_boxes(small, pair.boxes)))
    elif mask is not None:
        row.append(Panel("actor", outlined(small)))
    if pair.conjugate is not None:
        other = pair.conjugate[(len(pair.conjugate) - 1) // 2]
        row.append(Panel("conjugate", pictures.enlarge(other, shown)))
    for title, (heat, *_), colors in panels.display_maps(outputs):
        spread = overlays.in_space(heat, frame, seen.shape[1:3], centres, data.resize)
        tinted = overlays.tint(small, pictures.enlarge(spread, shown), colors)
        row.append(Panel(f"{title} map", outlined(tinted)))
    return row
