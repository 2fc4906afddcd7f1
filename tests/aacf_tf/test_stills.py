"""Photographs: the factorization of one frame, maps that lie where the object is, pictures of them.

The model is set by hand to look at what is bright: positive kernels, so that no place is preferred.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from aacf_tf import build_model, load, recipes
from aacf_tf.attend import __main__ as command
from aacf_tf.models import losses
from aacf_tf.report import stills
from aacf_tf.runs.run import Run
from aacf_tf.serving.export import export
from aacf_tf.visualization import overlays, panels
from keras_layers import ActionContextFactorization
from tfrecords import ClipPair
from tfrecords.records.dataset import load_info
from tfrecords.utils.errors import UsageError, UserError

LABELS = ["dark", "middling", "bright"]
SHORT = 64  # pixels of the shorter side, as the network gets it
STRIDE = 8


@pytest.fixture(scope="module")
def recipe():
    stills = recipes.load_recipe("stills")
    data = dataclasses.replace(stills.data, height=SHORT, width=SHORT)
    options = {**stills.backbone_options, "width": 12}
    return dataclasses.replace(stills, data=data, backbone_options=options, hidden=4)


@pytest.fixture(scope="module")
def model(recipe):
    """Action where it is bright, context where it is dark; class scores by brightness."""
    model = build_model(recipe, len(LABELS), multi_label=True)
    for variable in model.backbone.trainable_variables:
        if "kernel" in variable.name:
            fan_in = float(np.prod(variable.shape[:-1]))
            variable.assign(tf.fill(variable.shape, 1 / fan_in))
    attention = model.head.factorization.attention
    attention.project.kernel.assign(tf.ones_like(attention.project.kernel) / 12)
    attention.score.kernel.assign(tf.tile([[1.0, -1.0]], [4, 1]))
    for classifier in (model.head.action_classifier, model.head.context_classifier):
        classifier.kernel.assign(tf.tile([[-1.0, 0.5, 1.0]], [12, 1]) / 12)
    return model


@pytest.fixture(scope="module")
def directory(model, recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "aacf"
    export(model, recipe, LABELS, path, multi_label=True)
    return path


@pytest.fixture(scope="module")
def predictor(directory):
    return load(directory)


def photograph(height, width, place):
    """A dark picture with a bright square, a third of the shorter side, centred at shares `place`.

    Returns:
        uint8 [height, width, 3], and (left, top, right, bottom) of the square.
    """
    side = min(height, width) // 3
    top, left = (round(share * full - side / 2) for share, full in zip(place, (height, width)))
    image = np.full([height, width, 3], 60, np.uint8)
    image[top : top + side, left : left + side] = 240
    return image, (left, top, left + side, top + side)


def peak(predictor, prediction, frame):
    """(x, y) of the action map's peak in pixels of the frame."""
    spread = predictor.spread(overlays.display(prediction.action_logits)[0], frame)
    y, x = np.unravel_index(spread.argmax(), frame)
    return x, y


def run(*arguments):
    values = command.define_flags(flags.FlagValues())
    values(["attend", *map(str, arguments)])
    command.main([], values)


def test_one_frame_is_softmax_pooling_over_height_and_width(rng):
    features = rng.random([2, 1, 3, 5, 6]).astype("float32")
    layer = ActionContextFactorization(hidden=4)
    outputs = {key: value.numpy() for key, value in layer(features).items()}
    weights = [weight.numpy() for weight in layer.attention.project.weights]
    weights += [weight.numpy() for weight in layer.attention.score.weights]
    flat = features.reshape(2, 15, 6)
    logits = np.maximum(flat @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    action, context = logits[..., 0], logits[..., 1]
    context = context - np.log1p(np.exp(action))
    for name, values in (("action", action), ("context", context)):
        attention = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        found = outputs[f"{name}_attention"]
        np.testing.assert_allclose(found, attention.reshape(2, 1, 3, 5), rtol=1e-5)
        pooled = (attention[..., None] * flat).sum(1)
        np.testing.assert_allclose(outputs[name], pooled, rtol=1e-5)


def test_time_spread_asks_nothing_of_a_photograph():
    logits = tf.Variable(tf.random.stateless_normal([2, 1, 3, 4], [0, 0]))
    with tf.GradientTape() as tape:
        flat = tf.nn.softmax(tf.reshape(logits, [2, 12]))
        loss = losses.time_spread(tf.reshape(flat, [2, 1, 3, 4]), 0.8)
    np.testing.assert_array_equal(loss, [0, 0])
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros([2, 1, 3, 4]))


@pytest.mark.parametrize(
    "height, width, place",
    [
        (32, 32, (0.3, 0.7)),
        (33, 200, (0.5, 0.8)),
        (150, 60, (0.2, 0.4)),
        (480, 640, (0.7, 0.2)),
        (3000, 4000, (0.25, 0.9)),
    ],
)
def test_the_peak_is_in_the_bright_object_whatever_the_size(
    predictor, tmp_path, height, width, place
):
    image, (left, top, right, bottom) = photograph(height, width, place)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    prediction = predictor.predict(tmp_path / "a.jpg")
    # The whole picture, its aspect kept.
    scale = SHORT / min(height, width)
    cells = [-(-round(side * scale) // STRIDE) for side in (height, width)]
    assert prediction.action_logits.shape == (1, *cells)
    x, y = peak(predictor, prediction, (height, width))
    assert left <= x < right and top <= y < bottom
    # The context looks elsewhere.
    spread = predictor.spread(prediction.context_attention[0], (height, width))
    assert spread[top:bottom, left:right].mean() < 0.7 * spread.mean()


def test_a_photograph_is_turned_as_a_viewer_turns_it(predictor, tmp_path):
    image, (left, top, right, bottom) = photograph(90, 120, (0.3, 0.8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(image)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    prediction = predictor.predict(tmp_path / "turned.jpg")
    assert prediction.frames.shape == (1, 90, 120, 3) and prediction.times.tolist() == [0]
    x, y = peak(predictor, prediction, (90, 120))
    assert left <= x < right and top <= y < bottom


def test_attend_writes_a_picture_and_prints_scores_and_boxes(directory, tmp_path, capsys):
    image, (left, top, right, bottom) = photograph(960, 1280, (0.6, 0.3))
    Image.fromarray(image).save(tmp_path / "a.png")
    output = tmp_path / "out.png"
    run(f"--model={directory}", f"--image={tmp_path / 'a.png'}", f"--output={output}")
    text = capsys.readouterr().out
    assert "1280 x 960 pixels; ranked by combined" in text and str(output) in text
    assert re.search(r"class +action +context +combined\n +bright ", text)
    box = re.search(r"action map: x (\d+)-(\d+) y (\d+)-(\d+)", text)
    x1, x2, y1, y2 = map(int, box.groups())  # in pixels of the file
    cell = STRIDE * 960 / SHORT
    np.testing.assert_allclose((x1, y1, x2, y2), (left, top, right, bottom), atol=cell)
    # Three panels of what was read, its shorter side 256, under a bar.
    picture = np.asarray(Image.open(output)).astype(int)
    assert picture.shape == (28 + 256, 3 * 341, 3)
    sample, action, context = np.split(picture[28:], 3, axis=1)
    assert np.abs(sample - sample.mean(-1, keepdims=True)).max() <= 1
    orange, blue = (panel[..., 0] - panel[..., 2] for panel in (action, context))
    centre = (round(0.6 * 256), round(0.3 * 341))
    assert orange[centre] > 100 and abs(orange[20, 300]) < 20
    assert blue[20, 300] < -60 and abs(blue[centre]) < 20


def test_boxes_end_with_the_file_and_strips_stay_low(directory, tmp_path, capsys):
    """4000 x 3000 pixels are shown as 341 x 256; one factor for both sides would be too much."""
    corner = np.full([3000, 4000, 3], 60, np.uint8)
    corner[2000:, 3000:] = 240
    Image.fromarray(corner).save(tmp_path / "corner.jpg")
    Image.fromarray(photograph(3, 3000, (0.5, 0.5))[0]).save(tmp_path / "strip.png")
    output = tmp_path / "out.png"
    run(f"--model={directory}", f"--image={tmp_path / 'corner.jpg'}", f"--output={output}")
    assert re.search(r"action map: x \d+-\d+ y \d+-3000;", capsys.readouterr().out)
    run(f"--model={directory}", f"--image={tmp_path / 'strip.png'}", f"--output={output}")
    assert Image.open(output).size == (3 * 4000, 28 + 4)


def test_all_classes_that_are_there_are_named(capsys):
    from aacf_tf.attend.scores import name_classes, print_scores

    chances = {f"c{n}": n / 10 for n in range(1, 10)}
    chances["c3"] = 0.95
    assert name_classes(chances, multi_label=False) == "c3 0.95"
    assert name_classes(chances, multi_label=True) == "c3 0.95, c9 0.90, c8 0.80, c7 0.70, c6 0.60"
    assert name_classes({"a": 0.2, "b": 0.3}, multi_label=True) == "b 0.30"
    chances["c5"] = chances["c4"] = 0.51
    for multi_label, lines in ((False, 5), (True, 7)):
        print_scores({"combined": chances}, "combined", multi_label)
        assert len(capsys.readouterr().out.splitlines()) == 1 + lines


def test_a_folder_of_photographs_becomes_a_table(directory, tmp_path, capsys, caplog):
    folder = tmp_path / "photographs"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"Expected images in the folder .*photographs"):
        run(f"--model={directory}", f"--input={folder}", f"--output={tmp_path / 'p.csv'}")
    for name, size in (("b.PNG", (40, 60)), ("a.jpg", (70, 50))):
        Image.fromarray(photograph(*size, (0.5, 0.5))[0]).save(folder / name)
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "d.mp4").write_bytes(b"not asked for")
    (folder / "e.png").mkdir()
    run(f"--model={directory}", f"--input={folder}", f"--output={tmp_path / 'p.csv'}")
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a.jpg", "b.PNG"]
    assert {row["predicted"] for row in rows} == {"bright"}
    assert "c.jpg cannot be read" in caplog.text and "2 images" in capsys.readouterr().out


def test_a_model_of_photographs_refuses_videos(directory, predictor, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(
        UsageError, match=r"Expected an image for the model in .*, received the vid"
    ):
        predictor.predict(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"--video: expected an image for the model .*\(--image\)"):
        run(f"--model={directory}", f"--video={tmp_path / 'a.mp4'}")
    with pytest.raises(UserError, match=r"a\.jpg cannot be read.*not an image"):
        predictor.predict(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="Expected no start and end for an image"):
        predictor.predict(tmp_path / "a.jpg", end=2.0)
    with pytest.raises(UsageError, match=r"--start, --end: .* received 1\.0 with --image"):
        run(f"--model={directory}", f"--image={tmp_path / 'a.jpg'}", "--start=1")


def test_a_completion_network_is_no_model_of_actions(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UsageError, match=r"model of actions .*1, which has no assets/labels\.txt"):
        load(tmp_path)


def pair(height=90, width=120, place=(0.3, 0.8), **options):
    image, (left, top, right, bottom) = photograph(height, width, place)
    conjugate = np.full_like(image, 60)
    conjugate[..., 2] = 200  # to be known again
    mask = np.zeros([1, height, width], bool)
    mask[0, top:bottom, left:right] = True
    box = np.array([[left / width, top / height, right / width, bottom / height]])
    content = {"conjugate": conjugate[None], "mask": mask, "boxes": box, **options}
    return ClipPair("a", image[None], labels=("bright",), **content)


def row_of(photograph, model, data):
    image = stills._middle(photograph.clip)
    return stills._row(photograph, *stills._look(image, model, data), data)


def test_the_report_s_row_is_that_of_the_supplement(model, recipe):
    panels = row_of(pair(), model, recipe.data)
    titles = [panel.title for panel in panels]
    assert titles == ["sample", "boxes", "conjugate", "action map", "context map"]
    assert {panel.image.shape for panel in panels} == {(192, 256, 3)}
    sample, boxes, conjugate, action, context = (panel.image.astype(int) for panel in panels)
    side = 30 * 192 / 90
    centre = (round(0.3 * 192), round(0.8 * 256))
    changed = np.argwhere((boxes != sample).any(-1))
    np.testing.assert_allclose(
        [changed.min(0), changed.max(0)], [np.subtract(centre, side / 2), np.add(centre, side / 2)],
        atol=3,
    )  # fmt: skip
    assert (conjugate[..., 2] == 200).all()
    assert action[centre][0] - action[centre][2] > 100 and abs(np.ptp(action[150, 20])) < 20
    assert context[150, 20, 2] - context[150, 20, 0] > 60
    _, picture = stills.draw(pair(), model, recipe.data)
    assert picture.shape == (34 + 192, 5 * 256 + 4 * 3, 3)


def test_a_strip_fits_into_the_report(model, recipe):
    """A JPEG has 65535 pixels a side at most; 192 pixels high, five of them would have 90000."""
    _, picture = stills.draw(pair(32, 3000), model, recipe.data)
    assert picture.shape[1] < 5 * 4100
    assert panels.data_uri(picture).startswith("data:image/jpeg")


def test_the_documented_way_to_a_data_set_of_one_s_own(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "stills.md").read_text(encoding="utf-8")
    (block,) = [part for part in re.findall(r"```python\n(.*?)```", text, re.S) if "Eraser" in part]
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        Image.fromarray(photograph(40, 50, (0.5, 0.5))[0]).save(f"{number}.jpg")
    exec(block, {})
    info = load_info(tmp_path / "data/mine")
    assert info.multi_label and info.labels == ["juggling", "reading"]
    assert {name: counts["pairs"] for name, counts in info.splits.items()} == {
        "train": 2,
        "test": 1,
    }
    run = Run.open(recipes.load_recipe("stills"), tmp_path / "data/mine", tmp_path)
    (found,) = stills.load(run, "test", {"3.jpg"}).values()
    assert found.labels == ("juggling", "reading") and found.boxes.shape == (2, 4)
    # The bright square is between the boxes; what is in them is gone.
    assert (found.clip != found.conjugate).any(-1).any()
    np.testing.assert_array_equal(
        found.mask[0, 20], np.isin(np.arange(50) // 5, [1, 2, 3, 6, 7, 8])
    )


@pytest.mark.parametrize(
    "lacking, titles",
    [
        (("boxes",), ["sample", "actor", "conjugate", "action map", "context map"]),
        (("boxes", "mask", "conjugate"), ["sample", "action map", "context map"]),
    ],
)
def test_what_a_record_lacks_is_left_out_of_its_row(model, recipe, lacking, titles):
    found = row_of(pair(**dict.fromkeys(lacking)), model, recipe.data)
    assert [panel.title for panel in found] == titles
