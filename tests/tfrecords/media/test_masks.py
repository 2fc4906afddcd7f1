"""Masks: compared with their clip before they are laid on it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from tfrecords.media import masks, video
from tfrecords.media.masks import read_mask
from tfrecords.media.video import UnreadableError


@pytest.fixture
def film(tmp_path, write_video, counted) -> str:
    """60 frames of 24 x 32 at 20 frames/s."""
    return str(write_video(tmp_path / "a.mkv", counted(60), fps=20))


def actor(frames: int, height: int = 24, width: int = 32) -> np.ndarray:
    """The actor stands in column t of frame t."""
    mask = np.zeros((frames, height, width), bool)
    mask[np.arange(frames), :, np.arange(frames) % width] = True
    return mask


def read(folder, film: str, mask: np.ndarray, start: float, end: float | None, short: int = 0):
    np.savez_compressed(folder / "m.npz", mask=mask)
    clip = video.read_span(film, start, end, short)
    return read_mask(str(folder / "m.npz"), clip, (start, end), film)


def test_a_mask_of_the_whole_file_is_cut_to_the_clip(tmp_path, film):
    np.testing.assert_array_equal(read(tmp_path, film, actor(60), 1, 2), actor(60)[20:40])
    np.testing.assert_array_equal(read(tmp_path, film, actor(20), 1, 2), actor(20))
    np.testing.assert_array_equal(read(tmp_path, film, actor(60), 2, None), actor(60)[40:])
    small = read(tmp_path, film, actor(60, 48, 64), 1, 2, 12)
    assert small.shape == (20, 12, 16)


def test_a_filmed_mask_is_read_frame_by_frame(tmp_path, film, write_video, monkeypatch):
    """Of one for the whole file no more is read than tells that it is longer than the clip."""
    images = np.repeat(actor(60)[..., None].astype(np.uint8) * 255, 3, axis=-1)
    path = str(write_video(tmp_path / "m.mkv", images, fps=20))
    decoded, decode = [], video.decode

    def counting(*arguments):
        for item in decode(*arguments):
            decoded.append(item)
            yield item

    clip = video.read_span(film, 1, 2)
    monkeypatch.setattr(video, "decode", counting)
    np.testing.assert_array_equal(read_mask(path, clip, (1, 2), film), actor(60)[20:40])
    assert len(decoded) < 23 + 45  # twice 60, were both read to the end
    whole = video.read_span(film)
    np.testing.assert_array_equal(read_mask(path, whole, (0, None), film), actor(60))
    turned = str(write_video(tmp_path / "t.mkv", images.swapaxes(1, 2), fps=20))
    with pytest.raises(UnreadableError, match="the mask has frames of 32 x 24, its clip of 24 x 3"):
        read_mask(turned, clip, (1, 2), film)


@pytest.mark.parametrize(
    ("mask", "shape"),
    [
        (np.moveaxis(actor(20), 0, -1), "24 x 32 x 20"),
        (actor(20, 32, 24), "20 x 32 x 24"),
        (actor(40), "40 x 24 x 32"),
    ],
    ids=["as [H, W, T]", "turned", "of something else"],
)
def test_another_shape_is_refused_with_both(tmp_path, film, mask, shape):
    message = rf"the mask is \[T, H, W\] = {shape}, its clip 20 x 24 x 32"
    with pytest.raises(UnreadableError, match=message):
        read(tmp_path, film, mask, 1, 2)


def test_a_mask_is_bounded_before_it_is_unpacked(tmp_path, film, monkeypatch):
    """16 MB that are a few kB on the disk."""
    header = io.BytesIO()
    shape = {"descr": "|b1", "fortran_order": False, "shape": (20, 8000, 13421)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mask.npy", header.getvalue() + bytes(1 << 24))
    clip = video.read_span(film, 1, 2)
    monkeypatch.setattr(masks, "MAX_MASK_BYTES", 1 << 20)
    with pytest.raises(UnreadableError, match=r"a mask of 16,777,\d+ bytes .at most 1,048,576"):
        read_mask(str(tmp_path / "m.npz"), clip, (1, 2), film)
