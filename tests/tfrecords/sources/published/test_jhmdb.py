"""The source jhmdb: the original layout, with masks of MATLAB."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from tfrecords.build import checks
from tfrecords.conjugates.erase import MASK_MARGIN, grow
from tfrecords.media.images import draw_boxes
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError


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


def test_stills(folder):
    """Frames 1, 3 and 5 of six: the middles of three equal parts."""
    source = open_source("jhmdb", SourceOptions(input=str(folder), stills=3, decoys=True))
    rows = source.rows()
    assert [row.id for row in rows[:4]] == ["a.avi#0", "a.avi#1", "a.avi#2", "b.avi#0"]
    assert source.conjugate == "remove_person" and source.short_side == 256
    assert checks.warnings(source) == []
    for k, frame in enumerate((1, 3, 5)):
        pair = source.load(rows[k])
        assert pair.clip.shape == pair.conjugate.shape == (1, 24, 32, 3) and pair.decoy
        assert pair.labels == ("jump",) and pair.fps == 1
        assert pair.start == pytest.approx(frame / 30, abs=1e-3)
        assert pair.clip[0, 0, -1, 0] == 4 * frame  # grey of value 4 n
        np.testing.assert_allclose(pair.boxes, [[frame / 32, 0, (frame + 1) / 32, 1]])
        assert pair.mask[0, :, frame].all() and pair.mask.sum() == 24
    assert not source.load(rows[3]).decoy  # of `test`
    fingerprints = {
        open_source("jhmdb", SourceOptions(input=str(folder), stills=n)).fingerprint()
        for n in range(3)
    }
    assert len(fingerprints) == 3


def test_stills_without_a_person_to_be_seen(folder):
    scipy.io.savemat(folder / "a.mat", {"part_mask": np.zeros((24, 32, 9), np.uint8)})
    source = open_source("jhmdb", SourceOptions(input=str(folder), stills=1))
    pair = source.load(source.rows()[0])
    assert (pair.mask, pair.boxes, pair.conjugate) == (None, None, None)
    source = open_source("jhmdb", SourceOptions(input=str(folder), stills=1, conjugate="none"))
    pair = source.load(source.rows()[1])
    assert pair.mask.any() and len(pair.boxes) == 1 and pair.conjugate is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stills": 2, "conjugate": "frozen_frame"}, "no before and after: expected --conjugate="),
        ({"stills": 2, "flow": "dis"}, "expected --flow=none, received dis"),
        ({"stills": 2, "fps": 5}, "expected no --fps, received 5"),
        ({"stills": 2, "blend": "smear"}, "--blend among poisson, feather, none, received 'smear'"),
        ({"stills": 2, "filler": "nowhere"}, "the folder of an exported completion network"),
        ({"decoys": True}, "--decoys is about people taken out of photographs: .* --stills=0"),
        ({"filler": "nowhere"}, "--filler is about people"),
        ({"blend": "none", "stills": 2, "conjugate": "none"}, "--blend .* and --conjugate=none"),
    ],
)
def test_options_of_photographs(folder, options, message):
    with pytest.raises(UsageError, match=message):
        open_source("jhmdb", SourceOptions(input=str(folder), **options))
    with pytest.raises(UsageError, match="no --stills for --source=hollywood2, received 2"):
        open_source("hollywood2", SourceOptions(input=str(folder), stills=2))


def test_original_stills(shared_data):
    source = open_source("jhmdb", SourceOptions(input=str(shared_data / "jhmdb"), stills=2))
    assert len(source.rows()) == 508
    row = next(row for row in source.rows() if "6arrows" in row.media)
    pair = source.load(row)
    assert pair.clip.shape == pair.conjugate.shape == (1, 240, 320, 3)
    changed = (pair.clip != pair.conjugate).any(axis=-1)
    assert changed[pair.mask].mean() > 0.9
    box = draw_boxes(pair.boxes, (240, 320))  # all of which goes
    assert box[pair.mask[0]].all() and changed[0][box].mean() > 0.9
    far = ~grow(box, MASK_MARGIN * 240 + 0.5)
    assert far.mean() > 0.3 and not changed[0][far].any()


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
