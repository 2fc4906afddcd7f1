"""The benchmark's stand-in for Kinetics: a backbone that has seen motions and scenes before.

It learns on other clips of the generator, in which the scene says nothing of the motion, with what
only the generator knows: masks and scene ids. No recipe for users does that.

F [B, t, h, w, D] is the feature map, N the number of the actor's cells in it:

    1.0   CE(motion | W mean of F over the actor's cells)
    0.7   mean over the actor's cells of CE(motion | W F), with the same W
    0.3   CE(scene | V mean of F over all cells)

The third term is needed: without it the features forget scenes, and on data whose scenes betray the
class average pooling would not cheat.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tqdm.keras import TqdmCallback

from aacf_tf.backbones import build_backbone
from aacf_tf.models.action_model import is_kernel
from aacf_tf.training.optimizers import WarmupCosine
from benchmarks.worlds import MOTIONS, SCENES
from tfrecords.sources import demo
from tfrecords.sources.drawing import FRAMES, SIZE, draw
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.progress import progress

WEIGHTS_FILE, RESULT_FILE = "backbone.weights.h5", "pretraining.json"
CELLS_WEIGHT, SCENE_WEIGHT, WEIGHT_DECAY = 0.7, 0.3, 1e-4
PEAK_RATE, WARMUP, BATCH_SIZE = 4e-3, 0.25, 24
HELD_OUT = 480  # clips on which the result is measured


class Clips(NamedTuple):
    """Clips with all that the generator knows of them.

    Attributes:
        clip: uint8 [n, T, H, W, 3].
        mask: bool [n, T, H, W], where the actor is.
        motion, scene: int32 [n], places in MOTIONS and SCENES, independent of each other.
    """

    clip: np.ndarray
    mask: np.ndarray
    motion: np.ndarray
    scene: np.ndarray


def make_clips(count: int, seed: int, first: int = 0, classes: int = 6, scenes: int = 6) -> Clips:
    """Draws the clips `first`, `first + 1`, ... of a seed; none is in a world of `worlds.write`."""
    motions = list(MOTIONS.values())[:classes]
    clips = np.empty((count, FRAMES, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((count, FRAMES, SIZE, SIZE), bool)
    ids = np.empty((2, count), np.int32)
    for n in progress(range(count), desc="clips to pretrain on", unit="clip", leave=False):
        # The worlds' clips have the place of their split where this has one beyond the last.
        rng = np.random.default_rng([seed, len(demo.SPLITS), first + n])
        ids[:, n] = (first + n) % classes, rng.integers(scenes)
        drawing = draw(rng, motions[ids[0, n]], SCENES[ids[1, n]], conjugate=False)
        clips[n], masks[n] = drawing.clip, drawing.mask
    return Clips(clips, masks, *ids)


class MotionAndScene(keras.Model):
    """A backbone with the two linear classifiers of the pre-training.

    Args:
        backbone: pixels 0..255 `[B, T, H, W, 3]` to features `[B, t, h, w, D]`; t, h and w divide
            T, H and W.
        classes, scenes: Number of classes and scenes.

    Call arguments:
        inputs: `clip` `[B, T, H, W, 3]` and `mask` `[B, T, H, W]`, bool.

    Output shape:
        logits, float32: `motion` `[B, classes]`, `scene` `[B, scenes]`, and per cell
        `cell_motion` `[B, t, h, w, classes]`; `cells` `[B, t, h, w]` is 1 where the mask touches a
        cell's stride box, else 0.
    """

    def __init__(self, backbone: keras.Model, classes: int, scenes: int):
        super().__init__()
        self.backbone = backbone
        self.motion = keras.layers.Dense(classes, dtype="float32", name="motion")
        self.scene = keras.layers.Dense(scenes, dtype="float32", name="scene")

    def call(self, inputs: dict[str, tf.Tensor], training: Any = None) -> dict[str, tf.Tensor]:
        features = tf.cast(self.backbone(inputs["clip"], training=training), tf.float32)
        mask = tf.cast(inputs["mask"], tf.float32)[..., None]
        box = [size // cells for size, cells in zip(mask.shape[1:4], features.shape[1:4])]
        cells = tf.nn.max_pool3d(mask, box, box, "VALID")
        actor = tf.math.divide_no_nan(
            tf.reduce_sum(cells * features, [1, 2, 3]), tf.reduce_sum(cells, [1, 2, 3])
        )
        return {
            "motion": self.motion(actor),
            "cell_motion": self.motion(features),
            "cells": cells[..., 0],
            "scene": self.scene(tf.reduce_mean(features, [1, 2, 3])),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None) -> tf.Tensor:
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
        cells = y_pred["cells"]
        motion = tf.broadcast_to(y["motion"][:, None, None, None], tf.shape(cells))
        each_cell = cross_entropy(motion, y_pred["cell_motion"])
        loss = tf.reduce_mean(cross_entropy(y["motion"], y_pred["motion"]))
        loss += CELLS_WEIGHT * tf.math.divide_no_nan(
            tf.reduce_sum(cells * each_cell), tf.reduce_sum(cells)
        )
        loss += SCENE_WEIGHT * tf.reduce_mean(cross_entropy(y["scene"], y_pred["scene"]))
        kernels = [v for v in self.trainable_variables if is_kernel(v)]
        return loss + WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])


def pretrain(
    seed: int,
    directory: StrPath,
    classes: int = 6,
    scenes: int = 6,
    clips: int = 2250,
    epochs: int = 12,
) -> keras.Model:
    """The backbone `small` of the benchmark, pre-trained; read from the directory if it is there.

    Args:
        seed: Seed of clips and weights.
        directory: Directory of the weights (`backbone.weights.h5`), one for each set of
            arguments; beside them the accuracy on new clips, by pooled motion and scene.
        classes, scenes: Number of `worlds.MOTIONS` and `worlds.SCENES`.
        clips: Number of clips to learn from.
        epochs: Number of epochs.
    """
    directory = Path(directory)
    backbone = build_backbone("small", width=64)
    if (directory / WEIGHTS_FILE).is_file():
        backbone.load_weights(directory / WEIGHTS_FILE)
        return backbone
    keras.utils.set_random_seed(seed)
    backbone = build_backbone("small", width=64)  # again: the seed decides its weights
    model = MotionAndScene(backbone, classes, scenes)
    steps = epochs * (clips // BATCH_SIZE)
    rate = WarmupCosine(PEAK_RATE, steps, int(WARMUP * steps))
    model.compile(keras.optimizers.Adam(rate), metrics={"motion": "accuracy", "scene": "accuracy"})
    data = _batches(make_clips(clips, seed, 0, classes, scenes), training=True)
    bar = TqdmCallback(epochs=epochs, verbose=0, desc="pretraining", leave=False)
    model.fit(data, epochs=epochs, verbose=0, callbacks=[bar])
    unseen = _batches(make_clips(HELD_OUT, seed, clips, classes, scenes), training=False)
    result = model.evaluate(unseen, verbose=0, return_dict=True)
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"unfinished.{WEIGHTS_FILE}"  # Keras goes by the end of the name
    backbone.save_weights(temporary)
    write_json(
        directory / RESULT_FILE,
        {name: result[f"{name}_accuracy"] for name in ("motion", "scene")},
    )
    os.replace(temporary, directory / WEIGHTS_FILE)
    return backbone


def _batches(clips: Clips, training: bool) -> tf.data.Dataset:
    """Batches of (inputs, targets) of MotionAndScene; shuffled and flipped in training."""
    arrays = Clips(*(tf.constant(values) for values in clips))
    count = len(clips.motion)
    data = tf.data.Dataset.range(count)
    if training:
        data = data.shuffle(count)

    def load(indices: tf.Tensor) -> tuple[dict, dict]:
        batch = Clips(*(tf.gather(values, indices) for values in arrays))
        frames, mask = batch.clip, batch.mask
        if training:
            flip = tf.random.uniform([BATCH_SIZE, 1, 1, 1]) < 0.5
            frames = tf.where(flip[..., None], frames[:, :, :, ::-1], frames)
            mask = tf.where(flip, mask[:, :, :, ::-1], mask)
        return {"clip": frames, "mask": mask}, {"motion": batch.motion, "scene": batch.scene}

    return data.batch(BATCH_SIZE, drop_remainder=training).map(load).prefetch(2)
