"""Loads published weights, or those of a run of ours, into a backbone.

1. The file is recognised by its content and read (`files.py`, `torch_files.py`).
2. The naming that knows most of its layers is chosen (`naming.py`).
3. Values are brought into the form of the model's variables; see below.
4. Both sides are checked: what the file has and the model does not want needs a reason, what the
   model has and the file does not is an error, as is another shape. Nothing is assigned before all
   fits.

Exact changes of form, where y = gamma (conv(x) - mean) / sqrt(variance + epsilon) + beta:

- a gamma where the model has none (I3D): kernel and mean are multiplied by it, the variance stays;
- a scale layer behind the batch norm (DenseNet-Keras): gamma' = scale gamma, beta' = scale beta +
  shift;
- another epsilon: the difference goes to the variance;
- other pixels (DenseNet-Keras: BGR, other means and scales): into the first kernel and the mean of
  its batch norm; exact except where the zeros around the picture enter, whose colour changes by at
  most half a grey level.

Inflation, as Carreira and Zisserman have it: a 2-D kernel is repeated in time and divided by its
length there, so that a video of one repeated image gives the image's activations wherever the zeros
before and behind the video are out of reach. For flow the first kernel's mean over the colours
stands for both channels (our choice).
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
from aacf_tf.weights.packaged import IMAGENET, packaged_weights
from tfrecords.utils.errors import UsageError


@dataclass
class LoadedWeights:
    """What has been loaded.

    Attributes:
        format: the kind of file and whose names it has.
        loaded: number of the model's variables.
        ignored: variable of the file that was not used -> the reason.
        kept: variable of the model that has the value it had before -> the reason.
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
        backbone: `i3d`, `resnet3d34`, `densenet161` or, for files of ours, any. A backbone without
            top, or that ends earlier than the file's, takes what it has.
        path: `imagenet`, for the weights that a package carries (`packaged_weights`); a PyTorch
            file; a Keras `.h5` file; a TensorFlow checkpoint by its prefix, `.index`
            file or directory; a working directory or a checkpoint of a training run. Files of 2-D
            Inception-v1 are inflated; their top is taken where it has the classes of the model's,
            which otherwise keeps its own values.

    Raises:
        UsageError: the file is damaged or of no known kind, or something does not fit: names and
            shapes are listed. The backbone is then as before.
    """
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
    """Loads the weights of a recipe: of a two-stream backbone one file a stream, or one for both.

    Args:
        backbone: of one stream, or of `two_stream`.
        paths: see `load_weights`; for two streams also `RGB,FLOW`.

    Returns:
        what has been loaded, for the user.

    Raises:
        UsageError: as `load_weights`, or not one path a stream.
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
    """The model's variables: layer -> role -> variable."""
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
    """The naming that knows most of the file's layers, and the prefix they have."""
    own = Naming("in the model's own names", KERAS, {layer: layer for layer in targets})
    best: tuple[Naming, str] | None = None
    most = (0, 0)
    for naming in (*NAMINGS, own):
        for prefix in naming.prefixes if naming.kind == file.kind else ():
            known = [
                ours for theirs, ours in naming.layers.items() if f"{prefix}{theirs}" in file.layers
            ]
            wanted = sum(ours in targets for ours in known)
            if (len(known), wanted) > most:
                best, most = (naming, prefix), (len(known), wanted)
    if best and best[0] is own:
        return dataclasses.replace(own, layers={layer: layer for layer in file.layers}), ""
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
    """Fits one file to one model; collects what does not."""

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
        """The model's variables and their values; UsageError where not all fits."""
        layers = self._by_our_names()
        if self.naming.epsilon is not None:
            self._shift_epsilon(layers, self.naming.epsilon)
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
        """The file's values by our layers; what is not wanted is set aside with its reason."""
        layers: dict[str, dict[str, Value]] = {}
        scales = {}
        stages = {rules.stage(layer) for layer in self.targets}
        for theirs, roles in self.file.layers.items():
            known = theirs[len(self.prefix) :] if theirs.startswith(self.prefix) else ""
            ours = self.naming.layers.get(known)
            batch_norm = self.naming.scales.get(known)
            layer = ours or batch_norm
            stage = rules.stage(layer) if layer else None
            if stage is None or ours in layers:
                self._set_aside(roles.values())
            elif stage not in stages:
                reason = "the top" if stage in TOPS else "beyond the model's last layer"
                self.ignored.update((value.name, reason) for value in roles.values())
            elif ours:
                layers[ours] = dict(roles)
            else:
                scales[batch_norm] = roles
        self._set_aside(self.file.others)
        for theirs, norm in self.naming.scales.items():
            if norm in layers and norm not in scales:
                self.missing.append(f"{self.prefix}{theirs}")
        for layer, roles in scales.items():
            self._apply_scale(layers.setdefault(layer, {}), roles)
        for layer in list(layers):
            if "gamma" in layers[layer] and "gamma" not in self.targets.get(layer, {"gamma"}):
                self._absorb_gamma(layers, layer)
        return layers

    def _set_aside(self, values: Iterable[Value]) -> None:
        """Values that no layer of the naming holds: ignored with a reason, or unused."""
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
            return  # stays, as a variable of no use
        del norm["gamma"]

    def _shift_epsilon(self, layers: dict[str, dict[str, Value]], epsilon: float) -> None:
        for layer, roles in layers.items():
            if "moving_variance" in roles and "moving_variance" in self.targets.get(layer, {}):
                shift = epsilon - self.backbone.get_layer(layer).epsilon
                value = roles["moving_variance"]
                roles["moving_variance"] = value._replace(array=value.array + shift)

    def _change_pixels(
        self, layers: dict[str, dict[str, Value]], theirs: Pixels, ours: Pixels
    ) -> None:
        """The first layer, for pixels scaled as ours are.

        Theirs are `a * ours + b` for every colour: a goes to the kernel, b times the sum of the
        kernel over the window off the mean.
        """
        kernel = layers.get("features.conv0", {}).get("kernel")
        mean = layers.get("features.norm0", {}).get("moving_mean")
        if kernel is None or mean is None or kernel.array.shape[2:] != (3, mean.array.size):
            return  # an error of its own
        colours = slice(None, None, -1 if theirs.bgr else 1)
        their_mean, their_scale = (np.array(x)[colours] for x in (theirs.mean, theirs.scale))
        array = kernel.array[:, :, colours].astype(np.float64)
        factor = their_scale / np.array(ours.scale)
        offset = (np.array(ours.mean) - their_mean) * their_scale
        constant = np.einsum("hwio,i->o", array, offset)
        layers["features.norm0"]["moving_mean"] = mean._replace(array=mean.array - constant)
        layers["features.conv0"]["kernel"] = kernel._replace(array=array * factor[:, None])

    def _shaped(
        self, layer: str, role: str, value: Value, variable: tf.Variable
    ) -> Optional[np.ndarray]:
        """The value in the variable's shape, or None."""
        array, wanted = value.array, tuple(variable.shape)
        if self.naming.inflate and array.ndim == 4 and len(wanted) == 5:
            if array.shape[2] == 3 and wanted[3] == 2:
                array = np.repeat(array.mean(2, keepdims=True), 2, axis=2)
            array = np.repeat(array[None], wanted[0], axis=0) / wanted[0]
        if "depthwise" in variable.name and array.ndim == 4 and array.shape[2] == 1:
            array = np.swapaxes(array, 2, 3)  # PyTorch's has one input channel, Keras's one output
        # Leading sides of 1 say nothing: statistics of [1, 1, 1, 1, C], dense layers of [C, K].
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
    """The shape without its leading ones."""
    first = next((i for i, side in enumerate(shape) if side != 1), len(shape))
    return tuple(shape[first:])
