"""Changes training clips as the remedies of others do, for heads on frozen features.

The frames are those that the model would see; what is pasted or mixed in is of the clip's own fold,
so that a fold that is held out has lent nothing to the training. Each clip is changed once, not
anew in every epoch as in `train_main.py`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from tfrecords.reading.remedies.batch import (
    ERASED_SHARE,
    erase_background,
    mask_person,
    mix_stills,
)
from tfrecords.reading.remedies.fame import paste_foregrounds

REMEDIES = ("fame", "background_erasing", "stillmix", "human_mask")
_AT_ONCE = 32


def change(
    remedy: str,
    clips: np.ndarray,
    masks: np.ndarray,
    folds: np.ndarray,
    targets: np.ndarray,
    maps: np.ndarray,
    length: float,
) -> np.ndarray:
    """Returns the clips as a remedy changes them, uint8 `[N, T, H, W, 3]`.

    Args:
        remedy: One of REMEDIES.
        clips: Frames, uint8 `[N, T, H, W, 3]`.
        masks: Masks of the actors, uint8 `[N, T, H, W]`.
        folds: Fold of each clip, int `[N]`.
        targets: Class ids, int `[N]`.
        maps: Features of the clips, of which `stillmix` learns what a still frame tells, float16
            `[N, t, h, w, D]`.
        length: Length to which that classifier scales its pooled features.
    """
    random = np.random.default_rng(0)
    changed = np.empty_like(clips)
    for fold in np.unique(folds):
        rows = random.permutation(np.flatnonzero(folds == fold))
        stills = tf.zeros([0])
        if remedy == "stillmix":
            stills = tf.constant(_telling(clips[rows], maps[rows], targets[rows], length))
        # Parts of even size: a clip alone has nothing to be pasted on.
        for part in np.array_split(rows, -(-len(rows) // _AT_ONCE)):
            some = tf.constant(clips[part])
            every = tf.ones([len(part)], bool)
            inputs = {"clip": some, "has_conjugate": every}
            place = tf.constant(random.random(len(part)), tf.float32)
            share = tf.constant(random.random(len(part)), tf.float32)
            if remedy == "fame":
                some = paste_foregrounds(inputs, every)["clip"]
            elif remedy == "stillmix":
                some = mix_stills(inputs, every, place, stills)["clip"]
            elif remedy == "background_erasing":
                some = erase_background(some, place, ERASED_SHARE * share)
            else:
                some = mask_person(some, tf.constant(masks[part]))
            changed[part] = some.numpy()
    return changed


def _telling(clips: np.ndarray, maps: np.ndarray, targets: np.ndarray, length: float) -> np.ndarray:
    """Returns the half of the frames that tells its class best, uint8 `[M, H, W, 3]`.

    A linear classifier of pooled features tells, trained on these very frames, as the published
    network is.
    """
    frames = clips.reshape(-1, *clips.shape[2:])
    every = len(frames) // maps[:, :, 0, 0, 0].size
    pooled = maps.astype(np.float32).mean((2, 3)).reshape(-1, maps.shape[-1])
    pooled = length * normalize(StandardScaler().fit_transform(pooled))
    labels = np.repeat(targets, maps.shape[1])
    found = LogisticRegression(max_iter=500).fit(pooled, labels)
    own = np.searchsorted(found.classes_, labels)
    chances = found.predict_proba(pooled)[np.arange(len(labels)), own]
    # A step of the feature map may hold several frames; the first stands for it.
    best = np.argsort(-chances, kind="stable")[: -(-len(chances) // 2)]
    return frames[best * every]
