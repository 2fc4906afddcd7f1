"""The SavedModel: the Keras model's numbers, core operations, no code of ours."""

from __future__ import annotations

import collections
import dataclasses
import json
import pickle
import subprocess
import sys
import textwrap
import types
from fractions import Fraction

import av
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from tensorflow import keras

from aacf_tf import build_model, load, load_recipe, losses, metrics, serving
from tfrecords import ClipPair, schema, video
from tfrecords.errors import UsageError, UserError
from tfrecords.preprocess import preprocess
from tfrecords.video import UnreadableError

LABELS = ["jump", "spin", "wave"]
RECIPE = load_recipe("demo")
RECIPE = dataclasses.replace(
    RECIPE,
    backbone_options={"width": 12},
    score="action",
    data=dataclasses.replace(RECIPE.data, frames=8, height=48, width=48, fps=0.0, resize="stretch"),
)


def random_model(recipe=RECIPE, **options):
    """Weights far from their start, so that maps and scores differ from place to place."""
    keras.utils.set_random_seed(0)  # Keras draws initial weights from Python's generator
    model = build_model(recipe, len(LABELS), **options)
    for variable in model.head.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.5))
    return model


def frames(count=8, height=60, width=80, seed=0, batch=2):
    return np.random.default_rng(seed).integers(
        0, 256, [batch, count, height, width, 3], dtype=np.uint8
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, directory of versions, the version)."""
    logging.set_verbosity(logging.ERROR)
    directory = tmp_path_factory.mktemp("export") / "aacf"
    model = random_model()
    return model, directory, serving.export(model, RECIPE, LABELS, directory, digest="abc")


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported[2])).signatures


def test_serve_tensor_gives_the_keras_model_s_numbers(exported, signatures):
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


def test_encoded_frames_and_records_give_the_same(signatures):
    clips = frames()
    wanted = signatures["serve_tensor"](frames=clips)
    png = [[tf.io.encode_png(frame).numpy() for frame in clip] for clip in clips]
    records = [
        schema.encode(ClipPair(str(n), clip, None, ()), {}, image_format="PNG")
        for n, clip in enumerate(clips)
    ]
    for served in (
        signatures["serving_default"](frames=tf.constant(png)),
        signatures["serve_examples"](examples=tf.constant(records)),
    ):
        for name, value in wanted.items():
            np.testing.assert_allclose(served[name], value, atol=1e-5)


def test_records_are_sampled_at_their_centre(signatures):
    long = frames(count=20, batch=1)
    record = schema.encode(ClipPair("x", long[0], None, ()), {}, image_format="PNG")
    served = signatures["serve_examples"](examples=tf.constant([record]))
    wanted = signatures["serve_tensor"](frames=long[:, 6:14])
    np.testing.assert_allclose(served["probabilities"], wanted["probabilities"], atol=1e-5)


def test_frames_of_different_sizes_share_a_batch(signatures):
    clips = [frames(height=height, batch=1)[0] for height in (40, 48)]
    encoded = [[tf.io.encode_png(frame).numpy() for frame in clip] for clip in clips]
    together = signatures["serving_default"](frames=tf.constant(encoded))
    alone = signatures["serve_tensor"](frames=clips[1][None])
    np.testing.assert_allclose(together["probabilities"][1:], alone["probabilities"], atol=1e-5)


def test_features_are_those_of_the_backbone(exported, signatures):
    clips = frames(height=48, width=48)
    served = signatures["features"](frames=clips)
    wanted = exported[0].backbone(clips, training=False)
    np.testing.assert_allclose(served["features"], wanted, atol=1e-5)
    assert served["action"].shape == served["context"].shape == (2, 12)


def test_only_core_operations_are_in_the_graph(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((exported[2] / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    used = {node.op for node in graph.node}
    used |= {node.op for function in graph.library.function for node in function.node_def}
    # Functions are called by name; what is neither a function nor a core operation is foreign.
    used -= {function.signature.name for function in graph.library.function}
    assert "Conv3D" in used
    assert not [name for name in used if not hasattr(tf.raw_ops, name)]
    hosted = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "NumpyFunction"}
    assert not used & hosted


def test_loads_where_none_of_our_code_can_be_imported(exported, signatures, tmp_path):
    clips = frames()
    np.save(tmp_path / "frames.npy", clips)
    code = """
        import sys
        for name in ("aacf_tf", "keras_layers", "tfrecords", "tensorflow_addons", "keras_cv"):
            sys.modules[name] = None
        import numpy as np, tensorflow as tf
        model = tf.saved_model.load(sys.argv[1])
        outputs = model.signatures["serve_tensor"](frames=np.load("frames.npy"))
        np.save("served.npy", outputs["probabilities"])
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(exported[2])], cwd=tmp_path, check=True
    )
    wanted = signatures["serve_tensor"](frames=clips)["probabilities"]
    np.testing.assert_allclose(np.load(tmp_path / "served.npy"), wanted, atol=1e-5)


def test_the_assets_say_what_a_client_needs(exported):
    assets = exported[2] / "assets"
    assert (assets / "labels.txt").read_text() == "jump\nspin\nwave\n"
    about = json.loads((assets / "model.json").read_text())
    wanted = {"frames": 8, "height": 48, "width": 48, "fps": 0.0, "resize": "stretch"}
    wanted |= {"backbone": "small", "score": "action", "head": "aacf", "digest": "abc"}
    assert about.items() >= wanted.items()
    assert about["strides"] == [2, 6, 6] and about["versions"]["tensorflow"] == tf.__version__


def test_versions_count_up_and_nothing_half_stays(exported):
    model, directory, first = exported
    assert first.name == "1"
    (directory / "2.tmp").mkdir()  # what a killed export leaves
    assert serving.export(model, RECIPE, LABELS, directory).name == "2"
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]


def test_a_head_without_factors_leaves_out_what_it_lacks(tmp_path):
    recipe = dataclasses.replace(RECIPE, head="average")
    version = serving.export(random_model(recipe), recipe, LABELS, tmp_path / "aacf")
    served = tf.saved_model.load(str(version)).signatures["serve_tensor"](frames=frames())
    assert set(served) == {"probabilities", "combined_probabilities", "class_activation"}
    np.testing.assert_array_equal(served["probabilities"], served["combined_probabilities"])


def test_multi_label_probabilities_stand_by_themselves():
    outputs = {"combined_scores": tf.constant([[0.0, 100.0, 100.0]])}
    served = serving._outputs(outputs, "action", 3, multi_label=True)
    np.testing.assert_allclose(served["probabilities"], [[0.5, 1, 1]])


def test_the_class_of_no_action_takes_its_share_and_is_left_out():
    outputs = {"combined_scores": tf.math.log([[1.0, 2.0, 1.0, 4.0]])}
    served = serving._outputs(outputs, "combined", 3, multi_label=False)
    np.testing.assert_allclose(served["probabilities"], [[1 / 8, 2 / 8, 1 / 8]], rtol=1e-6)


class Namespace(types.SimpleNamespace):
    """Stands for the classes of tensorflow-serving-api, which few have installed."""

    def SerializeToString(self):
        request = self.predict_log.request
        inputs = {name: proto.SerializeToString() for name, proto in request.inputs.items()}
        return pickle.dumps((request.model_spec.signature_name, inputs))


def test_every_signature_gets_a_warm_up_request_that_it_can_answer(
    signatures, tmp_path, monkeypatch
):
    def request():
        inputs = collections.defaultdict(tf.make_tensor_proto(0).__class__)
        return Namespace(model_spec=Namespace(), inputs=inputs)

    apis = types.ModuleType("tensorflow_serving.apis")
    apis.predict_pb2 = Namespace(PredictRequest=request)
    apis.prediction_log_pb2 = Namespace(PredictLog=Namespace, PredictionLog=Namespace)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", types.ModuleType("tensorflow_serving"))
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", apis)
    serving._write_warmup(tmp_path / "assets.extra", RECIPE)
    file = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    answered = {}
    for record in tf.data.TFRecordDataset(str(file)):
        name, inputs = pickle.loads(record.numpy())
        protos = {k: tf.make_tensor_proto(0).FromString(v) for k, v in inputs.items()}
        tensors = {k: tf.constant(tf.make_ndarray(proto)) for k, proto in protos.items()}
        answered[name] = signatures[name](**tensors)
    assert set(answered) == set(signatures)
    probabilities = [a["probabilities"] for a in answered.values() if "probabilities" in a]
    assert len(probabilities) == 3
    for value in probabilities:  # JPEG, pixels and record hold the same gray
        np.testing.assert_allclose(value, probabilities[0], atol=1e-3)


# ---- the client ---------------------------------------------------------------------------------


def write_clip(path, clip, fps=25):
    """A lossless video of the frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "bgr0"
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_predict_takes_the_centre_of_the_video(exported, signatures, tmp_path):
    clip = frames(count=21, batch=1)[0]
    write_clip(tmp_path / "clip.mkv", clip)
    prediction = load(exported[1]).predict(tmp_path / "clip.mkv")
    np.testing.assert_array_equal(prediction.frames, clip[6:14])
    np.testing.assert_allclose(prediction.times, np.arange(6, 14) / 25, atol=1e-3)
    wanted = signatures["serve_tensor"](frames=clip[None, 6:14])
    np.testing.assert_allclose(
        list(prediction.context.values()), wanted["context_probabilities"][0], atol=1e-5
    )
    assert list(prediction.action) == LABELS and prediction.fps == 25
    assert prediction.predicted == max(prediction.action, key=prediction.action.get)
    assert prediction.action_attention.shape == prediction.action_logits.shape == (4, 8, 8)


def test_a_short_video_repeats_its_last_frame(exported, tmp_path):
    clip = frames(count=3, batch=1)[0]
    write_clip(tmp_path / "clip.mkv", clip)
    prediction = load(exported[1]).predict(tmp_path / "clip.mkv")
    np.testing.assert_array_equal(prediction.frames, clip[[0, 1, 2, 2, 2, 2, 2, 2]])


def write_compressed(path, clip, fps=25):
    """H.264 with B frames, a key frame every 20: a search in the file lands before its aim."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": "20", "bf": "2"}
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "count, rate, wanted, start, end",
    [
        (150, 25, 0.0, 0.0, None),
        (150, 25, 12.5, 0.3, 5.2),
        (40, 30, 8.0, 1.0, None),
        (151, Fraction(30000, 1001), 25.0, 0.0, 4.0),
    ],
)
def test_predict_takes_the_frames_that_reading_the_whole_span_would(
    exported, tmp_path, monkeypatch, count, rate, wanted, start, end
):
    predictor = load(exported[1])
    predictor.description["fps"] = wanted
    path = tmp_path / "clip.mp4"
    write_compressed(path, frames(count=count, batch=1)[0], rate)
    whole = predictor.read(path, start, end)
    indices = predictor.sample(len(whole.frames), whole.fps)
    # Not a third of the video, and yet enough.
    monkeypatch.setattr(video, "MAX_CLIP_BYTES", 46 * whole.frames[0].nbytes)
    if count > 100:
        with pytest.raises(UnreadableError, match="the clip passes"):
            predictor.read(path, start, end)
    prediction = predictor.predict(path, start, end)
    np.testing.assert_array_equal(prediction.frames, whole.frames[indices])
    np.testing.assert_allclose(prediction.times, whole.times[indices], atol=1e-6)
    beside = predictor.predict_clip(whole)
    assert prediction.combined == pytest.approx(beside.combined, abs=1e-6)
    assert prediction.fps == pytest.approx(beside.fps)


def test_a_span_without_a_frame_is_named(exported, tmp_path):
    write_clip(tmp_path / "clip.mkv", frames(batch=1)[0])
    with pytest.raises(UnreadableError, match=r"no frame lies in the span \[5, 6\) s"):
        load(exported[1]).predict(tmp_path / "clip.mkv", 5.0, 6.0)


def test_predict_reads_a_real_video(exported, shared_data):
    predictor = load(exported[1])
    path = shared_data / "clips" / "kth" / "person01_boxing_d1_uncomp.avi"
    whole = predictor.read(path, 0.5, 6)
    indices = predictor.sample(len(whole.frames), whole.fps)
    prediction = predictor.predict(path, 0.5, 6)
    np.testing.assert_array_equal(prediction.frames, whole.frames[indices])


def test_videos_are_sampled_at_the_recipe_s_rate(exported):
    predictor = load(exported[1])
    predictor.description["fps"] = 12.5
    # 8 frames, every second one: 15 of 25 are spanned, five stay on each side.
    np.testing.assert_array_equal(predictor.sample(25, fps=25.0), np.arange(5, 20, 2))


def test_a_folder_leaves_out_what_cannot_be_read(exported, tmp_path, capsys):
    for number in range(20):
        write_clip(tmp_path / f"{number:02d}.mkv", frames(height=48, seed=number, batch=1)[0])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    predictions = load(exported[1]).predict(tmp_path)
    assert len(predictions) == 20 and "broken.mp4 cannot be read" in capsys.readouterr().out
    # Twenty clips of one source are enough to say how far the context can be trusted.
    assert 0 <= predictions[0].context_trust <= 1
    assert sum(predictions[3].reliable.values()) == pytest.approx(1, abs=1e-5)


def test_reliability_where_clips_with_no_action_are_one_class_more(tmp_path):
    """Nine parts in ten of the probability go to no action: the rest is what is compared."""
    model = random_model(negatives=True)
    for classifier in (model.head.action_classifier, model.head.context_classifier):
        classifier.bias.assign([0, 0, 0, 6.0])
    serving.export(model, RECIPE, LABELS, tmp_path / "aacf")
    (tmp_path / "videos").mkdir()
    for number in range(20):
        clip = frames(height=48, width=48, seed=number, batch=1)[0]
        write_clip(tmp_path / "videos" / f"{number:02d}.mkv", clip // (1 + number % 4))
    predictions = load(tmp_path / "aacf").predict(tmp_path / "videos")
    action, context = (
        np.array([list(getattr(one, score).values()) for one in predictions])
        for score in ("action", "context")
    )
    assert action.shape == (20, 3) and action.sum(-1).mean() < 0.7
    action, context = (rows / rows.sum(-1, keepdims=True) for rows in (action, context))
    wanted, trust = metrics.context_reliability(action, context)
    assert predictions[0].context_trust == pytest.approx(trust, abs=1e-6)
    reliable = [list(one.reliable.values()) for one in predictions]
    np.testing.assert_allclose(reliable, wanted, atol=1e-6)


def test_wrong_paths_are_named(exported, tmp_path):
    predictor = load(exported[2])
    with pytest.raises(UsageError, match=r"nowhere\.mp4"):
        predictor.predict(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="Expected videos in the folder"):
        predictor.predict(tmp_path)
    with pytest.raises(UsageError, match="Expected an exported model"):
        load(tmp_path)
    broken = tmp_path / "1"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    (broken / "assets").mkdir()
    (broken / "assets" / "labels.txt").write_text("a\n")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path)
