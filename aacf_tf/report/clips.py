"""Loads the clips of a report on videos and draws them: as films, and as rows for the sheet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aacf_tf.evaluation.predictions import predict_clip
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions
from aacf_tf.report.films import Film, make_film, mask_outlines
from aacf_tf.runs.run import Run
from aacf_tf.visualization import panels
from tfrecords.media import pictures
from tfrecords.reading.corruption import translate_errors
from tfrecords.records.names import MODALITIES

SHEET_COLUMNS = 2
_SHEET_FRAMES = 4  # of each clip in the sheet, which is shown small
_CONJUGATES = {"clip": "conjugate", "flow": "conjugate_flow"}


class Clip(NamedTuple):
    """A clip as the model takes it: name -> uint8 `[T, h, w, C]`; mask bool `[T, h, w]` or None.

    So is its conjugate, or None.
    """

    inputs: dict[str, np.ndarray]
    mask: np.ndarray | None
    conjugate: dict[str, np.ndarray] | None


def load(run: Run, split: str, ids: set[str]) -> dict[str, Clip]:
    """Loads the clips of these ids, by id, as evaluation sees them."""
    names = MODALITIES[run.recipe.modality].inputs
    clips: dict[str, Clip] = {}
    with translate_errors(run.data):
        for inputs, _, _ in run.batches(split, run.recipe.stages[-1], training=False, masks=True):
            for index, name in enumerate(inputs["id"].numpy().astype(str)):
                if name in ids:
                    clip = {key: value[index].numpy() for key, value in inputs.items()}
                    conjugate = {key: clip[_CONJUGATES[key]] for key in names}
                    clips[name] = Clip(
                        {key: clip[key] for key in names},
                        clip["mask"] > 0 if clip["has_mask"] else None,
                        conjugate if clip["has_conjugate"] else None,
                    )
            if len(clips) == len(ids):
                break
    return clips


def draw(clip: Clip, model: ActionModel, data: DataOptions) -> tuple[list[Film], np.ndarray]:
    """Draws a clip: films of it and of its conjugate, and its rows in the sheet `[H, W, 3]`."""
    films, first, rows = [], None, []
    for inputs, mask in ((clip.inputs, clip.mask), (clip.conjugate, None)):
        if inputs is None:
            continue
        outputs, centres = predict_clip(model, inputs)
        pixels = inputs["clip"]
        outlines = [] if mask is None else [mask_outlines(one) for one in mask]
        size = pixels.shape[1:3]
        films.append(make_film(pixels, outputs, centres, outlines, size, like=first))
        if first is None:
            first, rows = outputs, panels.draw_maps(pixels, mask, outputs, centres)
    shown = pictures.evenly(len(rows[0]), _SHEET_FRAMES)
    return films, pictures.join([[row[index] for index in shown] for row in rows])
