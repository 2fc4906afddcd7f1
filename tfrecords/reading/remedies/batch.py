"""Applies the remedies to a batch; what they draw is drawn for each record, see `phases.draw`.

fame               the moving foreground on the clip before it in the batch (`fame`)
stillmix           half of the clip, half of a frame that tells its class without motion (Li et
al., ICCV 2023)
background_erasing a second view of the clip, with one of its own frames mixed into all (Wang et
al., CVPR 2021)
human_mask         a second view of the clip, without the person (Choi et al., NeurIPS 2019)
"""

from __future__ import annotations

from typing import Dict, Optional

import tensorflow as tf

from tfrecords.reading.options import Augmentation
from tfrecords.reading.remedies.fame import paste_foregrounds

DRAWN = 5  # numbers for a record: fame, stillmix, which still, which frame, its share
DRAWS = "remedies"  # their name in a batch
ERASED, MASKED = "erased", "masked"  # the views
ERASED_SHARE = 0.3  # greatest share of the frame that is mixed into all, as published
STILL_SHARE = 0.5  # published: drawn from Beta(200, 200), .5 +- .025


# No Python control flow needs converting, and the conversion would take seconds.
@tf.autograph.experimental.do_not_convert
def apply_remedies(
    inputs: Dict[str, tf.Tensor],
    options: Augmentation,
    stills: Optional[tf.Tensor],
    keep_masks: bool,
) -> Dict[str, tf.Tensor]:
    """Returns the inputs of a batch with the remedies that the options ask for.

    A clip that `fame` or `stillmix` changes loses its conjugate; a swapped one is not changed by
    `fame`, which would put it into yet another scene.

    Args:
        inputs: Inputs of a batch with `DRAWS` float32 [B, DRAWN] in [0, 1), which is taken out;
            for `human_mask` with mask and has_mask.
        options: Augmentation of the batch.
        stills: Frames to mix in, uint8 [M, h, w, 3], for `stillmix`.
        keep_masks: Whether mask and has_mask stay.

    Returns:
        The inputs, with `erased` and `masked` uint8 [B, T, h, w, 3], and `person` bool [B]: whether
        anybody is masked, if the options ask for these views.
    """
    inputs = dict(inputs)
    fame, stillmix, still, frame, share = tf.unstack(inputs.pop(DRAWS), axis=1)
    if options.fame:
        swapped = inputs.get("swapped", tf.zeros_like(inputs["has_conjugate"]))
        inputs = paste_foregrounds(inputs, (fame < options.fame) & ~swapped)
    if options.stillmix:
        inputs = mix_stills(inputs, stillmix < options.stillmix, still, stills)
    if options.background_erasing:
        inputs[ERASED] = erase_background(inputs["clip"], frame, ERASED_SHARE * share)
    if options.human_mask:
        inputs[MASKED] = mask_person(inputs["clip"], inputs["mask"])
        inputs["person"] = tf.reduce_any(inputs["mask"] > 0, axis=[1, 2, 3])
        if not keep_masks:
            del inputs["mask"], inputs["has_mask"]
    return inputs


def mix_stills(
    inputs: Dict[str, tf.Tensor], chosen: tf.Tensor, place: tf.Tensor, stills: tf.Tensor
) -> Dict[str, tf.Tensor]:
    """Mixes a still frame into all frames of the chosen clips, which keep their label.

    Args:
        inputs: Inputs of a batch.
        chosen: Rows to change, bool [B].
        place: Which frame, as a place in [0, 1) of all, [B].
        stills: The frames, uint8 [M, h, w, 3].
    """
    clips, count = inputs["clip"], tf.shape(stills)[0]
    frames = tf.gather(stills, tf.cast(place * tf.cast(count, tf.float32), tf.int32))
    share = tf.where(chosen, STILL_SHARE, 0.0)
    clip = _mix(clips, frames[:, None], share)
    return {**inputs, "clip": clip, "has_conjugate": inputs["has_conjugate"] & ~chosen}


def erase_background(clips: tf.Tensor, place: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns clips with one frame of each, at `place` in [0, 1), mixed into all by its share."""
    times = tf.cast(place * tf.cast(tf.shape(clips)[1], tf.float32), tf.int32)
    return _mix(clips, tf.gather(clips, times[:, None], batch_dims=1), share)


def mask_person(clips: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns clips with the mask uint8 [B, T, h, w] filled by the mean colour of the frame."""
    mean = tf.reduce_mean(tf.cast(clips, tf.float32), axis=[2, 3], keepdims=True)
    fill = tf.cast(tf.round(mean), tf.uint8)
    return tf.where(mask[..., None] > 0, fill, clips)


def _mix(clips: tf.Tensor, frames: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Mixes [B, 1, h, w, 3] into clips by a share of each row."""
    share = share[:, None, None, None, None]
    mixed = (1 - share) * tf.cast(clips, tf.float32) + share * tf.cast(frames, tf.float32)
    return tf.ensure_shape(tf.cast(tf.round(mixed), tf.uint8), clips.shape)
