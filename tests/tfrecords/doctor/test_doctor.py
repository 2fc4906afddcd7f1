"""The doctor: what it says of folders, tables and photographs, and of what it cannot look at."""

from __future__ import annotations

import re

import numpy as np
import pytest
from absl import flags
from PIL import Image

from tfrecords.doctor import command
from tfrecords.sources import videos
from tfrecords.utils.errors import UsageError


@pytest.fixture
def look(capsys):
    """Runs the command in this process; returns what it printed, blanks as one."""

    def run(*arguments, **options) -> str:
        values = command.define_flags(flags.FlagValues())
        rest = values(["doctor", *map(str, arguments), *(f"--{k}={v}" for k, v in options.items())])
        command.main(rest[1:], values)
        return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())

    return run


def film(seed: int, frames: int = 8) -> np.ndarray:
    """A scene of coarse blocks, in which one of them grows bright."""
    scene = np.random.default_rng(seed).integers(0, 200, (6, 8, 3)).astype(np.uint8)
    clip = np.repeat(scene.repeat(8, 0).repeat(8, 1)[None], frames, 0)
    clip[:, :8, :8] = np.linspace(0, 200, frames).astype(np.uint8)[:, None, None, None]
    return clip


def test_a_folder(tmp_path, write_video, look, monkeypatch):
    # With one split there is nothing to compare, so that no clip is decoded for it.
    monkeypatch.setattr(videos, "alike_pairs", None)
    for n in range(12):
        (tmp_path / "run").mkdir(exist_ok=True)
        write_video(tmp_path / "run" / f"{n:02}.mkv", film(n), fps=60 if n == 3 else 20)
    (tmp_path / "jump").mkdir()
    write_video(tmp_path / "jump" / "long.mkv", film(20, 30))
    (tmp_path / "jump" / "broken.mkv").write_bytes(b"no video")
    page = tmp_path / "doctor.html"
    text = look(tmp_path / "run" / "..", output=page, workers=1)
    assert "--source=folders, since it is a folder" in text
    for line in (
        "clips 14: train 14",
        "files 14, of which 1 cannot be read",
        "pixels 64 x 48 (13)",
        "rate 20 frames/s (12), 60 frames/s (1)",
        "shortest 0.13",
        "longest 1.5 s, jump/long.mkv",
        "shots 13 of 13 clips decoded are one shot",
        "jump 2",
        "run 12",
        "Warning: 1 of 14 files, for 1 of 14 clips, cannot be read: jump/broken.mkv: not a video "
        "(Invalid data found when processing input).",
        "Warning: fewer than 5 clips to train on: jump (2).",
        "14 rows tried: 13 readable, 13 with a conjugate,",
        "--make_splits=70,15,15: there is no split to choose and to test on",
        "--fps=20: 20 to 60 frames/s in the files;",
        "Note: no frame is larger than --short_side=128: stored as it is",
    ):
        assert f"\n{line}" in text, line
    build = re.search(r"^python -m tfrecords.build .*", text, re.MULTILINE)
    assert build and build[0].endswith("--output=data/mine --make_splits=70,15,15 --fps=20")
    html = page.read_text()
    assert html.count('src="data:image/jpeg;base64,') == 2 * 13  # with their conjugates
    assert "http" not in html and "jump/broken.mkv: not a video" in html


def test_a_table(tmp_path, write_video, look):
    write_video(tmp_path / "a.mkv", film(0, 40), fps=10)
    write_video(tmp_path / "same.mkv", film(0, 40), fps=10)
    write_video(tmp_path / "cut.mkv", np.concatenate([film(1, 20), film(2, 20)]), fps=10)
    rows = [f"a.mkv,x,{n / 10},{n / 10 + 1},train," for n in range(20)]
    rows += ["same.mkv,y,0,2,test,", "a.mkv,y,3,5.5,train,", "gone.mkv,x,,,train,"]
    rows += ["cut.mkv,y,0,4,train,day1", "same.mkv,x,3,4,test,day1"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["video,label,start,end,split,group", *rows]) + "\n")
    text = look(table, sample=1000, workers=1, data_root=tmp_path)
    for line in (
        "class train test",
        "(--source=csv, since it is a file)",
        "x 21 1",
        "Warning: 1 group stands in several splits, so that a test may see what was trained on; by "
        "its first file: cut.mkv (test, train).",
        " pairs of clips of different splits look alike, so that a test may see",
        "Warning: 1 of 4 files, for 1 of 25 clips, cannot be read: gone.mkv: there is no such "
        "file.",
        "Warning: spans that end after their file (1): a.mkv@3.000-5.500 of 4 s.",
        "Warning: x has 21 clips to train on and y has 2;",
        "Warning: cuts inside 1 of 24 clips decoded: cut.mkv@0.000-4.000 (1).",
        "--conjugate=auto: ",
        f"python -m tfrecords.build --source=csv --input={table} --output=data/mine "
        f"--data_root={tmp_path} --conjugate=auto",
    ):
        assert line in text, line
    assert "--make_splits" not in text.split("Dry run")[1]
    grouped = look(table, sample=1, workers=1, group_pattern="(a|cut)")
    assert "Warning: 2 groups stand" not in grouped  # of one file each
    assert "--group_pattern" not in grouped  # the build takes it with --make_splits alone
    alone = look(table, sample=1, workers=1, near_duplicates="ignore", conjugate="none")
    assert "look alike" not in alone and "group stands" not in alone
    assert "one of each file, and the 10 that a build would store of 1 clips" in alone


def test_masks_and_conjugates_that_cannot_be_made(tmp_path, write_video, look):
    """Their videos can be read: so they are no broken files, but a build leaves them out."""
    write_video(tmp_path / "a.mkv", film(0), fps=10)
    np.savez(tmp_path / "short.npz", mask=np.ones((3, 48, 64), bool))
    rows = ["a.mkv,x,0,0.8,short.npz,,,", "a.mkv,x,0,0.8,gone.npz,,,"]
    rows += ["a.mkv,x,0,0.8,,a.mkv,7,9", "a.mkv,x,0,0.8,,,,"]
    header = "video,label,start,end,mask,conjugate_video,conjugate_start,conjugate_end"
    (tmp_path / "clips.csv").write_text("\n".join([header, *rows]) + "\n")
    text = look(tmp_path / "clips.csv", workers=1)
    assert "files 1, of which 0 cannot be read" in text
    warning = re.search(r"Warning: 2 of 4 clips decoded cannot be made .*", text)
    assert warning and "short.npz" in warning[0] and "gone.npz" in warning[0], text
    warning = re.search(r"Warning: 1 of 4 clips decoded lose their conjugate: .*", text)
    assert warning and "a.mkv" in warning[0], text


def test_photographs_and_folders_of_frames(tmp_path, look):
    for n in range(6):
        for place in (f"photos/{'ab'[n % 2]}/{n}.png", f"frames/a/one/{n:05}.png"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(film(n)[0].repeat(8, 0).repeat(8, 1)).save(tmp_path / place)
    text = look(tmp_path / "photos", make_splits="50,0,50")
    assert "\nclips 6: " in text and " test " in text and "there is no split" not in text
    assert "pixels 512 x 384 (6)" in text and "rate" not in text and "shots" not in text
    assert "6 of 6 clips decoded have no conjugate" in text
    text = look(tmp_path / "frames", frames_fps=3)
    assert "pixels 512 x 384 (1)\nrate 3 frames/s (1)\nshortest 2 s, a/one\n" in text
    assert "for a pretrained backbone --short_side=256 keeps more, at about 4 times" in text
    assert "the only class" in text


def test_a_heap_of_videos_is_looked_at_all_the_same(tmp_path, write_video, look):
    write_video(tmp_path / "a.mkv", film(0))
    (tmp_path / "more" / "x" / "y").mkdir(parents=True)
    write_video(tmp_path / "more" / "x" / "y" / "b.mkv", film(1))
    text = look(tmp_path)
    assert f"Warning: no build reads this folder as it is: {tmp_path}: expected DIR/CLASS" in text
    assert "files 2, of which 0 cannot be read" in text
    assert "python -m tfrecords.build" not in text


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("nowhere", {}, "Expected a folder or a table, received .*nowhere, which is not there"),
        ("built", {}, r"built is a data set that was built: python -m tfrecords.show .*built"),
        ("film.MP4", {}, "Expected a folder of videos or photographs, or a table"),
        ("empty", {}, "received no video and no photograph"),
        (
            "clips.csv",
            {"source": "demo"},
            "rows name files of videos, received --source=demo",
        ),
        ("clips.csv", {"source": "dem"}, "Expected --source among"),
        ("clips.csv", {"sample": 0}, "Expected --sample of 1 to 1000, received 0"),
        ("clips.csv", {"output": "page.pdf"}, "Expected --output to name an html file"),
        ("clips.csv", {"fps": 0}, "Expected --fps of 0.1 to 1000"),
        ("clips.csv", {"near_duplicates": "apart"}, "Expected --make_splits with --near_dup"),
    ],
)
def test_what_cannot_be_looked_at(tmp_path, look, place, options, message):
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "dataset.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.MP4").write_bytes(b"")
    (tmp_path / "clips.csv").write_text("video,label\nfilm.MP4,x\n")
    with pytest.raises(UsageError, match=message):
        look(tmp_path / place, **options)


def test_one_input_is_expected(look):
    with pytest.raises(UsageError, match="Expected one folder or table, received 0 arguments"):
        look()
