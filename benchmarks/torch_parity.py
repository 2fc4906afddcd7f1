"""Parity with PyTorch: the same networks, the same weights, real PyTorch files.

PyTorch writes in an environment of its own, ours reads and compares:

    python3.11 -m venv torchvenv
    torchvenv/bin/pip install torch==2.13.0 numpy absl-py
    torchvenv/bin/python -m benchmarks.torch_parity --write --directory=parity
    python -m benchmarks.torch_parity --directory=parity

Written are, for every network (`torch_networks.py`), random weights and running statistics in both
containers that `torch.save` knows (`.zip.pt` and the older `.legacy.pt`), laid out as the published
files are, and clips with the values of every end point (`.npz`), at even and at odd sizes.

The comparison loads each file by `load_weights` and prints, for every end point, the shape for the
first clip and the largest error relative to the largest value; above 1e-4 the exit code is 1.
Writing takes 10 s of one core, comparing 35 s, the files 1.6 GB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np
from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError, UserError

LIMIT = 1e-4
CONTAINERS = ("zip", "legacy")
# Mean and deviation of pixels 0..1 that each network's weights were trained with.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS = (0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737)


class Case(NamedTuple):
    """Describes a network on both sides.

    Attributes:
        backbone: Name of the backbone, see `build_backbone`.
        network: class of `torch_networks`.
        options: Options of both networks.
        clips: shapes (T, H, W, C) to compare at.
    """

    backbone: str
    network: str
    options: dict[str, Any]
    clips: tuple[tuple[int, int, int, int], ...]


_VIDEOS = ((16, 112, 112, 3), (17, 65, 97, 3))
CASES = {
    "i3d_rgb": Case("i3d", "I3D", {}, _VIDEOS),
    "i3d_flow": Case("i3d", "I3D", {"channels": 2}, ((8, 64, 64, 2),)),
    "resnet3d34_a": Case(
        "resnet3d34", "ResNet3D34", {"shortcut": "A", "conv1_t_stride": 2}, _VIDEOS
    ),
    "resnet3d34_b": Case("resnet3d34", "ResNet3D34", {"shortcut": "B"}, _VIDEOS),
    "densenet161": Case("densenet161", "DenseNet161", {}, ((2, 224, 224, 3), (1, 97, 75, 3))),
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    flags.DEFINE_string("directory", None, "Folder of the files.", flag_values=values)
    flags.DEFINE_bool("write", False, "Write the files, with PyTorch.", flag_values=values)
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """The command; see the module's docstring."""
    if arguments or not values.directory:
        raise UsageError("Expected --directory=FOLDER (see --help).")
    directory = Path(values.directory)
    if values.write:
        directory.mkdir(parents=True, exist_ok=True)
        for number, (name, case) in enumerate(CASES.items()):
            write(directory, name, case, seed=number)
        return
    worst = 0.0
    print(f"{'network':13} {'end point':21} {'shape':17}", *(f"{c:>8}" for c in CONTAINERS))
    for name, case in CASES.items():
        columns = [compare(directory, name, case, container) for container in CONTAINERS]
        for end_point, (shape, _) in columns[0].items():
            errors = [column[end_point][1] for column in columns]
            size = "x".join(map(str, shape))
            print(f"{name:13} {end_point:21} {size:17}", *(f"{error:8.1e}" for error in errors))
            worst = np.max([worst, *errors])  # keeps a NaN
    print(f"largest relative error {worst:.1e}")
    if not worst <= LIMIT:
        raise UserError(f"Expected relative errors up to {LIMIT:g}, received {worst:.1e}.")


# ---- PyTorch's half -----------------------------------------------------------------------------


def write(directory: Path, name: str, case: Case, seed: int) -> None:
    """Writes the weights of one network in both containers, and its values."""
    import torch

    from benchmarks import torch_networks

    network = getattr(torch_networks, case.network)(include_top=True, **case.options)
    torch_networks.randomize(network, seed)
    for container in CONTAINERS:
        torch.save(
            _published_layout(case.network, network.state_dict(), container),
            directory / f"{name}.{container}.pt",
            _use_new_zipfile_serialization=container == "zip",
        )
    arrays = {}
    for number, shape in enumerate(case.clips):
        pixels = np.random.default_rng([seed, number]).integers(0, 256, (1, *shape), np.uint8)
        arrays[f"{number}/pixels"] = pixels
        with torch.no_grad():
            ends = network(torch.from_numpy(_scale(case.network, pixels)))
        for end_point, values in ends.items():
            values = np.moveaxis(values.numpy(), 1, -1)
            if case.network == "DenseNet161":  # whose batch are the frames
                values = values.mean(0, keepdims=True) if values.ndim == 2 else values[None]
            arrays[f"{number}/{end_point}"] = values
    np.savez(directory / f"{name}.npz", **arrays)
    print(f"{name}: {sum(p.numel() for p in network.parameters())} parameters")


def _scale(network: str, pixels: np.ndarray) -> np.ndarray:
    """Converts inputs for PyTorch: float32, channels second."""
    if network == "I3D":
        x = pixels / 127.5 - 1
    else:
        mean, deviation = KINETICS if network == "ResNet3D34" else IMAGENET
        x = (pixels / 255 - mean) / deviation
    if network == "DenseNet161":
        x = x[0]  # frames are its batch
    return np.ascontiguousarray(np.moveaxis(x, -1, 1), dtype=np.float32)


def _published_layout(network: str, state: dict[str, Any], container: str) -> dict[str, Any]:
    """The weights as the files that exist hold them."""
    if network == "ResNet3D34":  # training checkpoints of a DataParallel model
        return {
            "epoch": 200,
            "arch": "resnet-34",
            "state_dict": {f"module.{name}": value for name, value in state.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        }
    if network == "DenseNet161" and container == "legacy":  # torchvision's names at first
        layer = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
        return {layer.sub(r"\1.\2", name): value for name, value in state.items()}
    return state


# ---- our half -----------------------------------------------------------------------------------


def compare(
    directory: Path, name: str, case: Case, container: str
) -> dict[str, tuple[tuple[int, ...], float]]:
    """Shape for the first clip and largest relative error over all clips, by end point."""
    from aacf_tf.backbones import build_backbone
    from aacf_tf.weights import load_weights

    model = build_backbone(case.backbone, include_top=True, all_end_points=True, **case.options)
    load_weights(model, directory / f"{name}.{container}.pt")
    result = {}
    with np.load(directory / f"{name}.npz") as arrays:
        for number in range(len(case.clips)):
            outputs = model(arrays[f"{number}/pixels"], training=False)
            for end_point, values in outputs.items():
                expected = arrays[f"{number}/{end_point}"]
                if values.shape != expected.shape:
                    raise UserError(
                        f"Expected {name} to give {expected.shape} at {end_point}, "
                        f"received {tuple(values.shape)}."
                    )
                error = np.abs(values - expected).max() / np.abs(expected).max()
                shape, before = result.get(end_point, (expected.shape[1:], 0.0))
                result[end_point] = shape, float(np.maximum(before, error))
    return result


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
