"""Published weights: every variable gets its value, or nothing changes and one error says why."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import recipes
from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.weights import load_weights
from aacf_tf.weights.naming import NAMINGS
from tfrecords.utils.errors import UsageError


def official(weight_tools, values):
    """Names of DeepMind's checkpoints for RGB."""
    return {f"RGB/inception_i3d/{weight_tools.official_name(n)}": v for n, v in values.items()}


def piergiaj(layer):
    """`Mixed_3b/Branch_1/Conv3d_0b_3x3/batch_norm` -> `Mixed_3b.b1b.bn`."""
    scope, part = layer.rsplit("/", 1)
    scope = re.sub(r"/Branch_0/.*", ".b0", scope)
    scope = re.sub(r"Mixed_5b/Branch_2/Conv3d_0a_3x3", "Mixed_5b.b2b", scope)
    scope = re.sub(r"/Branch_(\d)/Conv3d_0([ab])_.*", r".b\1\2", scope)
    scope = "logits" if scope.startswith("Logits") else scope
    return f"{scope}.{ {'conv_3d': 'conv3d', 'batch_norm': 'bn'}[part] }"


def hassony2(layer):
    """Translates the same names to `mixed_3b.branch_1.1.batch3d`."""
    scope, part = layer.rsplit("/", 1)
    scope = re.sub(r"/Branch_0/.*", "/Branch_0", scope)
    scope = re.sub(r"(Mixed_5b/Branch_2)/Conv3d_0a_3x3", r"\1.1", scope)
    for letter, number in ("a", 0), ("b", 1):
        scope = re.sub(rf"(Branch_\d)/Conv3d_0{letter}_.*", rf"\1.{number}", scope)
    scope = scope.replace("Logits/", "").replace("/", ".").lower()
    return f"{scope}.{ {'conv_3d': 'conv3d', 'batch_norm': 'batch3d'}[part] }"


def keras_port(name):
    """Translates them to layer `Conv3d_3b_1b_3x3_bn`, weight `Conv3d_3b_1b_3x3_bn/beta:0`."""
    scope, part, end = name.rsplit("/", 2)
    scope = scope.replace("Mixed_5b/Branch_2/Conv3d_0a_3x3", "Conv3d_5b_2b_3x3")
    scope = scope.replace("Branch_0/Conv3d_0a", "0a")
    scope = re.sub(r"Branch_(\d)/Conv3d_0([ab])", r"\1\2", scope)
    scope = re.sub(r"Mixed_(\w\w)/", r"Conv3d_\1_", scope)
    scope = "Conv3d_6a_1x1" if scope.startswith("Logits") else scope
    layer = f"{scope}_{ {'conv_3d': 'conv', 'batch_norm': 'bn'}[part] }"
    return layer, f"{layer}/{end}:0"


@pytest.fixture(scope="module")
def whole_i3d():
    return i3d(include_top=True)


@pytest.fixture(scope="module")
def whole_values(weight_tools, whole_i3d):
    return weight_tools.random_values(np.random.default_rng(0), whole_i3d)


@pytest.fixture
def part_i3d():
    return i3d("Mixed_3b")


def test_names_of_the_ports(whole_i3d):
    """Literal names, as the repositories have them, and that none of our layers is left out."""
    branch = "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d"
    names = {theirs: ours for naming in NAMINGS for theirs, ours in naming.layers.items()}
    assert names["mixed_5b.branch_2.1.conv3d"] == names["Mixed_5b.b2b.conv3d"] == branch
    assert names["Conv3d_5b_2b_3x3_conv"] == names["inception5a.branch3.1.conv"] == branch
    assert names["Mixed_5b/Branch_2/Conv2d_0a_3x3"] == branch
    assert names["Conv3d_4f_3b_1x1_bn"] == "Mixed_4f/Branch_3/Conv3d_0b_1x1/batch_norm"
    layers = {variable.name.rpartition("/")[0] for variable in whole_i3d.weights}
    namings = [naming for naming in NAMINGS if set(naming.layers.values()) & layers]
    assert len(namings) == 6
    assert all(set(naming.layers.values()) == layers for naming in namings)


@pytest.mark.parametrize(
    ("listing", "classes", "channels"),
    [
        ("rgb_imagenet", 400, 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("flow_imagenet", 400, 2), ("rgb_scratch_kin600", 600, 3))
        ),
    ],
)
def test_official_checkpoints(weight_tools, shared_data, tmp_path, rng, listing, classes, channels):
    """Also those trained from scratch, whose names are those of `imagenet`."""
    text = (shared_data / f"i3d/i3d_{listing}_variables.json").read_text()
    shapes = {name: v["shape"] for name, v in json.loads(text)["variables"].items()}
    values = {name: rng.standard_normal(shape, "float32") for name, shape in shapes.items()}
    model = i3d(include_top=True, classes=classes, channels=channels)
    loaded = load_weights(model, weight_tools.write_checkpoint(tmp_path / "model.ckpt", values))
    assert loaded.format == "TensorFlow checkpoint, I3D of DeepMind"
    assert loaded.loaded == len(model.weights) == 230
    slots = {name: "of an optimizer" for name in values if name.endswith("/Momentum")}
    assert loaded.ignored == slots and len(slots) == (116 if classes == 600 else 0)
    prefix = {3: "RGB/inception_i3d/", 2: "Flow/inception_i3d/"}[channels]
    prefix = "" if classes == 600 else prefix
    for name, value in weight_tools.by_name(model).items():
        theirs = values[f"{prefix}{weight_tools.official_name(name)}"]
        np.testing.assert_array_equal(value, theirs.reshape(value.shape), err_msg=name)


def test_paths_that_lead_to_a_checkpoint(weight_tools, tmp_path, whole_values, part_i3d):
    folder = tmp_path / "rgb_imagenet"
    folder.mkdir()
    prefix = weight_tools.write_checkpoint(
        folder / "model.ckpt", official(weight_tools, whole_values)
    )
    expected = {name: whole_values[name] for name in weight_tools.by_name(part_i3d)}
    data = folder / "model.ckpt.data-00000-of-00001"
    for path in (prefix, str(prefix), folder, f"{prefix}.index", data):
        part_i3d.set_weights([np.zeros_like(w) for w in part_i3d.get_weights()])
        loaded = load_weights(part_i3d, path)
        weight_tools.assert_has(part_i3d, expected)
    reasons = set(loaded.ignored.values())
    assert reasons == {"the top", "beyond the model's last layer"}
    assert loaded.loaded + len(loaded.ignored) == len(whole_values)
    assert "2 left out: the top" in str(loaded)


@pytest.mark.parametrize("names", [piergiaj, hassony2])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_i3d_from_pytorch(
    weight_tools, torch_files, tmp_path, whole_i3d, whole_values, names, container
):
    state = weight_tools.torch_state(whole_values, names)
    for name in [name for name in state if name.endswith("running_mean")]:
        norm = name.rpartition(".")[0]
        state[f"{norm}.weight"] = np.ones_like(state[name])
        state[f"{norm}.num_batches_tracked"] = np.array(0, "int64")
    path = torch_files.save(tmp_path / "rgb.pt", state, container)
    loaded = load_weights(whole_i3d, path)
    weight_tools.assert_has(whole_i3d, whole_values)
    assert names.__name__ in loaded.format
    assert set(loaded.ignored.values()) == {"a scale of 1", "counts batches"}
    assert len(loaded.ignored) == len(state) - len(whole_values)


def test_a_scale_is_absorbed_exactly(weight_tools, torch_files, tmp_path, rng):
    model = i3d("Conv3d_1a_7x7")
    values = weight_tools.random_values(rng, model)
    gamma = rng.normal(size=64).astype("float32")
    state = weight_tools.torch_state(values, piergiaj)
    state["Conv3d_1a_7x7.bn.weight"] = gamma
    load_weights(model, torch_files.save(tmp_path / "rgb.pt", state))
    pixels = rng.integers(0, 256, (1, 5, 9, 11, 3), np.uint8)
    x = tf.cast(pixels, tf.float32) / 127.5 - 1
    x = tf.nn.conv3d(x, values["Conv3d_1a_7x7/conv_3d/kernel"], [1, 2, 2, 2, 1], "SAME")
    mean, variance, beta = (
        values[f"Conv3d_1a_7x7/batch_norm/{end}"]
        for end in ("moving_mean", "moving_variance", "beta")
    )
    expected = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3))
    np.testing.assert_allclose(model(pixels), expected, rtol=1e-4, atol=1e-4)


def test_a_scale_of_another_size_is_named(weight_tools, torch_files, tmp_path, rng):
    model = i3d("Conv3d_1a_7x7")
    state = weight_tools.torch_state(weight_tools.random_values(rng, model), piergiaj)
    norm = "Conv3d_1a_7x7.bn"
    for name, value in (("weight", np.full(63, 2, "f4")), ("running_mean", np.zeros(63, "f4"))):
        wrong = {f"{norm}.weight": np.full(64, 2, "f4"), f"{norm}.{name}": value}
        path = torch_files.save(tmp_path / "rgb.pt", {**state, **wrong})
        with pytest.raises(UsageError, match=rf"other shapes .*{norm}\.{name} \[63\]"):
            load_weights(model, path)


@pytest.mark.parametrize("top", [True, False])
def test_i3d_from_the_keras_port(weight_tools, tmp_path, whole_i3d, whole_values, top):
    layers = {}
    for name, value in whole_values.items():
        layer, weight = keras_port(name)
        if top or "6a" not in layer:
            layers.setdefault(layer, {})[weight] = value
    layers["MaxPool2d_2a_3x3"] = {}
    path = weight_tools.write_h5(tmp_path / "file", layers, whole_model=top)
    model = whole_i3d if top else i3d()
    loaded = load_weights(model, path)
    assert loaded.format == "Keras file, I3D of dlpbc/keras-kinetics-i3d" and not loaded.ignored
    weight_tools.assert_has(
        model, {name: whole_values[name] for name in weight_tools.by_name(model)}
    )
    if not top:
        with pytest.raises(UsageError, match=r"lacks \(2\): Logits/.*\[400\].*include_top=False"):
            load_weights(whole_i3d, path)


def test_weights_of_ours(weight_tools, tmp_path, rng):
    """`.weights.h5`, `.h5`, a checkpoint and the working directory of a run."""
    source = build_backbone("small", width=12)
    values = weight_tools.random_values(rng, source)
    for variable in source.weights:
        variable.assign(values[variable.name.partition(":")[0]])
    source.save_weights(tmp_path / "small.weights.h5")
    source.save_weights(tmp_path / "small.h5")
    head = keras.layers.Dense(3)
    head.build((None, 12))
    run = tmp_path / "run"
    checkpoint = tf.train.Checkpoint(backbone=source, head=head, epoch=tf.Variable(3))
    recipe = recipes.load_recipe("jhmdb")
    best = run / "checkpoints" / recipe.stages[-1].name / "best"
    tf.train.CheckpointManager(checkpoint, str(best), max_to_keep=1).save(7)
    (run / "config.json").write_text(json.dumps({"recipe": recipes.to_dict(recipe)}))
    (tmp_path / "renamed.h5").write_bytes((tmp_path / "small.weights.h5").read_bytes())
    paths = ("small.weights.h5", "renamed.h5", "small.h5", "run", best.parent, best)
    for path in (*paths, best / "ckpt-7"):
        model = build_backbone("small", width=12)
        loaded = load_weights(model, tmp_path / path)
        weight_tools.assert_has(model, values)
        assert loaded.loaded == len(values)
    reasons = {name.partition("/")[0]: reason for name, reason in loaded.ignored.items()}
    assert reasons["head"] == "of the head" and reasons["epoch"] == "not of the backbone"
    assert not any(name.startswith("backbone/") for name in loaded.ignored)

    wider = build_backbone("small", width=24)
    before = wider.get_weights()
    for path in ("small.weights.h5", "small.h5", "run"):
        with pytest.raises(UsageError, match=r"other shapes \(\d+\): .* \[.*\] for .*\["):
            load_weights(wider, tmp_path / path)
    with pytest.raises(UsageError, match=r"the file lacks \(\d+\): .* and \d+ more"):
        load_weights(i3d("Mixed_3b"), tmp_path / "small.weights.h5")
    assert all((a == b).all() for a, b in zip(wider.get_weights(), before))


def test_a_shorter_model_takes_its_part_of_a_file_of_ours(weight_tools, tmp_path):
    source, part = i3d("Mixed_3c"), i3d("Conv3d_2c_3x3")
    source.save_weights(tmp_path / "i3d.weights.h5")
    source.save_weights(tmp_path / "i3d.h5")
    values = weight_tools.by_name(source)
    for path in ("i3d.weights.h5", "i3d.h5"):
        part.set_weights([w + 1 for w in part.get_weights()])
        loaded = load_weights(part, tmp_path / path)
        weight_tools.assert_has(part, {name: values[name] for name in weight_tools.by_name(part)})
        assert len(loaded.ignored) + loaded.loaded == len(values)


def test_what_does_not_fit_is_one_error_and_nothing_changes(weight_tools, tmp_path, part_i3d):
    before = part_i3d.get_weights()
    values = official(weight_tools, weight_tools.by_name(part_i3d))
    prefix = "RGB/inception_i3d/"
    broken = dict(values)
    del broken[f"{prefix}Conv3d_2b_1x1/batch_norm/beta"]
    del broken[f"{prefix}Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w"]
    broken[f"{prefix}Conv3d_2c_3x3/conv_3d/w"] = np.zeros((3, 3, 3, 64, 191), "f4")
    broken[f"{prefix}Conv3d_2b_1x1/batch_norm/gamma2"] = np.zeros(64, "f4")
    broken[f"{prefix}Mixed_3b/Branch_7/conv_3d/w"] = np.zeros(3, "f4")
    with pytest.raises(UsageError) as error:
        load_weights(part_i3d, weight_tools.write_checkpoint(tmp_path / "model.ckpt", broken))
    message = str(error.value)
    for piece in (
        "model.ckpt (TensorFlow checkpoint, I3D of DeepMind)",
        "the file lacks (2): Conv3d_2b_1x1/batch_norm/beta [64], "
        "Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/kernel [1, 1, 1, 192, 64]",
        f"other shapes (1): {prefix}Conv3d_2c_3x3/conv_3d/w [3, 3, 3, 64, 191] for "
        "Conv3d_2c_3x3/conv_3d/kernel [3, 3, 3, 64, 192]",
        "nothing in the model takes (2)",
        "gamma2 [64]",
        "Branch_7/conv_3d/w [3]",
    ):
        assert piece in message
    assert all((a == b).all() for a, b in zip(part_i3d.get_weights(), before))


def test_hints(weight_tools, tmp_path, whole_values, whole_i3d):
    path = weight_tools.write_checkpoint(tmp_path / "rgb", official(weight_tools, whole_values))
    with pytest.raises(UsageError, match=r"other shapes \(2\).*has 400 classes.*include_top=False"):
        load_weights(i3d(include_top=True, classes=51), path)
    with pytest.raises(UsageError, match=r"takes 3 channels \(3: RGB, 2: flow\), the model 2"):
        load_weights(i3d("Conv3d_2c_3x3", channels=2), path)
    with pytest.raises(UsageError, match=r"weights of one of: this project; received .*I3D"):
        load_weights(build_backbone("small", width=12), path)
    top = "RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b"
    scalar = {**official(weight_tools, whole_values), top: np.zeros((), "f4")}
    with pytest.raises(UsageError, match=r"other shapes \(1\): .*conv_3d/b \[\] for"):
        load_weights(whole_i3d, weight_tools.write_checkpoint(tmp_path / "scalar", scalar))
    other = weight_tools.write_checkpoint(tmp_path / "other", {"a/w": np.zeros(3, "f4")})
    with pytest.raises(UsageError, match=r"one of: I3D of DeepMind; .*; received .* with a/w"):
        load_weights(whole_i3d, other)
    streams = build_two_streams()
    with pytest.raises(UsageError, match=r"one variable Conv3d_1a_7x7.* stream by itself"):
        load_weights(streams, path)


def build_two_streams():
    """Two models of the same names in one."""
    pixels, ends = [], []
    for stream in ("rgb", "flow"):
        network = i3d("Conv3d_1a_7x7")
        network = keras.Model(network.input, network.output, name=stream)
        pixels.append(keras.Input((None, None, None, 3)))
        ends.append(network(pixels[-1]))
    return keras.Model(pixels, ends)
