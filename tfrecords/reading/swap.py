"""Swapped actors: what a clip shows in one scene, pasted into the scene of another.

The strongest lever against context where masks exist for training: the pair shares its new scene to
the pixel, and the scene says nothing of the action.
"""

from __future__ import annotations

from typing import Dict, Tuple

import tensorflow as tf

from tfrecords.records.names import STREAMS

FEATHER = 72  # lines of a frame for each pixel by which the mask grows and its edge is softened


def swap_actors(
    inputs: Dict[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor, keep_masks: bool
) -> Tuple[Dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Pastes actors on the conjugates of their neighbours: the action in another scene.

    Row i gets the actor of clip i on the conjugate of row i - 1 (row 0: of the last), and that
    conjugate, where chance asked for it, the actor is seen, and the neighbour has a conjugate of
    its own, no frozen frame, which would show its actor. Alone in a batch a clip stays what it is.
    Optical flow is pasted as frames are: on the actor it is the actor's, beside it the scene's.

    Args:
        inputs: of a batch, with mask uint8 [B, T, h, w], swap (asked for) and own_conjugate
            bool [B].
        keep_masks: whether mask and has_mask stay.
    """
    inputs = dict(inputs)
    mask = inputs["mask"]
    rows = tf.range(tf.shape(mask)[0])
    neighbours = tf.roll(rows, 1, axis=0)
    seen = tf.reduce_any(mask > 0, axis=[1, 2, 3])  # no mask is a mask of 0
    own_scene = tf.gather(inputs.pop("own_conjugate"), neighbours)
    swapped = inputs.pop("swap") & seen & own_scene & (rows != neighbours)
    scenes = tf.where(swapped, neighbours, rows)
    # Where nothing is swapped the clip covers all: 1 * clip + 0 is exactly the clip.
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
    """Mask [B, T, h, w] of 0 and 1 -> float32, 1 on the actor, falling to 0 beside it.

    The border is drawn by hand and jumps by a pixel from frame to frame: a hard edge flickers, and
    an edge that flickers wherever the actor was pasted would be learned in the actor's place.
    """
    shape = tf.shape(mask)
    reach = 2 * max(1, round(min(mask.shape[2:]) / FEATHER)) + 1
    images = tf.cast(tf.reshape(mask, [-1, *mask.shape[2:], 1]), tf.float32)
    grown = tf.nn.max_pool2d(images, reach, 1, "SAME")
    return tf.reshape(tf.nn.avg_pool2d(grown, reach, 1, "SAME"), shape)
