"""The source csv: what a table says, and what it may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import ExifTags, Image

from tfrecords.conjugates import shots
from tfrecords.media.frames import FrameFolder
from tfrecords.media.video import UnreadableError
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError


def table(folder: Path, text: str) -> str:
    path = folder / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def source(folder: Path, text: str, **options):
    return open_source("csv", SourceOptions(input=table(folder, text), **options))


def test_rows(tmp_path):
    rows = source(
        tmp_path,
        "video,label,split,start,end,extra\n"
        "b/x.mp4,jump,train,,,1\n"
        "b/x.mp4, run ,test_new,0.5,2,2\n"
        "y (1)+!&.avi,,train,,,3\n",
    ).rows()
    assert [row.media for row in rows] == ["b/x.mp4", "b/x.mp4", "y (1)+!&.avi"]
    assert [row.labels for row in rows] == [("jump",), ("run",), ()]
    assert [row.split for row in rows] == ["train", "test_new", "train"]
    assert (rows[1].start, rows[1].end) == (0.5, 2.0)
    assert (rows[0].start, rows[0].end) == (0.0, None)
    assert len({row.id for row in rows}) == 3


def test_split_is_train_by_default_and_a_repeated_row_keeps_its_own_id(tmp_path):
    rows = source(tmp_path, "video,label\nx.mp4,a\nx.mp4,b\n").rows()
    assert [row.split for row in rows] == ["train", "train"]
    assert rows[0].id != rows[1].id


def test_labels_are_the_sorted_union_over_all_splits(tmp_path):
    text = "video,label,split\nx.mp4,run,test\ny.mp4,jump|clap,train\n"
    opened = source(tmp_path, text, multi_label=True)
    assert opened.labels == ["clap", "jump", "run"]
    assert opened.multi_label
    assert opened.rows()[1].labels == ("jump", "clap")


def test_labels_file_gives_the_order(tmp_path):
    (tmp_path / "labels.txt").write_text("run\njump\nfly\n")
    labels = str(tmp_path / "labels.txt")
    assert source(tmp_path, "video,label\nx.mp4,jump\n", labels=labels).labels == [
        "run",
        "jump",
        "fly",
    ]
    with pytest.raises(UsageError, match=r"line 3.*label of .*labels.txt, received 'hop'"):
        source(tmp_path, "video,label\nx.mp4,jump\ny.mp4,hop\n", labels=labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns video and label, received an empty file"),
        ("video,label\n", "at least one row"),
        ("video,kind\nx.mp4,a\n", "columns video and label, received video, kind"),
        ("video,label\nx.mp4,\n", "a label in at least one row"),
        ("video,label\n,a\n", "line 2: expected a path in the column video"),
        ("video,label\nx.mp4,a|b\n", "one label .*multi_label.*received 2"),
        ("video,label\n../x.mp4,a\n", "line 2: expected a path inside .*data_root"),
        ("video,label\n/etc/x.mp4,a\n", "path inside"),
        ("video,label,mask\nx.mp4,a,../m.npz\n", "path inside"),
        ("video,label,split\nx.mp4,a,Train!\n", "expected a split"),
        ("video,label,start,end\nx.mp4,a,3,2\n", "start before end, received 3 and 2"),
        ("video,label,start,end\nx.mp4,a,one,2\n", "column start, received 'one'"),
        ("video,label,start,end\nx.mp4,a,-1,2\n", "column start, received '-1'"),
        ("video,label,start,end\nx.mp4,a,nan,2\n", "column start, received 'nan'"),
        ("video,label,video\nx.mp4,a,x\n", "each column once"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        source(tmp_path, text)
    assert caught.value.exit_code == 2
    assert "clips.csv" in str(caught.value)


def test_missing_table_and_missing_columns_of_a_conjugate(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        open_source("csv", SourceOptions(input=str(tmp_path / "none.csv")))
    with pytest.raises(UsageError, match="column conjugate_video"):
        source(tmp_path, "video,label\nx.mp4,a\n", conjugate="given")
    with pytest.raises(UsageError, match="column mask"):
        source(tmp_path, "video,label\nx.mp4,a\n", conjugate="remove_person")
    with pytest.raises(UsageError, match="--conjugate among"):
        source(tmp_path, "video,label\nx.mp4,a\n", conjugate="magic")


def test_data_root(tmp_path, write_video, counted):
    (tmp_path / "tables").mkdir()
    (tmp_path / "media").mkdir()
    write_video(tmp_path / "media" / "a.mkv", counted(5))
    text = "video,label\na.mkv,x\n../media/a.mkv,x\n"
    below = source(tmp_path / "tables", text.replace("../media/", ""), data_root=tmp_path / "media")
    assert len(below.load(below.rows()[0]).clip) == 5
    beside = source(tmp_path / "tables", text.replace("\na.mkv,x", ""), data_root=tmp_path)
    assert beside.rows()[0].media == "media/a.mkv"  # relative to the root: the same everywhere
    assert len(beside.load(beside.rows()[0]).clip) == 5


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


def test_given_conjugates(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(40), fps=20)
    write_video(tmp_path / "b.mkv", counted(40, 48, 64), fps=10)
    opened = source(
        tmp_path,
        "video,label,start,end,conjugate_video,conjugate_start,conjugate_end\n"
        "a.mkv,x,0,1,b.mkv,1,2\n"
        "a.mkv,x,0,1,,1.5,2\n"
        "a.mkv,x,0,1,,,\n",
    )
    assert opened.conjugate == "given"
    other, own, none = map(opened.load, opened.rows())
    # Another file: at the clip's rate and size.
    assert other.conjugate.shape == (20, 24, 32, 3)
    assert (other.conjugate[:, 0, 0, 0] // 4).tolist() == [10 + n // 2 for n in range(20)]
    assert (other.conjugate_media_id, other.conjugate_start) == ("b.mkv", 1.0)
    assert (own.conjugate[:, 0, 0, 0] // 4).tolist() == list(range(30, 40))
    assert own.conjugate_media_id == "a.mkv"
    assert none.conjugate is None


def test_before_after_avoids_cuts_and_actions(tmp_path, write_video, counted):
    frames = counted(60) // 2  # dark; numbers count by twos
    frames[40:] = 255 - frames[40:]  # a cut at 2.0 s
    write_video(tmp_path / "a.mkv", frames, fps=20)
    opened = source(
        tmp_path,
        "video,label,start,end,split\n"
        "a.mkv,x,1.0,1.4,train\n"  # after: 0.6 s to the cut; before: 1 s
        "a.mkv,y,0.4,0.6,test\n"  # takes the side before away, though in another split
        "a.mkv,,0.8,0.9,train\n"  # no action: takes nothing
        "a.mkv,x,,,other\n",
        margin=0.1,
    )
    assert opened.conjugate == "before_after"
    pairs = [opened.load(row) for row in opened.rows()[:3]]
    # The last row's action covers the whole file and leaves no room at all.
    assert [pair.conjugate for pair in pairs] == [None, None, None]
    text = Path(tmp_path / "clips.csv").read_text().rsplit("\n", 2)[0] + "\n"
    opened = source(tmp_path, text, margin=0.1)
    first, second, empty = map(opened.load, opened.rows())
    assert (first.conjugate_start, len(first.conjugate)) == pytest.approx((1.5, 8))
    assert (second.conjugate_start, len(second.conjugate)) == pytest.approx((0.1, 4))
    assert empty.conjugate is None
    assert first.conjugate.max() < 128  # of the first shot


def test_before_after_of_a_clip_that_reaches_to_the_end(
    tmp_path, write_video, counted, monkeypatch
):
    """Nothing lies behind it, whether the table names no end or, as in frames, one far behind."""
    monkeypatch.setattr("tfrecords.conjugates.shots.LONG", 1.0)
    monkeypatch.setattr("tfrecords.conjugates.shots.CHUNK", 0.5)
    for name in "abcd":
        write_video(tmp_path / f"{name}.mkv", np.full((60, 24, 32, 3), 90, np.uint8), fps=20)
    opened = source(
        tmp_path, "video,label,start,end\na.mkv,x,2,\nb.mkv,x,2,1e6\nc.mkv,x,,\nd.mkv,x,0,1e9\n"
    )
    first, second, *whole = (opened.load(row) for row in opened.rows())
    for pair in (first, second):
        assert len(pair.clip) == 20
        assert pair.conjugate_start == pytest.approx(0.5) and len(pair.conjugate) == 20
    assert [pair.conjugate for pair in whole] == [None, None]


def test_before_after_by_likeness(tmp_path, write_video, counted):
    frames = counted(80, 48, 64) // 8  # little by little brighter, in one shot
    write_video(tmp_path / "a.mkv", frames, fps=20)
    frames[20:40] += (
        80  # before the clip the camera looks elsewhere for a second, unseen by `shots`
    )
    write_video(tmp_path / "c.mkv", frames, fps=20)
    text = "video,label,start,end\na.mkv,x,2.0,2.4\nc.mkv,x,2.0,2.4\n"
    pairs = {}
    for rank in ("longer", "alike"):
        opened = source(tmp_path, text, margin=0.1, conjugate_rank=rank)
        opened._timelines = {
            str(tmp_path / name): shots.Timeline(str(tmp_path / name))
            for name in ("a.mkv", "c.mkv")
        }
        for timeline in opened._timelines.values():
            timeline._chunks = {0: shots.Chunk((), 4.0, 20.0)}
        pairs[rank] = [opened.load(row).conjugate_start for row in opened.rows()]
    assert pairs["longer"] == pytest.approx([1.5, 1.5])
    assert pairs["alike"] == pytest.approx([1.5, 2.5])
    with pytest.raises(UsageError, match="--conjugate_rank among longer, alike, received 'best'"):
        source(tmp_path, text, conjugate_rank="best")


@pytest.mark.parametrize(
    "name", ["with space", "a 'b' (c)+!&;", "größe 動画", 'quote "q"', "-i $(x)"]
)
def test_odd_names_are_read(tmp_path, write_video, counted, name):
    write_video(tmp_path / f"{name}.mkv", counted(3))
    cell = '"' + f"{name}.mkv".replace('"', '""') + '"'
    opened = source(tmp_path, f"video,label\n{cell},x\n", conjugate="none")
    row = opened.rows()[0]
    assert row.media == f"{name}.mkv" and len(opened.load(row).clip) == 3


def test_negative_clip_is_the_nearest_of_the_same_split(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    opened = source(
        tmp_path,
        "video,label,start,end,split\n"
        "a.mkv,x,1.0,1.4,train\n"
        "a.mkv,,0,0.4,train\n"
        "a.mkv,,1.5,1.9,test\n"
        "a.mkv,,2.5,2.9,train\n",
        conjugate="negative_clip",
    )
    pairs = [opened.load(row) for row in opened.rows()]
    assert pairs[0].conjugate_start == 0.0 and len(pairs[0].conjugate) == 8
    assert [pair.conjugate for pair in pairs[1:]] == [None] * 3


def test_frozen_frame(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(6))
    opened = source(tmp_path, "video,label\na.mkv,x\n", conjugate="frozen_frame")
    pair = opened.load(opened.rows()[0])
    assert pair.conjugate.shape == pair.clip.shape and (pair.conjugate == pair.clip[0]).all()


@pytest.mark.parametrize("kind", ["remove_person", "frozen_frame"])
def test_the_clip_itself_is_no_conjugate(tmp_path, write_video, counted, kind):
    frames = counted(5)
    frames[:, 8:16, 8:16] = 255
    write_video(tmp_path / "a.mkv", frames)
    write_video(tmp_path / "one.mkv", counted(1))
    mask = np.zeros((5, 24, 32), bool)
    np.savez(tmp_path / "empty.npz", mask=mask)
    mask[:, 8:16, 8:16] = True
    np.savez(tmp_path / "actor.npz", mask=mask)
    opened = source(
        tmp_path,
        "video,label,mask\none.mkv,x,\na.mkv,x,empty.npz\na.mkv,x,actor.npz\n",
        conjugate=kind,
    )
    pairs = [opened.load(row) for row in opened.rows()]
    assert pairs[0].conjugate is None  # one frame; no mask
    # The empty mask leaves nothing to remove, but frames to freeze.
    assert (pairs[1].conjugate is None) == (kind == "remove_person")
    assert pairs[2].conjugate is not None


def test_urls_stand_for_themselves_and_other_schemes_are_refused(tmp_path):
    urls = ["s3://bucket/x.mp4", "https://host/x.mp4?key=1"]
    rows = source(tmp_path, "video,label\n" + "".join(f"{url},a\n" for url in urls)).rows()
    assert [row.media for row in rows] == urls
    for url in ("file:///etc/x.mp4", "ftp://host/x.mp4"):
        with pytest.raises(UsageError, match=f"line 2: expected a path or .*s3://.* {url}"):
            source(tmp_path, f"video,label\n{url},a\n")


def test_fingerprint_changes_with_rows_and_files(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(3))
    text = "video,label\na.mkv,x\n"
    first = source(tmp_path, text).fingerprint()
    assert source(tmp_path, text).fingerprint() == first
    assert source(tmp_path, text + "a.mkv,y\n").fingerprint() != first
    write_video(tmp_path / "a.mkv", counted(9))
    assert source(tmp_path, text).fingerprint() != first


def test_stills_need_masks_or_no_conjugates(tmp_path, write_video, counted):
    text = "video,label,conjugate_video\na.mkv,x,a.mkv\n"
    write_video(tmp_path / "a.mkv", counted(4), fps=20)
    with pytest.raises(UsageError, match=r"a column mask, .* for --conjugate=remove_person"):
        source(tmp_path, text, stills=2)
    opened = source(tmp_path, text, stills=2, conjugate="none")
    pair = opened.load(opened.rows()[1])
    assert pair.id == "a.mkv#1" and pair.clip[0, 0, 0, 0] == 12
    assert (pair.mask, pair.boxes, pair.conjugate) == (None, None, None)


def test_photographs_in_a_table(tmp_path, rng):
    """Each is itself, upright, whatever the number of stills; one that is cut short is none."""
    upright = rng.integers(0, 256, (90, 60, 3), np.uint8)
    turned, exif = Image.fromarray(np.rot90(upright)), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned.save(tmp_path / "a.JPG", exif=exif, quality=100, subsampling=0)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.JPG").read_bytes()[:5000])
    mask = np.zeros((90, 60), np.uint8)
    mask[50:, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    opened = source(tmp_path, "video,label,mask\na.JPG,x,mask.png\ncut.jpg,x,\n", stills=3)
    assert [row.id for row in opened.rows()] == ["a.JPG#0", "cut.jpg#0"]
    pair = opened.load(opened.rows()[0])
    assert np.abs(pair.clip[0].astype(int) - upright).mean() < 3
    np.testing.assert_array_equal(pair.mask[0], mask > 0)
    assert (pair.clip != pair.conjugate).any(axis=-1)[0, 50:, 10:30].mean() > 0.9
    with pytest.raises(UnreadableError, match=r"cut.jpg cannot be read: the image cannot be decod"):
        opened.load(opened.rows()[1])


def test_labels_are_nfc_and_of_one_line(tmp_path):
    opened = source(tmp_path, "video,label\nx.mp4,café\ny.mp4,cafe\u0301\n")
    assert opened.labels == ["café"]
    (tmp_path / "labels.txt").write_text("cafe\u0301\n", encoding="utf-8")
    labels = str(tmp_path / "labels.txt")
    assert source(tmp_path, "video,label\nx.mp4,café\n", labels=labels).labels == ["café"]
    with pytest.raises(UsageError, match=r"line 2: expected a label on one line, received 'a\\nb'"):
        source(tmp_path, 'video,label\nx.mp4,"a\nb"\n')


def test_empty_columns_of_conjugates_and_masks_are_none(tmp_path):
    header = "video,label,start,end,conjugate_video,conjugate_start,conjugate_end,mask\n"
    text = header + "x.mp4,a,1,2,,,,\n"
    assert source(tmp_path, text).conjugate == "before_after"
    for kind, column in (("given", "conjugate_video"), ("remove_person", "mask")):
        with pytest.raises(
            UsageError, match=f"a column {column}.* for .*received none or an empty"
        ):
            source(tmp_path, text, conjugate=kind)


@pytest.mark.parametrize(
    ("column", "cell", "span"),
    [("conjugate_end", "2", (0, 2)), ("conjugate_start", "0", (0, None))],
)
def test_a_lone_end_or_a_start_of_zero_is_a_conjugate(tmp_path, column, cell, span):
    opened = source(tmp_path, f"video,label,start,end,{column}\nx.mp4,a,3,4,{cell}\n")
    (row,) = opened.rows()
    assert opened.conjugate == "given" and row.conjugate_media == "x.mp4"
    assert (row.conjugate_start, row.conjugate_end) == span


def test_an_unreadable_conjugate_costs_the_conjugate_alone(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(40), fps=20)
    header = "video,label,start,end,conjugate_video,conjugate_start\n"
    opened = source(tmp_path, header + "a.mkv,x,0,1,,9\na.mkv,x,0,1,b.mp4,\n")
    pairs = [opened.load(row) for row in opened.rows()]
    assert [(len(pair.clip), pair.conjugate) for pair in pairs] == [(20, None)] * 2
    assert pairs[0].lost == "no conjugate: a.mkv: no frame lies in the span [9, ) s"
    assert pairs[1].lost == "no conjugate: b.mp4: there is no such file"


def test_links_that_lead_out_of_the_folder(tmp_path, write_video, counted):
    (tmp_path / "tables").mkdir()
    (tmp_path / "media").mkdir()
    write_video(tmp_path / "media" / "a.mkv", counted(5))
    (tmp_path / "tables" / "a.mkv").symlink_to(tmp_path / "media" / "a.mkv")
    (tmp_path / "tables" / "below").symlink_to(tmp_path / "media")
    (tmp_path / "tables" / "b.mkv").symlink_to("a.mkv")
    for name in ("a.mkv", "below/a.mkv", "b.mkv"):
        text = f"video,label\n{name},x\n"
        with pytest.raises(UsageError, match=f"line 2: .*data_root.*received {name}, a link to "):
            source(tmp_path / "tables", text)
        opened = source(tmp_path / "tables", text, data_root=str(tmp_path))
        assert len(opened.load(opened.rows()[0]).clip) == 5


def test_clock_times_and_decimal_commas(tmp_path):
    rows = source(tmp_path, "video;label;start;end\nx.mp4;a;1:02,5;0:01:05\nx.mp4;b;1,5;2\n").rows()
    assert [(row.start, row.end) for row in rows] == [(62.5, 65), (1.5, 2)]
    with pytest.raises(
        UsageError, match=r"line 2: .*mm:ss or hh:mm:ss.s in the column end, rec.*'1,5'"
    ):
        source(tmp_path, 'video,label,end\nx.mp4,a,"1,5"\n')


@pytest.mark.parametrize(
    "written",
    [
        "Clips/Match1.MP4",
        "clips\\match1.mp4",
        "clips/match1.avi",
        "clips/match1",
        "clips/cafe\u0301",
    ],
)
def test_a_path_that_differs_a_little_is_proposed(tmp_path, write_video, counted, written):
    (tmp_path / "clips").mkdir()
    for name in ("match1", "caf\u00e9"):
        write_video(tmp_path / "clips" / f"{name}.mkv", counted(2)).rename(
            tmp_path / "clips" / f"{name}.mp4"
        )
    meant = "clips/café.mp4" if "cafe" in written else "clips/match1.mp4"
    opened = source(tmp_path, f"video,label\n{written},x\nclips/match1.mp4,y\n")
    assert opened.remarks == (
        f"1 of 2 files are not there; skipped.csv names them: line 2: {written} "
        f"(did you mean {meant}?).",
    )
    with pytest.raises(UnreadableError) as caught:
        opened.load(opened.rows()[0])
    assert caught.value.reason == f"there is no such file (did you mean {meant}?)"


def test_a_path_like_none_is_missing_and_one_outside_is_corrected(tmp_path):
    assert "mean" not in source(tmp_path, "video,label\nx.mp4,a\n").remarks[0]
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UsageError, match=r"received /a.mp4 \(did you mean a.mp4\?\)"):
        source(tmp_path, "video,label\n/a.mp4,a\n")


def frames_of(folder: Path, frames, names) -> None:
    folder.mkdir(parents=True)
    for name, frame in zip(names, frames):
        Image.fromarray(frame).save(folder / name)


def test_a_folder_of_frames_is_a_video(tmp_path, write_video, counted):
    """As clip, mask and conjugate; the same frames, times and rate as a video of them."""
    frames = counted(12)
    write_video(tmp_path / "a.mkv", frames, fps=10)
    frames_of(tmp_path / "a", frames, [f"img_{n}.png" for n in range(1, 13)])
    frames_of(tmp_path / "mask", frames // 20 * 255, [f"{n:03}.png" for n in range(12)])
    (tmp_path / "a" / "notes.txt").touch()
    frames_of(tmp_path / "flow", frames[:2], ["flow_x_1.png", "flow_y_1.png"])
    (tmp_path / "flow" / "flow_x_1.png").rename(tmp_path / "a" / "flow_x_00001.png")
    text = "video,label,start,end,mask,conjugate_video,conjugate_start\n"
    text += "".join(f"{name},x,0.3,0.8,mask,{name},0.9\n" for name in ("a", "a.mkv"))
    opened = source(tmp_path, text, frames_fps=10.0)
    folder, film = map(opened.load, opened.rows())
    for name in ("clip", "conjugate", "mask"):
        np.testing.assert_array_equal(getattr(folder, name), getattr(film, name))
    assert len(folder.clip) == 5 and folder.mask.any()
    assert (folder.fps, folder.start) == (film.fps, pytest.approx(film.start)) == (10, 0.3)
    with pytest.raises(UsageError, match=r"line 2: expected a file, or --frames_fps .* received a"):
        source(tmp_path, text)
    before = opened.fingerprint()
    (tmp_path / "a" / "img_5.png").unlink()
    assert opened.fingerprint() != before
    # Its time stays empty: the frame before is shown longer.
    assert opened.load(opened.rows()[0]).clip[:3, 0, 0, 0].tolist() == [12, 12, 20]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "a folder without pictures"),
        (["a_1.png", "b_1.png"], "expected frames of one video, received pictures called a_#.png"),
        (["1.png", "2.png"], "2.png: not an image"),
    ],
)
def test_folders_that_are_no_video(tmp_path, counted, names, reason):
    frames_of(tmp_path / "a", counted(len(names)), names)
    if "2.png" in names:
        (tmp_path / "a" / "2.png").write_bytes(b"nothing")
    opened = source(tmp_path, "video,label\na,x\n", frames_fps=25.0, conjugate="none")
    with pytest.raises(UnreadableError) as caught:
        opened.load(opened.rows()[0])
    assert caught.value.file == "a" and caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("numbers", "times"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([5, 10, 15], [0, 1, 2]),
        ([8, 9, 10, 13], [0, 1, 2, 5]),
        ([7], [0]),
    ],
)
def test_times_of_frames(tmp_path, numbers, times):
    for n in numbers:
        (tmp_path / f"clip2_{n}.jpg").touch()
    listed = FrameFolder(str(tmp_path), 2.0).listed()
    assert listed == [(t / 2, f"clip2_{n}.jpg") for t, n in zip(times, numbers)]
