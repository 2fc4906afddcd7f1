"""Light and colours: one change a pair, drawn for its record, and nothing else is touched."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.reading import photometric
from tfrecords.reading.photometric import make_jitter
from tfrecords.reading.views import read_views
from tfrecords.records.dataset import load_info, shard_paths

SMALL = {"frames": 3, "size": (16, 24), "batch_size": 3, "seed": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Six pairs all of whose frames are one picture, conjugate included; with optical flow."""
    random = np.random.default_rng(0)
    pairs = []
    for n in range(6):
        clip = np.repeat(random.integers(0, 256, (1, 16, 24, 3)).astype(np.uint8), 4, axis=0)
        flow = random.integers(0, 256, (4, 16, 24, 2)).astype(np.uint8)
        pairs.append(ClipPair(f"{n}", clip, clip, ("a",), flow=flow, conjugate_flow=flow))
    directory = tmp_path_factory.mktemp("colors") / "data"
    write_dataset(directory, {"train": pairs}, labels=["a"], num_shards=2)
    return str(directory)


def rows(dataset):
    return [inputs for inputs, _, _ in dataset.unbatch().as_numpy_iterator()]


def changed(pair: np.ndarray, amount: float, drawn: np.ndarray) -> np.ndarray:
    """The change of one pair [2, T, h, w, 3] in plain numpy."""
    light, contrast, saturation = amount * drawn
    pixels = np.clip(pair + 255.0 * light, 0, 255)
    mean = pixels.mean((0, 1, 2, 3))
    pixels = np.clip((pixels - mean) * (1 + contrast) + mean, 0, 255)
    # The distance from the brightest channel grows with the saturation, which ends at 1.
    value = pixels.max(-1, keepdims=True)
    full = value / np.maximum(value - pixels.min(-1, keepdims=True), 1e-9)
    return np.rint(value - (value - pixels) * np.minimum(1 + saturation, full))


@pytest.mark.parametrize("package", ["keras_cv", "stand-in"])
def test_against_plain_numpy(rng, package, monkeypatch):
    if package == "keras_cv":
        pytest.importorskip("keras_cv")
    else:
        monkeypatch.setitem(sys.modules, "keras_cv.layers", None)  # its import fails
    clip, conjugate = rng.integers(0, 256, (2, 4, 3, 8, 9, 3)).astype(np.uint8)
    drawn = np.float32([[0.9, -0.5, 0.7], [-0.8, 0.9, -1.0], [0, 0, 0.9], [0, 0, 0]])
    inputs = {"clip": clip, "conjugate": conjugate, "colors": drawn, "id": np.arange(4)}
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    for function in (make_jitter(0.6), tf.function(make_jitter(0.6))):
        found = function(tensors)
        assert found.keys() == {"clip", "conjugate", "id"} and found["clip"].dtype == tf.uint8
        for row in range(4):
            pair = np.stack([clip[row], conjugate[row]]).astype(np.float64)
            expected = changed(pair, 0.6, drawn[row])
            seen = np.stack([found["clip"][row], found["conjugate"][row]])
            assert np.abs(seen - expected).max() <= 1  # float32 may round the other way
            assert np.mean(seen != expected) < 0.01
        np.testing.assert_array_equal(found["clip"][3], clip[3])


def test_the_stand_in_computes_what_keras_cv_does(rng):
    pytest.importorskip("keras_cv")
    frames = tf.constant(rng.uniform(0, 255, (4, 6, 5, 3)), tf.float32)
    stand_ins = photometric._brighten, photometric._contrast, photometric._saturate
    numbers = ([-70, 0, 40, 255], [0.2, 1, 1.7, 2], [0.0, 0.4, 0.5, 0.66])
    for real, stand_in, drawn in zip(photometric._changes(), stand_ins, numbers):
        change = tf.constant(drawn, tf.float32)
        change = change if stand_in is photometric._saturate else change[:, None, None, None]
        np.testing.assert_allclose(
            stand_in(frames, change), real(frames, change), rtol=1e-6, atol=1e-5
        )


def test_every_frame_of_a_pair_changes_alike(data):
    plain = rows(read_dataset(data, "train", **SMALL, crop=0.7, epochs=2))
    seen = rows(read_dataset(data, "train", **SMALL, crop=0.7, epochs=2, jitter=0.4))
    shifts = set()
    for before, after in zip(plain, seen):
        # Nothing else is drawn otherwise; the six numbers drawn before stay what they were.
        assert before["id"] == after["id"] and before.keys() == after.keys()
        assert before["clip"].shape == after["clip"].shape and after["clip"].dtype == np.uint8
        for name in ("clip", "conjugate"):
            for frame in after[name]:
                np.testing.assert_array_equal(frame, after["clip"][0])
        # A crop or a mirror image of another place would not follow the picture.
        follows = np.corrcoef(before["clip"].ravel(), after["clip"].ravel())[0, 1]
        assert follows > 0.8
        shifts.add(round(float(after["clip"].mean() - before["clip"].mean())))
    assert len(seen) == 12 and len(shifts) > 8 and min(shifts) < -10 and max(shifts) > 10
    again = rows(
        read_dataset(
            data, "train", **SMALL, crop=0.7, first_epoch=1, epochs=1, jitter=0.4, cache=True
        )
    )
    by_id = {row["id"]: row["clip"] for row in again}
    for row in seen[6:]:
        np.testing.assert_array_equal(by_id[row["id"]], row["clip"])


def test_tests_and_flow_are_left_alone(data):
    tested = read_dataset(data, "train", **SMALL, training=False)
    jittered = read_dataset(data, "train", **SMALL, training=False, jitter=0.5)
    for before, after in zip(rows(tested), rows(jittered)):
        np.testing.assert_array_equal(after["clip"], before["clip"])
    options = {**SMALL, "modality": "flow", "epochs": 1}
    flows = (rows(read_dataset(data, "train", **options, jitter=j)) for j in (0.0, 0.5))
    for before, after in zip(*flows):
        np.testing.assert_array_equal(after["clip"], before["clip"])
    with pytest.raises(ValueError, match=r"jitter in \[0, 1\)"):
        read_dataset(data, "train", **SMALL, jitter=1.0)


def test_views_are_jittered_as_epochs_are(data):
    paths = shard_paths(data, load_info(data), "train")
    seen = list(
        read_views(paths, **SMALL, views=2, crop=1.0, jitter=0.4).unbatch().as_numpy_iterator()
    )
    tested = rows(read_dataset(data, "train", **SMALL, training=False))
    trained = rows(read_dataset(data, "train", **SMALL, first_epoch=1, epochs=1, jitter=0.4))
    for view, expected in enumerate((tested, trained)):
        by_id = {row["id"]: row for row in expected}
        for row in seen[view::2]:
            assert row.keys() == by_id[row["id"]].keys()
            np.testing.assert_array_equal(row["clip"], by_id[row["id"]]["clip"])
