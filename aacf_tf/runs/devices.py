"""Chooses precision and distribution strategy for the machine."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Iterator, Sequence

import tensorflow as tf
from tensorflow import keras

from aacf_tf.recipes import PRECISIONS, STRATEGIES
from keras_layers.convolution.processor import instruction_sets
from tfrecords.utils.errors import UsageError


def resolve_precision(name: str) -> str:
    """Returns the Keras policy of a precision; `auto` depends on the hardware.

    GPUs: mixed_bfloat16 from compute capability 8.0, mixed_float16 from 7.0, else float32.
    CPUs: mixed_bfloat16 if they have instructions for it (avx512_bf16, amx: twice as fast), else
    float32 (3 times as fast as bfloat16 without them). mixed_float16 has no 3-D max pooling on
    CPUs.

    Raises:
        UsageError: The name is unknown, or mixed_float16 is requested without a GPU.
    """
    if name not in PRECISIONS:
        raise UsageError(
            f"--precision: expected one of {', '.join(PRECISIONS)}, received {name!r}."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if name == "mixed_float16" and not gpus:
        raise UsageError("--precision: expected a GPU for mixed_float16, received none.")
    if name != "auto":
        return name
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        lowest = min(details.get("compute_capability", (0, 0)) for details in capabilities)
        if lowest >= (8, 0):
            return "mixed_bfloat16"
        return "mixed_float16" if lowest >= (7, 0) else "float32"
    fast = instruction_sets() & {"avx512_bf16", "amx_bf16"}
    return "mixed_bfloat16" if fast else "float32"


@contextlib.contextmanager
def keras_policy(name: str) -> Iterator[None]:
    """Sets the global Keras policy within a block."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


@functools.cache
def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the distribution strategy of a name, one for the whole process.

    `auto` is `multi_worker` if TF_CONFIG names several workers, else `mirrored` if there are
    several GPUs. Without GPUs, `mirrored` uses all logical CPUs.

    `multi_worker` must be created before TensorFlow computes anything. Two strategies in a process
    would disturb each other's collective operations, so the first one is cached.

    Raises:
        UsageError: The name is unknown, or TF_CONFIG names no cluster with a task for this
            process.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--strategy: expected one of {', '.join(STRATEGIES)}, received {name!r}.")
    if name == "auto" and "TF_CONFIG" in os.environ and _read_cluster() > 1:
        name = "multi_worker"
    if name == "multi_worker":
        _read_cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy("/GPU:0" if gpus else "/CPU:0")


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns (number, count) of this process among the workers of a run; number 0 is the chief.

    Only the chief writes the run directory, evaluates, exports and reports.
    """
    resolver = strategy.cluster_resolver
    if (
        not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        or not resolver.task_type
    ):
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    chiefs = len(cluster.get("chief", ()))
    first = chiefs if resolver.task_type == "worker" else 0
    return first + resolver.task_id, chiefs + len(cluster.get("worker", ()))


def sum_over_workers(strategy: tf.distribute.Strategy, values: Sequence[float]) -> list[float]:
    """Returns the sums of values over all workers; a barrier.

    Args:
        strategy: Strategy of the run.
        values: Values of this worker, as many on each.
    """
    if worker_of(strategy)[1] == 1:
        return [float(value) for value in values]
    replicas = strategy.num_replicas_in_sync // worker_of(strategy)[1]
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(values, tf.float32) / replicas
    )
    return strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None).numpy().tolist()


def _read_cluster() -> int:
    """Returns the number of workers that TF_CONFIG names."""
    text = os.environ.get("TF_CONFIG")
    expected = (
        "--strategy: expected TF_CONFIG in the environment, such as "
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise UsageError(f"{expected}, received none.")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kinds = {kind: len(addresses) for kind, addresses in cluster.items()}
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{expected}, received {text!r}.") from error
    known = set(kinds) <= {"chief", "worker"} and kinds.get("chief", 0) <= 1
    if not known or not 0 <= index < kinds.get(kind, 0):
        raise UsageError(f"{expected}, a task of that cluster, received {text!r}.")
    return sum(kinds.values())
