"""Reads checkpoints, and names the parts of a model that they hold."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from aacf_tf.models.action_model import ActionModel
from aacf_tf.weights.bundles import check_checkpoint
from tfrecords.utils.errors import UserError, raise_if_machine

BEST = "best"  # folder of the best checkpoint, inside the folder of the last ones


def parts(model: ActionModel) -> dict[str, Any]:
    """Returns the parts of a model that every checkpoint holds."""
    return {"backbone": model.backbone, "head": model.head}


def read(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores all objects of a checkpoint; UserError if it is damaged."""
    try:
        check_checkpoint(path)
        checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
    except Exception as error:  # a damaged file raises anything, such as IndexError
        raise_if_machine(error, path)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"Expected the checkpoint {path} to fit the model (it may be damaged, or of an earlier "
            f"version; without its files the one before is taken), received: {reason}"
        ) from error


def epochs_in(path: str) -> int:
    """Returns the whole epochs done at a checkpoint; UserError if it is damaged."""
    epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
    read(tf.train.Checkpoint(epoch=epoch), path)
    return int(epoch.numpy())
