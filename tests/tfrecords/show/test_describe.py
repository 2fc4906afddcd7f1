"""`show` describes a data set."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from absl import flags

from tfrecords import ClipPair, write_dataset
from tfrecords.show import contact_sheet
from tfrecords.show.command import define_flags, main
from tfrecords.show.describe import describe
from tfrecords.utils.errors import UsageError, UserError


@pytest.fixture
def directory(tmp_path):
    clip = np.zeros((3, 8, 10, 3), np.uint8)
    mask = np.zeros((3, 8, 10), bool)
    mask[:, :4] = True
    train = [
        ClipPair("a", clip, clip, ("jump",)),
        ClipPair("b", clip, None, ("run",), mask=mask),
        ClipPair("c", clip, None, ("run",)),
        ClipPair("d", clip, None, ()),
    ]
    splits = {"train": train, "test": train[:1], "empty": []}
    write_dataset(tmp_path, splits, labels=["jump", "run"], num_shards=2)
    (tmp_path / "skipped.csv").write_text("file,reason\nx.mp4,the file is empty\n")
    return tmp_path


def test_counts_classes_and_a_record(directory):
    text = describe(str(directory))
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "4", "1", "0", "2"] in lines
    assert ["empty", "0", "0", "0", "2"] in lines
    assert ["0", "jump", "1", "1"] in lines
    assert ["1", "run", "2", "0"] in lines
    assert ["(no", "action)", "1", "0"] in lines
    assert ["x.mp4", "the", "file", "is", "empty"] in lines
    assert ["example/id", "a"] in lines
    assert "10 x 8, 25 frames/s, 2 classes, one label a clip" in text
    assert "clip (3, 8, 10, 3); conjugate (3, 8, 10, 3)" in text
    assert "bytes: 10 x 8 pixels, 0.12 s at 25 frames/s, 0.00 to 0.12 s; clip" in text


def test_another_record(directory):
    # The first of two shards holds a and c, the second b and d.
    lines = [line.split() for line in describe(str(directory), "train", 1).splitlines()]
    assert ["example/id", "c"] in lines and ["example/id", "a"] not in lines
    with pytest.raises(UsageError, match="--record among those"):
        describe(str(directory), "train", 2)
    with pytest.raises(UsageError, match="received 'val'"):
        describe(str(directory), "val")


def test_mask_is_measured(tmp_path):
    clip, mask = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), bool)
    mask[:, :1] = True
    write_dataset(tmp_path, {"train": [ClipPair("a", clip, None, ("x",), mask=mask)]}, ["x"])
    assert "mask (2, 4, 4), 25.0% actor" in describe(str(tmp_path))


def test_no_data_set_and_a_corrupt_one(directory, tmp_path_factory):
    with pytest.raises(UsageError, match="data set directory"):
        describe(str(tmp_path_factory.mktemp("none")))
    shard = directory / "train-00001-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.tfrecord is corrupt"):
        describe(str(directory))


def command(directory, **options) -> None:
    values = define_flags(flags.FlagValues())
    values(["show", *(f"--{name}={value}" for name, value in options.items())])
    main([str(directory)], values)


def _pair(name: str, shade: int, **more) -> ClipPair:
    """A clip of one colour, and a conjugate of another; unlike any paper or ink."""
    clip = np.full((8, 54, 72, 3), (shade, 0, 0), np.uint8)
    conjugate = np.full((5, 54, 72, 3), (0, shade, 0), np.uint8)
    return ClipPair(name, clip, conjugate, ("jump",), 25.0, **more)


def test_a_sheet_of_pairs(tmp_path, capsys):
    mask = np.zeros((8, 54, 72), bool)
    mask[:, 20:40, 20:40] = True
    pairs = [_pair(f"p{n}", 100 + n, mask=mask if n == 3 else None) for n in range(12)]
    alone = [ClipPair(f"n{n}", pairs[0].clip, None, ("run",)) for n in range(4)]
    write_dataset(
        tmp_path / "data", {"none": alone, "some": alone + pairs}, ["jump", "run"], num_shards=2
    )
    path = tmp_path / "a sheet.png"
    command(tmp_path / "data", pairs=path, count=4)
    assert "4 pairs" in capsys.readouterr().out
    sheet = cv2.imread(str(path))[..., ::-1]
    reds = sheet[(sheet[..., 0] >= 100) & (sheet[..., 0] < 112) & (sheet[..., 1:] == 0).all(-1)]
    shown = {int(shade) for shade in np.unique(reds[:, 0])}
    assert len(shown) == 4 and max(shown) - min(shown) >= 5  # not the first four
    # Four frames of each, twice as large as they are stored.
    for shade in shown - {103}:
        assert (sheet == (shade, 0, 0)).all(-1).sum() == 4 * 108 * 144
        assert (sheet == (0, shade, 0)).all(-1).sum() == 4 * 108 * 144
    assert not list(tmp_path.glob("*.tmp"))
    command(tmp_path / "data", pairs=path, count=50, split="some")
    assert "12 pairs" in capsys.readouterr().out
    sheet = cv2.imread(str(path))[..., ::-1]
    assert (sheet == contact_sheet.OUTLINE).all(-1).sum() > 4 * 100
    with pytest.raises(UserError, match="no clip with a conjugate in none"):
        command(tmp_path / "data", pairs=path, split="none")
    with pytest.raises(UsageError, match="--count of at least 1, received 0"):
        command(tmp_path / "data", pairs=path, count=0)
    with pytest.raises(UsageError, match=r"--pairs to name a \.png .* 'sheet'"):
        command(tmp_path / "data", pairs="sheet")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"conjugate_start": 7.0}, "0.2 s, 2.8 s before the clip"),
        ({"conjugate_start": 10.8}, "0.2 s, 0.5 s after the clip"),
        ({}, "made for the clip"),
        (
            {"conjugate_media_id": "b.mp4", "conjugate_start": 3.0},
            "0.2 s of b.mp4, from 3.0 s on",
        ),
    ],
)
def test_where_a_conjugate_is_from(place, words):
    pair = _pair("p", 100, media_id="a.mp4", start=10.0, **place)
    assert contact_sheet.origin(pair) == words


def sheet_of(*pairs: ClipPair) -> np.ndarray:
    return contact_sheet.draw([contact_sheet.make_row(pair) for pair in pairs], "title")


def test_photographs_are_shown_larger():
    still = np.full((1, 54, 72, 3), (250, 0, 0), np.uint8)
    sheet = sheet_of(ClipPair("p", still, still // 2, ("jump",), 1.0))
    for shade in (250, 125):
        assert (sheet == (shade, 0, 0)).all(-1).sum() == 216 * 288


def test_a_sheet_of_stills_boxes_flow_and_long_names():
    still = np.full((1, 20, 400, 3), 90, np.uint8)
    boxes = np.array([[0.1, 0.1, 0.9, 0.9]])
    image = ClipPair("a very long name " * 20, still, still, ("Käse essen",), 1.0, boxes=boxes)
    clip = _pair("moving", 100)
    codes = np.full((8, 54, 72, 2), 255, np.uint8)
    moving = ClipPair("m", clip.clip, clip.conjugate, (), flow=codes, conjugate_flow=codes[:5])
    sheet = sheet_of(image, moving)
    assert (sheet == contact_sheet.OUTLINE).all(-1).any()
    assert sheet.shape[1] == sheet_of(moving).shape[1]
    assert sheet.shape[0] > sheet_of(clip, clip).shape[0]  # a row of flow
