"""Measures how much a classifier goes by the scene, on test sets made from masks of the actors.

    python -m aacf_tf.bias --model=runs/mine/export/aacf --data=data/mine --output=bias
    python -m aacf_tf.bias --model=some/saved_model --labels=classes.txt --scaling=imagenet ...

The actors of a test split without their scenes, the scenes without their actors, actors in the
scenes of other classes, on stripes, standing still: accuracy on each, and how often the class of
the scene is answered. Tables on the terminal, OUTPUT/bias.json and OUTPUT/index.html, a page with
pictures. docs/bias.md says what each set means.

The model: one exported by this project, or any SavedModel that takes pixels and returns scores of
classes. What is read off it or assumed is printed.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Sequence

from absl import flags

from aacf_tf.bias.options import LAYOUTS, MASKS, SCALINGS, Options
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import is_remote

_RESIZES = ("stretch", "short_side", "whole")  # as in a recipe


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    text = partial(flags.DEFINE_string, flag_values=values)
    integer = partial(flags.DEFINE_integer, flag_values=values, lower_bound=0)
    choice = partial(flags.DEFINE_enum, flag_values=values)
    text("model", None, "Exported model, such as runs/mine/export/aacf, or any SavedModel.")
    text("data", None, "Data set directory.")
    text("output", None, "Folder for bias.json and index.html.")
    text("split", None, "Split to test on; else test, or the first whose name begins so.")
    choice(
        "masks",
        "auto",
        MASKS,
        "Masks of the actors: annotated, those of the records; automatic, those that the build "
        "found (--people); motion, whatever moves; auto, the first of these that there are.",
    )
    integer("clips", 300, "Clips at most, drawn from the split; 0: all.")
    integer("seed", 0, "Of what is drawn.")
    text("signature", None, "Of the SavedModel; else serve_tensor, or serving_default.")
    text("input_name", None, "Of the signature; else its only one.")
    text("output_name", None, "Scores [batch, classes]; else probabilities, or the only such one.")
    text("map_name", None, "Output [batch, time, height, width] to judge as a map of the action.")
    text("labels", None, "File with a class a line, in the model's order; else the model's own.")
    choice(
        "scaling",
        None,
        SCALINGS,
        "Pixels that the model takes; else uint8 for an input of integers, 0..1 for any other.",
    )
    choice(
        "layout",
        None,
        LAYOUTS,
        "Axes that the model takes, batch, time, height, width, channels; bhwc: single frames; "
        "else by the shape of its input.",
    )
    integer(
        "frames", None, "Frames of a clip, if the model leaves it open; else 16, or 1 for bhwc."
    )
    integer("height", None, "Height of a frame, if the model leaves it open.")
    integer("width", None, "Width of a frame, if the model leaves it open.")
    flags.DEFINE_float(
        "fps", None, "Frames a second to sample at; else every frame.", 0, flag_values=values
    )
    choice(
        "resize",
        None,
        _RESIZES,
        "How a frame comes to that size; else as the model's card says, or short_side: scaled and "
        "the centre cut.",
    )
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    _check(arguments, values)

    # These imports start TensorFlow; wrong flags are reported before.
    from aacf_tf.bias import describe, measure, open_classifier, write

    names = [field.name for field in dataclasses.fields(Options)]
    options = Options(**{name: values[name].value for name in names})
    classifier = open_classifier(values.model, options)
    print(f"model    {classifier.folder}")
    for line in classifier.assumed:
        print(f"         {line}")
    bias = measure(
        classifier,
        values.data,
        values.split,
        masks=values.masks,
        clips=values.clips,
        seed=values.seed,
        **classifier.clip,
    )
    model = {"path": str(classifier.folder), "assumed": classifier.assumed}
    bias.content = {"model": model, **bias.content}
    print(describe(bias.content))
    print(f"page     {write(bias, values.output)}")


def _check(arguments: Sequence[str], values: flags.FlagValues) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    for name, what in (
        ("model", "a SavedModel such as runs/mine/export/aacf"),
        ("data", "a data set directory"),
        ("output", "a folder to write to"),
    ):
        if not values[name].value:
            raise UsageError(f"--{name}: expected {what}, received none.")
    for name in ("frames", "height", "width"):
        if values[name].value == 0:
            raise UsageError(f"--{name}: expected 1 or more, received 0.")
    if not Path(values.model).is_dir():
        raise UsageError(f"--model: no such folder: {values.model!r}.")
    if is_remote(values.output):
        raise UsageError(f"--output: expected a local folder, received {values.output}.")
    if Path(values.output).exists() and not Path(values.output).is_dir():
        raise UsageError(f"--output: expected a folder, received the file {values.output}.")


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
