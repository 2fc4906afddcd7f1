"""The source jhmdb: the original layout, with masks of MATLAB."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from tfrecords.errors import UsageError
from tfrecords.sources import SourceOptions, open_source


@pytest.fixture
def folder(tmp_path, write_video, counted):
    """Two clips of six frames; the mask of frame t is its column t."""
    lines = ["video,mask,label,split,source_group,frames"]
    mask = np.zeros((24, 32, 9), np.uint8)  # [H, W, T]; longer than the clip, as headers claim
    for t in range(9):
        mask[:, t, t] = 1
    for name, split in (("a", "train"), ("b", "test")):
        write_video(tmp_path / f"{name}.avi", counted(6), fps=30)
        scipy.io.savemat(tmp_path / f"{name}.mat", {"part_mask": mask})
        lines.append(f"{name}.avi,{name}.mat,jump,{split},g,9")
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_rows_masks_and_conjugates(folder):
    source = open_source("jhmdb", SourceOptions(input=str(folder)))
    assert source.conjugate == "remove_person"
    assert [row.split for row in source.rows()] == ["train", "test"]
    pair = source.load(source.rows()[0])
    assert pair.clip.shape == pair.conjugate.shape == (6, 24, 32, 3)
    assert pair.fps == 30 and pair.labels == ("jump",)
    for t in range(6):
        expected = np.zeros((24, 32), bool)
        expected[:, t] = True
        np.testing.assert_array_equal(pair.mask[t], expected)


def test_wrong_folders_and_conjugates(folder, tmp_path_factory):
    with pytest.raises(UsageError, match=r"index\.csv"):
        open_source("jhmdb", SourceOptions(input=str(tmp_path_factory.mktemp("none"))))
    with pytest.raises(UsageError, match="received before_after"):
        open_source("jhmdb", SourceOptions(input=str(folder), conjugate="before_after"))


def test_original_clips(shared_data):
    source = open_source("jhmdb", SourceOptions(input=str(shared_data / "jhmdb")))
    rows = source.rows()
    assert len(rows) == 254 and len(source.labels) == 21
    row = next(row for row in rows if "6arrows" in row.media)
    pair = source.load(row)
    assert pair.clip.shape == pair.conjugate.shape == (40, 128, 171, 3)
    assert pair.mask.shape == (40, 128, 171) and 0.02 < pair.mask.mean() < 0.6
    changed = np.abs(pair.clip.astype(int) - pair.conjugate).max(axis=-1) > 40
    assert changed[pair.mask].mean() > 0.3 > changed[~pair.mask].mean()
