"""Keras's contract, kept by every layer: files of three formats, shapes, types, plain errors."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import keras_layers
from keras_layers import FramesToImages

PROJECT = Path(__file__).resolve().parents[2]
SIDES = (4, 6, 8)
ARGUMENTS = {
    "ActionContextAttention": {"hidden": 5},
    "ActionContextFactorization": {"hidden": 5},
    "AttentionPooling": {},
    "BatchNormalization3D": {"momentum": 0.8},
    "Conv3D": {"filters": 5, "kernel_size": 3, "padding": "same", "use_bias": False},
    "ConvUnit3D": {"filters": 5, "kernel_size": 3, "strides": 2},
    "FramesToImages": {},
    "ImagesToFrames": {},
    "InceptionModule3D": {"filters": [3, 2, 4, 2, 3, 2]},
    "MaxPooling3D": {"pool_size": 3, "strides": [1, 2, 1], "padding": "same"},
    "NonLocalBlock3D": {"depth": 3},
    "StatelessDropout": {"rate": 0.5, "seed": 3},
    "TemporalShift": {"share": 0.25},
    "WinogradConv3D": {"filters": 5},
}
KERAS_3 = hasattr(keras, "ops")  # with TF_USE_LEGACY_KERAS=0 from Python 3.12 on
# Without an ending: a SavedModel, which Keras 3 does not load.
FORMATS = (".h5", ".keras") if KERAS_3 else (".h5", ".keras", "")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.fixture
def policy(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def inputs_of(name, clips):
    if name == "AttentionPooling":
        return [clips, clips]  # six maps
    if name == "ImagesToFrames":
        return [FramesToImages()(clips), clips]
    return clips


def build(names=ARGUMENTS):
    """Returns a model of all these layers beside each other, and the layers."""
    clips = keras.Input((*SIDES, 6), name="clips")
    layers = [getattr(keras_layers, name)(**ARGUMENTS[name]) for name in names]
    outputs = [layer(inputs_of(name, clips)) for name, layer in zip(names, layers)]
    model = keras.Model(clips, tf.nest.flatten(outputs))
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if tf.as_dtype(weight.dtype).is_floating:
            weight.assign(draw.uniform(0.2, 1.0, weight.shape))
    return model, layers


def clips(batch=2):
    return np.random.default_rng(1).normal(size=(batch, *SIDES, 6)).astype("float32")


def assert_alike(ours, others):
    for value, other in zip(ours, others):
        assert value.dtype == other.dtype
        np.testing.assert_allclose(
            tf.cast(other, tf.float32), tf.cast(value, tf.float32), rtol=1e-5, atol=1e-6
        )


def test_every_layer_is_tried():
    layers = {n for n in keras_layers.__all__ if isinstance(getattr(keras_layers, n), type)}
    assert layers == {*ARGUMENTS}


@pytest.mark.parametrize(
    "policy",
    # In float32 the next test does so, in a process of its own.
    [pytest.param("float32", marks=pytest.mark.slow), "mixed_bfloat16", "mixed_float16"],
    indirect=True,
)
def test_saved_in_every_format_and_loaded_again(policy, tmp_path):
    # A CPU has no maximum pooling in float16, by which Inception has a branch.
    left_out = {"InceptionModule3D", "MaxPooling3D"} if policy == "mixed_float16" else {}
    model, _ = build([name for name in ARGUMENTS if name not in left_out])
    for suffix in FORMATS[: 3 if policy == "float32" else 2]:
        file = str(tmp_path / f"model{suffix}")
        model.save(file)
        assert_alike(model(clips()), keras.models.load_model(file)(clips()))


@pytest.mark.parametrize(
    "suffix",
    [FORMATS[0], *(pytest.param(suffix, marks=pytest.mark.slow) for suffix in FORMATS[1:])],
)
def test_the_package_alone_makes_keras_find_them(tmp_path, suffix):
    model, _ = build()
    model.save(str(tmp_path / f"model{suffix}"))
    np.save(tmp_path / "clips.npy", clips())
    code = f"""
        import keras_layers
        import numpy as np
        from tensorflow import keras
        outputs = keras.models.load_model("model{suffix}")(np.load("clips.npy"))
        np.savez("loaded.npz", *outputs)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    chosen = {name: value for name, value in os.environ.items() if name == "TF_USE_LEGACY_KERAS"}
    environment = {"PYTHONPATH": str(PROJECT), **chosen}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    with np.load(tmp_path / "loaded.npz") as loaded:
        assert_alike(model(clips()), [tf.constant(value) for value in loaded.values()])


@pytest.mark.parametrize(
    "first", ["tensorflow", "keras_layers", "keras_layers.attention", "keras_layers.pooling"]
)
def test_registered_whatever_is_imported_first(first, tmp_path):
    """TensorFlow is replaced by an empty module, and the package by two modules of layers."""
    package = tmp_path / "keras_layers"
    package.mkdir()
    (tmp_path / "tensorflow.py").write_text("keras = None")
    (package / "attention.py").write_text("import tensorflow\nprint('attention')\nname = 1")
    (package / "pooling.py").write_text(
        "import tensorflow\nfrom keras_layers.attention import name\nprint('pooling')"
    )
    (package / "__init__.py").write_text("from . import registration")
    source = (PROJECT / "keras_layers" / "registration.py").read_text()
    (package / "registration.py").write_text(f"{source}\n{HOOK}")
    code = f"import {first}, tensorflow, keras_layers"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == ["attention", "pooling"]


HOOK = """
import importlib

def register():
    for name in ("pooling", "attention"):
        importlib.import_module(f"keras_layers.{name}")

if "tensorflow" in sys.modules:
    register()
else:
    sys.meta_path.insert(0, AfterTensorFlow("keras_layers", register))
"""


@pytest.mark.parametrize("policy", POLICIES[:2], indirect=True)
def test_shapes_and_types_are_foretold(policy):
    _, layers = build()
    values = clips()
    for name, layer in zip(ARGUMENTS, layers):
        given = inputs_of(name, tf.constant(values))
        actual = layer(given)
        shapes = layer.compute_output_shape(tf.nest.map_structure(lambda x: x.shape, given))
        assert not isinstance(actual, dict) or shapes.keys() == actual.keys()
        for shape, value in zip(shapes_in(shapes), tf.nest.flatten(actual)):
            assert tuple(shape) == tuple(value.shape), name
        if KERAS_3:
            symbols = tf.nest.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), given)
            foretold = layer.compute_output_spec(symbols)
        else:
            specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), given)
            foretold = layer.compute_output_signature(specs)
        for spec, value in zip(tf.nest.flatten(foretold), tf.nest.flatten(actual)):
            assert tuple(spec.shape) == tuple(value.shape), name
            assert tf.as_dtype(spec.dtype) == value.dtype, name
        free = tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), given)
        for shape in shapes_in(layer.compute_output_shape(free)):
            assert shape[0] is None, name


def shapes_in(foretold):
    """Lists the shapes of one or several outputs, in the order of `tf.nest`."""
    if isinstance(foretold, dict):
        return [foretold[name] for name in sorted(foretold)]
    several = isinstance(foretold, tuple) and isinstance(foretold[0], (tuple, tf.TensorShape))
    return list(foretold) if several else [foretold]


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "StatelessDropout"])
def test_photographs_in_place_of_clips_are_refused_by_name(name):
    layer = getattr(keras_layers, name)(**ARGUMENTS[name])
    wrong = tf.zeros([2, 6, 8, 6])
    given = [wrong, wrong] if name in ("AttentionPooling", "ImagesToFrames") else wrong
    with pytest.raises(ValueError, match=r"incompatible with the layer: expected .*ndim=5") as e:
        layer(given)
    assert layer.name in str(e.value) and "found ndim=4" in str(e.value)
    assert not (layer.weights if KERAS_3 else layer.built)


@pytest.mark.parametrize(
    "name", ["ActionContextFactorization", "NonLocalBlock3D", "ConvUnit3D", "WinogradConv3D"]
)
def test_another_number_of_channels_is_refused_once_built(name):
    layer = getattr(keras_layers, name)(**ARGUMENTS[name])
    layer.build((None, *SIDES, 6))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 6"):
        layer(tf.zeros([1, *SIDES, 7]))


def test_as_the_first_layer_of_a_sequential_model():
    """What Keras's own test of a layer does beyond the above."""
    for name in ARGUMENTS:
        layer = getattr(keras_layers, name)(**ARGUMENTS[name])
        if name in ("ImagesToFrames", "AttentionPooling", "ActionContextFactorization"):
            continue  # several inputs or outputs
        if not KERAS_3:
            first = {"batch_input_shape": (2, *SIDES, 6)}
            layer = type(layer).from_config({**layer.get_config(), **first})
        model = keras.Sequential([keras.Input((*SIDES, 6)), layer])
        layer.set_weights(layer.get_weights())
        assert tf.nest.flatten(model(clips()))[0].shape[0] in (2, 2 * SIDES[0]), name
