"""Predictions of an exported model: the right frames, the served numbers, faults that are named."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import types
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from aacf_tf import load
from aacf_tf.evaluation import classification
from aacf_tf.serving.card import ModelCard
from aacf_tf.serving.export import export
from aacf_tf.serving.predictor import Predictor
from tfrecords.media import video
from tfrecords.media.video import UnreadableError
from tfrecords.utils.errors import UsageError, UserError


def write_clip(path, clip, fps=25):
    """A lossless video of the frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "bgr0"
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_predict_takes_the_centre_of_the_video(exported, signatures, labels, frames, tmp_path):
    clip = frames(count=21, batch=1)[0]
    write_clip(tmp_path / "clip.mkv", clip)
    prediction = load(exported[1]).predict(tmp_path / "clip.mkv")
    np.testing.assert_array_equal(prediction.frames, clip[6:14])
    np.testing.assert_allclose(prediction.times, np.arange(6, 14) / 25, atol=1e-3)
    wanted = signatures["serve_tensor"](frames=clip[None, 6:14])
    np.testing.assert_allclose(
        list(prediction.context.values()), wanted["context_probabilities"][0], atol=1e-5
    )
    assert list(prediction.action) == labels and prediction.fps == 25
    assert prediction.predicted == max(prediction.action, key=prediction.action.get)
    assert prediction.action_attention.shape == prediction.action_logits.shape == (4, 8, 8)


def test_a_short_video_repeats_its_last_frame(exported, frames, tmp_path):
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
    exported, frames, tmp_path, monkeypatch, count, rate, wanted, start, end
):
    predictor = load(exported[1])
    predictor.card.fps = wanted
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


def test_a_span_without_a_frame_is_named(exported, frames, tmp_path):
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
    predictor.card.fps = 12.5
    # 8 frames, every second one: 15 of 25 are spanned, five stay on each side.
    np.testing.assert_array_equal(predictor.sample(25, fps=25.0), np.arange(5, 20, 2))


def test_a_folder_leaves_out_what_cannot_be_read(exported, frames, tmp_path, caplog):
    for number in range(20):
        write_clip(tmp_path / f"{number:02d}.mkv", frames(height=48, seed=number, batch=1)[0])
    (tmp_path / "19.mkv").rename(tmp_path / "19.MTS")  # known by its content, taken by its name
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.txt").touch()
    predictions = load(exported[1]).predict_folder(tmp_path)
    assert len(predictions) == 20 and "broken.mp4 cannot be read" in caplog.text
    assert "not taken, since no videos by their names: more/b.txt, notes.txt" in caplog.text
    # Twenty clips of one source are enough to say how far the context can be trusted.
    assert 0 <= predictions[0].context_trust <= 1
    assert sum(predictions[3].reliable.values()) == pytest.approx(1, abs=1e-5)


def test_reliability_where_clips_with_no_action_are_one_class_more(
    random_model, served_recipe, labels, frames, tmp_path
):
    """Nine parts in ten of the probability go to no action: the rest is what is compared."""
    model = random_model(negatives=True)
    for classifier in (model.head.action_classifier, model.head.context_classifier):
        classifier.bias.assign([0, 0, 0, 6.0])
    export(model, served_recipe, labels, tmp_path / "aacf")
    (tmp_path / "videos").mkdir()
    for number in range(20):
        clip = frames(height=48, width=48, seed=number, batch=1)[0]
        write_clip(tmp_path / "videos" / f"{number:02d}.mkv", clip // (1 + number % 4))
    predictions = load(tmp_path / "aacf").predict_folder(tmp_path / "videos")
    action, context = (
        np.array([list(getattr(one, score).values()) for one in predictions])
        for score in ("action", "context")
    )
    assert action.shape == (20, 3) and action.sum(-1).mean() < 0.7
    action, context = (rows / rows.sum(-1, keepdims=True) for rows in (action, context))
    wanted, trust = classification.context_reliability(action, context)
    assert predictions[0].context_trust == pytest.approx(trust, abs=1e-6)
    reliable = [list(one.reliable.values()) for one in predictions]
    np.testing.assert_allclose(reliable, wanted, atol=1e-6)


def test_centres_of_the_cells_are_the_exported_ones(random_model, served_recipe, labels, tmp_path):
    data = dataclasses.replace(served_recipe.data, frames=6, height=45, width=48)
    recipe = dataclasses.replace(served_recipe, data=data)
    version = export(random_model(recipe), recipe, labels, tmp_path / "aacf")
    times, ys, xs = load(version).centres
    np.testing.assert_array_equal(times, [1, 3, 5])
    np.testing.assert_array_equal(ys, np.arange(1, 45, 6))
    np.testing.assert_array_equal(xs, np.arange(4, 48, 6))
    # Before there were centres: the middles of the stride boxes.
    file = version / "assets" / "model.json"
    about = json.loads(file.read_text())
    del about["map_centres"]
    file.write_text(json.dumps(about))
    times, ys, xs = load(version).centres
    np.testing.assert_array_equal(times, [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(ys, np.arange(2.5, 45, 6))
    np.testing.assert_array_equal(xs, np.arange(2.5, 48, 6))


def test_wrong_paths_are_named(exported, tmp_path):
    predictor = load(exported[2])
    with pytest.raises(UsageError, match=r"nowhere\.mp4"):
        predictor.predict(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="Expected videos in the folder"):
        predictor.predict_folder(tmp_path)
    with pytest.raises(UsageError, match=r"received the folder .* predict_folder and --input take"):
        predictor.predict(tmp_path)
    with pytest.raises(UsageError, match="Expected a folder of videos"):
        predictor.predict_folder(tmp_path / "nowhere")
    (tmp_path / "0001.png").write_bytes(b"a frame")
    with pytest.raises(UsageError, match=r"received none\. Frames in files of their own become"):
        predictor.predict_folder(tmp_path)
    with pytest.raises(UsageError, match="Expected an exported model"):
        load(tmp_path)
    broken = tmp_path / "1"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    (broken / "assets").mkdir()
    (broken / "assets" / "labels.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"model\.json cannot be read: No such file"):
        load(tmp_path)


def test_a_whole_frame_has_as_many_cells_as_it_is_long():
    predictor = Predictor.__new__(Predictor)
    predictor.card, predictor.size = types.SimpleNamespace(resize="whole"), (32, 32)
    predictor._axes = [(0.0, 1, 1), (2.0, 4, 8), (2.5, 4, 8)]
    predictor.centres = [np.zeros(1)]
    size, (_, rows, columns), _ = predictor.place((64, 96), (8, 12))
    assert size == (32, 48)
    np.testing.assert_array_equal(rows, 2 + 4 * np.arange(8))
    np.testing.assert_array_equal(columns, 2.5 + 4 * np.arange(12))


def test_a_card_is_read_by_the_fields_it_has(exported, tmp_path):
    path = exported[2] / "assets" / "model.json"
    card = ModelCard.read(path)
    content = json.loads(path.read_text())
    assert content.items() >= dataclasses.asdict(card).items()
    del content["modality"], content["precision"]  # older than these fields
    (tmp_path / "model.json").write_text(json.dumps({**content, "new": 1}))
    assert ModelCard.read(tmp_path / "model.json") == card
    del content["frames"], content["fps"]
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.json: expected the field frames, received none"):
        ModelCard.read(tmp_path / "model.json")


def damage_card(version, **values):
    path = version / "assets" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda v: (v / "assets" / "model.json").write_text("[]"), r"model\.json: expected an obj"),
        (lambda v: damage_card(v, height="48"), r"expected height to be a whole number, received"),
        (lambda v: damage_card(v, strides=[1]), r"expected strides to be a list of length 3"),
        (lambda v: damage_card(v, map_centres={"time": 1}), r"map_centres"),
        (lambda v: damage_card(v, frames=12), r"cannot be loaded .* says 12 frames"),
        (lambda v: damage_card(v, score="best"), r"cannot be loaded .* best_probabilities is miss"),
        (lambda v: (v / "assets" / "labels.txt").write_text("a\nb\n"), r"names 2 classes"),
        (lambda v: (v / "assets" / "labels.txt").write_bytes(b"\xff\xfe"), r"labels\.txt"),
        (lambda v: shutil.rmtree(v / "variables"), r"cannot be loaded \("),
        (lambda v: (v / "saved_model.pb").write_bytes(b"no model"), r"cannot be loaded \("),
        (lambda v: (v / "saved_model.pb").write_bytes(b""), r"cannot be loaded \("),
    ],
)
def test_a_damaged_export_is_one_sentence(exported, tmp_path, damage, message):
    version = shutil.copytree(exported[2], tmp_path / "1")
    damage(version)
    with pytest.raises(UserError, match=message) as caught:
        load(version)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.fixture(scope="module")
def predictor(exported):
    return load(exported[2])


CLIP = np.zeros([9, 8, 8, 3], np.uint8)


@pytest.mark.parametrize(
    "frames, fps, times, received",
    [
        (CLIP / np.float32(255), 25.0, None, r"float32 \[9, 8, 8, 3\]; np.rint\(255 \* x\)"),
        (CLIP + np.nan, 25.0, None, r"float64"),
        (CLIP.astype(np.int64), 25.0, None, r"int64"),
        (CLIP > 0, 25.0, None, r"bool"),
        (CLIP.tolist(), 25.0, None, r"list \[\]"),
        (CLIP[0], 25.0, None, r"uint8 \[8, 8, 3\]"),
        (CLIP[..., :1], 25.0, None, r"uint8 \[9, 8, 8, 1\]"),
        (CLIP[:0], 25.0, None, r"uint8 \[0, 8, 8, 3\]"),
        (CLIP[:, :0], 25.0, None, r"uint8 \[9, 0, 8, 3\]"),
        (CLIP, 0.0, None, r"a rate above 0 frames/s, received 0"),
        (CLIP, np.nan, None, r"a rate above 0 frames/s, received nan"),
        (CLIP, 25.0, np.zeros(3), r"each of the clip's 9 frames, received times of shape \(3,\)"),
    ],
)
def test_arrays_that_would_be_answered_as_something_else_are_refused(
    predictor, frames, fps, times, received
):
    clip = video.Video(frames, fps, np.arange(9) / 25 if times is None else times)
    with pytest.raises(UsageError, match=f"^Expected .*{received}"):
        predictor.predict_clip(clip)


def test_photographs_and_bare_arrays_are_no_clips(predictor, monkeypatch):
    with pytest.raises(UsageError, match=r"Expected a Video\(frames, fps, times\), received ndarr"):
        predictor.predict_clip(CLIP)
    with pytest.raises(UsageError, match=r"Expected a video for .*, received a photograph"):
        predictor.predict_image(CLIP[0])
    monkeypatch.setattr(predictor, "kind", "image")
    with pytest.raises(UsageError, match=r"uint8 \[H, W, 3\], received float64 \[8, 8, 3\]"):
        predictor.predict_image(CLIP[0] / 255)


@pytest.mark.parametrize("start, end", [(-1.0, None), (np.nan, None), (2.0, 1.0), (0.0, np.nan)])
def test_spans_that_are_none_are_refused(predictor, start, end):
    for read in (predictor.predict, predictor.read):
        with pytest.raises(UsageError, match=r"^(start|end): expected"):
            read("some.mp4", start, end)


def test_predict_takes_the_pixels_of_a_clip(predictor, frames):
    clip = frames(count=30, batch=1)[0]
    whole = predictor.predict(clip, fps=25)
    np.testing.assert_array_equal(whole.frames, clip[11:19])
    np.testing.assert_allclose(whole.times, np.arange(11, 19) / 25)
    span = predictor.predict(clip, 0.4, 0.72, fps=25)
    np.testing.assert_array_equal(span.frames, clip[10:18])
    assert (
        span.combined
        == predictor.predict_clip(video.Video(clip[10:18], 25.0, np.arange(10, 18) / 25)).combined
    )


@pytest.mark.parametrize(
    "source, options, message",
    [
        (CLIP, {}, r"Expected fps=, the frames a second of the array, received None"),
        (CLIP, {"fps": 0}, r"Expected fps=.*received 0"),
        (CLIP, {"fps": 25, "start": 2.0}, r"Expected a span within the 0\.36 s of the array"),
        (
            CLIP / 255,
            {"fps": 25},
            r"Expected pixels 0\.\.255, uint8 \[T, H, W, 3\], received float64",
        ),
        (CLIP.tolist(), {"fps": 25}, r"received list"),
        (
            "some.mp4",
            {"fps": 25},
            r"Expected fps with the array of a video only, received 25 with 'some.mp4'",
        ),
    ],
)
def test_arrays_without_a_rate_and_files_with_one_are_refused(predictor, source, options, message):
    with pytest.raises(UsageError, match=message):
        predictor.predict(source, **options)


def test_a_prediction_shows_itself_in_a_notebook(predictor, frames):
    prediction = predictor.predict(frames(count=8, batch=1)[0], fps=25)
    prediction.file = "<a & b>.mp4"
    page = prediction._repr_html_()
    assert "<code>&lt;a &amp; b&gt;.mp4</code>" in page
    picture = base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]+)"', page)[1])
    shape = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape
    # Six frames of 128 x 171 pixels, and a row of them for each map.
    assert shape == (3 * 128 + 2 * 3, 6 * 171 + 5 * 3, 3)
    assert 'alt="6 frames, rows from above: frames, action map, context map"' in page
    assert page.count("<tr>") == 1 + 3 and page.count("<span") == 2 * 3
    prediction.frames = None  # of a folder
    assert "<img" not in prediction._repr_html_() and prediction.predicted in page
