"""Optical flow in a batch: it goes with its frames, turned and scaled as motion is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.media import flow
from tfrecords.reading.preprocess import preprocess_flow
from tfrecords.utils.errors import UsageError

HEIGHT, WIDTH = 24, 32
SMALL = {"frames": 4, "size": (HEIGHT, WIDTH), "batch_size": 4}


def told(length: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(clip, flow) that tell their frame (channel 0, u) and row (channel 1, v)."""
    t, y, x = np.mgrid[:length, :HEIGHT, :WIDTH]
    clip = np.stack([t + first, y, x], axis=-1).astype(np.uint8)
    return clip, (clip[..., :2] + flow.NO_MOTION).astype(np.uint8)


def pair_of(n: int, conjugate: bool = True, mask: bool = False) -> ClipPair:
    clip, codes = told(10 + n)
    other, other_codes = told(10 + n, first=50) if conjugate else (None, None)
    actor = np.zeros(clip.shape[:3], bool)
    actor[:, 8:16, 8:16] = True
    return ClipPair(
        f"clip{n}",
        clip,
        other,
        ("run",),
        mask=actor if mask else None,
        flow=codes,
        conjugate_flow=other_codes,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> str:
    """Eight pairs; the last two have no conjugate."""
    path = tmp_path_factory.mktemp("flow") / "data"
    pairs = [pair_of(n, conjugate=n < 6) for n in range(8)]
    write_dataset(path, {"train": pairs, "test": pairs}, ["run"])
    return str(path)


def rows(dataset) -> list[dict[str, np.ndarray]]:
    return [inputs for inputs, _, _ in dataset.unbatch().as_numpy_iterator()]


def read(directory: str, modality: str, split: str = "train", **options) -> list[dict]:
    options = {**SMALL, "training": split == "train", "modality": modality, **options}
    return rows(read_dataset(directory, split, **options))


def motion(frames: np.ndarray) -> np.ndarray:
    return frames.astype(int) - flow.NO_MOTION


def test_contract_of_a_batch(directory):
    spec = read_dataset(directory, "train", **SMALL, crop=0.8, modality="two_stream").element_spec
    assert {name: (item.dtype.name, item.shape.as_list()) for name, item in spec[0].items()} == {
        "clip": ("uint8", [None, 4, 16, 24, 3]),
        "conjugate": ("uint8", [None, 4, 16, 24, 3]),
        "flow": ("uint8", [None, 4, 16, 24, 2]),
        "conjugate_flow": ("uint8", [None, 4, 16, 24, 2]),
        "has_conjugate": ("bool", [None]),
        "id": ("string", [None]),
    }
    spec = read_dataset(directory, "train", **SMALL, cache=True, modality="flow").element_spec[0]
    assert spec["clip"].shape.as_list() == [None, 4, HEIGHT, WIDTH, 2]
    assert set(spec) == {"clip", "conjugate", "has_conjugate", "id"}


@pytest.mark.parametrize("cache", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_modalities_show_the_same(directory, cache):
    options = {"crop": 0.8, "cache": cache, "frozen_conjugates": 0.3, "epochs": 2}
    both = read(directory, "two_stream", **options)
    for stream, names in (("rgb", ("clip", "conjugate")), ("flow", ("flow", "conjugate_flow"))):
        alone = read(directory, stream, **options)
        assert [row["id"] for row in alone] == [row["id"] for row in both] and alone
        for one, two in zip(alone, both):
            for name, twin in zip(
                ("clip", "conjugate", "has_conjugate"), (*names, "has_conjugate")
            ):
                np.testing.assert_array_equal(one[name], two[twin])


def test_flow_has_the_time_place_and_flip_of_its_frames(directory):
    flips = set()
    for row in read(directory, "two_stream", crop=0.8, epochs=2):
        mirrored = row["clip"][0, 0, 0, 2] > row["clip"][0, 0, -1, 2]  # channel 2 is the column
        flips.add(bool(mirrored))
        for name in ("clip", "conjugate"):
            codes = row["flow" if name == "clip" else "conjugate_flow"]
            expected = row[name][..., :2] * np.array([-1 if mirrored else 1, 1])
            np.testing.assert_array_equal(motion(codes), expected)
    assert flips == {True, False}


def test_a_clip_without_conjugate_is_its_own_in_flow_too(directory):
    for row in read(directory, "two_stream", "test"):
        assert row["has_conjugate"] == (row["id"] not in (b"clip6", b"clip7"))
        same = np.array_equal(row["flow"], row["conjugate_flow"])
        assert same == (not row["has_conjugate"])


@pytest.mark.parametrize("modality", ["flow", "two_stream"])
def test_a_frozen_conjugate_stands_still(directory, modality):
    name = "conjugate" if modality == "flow" else "conjugate_flow"
    for row in read(directory, modality, frozen_conjugates=1.0):
        assert (row[name] == flow.NO_MOTION).all() and row["has_conjugate"]


def test_a_swapped_actor_brings_its_flow(tmp_path):
    pairs = [pair_of(n, mask=True) for n in range(4)]
    write_dataset(tmp_path, {"train": pairs}, ["run"], num_shards=1)
    for row in read(str(tmp_path), "two_stream", swap=1.0, flip=False, shuffle_buffer=1):
        assert row["swapped"]
        actor, scene = np.s_[:, 9:15, 9:15], np.s_[:, :4]
        for where in (actor, scene):  # frames and flow tell the same frame and row
            np.testing.assert_array_equal(motion(row["flow"][where]), row["clip"][where][..., :2])
        assert row["clip"][actor][..., 0].max() < 50 <= row["clip"][scene][..., 0].min()
    alone = read(str(tmp_path), "flow", swap=1.0, flip=False, shuffle_buffer=1)
    both = read(str(tmp_path), "two_stream", swap=1.0, flip=False, shuffle_buffer=1)
    for one, two in zip(alone, both):
        np.testing.assert_array_equal(one["clip"], two["flow"])


def test_records_without_flow_are_refused(tmp_path):
    pair = pair_of(0)
    bare = ClipPair(pair.id, pair.clip, pair.conjugate, pair.labels)
    write_dataset(tmp_path, {"train": [bare]}, ["run"])
    with pytest.raises(UsageError, match=r"for the modality flow, .* build it with --flow=tvl1"):
        read_dataset(tmp_path, "train", modality="flow")
    with pytest.raises(ValueError, match="Received modality='depth'"):
        read_dataset(tmp_path, "train", modality="depth")


# ---- the motion itself --------------------------------------------------------------------------


def walk(u: int, v: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [2, height, width, 3]: a cloudy scene that moves by (u, v) between two frames."""
    noise = np.random.default_rng(1).random((height + 16, width + 16, 3)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3.0), None, 0, 255, cv2.NORM_MINMAX)
    scene = np.rint(smooth).astype(np.uint8)
    return np.stack([scene[8 - n * v :, 8 - n * u :][:height, :width] for n in range(2)])


def test_mirrored_flow_is_the_flow_of_mirrored_frames():
    clip = walk(3, -2)
    mirrored = preprocess_flow(flow.compute(clip, "dis"), (48, 64), flip=tf.constant(True)).numpy()
    computed = flow.compute(np.ascontiguousarray(clip[:, :, ::-1]), "dis")
    inner = np.s_[:, 8:-8, 8:-8]
    assert np.abs(motion(mirrored[inner]) - motion(computed[inner])).max() <= 1
    assert np.median(motion(mirrored[inner])[..., 0]) == round(-3 / flow.STEP)


def test_a_mirror_negates_u_and_leaves_no_motion_alone():
    codes = np.array([[[[0, 9], [127, 128], [128, 128], [255, 255]]]], np.uint8)
    mirrored = preprocess_flow(codes, (1, 4), flip=tf.constant(True)).numpy()
    assert mirrored.tolist() == [[[[1, 255], [128, 128], [129, 128], [255, 9]]]]
    still = preprocess_flow(codes, (1, 4), flip=tf.constant(False)).numpy()
    np.testing.assert_array_equal(still, codes)


@pytest.mark.parametrize(
    ("size", "resize", "factors"),
    [
        ((24, 64), "stretch", (1.0, 0.5)),
        ((96, 128), "stretch", (2.0, 2.0)),
        ((24, 24), "short_side", (0.5, 0.5)),
    ],
)
def test_flow_is_in_pixels_of_the_size_read(size, resize, factors):
    codes = flow.compute(walk(4, -2), "dis")
    resized = flow.dequantize(preprocess_flow(codes, size, resize).numpy())
    assert resized.shape == (2, *size, 2)
    middle = np.median(resized, axis=(0, 1, 2))
    np.testing.assert_allclose(middle, np.array([4, -2]) * factors, atol=flow.STEP)


def test_resized_flow_is_the_flow_of_resized_frames():
    clip = walk(4, -2, height=64, width=96)
    resized = preprocess_flow(flow.compute(clip, "tvl1"), (32, 48)).numpy()
    small = np.stack([cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA) for frame in clip])
    inner = np.s_[:, 6:-6, 6:-6]
    difference = np.abs(motion(resized[inner]) - motion(flow.compute(small, "tvl1")[inner]))
    assert difference.mean() < 1


def test_motion_beyond_the_bytes_is_clipped():
    codes = np.full((1, 4, 4, 2), 250, np.uint8)
    assert (preprocess_flow(codes, (8, 8)).numpy() == 255).all()
