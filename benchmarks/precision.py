"""How much faster mixed precision trains than float32 on this machine.

    python benchmarks/precision.py                     I3D and AACF, 16x112x112, 2 pairs a step
    python benchmarks/precision.py --backbone=small --size=12x40x40 --batch=16

Steps on random pixels, in interleaved rounds. It pays where the processor has instructions for
bfloat16 (avx512_bf16, amx), which the first line says; `--precision=auto` asks the same question.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from absl import flags

from tfrecords import commandline
from tfrecords.errors import UsageError

CLASSES = 10


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from aacf_tf.backbones import BACKBONES

    flags.DEFINE_enum("backbone", "i3d", BACKBONES, "All of it learns.")
    flags.DEFINE_string("size", "16x112x112", "Of a clip: frames x height x width.")
    flags.DEFINE_integer("batch", 2, "Pairs a step.", 1)
    flags.DEFINE_integer("rounds", 7, "Of which the median counts.", 1)
    names = ("mixed_bfloat16", "mixed_float16")
    flags.DEFINE_enum("precision", names[0], names, "Beside float32.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from aacf_tf.devices import resolve_precision
    from benchmarks.backbones import parse_size
    from benchmarks.timing import measure

    options = flags.FLAGS
    size = parse_size(options.size)
    names = ("float32", options.precision)
    steps = {name: step(options.backbone, size, options.batch, name) for name in names}
    times = measure(steps, options.rounds)
    slow, fast = (times[name].wall for name in names)
    print(
        f"{options.backbone}, {options.batch} pairs of {options.size} a step, {os.cpu_count()} "
        f"cores; --precision=auto is {resolve_precision('auto')} here\n"
        f"| | step, ms |\n|---|---|\n"
        + "".join(
            f"| {name} | {1000 * statistics.median(times[name].wall):.0f} |\n" for name in names
        )
        + f"| times faster | {statistics.median(a / b for a, b in zip(slow, fast)):.2f} |"
    )


def step(
    backbone: str, size: tuple[int, int, int], batch: int, precision: str
) -> Callable[[], Any]:
    """A training step of backbone and head, which waits for its end."""
    import numpy as np
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf import recipes
    from aacf_tf.model import build_model
    from aacf_tf.optimizers import make_optimizer

    keras.mixed_precision.set_global_policy(precision)
    recipe = recipes.load_recipe("demo")
    recipe = dataclasses.replace(recipe, backbone=backbone, backbone_options={})
    stage = dataclasses.replace(recipe.stages[0], pairs_first=0.0)
    model = build_model(recipe, CLASSES, stage=stage, steps=1000)
    model.compile(optimizer=make_optimizer(stage, model, 1000), weighted_metrics=[])
    draw = np.random.default_rng(0)
    clips = draw.integers(0, 256, [2, batch, *size, 3], np.uint8)
    inputs = {"clip": clips[0], "conjugate": clips[1], "has_conjugate": np.ones([batch], bool)}
    data = tf.data.Dataset.from_tensors((inputs, np.zeros([batch], np.int32))).repeat()
    train, batches = model.make_train_function(), iter(data)
    return lambda: {name: float(value) for name, value in train(batches).items()}


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
