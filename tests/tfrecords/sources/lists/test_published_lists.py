"""Published lists: each is read from a tree in its own layout; what is missing or odd is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfrecords.build import build_dataset
from tfrecords.records.dataset import load_skipped
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError


def tree(folder: Path, files: dict) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def source(name: str, folder: Path, **options):
    return open_source(name, SourceOptions(**{"input": str(folder), **options}))


def rows(opened) -> list[tuple]:
    return [(row.split, row.media, row.labels) for row in opened.rows()]


UCF = {
    "ucfTrainTestlist/classInd.txt": "1 Archery\n2 Biking\n",
    "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\n"
    "Biking/v_Biking_g08_c01.avi 2\r\nBiking/v_Biking_g09_c01.avi 2\r\n",
    "ucfTrainTestlist/testlist01.txt": "Archery/v_Archery_g01_c01.avi\n",
    "ucfTrainTestlist/trainlist02.txt": "Biking/v_Biking_g08_c01.avi 2\n",
    "UCF-101/Archery/v_Archery_g08_c01.avi": "",
    "UCF-101/Archery/v_Archery_g01_c01.avi": "",
    "UCF-101/Biking/v_Biking_g08_c01.mp4": "",
}


def test_ucf101(tmp_path):
    opened = source("ucf101", tree(tmp_path, UCF))
    assert rows(opened) == [
        ("train", "UCF-101/Archery/v_Archery_g08_c01.avi", ("Archery",)),
        ("train", "UCF-101/Biking/v_Biking_g08_c01.mp4", ("Biking",)),
        ("train", "Biking/v_Biking_g09_c01.avi", ("Biking",)),
        ("test", "UCF-101/Archery/v_Archery_g01_c01.avi", ("Archery",)),
    ]
    assert (opened.conjugate, opened.labels) == ("frozen_frame", ["Archery", "Biking"])
    assert opened.remarks == (
        "1 files are read under another name than the list has, such as UCF-101/Biking/"
        "v_Biking_g08_c01.mp4 for Biking/v_Biking_g08_c01.avi.",
        "1 of 4 files are not there; skipped.csv names them: line 3: Biking/v_Biking_g09_c01.avi.",
    )
    second = source("ucf101", tmp_path, fold=2)
    assert len(second.rows()) == 1 and second.remarks[0] == "There is no testlist02.txt."
    pattern = "(v_.+_g[0-9]+)_"
    mixed = {"make_splits": "50,0,50,overwrite", "group_pattern": pattern}
    assert len(source("ucf101", tmp_path, **mixed).rows()) == 4


def test_hmdb51(tmp_path):
    lists = "testTrainMulti_7030_splits"
    files = {
        f"{lists}/brush_hair_test_split1.txt": "A!_b_f_0.avi 1 \nc (d)_b_1.avi 2 \nskip.avi 0 \n",
        f"{lists}/cartwheel_test_split1.txt": "e_0.avi 1\n",
        f"{lists}/cartwheel_test_split2.txt": "e_0.avi 2\n",
        "hmdb51_org/brush_hair/A!_b_f_0.avi": "",
        "hmdb51_org/brush_hair/c (d)_b_1.avi": "",
        "hmdb51_org/cartwheel/e_0.avi": "",
    }
    assert rows(source("hmdb51", tree(tmp_path, files))) == [
        ("train", "hmdb51_org/brush_hair/A!_b_f_0.avi", ("brush_hair",)),
        ("test", "hmdb51_org/brush_hair/c (d)_b_1.avi", ("brush_hair",)),
        ("train", "hmdb51_org/cartwheel/e_0.avi", ("cartwheel",)),
    ]
    assert rows(source("hmdb51", tmp_path, fold=2))[0][0] == "test"


def test_kinetics(tmp_path):
    """As csv and JSON; trimmed clips by their usual names, whole videos cut."""
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    tables = {
        "annotations/train.csv": header
        + "riding a bike,-a_1,10,20,train,0\nyoga,b2,3,13,train,0\n",
        "annotations/validate.csv": header + 'yoga,c3,0,10,validate,0\n"x, y",d4,5,15,validate,0\n',
        "annotations/test.csv": "youtube_id,time_start,time_end,split\ne5,0,10,test\n",
    }
    files = {
        "train/riding a bike/-a_1_000010_000020.mp4": "",
        "train/b2.mkv": "",
        "val/c3_0_10.webm": "",
    }
    opened = source("kinetics", tree(tmp_path / "csv", {**tables, **files}))
    found = [(row.split, row.media, row.start, row.end) for row in opened.rows()]
    assert sorted(found) == [
        ("test", "d4_000005_000015.mp4", 0, None),
        ("test", "val/c3_0_10.webm", 0, None),
        ("train", "train/b2.mkv", 3, 13),
        ("train", "train/riding a bike/-a_1_000010_000020.mp4", 0, None),
    ]
    assert "1 rows without a label are left out." in opened.remarks[0]

    def clip(label, start, subset):
        annotations = {"label": label, "segment": [start, start + 10.0]}
        return {"annotations": annotations, "duration": 10.0, "subset": subset, "url": "u"}

    as_json = {
        "train.json": {
            "-a_1": clip("riding a bike", 10.0, "train"),
            "b2": clip("yoga", 3, "train"),
        },
        "validate.json": {"c3": clip("yoga", 0, "val"), "d4": clip("x, y", 5.0, "validate")},
    }
    again = source("kinetics", tree(tmp_path / "json", {**as_json, **files}))
    assert [(row.split, row.media, row.start, row.end) for row in again.rows()] == [
        ("train", "train/riding a bike/-a_1_000010_000020.mp4", 0, None),
        ("train", "train/b2.mkv", 3, 13),
        ("test", "val/c3_0_10.webm", 0, None),
        ("test", "d4_000005_000015.mp4", 0, None),
    ]


def test_activitynet(tmp_path):
    def video(subset, *spans):
        found = [{"segment": [start, end], "label": label} for label, start, end in spans]
        return {"subset": subset, "annotations": found, "duration": 90.0, "url": "u"}

    database = {
        "aB_1": video("training", ("Drinking coffee", 1.5, 20), ("Archery", 30, 40)),
        "cD-2": video("validation", ("Archery", 0.0, 5.5)),
        "eF": video("testing"),
    }
    files = {
        "activity_net.v1-3.min.json": {"database": database, "version": "VERSION 1.3"},
        "v_aB_1.mp4": "",
        "videos/cD-2.mkv": "",
    }
    opened = source("activitynet", tree(tmp_path, files))
    assert [(row.split, row.id, row.labels[0]) for row in opened.rows()] == [
        ("train", "v_aB_1.mp4@1.500-20.000", "Drinking coffee"),
        ("train", "v_aB_1.mp4@30.000-40.000", "Archery"),
        ("test", "videos/cD-2.mkv@0.000-5.500", "Archery"),
    ]
    assert opened.conjugate == "before_after"


def test_something(tmp_path):
    def clip(number):
        texts = {"template": "Holding [something] next to [something]", "label": "holding a cup"}
        return {"id": number, **texts, "placeholders": ["a", "b"]}

    files = {
        "labels/labels.json": {
            "Pushing something": "1",
            "Holding something next to something": "0",
        },
        "labels/train.json": [clip("12"), clip("7")],
        "labels/validation.json": [clip("3")],
        "labels/test.json": [{"id": "9"}],
        "20bn-something-something-v2/12.webm": "",
        "20bn-something-something-v2/3.mp4": "",
    }
    opened = source("something", tree(tmp_path, files))
    assert opened.labels == ["Holding something next to something", "Pushing something"]
    assert [(row.split, row.media) for row in opened.rows()] == [
        ("train", "20bn-something-something-v2/12.webm"),
        ("train", "7.webm"),
        ("test", "20bn-something-something-v2/3.mp4"),
    ]


def test_something_v1(tmp_path):
    """Lists with semicolons; the videos as folders of frames, as they are published."""
    files = {
        "something-something-v1-labels.csv": "Holding something\nPutting something, and that\n",
        "something-something-v1-train.csv": "12;Putting something, and that\r\n"
        "7;Holding something\n",
        "something-something-v1-validation.csv": "3;Holding something\n",
        "something-something-v1-test.csv": "9\n",
        "20bn-something-something-v1/12/00001.jpg": "",
        "20bn-something-something-v1/3/00001.jpg": "",
    }
    opened = source("something", tree(tmp_path, files), frames_fps=12.0)
    assert opened.labels == ["Holding something", "Putting something, and that"]
    assert rows(opened) == [
        ("train", "20bn-something-something-v1/12", ("Putting something, and that",)),
        ("train", "7.webm", ("Holding something",)),
        ("test", "20bn-something-something-v1/3", ("Holding something",)),
    ]
    tree(tmp_path, {"something-something-v1-train.csv": "12;Holding\n"})
    with pytest.raises(UsageError, match="clip 12: expected a template among the labels, received"):
        source("something", tmp_path)


def test_diving48(tmp_path):
    dive = {"vid_name": "abc_00001", "label": 1, "start_frame": 0, "end_frame": 90}
    files = {
        "Diving48_vocab.json": [
            ["Back", "15som", "05Twis", "FREE"],
            ["Inward", "35som", "NoTwis", ""],
        ],
        "Diving48_V2_train.json": [dive],
        "Diving48_V2_test.json": [{**dive, "vid_name": "abc_00002", "label": 0}],
        "rgb/abc_00001.mp4": "",
        "rgb/abc_00002.mp4": "",
    }
    opened = source("diving48", tree(tmp_path, files))
    assert opened.labels == ["Back-15som-05Twis-FREE", "Inward-35som-NoTwis"]
    assert rows(opened) == [
        ("train", "rgb/abc_00001.mp4", ("Inward-35som-NoTwis",)),
        ("test", "rgb/abc_00002.mp4", ("Back-15som-05Twis-FREE",)),
    ]


def test_charades(tmp_path):
    header = "id,subject,script,actions,length\n"
    files = {
        "Charades_v1_classes.txt": "c000 Holding some clothes\nc001 Putting clothes somewhere\n",
        "Charades_v1_train.csv": header
        + 'AAA,S1,"A person, at home",c001 11.90 21.20;c000 0.00 12.60;c000 99 100,30.5\n',
        "Charades_v1_test.csv": header + "BBB,S2,x,c001 1 2,10\nCCC,S2,x,,10\n",
        "Charades_v1_480/AAA.mp4": "",
        "Charades_v1_480/BBB.mp4": "",
    }
    opened = source("charades", tree(tmp_path, files))
    assert opened.labels == ["Holding some clothes", "Putting clothes somewhere"]
    assert [(row.split, row.id, row.labels[0][:7]) for row in opened.rows()] == [
        ("train", "Charades_v1_480/AAA.mp4@11.900-21.200", "Putting"),
        ("train", "Charades_v1_480/AAA.mp4@0.000-12.600", "Holding"),
        ("test", "Charades_v1_480/BBB.mp4@1.000-2.000", "Putting"),
    ]
    assert "1 actions begin after their video's end: left out." in opened.remarks[0]
    whole = source("charades", tmp_path, multi_label=True).rows()
    assert [len(row.labels) for row in whole] == [2, 1, 0]


def test_mmaction2_videos(tmp_path):
    files = {
        "train_list.txt": "a/000.mp4 1\na/b c.mp4 0\n",
        "val_list.txt": "a/001.avi 1\n",
        "notes.txt": "nothing\n",
        "names.txt": "jump\nrun\nfly\n",
        "a/000.mp4": "",
        "a/b c.mp4": "",
    }
    opened = source("mmaction2", tree(tmp_path, files), labels=str(tmp_path / "names.txt"))
    assert rows(opened) == [
        ("train", "a/000.mp4", ("run",)),
        ("train", "a/b c.mp4", ("jump",)),
        ("validation", "a/001.avi", ("run",)),
    ]
    assert opened.labels == ["jump", "run", "fly"]
    one = source("mmaction2", tmp_path / "train_list.txt")
    assert one.labels == ["0", "1"] and "--labels=FILE names them" in one.remarks[0]


def test_mmaction2_frames_and_several_classes(tmp_path):
    files = {"test.txt": "x/clip1 2 1 10\nx/clip2.mp4 3\n", "x/clip1/img_00001.jpg": ""}
    folder = tree(tmp_path, {**files, "x/clip1/img_00002.jpg": "", "x/clip1/flow_x_00001.jpg": ""})
    with pytest.raises(UsageError, match=r"expected one label .several need --multi_label"):
        source("mmaction2", folder / "test.txt", frames_fps=25.0)
    opened = source("mmaction2", folder / "test.txt", frames_fps=25.0, multi_label=True)
    assert rows(opened) == [("test", "x/clip1", ("1", "10")), ("test", "x/clip2.mp4", ("3",))]
    assert opened.labels == [str(n) for n in range(11)]
    assert opened._paths["x/clip1"].fps == 25
    with pytest.raises(UsageError, match=r"--frames_fps for folders of frames, .* x/clip1"):
        source("mmaction2", folder / "test.txt", multi_label=True)


@pytest.mark.parametrize(
    ("name", "files", "options", "message"),
    [
        ("ucf101", {}, {}, "the folder that holds UCF101's ucfTrainTestlist, received"),
        ("ucf101", UCF, {"fold": 4}, "--fold of 1, 2 or 3, received 4"),
        (
            "ucf101",
            {"ucfTrainTestlist/trainlist01.txt": "x.avi\n"},
            {},
            "line 1: expected Class/v_",
        ),
        ("ucf101", UCF, {"conjugate": "before_after"}, "--conjugate=frozen_frame, auto, none"),
        ("ucf101", UCF, {"make_splits": "70,15,15"}, "names the splits already"),
        (
            "hmdb51",
            {"splits/a_test_split1.txt": "x.avi 3\n"},
            {},
            "and 0, 1 or 2, received 'x.avi 3'",
        ),
        (
            "kinetics",
            {"train.csv": "label,youtube_id\na,b\n"},
            {},
            "expected the columns youtube_id",
        ),
        ("kinetics", {"t.json": {"a": {}}}, {}, "t.json.*annotations"),
        ("activitynet", {}, {}, "activity_net.v1-3.min.json, or the folder"),
        ("something", {"labels.json": {"a": "b"}}, {}, "expected a number for each class"),
        (
            "diving48",
            {
                "Diving48_vocab.json": [["a"]],
                "Diving48_V2_train.json": [{"vid_name": "x", "label": 1}],
            },
            {},
            "clip x: expected a label of 0 to 0, received 1",
        ),
        (
            "charades",
            {"Charades_v1_classes.txt": "c0 A\n", "Charades_v1_test.csv": "id,actions\nx,c1 1 2\n"},
            {},
            "line 2: expected actions such as 'c092 11.90 21.20', received 'c1 1 2'",
        ),
        ("mmaction2", {"train.txt": "x.mp4\n"}, {}, "line 1: expected a path and the numbers"),
        (
            "mmaction2",
            {"train.txt": "frames/x 3\n"},
            {},
            "a folder of frames, their number and its",
        ),
        (
            "mmaction2",
            {"train.txt": "a.mp4 0\n", "x/a.mp4": "", "y/a.mp4": ""},
            {},
            "one file for a.m",
        ),
        ("mmaction2", {"train.txt": "../a.mp4 0\n"}, {"input": "nowhere"}, "received nowhere"),
    ],
)
def test_what_is_not_in_the_layout_is_refused(tmp_path, name, files, options, message):
    with pytest.raises(UsageError, match=message):
        source(name, tree(tmp_path, files), **options)


def test_names_that_lead_elsewhere(tmp_path):
    """A path of another machine is sought by its name; a link must not lead out."""
    files = {"t/train.txt": "/home/me/a.mp4 0\n../../b.mp4 1\n", "t/x/a.mp4": "", "b.mp4": ""}
    folder = tree(tmp_path, files) / "t"
    opened = source("mmaction2", folder)
    assert [row.media for row in opened.rows()] == ["x/a.mp4", "b.mp4"]
    assert "1 of 2 files are not there" in opened.remarks[-1]
    (folder / "b.mp4").symlink_to(tmp_path / "b.mp4")
    with pytest.raises(UsageError, match=r"inside .*--data_root.* received b.mp4, which leads to"):
        source("mmaction2", folder)
    assert source("mmaction2", folder, data_root=str(tmp_path)).rows()[1].media == "b.mp4"


def test_a_list_with_missing_renamed_and_broken_files(tmp_path, write_video, counted, caplog):
    """Builds what is there and says what is not."""
    folder = tree(tmp_path / "data", {k: v for k, v in UCF.items() if k.endswith("t01.txt")})
    broken = "v_Archery_g08_c01.avi"
    tree(folder, {f"UCF-101/Archery/{broken}": "nothing"})
    (folder / "moved").mkdir()
    write_video(folder / "moved" / "V_BIKING_g08_c01.mkv", counted(6))  # v_Biking_g08_c01.avi
    write_video(folder / "moved" / "v_Archery_g01_c01.mkv", counted(6))
    info = build_dataset(SourceOptions(input=str(folder)), tmp_path / "out", source="ucf101")
    counts = {split: (of["clips"], of["pairs"], of["skipped"]) for split, of in info.splits.items()}
    assert counts == {"train": (1, 1, 2), "test": (1, 1, 0)}
    assert [file for file, _ in load_skipped(tmp_path / "out")] == [
        f"UCF-101/Archery/{broken}",
        "Biking/v_Biking_g09_c01.avi",
    ]
    assert "2 files are read under another name than the list has, such as moved/V_" in caplog.text
    assert "1 of 4 files are not there" in caplog.text
