"""Folded batch norms give the same numbers, frozen ones stand still; for every backbone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import BACKBONES, build_backbone
from aacf_tf.backbones.batch_norm import fold_batch_norm, freeze_batch_norm
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.backbones.two_stream import two_stream_i3d
from keras_layers import BatchNormalization3D, ConvUnit3D

_layers = keras.layers
# Backbone: how it is built, and its variables once folded, counted by hand. Where a part holds all
# that the rest repeats, the whole is tried in the slow tests.
VARIANTS = {
    "small": ({"width": 24}, 5 * 2),
    # Stem 2, four blocks of 2 convolutions, 2 of them with one on the shortcut.
    "small residual": ({"width": 24, "residual": True}, (2 + 4 * 2 + 2) * 2),
    # 3 units and modules of 6, 9 in all; with top the classifier.
    "i3d": ({"end_point": "Mixed_3b"}, (3 + 6) * 2),
    "i3d whole": ({"all_end_points": True, "include_top": True}, (3 + 9 * 6 + 1) * 2),
    # Stem, blocks of 2, a shortcut in all but the first stage; with top the classifier.
    "resnet3d34": ({"end_point": "layer2"}, (1 + 7 * 2 + 1) * 2),
    "resnet3d34 whole": ({"all_end_points": True, "include_top": True}, (1 + 16 * 2 + 3 + 1) * 2),
    # A bias where a norm follows (the stem and in each layer), a norm of four variables where none
    # precedes (in each layer and transition, the last one). Convolutions: the stem, 2 a layer, one
    # a transition.
    "densenet161": ({"end_point": "features.transition1"}, (1 + 6 * 2 + 1) + (1 + 6) + 4 * (6 + 1)),
    # The stem and blocks of a depthwise and a 1x1 convolution, all but the first with one more.
    "efficientnet_lite0": ({"end_point": "stage2"}, (1 + 2 + 2 * 3) * 2),
    "efficientnet_lite2": ({"end_point": "stage2", "shift": 0.125}, (1 + 2 + 3 * 3) * 2),
    "densenet161 whole": (
        {"all_end_points": True, "include_top": True},
        (1 + 78 * 2 + 3) + (1 + 78) + 4 * (78 + 3 + 1) + 2,
    ),
}
SLOW = ("i3d whole", "resnet3d34 whole", "densenet161 whole")
every_variant = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in VARIANTS],
)


def norms(model):
    return [part for part in model.submodules if isinstance(part, _layers.BatchNormalization)]


def error(found, wanted):
    """Largest difference relative to the largest value, over all outputs."""
    pairs = zip(tf.nest.flatten(found), tf.nest.flatten(wanted))
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


@pytest.fixture(scope="module")
def variant(weight_tools):
    """Gives one of VARIANTS with weights as after a training, built once."""
    built = {}

    def get(name):
        if name not in built:
            backbone = build_backbone(name.split()[0], **VARIANTS[name][0])
            built[name] = weight_tools.randomize(backbone, np.random.default_rng(2))
        return built[name]

    return get


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (2, 5, 33, 40, 3), dtype=np.uint8)


def test_every_backbone_is_here():
    assert {name.split()[0] for name in VARIANTS} == set(BACKBONES)


@every_variant
def test_folding_changes_no_output(variant, name, pixels):
    backbone = variant(name)
    before = [v.numpy() for v in backbone.variables]
    folded = fold_batch_norm(backbone)
    assert len(folded.variables) == VARIANTS[name][1]
    wanted = backbone(pixels, training=False)
    assert error(folded(pixels, training=False), wanted) < 1e-4
    if isinstance(wanted, dict):
        assert list(folded.output) == list(wanted)
    else:
        size = (16, 64, 97)
        assert receptive_field(folded, size) == receptive_field(backbone, size)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in backbone.layers]
    # The original has kept its weights and knows nothing of the copy.
    assert all((a == v.numpy()).all() for a, v in zip(before, backbone.variables))
    assert not {id(v) for v in backbone.variables} & {id(v) for v in folded.variables}


def test_models_within_a_model_are_folded_each(weight_tools, rng):
    """Two streams as one model of named inputs, one of them at two places."""
    inputs = {name: keras.Input((None, None, None, 3), name=name) for name in ("a", "b")}
    small, i3d = build_backbone("small", width=12), build_backbone("i3d", end_point="Mixed_3b")
    pool = _layers.GlobalAveragePooling3D()
    ends = [pool(small(inputs["a"])), pool(i3d(inputs["b"])), pool(small(inputs["b"]))]
    model = weight_tools.randomize(keras.Model(inputs, _layers.Concatenate()(ends)), rng)
    folded = fold_batch_norm(model)
    assert norms(folded) == [] and len(folded.variables) == 5 * 2 + (3 + 6) * 2
    clips = {name: rng.integers(0, 256, (1, 4, 24, 30, 3), dtype=np.uint8) for name in inputs}
    assert error(folded(clips), model(clips)) < 1e-4


@pytest.mark.slow
def test_two_streams_are_folded_each(weight_tools, rng):
    model = weight_tools.randomize(two_stream_i3d(), rng)
    folded = fold_batch_norm(model)
    assert norms(folded) == [] and len(folded.variables) == 2 * (3 + 9 * 6) * 2
    clips = {
        stream: rng.integers(0, 256, (1, 4, 32, 32, channels), dtype=np.uint8)
        for stream, channels in (("rgb", 3), ("flow", 2))
    }
    assert error(folded(clips), model(clips)) < 1e-4


def test_weights_by_hand(rng):
    """A convolution with a bias and a norm with a scale, in double precision."""
    images = keras.Input((None, None, 3))
    model = keras.Model(images, _layers.BatchNormalization()(_layers.Conv2D(4, 3)(images)))
    (kernel, bias), (gamma, beta, mean, variance) = (
        [rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()] for layer in model.layers[1:]
    )
    model.set_weights([kernel, bias, gamma, beta, mean, variance])
    folded = fold_batch_norm(model)
    scale = gamma / np.sqrt(variance + 1e-3)
    found = folded.get_weights()
    assert [weights.dtype for weights in found] == [np.float32] * 2
    np.testing.assert_allclose(found[0], kernel * scale, rtol=3e-7)
    np.testing.assert_allclose(found[1], (bias - mean) * scale + beta, rtol=3e-7, atol=1e-6)


def conv(name, **options):
    return _layers.Conv3D(4, 3, padding="same", name=name, **options)


def norm_first(x):
    return conv("conv")(_layers.BatchNormalization(name="stays")(x))


def after_concat(x):
    x = _layers.Concatenate()([conv("a")(x), conv("b")(x)])
    return BatchNormalization3D(name="stays")(x)


def read_twice(x):
    x = conv("conv")(x)
    return _layers.Add()([x, _layers.BatchNormalization(name="stays")(x)])


def an_output_too(x):
    x = conv("conv")(x)
    return {"before": x, "after": _layers.BatchNormalization(name="stays")(x)}


def activated(x):
    return _layers.BatchNormalization(name="stays")(conv("conv", activation="relu")(x))


def shared_convolution(x):
    shared = conv("conv")
    y = _layers.BatchNormalization(name="stays")(shared(x))
    return _layers.Add()([y, shared(_layers.ReLU()(x))])


def shared_norm(x):
    shared = BatchNormalization3D(name="stays")
    return _layers.Add()([shared(conv("a")(x)), shared(conv("b")(x))])


def along_the_width(x):
    return _layers.BatchNormalization(axis=3, name="stays")(conv("conv")(x))


def transposed(x):
    return _layers.BatchNormalization(name="stays")(_layers.Conv3DTranspose(4, 3)(x))


def two_norms(x):
    """The first is folded, the second follows no convolution."""
    x = BatchNormalization3D(name="goes")(conv("conv")(x))
    return BatchNormalization3D(name="stays")(x)


def plain_unit(x):
    """Nothing to fold: a unit without norm, then a norm."""
    unit = ConvUnit3D(4, batch_norm=False, use_bias=True, activation=None)
    return _layers.BatchNormalization(name="stays")(unit(x))


@pytest.mark.parametrize(
    "network",
    [
        norm_first,
        after_concat,
        read_twice,
        an_output_too,
        activated,
        shared_convolution,
        shared_norm,
        along_the_width,
        transposed,
        two_norms,
        plain_unit,
    ],
)
def test_what_cannot_be_folded_stays(weight_tools, network, rng):
    inputs = keras.Input((3, 4, 4, 4))
    model = weight_tools.randomize(keras.Model(inputs, network(inputs)), rng)
    folded = fold_batch_norm(model)
    assert [norm.name for norm in norms(folded)] == ["stays"]
    x = rng.normal(size=(2, 3, 4, 4, 4)).astype("float32")
    assert error(folded(x), model(x)) < 1e-5


def test_a_part_of_a_network_is_folded_by_what_is_in_it(rng):
    """In the whole network the convolution is read twice, in the part once."""
    inputs = keras.Input((3, 4, 4, 2))
    x = conv("conv")(inputs)
    y = BatchNormalization3D()(x)
    whole, part = keras.Model(inputs, _layers.Add()([x, y])), keras.Model(inputs, y)
    assert (len(norms(fold_batch_norm(whole))), len(norms(fold_batch_norm(part)))) == (1, 0)


def test_a_folded_model_folds_to_itself_and_is_saved_as_any_other(variant, pixels, tmp_path):
    folded = fold_batch_norm(variant("small residual"))
    wanted = folded(pixels)
    np.testing.assert_array_equal(fold_batch_norm(folded)(pixels), wanted)
    folded.save(tmp_path / "folded.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "folded.keras")(pixels), wanted
    )


def test_a_model_that_is_no_graph_of_layers_is_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match=r"Expected a functional model. Received .*Subclassed"):
        fold_batch_norm(Subclassed())


@every_variant
def test_frozen_norms_are_in_inference_mode(variant, name, pixels):
    backbone = variant(name)
    kernels = [v.name for v in backbone.trainable_variables if "kernel" in v.name]
    biases = [v.name for v in backbone.trainable_variables if "bias" in v.name]
    everything = len(backbone.trainable_variables)
    try:
        for _ in range(2):
            freeze_batch_norm(backbone)
            assert sorted(v.name for v in backbone.trainable_variables) == sorted(kernels + biases)
        assert everything > len(kernels) + len(biases)
        before = {id(v): v.numpy() for v in backbone.variables}
        training = backbone(pixels, training=True)
        assert (
            error(training, backbone(pixels, training=False)) < 1e-4
        )  # training takes other kernels
        assert all((v.numpy() == before[id(v)]).all() for v in backbone.variables)
    finally:
        backbone.trainable = True
    assert len(backbone.trainable_variables) == everything


@every_variant
def test_an_untrainable_backbone_is_in_inference_mode(variant, name, pixels):
    backbone = variant(name)
    before = {id(v): v.numpy() for v in backbone.variables}  # in another order when untrainable
    backbone.trainable = False
    try:
        assert backbone.trainable_variables == []
        assert error(backbone(pixels, training=True), backbone(pixels, training=False)) == 0
        assert all((v.numpy() == before[id(v)]).all() for v in backbone.variables)
    finally:
        backbone.trainable = True


@pytest.mark.parametrize(
    "name, options",
    [("small", {"width": 24, "residual": True}), ("i3d", {"end_point": "Mixed_3b"})],
)
def test_a_training_step_with_frozen_norms(weight_tools, name, options, rng):
    pixels = rng.integers(0, 256, (2, 8, 32, 32, 3), dtype=np.uint8)
    backbone = weight_tools.randomize(build_backbone(name, **options), rng)
    freeze_batch_norm(backbone)
    before = {v.name: v.numpy() for v in backbone.variables}
    backbone.compile(keras.optimizers.SGD(0.1), "mse")
    targets = np.ones(backbone.compute_output_shape(pixels.shape), np.float32)
    backbone.fit(pixels, targets, batch_size=2, verbose=0)
    changed = {v.name for v in backbone.variables if (v.numpy() != before[v.name]).any()}
    assert changed == {name for name in before if "kernel" in name} != set()


@keras.utils.register_keras_serializable(package="tests")
class Residual(_layers.Layer):
    """A layer of a user's that is made of others and folds itself."""

    def __init__(self, batch_norm=True, gain=False, **kwargs):
        super().__init__(**kwargs)
        self.batch_norm, self.gain = batch_norm, gain
        self.unit = ConvUnit3D(4, 3, batch_norm=batch_norm, use_bias=not batch_norm)
        self.convolution = conv("second", use_bias=not batch_norm)
        self.norm = BatchNormalization3D() if batch_norm else None
        self.last = BatchNormalization3D()  # behind the norm: there is nothing to fold it into

    def build(self, shape):
        if self.gain:
            self.weight = self.add_weight("gain", initializer="ones")
        super().build(shape)

    def call(self, inputs, training=None):
        outputs = inputs
        for part in self.branches()[0]:
            outputs = part(outputs)
        return inputs + outputs

    def branches(self):
        norm = [self.norm] if self.norm else []
        return [self.unit, self.convolution, *norm, self.last], []

    def without_batch_norm(self):
        return Residual.from_config({**self.get_config(), "batch_norm": False})

    def get_config(self):
        return {**super().get_config(), "batch_norm": self.batch_norm, "gain": self.gain}


def test_a_layer_of_a_user_s_own_folds_itself(weight_tools, rng):
    inputs = keras.Input((3, 4, 4, 4))
    outputs = Residual(name="residual")(_layers.ReLU()(inputs))
    model = weight_tools.randomize(keras.Model(inputs, outputs), rng)
    folded = fold_batch_norm(model)
    assert len(norms(folded)) == 1 and len(folded.variables) == 2 * 2 + 4
    x = rng.normal(size=(2, 3, 4, 4, 4)).astype("float32")
    assert error(folded(x), model(x)) < 1e-5
    assert receptive_field(folded, (3, 4, 4)) == receptive_field(model, (3, 4, 4))
    assert receptive_field(model, (3, 4, 4))[0][3:] == (-2, 2)


def test_a_layer_that_folds_itself_wrongly_is_refused(rng):
    class KeepsNorms(Residual):
        def without_batch_norm(self):
            return KeepsNorms.from_config(self.get_config())

    inputs = keras.Input((3, 4, 4, 4))
    with pytest.raises(ValueError, match=r"3 layers in a branch of 'keeps'\. Received 4"):
        fold_batch_norm(keras.Model(inputs, KeepsNorms(name="keeps")(inputs)))
    with pytest.raises(ValueError, match="all weights of the layer 'gained' in its branches"):
        fold_batch_norm(keras.Model(inputs, Residual(gain=True, name="gained")(inputs)))


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_depthwise_convolutions_are_folded(weight_tools, rng, multiplier, bias):
    images = keras.Input((6, 7, 4))
    options = {"padding": "same", "depth_multiplier": multiplier, "use_bias": bias}
    x = _layers.DepthwiseConv2D(3, 2, **options)(images)
    x = _layers.ReLU(6.0)(_layers.BatchNormalization()(x))
    model = weight_tools.randomize(keras.Model(images, x), rng)
    folded = fold_batch_norm(model)
    assert norms(folded) == [] and len(folded.variables) == 2
    x = rng.normal(size=(2, 6, 7, 4)).astype("float32")
    assert error(folded(x), model(x)) < 1e-6
