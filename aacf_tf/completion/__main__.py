"""Trains a network that completes images, on your own pictures.

    python -m aacf_tf.completion --images=photos --workdir=runs/completion
    python -m aacf_tf.completion --images=data/stills --preset=small --workdir=runs/completion

--images: a folder of pictures with its subfolders, or a data set directory, whose split train is
trained on and whose test splits are held out. One command does everything: it trains the completion
network by its squared error, then the discriminators, then both together; compares with Telea's
inpainting on held-out holes; and exports the network, for
`python -m tfrecords.build --filler=runs/completion/export/completion`. The same command resumes a
run that was stopped in any way.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Sequence

from absl import flags

from aacf_tf.completion.options import FILLS, OPTIMIZERS, PRESETS, SCHEDULES, Settings
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import check_output, is_remote


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; those of `Settings` default to None."""
    names = ", ".join
    text = partial(flags.DEFINE_string, flag_values=values)
    integer = partial(flags.DEFINE_integer, flag_values=values)
    real = partial(flags.DEFINE_float, flag_values=values)
    choice = partial(flags.DEFINE_enum, flag_values=values)
    many = partial(flags.DEFINE_list, flag_values=values)
    text("images", None, "Folder of pictures, or a data set directory.")
    text("held_out_images", None, "The same, of the pictures to compare on; else see above.")
    text("workdir", None, "Directory of the trainer.")
    choice(
        "preset",
        "paper",
        list(PRESETS),
        "Where the defaults below come from: the paper; or small: half an hour on 2 cores.",
    )
    integer("size", None, "Side of the crops in pixels, a multiple of 8.")
    integer("width", None, "Channels of the networks' first layers, an even number.")
    choice("fill", None, FILLS, f"What stands in a hole first: {names(FILLS)}.")
    many("steps", None, "Of the three phases, such as 5000,200,800.")
    integer("batch_size", None, "Crops a step.")
    choice("optimizer", None, OPTIMIZERS, "Of both networks.")
    real("learning_rate", None, "At the beginning.")
    choice("schedule", None, SCHEDULES, "Of the completion network's learning rate.")
    real("adversarial_weight", None, "Of the discriminators' verdict beside the squared error.")
    flags.DEFINE_bool(
        "spectral_norm", None, "Spectral normalisation in the discriminators.", flag_values=values
    )
    integer("holes", None, "At most so many rectangles a crop.")
    many("hole_sides", None, "Shortest and longest side of a hole, as shares of the crop's.")
    real("zoom", None, "A crop is as wide as the picture's shorter side / (1 to this).")
    integer("held_out", None, "Pictures to compare on, at most.")
    integer("seed", None, "Of weights, crops and holes.")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    settings = _check(arguments, values)

    from aacf_tf.runs.directory import alone  # imports TensorFlow: flags are checked before

    with alone(Path(values.workdir)):
        _train(settings, values)


def _train(settings: Settings, values: flags.FlagValues) -> None:
    """Trains, or goes on with it, and exports the network."""
    from aacf_tf.completion.pictures import open_images
    from aacf_tf.completion.training import Trainer
    from aacf_tf.runs.termination import Termination

    parts = open_images(values.images, values.held_out_images or "")
    trainer = Trainer(settings, parts, Path(values.workdir))
    held_out = len(trainer.comparison.held_out.image)
    print(
        f"{len(trainer.pictures)} pictures to train on, {held_out} held out; "
        f"step {trainer.step} of {settings.total_steps}; {values.workdir}"
    )
    with Termination().active() as termination:
        trainer.train(termination)
    exported = trainer.finish()
    print(trainer.results.describe())
    if trainer.skipped():
        print(f"{len(trainer.skipped())} pictures cannot be read: {values.workdir}/skipped.csv")
    print(f"The network: {exported} (python -m tfrecords.build --filler={exported.parent} ...)")


def _check(arguments: Sequence[str], values: flags.FlagValues) -> Settings:
    """Returns the settings of the flags; UsageError if they cannot be used."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if not values.images:
        raise UsageError("--images: expected a folder of pictures, received none.")
    if not values.workdir:
        raise UsageError("--workdir: expected a directory for the run, received none.")
    if is_remote(values.workdir):
        raise UsageError(f"--workdir: expected a local directory, received {values.workdir}.")
    for flag in ("images", "held_out_images"):
        folder = values[flag].value
        if folder and Path(values.workdir).resolve().is_relative_to(Path(folder).resolve()):
            raise UsageError(
                f"--workdir: expected a directory outside --{flag}, or the run would take the "
                f"sheets it draws for pictures, received {values.workdir}."
            )
    check_output(Path(values.workdir), "workdir", folder=True)
    given = {}
    for field in dataclasses.fields(Settings):
        value = getattr(values, field.name)
        if value is not None:
            given[field.name] = _numbers(field.name, value) if isinstance(value, list) else value
    settings = dataclasses.replace(PRESETS[values.preset], **given)
    settings.check()
    return settings


def _numbers(name: str, texts: Sequence[str]) -> tuple[Any, ...]:
    """Returns the numbers of a list flag, with the type of its default."""
    kind = type(getattr(PRESETS["paper"], name)[0])
    try:
        return tuple(kind(text) for text in texts)
    except ValueError as error:
        raise UsageError(
            f"--{name}: expected numbers with commas between them, received {','.join(texts)}."
        ) from error


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
