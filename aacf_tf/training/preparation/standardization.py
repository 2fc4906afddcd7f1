"""Fits the standardization of the channels, see `aacf_tf.models.heads`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Stage
from aacf_tf.runs.run import Run
from tfrecords.reading.clips import count_steps
from tfrecords.reading.corruption import translate_errors
from tfrecords.utils.progress import progress

# A channel that hardly moves would otherwise turn rounding into evidence.
_LEAST_DEVIATION = 1e-3


def fit_standardization(run: Run, stage: Stage, model: ActionModel) -> None:
    """Sets the head's `mean` and `deviation` to those of the average-pooled training features.

    One pass over the training clips as evaluation sees them, by the backbone as the stage begins.

    Args:
        run: Run that is trained.
        stage: Stage that begins; its cached features are used if there are any.
        model: Model of the stage, whose head is standardized.
    """
    read = run.stage_batches if stage.name in run.caches else run.batches
    batches = read("train", stage, training=False)
    steps = count_steps(run.info, "train", run.plan(stage).test_batch_size, training=False)

    @tf.function(reduce_retracing=True)
    def pool(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        features = tf.cast(model.features(inputs, pairs=False), tf.float32)
        return tf.reduce_mean(features, axis=[1, 2, 3])

    with translate_errors(run.caches.get(stage.name, run.data)):
        pooled = [
            pool({name: value for name, value in inputs.items() if name != "id"}).numpy()
            for inputs, *_ in progress(batches, total=steps, desc="standardize", leave=False)
        ]
    values = np.concatenate(pooled).astype(np.float64)
    model.head.mean.assign(values.mean(0))
    model.head.deviation.assign(np.maximum(values.std(0), _LEAST_DEVIATION))
