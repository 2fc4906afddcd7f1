"""Loads the photographs of a report and draws them: as films of one frame, as rows for the sheet.

A row is as in the figures of the paper's supplement:

sample | boxes of the people who act | conjugate | action map | context map
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation.predictions import predict_clip
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions
from aacf_tf.report.films import Film, box_outlines, make_film, mask_outlines
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays, panels
from tfrecords.media import pictures
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.preprocess import preprocess
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import shard_paths
from tfrecords.utils.remote.shards import read_records

SHEET_COLUMNS = 1  # five pictures side by side are wide enough
_HEIGHT = 192  # pixels of a picture; but
_WIDTH = 4096  # pixels at most: a row holds five pictures side by side


class Panel(NamedTuple):
    """One picture of a row, uint8 `[H, W, 3]`, and its title."""

    title: str
    image: np.ndarray


def load(run: Run, split: str, ids: set[str]) -> dict[str, ClipPair]:
    """Loads the records of these ids, by id, at the size they are stored in."""
    pairs: dict[str, ClipPair] = {}
    paths = shard_paths(run.data, run.info, split)
    records = read_records([str(path) for path in paths])
    named = records.map(lambda record: (codec.parse(record, masks=False)["id"], record))
    with translate_errors(run.data):
        for name, record in named.as_numpy_iterator():
            if name.decode() in ids:
                pair = codec.decode(record)
                if pair.mask_is_automatic and not run.recipe.automatic_masks:
                    pair.mask, pair.mask_origin = None, ""  # no ground truth
                pairs[name.decode()] = pair
            if len(pairs) == len(ids):
                break
    return pairs


def draw(pair: ClipPair, model: ActionModel, data: DataOptions) -> tuple[list[Film], np.ndarray]:
    """Draws a photograph: films of it and of its conjugate, and its row in the sheet `[H, W, 3]`.

    Of a video, of which the model sees one frame, it is the frame that tests take.
    """
    films, first, row = [], None, []
    for frames in (pair.clip, pair.conjugate):
        if frames is None:
            continue
        image, outlines = _middle(frames), []
        if frames is pair.clip and pair.boxes is not None and len(pair.boxes):
            outlines = [box_outlines(pair.boxes)]
        elif frames is pair.clip and pair.mask is not None:
            outlines = [mask_outlines(_middle(pair.mask))]
        seen, outputs, centres = _look(image, model, data)
        size = seen.shape[1:3]
        films.append(make_film(image[None], outputs, centres, outlines, size, data.resize, first))
        if first is None:
            first, row = outputs, _row(pair, seen, outputs, centres, data)
    picture = pictures.join([[panel.image for panel in row]])
    return films, pictures.with_titles(picture, [panel.title for panel in row])


def _middle(frames: np.ndarray) -> np.ndarray:
    return frames[(len(frames) - 1) // 2]


def _look(
    image: np.ndarray, model: ActionModel, data: DataOptions
) -> tuple[np.ndarray, dict[str, np.ndarray], list[np.ndarray]]:
    """Returns what the network gets of an image `[1, h, w, 3]`, and the result for it."""
    seen = preprocess(tf.constant(image[None]), (data.height, data.width), data.resize).numpy()
    return seen, *predict_clip(model, {"clip": seen})


def _row(
    pair: ClipPair,
    seen: np.ndarray,
    outputs: dict[str, np.ndarray],
    centres: list[np.ndarray],
    data: DataOptions,
) -> list[Panel]:
    """Draws the row of a photograph; what its record or the model's head lacks is left out."""
    image = _middle(pair.clip)
    frame = image.shape[:2]
    shown = max(1, min(_HEIGHT, _WIDTH * frame[0] // frame[1]))
    small = pictures.enlarge(image, shown)
    mask = None if pair.mask is None else pictures.enlarge(_middle(pair.mask), shown)

    def outlined(picture: np.ndarray) -> np.ndarray:
        return picture if mask is None else pictures.outline(picture, mask)

    row = [Panel("sample", small)]
    if pair.boxes is not None and len(pair.boxes):
        row.append(Panel("boxes", pictures.draw_boxes(small, pair.boxes)))
    elif mask is not None:
        row.append(Panel("actor", outlined(small)))
    if pair.conjugate is not None:
        row.append(Panel("conjugate", pictures.enlarge(_middle(pair.conjugate), shown)))
    for title, (heat, *_), colors in panels.display_maps(outputs):
        spread = overlays.in_space(heat, frame, seen.shape[1:3], centres[1:], data.resize)
        tinted = overlays.tint(small, pictures.enlarge(spread, shown), colors)
        row.append(Panel(f"{title} map", outlined(tinted)))
    return row
