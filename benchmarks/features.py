"""Measures how much faster a head trains on cached features than behind a frozen backbone.

    python benchmarks/features.py                     I3D, 32x224x224, 8 pairs, batches of 4
    python benchmarks/features.py --size=128x256x352 --clips=2 --batch=1 --rounds=2

Both train the same head from the same start on the same batches, drawn in the same order and not
augmented, the data pipeline included, a round of one epoch each in turn. Pixels and the backbone's
weights are random: they cost what others cost. Making the cache is one pass through the backbone
and is timed too.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.sheet import Sheet

CACHED, DIRECT = "on cached features", "backbone each time"


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from aacf_tf.backbones import BACKBONES
    from benchmarks import sheet

    flags.DEFINE_enum("backbone", "i3d", BACKBONES, "Frozen backbone.")
    flags.DEFINE_string("size", "32x224x224", "Of a clip: frames x height x width.")
    flags.DEFINE_integer("clips", 8, "Pairs an epoch.", 1)
    flags.DEFINE_integer("batch", 4, "Pairs a step.", 1)
    flags.DEFINE_string("precision", "float32", "Of the calculation.")
    sheet.define_flags(rounds=3, threads=None)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import machine, sheet
    from benchmarks.backbones import parse_size

    options = flags.FLAGS
    size = parse_size(options.size)
    machine.hold(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result, metrics = run(
            Path(folder),
            options.backbone,
            size,
            options.clips,
            options.batch,
            options.rounds,
            options.threads,
            options.precision,
        )
    print(f"{sheet.machine_line()}\n\n{sheet.markdown(result)}")
    if options.output:
        sheet.write(options.output, [result], {"metrics": metrics})


def run(
    folder: Path,
    backbone: str,
    size: tuple[int, int, int],
    clips: int,
    batch: int,
    rounds: int,
    threads: int,
    precision: str,
) -> tuple[Sheet, dict[str, dict[str, float]]]:
    """Times both ways of training.

    Returns:
        The sheet of an epoch; and for each way the means of the training's metrics over all epochs.
    """
    from aacf_tf import recipes
    from aacf_tf.runs.run import Run
    from aacf_tf.training import restoring
    from aacf_tf.training.preparation import feature_cache
    from benchmarks import sheet

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
        current = Run.open(recipe, folder / "data", folder / "run")
        stage, models[way] = restoring.build_frozen(current)
        _calibrate(models[way].backbone, current, stage)
        if way == CACHED:
            start = time.perf_counter()
            current.caches[stage.name] = feature_cache.cache(current, stage, models[way], ["train"])
            making = time.perf_counter() - start
        ways[way] = _epoch(current, stage, models[way], rounds + 1)
    result = sheet.measure(
        f"An epoch, {backbone} frozen",
        {way: sheet.Candidate(lambda epoch=epoch: epoch) for way, epoch in ways.items()},
        rounds=rounds,
        threads=threads,
        settings={
            "clip": "x".join(map(str, size)),
            "pairs": clips,
            "batch": batch,
            "precision": precision,
        },
        wanted={(CACHED, DIRECT): 1.0},
        notes=[f"The cache, made once: {making:.1f} s."],
    )
    metrics = {
        way: {metric.name: float(metric.result()) for metric in model.metrics}
        for way, model in models.items()
    }
    for way, means in metrics.items():
        result.notes.append(
            f"Trained {way}: loss {means['loss']:.4f}, accuracy {means['accuracy']:.4f}."
        )
    return result, metrics


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
    from aacf_tf.training.optimizers import make_optimizer

    plan = current.plan(dataclasses.replace(stage, epochs=epochs))
    steps = plan.steps_per_epoch
    model.compile(optimizer=make_optimizer(plan, model), weighted_metrics=[])
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
