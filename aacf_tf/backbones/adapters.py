"""Adapts networks of other packages: image models of keras.applications, Video Swin of keras_cv.

    keras:NAME                  any model of `keras.applications`, such as keras:EfficientNetV2B0,
                                without its top, frame by frame
    keras_cv:videoswin_tiny     Video Swin (Liu et al., CVPR 2022); also _small and _base

Both take pixels 0..255 and scale them as the network's authors did. Layers that drop out at random
inside them do not: an exact run must not depend on a generator's state.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
from typing import Any, Callable, Optional, Sequence

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import scaled_pixels
from keras_layers import FramesToImages, ImagesToFrames
from tfrecords.utils.errors import UsageError, UserError

_SWIN: dict[str, dict[str, Any]] = {
    "videoswin_tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "videoswin_small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "videoswin_base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
}
_SWIN_CLIP = (32, 224, 224, 3)  # of its training
# Their stored statistics are weights that a checkpoint does not bring back into use, and in their
# models with ImageNet weights another scaling follows; so both are left out.
_SCALES_BY_WEIGHTS = "efficientnet"


def adapt(name: str, **options: Any) -> keras.Model:
    """Builds a backbone out of a network of another package, with new weights.

    Args:
        name: `keras:NAME` or `keras_cv:NAME`, see the module.
        **options: Arguments of the functions below.

    Raises:
        UsageError: There is no such network.
    """
    package, _, network = name.partition(":")
    return {"keras": keras_application, "keras_cv": video_swin}[package](network, **options)


@keras.utils.register_keras_serializable(package="aacf")
class KerasPreprocessing(keras.layers.Layer):
    """Scales pixels as a family of `keras.applications` does, in float32.

    Args:
        family: Name of the family's module, such as `resnet_v2`.

    Call arguments:
        pixels: RGB 0..255, `[..., 3]`.

    Output shape:
        Same as the pixels.
    """

    def __init__(self, family: str, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.family = family

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(pixels, tf.float32)
        if self.family == _SCALES_BY_WEIGHTS:
            return keras.applications.imagenet_utils.preprocess_input(pixels, mode="torch")
        return getattr(keras.applications, self.family).preprocess_input(pixels)

    def windows(self) -> tuple[()]:
        """Returns nothing: the layer acts on each position."""
        return ()

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "family": self.family}


def keras_application(
    name: str,
    end_point: Optional[str] = None,
    input_shape: Optional[Sequence[Optional[int]]] = None,
    **options: Any,
) -> keras.Model:
    """Builds a backbone out of an image model of `keras.applications`, frame by frame.

    Args:
        name: Name of the model's function, such as `MobileNetV2`.
        end_point: Name of the layer to end at; None: the last one before the top.
        input_shape: (frames, height, width, 3), with None for free sizes; by default only the
            channels are fixed. The NASNets need height and width.
        **options: Other arguments of that function, such as `alpha`.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, `[B, T, H, W, 3]`, and returns features
        `[B, T, h, w, D]`. Its attribute `download` loads weights: `download("imagenet")` returns
        how many variables.

    Raises:
        UsageError: There is no such model or layer.
    """
    family = _family(name)
    shape = tuple(input_shape or (None, None, None, 3))
    build = functools.partial(_application, name, end_point, options)
    network = build(weights=None, input_shape=shape[1:])
    pixels = keras.Input(shape, name="pixels")
    images = FramesToImages(name="images")(KerasPreprocessing(family, name="scale")(pixels))
    maps = ImagesToFrames(name="frames")([network(images), pixels])
    backbone = keras.Model(pixels, maps, name=f"keras_{name}")

    def fetch(weights: str) -> list[Any]:
        return build(weights=weights).get_weights()

    backbone.download = _downloader(network, {"imagenet": fetch}, name)
    return backbone


def video_swin(
    name: str, input_shape: Optional[Sequence[int]] = None, **options: Any
) -> keras.Model:
    """Builds a backbone out of Video Swin of `keras_cv`.

    Args:
        name: `videoswin_tiny`, `videoswin_small` or `videoswin_base`.
        input_shape: (frames, height, width, 3), fixed: its windows depend on it; by default that of
            its training, 32 frames of 224 x 224 pixels.
        **options: Arguments of `keras_cv.models.VideoSwinBackbone` other than those of the name.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, of that shape, and returns features
        `[B, ceil(T / 2), ceil(H / 32), ceil(W / 32), D]`. Its attribute `download` loads weights:
        `download("kinetics")` returns how many variables.

    Raises:
        UsageError: There is no such network, or keras_cv has none.
    """
    if name not in _SWIN:
        raise UsageError(f"backbone: expected keras_cv:{' or '.join(_SWIN)}, received {name!r}.")
    shape = tuple(input_shape or _SWIN_CLIP)
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"Expected input_shape (frames, height, width, 3). Received {shape}.")
    pixels, scaled = scaled_pixels("imagenet", 3, shape[:3])
    network = VideoSwin(shape, {**_SWIN[name], **options}, name="videoswin")
    backbone = keras.Model(pixels, network(scaled), name=f"keras_cv_{name}")

    def fetch(weights: str) -> list[Any]:
        network = _video_swin_class()
        return network.from_preset(f"{name}_{weights}400", load_weights=True).get_weights()

    hint = "its windows need clips of at least 16 frames of 224 x 224 pixels"
    backbone.download = _downloader(network, {"kinetics": fetch}, name, hint)
    return backbone


@keras.utils.register_keras_serializable(package="aacf")
class VideoSwin(keras.layers.Layer):
    """Video Swin of `keras_cv` on scaled pixels, in float32: keras_cv 0.9 has no mixed precision.

    Args:
        clip_shape: (frames, height, width, channels).
        options: Arguments of `keras_cv.models.VideoSwinBackbone`.

    Call arguments:
        clips: `[B, T, H, W, C]`.

    Output shape:
        `[B, ceil(T / 2), ceil(H / 32), ceil(W / 32), D]`.
    """

    def __init__(self, clip_shape: Sequence[int], options: dict[str, Any], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.clip_shape, self.options = tuple(clip_shape), dict(options)
        network, policy = _video_swin_class(), keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy("float32")
        try:
            self.network = network(
                input_shape=self.clip_shape, **{"drop_path_rate": 0.0, **self.options}
            )
        finally:
            keras.mixed_precision.set_global_policy(policy)

    def call(self, clips: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(clips, training=training)

    def windows(self) -> tuple[tuple[int, int, tuple[int, int]], ...]:
        """Returns the patches of the last stage, padded behind; attention sees further."""
        return (2, 2, (0, 1)), (32, 32, (0, 31)), (32, 32, (0, 31))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        batch, time, height, width, _ = tuple(input_shape)
        sides = (-(-time // 2), -(-height // 32), -(-width // 32))
        return tf.TensorShape([batch, *sides, self.network.output_shape[-1]])

    def get_config(self) -> dict[str, Any]:
        config = {"clip_shape": [*self.clip_shape], "options": {**self.options}}
        return {**super().get_config(), **config}


def _application(
    name: str, end_point: Optional[str], options: dict[str, Any], **arguments: Any
) -> keras.Model:
    """Builds a model of `keras.applications` without its top, behind `KerasPreprocessing`."""
    build = getattr(keras.applications, name)
    network = build(include_top=False, **arguments, **options)
    begin, end = network.input, network.output
    if _family(name) == _SCALES_BY_WEIGHTS:
        layers = keras.layers.Normalization
        begin = next(layer for layer in network.layers if isinstance(layer, layers)).output
    if end_point is not None:
        known = [layer.name for layer in network.layers if len(layer.output_shape) == 4]
        if end_point not in known:
            near = difflib.get_close_matches(end_point, known, cutoff=0) or known
            raise UsageError(
                f"backbone_options.end_point: expected a layer of {name} with a map, such as "
                f"{', '.join(near)}, received {end_point!r}."
            )
        end = network.get_layer(end_point).output
    whole, network = network, keras.Model(begin, end, name=network.name)
    if begin is not whole.input:
        # New layers: those of two models are not folded.
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        network = copy
    for layer in network.submodules:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return network


def _family(name: str) -> str:
    """Returns the name of the module of `keras.applications` that a model is of."""
    models = sorted(model for model in vars(keras.applications) if model[0].isupper())
    if name not in models:
        near = difflib.get_close_matches(name, models, n=5, cutoff=0.5) or models[:5]
        raise UsageError(
            "backbone: expected keras: and a model of keras.applications such as "
            f"{', '.join(near)}, received {name!r}."
        )
    return getattr(keras.applications, name).__module__.rpartition(".")[2]


def _video_swin_class() -> Any:
    """Returns the class of Video Swin, imported on first use: that takes seconds."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import keras_cv  # it prints the name of its backend
    except ImportError as error:
        raise UsageError(
            "backbone: expected the package keras-cv, which Python 3.9 to 3.11 have with this one, "
            f"received: {error}."
        ) from error
    network = getattr(keras_cv.models, "VideoSwinBackbone", None)
    if network is None:
        raise UsageError(
            "backbone: expected keras-cv 0.9 or later, the first with Video Swin, received "
            f"{keras_cv.__version__}."
        )
    return network


def _downloader(
    network: keras.layers.Layer,
    sources: dict[str, Callable[[str], list[Any]]],
    name: str,
    hint: str = "",
) -> Callable[[str], int]:
    """Returns the function that loads published weights into a network, by their name."""

    def download(weights: str) -> int:
        if weights not in sources:
            raise UsageError(
                f"--weights: expected {' or '.join(sources)} for {name}, received {weights!r}."
            )
        try:
            values = sources[weights](weights)
        except Exception as error:  # of a library's own kinds, by what the network answers
            reason = " ".join(str(error).split())
            raise UserError(
                f"--weights={weights}: expected a download of the weights of {name}, received "
                f"{type(error).__name__}: {reason}"
            ) from error
        misfits = [
            (array.shape, tuple(variable.shape))
            for array, variable in zip(values, network.weights)
            if array.shape != tuple(variable.shape)
        ]
        if len(values) != len(network.weights) or misfits:
            given, wanted = misfits[0] if misfits else (len(values), len(network.weights))
            raise UsageError(
                f"--weights={weights}: expected the published form of {name}, received one whose "
                f"weights differ ({wanted} for {given}); {hint or 'leave backbone_options out'}."
            )
        network.set_weights(values)
        return len(values)

    return download
