"""Trains, evaluates, exports and reports: AACF for TensorFlow.

    python train_main.py                                        # the demo; minutes on 2 cores
    python train_main.py --recipe=jhmdb --data=data/jhmdb       # real videos
    python train_main.py --data=data/mine --workdir=runs/mine   # your own
    python train_main.py --mode=report --workdir=runs/a,runs/b  # runs side by side

The same command resumes a run that was killed.
"""

from __future__ import annotations

import tfrecords  # noqa: F401  (first: it guards the command against Ctrl-C)

# isort: split
from pathlib import Path
from typing import Sequence

from absl import flags

from aacf_tf import recipes
from aacf_tf.backbones.catalog import EXPECTED
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import AnyPath, check_output, to_path

FLAGS = flags.FLAGS
RECIPE_FLAGS = (
    *("recipe", "backbone", "modality", "weights", "head", "precision", "strategy", "epochs"),
    *("batch_size", "learning_rate", "frames", "height", "width", "seed", "set", "fine_tune"),
)
MODES = ("all", "train", "evaluate", "features", "export", "report", "plan")

flags.DEFINE_string(
    "recipe",
    None,
    f"What to train: {', '.join(recipes.RECIPES)}, or the config.json of a run to repeat. Without "
    "it: demo; with --data: default.",
)
flags.DEFINE_string(
    "data", None, "Data set directory (of tfrecords.build); the demo makes its own."
)
flags.DEFINE_string(
    "workdir",
    None,
    "Directory of the run; without it runs/RECIPE. With --mode=report several (runs/a,runs/b) are "
    "shown side by side, in the first one's report/comparison.html.",
)
flags.DEFINE_enum("mode", "all", MODES, "One step alone, or all; plan says what would be done.")
flags.DEFINE_string("backbone", None, f"Backbone, instead of the recipe's: {EXPECTED}.")
flags.DEFINE_enum(
    "modality", None, recipes.MODALITIES, "What the backbone sees: frames, optical flow, or both."
)
flags.DEFINE_string(
    "weights",
    None,
    "File of published weights that the backbone begins with (of two_stream: RGB,FLOW), imagenet "
    "or kinetics for weights that a package or Keras has, or the directory of a run, whose "
    "attention is taken too. Most recipes then have other stages; see docs/training.md.",
)
flags.DEFINE_bool(
    "fine_tune",
    None,
    "With --weights, recipes default and stills: whether the backbone learns, or only heads on its "
    "features, which are computed once. Without it only heads; from the directory of a run it "
    "learns.",
)
flags.DEFINE_enum("head", None, recipes.HEADS, "Head, instead of the recipe's.")
flags.DEFINE_enum("precision", None, recipes.PRECISIONS, "auto asks the hardware.")
flags.DEFINE_enum(
    "strategy", None, recipes.STRATEGIES, "auto mirrors over the GPUs where there are several."
)
flags.DEFINE_integer("epochs", None, "Epochs of every stage.")
flags.DEFINE_integer("batch_size", None, "Pairs a step of every stage, over all devices.")
flags.DEFINE_float("learning_rate", None, "Peak learning rate of every stage.")
flags.DEFINE_integer("frames", None, "Frames a clip.")
flags.DEFINE_integer("height", None, "Pixels after resizing.")
flags.DEFINE_integer("width", None, "Pixels after resizing.")
flags.DEFINE_list(
    "seed",
    None,
    "Of the weights and of all that is random in the data; several (0,1,2): a run each, in "
    "WORKDIR/seed-N, then mean and standard deviation.",
)
flags.DEFINE_bool("resume", True, "Continue the run in --workdir; --noresume refuses to.")
flags.DEFINE_multi_string(
    "set", [], "Any field of the recipe: --set loss.context=0 --set stages.1.epochs=5; repeatable."
)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    several = _several()
    if several:
        from aacf_tf import pipeline

        pipeline.compare(several, to_path(FLAGS.data) if FLAGS.data else None)
        return
    recipe = _recipe()
    workdir = to_path(FLAGS.workdir or f"runs/{recipe.name}")
    if FLAGS.data is None and recipe.name != "demo":
        raise UsageError(f"--data: expected a data set directory for the recipe {recipe.name!r}.")
    if FLAGS.mode != "plan":
        check_output(workdir, "workdir", folder=True)
    # Imports TensorFlow: flags are checked before.
    from aacf_tf import pipeline

    data = to_path(FLAGS.data) if FLAGS.data else pipeline.demo_data(Path("data/demo"))
    seeds = _seeds()
    if len(seeds) > 1:
        pipeline.run_seeds(recipe, seeds, data, workdir, mode=FLAGS.mode, resume=FLAGS.resume)
    else:
        pipeline.run(recipe, data, workdir, mode=FLAGS.mode, resume=FLAGS.resume)


def _several() -> list[AnyPath]:
    """Returns the directories of the runs to report side by side; none: it is one run."""
    text = FLAGS.workdir or ""
    if FLAGS.mode != "report" or "," not in text or to_path(text).is_dir():
        return []
    names = [name.strip() for name in text.split(",")]
    twice = [name for name in names if names.count(name) > 1]
    if not all(names) or twice:
        raise UsageError(f"--workdir: expected different directories as a,b, received {text!r}.")
    for name in RECIPE_FLAGS:
        if FLAGS[name].present:
            raise UsageError(
                f"--{name}: expected no flag of a recipe beside several --workdir, each of which "
                "holds its own."
            )
    return [to_path(name) for name in names]


def _seeds() -> list[int]:
    """Returns the seeds of the flag; none: the recipe's."""
    given = FLAGS.seed or []
    if not all(number.strip().isdecimal() for number in given) or len(set(given)) < len(given):
        raise UsageError(
            f"--seed: expected a number, or different ones as 0,1,2, received {','.join(given)!r}."
        )
    return [int(number) for number in given]


def _recipe() -> recipes.Recipe:
    """Returns the recipe with the fields that flags override, checked."""
    name = FLAGS.recipe or ("default" if FLAGS.data else "demo")
    recipe = recipes.load_recipe(name)
    if name in recipes.RECIPES and FLAGS.weights:
        fine_tune = FLAGS.fine_tune
        if fine_tune is None:
            # A run's clips were of another size, and its features are of its own classes.
            fine_tune = (to_path(FLAGS.weights) / "config.json").is_file()
        recipe = recipes.pretrained(recipe, fine_tune)
    elif FLAGS.fine_tune is not None:
        raise UsageError("--fine_tune: expected --weights and the name of a recipe with it.")
    for field in ("backbone", "modality", "weights", "head", "precision", "strategy"):
        if FLAGS[field].value is not None:
            recipe = recipes.override(recipe, field, FLAGS[field].value)
    for number in _seeds():
        recipe = recipes.override(recipe, "seed", number)
        recipes.check(recipe)  # each of several is checked; the last one stays
    for field in ("frames", "height", "width"):
        if FLAGS[field].value is not None:
            recipe = recipes.override(recipe, f"data.{field}", FLAGS[field].value)
    for field in ("epochs", "batch_size", "learning_rate"):
        if FLAGS[field].value is not None:
            for index in range(len(recipe.stages)):
                recipe = recipes.override(recipe, f"stages.{index}.{field}", FLAGS[field].value)
    for assignment in FLAGS.set:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set: expected field=value, received {assignment!r}.")
        recipe = recipes.override(recipe, path, value)
    recipes.check(recipe)
    return recipe


if __name__ == "__main__":
    commandline.run(main, __doc__)
