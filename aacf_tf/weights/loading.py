"""Loads published weights, or those of a run of this project, into a backbone.

1. The file is recognized by its content and read (`files.py`, `torch_files.py`).
2. The naming that matches most of its layers is chosen (`naming.py`).
3. Values are converted to the form of the model's variables; see below.
4. Both sides are checked: an unused variable of the file needs a reason; a variable that the file
   lacks or that has another shape is an error. Nothing is assigned unless everything fits.

Exact conversions, where y = gamma (conv(x) - mean) / sqrt(variance + epsilon) + beta:

- a gamma that the model lacks (I3D): kernel and mean are multiplied by it, the variance stays;
- a scale layer behind the batch norm (DenseNet-Keras): gamma' = scale gamma, beta' = scale beta +
  shift;
- another epsilon: the difference goes to the variance;
- another scaling of pixels (DenseNet-Keras: BGR, other means and scales): it goes into the first
  kernel and the mean of its batch norm; exact except at the border, where the colour of the zero
  padding changes by at most half a grey level.

Inflation (Carreira and Zisserman): a 2-D kernel is repeated in time and divided by its length
there, so that a video of one repeated image has the image's activations, except where the temporal
zero padding reaches. For flow, the first kernel's mean over the colors stands for both channels
(our choice).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.two_stream import streams_of
from aacf_tf.weights import naming as rules
from aacf_tf.weights import own_runs
from aacf_tf.weights.files import Value, WeightFile, read_file, recognise
from aacf_tf.weights.mismatch import named, raise_misfit
from aacf_tf.weights.naming import IGNORED, KERAS, NAMINGS, TOPS, Naming, Pixels, stage
from aacf_tf.weights.packaged import IMAGENET, NAMES, packaged_weights
from tfrecords.utils.errors import UsageError


@dataclass
class LoadedWeights:
    """Summary of a load.

    Attributes:
        format: Kind of the file and family of its names.
        loaded: Number of variables assigned.
        ignored: Unused variable of the file -> the reason.
        kept: Unchanged variable of the model -> the reason.
    """

    format: str
    loaded: int
    ignored: dict[str, str]
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.loaded} variables from a {self.format}"
        for fate, variables in (("left out", self.ignored), ("kept as they were", self.kept)):
            for reason, count in Counter(variables.values()).items():
                text += f"; {count} {fate}: {reason}"
        return text


def load_weights(backbone: keras.Model, path: str | Path) -> LoadedWeights:
    """Loads a weight file into a backbone.

    Args:
        backbone: One of the backbones of the file, or, for files of this project, any. It may lack
            the top, or end earlier than the file's network.
        path: `imagenet` or `kinetics`, for weights that a package carries (`packaged_weights`) or
            Keras downloads (`aacf_tf.backbones.adapters`); a PyTorch file; a Keras `.h5` file; a
            TensorFlow checkpoint by its prefix, `.index` file or directory; a working directory or
            a checkpoint of a training run. Files of 2-D Inception-v1 are inflated; their top is
            loaded only if it has as many classes as the model's.

    Raises:
        UsageError: The file is damaged or of no known kind, or something does not fit: names and
            shapes are listed. The backbone is then unchanged.
    """
    download = getattr(backbone, "download", None)  # of `aacf_tf.backbones.adapters`
    if download is not None and path in NAMES:
        return LoadedWeights(f"download of {path}", download(path), {})
    kind, location = recognise(packaged_weights(backbone.name) if path == IMAGENET else path)
    if kind in own_runs.LOADERS:
        loaded, ignored = own_runs.LOADERS[kind](backbone, location)
        return LoadedWeights(kind, loaded, ignored)
    file = read_file(kind, location)
    targets = _targets(backbone)
    naming, prefix = _choose_naming(file, targets)
    fit = _Fit(file, naming, prefix, backbone, targets)
    assignments = fit.run()
    for variable, array in assignments:
        variable.assign(array)
    return LoadedWeights(f"{kind}, {naming.title}", len(assignments), fit.ignored, fit.kept)


def load_stream_weights(backbone: keras.Model, paths: str) -> str:
    """Loads the weights of a recipe: for a two-stream backbone one file for both, or one each.

    Args:
        backbone: A backbone of one stream, or of `two_stream`.
        paths: See `load_weights`; for two streams also `RGB,FLOW`.

    Returns:
        A summary for the user.

    Raises:
        UsageError: As for `load_weights`, or the number of paths is wrong.
    """
    streams = streams_of(backbone)
    parts = paths.split(",")
    if len(streams) == 1 or len(parts) == 1:
        return str(load_weights(backbone, paths))
    if len(parts) != len(streams):
        raise UsageError(
            f"--weights: expected a file of RGB and one of flow, as RGB,FLOW, received {paths!r}."
        )
    loaded = {name: load_weights(streams[name], path) for name, path in zip(streams, parts)}
    return "; ".join(f"{name}: {result}" for name, result in loaded.items())


def _targets(backbone: keras.Model) -> dict[str, dict[str, tf.Variable]]:
    """Returns the model's variables: layer -> role -> variable."""
    targets: dict[str, dict[str, tf.Variable]] = {}
    for variable in backbone.weights:
        layer, _, role = _name(variable).rpartition("/")
        role = role.removeprefix("depthwise_")
        if role in targets.setdefault(layer, {}):
            raise UsageError(
                f"Expected one variable {variable.name}, received a model with two: load the "
                "weights of each stream by itself."
            )
        targets[layer][role] = variable
    return targets


def _choose_naming(file: WeightFile, targets: dict) -> tuple[Naming, str]:
    """Returns the naming that matches most of the file's layers, and their prefix."""
    model_names = Naming("in the model's own names", KERAS, {layer: layer for layer in targets})
    best, most = None, (0, 0)
    for naming in (*NAMINGS, model_names):
        for prefix in naming.prefixes if naming.kind == file.kind else ():
            known = [
                target
                for layer, target in naming.layers.items()
                if f"{prefix}{layer}" in file.layers
            ]
            wanted = sum(target in targets for target in known)
            if (len(known), wanted) > most:
                best, most = (naming, prefix), (len(known), wanted)
    if best and best[0] is model_names:
        return dataclasses.replace(model_names, layers={layer: layer for layer in file.layers}), ""
    if best and most[1]:
        return best
    names = [value.name for roles in file.layers.values() for value in roles.values()]
    received = f"weights of {best[0].title}" if best else f"{', '.join(names[:5]) or 'no layers'}"
    arch = f" (arch {file.arch!r})" if file.arch else ""
    wanted = [n.title for n in NAMINGS if any(layer in targets for layer in n.layers.values())]
    raise UsageError(
        f"{file.path}: expected weights of one of: {'; '.join([*wanted, 'this project'])}; "
        f"received a {file.kind}{arch} with {received}."
    )


@dataclass
class _Fit:
    """Fits one file to one model and collects the misfits."""

    file: WeightFile
    naming: Naming
    prefix: str
    backbone: keras.Model
    targets: dict[str, dict[str, tf.Variable]]
    ignored: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def run(self) -> list[tuple[tf.Variable, np.ndarray]]:
        """Returns the model's variables and their values; UsageError unless everything fits."""
        layers = self._by_our_names()
        if self.naming.epsilon is not None:
            self._shift_epsilon(layers)
        if self.naming.pixels is not None:
            self._change_pixels(layers, *self.naming.pixels)
        assignments = []
        for layer, roles in self.targets.items():
            for role, variable in roles.items():
                value = layers.get(layer, {}).pop(role, None)
                array = None if value is None else self._shaped(layer, role, value, variable)
                if array is not None:
                    assignments.append((variable, array))
                elif value is None:
                    self._miss(layer, variable)
        for layer in layers.values():
            self.unused += [named(value) for value in layer.values()]
        self._raise_if_any()
        return assignments

    def _by_our_names(self) -> dict[str, dict[str, Value]]:
        """Returns the file's values by our layers; unwanted ones are set aside with a reason."""
        layers: dict[str, dict[str, Value]] = {}
        scales = {}
        stages = {rules.stage(layer) for layer in self.targets}
        for name, roles in self.file.layers.items():
            known = name[len(self.prefix) :] if name.startswith(self.prefix) else ""
            target = self.naming.layers.get(known)
            batch_norm = self.naming.scales.get(known)
            layer = target or batch_norm
            stage = rules.stage(layer) if layer else None
            if stage is None or target in layers:
                self._set_aside(roles.values())
            elif stage not in stages:
                reason = "the top" if stage in TOPS else "beyond the model's last layer"
                self.ignored.update((value.name, reason) for value in roles.values())
            elif target:
                layers[target] = dict(roles)
            else:
                scales[batch_norm] = roles
        self._set_aside(self.file.others)
        for name, norm in self.naming.scales.items():
            if norm in layers and norm not in scales:
                self.missing.append(f"{self.prefix}{name}")
        for layer, roles in scales.items():
            self._apply_scale(layers.setdefault(layer, {}), roles)
        for layer in list(layers):
            if "gamma" in layers[layer] and "gamma" not in self.targets.get(layer, {"gamma"}):
                self._absorb_gamma(layers, layer)
        return layers

    def _set_aside(self, values: Iterable[Value]) -> None:
        """Notes values that belong to no layer of the naming: ignored with a reason, or unused."""
        for value in values:
            patterns = (*self.naming.ignored, *IGNORED)
            reason = next((why for how, why in patterns if re.fullmatch(how, value.name)), None)
            if reason:
                self.ignored[value.name] = reason
            else:
                self.unused.append(named(value))

    def _apply_scale(self, norm: dict[str, Value], scale: dict[str, Value]) -> None:
        if scale.keys() != {"gamma", "beta"} or not {"gamma", "beta"} <= norm.keys():
            self.unused += [named(value) for value in scale.values()]
            return
        sized = (*scale.values(), norm["beta"])
        wrong = [x for x in sized if x.array.shape != norm["gamma"].array.shape]
        self.misshapen += [f"{named(value)} for {named(norm['gamma'])}" for value in wrong]
        if not wrong:
            factor, shift = scale["gamma"].array, scale["beta"].array
            for role, offset in (("gamma", 0.0), ("beta", shift)):
                norm[role] = norm[role]._replace(array=norm[role].array * factor + offset)

    def _absorb_gamma(self, layers: dict[str, dict[str, Value]], layer: str) -> None:
        gamma, norm = layers[layer]["gamma"], layers[layer]
        kernel = layers.get(layer.replace("batch_norm", "conv_3d"), {})
        if (gamma.array == 1).all():
            self.ignored[gamma.name] = "a scale of 1"
        elif "moving_mean" in norm and "kernel" in kernel:
            for roles, role in ((kernel, "kernel"), (norm, "moving_mean")):
                value = roles[role]
                if value.array.shape[-1:] == gamma.array.shape:
                    roles[role] = value._replace(array=value.array * gamma.array)
                else:
                    self.misshapen.append(f"{named(value)} for {named(gamma)}")
        else:
            return  # stays, and is reported as unused
        del norm["gamma"]

    def _shift_epsilon(self, layers: dict[str, dict[str, Value]]) -> None:
        for layer, roles in layers.items():
            if "moving_variance" in roles and "moving_variance" in self.targets.get(layer, {}):
                shift = self.naming.epsilon - self.backbone.get_layer(layer).epsilon
                value = roles["moving_variance"]
                roles["moving_variance"] = value._replace(array=value.array + shift)

    def _change_pixels(
        self, layers: dict[str, dict[str, Value]], file_pixels: Pixels, model_pixels: Pixels
    ) -> None:
        """Converts the first layer to our scaling of pixels.

        The file's pixels are `a * ours + b` for every color: a goes to the kernel; b times the sum
        of the kernel over the window is subtracted from the mean.
        """
        kernel = layers.get("features.conv0", {}).get("kernel")
        mean = layers.get("features.norm0", {}).get("moving_mean")
        if kernel is None or mean is None or kernel.array.shape[2:] != (3, mean.array.size):
            return  # reported as misfits later
        colours = slice(None, None, -1 if file_pixels.bgr else 1)
        file_mean = np.array(file_pixels.mean)[colours]
        file_scale = np.array(file_pixels.scale)[colours]
        array = kernel.array[:, :, colours].astype(np.float64)
        factor = file_scale / np.array(model_pixels.scale)
        offset = (np.array(model_pixels.mean) - file_mean) * file_scale
        constant = np.einsum("hwio,i->o", array, offset)
        layers["features.norm0"]["moving_mean"] = mean._replace(array=mean.array - constant)
        layers["features.conv0"]["kernel"] = kernel._replace(array=array * factor[:, None])

    def _shaped(
        self, layer: str, role: str, value: Value, variable: tf.Variable
    ) -> Optional[np.ndarray]:
        """Returns the value in the variable's shape; None if it does not fit."""
        array, wanted = value.array, tuple(variable.shape)
        if self.naming.inflate and array.ndim == 4 and len(wanted) == 5:
            if array.shape[2] == 3 and wanted[3] == 2:
                array = np.repeat(array.mean(2, keepdims=True), 2, axis=2)
            array = np.repeat(array[None], wanted[0], axis=0) / wanted[0]
        if "depthwise" in variable.name and array.ndim == 4 and array.shape[2] == 1:
            array = np.swapaxes(array, 2, 3)  # PyTorch's has one input channel, Keras's one output
        # Leading sides of 1 do not matter: statistics [1, 1, 1, 1, C], dense layers [C, K].
        if _bare(array.shape) == _bare(wanted):
            return np.asarray(array.reshape(wanted), np.float32)
        top = stage(layer) in TOPS
        if top and self.naming.inflate:
            reason = "the top, of other classes than the model's"
            self.ignored[value.name] = self.kept[_name(variable)] = reason
            return None
        self.misshapen.append(f"{named(value)} for {named(variable)}")
        if top and array.ndim:
            self.hints.append(
                f"The file has {array.shape[-1]} classes: build the model with them, or "
                "without a top (include_top=False) to train a new one."
            )
        elif role == "kernel" and array.ndim == 5 and array.shape[:3] == wanted[:3] == (7, 7, 7):
            self.hints.append(
                f"The file's network takes {array.shape[3]} channels (3: RGB, 2: flow), "
                f"the model {wanted[3]}."
            )
        return None

    def _miss(self, layer: str, variable: tf.Variable) -> None:
        top = stage(layer) in TOPS
        if top and self.naming.inflate:
            self.kept[_name(variable)] = "the top, which the file does not have"
            return
        self.missing.append(named(variable))
        if top:
            self.hints.append("Without a top (include_top=False) the model needs none.")
        if "downsample" in layer:
            self.hints.append(
                "A file without shortcut convolutions is of shortcut type A: build the model with "
                "shortcut='A', scaling='activitynet'."
            )

    def _raise_if_any(self) -> None:
        if any("downsample" in name for name in self.unused):
            self.hints.append(
                "A file with shortcut convolutions is of shortcut type B: build the model with "
                "shortcut='B'."
            )
        arch = f", arch {self.file.arch!r}" if self.file.arch else ""
        raise_misfit(
            f"{self.file.path} ({self.file.kind}, {self.naming.title}{arch})",
            self.backbone,
            {
                "the file lacks": self.missing,
                "other shapes": self.misshapen,
                "nothing in the model takes": self.unused,
            },
            self.hints,
        )


def _name(variable: tf.Variable) -> str:
    return variable.name.partition(":")[0]


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape without its leading ones."""
    first = next((i for i, side in enumerate(shape) if side != 1), len(shape))
    return tuple(shape[first:])
