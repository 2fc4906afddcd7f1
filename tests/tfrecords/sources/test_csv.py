"""The source csv: what a table says, and what it may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.helpers.tables import source
from tfrecords.media.frames import FrameFolder
from tfrecords.media.video import UnreadableError
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError


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


@pytest.mark.parametrize(
    "name", ["with space", "a 'b' (c)+!&;", "größe 動画", 'quote "q"', "-i $(x)"]
)
def test_odd_names_are_read(tmp_path, write_video, counted, name):
    write_video(tmp_path / f"{name}.mkv", counted(3))
    cell = '"' + f"{name}.mkv".replace('"', '""') + '"'
    opened = source(tmp_path, f"video,label\n{cell},x\n", conjugate="none")
    row = opened.rows()[0]
    assert row.media == f"{name}.mkv" and len(opened.load(row).clip) == 3


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
