"""Published weights: every variable gets its value, or nothing changes and one error says why."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import recipes
from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.i3d import i3d
from aacf_tf.backbones.weight_names import NAMINGS
from aacf_tf.backbones.weights import load_weights
from tfrecords.errors import UsageError


def by_name(model):
    return {variable.name.partition(":")[0]: variable.numpy() for variable in model.weights}


def random_values(rng, model):
    """Random values for a model's variables, by name; such that activations stay near 1."""
    values = {}
    for name, old in by_name(model).items():
        value = rng.standard_normal(old.shape, "float32")
        if name.endswith("kernel"):
            value *= np.sqrt(2 / np.prod(old.shape[:-1]))
        elif name.endswith(("gamma", "variance")):
            value = 0.5 + np.abs(value)
        else:
            value *= 0.2
        values[name] = value
    return values


def assert_has(model, expected, rtol=0.0):
    """The model's variables are those values."""
    values = by_name(model)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, err_msg=name)


def write_checkpoint(prefix, values):
    """A TensorFlow checkpoint of these names, as graphs have written it."""
    names = sorted(values)
    tensors = [tf.constant(values[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    return prefix


def write_h5(path, layers, whole_model=False):
    """A Keras file: layer -> name of a weight -> value."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, value in weights.items():
                group[name] = value
    return path


def official(values, prefix="", batch_norm_shape=(-1,)):
    """Names and shapes of DeepMind's checkpoints."""
    ends = {"kernel": "w", "bias": "b"}
    result = {}
    for name, value in values.items():
        scope, _, end = name.rpartition("/")
        value = value.reshape(batch_norm_shape) if "batch_norm" in name else value
        result[f"{prefix}{scope}/{ends.get(end, end)}"] = value
    return result


def torch_value(value):
    return np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1))) if value.ndim > 1 else value


TORCH_ENDS = {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
TORCH_ENDS.update(moving_mean="running_mean", moving_variance="running_var")


def piergiaj(name):
    """`Mixed_3b/Branch_1/Conv3d_0b_3x3/batch_norm/beta` -> `Mixed_3b.b1b.bn.bias`."""
    scope, part, end = name.rsplit("/", 2)
    scope = re.sub(r"/Branch_0/.*", ".b0", scope)
    scope = re.sub(r"Mixed_5b/Branch_2/Conv3d_0a_3x3", "Mixed_5b.b2b", scope)
    scope = re.sub(r"/Branch_(\d)/Conv3d_0([ab])_.*", r".b\1\2", scope)
    scope = "logits" if scope.startswith("Logits") else scope
    part = {"conv_3d": "conv3d", "batch_norm": "bn"}[part]
    return f"{scope}.{part}.{TORCH_ENDS[end]}"


def hassony2(name):
    """The same -> `mixed_3b.branch_1.1.batch3d.bias`."""
    scope, part, end = name.rsplit("/", 2)
    scope = re.sub(r"/Branch_0/.*", "/Branch_0", scope)
    scope = re.sub(r"(Mixed_5b/Branch_2)/Conv3d_0a_3x3", r"\1.1", scope)
    for letter, number in ("a", 0), ("b", 1):
        scope = re.sub(rf"(Branch_\d)/Conv3d_0{letter}_.*", rf"\1.{number}", scope)
    scope = scope.replace("Logits/", "").replace("/", ".").lower()
    part = {"conv_3d": "conv3d", "batch_norm": "batch3d"}[part]
    return f"{scope}.{part}.{TORCH_ENDS[end]}"


def keras_port(name):
    """The same -> layer `Conv3d_3b_1b_3x3_bn`, weight `Conv3d_3b_1b_3x3_bn/beta:0`."""
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
def whole_values(whole_i3d):
    return random_values(np.random.default_rng(0), whole_i3d)


@pytest.fixture
def part_i3d():
    return i3d("Mixed_3b")


def test_names_of_the_ports():
    """Literal names, as the repositories have them."""
    branch = "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d"
    names = {theirs: ours for naming in NAMINGS for theirs, ours in naming.layers.items()}
    assert names["mixed_5b.branch_2.1.conv3d"] == names["Mixed_5b.b2b.conv3d"] == branch
    assert names["Conv3d_5b_2b_3x3_conv"] == names["inception5a.branch3.1.conv"] == branch
    assert names["Mixed_5b/Branch_2/Conv2d_0a_3x3"] == branch
    assert names["Conv3d_4f_3b_1x1_bn"] == "Mixed_4f/Branch_3/Conv3d_0b_1x1/batch_norm"
    dense = "features.denseblock4.denselayer24"
    assert names[f"{dense}.norm.2"] == names["conv5_24_x2_bn"] == f"{dense}.norm2"
    assert names["conv5_block24_1_bn"] == f"{dense}.norm2"
    assert names["conv5_block24_0_bn"] == f"{dense}.norm1"
    assert names["pool4_bn"] == names["conv4_blk_bn"] == "features.transition3.norm"
    assert names["bn"] == names["conv5_blk_bn"] == "features.norm5"


@pytest.mark.parametrize("backbone", ["i3d", "resnet3d34", "densenet161"])
def test_namings_lead_to_every_layer_of_the_network(backbone, request):
    if backbone == "i3d":
        model = request.getfixturevalue("whole_i3d")
    else:
        model = build_backbone(backbone, include_top=True)
    names = {variable.name.partition(":")[0] for variable in model.weights}
    layers = {name.rpartition("/")[0] for name in names}
    namings = [naming for naming in NAMINGS if set(naming.layers.values()) & layers]
    assert len(namings) == {"i3d": 6, "resnet3d34": 1, "densenet161": 4}[backbone]
    norms = {layer for layer in layers if f"{layer}/moving_mean" in names}
    for naming in namings:
        assert set(naming.layers.values()) == layers, naming.title
        assert set(naming.scales.values()) in (set(), norms), naming.title


@pytest.mark.parametrize(
    ("listing", "classes", "channels"),
    [("rgb_imagenet", 400, 3), ("flow_imagenet", 400, 2), ("rgb_scratch_kin600", 600, 3)],
)
def test_official_checkpoints(shared_data, tmp_path, rng, listing, classes, channels):
    """Also those trained from scratch, whose names are those of `imagenet`."""
    text = (shared_data / f"i3d/i3d_{listing}_variables.json").read_text()
    shapes = {name: v["shape"] for name, v in json.loads(text)["variables"].items()}
    values = {name: rng.standard_normal(shape, "float32") for name, shape in shapes.items()}
    model = i3d(include_top=True, classes=classes, channels=channels)
    loaded = load_weights(model, write_checkpoint(tmp_path / "model.ckpt", values))
    assert loaded.format == "TensorFlow checkpoint, I3D of DeepMind"
    assert loaded.loaded == len(model.weights) == 230
    slots = {name: "of an optimizer" for name in values if name.endswith("/Momentum")}
    assert loaded.ignored == slots and len(slots) == (116 if classes == 600 else 0)
    prefix = {3: "RGB/inception_i3d/", 2: "Flow/inception_i3d/"}[channels]
    prefix = "" if classes == 600 else prefix
    for name, value in by_name(model).items():
        scope, _, end = name.rpartition("/")
        theirs = values[f"{prefix}{scope}/{ {'kernel': 'w', 'bias': 'b'}.get(end, end) }"]
        np.testing.assert_array_equal(value, theirs.reshape(value.shape), err_msg=name)


def test_paths_that_lead_to_a_checkpoint(tmp_path, whole_values, part_i3d):
    folder = tmp_path / "rgb_imagenet"
    folder.mkdir()
    prefix = write_checkpoint(folder / "model.ckpt", official(whole_values, "RGB/inception_i3d/"))
    expected = {name: whole_values[name] for name in by_name(part_i3d)}
    data = folder / "model.ckpt.data-00000-of-00001"
    for path in (prefix, str(prefix), folder, f"{prefix}.index", data):
        part_i3d.set_weights([np.zeros_like(w) for w in part_i3d.get_weights()])
        loaded = load_weights(part_i3d, path)
        assert_has(part_i3d, expected)
    reasons = set(loaded.ignored.values())
    assert reasons == {"the top", "beyond the model's last layer"}
    assert loaded.loaded + len(loaded.ignored) == len(whole_values)
    assert "2 left out: the top" in str(loaded)


@pytest.mark.parametrize("names", [piergiaj, hassony2])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_i3d_from_pytorch(torch_files, tmp_path, whole_i3d, whole_values, names, container):
    state = {}
    for name, value in whole_values.items():
        state[names(name)] = torch_value(value)
        if name.endswith("moving_mean"):
            ones = names(name).replace("running_mean", "weight")
            state[ones] = np.ones_like(value)
            state[ones.replace("weight", "num_batches_tracked")] = np.array(0, "int64")
    path = torch_files.save(tmp_path / "rgb.pt", state, container)
    loaded = load_weights(whole_i3d, path)
    assert_has(whole_i3d, whole_values)
    assert names.__name__ in loaded.format
    assert set(loaded.ignored.values()) == {"a scale of 1", "counts batches"}
    assert len(loaded.ignored) == len(state) - len(whole_values)


def test_a_scale_is_absorbed_exactly(torch_files, tmp_path, rng):
    model = i3d("Conv3d_1a_7x7")
    values = random_values(rng, model)
    gamma = rng.normal(size=64).astype("float32")
    state = {piergiaj(name): torch_value(value) for name, value in values.items()}
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


@pytest.mark.parametrize("top", [True, False])
def test_i3d_from_the_keras_port(tmp_path, whole_i3d, whole_values, top):
    layers = {}
    for name, value in whole_values.items():
        layer, weight = keras_port(name)
        if top or "6a" not in layer:
            layers.setdefault(layer, {})[weight] = value
    layers["MaxPool2d_2a_3x3"] = {}
    path = write_h5(tmp_path / "file", layers, whole_model=top)
    model = whole_i3d if top else i3d()
    loaded = load_weights(model, path)
    assert loaded.format == "Keras file, I3D of dlpbc/keras-kinetics-i3d" and not loaded.ignored
    assert_has(model, {name: whole_values[name] for name in by_name(model)})
    if not top:
        with pytest.raises(UsageError, match=r"lacks \(2\): Logits/.*\[400\].*include_top=False"):
            load_weights(whole_i3d, path)


def resnet_state(values):
    """Hara's names are those of our layers."""
    state = {}
    for name, value in values.items():
        layer, _, end = name.rpartition("/")
        state[f"{layer}.{TORCH_ENDS[end]}"] = torch_value(value)
    return state


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnet3d34(torch_files, tmp_path, rng, shortcut):
    model = build_backbone("resnet3d34", end_point="layer2", shortcut=shortcut)
    values = random_values(rng, model)
    state = resnet_state(values)
    assert ("layer2.0.downsample.1.running_var" in state) == (shortcut == "B")
    state["layer4.2.conv2.weight"] = np.zeros((512, 512, 3, 3, 3), "float32")
    state["fc.weight"], state["fc.bias"] = np.zeros((400, 512), "f4"), np.zeros(400, "f4")
    content = {"arch": "resnet-34", "state_dict": {f"module.{n}": v for n, v in state.items()}}
    path = torch_files.save(tmp_path / "resnet-34-kinetics.pth", content, "legacy")
    loaded = load_weights(model, path)
    assert_has(model, values)
    assert loaded.ignored == {
        "layer4.2.conv2.weight": "beyond the model's last layer",
        "fc.weight": "the top",
        "fc.bias": "the top",
    }
    other = "B" if shortcut == "A" else "A"
    another = build_backbone("resnet3d34", end_point="layer2", shortcut=other)
    message = rf"arch 'resnet-34'.*layer2\.0\.downsample.*shortcut type {shortcut}.*='{shortcut}'"
    with pytest.raises(UsageError, match=message):
        load_weights(another, path)


def test_resnet3d34_with_its_top(torch_files, tmp_path, rng):
    """A dense layer is transposed."""
    model = keras.Sequential([keras.Input((512,)), keras.layers.Dense(5, name="fc")])
    values = random_values(rng, model)
    load_weights(model, torch_files.save(tmp_path / "fc.pth", resnet_state(values)))
    assert_has(model, values)


@pytest.fixture(scope="module")
def part_densenet():
    return build_backbone("densenet161", end_point="features.transition1")


@pytest.mark.parametrize("dot", ["", "."])
def test_densenet161_from_torchvision(torch_files, tmp_path, rng, part_densenet, dot):
    values = random_values(rng, part_densenet)
    state = {
        re.sub(r"(denselayer\d\.\w{4})(\d)", rf"\1{dot}\2", name): value
        for name, value in resnet_state(values).items()
    }
    assert f"features.denseblock1.denselayer6.conv{dot}2.weight" in state
    state["classifier.bias"] = np.zeros(1000, "f4")
    loaded = load_weights(part_densenet, torch_files.save(tmp_path / "d.pth", state, "legacy"))
    assert_has(part_densenet, values)
    assert loaded.ignored == {"classifier.bias": "the top"}


def densenet_h5(values, layer_name):
    layers = {}
    for name, value in values.items():
        layer, _, end = name.rpartition("/")
        layers.setdefault(layer_name(layer), {})[f"{layer_name(layer)}/{end}:0"] = value
    return layers


@pytest.mark.parametrize("slash", ["/", "_"])
def test_densenet161_from_keras_applications(tmp_path, rng, part_densenet, slash):
    parts = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}

    def layer_name(ours):
        stem = re.fullmatch(r"features\.(conv|norm)0", ours)
        if stem:
            return f"conv1{slash}{ {'conv': 'conv', 'norm': 'bn'}[stem[1]] }"
        dense = re.fullmatch(r"features\.denseblock(\d)\.denselayer(\d+)\.(\w+)", ours)
        if dense:
            return f"conv{int(dense[1]) + 1}_block{dense[2]}_{parts[dense[3]]}"
        return "pool2_bn" if ours.endswith("norm") else "pool2_conv"

    values = random_values(rng, part_densenet)
    path = write_h5(tmp_path / "weights.h5", densenet_h5(values, layer_name))
    loaded = load_weights(part_densenet, path)
    assert "keras.applications" in loaded.format
    for name in values:  # epsilon is 1.001e-5 there, 1e-5 here
        if name.endswith("variance"):
            values[name] = values[name] + 1e-8
    assert_has(part_densenet, values, rtol=1e-6)


def test_densenet161_with_scale_layers(tmp_path, rng):
    """Epsilon 1.1e-5, a layer that scales behind the batch norm, BGR pixels scaled by 0.017."""
    model = build_backbone("densenet161", end_point="features.pool0")
    kernel = (rng.standard_normal((7, 7, 3, 96)) * 0.1).astype("float32")
    gamma, beta, mean, scale, shift = rng.standard_normal((5, 96), "float32")
    variance = rng.uniform(1e-5, 2e-5, 96).astype("float32")  # so small that epsilon counts
    layers = {
        "conv1": {"conv1_W:0": kernel},
        "conv1_bn": {
            "conv1_bn_gamma:0": gamma,
            "conv1_bn_beta:0": beta,
            "conv1_bn_running_mean:0": mean,
            "conv1_bn_running_std:0": variance,
        },
        "conv1_scale": {"conv1_scale_gamma:0": scale, "conv1_scale_beta:0": shift},
        "fc6": {"fc6_W:0": np.zeros((2208, 1000), "f4"), "fc6_b:0": np.zeros(1000, "f4")},
    }
    loaded = load_weights(model, write_h5(tmp_path / "densenet161_weights_tf.h5", layers))
    assert loaded.loaded == 5 and set(loaded.ignored) == {"fc6_W:0", "fc6_b:0"}
    pixels = rng.integers(0, 256, (1, 1, 33, 33, 3), np.uint8)
    x = (pixels[0, ..., ::-1].astype("float32") - (103.94, 116.78, 123.68)) * 0.017
    x = tf.nn.conv2d(x.astype("float32"), kernel, 2, [[0, 0], [3, 3], [3, 3], [0, 0]])
    x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1.1e-5) * scale + shift
    x = tf.nn.max_pool2d(tf.nn.relu(x), 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    expected, received = x[0].numpy(), model(pixels)[0, 0].numpy()
    inner = slice(2, -2)  # at the edge, zeros of the padding are another colour
    limit = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(received[inner, inner], expected[inner, inner], atol=limit)


def plain_inception(values, images):
    """2-D Inception-v1 by tf.nn alone: images in [-1, 1] to the Mixed_5c map."""

    def unit(x, scope, stride=1):
        x = tf.nn.conv2d(x, values[f"{scope}/weights"], stride, "SAME")
        norm = (
            values[f"{scope}/BatchNorm/{end}"] for end in ("moving_mean", "moving_variance", "beta")
        )
        return tf.nn.relu(tf.nn.batch_normalization(x, *norm, None, 1e-3))

    def mixed(x, scope):
        second = "0a" if scope.endswith("5b") else "0b"
        branches = [
            unit(x, f"{scope}/Branch_0/Conv2d_0a_1x1"),
            unit(unit(x, f"{scope}/Branch_1/Conv2d_0a_1x1"), f"{scope}/Branch_1/Conv2d_0b_3x3"),
            unit(
                unit(x, f"{scope}/Branch_2/Conv2d_0a_1x1"),
                f"{scope}/Branch_2/Conv2d_{second}_3x3",
            ),
            unit(tf.nn.max_pool2d(x, 3, 1, "SAME"), f"{scope}/Branch_3/Conv2d_0b_1x1"),
        ]
        return tf.concat(branches, -1)

    x = unit(images, "InceptionV1/Conv2d_1a_7x7", 2)
    x = unit(tf.nn.max_pool2d(x, 3, 2, "SAME"), "InceptionV1/Conv2d_2b_1x1")
    x = tf.nn.max_pool2d(unit(x, "InceptionV1/Conv2d_2c_3x3"), 3, 2, "SAME")
    for modules, size in (("3b 3c", 3), ("4b 4c 4d 4e 4f", 2), ("5b 5c", None)):
        for module in modules.split():
            x = mixed(x, f"InceptionV1/Mixed_{module}")
        x = tf.nn.max_pool2d(x, size, 2, "SAME") if size else x
    return x


@pytest.fixture(scope="module")
def slim_values(whole_values):
    """Names and shapes of TF-slim's 2-D network, 1001 classes."""
    rng, values = np.random.default_rng(1), {}
    for name, value in whole_values.items():
        scope, part, end = name.rsplit("/", 2)
        scope = "InceptionV1/" + scope.replace("Conv3d", "Conv2d")
        if end == "kernel":
            value = value[0] * np.sqrt(value.shape[0])
        if part == "batch_norm":
            end = f"BatchNorm/{end}"
        values[f"{scope}/{ {'kernel': 'weights', 'bias': 'biases'}.get(end, end) }"] = value
    top = "InceptionV1/Logits/Conv2d_0c_1x1"
    values[f"{top}/weights"] = rng.standard_normal((1, 1, 1024, 1001), "float32")
    values[f"{top}/biases"] = rng.standard_normal(1001, "float32")
    return {**values, "global_step": np.array(5, "int64")}


def test_inflation_keeps_the_activations_of_a_still_image(tmp_path, rng, slim_values):
    """Of the whole network, in the one cell of 13 in time that sees no zeros of the padding.

    A cell of Mixed_5c sees 99 frames; the cell 6 of 104 frames sees the frames 4 to 102.
    """
    model = i3d()
    path = tmp_path / "inception_v1.ckpt"  # one file: the first version of the format
    names = list(slim_values)
    data = [tf.constant(slim_values[name]) for name in names]
    tf.raw_ops.Save(filename=str(path), tensor_names=names, data=data)
    assert path.is_file()
    loaded = load_weights(model, path)
    assert "inflated" in loaded.format
    assert set(loaded.ignored.values()) == {"the top", "counts steps"}
    image = rng.integers(0, 256, (1, 1, 33, 33, 3), np.uint8)
    features = model(np.repeat(image, 104, axis=1))
    expected = plain_inception(slim_values, tf.cast(image[0], tf.float32) / 127.5 - 1)
    assert features.shape == (1, 13, 2, 2, 1024)
    scale = np.abs(expected).max()
    assert np.abs(features[0, 6] - expected[0]).max() < 1e-4 * scale
    assert np.abs(features[0, 0] - expected[0]).max() > 1e-2 * scale  # where the padding is seen


def test_inflation_for_flow_and_with_a_top(tmp_path, slim_values):
    path = write_checkpoint(tmp_path / "inception", slim_values)
    model = i3d("Conv3d_2c_3x3", channels=2)
    load_weights(model, path)
    values, first = by_name(model), slim_values["InceptionV1/Conv2d_1a_7x7/weights"]
    for t in (0, 6):
        for channel in (0, 1):
            kernel = values["Conv3d_1a_7x7/conv_3d/kernel"][t, :, :, channel]
            np.testing.assert_allclose(kernel, first.mean(2) / 7, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        values["Conv3d_2c_3x3/conv_3d/kernel"][1],
        slim_values["InceptionV1/Conv2d_2c_3x3/weights"] / 3,
        rtol=1e-6,
    )
    top = i3d(include_top=True, classes=1001)
    load_weights(top, path)
    np.testing.assert_array_equal(
        by_name(top)["Logits/Conv3d_0c_1x1/conv_3d/kernel"][0],
        slim_values["InceptionV1/Logits/Conv2d_0c_1x1/weights"],
    )
    other = i3d(include_top=True, classes=7)
    own = by_name(other)["Logits/Conv3d_0c_1x1/conv_3d/kernel"]
    loaded = load_weights(other, path)
    assert "the top, of other classes than the model's" in loaded.ignored.values()
    np.testing.assert_array_equal(by_name(other)["Logits/Conv3d_0c_1x1/conv_3d/kernel"], own)


def test_inflation_of_googlenet(torch_files, tmp_path, rng, part_i3d):
    branches = {"0a": "branch1", "1a": "branch2.0", "1b": "branch2.1"}
    branches.update({"2a": "branch3.0", "2b": "branch3.1", "3b": "branch4.1"})
    stems = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}
    state, expected = {}, random_values(rng, part_i3d)
    for name, value in expected.items():
        scope, _, end = name.rsplit("/", 2)
        branch = re.fullmatch(r"Mixed_3b/Branch_(\d)/Conv3d_0([ab])_.*", scope)
        theirs = f"inception3a.{branches[branch[1] + branch[2]]}" if branch else stems[scope]
        if end == "kernel":
            value = expected[name] = np.repeat(value[:1], len(value), 0) / len(value)
            state[f"{theirs}.conv.weight"] = torch_value(value[0] * len(value) / 2)
        else:
            state[f"{theirs}.bn.{TORCH_ENDS[end]}"] = value / (2 if end == "moving_mean" else 1)
            state[f"{theirs}.bn.weight"] = np.full(value.shape, 2, "f4")
    for name in ("aux1.conv.bn.weight", "aux2.fc2.bias", "fc.bias", "inception5b.branch1.bn.bias"):
        state[name] = np.zeros(8, "f4")
    loaded = load_weights(part_i3d, torch_files.save(tmp_path / "googlenet.pth", state))
    assert_has(part_i3d, expected, rtol=1e-6)
    assert loaded.ignored["aux2.fc2.bias"] == "an auxiliary classifier"
    assert len(loaded.ignored) == 4


def test_weights_of_ours(tmp_path, rng):
    """`.weights.h5`, `.h5`, a checkpoint and the working directory of a run."""
    source = build_backbone("small", width=12)
    values = random_values(rng, source)
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
    for path in ("small.weights.h5", "small.h5", "run", best.parent, best, best / "ckpt-7"):
        model = build_backbone("small", width=12)
        loaded = load_weights(model, tmp_path / path)
        assert_has(model, values)
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


def test_a_shorter_model_takes_its_part_of_a_file_of_ours(tmp_path):
    source, part = i3d("Mixed_3c"), i3d("Conv3d_2c_3x3")
    source.save_weights(tmp_path / "i3d.weights.h5")
    source.save_weights(tmp_path / "i3d.h5")
    values = by_name(source)
    for path in ("i3d.weights.h5", "i3d.h5"):
        part.set_weights([w + 1 for w in part.get_weights()])
        loaded = load_weights(part, tmp_path / path)
        assert_has(part, {name: values[name] for name in by_name(part)})
        assert len(loaded.ignored) + loaded.loaded == len(values)


def part_values(whole_values, model):
    return official({n: whole_values[n] for n in by_name(model)}, "RGB/inception_i3d/")


def test_what_does_not_fit_is_one_error_and_nothing_changes(tmp_path, whole_values, part_i3d):
    before = part_i3d.get_weights()
    values = part_values(whole_values, part_i3d)
    prefix = "RGB/inception_i3d/"
    broken = dict(values)
    del broken[f"{prefix}Conv3d_2b_1x1/batch_norm/beta"]
    del broken[f"{prefix}Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w"]
    broken[f"{prefix}Conv3d_2c_3x3/conv_3d/w"] = np.zeros((3, 3, 3, 64, 191), "f4")
    broken[f"{prefix}Conv3d_2b_1x1/batch_norm/gamma2"] = np.zeros(64, "f4")
    broken[f"{prefix}Mixed_3b/Branch_7/conv_3d/w"] = np.zeros(3, "f4")
    with pytest.raises(UsageError) as error:
        load_weights(part_i3d, write_checkpoint(tmp_path / "model.ckpt", broken))
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


def test_hints(tmp_path, whole_values, whole_i3d):
    path = write_checkpoint(tmp_path / "rgb", official(whole_values, "RGB/inception_i3d/"))
    with pytest.raises(UsageError, match=r"other shapes \(2\).*has 400 classes.*include_top=False"):
        load_weights(i3d(include_top=True, classes=51), path)
    with pytest.raises(UsageError, match=r"takes 3 channels \(3: RGB, 2: flow\), the model 2"):
        load_weights(i3d("Conv3d_2c_3x3", channels=2), path)
    with pytest.raises(UsageError, match=r"weights of one of: this project; received .*I3D"):
        load_weights(build_backbone("small", width=12), path)
    other = write_checkpoint(tmp_path / "other", {"a/w": np.zeros(3, "f4")})
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


def test_damaged_files(tmp_path, whole_values, part_i3d):
    before = part_i3d.get_weights()
    values = part_values(whole_values, part_i3d)
    for end in ("index", "data-00000-of-00001"):
        prefix = write_checkpoint(tmp_path / f"cut_{end[:5]}", values)
        file = tmp_path / f"{prefix.name}.{end}"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(UsageError, match=rf"{prefix.name}: expected a whole weight file"):
            load_weights(part_i3d, prefix)
    layers = {"Conv3d_1a_7x7_conv": {"Conv3d_1a_7x7_conv/kernel:0": np.zeros((7, 7, 7, 3, 64))}}
    whole = write_h5(tmp_path / "whole.h5", layers).read_bytes()
    part_i3d.save_weights(tmp_path / "own.weights.h5")
    own = (tmp_path / "own.weights.h5").read_bytes()
    for name, data in (("cut.h5", whole), ("cut.weights.h5", own)):
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(UsageError, match=rf"{name}: expected a whole weight file"):
            load_weights(part_i3d, tmp_path / name)
    (tmp_path / "page.h5").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UsageError, match=r"page\.h5, which begins b'<!DOCTYPE html>'"):
        load_weights(part_i3d, tmp_path / "page.h5")
    with pytest.raises(UsageError, match="absent, which does not exist"):
        load_weights(part_i3d, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"Expected one checkpoint in .*empty, received 0"):
        load_weights(part_i3d, tmp_path / "empty")
    assert all((a == b).all() for a, b in zip(part_i3d.get_weights(), before))
