"""Mappings from the layer names of published weight files to those of our backbones, as data.

A `Naming` maps the layers of one family of files to ours; `loading.py` chooses the one that matches
most of a file's layers. Only layers are mapped, not variables: the names of a layer's kernel or
moving mean depend on the framework alone (`files.py`).

Sources of the names:

I3D          github.com/deepmind/kinetics-i3d (TensorFlow), piergiaj/pytorch-i3d,
             hassony2/kinetics_i3d_pytorch, dlpbc/keras-kinetics-i3d
Inception-v1 github.com/tensorflow/models research/slim/nets/inception_v1.py; torchvision
             `googlenet`, whose weights are those of TensorFlow
3D-ResNet-34 github.com/kenshohara/3D-ResNets-PyTorch; 2017/18 and 2020 use the same names
EfficientNet-Lite  github.com/ml-illustrated/EfficientNet-Lite-PyTorch
DenseNet-161 torchvision `densenet161`; keras.applications (`densenet.py`);
             github.com/flyyufelix/DenseNet-Keras
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

TENSORFLOW, PYTORCH, KERAS = "TensorFlow checkpoint", "PyTorch file", "Keras file"
# Top of each backbone.
TOPS = ("Logits", "fc", "classifier")
# Variables that no network needs, in any family: pattern of the whole name, reason.
IGNORED = (
    (r".*\.num_batches_tracked", "counts batches"),
    (r".*/(Momentum|RMSProp(_1)?|Adam(_1)?)", "of an optimizer"),
    (r".*/ExponentialMovingAverage", "a moving average beside the weights themselves"),
    (r"(.*/)?global_step", "counts steps"),
)


@dataclass(frozen=True)
class Pixels:
    """Scaling of pixels: `(pixel - mean) * scale`, in the network's order of the colors."""

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool = False


@dataclass(frozen=True)
class Naming:
    """The names of one family of files.

    Attributes:
        title: Name for messages.
        kind: TENSORFLOW, PYTORCH or KERAS.
        layers: The file's layer -> ours.
        prefixes: Possible prefixes of every name.
        scales: The file's scale layers behind batch norms -> our batch norm.
        ignored: Pairs of (pattern of a variable, reason).
        inflate: Whether the file's network is 2-D.
        epsilon: Epsilon of its batch norms; None: the same as ours.
        pixels: Scaling of pixels in the file's network and in ours; None: the same.
    """

    title: str
    kind: str
    layers: Mapping[str, str]
    prefixes: tuple[str, ...] = ("",)
    scales: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[tuple[str, str], ...] = ()
    inflate: bool = False
    epsilon: Optional[float] = None
    pixels: Optional[tuple[Pixels, Pixels]] = None


def stage(layer: str) -> str:
    """Returns the part of a network that one of our layers belongs to: `Mixed_3b`, `layer2`."""
    match = re.match(r"((features|blocks)\.)?[^./]+", layer)
    return match.group() if match else layer


# ---- I3D ----------------------------------------------------------------------------------------
# Units, modules and units of a module; columns: ours and DeepMind's, slim's 2-D network, piergiaj,
# hassony2, the Keras port, torchvision's googlenet.
_UNITS = """
Conv3d_1a_7x7  Conv2d_1a_7x7  Conv3d_1a_7x7  conv3d_1a_7x7  1a_7x7  conv1
Conv3d_2b_1x1  Conv2d_2b_1x1  Conv3d_2b_1x1  conv3d_2b_1x1  2b_1x1  conv2
Conv3d_2c_3x3  Conv2d_2c_3x3  Conv3d_2c_3x3  conv3d_2c_3x3  2c_3x3  conv3
"""
_MODULES = """
Mixed_3b  Mixed_3b  Mixed_3b  mixed_3b  3b  inception3a
Mixed_3c  Mixed_3c  Mixed_3c  mixed_3c  3c  inception3b
Mixed_4b  Mixed_4b  Mixed_4b  mixed_4b  4b  inception4a
Mixed_4c  Mixed_4c  Mixed_4c  mixed_4c  4c  inception4b
Mixed_4d  Mixed_4d  Mixed_4d  mixed_4d  4d  inception4c
Mixed_4e  Mixed_4e  Mixed_4e  mixed_4e  4e  inception4d
Mixed_4f  Mixed_4f  Mixed_4f  mixed_4f  4f  inception4e
Mixed_5b  Mixed_5b  Mixed_5b  mixed_5b  5b  inception5a
Mixed_5c  Mixed_5c  Mixed_5c  mixed_5c  5c  inception5b
"""
# Branch 3 of googlenet is the 5x5 one of the paper, but has 3x3 kernels, as ours.
_BRANCHES = """
Branch_0/Conv3d_0a_1x1  Branch_0/Conv2d_0a_1x1  b0   branch_0    0a_1x1  branch1
Branch_1/Conv3d_0a_1x1  Branch_1/Conv2d_0a_1x1  b1a  branch_1.0  1a_1x1  branch2.0
Branch_1/Conv3d_0b_3x3  Branch_1/Conv2d_0b_3x3  b1b  branch_1.1  1b_3x3  branch2.1
Branch_2/Conv3d_0a_1x1  Branch_2/Conv2d_0a_1x1  b2a  branch_2.0  2a_1x1  branch3.0
Branch_2/Conv3d_0b_3x3  Branch_2/Conv2d_0b_3x3  b2b  branch_2.1  2b_3x3  branch3.1
Branch_3/Conv3d_0b_1x1  Branch_3/Conv2d_0b_1x1  b3b  branch_3.1  3b_1x1  branch4.1
"""
# DeepMind's and slim's networks name this one unit irregularly.
_IRREGULAR = {
    f"Mixed_5b/Branch_2/Conv{n}d_0b_3x3": f"Mixed_5b/Branch_2/Conv{n}d_0a_3x3" for n in (2, 3)
}
_I3D_TOP = "Logits/Conv3d_0c_1x1/conv_3d"


def _column(table: str, number: int) -> list[str]:
    return [line.split()[number] for line in table.split("\n") if line]


def _i3d_units(column: int, separator: str) -> list[str]:
    """Returns all units except the top, in the order of our network."""
    units = _column(_UNITS, column)
    for module in _column(_MODULES, column):
        for branch in _column(_BRANCHES, column):
            unit = f"{module}{separator}{branch}"
            units.append(_IRREGULAR.get(unit, unit))
    return units


def _i3d(column: int, separator: str, convolution: str, norm: str, top: str) -> dict[str, str]:
    """Maps layers of a file to ours; `convolution` and `norm` are patterns with {} for the unit."""
    layers = {top: _I3D_TOP}
    for name, target in zip(_i3d_units(column, separator), _i3d_units(0, "/")):
        layers[convolution.format(name)] = f"{target}/conv_3d"
        layers[norm.format(name)] = f"{target}/batch_norm"
    return layers


_I3D = (
    Naming(
        "I3D of DeepMind",
        TENSORFLOW,
        _i3d(0, "/", "{}/conv_3d", "{}/batch_norm", _I3D_TOP),
        prefixes=("RGB/inception_i3d/", "Flow/inception_i3d/", ""),  # kinetics-600 has none
    ),
    Naming(
        "I3D of piergiaj/pytorch-i3d",
        PYTORCH,
        _i3d(2, ".", "{}.conv3d", "{}.bn", "logits.conv3d"),
    ),
    Naming(
        "I3D of hassony2/kinetics_i3d_pytorch",
        PYTORCH,
        _i3d(3, ".", "{}.conv3d", "{}.batch3d", "conv3d_0c_1x1.conv3d"),
    ),
    Naming(
        "I3D of dlpbc/keras-kinetics-i3d",
        KERAS,
        _i3d(4, "_", "Conv3d_{}_conv", "Conv3d_{}_bn", "Conv3d_6a_1x1_conv"),
    ),
    Naming(
        "2-D Inception-v1 of TF-slim, inflated",
        TENSORFLOW,
        _i3d(1, "/", "{}", "{}/BatchNorm", "Logits/Conv2d_0c_1x1"),
        prefixes=("InceptionV1/",),
        ignored=((r".*AuxLogits/.*", "an auxiliary classifier"),),
        inflate=True,
    ),
    # Its weights take pixels in [-1, 1], as I3D's do (see `transform_input` there).
    Naming(
        "2-D GoogLeNet of torchvision, inflated",
        PYTORCH,
        _i3d(5, ".", "{}.conv", "{}.bn", "fc"),
        ignored=((r"aux[12]\..*", "an auxiliary classifier"),),
        inflate=True,
    ),
)


# ---- 3D-ResNet-34 -------------------------------------------------------------------------------
def _resnet_layers() -> list[str]:
    layers = ["conv1", "bn1", "fc"]
    for number, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name = f"layer{number}.{block}"
            layers += [f"{name}.{part}" for part in ("conv1", "bn1", "conv2", "bn2")]
            if number > 1 and block == 0:  # shortcut B; A has no weights
                layers += [f"{name}.downsample.0", f"{name}.downsample.1"]
    return layers


# ---- DenseNet-161 -------------------------------------------------------------------------------
def _densenet(
    stem: tuple[str, str], layer: tuple[str, ...], transition: tuple[str, str], end: tuple[str, str]
) -> dict[str, str]:
    """Maps layers of a file to ours.

    Args:
        stem: Names of the stem's convolution and batch norm.
        layer: Patterns of a dense layer's norm1, conv1, norm2, conv2, with {block} (from 1) or
            {stage} (from 2) and {layer}.
        transition: Patterns of a transition's batch norm and convolution, with {block} or {stage}.
        end: Names of the last batch norm and the classifier.
    """
    layers: dict[str, str] = dict(zip(stem, ("features.conv0", "features.norm0")))
    for block, count in enumerate((6, 12, 36, 24), start=1):
        for number in range(1, count + 1):
            for pattern, part in zip(layer, ("norm1", "conv1", "norm2", "conv2")):
                name = pattern.format(block=block, layer=number, stage=block + 1)
                layers[name] = f"features.denseblock{block}.denselayer{number}.{part}"
        if block < 4:
            for pattern, part in zip(transition, ("norm", "conv")):
                name = pattern.format(block=block, stage=block + 1)
                layers[name] = f"features.transition{block}.{part}"
    return {**layers, **dict(zip(end, ("features.norm5", "classifier")))}


def _torchvision(dot: str) -> dict[str, str]:
    layer = "features.denseblock{block}.denselayer{layer}."
    parts = (f"norm{dot}1", f"conv{dot}1", f"norm{dot}2", f"conv{dot}2")
    return _densenet(
        ("features.conv0", "features.norm0"),
        tuple(layer + part for part in parts),
        ("features.transition{block}.norm", "features.transition{block}.conv"),
        ("features.norm5", "classifier"),
    )


def _keras_applications(stem: tuple[str, str], top: str) -> dict[str, str]:
    layer = "conv{stage}_block{layer}_"
    return _densenet(
        stem,
        tuple(layer + part for part in ("0_bn", "1_conv", "1_bn", "2_conv")),
        ("pool{stage}_bn", "pool{stage}_conv"),
        ("bn", top),
    )


def _densenet_keras(norm: str) -> dict[str, str]:
    layer = "conv{stage}_{layer}_"
    return _densenet(
        ("conv1", f"conv1_{norm}"),
        (f"{layer}x1_{norm}", f"{layer}x1", f"{layer}x2_{norm}", f"{layer}x2"),
        (f"conv{{stage}}_blk_{norm}", "conv{stage}_blk"),
        (f"conv5_blk_{norm}", "fc6"),
    )


_IMAGENET = Pixels((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375))
_CAFFE = Pixels((103.94, 116.78, 123.68), (0.017, 0.017, 0.017), bgr=True)

_DENSENET = (
    Naming("DenseNet-161 of torchvision", PYTORCH, _torchvision("")),
    Naming("DenseNet-161 of torchvision, old names", PYTORCH, _torchvision(".")),
    Naming(
        "DenseNet in the names of keras.applications",
        KERAS,
        {
            # The first stem is Keras 3's, the other Keras 2's; the top was called fc1000 at first.
            **_keras_applications(("conv1_conv", "conv1_bn"), "predictions"),
            **_keras_applications(("conv1/conv", "conv1/bn"), "fc1000"),
        },
        epsilon=1.001e-5,
    ),
    # Converted from Caffe: the scale is a layer of its own, pixels are BGR.
    Naming(
        "DenseNet-161 of flyyufelix/DenseNet-Keras",
        KERAS,
        _densenet_keras("bn"),
        scales={name: norm for name, norm in _densenet_keras("scale").items() if "scale" in name},
        epsilon=1.1e-5,
        pixels=(_CAFFE, _IMAGENET),
    ),
)
_RESNET = Naming(
    "3D-ResNet-34 of kenshohara/3D-ResNets-PyTorch",
    PYTORCH,
    {layer: layer for layer in _resnet_layers()},
)


# ---- EfficientNet-Lite --------------------------------------------------------------------------
def _lite_layers(blocks: int) -> list[str]:
    layers = ["conv_stem", "bn0", "conv_head", "bn1", "fc"]
    for number in range(blocks):
        parts = ["depthwise_conv", "bn1", "project_conv", "bn2"]
        parts += ["expand_conv", "bn0"] if number else []
        layers += [f"blocks.{number}.{part}" for part in parts]
    return layers


_LITE = Naming(
    "EfficientNet-Lite of ml-illustrated/EfficientNet-Lite-PyTorch",
    PYTORCH,
    # Of all sizes; Lite2 has more blocks than Lite0.
    {re.sub(r"(^|\.)([a-z])", r"\1_\2", layer): layer for layer in _lite_layers(21)},
)

NAMINGS = (*_I3D, _RESNET, *_DENSENET, _LITE)
