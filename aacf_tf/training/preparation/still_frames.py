"""Finds the training frames that tell a clip's class without motion, for `data.stillmix`.

StillMix (Li et al., ICCV 2023) trains a network of still frames, asks it for the probability of
each frame's own class, and mixes the frames of high probability into clips. Here that network is
the recipe's backbone with average pooling, trained by the recipe's stages on clips of one frame in
`WORKDIR/stillmix`; the better half of its frames is kept.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Callable

import numpy as np
import tensorflow as tf

from aacf_tf.runs.run import STILLS_FILE, Run, read_stills
from aacf_tf.training.restoring import restore
from tfrecords.reading.corruption import translate_errors
from tfrecords.utils.atomic import replacing

logger = logging.getLogger(__name__)

MOST = 1024  # frames kept
_EPOCHS = 8  # of which a frame of each clip is judged, if there are few clips


def find_stills(run: Run, train: Callable[[Run], None]) -> np.ndarray:
    """Returns telling frames of the training clips, cropped and flipped like them.

    Those of a run that resumes are read from its folder.

    Args:
        run: Run that mixes them in.
        train: Function that trains a run, `aacf_tf.training.loop.train`.

    Returns:
        uint8 `[M, h, w, 3]`, the most telling first.
    """
    path = run.workdir / STILLS_FILE
    if path.is_file():
        return read_stills(path)
    stills = _still_run(run)
    logger.info("stillmix: a network of still frames is trained first")
    train(stills)
    frames, probabilities = _judge(stills)
    order = np.argsort(-probabilities, kind="stable")
    frames = frames[order[: max(1, len(order) // 2)]]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, frames)
    return frames


def _still_run(run: Run) -> Run:
    """Returns the run that trains average pooling on clips of one frame."""
    recipe, data = run.recipe, run.recipe.data
    plain = dict.fromkeys(("frozen_conjugates", "swap", "fame", "stillmix"), 0.0)
    # One frame has no neighbours to take channels from.
    options = {name: value for name, value in recipe.backbone_options.items() if name != "shift"}
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(data, frames=1, **plain),
        loss=dataclasses.replace(recipe.loss, background_erasing=0.0, human_mask=0.0),
        backbone_options=options,
        head="average",
        baseline="none",
    )
    workdir = run.workdir / STILLS_FILE.parent
    return dataclasses.replace(run, recipe=recipe, workdir=workdir, caches={})


def _judge(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames uint8 `[N, h, w, 3]` and the probability that each has for its own classes."""
    stage = run.recipe.stages[-1]
    model = restore(run, stage)
    clips, classes = run.info.splits["train"]["clips"], len(run.info.labels)
    epochs = max(1, min(_EPOCHS, 2 * MOST // clips))
    batches = run.batches("train", stage, training=True, first_epoch=stage.epochs, epochs=epochs)
    frames, probabilities, count = [], [], 0
    with translate_errors(run.data):
        for inputs, targets, _ in batches:
            scores = model(inputs["clip"], training=False)["combined_scores"][:, :classes]
            if run.info.multi_label:
                own, likely = targets, tf.sigmoid(scores)
            else:
                own, likely = tf.one_hot(targets, classes), tf.nn.softmax(scores)
            total = tf.reduce_sum(own, axis=1)  # 0 for a clip with no action
            probabilities.append(
                tf.math.divide_no_nan(tf.reduce_sum(own * likely, axis=1), total).numpy()
            )
            frames.append(inputs["clip"][:, 0].numpy())
            count += len(frames[-1])
            if count >= 2 * MOST:
                break
    return np.concatenate(frames), np.concatenate(probabilities)
