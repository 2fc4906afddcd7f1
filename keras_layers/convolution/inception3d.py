"""Building blocks of Inception-v1 I3D: the convolution unit and the four-branch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import tensorflow as tf
from tensorflow import keras

from keras_layers.convolution.conv3d import Conv3D
from keras_layers.normalization import BatchNormalization3D
from keras_layers.pooling import MaxPooling3D


@keras.utils.register_keras_serializable(package="aacf")
class ConvUnit3D(keras.layers.Layer):
    """3-D convolution, batch normalization, activation.

    1. Convolution, SAME padding as TensorFlow has it (on even sizes with stride 2 one more pixel
       behind than in front); by default without bias.
    2. Batch normalization with an offset but no scale (`gamma`), epsilon 1e-3, as in the official
       I3D: the next convolution makes a scale redundant.
    3. Activation.

    The parts are named `conv_3d` and `batch_norm` as in the official checkpoints. With
    `trainable = False` the batch normalization runs in inference mode.

    Args:
        filters: Number of output channels.
        kernel_size: Edge length, or (time, height, width); 1 by default.
        strides: Stride, or (time, height, width); 1 by default.
        use_bias: Whether the convolution has a bias; False by default.
        batch_norm: Whether to normalize; True by default.
        activation: Name of a Keras activation, or None; `relu` by default.
        momentum: Momentum of the moving statistics. The default 0.9 settles within the few hundred
            steps of a small data set (our choice; with frozen batch norm it has no effect).

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`; any T, H and W.
        training: Whether to normalize by the statistics of the batch.

    Output shape:
        `[B, ceil(T / st), ceil(H / sh), ceil(W / sw), filters]` in the compute dtype.

    Examples:
        >>> ConvUnit3D(64, 7, strides=2)(tf.zeros([1, 16, 112, 112, 3])).shape
        TensorShape([1, 8, 56, 56, 64])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Union[int, Sequence[int]] = 1,
        strides: Union[int, Sequence[int]] = 1,
        use_bias: bool = False,
        batch_norm: bool = True,
        activation: Optional[str] = "relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.conv_3d = Conv3D(
            filters,
            kernel_size,
            strides,
            padding="same",
            use_bias=use_bias,
            dtype=self.dtype_policy,
            name="conv_3d",
        )
        self.batch_norm = None
        if batch_norm:
            self.batch_norm = BatchNormalization3D(
                momentum=momentum,
                epsilon=1e-3,
                scale=False,
                dtype=self.dtype_policy,
                name="batch_norm",
            )
        self.activation = keras.activations.get(activation)

    def branches(self) -> tuple[tuple[keras.layers.Layer, ...], ...]:
        """Returns the layers that the input passes, as one branch."""
        parts = (self.conv_3d, self.batch_norm)
        return (tuple(part for part in parts if part is not None),)

    def without_batch_norm(self) -> ConvUnit3D:
        """Returns a new layer of the same name whose bias stands for the normalization."""
        config = self.get_config()
        bias = config["use_bias"] or config["batch_norm"]
        return type(self).from_config({**config, "batch_norm": False, "use_bias": bias})

    def build(self, input_shape: Any) -> None:
        with tf.name_scope("conv_3d"):
            self.conv_3d.build(input_shape)
        if self.batch_norm is not None:
            with tf.name_scope("batch_norm"):
                self.batch_norm.build(self.conv_3d.compute_output_shape(input_shape))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        outputs = self.conv_3d(inputs, training=training)
        if self.batch_norm is not None:
            outputs = self.batch_norm(outputs, training=training)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return self.conv_3d.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.conv_3d.filters,
            "kernel_size": self.conv_3d.kernel_size,
            "strides": self.conv_3d.strides,
            "use_bias": self.conv_3d.use_bias,
            "batch_norm": self.batch_norm is not None,
            "activation": keras.activations.serialize(self.activation),
            "momentum": self.momentum,
        }


@keras.utils.register_keras_serializable(package="aacf")
class InceptionModule3D(keras.layers.Layer):
    """The Inception module of I3D: four parallel branches, concatenated along the channels.

    ```
    Branch_0   1x1x1 (f0)
    Branch_1   1x1x1 (f1) -> 3x3x3 (f2)
    Branch_2   1x1x1 (f3) -> 3x3x3 (f4)
    Branch_3   3x3x3 max pool, stride 1 -> 1x1x1 (f5)
    output     channels of the branches in this order
    ```

    Every convolution is a `ConvUnit3D`. `units` maps its scope in the official checkpoints, such
    as `Branch_1/Conv3d_0b_3x3`, to the unit, and the variables have these names.

    Args:
        filters: The six numbers f0 to f5, in the order of the paper's figure.
        branch_2_conv: Name of the 3x3x3 unit of branch 2. The official network calls it
            `Conv3d_0b_3x3`, but in `Mixed_5b` `Conv3d_0a_3x3`.
        batch_norm: Whether the units normalize; if not, their convolutions have biases, as after
            folding the normalization into them.
        momentum: Momentum of the moving statistics.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`; any T, H and W.
        training: Whether to normalize by the statistics of the batch.

    Output shape:
        `[B, T, H, W, f0 + f2 + f4 + f5]` in the compute dtype.

    Examples:
        >>> InceptionModule3D([64, 96, 128, 16, 32, 32])(tf.zeros([1, 8, 28, 28, 192])).shape
        TensorShape([1, 8, 28, 28, 256])
    """

    def __init__(
        self,
        filters: Sequence[int],
        branch_2_conv: str = "Conv3d_0b_3x3",
        batch_norm: bool = True,
        momentum: float = 0.9,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(filters) != 6:
            raise ValueError(
                "Expected filters to hold six numbers, one a convolution. "
                f"Received filters={list(filters)}."
            )
        self.filters = tuple(filters)
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.branch_2_conv = branch_2_conv
        self.batch_norm = batch_norm
        self.momentum = momentum
        # One flat mapping: Keras saves the layers of a dict, but not those of nested containers.
        self.units = {}
        scopes = (
            "Branch_0/Conv3d_0a_1x1",
            "Branch_1/Conv3d_0a_1x1",
            "Branch_1/Conv3d_0b_3x3",
            "Branch_2/Conv3d_0a_1x1",
            f"Branch_2/{branch_2_conv}",
            "Branch_3/Conv3d_0b_1x1",
        )
        for scope, width, kernel_size in zip(scopes, filters, (1, 1, 3, 1, 3, 1)):
            self.units[scope] = ConvUnit3D(
                width,
                kernel_size,
                use_bias=not batch_norm,
                batch_norm=batch_norm,
                momentum=momentum,
                dtype=self.dtype_policy,
                name=scope.split("/")[1],
            )
        self.pool = MaxPooling3D(3, 1, "same", dtype=self.dtype_policy, name="MaxPool3d_0a_3x3")

    def branches(self) -> tuple[tuple[keras.layers.Layer, ...], ...]:
        """Returns the four branches, each the layers that the input passes."""
        b0, b1a, b1b, b2a, b2b, b3 = self.units.values()
        return (b0,), (b1a, b1b), (b2a, b2b), (self.pool, b3)

    def without_batch_norm(self) -> InceptionModule3D:
        """Returns a new layer of the same name whose biases stand for the normalizations."""
        return type(self).from_config({**self.get_config(), "batch_norm": False})

    def build(self, input_shape: Any) -> None:
        _, f1, _, f3, _, _ = self.filters
        channels = (input_shape[-1], input_shape[-1], f1, input_shape[-1], f3, input_shape[-1])
        for (scope, unit), width in zip(self.units.items(), channels):
            with _scope_of(scope):
                unit.build((*input_shape[:-1], width))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        (b0,), (b1a, b1b), (b2a, b2b), (pool, b3) = self.branches()
        branches = [
            b0(inputs, training=training),
            b1b(b1a(inputs, training=training), training=training),
            b2b(b2a(inputs, training=training), training=training),
            b3(pool(inputs), training=training),
        ]
        return tf.concat(branches, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        f0, _, f2, _, f4, f5 = self.filters
        return tf.TensorShape([*input_shape[:-1], f0 + f2 + f4 + f5])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "branch_2_conv": self.branch_2_conv,
            "batch_norm": self.batch_norm,
            "momentum": self.momentum,
        }


def _scope_of(unit: str) -> Any:
    """Returns the scope of a unit's variables, which have the names of the official checkpoints."""
    if hasattr(keras, "ops"):  # Keras 3, whose layers add their own names
        return keras.name_scope(unit.split("/")[0])  # type: ignore
    return tf.name_scope(unit)
