"""Draws the clips of a report on videos: a row of frames, and one under each map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aacf_tf.evaluation.predictions import predict_clip
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from aacf_tf.visualization import panels
from tfrecords.media import pictures
from tfrecords.reading.corruption import translate_errors
from tfrecords.records.names import MODALITIES

SHEET_COLUMNS = 2
_SHEET_FRAMES = 4  # of each clip in the sheet, which is shown small


class Clip(NamedTuple):
    """A clip as the model takes it: name -> uint8 `[T, h, w, C]`; mask bool `[T, h, w]` or None."""

    inputs: dict[str, np.ndarray]
    mask: np.ndarray | None


def load(run: Run, split: str, ids: set[str]) -> dict[str, Clip]:
    """Loads the clips of these ids, by id, as evaluation sees them."""
    names = MODALITIES[run.recipe.modality].inputs
    clips: dict[str, Clip] = {}
    with translate_errors(run.data):
        for inputs, _, _ in run.batches(split, run.recipe.stages[-1], training=False, masks=True):
            batch = {name: value.numpy() for name, value in inputs.items()}
            for index, name in enumerate(batch["id"].astype(str)):
                if name in ids:
                    mask = batch["mask"][index] > 0 if batch["has_mask"][index] else None
                    clips[name] = Clip({n: batch[n][index].copy() for n in names}, mask)
            if len(clips) == len(ids):
                break
    return clips


def draw(clip: Clip, model: ActionModel, data: DataOptions) -> tuple[np.ndarray, np.ndarray]:
    """Draws a clip for the page, and with fewer frames for the sheet: uint8 `[H, W, 3]` both."""
    outputs, centres = predict_clip(model, clip.inputs)
    rows = panels.draw_maps(clip.inputs["clip"], clip.mask, outputs, centres)
    shown = pictures.evenly(len(rows[0]), _SHEET_FRAMES)
    return pictures.join(rows), pictures.join([[row[index] for index in shown] for row in rows])
