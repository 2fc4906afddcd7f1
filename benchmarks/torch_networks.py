"""The backbones once more in plain PyTorch, for `torch_parity.py` and for timing beside ours.

Parameters bear the names of the files that exist: those of the common I3D port
(`Mixed_3b.b1a.conv3d.weight`), of Kensho Hara's 3D-ResNets (`layer1.0.conv1.weight`) and of
torchvision's DenseNet (`features.denseblock1.denselayer1.norm1.weight`).

Those of `Small` are the layers' names of `aacf_tf.backbones.networks.small`.

Every network takes scaled images `[B, C, T, H, W]` (DenseNet `[B, C, H, W]`) and returns its end
points by name, in order, channels second. PyTorch alone is needed, no TensorFlow.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn
from torch.nn import functional as F

# ---- I3D ----------------------------------------------------------------------------------------


def _pad_same(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], value: float
) -> torch.Tensor:
    """TensorFlow's SAME: outputs ceil(size / stride), an odd pixel of padding behind."""
    sides = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):  # F.pad: last axis first
        total = max((-(-size // s) - 1) * s + k - size, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=value) if any(sides) else x


class _Unit3D(nn.Module):
    """Convolution, batch norm (epsilon 1e-3), ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(_conv_same(x, self.conv3d)))


class _MaxPool3D(nn.Module):
    def __init__(self, kernel: Sequence[int], stride: Sequence[int]):
        super().__init__()
        self.kernel, self.stride = tuple(kernel), tuple(stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _pad_same(x, self.kernel, self.stride, float("-inf"))
        return F.max_pool3d(x, self.kernel, self.stride)


class _Inception(nn.Module):
    def __init__(self, inputs: int, widths: Sequence[int]):
        super().__init__()
        self.b0 = _Unit3D(inputs, widths[0])
        self.b1a = _Unit3D(inputs, widths[1])
        self.b1b = _Unit3D(widths[1], widths[2], 3)
        self.b2a = _Unit3D(inputs, widths[3])
        self.b2b = _Unit3D(widths[3], widths[4], 3)
        self.b3a = _MaxPool3D((3, 3, 3), (1, 1, 1))
        self.b3b = _Unit3D(inputs, widths[5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))
        return torch.cat(branches, dim=1)


class _I3DTop(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.conv3d = nn.Conv3d(1024, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, the mean over time, of a map of any size."""
        x = x.mean((3, 4), keepdim=True)
        if x.shape[2] > 1:
            x = F.avg_pool3d(x, (2, 1, 1), 1)
        return self.conv3d(x).mean((2, 3, 4))


class I3D(nn.Module):
    """Inception-v1 I3D: `[B, channels, T, H, W]` in [-1, 1]."""

    def __init__(self, include_top: bool = False, classes: int = 400, channels: int = 3):
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit3D(channels, 64, 7, 2)
        self.MaxPool3d_2a_3x3 = _MaxPool3D((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = _Unit3D(64, 64)
        self.Conv3d_2c_3x3 = _Unit3D(64, 192, 3)
        self.MaxPool3d_3a_3x3 = _MaxPool3D((1, 3, 3), (1, 2, 2))
        self.Mixed_3b = _Inception(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = _Inception(256, (128, 128, 192, 32, 96, 64))
        self.MaxPool3d_4a_3x3 = _MaxPool3D((3, 3, 3), (2, 2, 2))
        self.Mixed_4b = _Inception(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = _Inception(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = _Inception(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = _Inception(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = _Inception(528, (256, 160, 320, 32, 128, 128))
        self.MaxPool3d_5a_2x2 = _MaxPool3D((2, 2, 2), (2, 2, 2))
        self.Mixed_5b = _Inception(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = _Inception(832, (384, 192, 384, 48, 128, 128))
        if include_top:
            self.logits = _I3DTop(classes)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        ends = {}
        for name, layer in self.named_children():
            ends["Logits" if name == "logits" else name] = x = layer(x)
        return ends


# ---- 3D-ResNet-34 -------------------------------------------------------------------------------


class _ZeroShortcut(nn.Module):
    """Shortcut A: every stride-th place, new channels 0. It has no parameters."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.stride
        x = x[:, :, ::s, ::s, ::s]
        return F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)
        if stride == 1 and inputs == outputs:
            self.downsample = nn.Identity()
        elif shortcut == "A":
            self.downsample = _ZeroShortcut(outputs, stride)
        else:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet3D34(nn.Module):
    """3D-ResNet-34: `[B, 3, T, H, W]`; blocks 3-4-6-3, shortcut `A` or `B`.

    `conv1` is the end point behind its ReLU.
    """

    def __init__(
        self,
        include_top: bool = False,
        classes: int = 400,
        shortcut: str = "B",
        conv1_t_stride: int = 1,
    ):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (conv1_t_stride, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        width = 64
        for number, (blocks, outputs) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512)), start=1):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and number > 1 else 1
                stage.append(_BasicBlock(width, outputs, stride, shortcut))
                width = outputs
            setattr(self, f"layer{number}", stage)
        if include_top:
            self.fc = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        ends = {}
        ends["conv1"] = x = F.relu(self.bn1(self.conv1(x)))
        ends["maxpool"] = x = F.max_pool3d(x, 3, 2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            ends[f"layer{len(ends) - 1}"] = x = stage(x)
        if hasattr(self, "fc"):
            ends["fc"] = self.fc(x.mean((2, 3, 4)))
        return ends


# ---- DenseNet-161 -------------------------------------------------------------------------------


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], dim=1)


class _Transition(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet161(nn.Module):
    """DenseNet-161: `[B, 3, H, W]`; stem 96, growth 48, blocks 6-12-36-24.

    `features.norm5` is the end point behind its ReLU.
    """

    def __init__(self, include_top: bool = False, classes: int = 1000):
        super().__init__()
        parts, width, growth = nn.Sequential(), 96, 48
        parts.add_module("conv0", nn.Conv2d(3, width, 7, 2, padding=3, bias=False))
        parts.add_module("norm0", nn.BatchNorm2d(width))
        parts.add_module("relu0", nn.ReLU())
        parts.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
        for number, layers in enumerate((6, 12, 36, 24), start=1):
            block = nn.Sequential()
            for layer in range(1, layers + 1):
                block.add_module(f"denselayer{layer}", _DenseLayer(width, growth))
                width += growth
            parts.add_module(f"denseblock{number}", block)
            if number < 4:
                parts.add_module(f"transition{number}", _Transition(width))
                width //= 2
        parts.add_module("norm5", nn.BatchNorm2d(width))
        self.features = parts
        if include_top:
            self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        ends = {}
        for name, part in self.features.named_children():
            x = F.relu(part(x)) if name == "norm5" else part(x)
            ends[f"features.{name}"] = x
        if hasattr(self, "classifier"):
            ends["classifier"] = self.classifier(x.mean((2, 3)))
        return ends


# ---- small --------------------------------------------------------------------------------------


class Small(nn.Module):
    """The two small networks: `[B, 3, T, H, W]` scaled to about [-1, 1].

    Args:
        width: depth of the last map.
        residual: Larger one of the two.
    """

    def __init__(self, width: int = 64, residual: bool = False):
        super().__init__()
        self.residual = residual
        w = width
        if residual:
            self._unit("stem_space", 96, w // 4, (1, 3, 3))
            self._unit("stem_time", w // 4, w // 3, (3, 1, 1))
            inputs = w // 3
            for index, (outputs, s) in enumerate(
                [(2 * w // 3, 2), (2 * w // 3, 1), (w, 1), (w, 1)], start=1
            ):
                if s > 1 or inputs != outputs:
                    self._unit(f"block{index}_shortcut", inputs, outputs, (1, 1, 1), (s, s, s))
                self._unit(f"block{index}_space", inputs, outputs, (1, 3, 3), (1, s, s))
                self._unit(f"block{index}_time", outputs, outputs, (3, 1, 1), (s, 1, 1))
                inputs = outputs
        else:
            self._unit("time1", 27, w // 4, (3, 1, 1))
            self._unit("space1", w // 4, w // 2, (1, 3, 3), (1, 2, 2))
            self._unit("time2", w // 2, 3 * w // 4, (3, 1, 1), (2, 1, 1))
            self._unit("space2", 3 * w // 4, w, (1, 3, 3))
            self._unit("time3", w, w, (3, 1, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        ends = {}
        if not self.residual:
            ends["patches"] = x = _patches(x, 3)
            for name in ("time1", "space1", "time2", "space2", "time3"):
                ends[name] = x = F.relu(self._apply_unit(name, x))
            return ends
        change = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 1, 0))
        ends["patches"] = x = _patches(torch.cat([x, 2 * change], dim=1), 4)
        ends["stem_space"] = x = F.relu(self._apply_unit("stem_space", x))
        ends["stem_time"] = x = F.relu(self._apply_unit("stem_time", x))
        for name in ("block1", "block2", "block3", "block4"):
            y = F.relu(self._apply_unit(f"{name}_space", x))
            y = self._apply_unit(f"{name}_time", y)
            if hasattr(self, f"{name}_shortcut_conv"):
                x = self._apply_unit(f"{name}_shortcut", x)
            ends[name] = x = F.relu(y + x)
        return ends

    def _unit(self, name: str, inputs: int, outputs: int, kernel: tuple, stride: tuple = 1) -> None:
        setattr(self, f"{name}_conv", nn.Conv3d(inputs, outputs, kernel, stride, bias=False))
        setattr(self, f"{name}_norm", nn.BatchNorm3d(outputs))

    def _apply_unit(self, name: str, x: torch.Tensor) -> torch.Tensor:
        convolution = getattr(self, f"{name}_conv")
        x = _conv_same(x, convolution)
        return getattr(self, f"{name}_norm")(x)


def _conv_same(x: torch.Tensor, convolution: nn.Conv3d) -> torch.Tensor:
    """TensorFlow's SAME; where it is symmetric, the convolution pads by itself."""
    sides = []
    for size, k, s in zip(x.shape[2:], convolution.kernel_size, convolution.stride):
        sides.append(max((-(-size // s) - 1) * s + k - size, 0))
    if any(side % 2 for side in sides):
        x = _pad_same(x, convolution.kernel_size, convolution.stride, 0.0)
        sides = (0, 0, 0)
    half = [side // 2 for side in sides]
    return F.conv3d(x, convolution.weight, convolution.bias, convolution.stride, half)


def _patches(x: torch.Tensor, size: int) -> torch.Tensor:
    """Space to depth, rows and columns mirrored behind to a multiple of `size`."""
    for axis in (3, 4):
        missing = -x.shape[axis] % size
        if missing:
            x = torch.cat([x, x.narrow(axis, x.shape[axis] - missing, missing).flip(axis)], axis)
    b, c, t, h, w = x.shape
    x = x.reshape(b, c, t, h // size, size, w // size, size)
    x = x.permute(0, 2, 3, 5, 4, 6, 1)  # channels last: rows, columns, colours of a patch
    x = x.reshape(b, t, h // size, w // size, size * size * c)
    return x.permute(0, 4, 1, 2, 3)


# ---- weights ------------------------------------------------------------------------------------


def randomize(network: nn.Module, seed: int) -> nn.Module:
    """Random weights and running statistics that keep activations near 1; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2, generator=generator)
            elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()
