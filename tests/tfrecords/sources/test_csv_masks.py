"""Masks that a table names: arrays, MATLAB files, videos, whole or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.helpers.tables import source
from tfrecords.media.video import UnreadableError


def test_clip_mask_and_size(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(40, 48, 64), fps=20)
    mask = np.zeros((20, 48, 64), bool)
    mask[:10, :24], mask[10:, 24:] = True, True
    np.savez_compressed(tmp_path / "a.npz", mask=mask)
    opened = source(
        tmp_path,
        "video,label,start,end,mask\na.mkv,run,0.5,1.5,a.npz\n",
        conjugate="none",
        short_side=24,
        fps=10.0,
    )
    pair = opened.load(opened.rows()[0])
    assert pair.clip.shape == (10, 24, 32, 3) and pair.fps == 10
    assert (pair.clip[:, 0, 0, 0] // 4).tolist() == list(range(10, 30, 2))
    assert (pair.start, pair.end, pair.conjugate) == (0.5, 1.5, None)
    # The mask is thinned out and scaled with the frames.
    assert pair.mask.shape == (10, 24, 32)
    assert pair.mask[:5, :12].all() and not pair.mask[:5, 12:].any()
    assert pair.mask[5:, 12:].all() and not pair.mask[5:, :12].any()


@pytest.mark.parametrize("count", [20, 40])  # as long as the clip; as long as the file
def test_a_video_as_mask(tmp_path, write_video, counted, count):
    write_video(tmp_path / "a.mkv", counted(40), fps=20)
    shades = np.zeros((count, 24, 32, 3), np.uint8)
    shades[-10:] = 255
    shades[:-10] = 120
    write_video(tmp_path / "m.mkv", shades, fps=20)
    text = "video,label,start,end,mask\na.mkv,run,1,2,m.mkv\n"
    opened = source(tmp_path, text, conjugate="none")
    mask = opened.load(opened.rows()[0]).mask
    assert mask.shape == (20, 24, 32)
    assert not mask[:10].any() and mask[10:].all()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"other": np.ones((5, 24, 32), bool)}, "a.npz: it has no array 'mask'"),
        ({"mask": np.ones((2, 24, 32), bool)}, "a.npz: the mask has 2 frames, its clip 5"),
        (None, "a.npz: there is no such file"),
    ],
)
def test_a_broken_mask_makes_the_row_unreadable(tmp_path, write_video, counted, arrays, reason):
    write_video(tmp_path / "a.mkv", counted(5))
    if arrays:
        np.savez(tmp_path / "a.npz", **arrays)
    opened = source(tmp_path, "video,label,mask\na.mkv,x,a.npz\n")
    with pytest.raises(UnreadableError) as caught:
        opened.load(opened.rows()[0])
    assert (caught.value.file, caught.value.reason) == ("a.mkv", reason)


@pytest.mark.parametrize("name", ["m.npz", "m.mat"])
def test_a_mask_that_would_fill_the_memory_is_not_unpacked(
    tmp_path, write_video, counted, name, monkeypatch
):
    write_video(tmp_path / "a.mkv", counted(2))
    mask = np.zeros((40, 240, 320), np.uint8)  # 3 MB, of which 4 kB are on the disk
    if name == "m.npz":
        np.savez_compressed(tmp_path / name, mask=mask)
    else:
        scipy.io.savemat(tmp_path / name, {"part_mask": mask}, do_compression=True)
    monkeypatch.setattr("tfrecords.media.video.MAX_CLIP_BYTES", 1_000_000)
    opened = source(tmp_path, f"video,label,mask\na.mkv,x,{name}\n")
    with pytest.raises(UnreadableError, match=r"a mask of 3,072,\d+ bytes .at most 1,000,000"):
        opened.load(opened.rows()[0])


def _damaged_npz(path: Path) -> None:
    np.savez_compressed(path, mask=np.random.default_rng(0).random((5, 24, 32)) > 0.5)
    _overwrite(path, 50)


def _damaged_mat(path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (24, 32, 5)).astype(np.uint8)
    scipy.io.savemat(path, {"part_mask": mask}, do_compression=True)
    _overwrite(path, 136)


def _overwrite(path: Path, start: int) -> None:
    """Damages the beginning of the compressed stream, behind the header: an invalid block."""
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes([255] * 50) + content[start + 50 :])


def _array_named_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((5, 24, 32), bool))


def _short_mat(path: Path) -> None:
    path.write_bytes(b"MATLAB 5.0 MAT-file, cut short")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("m.npz", _damaged_npz),  # zlib.error
        ("m.mat", _damaged_mat),  # zlib.error
        ("m.npz", _array_named_npz),  # IndexError
        ("m.mat", _short_mat),  # IndexError
    ],
)
def test_a_damaged_mask_makes_the_row_unreadable(tmp_path, write_video, counted, name, make):
    write_video(tmp_path / "a.mkv", counted(5))
    make(tmp_path / name)
    opened = source(tmp_path, f"video,label,mask\na.mkv,x,{name}\n")
    with pytest.raises(UnreadableError) as caught:
        opened.load(opened.rows()[0])
    assert caught.value.file == "a.mkv"
    assert caught.value.reason.startswith(f"{name}: not a {name[1:]} file (")
