"""Measures the memory of each recipe: the peak of every stage, and of caching features.

    python benchmarks/memory.py                        all recipes, 5 minutes on 2 cores
    python benchmarks/memory.py --recipes=hacs30 --precision=mixed_bfloat16

Training steps on random pixels, each in a process of its own. On a GPU what TensorFlow's allocator
had at its peak, at the recipe's batch. Without one what the process had resident beyond what an
idle one has; a batch of more than `LIMIT` pixels through the backbone is extrapolated along a line
from two smaller ones, and marked. A GPU needs about as much for the same tensors; what cuDNN takes
to work in comes on top, and under mixed precision activations take half.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

from absl import flags

from aacf_tf import recipes
from aacf_tf.recipes import Recipe
from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

STEPS = 2
CLASSES = 10
GIGA = 2**30
LIMIT = 1 << 23  # pixels of a batch, conjugates not counted: 16 clips of 32 x 128 x 128


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    names = ", ".join(recipes.RECIPES)
    flags.DEFINE_list("recipes", list(recipes.RECIPES), f"Of {names}.")
    flags.DEFINE_enum("precision", "float32", recipes.PRECISIONS, "Of the calculation.")
    flags.DEFINE_string("output", None, "File for all figures as JSON.")


class Work(NamedTuple):
    """Describes one measurement: a step of a stage at a batch size, or caching its features.

    `batch` counts pairs, or clips for a head that sees no conjugates.
    """

    recipe: str
    stage: int
    features: bool
    batch: int

    def title(self, recipe: Recipe) -> str:
        name = recipe.stages[self.stage].name
        return f"{name}: making its cached features" if self.features else name


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    for name in options.recipes:
        if name not in recipes.RECIPES:
            known = ", ".join(recipes.RECIPES)
            raise UsageError(f"--recipes: expected some of {known}, received {name!r}.")
    rows = []
    everything = [work for name in options.recipes for work in plan(recipes.load_recipe(name))]
    for work in progress(everything, desc="memory", unit="stage"):
        rows.append(row(work, options.precision))
    print(table(rows))
    if options.output:
        write_json(Path(options.output), {"precision": options.precision, "rows": rows})


def plan(recipe: Recipe) -> Iterator[Work]:
    """Lists the measurements of a recipe, stage by stage."""
    for place, stage in enumerate(recipe.stages):
        if recipes.plan_stage(recipe, stage).cached_views:
            from aacf_tf.training.preparation.feature_cache import views_a_batch

            yield Work(recipe.name, place, True, views_a_batch(recipe.data, None))
        yield Work(recipe.name, place, False, stage.batch_size)


def row(work: Work, precision: str) -> dict[str, Any]:
    """Measures, or extrapolates where there is no GPU and the batch is large."""
    recipe = recipes.load_recipe(work.recipe)
    cached = recipes.plan_stage(recipe, recipe.stages[work.stage]).cached_views
    on_maps = cached and not work.features
    pixels = recipe.data.frames * recipe.data.height * recipe.data.width
    few = work.batch if on_maps else min(work.batch, max(2, LIMIT // pixels))
    found = _measure(work._replace(batch=few), precision)
    extrapolated = few < work.batch and not found["gpu"]
    if extrapolated:
        half = _measure(work._replace(batch=few // 2), precision)
        slope = (found["bytes"] - half["bytes"]) / (few - few // 2)
        found["bytes"] += slope * (work.batch - few)
    elif few < work.batch:
        found = _measure(work, precision)
    return {
        "recipe": work.recipe,
        "stage": work.title(recipe),
        "batch": work.batch,
        "gigabytes": found["bytes"] / GIGA,
        "extrapolated": extrapolated,
        "device": "GPU" if found["gpu"] else "CPU",
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; an extrapolated figure has a tilde."""
    lines = ["| recipe | stage | batch | memory, GiB |", "|---|---|---|---|"]
    for entry in rows:
        mark = "~" if entry["extrapolated"] else ""
        lines.append(
            f"| `{entry['recipe']}` | {entry['stage']} | {entry['batch']} | "
            f"{mark}{entry['gigabytes']:.1f} |"
        )
    return "\n".join(lines)


def _measure(work: Work, precision: str) -> dict[str, Any]:
    """In a process of its own: a peak is forgotten by none."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (work, precision))


def _peak(work: Work, precision: str) -> dict[str, Any]:
    commandline.quiet_tensorflow()
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.models.factory import build_model
    from aacf_tf.runs.devices import resolve_precision
    from aacf_tf.training.optimizers import make_optimizer
    from tfrecords.reading.preprocess import crop_size
    from tfrecords.records.names import MODALITIES

    gpu = bool(tf.config.list_physical_devices("GPU"))
    recipe = recipes.load_recipe(work.recipe)
    stage, data = recipe.stages[work.stage], recipe.data
    keras.mixed_precision.set_global_policy(resolve_precision(precision))
    tf.reduce_sum(tf.ones([8, 8]) @ tf.ones([8, 8]))  # what an idle process has
    idle = _resident("VmRSS")
    plan = recipes.plan_stage(recipe, stage, 100)
    model = build_model(recipe, CLASSES, stage=stage, steps=100)
    size = [work.batch, data.frames, *crop_size((data.height, data.width), data.crop)]
    clips = {
        name: tf.zeros([*size, stream.channels], tf.uint8)
        for name, stream in MODALITIES[recipe.modality].inputs.items()
    }
    if work.features:
        # The clips and behind them their conjugates, in one batch.
        both = {name: tf.concat([value, value], axis=0) for name, value in clips.items()}
        forward = tf.function(lambda inputs: model.features(inputs, pairs=False))
        for _ in range(STEPS):
            forward(both)
    else:
        inputs = clips
        if plan.cached_views:
            grid = [-(-side // stride) for side, stride in zip(size[1:], model.strides())]
            if data.map_crop:
                grid[1:] = [data.map_crop] * 2
            inputs = {"features": tf.zeros([work.batch, *grid, model.backbone.output_shape[-1]])}
        if plan.pairs:
            inputs.update({_conjugate(name): value for name, value in inputs.items()})
            inputs["has_conjugate"] = tf.ones([work.batch], tf.bool)
        model.compile(optimizer=make_optimizer(plan, model), weighted_metrics=[])
        batch = inputs, tf.zeros([work.batch], tf.int32)
        model.fit(tf.data.Dataset.from_tensors(batch).repeat(STEPS), verbose=0)
    if gpu:
        return {"gpu": True, "bytes": tf.config.experimental.get_memory_info("GPU:0")["peak"]}
    return {"gpu": False, "bytes": _resident("VmHWM") - idle}


def _conjugate(name: str) -> str:
    return {"clip": "conjugate"}.get(name, f"conjugate_{name}")


def _resident(what: str) -> int:
    """Bytes of this process in memory: now (VmRSS), at its peak (VmHWM).

    Not by `resource`: its peak is also that of the process which started this one.
    """
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{what}:\s+(\d+) kB", text)[1]) * 1024


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
