"""Swapped actors: pastes the actor of one clip into the scene of another.

The strongest remedy against context if training has masks: the pair shares its new scene to the
pixel, and the scene says nothing about the action.
"""

from __future__ import annotations

from typing import Dict, Tuple

import tensorflow as tf

from tfrecords.records.names import STREAMS

FEATHER = 72  # rows of a frame for each pixel by which the mask grows and its edge is softened


def swap_actors(
    inputs: Dict[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor, keep_masks: bool
) -> Tuple[Dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Pastes actors on the conjugates of their neighbours, into another scene.

    Row i gets the actor of clip i on the conjugate of row i - 1 (row 0: of the last row), and that
    conjugate, if the draw asks for it, the actor is visible, and the neighbour has a conjugate of
    its own; a frozen frame would show its actor. A clip alone in a batch stays unchanged.
    Optical flow is pasted like frames: the actor's on the actor, the scene's around it.

    Args:
        inputs: Inputs of a batch, with mask uint8 [B, T, h, w], swap (asked for) and
            own_conjugate bool [B].
        keep_masks: Whether mask and has_mask stay.
    """
    inputs = dict(inputs)
    mask = inputs["mask"]
    rows = tf.range(tf.shape(mask)[0])
    neighbours = tf.roll(rows, 1, axis=0)
    seen = tf.reduce_any(mask > 0, axis=[1, 2, 3])  # no mask is a mask of 0
    own_scene = tf.gather(inputs.pop("own_conjugate"), neighbours)
    swapped = inputs.pop("swap") & seen & own_scene & (rows != neighbours)
    scenes = tf.where(swapped, neighbours, rows)
    # Without a swap the clip covers all: 1 * clip + 0 is exactly the clip.
    alpha = tf.where(swapped[:, None, None, None], soften(mask), 1.0)[..., None]
    for stream in STREAMS:
        clip, conjugate = stream.pair
        if clip not in inputs:
            continue
        inputs[conjugate] = tf.gather(inputs[conjugate], scenes)
        actor, scene = (tf.cast(inputs[name], tf.float32) for name in (clip, conjugate))
        inputs[clip] = tf.cast(tf.round(alpha * actor + (1 - alpha) * scene), tf.uint8)
    inputs.update(
        has_conjugate=inputs["has_conjugate"] | swapped,
        swapped=swapped,
        context_target=tf.gather(targets, scenes),
    )
    if not keep_masks:
        del inputs["mask"], inputs["has_mask"]
    return inputs, targets, weights


def soften(mask: tf.Tensor) -> tf.Tensor:
    """Softens a mask [B, T, h, w] of 0 and 1: float32, 1 on the actor, falling to 0 around it.

    The border is drawn by hand and jumps by a pixel from frame to frame. A hard edge would flicker
    wherever an actor was pasted, and be learned instead of the actor.
    """
    shape = tf.shape(mask)
    reach = 2 * max(1, round(min(mask.shape[2:]) / FEATHER)) + 1
    images = tf.cast(tf.reshape(mask, [-1, *mask.shape[2:], 1]), tf.float32)
    grown = tf.nn.max_pool2d(images, reach, 1, "SAME")
    return tf.reshape(tf.nn.avg_pool2d(grown, reach, 1, "SAME"), shape)
