"""Optical flow: it says how far things moved, its bytes come back, and a build stores it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from tfrecords import ClipPair, write_dataset
from tfrecords.build import command, rows
from tfrecords.media import flow
from tfrecords.reading import preprocess
from tfrecords.records import codec
from tfrecords.records.dataset import load_info
from tfrecords.records.names import FLOW
from tfrecords.show.describe import describe
from tfrecords.utils.errors import UsageError, UserError

HEIGHT, WIDTH = 40, 56


def scenery(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]: clouds that no two places share."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint(smooth * 255).astype(np.uint8)


def panned(length: int, u: int, v: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 [length, height, width, 3] of a scene that moves u to the right and v down a frame."""
    margin = 4 + length * max(abs(u), abs(v))
    scene = scenery(height + 2 * margin, width + 2 * margin)
    corners = [(margin - n * v, margin - n * u) for n in range(length)]
    return np.stack([scene[y : y + height, x : x + width] for y, x in corners])


def inner(codes: np.ndarray, border: int = 6) -> np.ndarray:
    """Displacements away from the edges, over which things come into sight."""
    return flow.dequantize(codes)[:, border:-border, border:-border]


def run(**options) -> None:
    """The build command, in this process."""
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def records(directory: Path, split: str = "train") -> list[bytes]:
    paths = sorted(map(str, directory.glob(f"{split}-*.tfrecord")))
    return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


# ---- bytes --------------------------------------------------------------------------------------


def test_bytes_of_known_displacements():
    pixels = np.array([-99, -20, -0.16, 0, 0.07, 0.16, 10, 20, 99])
    assert flow.quantize(pixels).tolist() == [0, 0, 127, 128, 128, 129, 192, 255, 255]
    assert flow.dequantize(np.uint8([128])) == 0


def test_what_comes_back_is_within_half_a_step():
    pixels = np.linspace(-20, 20, 4001)
    error = np.abs(flow.dequantize(flow.quantize(pixels)) - pixels)
    assert 0.07 < error.max() <= flow.STEP / 2 + 1e-6
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(flow.quantize(flow.dequantize(codes)), codes)


def test_as_i3d_scales_bytes_they_are_pixels_over_20():
    # Half a step too high, 1 / 255, because a byte cannot hold 127.5.
    codes = np.arange(256, dtype=np.uint8)
    seen = codes / 127.5 - 1
    np.testing.assert_allclose(seen, flow.dequantize(codes) / 20 + 1 / 255, atol=1e-6)


# ---- flow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", flow.METHODS)
@pytest.mark.parametrize(("u", "v"), [(3, 0), (-2, 1)])
def test_a_panned_scene_moves_as_it_was_panned(method, u, v):
    codes = flow.compute(panned(4, u, v), method)
    assert codes.shape == (4, HEIGHT, WIDTH, 2) and codes.dtype == np.uint8
    error = np.abs(inner(codes) - [u, v])
    assert np.median(error) <= flow.STEP / 2 and error.mean() < 0.25
    np.testing.assert_array_equal(codes[3], codes[2])  # the last has no next frame


@pytest.mark.parametrize("method", flow.METHODS)
def test_the_same_bytes_on_any_number_of_threads(method):
    clip = panned(3, 2, 1)
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            results.append(flow.compute(clip, method))
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("method", flow.METHODS)
def test_a_still_scene_does_not_move(method):
    clip = np.repeat(panned(1, 0, 0), 3, axis=0)
    assert (flow.compute(clip, method) == flow.NO_MOTION).all()
    assert (flow.compute(clip[:1], method) == flow.NO_MOTION).all()


def test_what_cannot_be_computed_is_said(monkeypatch):
    clip = panned(2, 1, 0)
    with pytest.raises(ValueError, match=r"12 x 12 pixels or more .* Received 56 x 8"):
        flow.compute(clip[:, :8], "dis")
    with pytest.raises(ValueError, match="Received method='farneback'"):
        flow.compute(clip, "farneback")
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UserError, match="contrib modules"):
        flow.compute(clip, "tvl1")


def test_the_picture_is_a_colour_wheel():
    codes = flow.quantize(np.array([[[[0, 0], [4, 0], [0, 4], [-9, 0], [0, -2]]]], float))
    picture = flow.picture(codes)
    assert picture.shape == (1, 1, 5, 3) and picture.dtype == np.uint8
    black, right, down, left, up = picture[0, 0].astype(int)
    assert (black == 0).all()
    assert right[0] > 240 > 20 > right[1:].max()  # red
    assert down[1] > 240 > down[0] > 100 > 20 > down[2]  # yellow-green
    assert left[0] < 20 < 240 < left[1:].min()  # cyan
    assert up[1] < 20 < up[0] < up[2] < 140  # violet, half as fast


# ---- records ------------------------------------------------------------------------------------


def pair_with_flow(**changes) -> ClipPair:
    rng = np.random.default_rng(0)
    values = {
        "id": "a",
        "clip": rng.integers(0, 256, (3, 6, 8, 3)).astype(np.uint8),
        "conjugate": rng.integers(0, 256, (2, 6, 8, 3)).astype(np.uint8),
        "labels": ("x",),
        "flow": rng.integers(0, 256, (3, 6, 8, 2)).astype(np.uint8),
        "conjugate_flow": rng.integers(0, 256, (2, 6, 8, 2)).astype(np.uint8),
    }
    return ClipPair(**{**values, **changes})


def test_flow_comes_back_from_a_record():
    pair = pair_with_flow()
    data = codec.encode(pair, {"x": 0})
    assert data == codec.encode(pair, {"x": 0})
    back = codec.decode(data)
    for name in ("flow", "conjugate_flow"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pair, name))
    lists = tf.train.SequenceExample.FromString(data).feature_lists.feature_list
    assert len(lists["FORWARD_FLOW/image/encoded"].feature) == 3
    assert len(lists["CONJUGATE/FORWARD_FLOW/image/encoded"].feature) == 2
    parsed = codec.parse(data, masks=False, streams=(FLOW,))
    assert set(parsed) == {"id", "labels", "fps", "flow", "conjugate_flow"}
    assert (len(parsed["flow"]), len(parsed["conjugate_flow"])) == (3, 2)


def test_flow_in_a_record_is_what_other_software_decodes():
    """MediaPipe and DMVR decode three channels, of which a gray picture with alpha gives (u, u)."""
    pair = pair_with_flow(start=2.0, conjugate_start=1.0)
    example = tf.train.SequenceExample.FromString(codec.encode(pair, {"x": 0}))
    for prefix, stored, times in (
        ("FORWARD_FLOW/", pair.flow, [2_000_000, 2_040_000, 2_080_000]),
        ("CONJUGATE/FORWARD_FLOW/", pair.conjugate_flow, [1_000_000, 1_040_000]),
    ):
        lists = example.feature_lists.feature_list
        for entry, codes in zip(lists[f"{prefix}image/encoded"].feature, stored):
            (png,) = entry.bytes_list.value
            image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            np.testing.assert_array_equal(image, np.pad(codes, [(0, 0), (0, 0), (0, 1)]))
        stamps = lists[f"{prefix}image/timestamp"].feature
        assert [stamp.int64_list.value[0] for stamp in stamps] == times
        assert example.context.feature[f"{prefix}image/format"].bytes_list.value[0] == b"PNG"


def test_flow_of_earlier_records_in_two_channels_is_read():
    pair = pair_with_flow()
    example = tf.train.SequenceExample.FromString(codec.encode(pair, {"x": 0}))
    for prefix, stored in (("", pair.flow), ("CONJUGATE/", pair.conjugate_flow)):
        name = f"{prefix}FORWARD_FLOW/image/"
        entries = example.feature_lists.feature_list[f"{name}encoded"].feature
        for entry, codes in zip(entries, stored):
            entry.bytes_list.value[0] = tf.io.encode_png(codes).numpy()
            np.testing.assert_array_equal(
                preprocess.decode_image(entry.bytes_list.value[0], 2), codes
            )
        example.feature_lists.feature_list.pop(f"{name}timestamp")
        example.context.feature.pop(f"{name}format")
    back = codec.decode(example.SerializeToString())
    for name in ("flow", "conjugate_flow"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pair, name))
    (first, *_) = example.feature_lists.feature_list["FORWARD_FLOW/image/encoded"].feature
    first.bytes_list.value[0] = tf.io.encode_png(pair.flow[0, ..., :1]).numpy()
    with pytest.raises(UserError, match="flow in a picture of 1 channels"):
        codec.decode(example.SerializeToString())


def test_a_record_without_flow_has_none():
    pair = pair_with_flow(flow=None, conjugate_flow=None)
    data = codec.encode(pair, {"x": 0})
    assert b"FLOW" not in data
    assert codec.decode(data).flow is None and codec.decode(data).conjugate_flow is None
    alone = pair_with_flow(conjugate=None, conjugate_flow=None)
    assert codec.decode(codec.encode(alone, {"x": 0})).flow.shape == (3, 6, 8, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow": np.zeros((2, 6, 8, 2), np.uint8)}, r"flow as uint8 \(3, 6, 8, 2\).*\(2, 6"),
        ({"flow": np.zeros((3, 6, 8, 2))}, "Received float64"),
        ({"conjugate_flow": np.zeros((3, 6, 8, 2), np.uint8)}, "Expected conjugate_flow as uint8"),
        ({"conjugate_flow": None}, "Received none"),
        ({"flow": None}, "Received one"),
        ({"conjugate": None}, "Received one"),
    ],
)
def test_flow_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        pair_with_flow(**changes)


def test_a_data_set_has_flow_where_every_clip_has(tmp_path):
    pair = pair_with_flow(flow=None, conjugate_flow=None, clip=panned(2, 1, 0), conjugate=None)
    splits = {"train": [rows.add_flow(pair, "dis")]}
    assert write_dataset(tmp_path / "all", splits, ["x"]).modality == "rgb+flow"
    splits["train"].append(pair)
    assert write_dataset(tmp_path / "some", splits, ["x"]).modality == "rgb"


# ---- build --------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path, write_video) -> Path:
    """Three rows: one video that pans to the right, cut in three."""
    write_video(tmp_path / "pan.mkv", panned(12, 2, 0), fps=10)
    rows = [f"pan.mkv,x,{n * 0.4:.1f},{n * 0.4 + 0.4:.1f}\n" for n in range(3)]
    (tmp_path / "clips.csv").write_text("video,label,start,end\n" + "".join(rows))
    return tmp_path / "clips.csv"


def test_a_build_stores_flow_the_same_on_one_worker_and_on_two(table, tmp_path):
    options = {"input": table, "flow": "tvl1", "conjugate": "frozen_frame"}
    run(output=tmp_path / "one", workers=1, **options)
    run(output=tmp_path / "two", workers=2, **options)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert load_info(tmp_path / "one").modality == "rgb+flow"
    assert json.loads((tmp_path / "one" / "build.json").read_text())["flow"] == "tvl1"
    pairs = [codec.decode(data) for data in records(tmp_path / "one")]
    assert [pair.flow.shape for pair in pairs] == [(4, HEIGHT, WIDTH, 2)] * 3
    for pair in pairs:
        assert np.abs(inner(pair.flow) - [2, 0]).mean() < 0.25
        # A conjugate that was made has the flow of what was made: a frozen frame stands still.
        assert (pair.conjugate_flow == flow.NO_MOTION).all()
    assert "flow (4, 40, 56, 2), 2." in describe(str(tmp_path / "one"))


def test_a_build_without_flow_is_what_it_was(table, tmp_path):
    run(input=table, output=tmp_path / "plain")
    run(input=table, output=tmp_path / "none", flow="none")
    names = sorted(path.name for path in (tmp_path / "plain").iterdir())
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("plain", "none"))
        assert one.read_bytes() == two.read_bytes(), name
    assert "flow" not in json.loads((tmp_path / "plain" / "build.json").read_text())
    assert load_info(tmp_path / "plain").modality == "rgb"
    assert all(b"FLOW" not in data for data in records(tmp_path / "plain"))


@pytest.mark.parametrize(("before", "after"), [("none", "dis"), ("dis", "none")])
def test_flow_is_part_of_the_plan(table, tmp_path, before, after):
    run(input=table, output=tmp_path / "out", flow=before)
    with pytest.raises(UsageError, match="was built with flow"):
        run(input=table, output=tmp_path / "out", flow=after)


def test_a_method_that_is_not_there_is_named(table, tmp_path):
    with pytest.raises(UsageError, match="--flow among none, tvl1, dis, received 'raft'"):
        run(input=table, output=tmp_path / "out", flow="raft")
    assert not os.path.exists(tmp_path / "out")
