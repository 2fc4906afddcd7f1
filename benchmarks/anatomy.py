"""Measures where the time of a training step goes: backbone, head, loss, optimizer, data.

    python benchmarks/anatomy.py                            recipes demo and jhmdb, all cores
    python benchmarks/anatomy.py --recipe=default --data=data/mine --output=anatomy

Every stage of a recipe is cut in the same way. Functions that each do a little more of the step
than the one before are timed on one batch, in interleaved rounds: the backbone forward; and the
head; and the loss; and the gradients of the head's weights and of the feature map; and those of the
backbone; and the optimiser; and the metrics, which is `train_step`. Of each the share of
`train_step` in the same round is taken, the median over the rounds; a part is the difference
between two neighbours. What the runtime overlaps in the longer of the two is in that difference,
and a part below the noise of the machine may come out negative.

Then `model.fit` runs on that batch again and again and, for whole epochs, on the data, with the
callbacks of a run. The parts are scaled to its step on the repeated batch; waiting for data is what
a step on data takes longer, and between steps lies what `fit` and its callbacks do from the end of
a step to the beginning of the next, so that all parts sum to the time from step to step. The share
of waiting is 1 - the time of a step on the repeated batch / the time of a step on data, the first
step left out. So it counts the cores that making batches takes from the step, too, which training
does not (`monitoring.ProgressLine.waiting`). Three lines stand beside it: the share of the
time that a loop stands still in `next()`, what a batch costs alone, and the seconds until the first
batch, which with `data.cache` include decoding the whole split. Validation and checkpoints, once an
epoch, are no part of a step.

For `demo` its own data set is built, for `jhmdb` one of J-HMDB's size is drawn: 660 pairs of 32
frames of 128x171 with masks, 600 MB. OUTPUT.png shows the parts as one bar a stage.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Sequence
from unittest import mock

from absl import flags

from aacf_tf import recipes
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from aacf_tf.models.action_model import ActionModel
    from aacf_tf.recipes import Stage
    from aacf_tf.runs.run import Run
    from benchmarks import sheet

# Each prefix of a step adds the part of this name to the one before.
STEP = (
    "backbone forward",
    "head forward",
    "loss",
    "head backward",
    "backbone backward",
    "optimizer",
    "metrics",
)
PARTS = (*STEP, "waiting for data", "between steps")
REPEATED = 20  # steps of `fit` on one batch, before the epochs and after them
WAITING = 0.05  # share of a step, at most


class Fit(NamedTuple):
    """Seconds of a run of `fit`: each step from its beginning to its end, and the gaps behind."""

    steps: list[float]
    gaps: list[float]


def define_flags() -> None:
    """Defines the command's flags."""
    from benchmarks import sheet

    sheet.define_flags(threads=None)
    flags.DEFINE_list("recipe", ["demo", "jhmdb"], f"Of {', '.join(recipes.RECIPES)}.")
    flags.DEFINE_string("stage", None, "Of the recipe; else all, one after the other.")
    flags.DEFINE_string("data", None, "Data set of the recipe; demo and jhmdb make their own.")
    flags.DEFINE_enum("precision", None, recipes.PRECISIONS, "Instead of the recipe's.")
    flags.DEFINE_integer("epochs", 2, "Epochs on data, after one that fills the cache.", 1)
    flags.DEFINE_integer("clips", 660, "Pairs drawn for jhmdb.", 32)


def main(arguments: Sequence[str]) -> None:
    """The command; see the module's docstring."""
    options = flags.FLAGS
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if options.data and len(options.recipe) > 1:
        raise UsageError("--data: expected one --recipe, received " + ", ".join(options.recipe))
    chosen = [recipes.load_recipe(name) for name in options.recipe]
    if options.precision:
        chosen = [recipes.override(recipe, "precision", options.precision) for recipe in chosen]
    for recipe in chosen:
        if not options.data and recipe.name not in ("demo", "jhmdb"):
            raise UsageError(f"--recipe={recipe.name}: expected --data, received none.")
    from benchmarks import sheet

    if hasattr(os, "sched_setaffinity"):  # threads as in training: TensorFlow counts these cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    print(sheet.machine_line(), flush=True)
    sheets, bars = {}, {}
    if options.output and Path(f"{options.output}.json").is_file():  # other stages stay
        sheets = sheet.read(options.output)
        text = Path(f"{options.output}.json").read_text(encoding="utf-8")
        bars = json.loads(text)["parts"]
    with tempfile.TemporaryDirectory() as folder:
        for recipe in chosen:
            data = options.data or make_data(recipe.name, Path(folder), options.clips)
            for number, stage in enumerate(recipe.stages):
                if options.stage not in (None, stage.name):
                    continue
                workdir = Path(folder) / f"run-{recipe.name}-{number}"
                found, parts = cut(
                    recipe, number, data, workdir, options.rounds, options.epochs, options.threads
                )
                print(f"\n{sheet.markdown(found)}", flush=True)
                sheets[found.title], bars[found.title] = found, parts
                if options.output:  # what is measured is kept, whatever becomes of the rest
                    sheet.write(options.output, [*sheets.values()], {"parts": bars})
                    plot(bars, Path(f"{options.output}.png"))


def make_data(name: str, folder: Path, clips: int) -> Path:
    """Makes the data set of a recipe that has its own."""
    from aacf_tf import pipeline
    from benchmarks import drawn

    directory = folder / f"data-{name}"
    if name == "demo":
        return pipeline.demo_data(directory)
    labels = [f"class {number:02d}" for number in range(21)]  # as many as J-HMDB has
    pairs = [drawn.draw_pair(n, 32, 128, 171, labels[n % 21]) for n in range(min(clips, 42))]
    return drawn.write_copies(directory, pairs, labels, clips, shards=6)


def cut(
    recipe: recipes.Recipe,
    number: int,
    data: Path | str,
    workdir: Path,
    rounds: int,
    epochs: int,
    threads: int,
) -> tuple[sheet.Sheet, dict[str, float]]:
    """Cuts the training step of one stage.

    Args:
        recipe: Recipe to train; its stage `number` counts from 0.
        data: data set directory.
        workdir: Directory for the run's logs.
        rounds: timed rounds of the prefixes.
        epochs: on data, after the first.
        threads: cores in use.

    Returns:
        The prefixes' times with the parts below; milliseconds of each of `PARTS`.
    """
    from tensorflow import keras

    from aacf_tf.runs.devices import resolve_precision
    from aacf_tf.runs.run import Run
    from aacf_tf.training.optimizers import make_optimizer
    from benchmarks import sheet

    keras.utils.set_random_seed(recipe.seed)
    precision = resolve_precision(recipe.precision)
    keras.mixed_precision.set_global_policy(precision)
    stage = recipe.stages[number]
    run = Run.open(recipe, data, workdir)
    run.check_data()
    plan = run.plan(stage)
    steps = plan.steps_per_epoch
    model = run.build(stage)
    model.compile(optimizer=make_optimizer(plan, model), weighted_metrics=[])
    batches = read(run, stage, epochs + 1)
    batch = next(iter(batches))
    functions = prefixes(model, batch)
    title = f"{recipe.name}: {stage.name}"
    found = sheet.measure(
        title,
        {name: sheet.Candidate(lambda f=f: f) for name, f in functions.items()},
        rounds=rounds,
        threads=threads,
        settings={"head": plan.head, "batch": stage.batch_size, "precision": precision},
    )
    repeated, real = fit(run, stage, model, batches, batch, steps, epochs)
    parts = split({name: row.milliseconds for name, row in found.rows.items()}, repeated, real)
    share = parts["waiting for data"] / (sum(parts.values()) - parts["between steps"])
    found.notes = [
        *table(parts),
        "",
        f"- waiting for data: {100 * share:.1f} % of the step (wanted: below {100 * WAITING:g} %)",
        f"- standing still in next(): {100 * still(model, batches, steps):.1f} %",
        f"- a batch alone: {alone(batches, steps):.1f} ms of one core",
        f"- until the first batch: {real.steps[0]:.1f} s",
    ]
    return found, parts


def read(run: Run, stage: Stage, epochs: int) -> tf.data.Dataset:
    """Reads the batches that `fit` trains on: those of the run without the records' ids."""
    batches = run.stage_batches("train", stage, training=True, epochs=epochs)
    return batches.map(lambda x, *rest: ({n: v for n, v in x.items() if n != "id"}, *rest))


def prefixes(model: ActionModel, batch: tuple[Any, ...]) -> dict[str, Callable[[], Any]]:
    """Builds calls that each do one part of `STEP` more than the one before."""
    import tensorflow as tf

    x, y, weights = batch
    pairs = "conjugate" in x and model.head.pairs

    def loss(x: Any, y: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return model.compute_loss(x, y, model(x, training=True), weights)

    def head_gradients(x: Any, y: tf.Tensor, weights: tf.Tensor) -> list[tf.Tensor]:
        maps, features = [], model.features

        def remember(*arguments: Any) -> tf.Tensor:
            maps.append(features(*arguments))
            return maps[-1]

        # The feature map lies inside of the model's call.
        with tf.GradientTape() as tape, mock.patch.object(model, "features", remember):
            value = loss(x, y, weights)
        return tape.gradient(value, [*maps, *model.head.trainable_variables])

    def gradients(x: Any, y: tf.Tensor, weights: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(x, y, weights)
        return tape.gradient(value, model.trainable_variables)

    def optimized(x: Any, y: tf.Tensor, weights: tf.Tensor) -> None:
        pairs = zip(gradients(x, y, weights), model.trainable_variables)
        model.optimizer.apply_gradients(pairs)

    functions = (
        lambda x, y, weights: model.features(x, pairs, True),
        lambda x, y, weights: model(x, training=True),
        loss,
        head_gradients,
        gradients,
        optimized,
        lambda *batch: model.train_step(batch),
    )

    def compiled(function: Callable[..., Any]) -> Callable[[], Any]:
        traced = tf.function(function)
        return lambda: traced(x, y, weights)

    return {name: compiled(function) for name, function in zip(STEP, functions)}


def fit(
    run: Run,
    stage: Stage,
    model: ActionModel,
    batches: tf.data.Dataset,
    batch: tuple[Any, ...],
    steps: int,
    epochs: int,
) -> tuple[Fit, Fit]:
    """Runs `fit` on one batch, on data for one epoch more than `epochs`, and on the batch again."""
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.training.monitoring import Board, ProgressLine

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.begins, self.ends = [], []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.begins.append(time.perf_counter())

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends.append(time.perf_counter())

    def timed(data: tf.data.Dataset, steps: int, epochs: int) -> Fit:
        clock = Clock()
        line = ProgressLine("", stage.batch_size, steps * epochs, 0, shown=False)
        board = Board(run.log_folder(stage), steps, line, None)
        model.fit(
            data,
            steps_per_epoch=steps,
            epochs=epochs,
            callbacks=[clock, line, board],
            verbose=0,
        )
        line.close()
        board.close()
        gaps = [b - e for e, b in zip(clock.ends, clock.begins[1:])]
        del gaps[steps - 1 :: steps]  # between epochs
        return Fit([e - b for b, e in zip(clock.begins, clock.ends)], gaps)

    one = tf.data.Dataset.from_tensors(batch).cache().repeat()
    before = timed(one, REPEATED, 1)
    real = timed(batches, steps, epochs + 1)
    after = timed(one, REPEATED, 1)
    # The first step compiles, or starts an iterator.
    return Fit(before.steps[1:] + after.steps[1:], before.gaps + after.gaps), real


def split(prefixes: Mapping[str, Sequence[float]], repeated: Fit, real: Fit) -> dict[str, float]:
    """Returns milliseconds of each of `PARTS`; their sum is a step on data with the gap behind it.

    Args:
        prefixes: name -> milliseconds, one a round, in the order of `STEP`; the last is the whole.
        repeated: on one batch; its median counts.
        real: on data; the mean of all steps but the first.
    """
    whole = prefixes[STEP[-1]]
    step = 1000 * statistics.median(repeated.steps)
    ends = [step * statistics.median(a / b for a, b in zip(prefixes[name], whole)) for name in STEP]
    ends.append(1000 * statistics.fmean(real.steps[1:]))
    ends.append(ends[-1] + 1000 * statistics.fmean(real.gaps))
    return {name: end - begin for name, begin, end in zip(PARTS, [0.0, *ends], ends)}


def still(model: ActionModel, batches: tf.data.Dataset, steps: int) -> float:
    """Measures the share of an epoch's time that a loop of steps spends in `next()`.

    The first step of the epoch is left out.
    """
    import tensorflow as tf

    step = tf.function(lambda *batch: model.train_step(batch))
    iterator = iter(batches)
    step(*next(iterator))
    waited, begin = 0.0, time.perf_counter()
    for _ in range(steps - 1):
        start = time.perf_counter()
        batch = next(iterator)
        waited += time.perf_counter() - start
        step(*batch)
    return waited / (time.perf_counter() - begin)


def alone(batches: tf.data.Dataset, steps: int) -> float:
    """Measures the processor milliseconds of a batch, of all cores together; nothing else runs."""
    iterator = iter(batches)
    next(iterator)
    begin = time.process_time()
    for _ in range(steps):
        next(iterator)
    return 1000 * (time.process_time() - begin) / steps


def table(parts: Mapping[str, float]) -> list[str]:
    """Returns the lines of a Markdown table of the parts."""
    whole = sum(parts.values())
    lines = ["| part | ms | of the step |", "|---|---|---|"]
    for name, value in {**parts, "whole step": whole}.items():
        lines.append(f"| {name} | {value:.2f} | {100 * value / whole:.1f} % |")
    return lines


def plot(bars: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draws one horizontal stacked bar a stage, in shares of its step; ms stand beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from tfrecords.utils.atomic import replacing

    figure, axis = pyplot.subplots(figsize=(9, 1.6 + 0.6 * len(bars)), layout="constrained")
    for row, parts in enumerate(bars.values()):
        whole, left = sum(parts.values()), 0.0
        for place, (name, value) in enumerate(parts.items()):
            width = 100 * max(0.0, value) / whole  # noise may take a tiny part below zero
            color, label = pyplot.cm.tab10(place), name if row == 0 else None
            axis.barh(row, width, left=left, color=color, label=label)
            left += width
        axis.text(left + 0.5, row, f"{whole:.0f} ms", va="center", fontsize=8)
    axis.set_yticks(range(len(bars)), bars, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("% of a training step")
    axis.set_xlim(0, 108)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, ncol=5, frameon=False, loc="outside upper center")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
