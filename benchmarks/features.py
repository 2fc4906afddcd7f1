"""How much faster a head is trained on cached features than with the frozen backbone run each time.

    python benchmarks/features.py                     I3D, 32x224x224, 8 pairs, batches of 4
    python benchmarks/features.py --size=128x256x352 --clips=2 --batch=1 --rounds=2

Both train the same head from the same start on the same batches, drawn in the same order and not
augmented, the data pipeline included, a round of one epoch each in turn. Pixels and the backbone's
weights are random: they cost what others cost. Making the cache is one pass through the backbone
and is timed too.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Sequence

from absl import flags

from tfrecords import commandline
from tfrecords.errors import UsageError
from tfrecords.files import write_json

CACHED, DIRECT = "on cached features", "backbone each time"


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from aacf_tf.backbones import BACKBONES

    flags.DEFINE_enum("backbone", "i3d", BACKBONES, "Frozen backbone.")
    flags.DEFINE_string("size", "32x224x224", "Of a clip: frames x height x width.")
    flags.DEFINE_integer("clips", 8, "Pairs an epoch.", 1)
    flags.DEFINE_integer("batch", 4, "Pairs a step.", 1)
    flags.DEFINE_integer("rounds", 3, "Of which the median counts.", 1)
    flags.DEFINE_string("precision", "float32", "Of the calculation.")
    flags.DEFINE_string("output", None, "File for all figures as JSON.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks.backbones import parse_size

    options = flags.FLAGS
    size = parse_size(options.size)
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            options.backbone,
            size,
            options.clips,
            options.batch,
            options.rounds,
            options.precision,
        )
    print(
        f"{options.backbone}, {options.clips} pairs of {options.size}, batches of {options.batch}, "
        f"{options.precision}, {os.cpu_count()} cores; an epoch:\n{table(result)}"
    )
    if options.output:
        names = ("backbone", "size", "clips", "batch", "precision")
        settings = {name: getattr(options, name) for name in names}
        write_json(Path(options.output), {**settings, **result})


def run(
    folder: Path,
    backbone: str,
    size: tuple[int, int, int],
    clips: int,
    batch: int,
    rounds: int,
    precision: str,
) -> dict[str, Any]:
    """Times both ways of training.

    Returns:
        seconds to make the cache; for each way seconds by the clock on the wall and of the
        processor, one a round, and the means of the training's metrics over all epochs;
        times_faster by both clocks (median of the rounds' ratios).
    """
    from aacf_tf import features, recipes, training
    from benchmarks.timing import measure

    _write_pairs(folder / "data", size, clips)
    recipe = recipes.load_recipe("actionthread")
    data = dataclasses.replace(recipe.data, frames=size[0], height=size[1], width=size[2])
    stage = dataclasses.replace(recipe.stages[0], batch_size=batch, learning_rate=1e-3)
    recipe = dataclasses.replace(
        recipe,
        backbone=backbone,
        modality="rgb",
        data=data,
        stages=(stage,),
        precision=precision,
    )
    ways, models = {}, {}
    for way in (CACHED, DIRECT):
        current = training.Run.open(recipe, folder / "data", folder / "run")
        stage, models[way] = training.build_frozen(current)
        _calibrate(models[way].backbone, current, stage)
        if way == CACHED:
            start = time.perf_counter()
            current.caches[stage.name] = features.cache(current, stage, models[way], ["train"])
            making = time.perf_counter() - start
        ways[way] = _epoch(current, stage, models[way], rounds + 1)
    times = measure(ways, rounds)
    result: dict[str, Any] = {"making": making, "ways": {}, "times_faster": {}}
    for way, model in models.items():
        metrics = {metric.name: float(metric.result()) for metric in model.metrics}
        result["ways"][way] = {**times[way]._asdict(), "metrics": metrics}
    for clock in times[DIRECT]._fields:
        pairs = zip(getattr(times[DIRECT], clock), getattr(times[CACHED], clock))
        result["times_faster"][clock] = statistics.median(slow / fast for slow, fast in pairs)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures of `run` as a Markdown table."""
    lines = ["| | wall, s | processor, s | loss | accuracy |", "|---|---|---|---|---|"]
    for way, figures in result["ways"].items():
        seconds = [f"{statistics.median(figures[clock]):.3f}" for clock in ("wall", "processor")]
        metrics = [f"{figures['metrics'][name]:.4f}" for name in ("loss", "accuracy")]
        lines.append(f"| {' | '.join([way, *seconds, *metrics])} |")
    faster = [f"{result['times_faster'][clock]:.0f}" for clock in ("wall", "processor")]
    lines.append(f"| times faster | {' | '.join(faster)} | | |")
    return "\n".join(lines) + f"\nthe cache, made once: {result['making']:.1f} s"


def _write_pairs(directory: Path, size: tuple[int, int, int], clips: int) -> None:
    import numpy as np

    from tfrecords import ClipPair, write_dataset

    random = np.random.default_rng(0)
    labels = ["one", "other"]

    def pairs() -> Any:
        for number in range(clips):
            # Blocks of 8 pixels, which compress: what is timed is not the unpacking of noise.
            small = random.integers(0, 256, (2, size[0], size[1] // 8, size[2] // 8, 3), np.uint8)
            clip, conjugate = small.repeat(8, axis=2).repeat(8, axis=3)
            yield ClipPair(str(number), clip, conjugate, [labels[number % 2]])

    write_dataset(directory, {"train": pairs()}, labels, num_shards=1)


def _calibrate(backbone: Any, current: Any, stage: Any) -> None:
    """Gives batch norms the statistics of a batch: random weights alone hardly tell clips apart."""
    from tensorflow import keras

    inputs = next(iter(current.batches("train", stage, training=False)))[0]
    norms = [p for p in backbone.submodules if isinstance(p, keras.layers.BatchNormalization)]
    backbone.trainable = True  # else they ignore what they see
    for norm in norms:
        norm.momentum = 0.0
    backbone(inputs["clip"][:2], training=True)
    backbone.trainable = False


def _epoch(current: Any, stage: Any, model: Any, epochs: int) -> Callable[[], None]:
    """Trains the model by one more epoch, each time that it is called."""
    from aacf_tf.optimizers import make_optimizer
    from tfrecords.reader import count_steps

    steps = count_steps(current.info, "train", stage.batch_size, training=True)
    model.compile(optimizer=make_optimizer(stage, model, steps * epochs), weighted_metrics=[])
    batches = current.stage_batches("train", stage, training=True, epochs=epochs)

    def without_id(inputs: dict[str, Any], *rest: Any) -> tuple[Any, ...]:
        return {name: value for name, value in inputs.items() if name != "id"}, *rest

    batches = iter(batches.map(without_id))
    step = model.make_train_function()

    def epoch() -> None:
        for _ in range(steps):
            step(batches)

    return epoch


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
