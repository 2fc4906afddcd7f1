"""Prints receptive field, stride and centre of every end point as a Markdown table.

python -m aacf_tf.backbones.table                              # every backbone, as in docs/
python -m aacf_tf.backbones.table --backbone=i3d --size=16,112,112
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from aacf_tf.backbones.catalog import BACKBONES, EXPECTED, build_backbone, is_backbone, sees_images
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

# Frames, height and width of each table: those of the published training; for `small` the demo's.
SIZES = {
    "small": (12, 48, 48),
    "i3d": (64, 224, 224),
    "resnet3d34": (16, 112, 112),
    "densenet161": (1, 224, 224),
    "efficientnet_lite0": (1, 224, 224),
    "efficientnet_lite2": (1, 260, 260),
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    flags.DEFINE_string(
        "backbone", None, f"{EXPECTED}; without it all but those of Keras.", flag_values=values
    )
    flags.DEFINE_list(
        "size",
        None,
        "Frames, height and width of the input; else those of the documentation.",
        flag_values=values,
    )
    return values


def table(backbone: str, size: Sequence[int]) -> str:
    """Returns the end points of a backbone for one input size as a Markdown table.

    Args:
        backbone: Name of a backbone, built with its default options; of one of another package the
            last map alone.
        size: Frames, height and width of the input.
    """
    from aacf_tf.backbones.receptive_field import end_points, receptive_field

    if backbone in BACKBONES:
        model = build_backbone(backbone, all_end_points=True)
        points, outputs = end_points(model, size), model.output
    else:
        model = build_backbone(backbone, input_shape=(*size, 3))
        points, outputs = {"last": receptive_field(model, size)}, {"last": model.output}
    lines = [
        f"| {backbone} at {_by(size)} | map | stride | receptive field | first centre |",
        "|---|---|---|---|---|",
    ]
    for name, axes in points.items():
        cells = (
            f"`{name}`",
            _by([*(axis.size for axis in axes), outputs[name].shape[-1]]),
            _by([axis.stride for axis in axes]),
            _by([axis.last - axis.first + 1 for axis in axes]),
            ", ".join(f"{axis.start:g}" for axis in axes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags alone, received {arguments[0]!r}.")
    if values.backbone and not is_backbone(values.backbone):
        raise UsageError(f"--backbone: expected one of {EXPECTED}, received {values.backbone!r}.")
    backbones = [values.backbone] if values.backbone else BACKBONES
    size = None
    if values.size is not None:
        if len(values.size) != 3 or not all(side.isdecimal() and int(side) for side in values.size):
            raise UsageError(
                "--size: expected frames,height,width such as 16,112,112, "
                f"received {','.join(values.size)!r}."
            )
        size = [int(side) for side in values.size]
    for number, backbone in enumerate(backbones):
        usual = (1, 224, 224) if sees_images(backbone) else (32, 224, 224)
        print("\n" * min(number, 1) + table(backbone, size or SIZES.get(backbone, usual)))


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
