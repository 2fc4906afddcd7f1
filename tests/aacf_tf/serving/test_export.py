"""The SavedModel: the Keras model's numbers, core operations, no code of ours."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from aacf_tf import build_model
from aacf_tf.models import losses
from aacf_tf.serving import export, signatures
from tfrecords import ClipPair
from tfrecords.reading.preprocess import preprocess
from tfrecords.records import codec
from tfrecords.utils import lock
from tfrecords.utils.errors import UsageError


def test_serve_tensor_gives_the_keras_model_s_numbers(exported, signatures, frames):
    clips = frames()
    served = signatures["serve_tensor"](frames=clips)
    direct = exported[0](preprocess(clips, (48, 48)), training=False)
    for score in ("action", "context", "combined"):
        wanted = tf.nn.softmax(direct[f"{score}_scores"])
        np.testing.assert_allclose(served[f"{score}_probabilities"], wanted, atol=1e-5)
    for name in ("action_attention", "context_attention", "action_logits"):
        np.testing.assert_allclose(served[name], direct[name], atol=1e-5)
    np.testing.assert_array_equal(served["probabilities"], served["action_probabilities"])
    evidence = losses.presence_score(direct["action_logits"])
    np.testing.assert_allclose(served["action_evidence"], evidence, atol=1e-5)
    assert set(served) == {
        "probabilities",
        *(f"{score}_probabilities" for score in ("action", "context", "combined")),
        *("action_attention", "context_attention", "action_logits", "action_evidence"),
    }


def test_encoded_frames_and_records_give_the_same(signatures, frames):
    clips = frames()
    wanted = signatures["serve_tensor"](frames=clips)
    png = [[tf.io.encode_png(frame).numpy() for frame in clip] for clip in clips]
    records = [
        codec.encode(ClipPair(str(n), clip, None, ()), {}, image_format="PNG")
        for n, clip in enumerate(clips)
    ]
    for served in (
        signatures["serving_default"](frames=tf.constant(png)),
        signatures["serve_examples"](examples=tf.constant(records)),
    ):
        for name, value in wanted.items():
            np.testing.assert_allclose(served[name], value, atol=1e-5)


def test_records_are_sampled_at_their_centre(signatures, frames):
    long = frames(count=20, batch=1)
    record = codec.encode(ClipPair("x", long[0], None, ()), {}, image_format="PNG")
    served = signatures["serve_examples"](examples=tf.constant([record]))
    wanted = signatures["serve_tensor"](frames=long[:, 6:14])
    np.testing.assert_allclose(served["probabilities"], wanted["probabilities"], atol=1e-5)


def test_frames_of_different_sizes_share_a_batch(signatures, frames):
    clips = [frames(height=height, batch=1)[0] for height in (40, 48)]
    encoded = [[tf.io.encode_png(frame).numpy() for frame in clip] for clip in clips]
    together = signatures["serving_default"](frames=tf.constant(encoded))
    alone = signatures["serve_tensor"](frames=clips[1][None])
    np.testing.assert_allclose(together["probabilities"][1:], alone["probabilities"], atol=1e-5)


PIXELS = (24, 24, 3)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("serving_default", [2, 12]),  # would be three clips of eight
        ("serving_default", [1, 16]),
        ("serving_default", [8]),
        ("serving_default", [1, 8, 1]),
        ("serving_default", []),
        ("serving_default", [0, 8]),
        ("serving_default", [1, 0]),
        ("serve_tensor", [2, 12, *PIXELS]),
        ("serve_tensor", [0, 8, *PIXELS]),  # oneDNN would answer with the shape of the input
        ("serve_tensor", [1, 8, 0, 24, 3]),
        ("serve_tensor", [1, 8, 24, 24, 4]),
        ("serve_tensor", [8, *PIXELS]),
        ("features", [2, 4, *PIXELS]),
        ("features", [0, 8, *PIXELS]),
        ("serve_examples", [0]),
        ("serve_examples", [2, 1]),
    ],
)
def test_other_shapes_than_promised_are_refused(signatures, name, shape):
    pixels = "default" not in name and "examples" not in name
    kind = "examples" if name == "serve_examples" else "frames"
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        signatures[name](**{kind: tf.zeros(shape, tf.uint8 if pixels else tf.string)})
    shown = " ".join(str(side) for side in shape)
    assert f"Expected {kind} of shape [batch" in str(caught.value)
    assert f"none of them 0, received the shape] [{shown}]" in str(caught.value)


def test_a_large_picture_is_served_alone(signatures):
    large = tf.io.encode_jpeg(np.full([2100, 2100, 3], 90, np.uint8)).numpy()
    small = tf.io.encode_jpeg(np.full([48, 48, 3], 90, np.uint8)).numpy()
    served = [
        signatures["serving_default"](frames=tf.constant([[picture] * 8]))["probabilities"]
        for picture in (large, small)
    ]
    np.testing.assert_allclose(*served, atol=1e-3)
    claims = large[: large.index(b"\xff\xc0") + 5] + b"\xff\xdc" * 2  # 65,500 x 65,500
    claims += large[len(claims) :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected pictures of 1 to 67108864"):
        signatures["serving_default"](frames=tf.constant([[small] * 7 + [claims]]))


@pytest.mark.parametrize("frames, fps", [(0, 25.0), (9, 0.0), (9, np.nan), (9, np.inf)])
def test_records_without_frames_or_a_rate_are_refused(signatures, frames, fps):
    clip = np.zeros([9, 24, 24, 3], np.uint8)
    example = tf.train.SequenceExample.FromString(codec.encode(ClipPair("x", clip, None, ()), {}))
    del example.feature_lists.feature_list["image/encoded"].feature[frames:]
    example.context.feature["image/frame_rate"].float_list.value[:] = [fps]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected records of one frame or"):
        signatures["serve_examples"](examples=tf.constant([example.SerializeToString()]))


def test_features_are_those_of_the_backbone(exported, signatures, frames):
    clips = frames(height=48, width=48)
    served = signatures["features"](frames=clips)
    wanted = exported[0].backbone(clips, training=False)
    np.testing.assert_allclose(served["features"], wanted, atol=1e-5)
    assert served["action"].shape == served["context"].shape == (2, 12)


def used_operations(version):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    used = {node.op for node in graph.node}
    used |= {node.op for function in graph.library.function for node in function.node_def}
    # Functions are called by name; what is neither a function nor a core operation is foreign.
    return used - {function.signature.name for function in graph.library.function}


def assert_core_operations(used):
    assert not [name for name in used if not hasattr(tf.raw_ops, name)]
    assert not used & {"PyFunc", "EagerPyFunc", "PyFuncStateless", "NumpyFunction"}


def test_only_core_operations_are_in_the_graph(exported):
    used = used_operations(exported[2])
    assert "Conv3D" in used
    assert_core_operations(used)


@pytest.mark.parametrize(
    "backbone, options", [("small", {"width": 12}), ("i3d", {"end_point": "Mixed_3b"})]
)
def test_what_others_convert_is_static_and_neither_decodes_nor_resizes(
    served_recipe, labels, backbone, options
):
    recipe = dataclasses.replace(served_recipe, backbone=backbone, backbone_options=options)
    model = build_model(recipe, len(labels))
    made = signatures.make_signatures(model.backbone, model.head, recipe, len(labels), False)
    function = made["serve_resized"].get_concrete_function()
    (spec,) = function.structured_input_signature[0][0].values()
    assert spec.shape.as_list() == [None, 8, 48, 48, 3]
    graph = function.graph.as_graph_def()
    used = {node.op for node in graph.node}
    used |= {node.op for inner in graph.library.function for node in inner.node_def}
    assert "Conv3D" in used
    assert not used & {"DecodeImage", "ScaleAndTranslate", "MaxPool3D", "If", "StatelessIf"}


def test_batch_norms_are_folded_and_the_numbers_stay(
    random_model, served_recipe, labels, frames, rng, tmp_path
):
    model = random_model()
    for variable in model.backbone.variables:
        if "moving_mean" in variable.name:
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "kernel" not in variable.name:  # moving_variance, gamma and beta
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    version = export.export(model, served_recipe, labels, tmp_path / "aacf")
    loaded = tf.saved_model.load(str(version))
    clips = frames(height=48, width=48)
    served, wanted = loaded.signatures["serve_tensor"](frames=clips), model(clips, training=False)
    np.testing.assert_allclose(
        served["action_probabilities"], tf.nn.softmax(wanted["action_scores"]), atol=1e-5
    )
    assert np.ptp(served["action_probabilities"]) > 0.1
    found = loaded.signatures["features"](frames=clips)["features"]
    wanted = model.backbone(clips, training=False).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.max())
    # Five kernels with biases; the head's variables are as they were.
    assert len(loaded.weights) == 5 * 2 + len(model.head.variables)
    graph = loaded.signatures["features"].graph.as_graph_def()
    used = {node.op for function in graph.library.function for node in function.node_def}
    assert "Conv3D" in used and not [name for name in used if "BatchNorm" in name]


def test_a_backbone_in_bfloat16_gives_nearly_the_same_in_float32(
    random_model, served_recipe, labels, frames, tmp_path, caplog, monkeypatch, weight_tools, rng
):
    monkeypatch.setattr(export, "resolve_precision", lambda name: "mixed_bfloat16")
    model = random_model()
    weight_tools.randomize(model.backbone, rng)
    clips = frames(height=48, width=48)
    wanted = model(clips, training=False)
    recipe = dataclasses.replace(served_recipe, export_precision="mixed_bfloat16")
    version = export.export(model, recipe, labels, tmp_path / "aacf")
    assert "export_precision" not in caplog.text
    signatures = tf.saved_model.load(str(version)).signatures
    served = signatures["serve_tensor"](frames=clips)
    served.update(signatures["features"](frames=clips))
    assert {value.dtype for value in served.values()} == {tf.float32}
    probabilities = tf.nn.softmax(wanted["action_scores"])
    np.testing.assert_allclose(served["action_probabilities"], probabilities, atol=0.05)
    maps = model.backbone(clips, training=False).numpy()
    error = np.abs(served["features"] - maps).max() / maps.max()
    assert 1e-4 < error < 0.05  # three digits: it is bfloat16, and the same network
    about = json.loads((version / "assets" / "model.json").read_text())
    assert (about["precision"], about["winograd"]) == ("mixed_bfloat16", {})
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_bfloat16_without_instructions_for_it_is_warned_of(
    random_model, served_recipe, labels, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(export, "resolve_precision", lambda name: "float32")
    recipe = dataclasses.replace(served_recipe, export_precision="mixed_bfloat16")
    export.export(random_model(), recipe, labels, tmp_path / "aacf")
    expected = "Warning: export_precision=mixed_bfloat16: this machine has no instructions"
    assert expected in caplog.text


@pytest.mark.slow
def test_winograd_s_convolutions_give_the_same_by_core_operations(
    served_recipe, labels, frames, tmp_path, monkeypatch, weight_tools, rng
):
    monkeypatch.setattr("aacf_tf.backbones.winograd._gain", lambda *_: 2.0)
    options = {"end_point": "Mixed_3b"}
    recipe = dataclasses.replace(
        served_recipe, backbone="i3d", backbone_options=options, export_winograd=True
    )
    model = build_model(recipe, len(labels))
    weight_tools.randomize(model.backbone, rng)
    version = export.export(model, recipe, labels, tmp_path / "aacf")
    loaded = tf.saved_model.load(str(version))
    for count in (1, 3):
        clips = frames(height=48, width=48, batch=count)
        served = loaded.signatures["features"](frames=clips)["features"]
        wanted = model.backbone(clips, training=False).numpy()
        np.testing.assert_allclose(served, wanted, atol=1e-4 * wanted.max())
    used = used_operations(version)
    assert {"BatchMatMulV2", "Conv3D"} <= used
    assert_core_operations(used)
    about = json.loads((version / "assets" / "model.json").read_text())
    assert about["precision"] == "float32"
    assert about["winograd"] == {
        "Conv3d_2c_3x3/conv_3d": 2.0,
        "Mixed_3b/Branch_1/Conv3d_0b_3x3/conv_3d": 2.0,
        "Mixed_3b/Branch_2/Conv3d_0b_3x3/conv_3d": 2.0,
    }


def requests_of(clips):
    """Every signature's inputs for clips of the model's own size."""
    jpeg = [[tf.io.encode_jpeg(frame).numpy() for frame in clip] for clip in clips]
    records = [
        codec.encode(ClipPair("x", clip, None, ()), {}, image_format="PNG") for clip in clips
    ]
    return {
        "serving_default": {"frames": jpeg},
        "serve_tensor": {"frames": clips},
        "serve_resized": {"frames": clips},
        "serve_examples": {"examples": records},
        "features": {"frames": clips},
    }


def test_where_none_of_our_code_can_be_imported_it_is_the_keras_model(exported, frames, tmp_path):
    given = {n: requests_of(frames(height=48, width=48, batch=n)) for n in (1, 5)}
    (tmp_path / "given").write_bytes(pickle.dumps(given))
    code = """
        import pickle, sys
        for name in ("aacf_tf", "keras_layers", "tfrecords", "tensorflow_addons", "keras_cv"):
            sys.modules[name] = None
        import tensorflow as tf
        signatures = tf.saved_model.load(sys.argv[1]).signatures
        def answer(name, inputs):
            outputs = signatures[name](**{key: tf.constant(x) for key, x in inputs.items()})
            return {key: value.numpy() for key, value in outputs.items()}
        given = pickle.load(open("given", "rb"))
        served = {n: {name: answer(name, x) for name, x in given[n].items()} for n in given}
        pickle.dump(served, open("served", "wb"))
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(exported[2])], cwd=tmp_path, check=True
    )
    served = pickle.loads((tmp_path / "served").read_bytes())
    model = exported[0]
    for count, answers in served.items():
        assert answers.keys() == {*signatures.SIGNATURES}
        for name, outputs in answers.items():
            clips = given[count]["serve_tensor"]["frames"]
            if name == "serving_default":
                decoded = map(tf.io.decode_jpeg, np.ravel(given[count][name]["frames"]))
                clips = np.reshape([*decoded], clips.shape)
            features = model.backbone(clips, training=False)
            wanted = signatures._outputs(
                model.head(features), "action", 3, multi_label=False, presence=True
            )
            if name == "features":
                wanted = {"features": features, **model.head(features)}
            assert outputs.keys() <= wanted.keys() and len(outputs) in (3, len(wanted))
            for key, value in outputs.items():
                np.testing.assert_allclose(value, wanted[key], atol=1e-5, err_msg=f"{name} {key}")


def test_the_assets_say_what_a_client_needs(exported):
    assets = exported[2] / "assets"
    assert (assets / "labels.txt").read_text() == "jump\nspin\nwave\n"
    about = json.loads((assets / "model.json").read_text())
    wanted = {"frames": 8, "height": 48, "width": 48, "fps": 0.0, "resize": "stretch"}
    wanted |= {"backbone": "small", "score": "action", "head": "aacf", "digest": "abc"}
    assert about.items() >= wanted.items()
    assert about["map_centres"] == {
        "time": {"start": 1.0, "stride": 2, "size": 4},
        "height": {"start": 4.0, "stride": 6, "size": 8},
        "width": {"start": 4.0, "stride": 6, "size": 8},
    }
    assert about["strides"] == [2, 6, 6] and about["versions"]["tensorflow"] == tf.__version__


def test_versions_count_up_and_nothing_half_stays(exported, served_recipe, labels):
    model, directory, first = exported
    assert first.name == "1"
    (directory / "2.tmp").mkdir()  # what a killed export leaves
    (before, *_) = model.head.trainable_variables
    value = before.numpy()
    before.assign_add(tf.ones_like(before))
    assert export.export(model, served_recipe, labels, directory).name == "2"
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]
    before.assign(value)


def test_the_same_weights_are_not_exported_twice(
    random_model, served_recipe, labels, tmp_path, caplog, monkeypatch
):
    """Those of another run, or with another description, are."""
    saved = []

    def save(directory, variables, signatures, description, add_files):
        saved.append(write(directory, variables, signatures, description, add_files))
        return saved[-1]

    write = export.write_saved_model
    monkeypatch.setattr(export, "write_saved_model", save)
    monkeypatch.setattr(export, "make_signatures", lambda *_: {})
    model, directory = random_model(), tmp_path / "aacf"

    def version(names=labels, **options):
        return export.export(model, served_recipe, names, directory, **options).name

    caplog.set_level("INFO", "aacf_tf")
    assert [version(), version()] == ["1", "1"] and len(saved) == 1
    assert "aacf/1 holds this model already" in caplog.text
    assert version(digest="of other data") == "2" and version(["a", "b", "c"]) == "3"
    (saved[-1] / "variables/variables.index").write_bytes(b"damaged")
    assert version(["a", "b", "c"]) == "4"
    file = saved[-1] / "assets/model.json"  # as before there was the signature `serve_resized`
    about = json.loads(file.read_text())
    assert about.pop("signatures") == [*signatures.SIGNATURES]
    file.write_text(json.dumps(about))
    assert export.ModelCard.read(file).signatures == []
    assert version(["a", "b", "c"]) == "5"
    with lock.alone(directory / ".lock", ""), pytest.raises(UsageError, match="is exporting into"):
        version(digest="of the next data")


@pytest.mark.parametrize(
    "head, score, names",
    [
        *(
            pytest.param(head, "combined", names, marks=pytest.mark.slow)
            for head, names in (
                ("average_background", {"class_activation"}),
                ("attention", {"action_attention", "action_logits"}),
            )
        ),
        (
            "linear_factors",
            "action",
            {"action_probabilities", "context_probabilities", "class_activation"},
        ),
    ],
)
def test_a_head_leaves_out_what_it_lacks(
    random_model, served_recipe, labels, frames, tmp_path, head, score, names
):
    recipe = dataclasses.replace(served_recipe, head=head)
    version = export.export(random_model(recipe), recipe, labels, tmp_path / "aacf")
    served = tf.saved_model.load(str(version)).signatures["serve_tensor"](frames=frames())
    assert set(served) == {"probabilities", "combined_probabilities"} | names
    assert served["probabilities"].shape == (2, len(labels))
    np.testing.assert_array_equal(served["probabilities"], served[f"{score}_probabilities"])
    about = json.loads((version / "assets" / "model.json").read_text())
    assert (about["head"], about["score"]) == (head, score)


def test_multi_label_probabilities_stand_by_themselves():
    outputs = {"combined_scores": tf.constant([[0.0, 100.0, 100.0]])}
    served = signatures._outputs(outputs, "action", 3, multi_label=True, presence=False)
    np.testing.assert_allclose(served["probabilities"], [[0.5, 1, 1]])


def test_the_class_of_no_action_takes_its_share_and_is_left_out():
    outputs = {"combined_scores": tf.math.log([[1.0, 2.0, 1.0, 4.0]])}
    served = signatures._outputs(outputs, "combined", 3, multi_label=False, presence=False)
    np.testing.assert_allclose(served["probabilities"], [[1 / 8, 2 / 8, 1 / 8]], rtol=1e-6)


def test_every_signature_gets_a_warm_up_request_that_it_can_answer(exported, signatures):
    file = exported[2] / "assets.extra" / "tf_serving_warmup_requests"
    answered = {}
    for record in tf.data.TFRecordDataset(str(file)):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        tensors = {k: tf.constant(tf.make_ndarray(proto)) for k, proto in request.inputs.items()}
        name = request.model_spec.signature_name
        answered[name] = signatures[name](**tensors)
    assert set(answered) == set(signatures)
    probabilities = [a["probabilities"] for a in answered.values() if "probabilities" in a]
    assert len(probabilities) == 4
    for value in probabilities:  # JPEG, pixels and record hold the same gray
        np.testing.assert_allclose(value, probabilities[0], atol=1e-3)
