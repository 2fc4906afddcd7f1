"""The source voc2012_action, on a small tree in the data set's own layout."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from tfrecords import read_dataset
from tfrecords.build import command, summary
from tfrecords.conjugates.erase import LEAST_MARGIN, grow
from tfrecords.media.video import UnreadableError
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import load_info
from tfrecords.show.describe import describe
from tfrecords.show.verify import verify
from tfrecords.sources import SourceOptions, open_source
from tfrecords.sources.published.voc2012_action import ACTIONS, OTHER, read_annotation
from tfrecords.utils.errors import UsageError

WIDTH, HEIGHT = 96, 64
# Image -> (split, people: box xmin, ymin, xmax, ymax counted from 1 to the last pixel, actions).
IMAGES = {
    "2010_000001": ("train", [((1, 1, 24, 32), "walking")]),
    "2011_000002": (
        "train",
        [
            ((9, 17, 32, 64), "walking phoning"),
            ((61, 33, 96, 64), "walking"),
            ((41, 1, 56, 16), "other"),
        ],
    ),
    "2011_000003": ("train", [((41, 1, 56, 16), "other")]),
    "2012_000004": ("val", [((9, 17, 32, 64), "jumping"), ((61, 33, 96, 64), "running")]),
    "2012_000005": ("val", [((9, 17, 32, 64), "other")]),
}


def annotation(people: list, size: str = f"<width>{WIDTH}</width><height>{HEIGHT}</height>") -> str:
    objects = ""
    for (xmin, ymin, xmax, ymax), actions in people:
        tags = "".join(
            f"<{name}>{int(name in actions.split())}</{name}>" for name in (*ACTIONS, OTHER)
        )
        objects += (
            f"<object><name>person</name><actions>{tags}</actions><bndbox><xmax>{xmax}</xmax>"
            f"<xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin>{ymin}</ymin></bndbox>"
            "<difficult>0</difficult><point><x>3</x><y>4</y></point></object>"
        )
    # Someone whose actions are not annotated, and a dog.
    for name in ("person", "dog"):
        objects += (
            f"<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
            "<ymax>2</ymax></bndbox></object>"
        )
    return f"<annotation><size>{size}</size>{objects}</annotation>"


def photograph(people: list) -> np.ndarray:
    """A ramp of greens; each person a red box."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 1] = np.linspace(60, 200, WIDTH)
    for (xmin, ymin, xmax, ymax), _ in people:
        image[ymin - 1 : ymax, xmin - 1 : xmax] = (220, 30, 30)
    return image


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "VOC2012"
    lists = root / "ImageSets" / "Action"
    for path in (root / "JPEGImages", root / "Annotations", lists):
        path.mkdir(parents=True)
    for action in ACTIONS:
        for split in ("train", "val", "trainval", "test"):
            lines = [
                f"{name} {number} {1 if action in actions.split() else -1}\n"
                for name, (wanted, people) in IMAGES.items()
                for number, (_, actions) in enumerate(people, 1)
                if wanted == split and not (action == "jumping" and name.startswith("2010"))
            ]
            (lists / f"{action}_{split}.txt").write_text("".join(lines))
    (lists / "jumping_test.txt").write_text("2012_000009 1\n")  # as published: no labels
    for name, (_, people) in IMAGES.items():
        (root / "Annotations" / f"{name}.xml").write_text(annotation(people))
        image = Image.fromarray(photograph(people))
        image.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    return root


def opened(folder: Path, **options):
    return open_source("voc2012_action", SourceOptions(input=str(folder), **options))


def run(**options) -> None:
    """The build command, in this process."""
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def records(path: Path) -> list[ClipPair]:
    return [codec.decode(r) for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def test_rows(folder):
    source = opened(folder)
    assert source.labels == list(ACTIONS) and source.multi_label and source.short_side == 256
    assert source.conjugate == "remove_person" and source.remarks == ()
    rows = {row.id: row for row in source.rows()}
    assert {name: (row.split, row.labels, len(row.boxes)) for name, row in rows.items()} == {
        "2010_000001#walking": ("train", ("walking",), 1),
        "2011_000002#phoning": ("train", ("phoning", "walking"), 1),
        "2011_000002#walking": ("train", ("phoning", "walking"), 2),
        "2012_000004": ("test", ("jumping", "running"), 2),
        "2012_000005": ("test", (), 0),
    }
    assert rows["2012_000004"].media == "JPEGImages/2012_000004.jpg"
    for place in (folder.parent, folder.parent.parent):  # the folder above, and VOCdevkit
        if place == folder.parent.parent:
            folder.parent.rename(place / "VOCdevkit")
        assert [row.id for row in opened(place).rows()] == list(rows)


def test_a_sample_is_the_image_its_people_and_the_scene_without_them(folder):
    source = opened(folder)
    rows = {row.id: row for row in source.rows()}
    pair = source.load(rows["2011_000002#walking"])
    assert pair.clip.shape == pair.conjugate.shape == (1, HEIGHT, WIDTH, 3)
    expected = [[8 / 96, 16 / 64, 32 / 96, 1], [60 / 96, 32 / 64, 1, 1]]
    np.testing.assert_allclose(pair.boxes, expected, atol=1e-6)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[16:64, 8:32] = mask[32:64, 60:96] = True
    np.testing.assert_array_equal(pair.mask[0], mask)
    # Both walkers are gone, the third person, who does something else, is not.
    red = pair.conjugate[0, ..., 0].astype(int) - pair.conjugate[0, ..., 1]
    assert red[mask].max() < 40 < 150 < red[1:15, 41:55].min()
    far = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) == 0
    np.testing.assert_array_equal(pair.conjugate[0][far], pair.clip[0][far])

    phoning = source.load(rows["2011_000002#phoning"])
    assert len(phoning.boxes) == 1 and phoning.labels == ("phoning", "walking")
    red = phoning.conjugate[0, ..., 0].astype(int) - phoning.conjugate[0, ..., 1]
    assert red[40:60, 65:90].min() > 150  # the other walker is on no phone

    nobody = source.load(rows["2012_000005"])
    assert (nobody.boxes, nobody.mask, nobody.conjugate, nobody.labels) == (None, None, None, ())
    alone = opened(folder, conjugate="none")
    assert alone.load(alone.rows()[0]).conjugate is None


def test_a_decoy_is_away_from_everybody(folder):
    rows = {row.id: row for row in opened(folder).rows()}
    plain, decoyed = opened(folder), opened(folder, decoys=True)
    for name in ("2010_000001#walking", "2011_000002#phoning"):
        untouched, pair = plain.load(rows[name]), decoyed.load(rows[name])
        np.testing.assert_array_equal(pair.conjugate, untouched.conjugate)
        changed = (pair.clip != untouched.clip).any(axis=-1)[0]
        assert pair.decoy and not untouched.decoy
        # As large as the hole, up to the pixels that are filled with what they were.
        hole = grow(pair.mask[0], LEAST_MARGIN).sum()
        assert 0.2 * hole < changed.sum() <= hole
        for (xmin, ymin, xmax, ymax), _ in IMAGES[name.split("#")[0]][1]:
            assert not changed[ymin - 1 : ymax, xmin - 1 : xmax].any()
    # Two people and their margins leave less than they take.
    crowded = decoyed.load(rows["2011_000002#walking"])
    assert not crowded.decoy and crowded.conjugate is not None
    np.testing.assert_array_equal(
        decoyed.load(rows["2012_000004"]).clip, plain.load(rows["2012_000004"]).clip
    )


def test_people_of_unknown_actions_keep_decoys_away_and_stay(folder):
    path = folder / "Annotations" / "2010_000001.xml"
    there = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
    wide = "<xmin>28</xmin><ymin>1</ymin><xmax>96</xmax><ymax>64</ymax>"
    path.write_text(path.read_text().replace(there, wide, 1))
    source = opened(folder, decoys=True)
    row = source.rows()[0]
    assert row.others == ((27, 0, 96, 64),) and len(row.boxes) == 1
    pair = source.load(row)
    changed = (pair.clip != opened(folder).load(row).clip).any(axis=-1)[0]
    assert not changed[:, 27:].any()
    np.testing.assert_array_equal(pair.conjugate[0, :, 28:], pair.clip[0, :, 28:])


def test_what_a_build_with_decoys_says(folder, tmp_path, capsys):
    output = tmp_path / "out"
    run(source="voc2012_action", input=folder, output=output, decoys=True, blend="feather")
    said = capsys.readouterr().out
    assert "2 of the 3 photographs to train on have a decoy; in the other 1 people left" in said
    info = load_info(output)
    assert info.splits["train"]["decoys"] == 2
    assert "decoys" not in load_info(output).splits["test"]
    plan = json.loads((output / "build.json").read_text())
    assert (plan["blend"], plan["decoys"]) == ("feather", True) and "filler" not in plan
    assert "5 records in 2 shards" in verify(output)
    shards = sorted(output.glob("train*"))
    assert [pair.decoy for pair in records(shards[0])] == [True, True, False]
    assert "with a decoy" in describe(str(output), "train", 0)
    with pytest.raises(UsageError, match="built with blend 'feather', not 'poisson'"):
        run(source="voc2012_action", input=folder, output=output, decoys=True)
    info.splits["train"]["pairs"] = 2
    (output / "dataset.json").write_text(info.to_json())
    assert "people left" not in summary(output)


def test_labels_file_chooses_classes(folder, tmp_path):
    (tmp_path / "two.txt").write_text("other\nwalking\n")
    source = opened(folder, labels=str(tmp_path / "two.txt"))
    assert source.labels == ["other", "walking"]
    samples = {row.id: row.labels for row in source.rows() if row.split == "train"}
    assert samples == {
        "2010_000001#walking": ("walking",),
        "2011_000002#other": ("other", "walking"),
        "2011_000002#walking": ("other", "walking"),
        "2011_000003#other": ("other",),
    }
    # Not known to do it: no image of a data set that is about nothing else.
    jumps = folder / "ImageSets" / "Action" / "jumping_val.txt"
    jumps.write_text(jumps.read_text().replace("2012_000005 1 -1", "2012_000005 1 0"))
    (tmp_path / "one.txt").write_text("jumping\n")
    source = opened(folder, labels=str(tmp_path / "one.txt"))
    assert [(row.id, row.labels) for row in source.rows()] == [("2012_000004", ("jumping",))]
    (tmp_path / "bad.txt").write_text("walking\nflying\n")
    with pytest.raises(UsageError, match=r"bad.txt: expected actions among .*received 'flying'"):
        opened(folder, labels=str(tmp_path / "bad.txt"))


def test_stored_size_and_a_person_who_fills_the_picture(folder):
    source = opened(folder, short_side=32)
    row = source.rows()[1]
    pair = source.load(row)
    assert pair.clip.shape == (1, 32, 48, 3) and pair.mask.shape == (1, 32, 48)
    (folder / "Annotations" / "2010_000001.xml").write_text(
        annotation([((1, 1, WIDTH, HEIGHT - 1), "walking")])
    )
    source = opened(folder)
    pair = source.load(source.rows()[0])
    assert pair.conjugate is None and len(pair.boxes) == 1


def test_annotations_tolerate_missing_tags(folder):
    path = folder / "Annotations" / "2010_000001.xml"
    path.write_text(annotation([((24, 32, 1, 1), "walking")]).replace("size", "sizes"))
    size, people, others = read_annotation(str(path))
    assert size is None and people[0].box == (0, 0, 24, 32)  # corners in the other order
    assert others == ((0, 0, 2, 2),)  # who is known to be there, not what he does; no dog
    for partial in ("<width>96</width>", "<width></width><height>0</height>"):
        path.write_text(annotation([((24, 32, 1, 1), "walking")], partial))
        assert read_annotation(str(path)).size is None
    path.write_text(path.read_text().replace("<jumping>0</jumping>", ""))  # as in 2010
    assert read_annotation(str(path)).people[0].actions == {"walking"}
    source = opened(folder, short_side=32)
    pair = source.load(source.rows()[0])  # without a size the boxes are in the image's own pixels
    np.testing.assert_allclose(pair.boxes, [[0, 0, 0.25, 0.5]])


def skipped(path: Path) -> dict[str, str]:
    with (path / "skipped.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_a_build_goes_on_over_what_is_missing_or_broken(folder, tmp_path, capsys):
    output = tmp_path / "out"
    cut = folder / "JPEGImages" / "2010_000001.jpg"
    cut.write_bytes(cut.read_bytes()[:500])
    (folder / "JPEGImages" / "2012_000004.jpg").unlink()
    (folder / "Annotations" / "2011_000003.xml").write_text("<annotation>")
    (folder / "ImageSets" / "Action" / "phoning_val.txt").unlink()
    run(source="voc2012_action", input=folder, output=output, num_shards=1)
    info = load_info(output)
    assert info.multi_label and info.labels == list(ACTIONS) and info.frame_size == [64, 96]
    assert info.splits == {
        "train": {"shards": 1, "clips": 2, "pairs": 2, "negatives": 0, "skipped": 2},
        "test": {"shards": 1, "clips": 1, "pairs": 0, "negatives": 1, "skipped": 1},
    }
    reasons = skipped(output)
    assert set(reasons) == {f"JPEGImages/{n}.jpg" for n in list(IMAGES)[:4] if n != "2011_000002"}
    assert "cannot be decoded" in reasons["JPEGImages/2010_000001.jpg"]
    assert reasons["JPEGImages/2012_000004.jpg"] == "there is no such file"
    assert reasons["JPEGImages/2011_000003.jpg"].startswith(
        "Annotations/2011_000003.xml: not an annotation of VOC ("
    )
    remarks = opened(folder).remarks
    assert "phoning_val.txt" in remarks[0] and remarks[1].startswith("1 of 5 images are not in")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<xmax>24</xmax>", ""), "expected a number in <xmax>, received none"),
        (("<xmax>24</xmax>", "<xmax>wide</xmax>"), "expected a number in <xmax>, received 'wide'"),
        (("<xmax>24</xmax>", "<xmax>nan</xmax>"), "expected a number in <xmax>, received 'nan'"),
        (("<annotation>", "<?xml version='1.0' encoding='odd'?><annotation>"), "unknown encoding"),
        (("bndbox", "box"), "a person has no <bndbox>"),
        (("<width>96", "<width>64"), "96 x 64 pixels, its annotation says 64 x 64"),
        (("<xmax>24</xmax><xmin>1<", "<xmax>130</xmax><xmin>120<"), "a box outside of the image"),
    ],
)
def test_an_odd_annotation_is_named(folder, change, reason):
    path = folder / "Annotations" / "2010_000001.xml"
    path.write_text(path.read_text().replace(*change))
    source = opened(folder)
    with pytest.raises(UnreadableError, match=r"2010_000001.jpg cannot be read") as caught:
        source.load(source.rows()[0])
    assert reason in caught.value.reason


def test_wrong_layouts_are_one_sentence_each(folder, tmp_path):
    with pytest.raises(UsageError, match=r"the folder VOC2012, with JPEGImages.*received none"):
        open_source("voc2012_action", SourceOptions())
    with pytest.raises(UsageError, match=r"ImageSets/Action.*received .*JPEGImages"):
        opened(folder / "JPEGImages")
    with pytest.raises(UsageError, match="expected --conjugate=remove_person or none"):
        opened(folder, conjugate="before_after")
    with pytest.raises(UsageError, match="expected --flow=none, received dis"):
        opened(folder, flow="dis")
    path = folder / "ImageSets" / "Action" / "jumping_train.txt"
    for line in ("2011_000002 1", "2011_000002 1 2", "../../x 1 1", "2011_000002 one 1"):
        path.write_text(f"2011_000002 1 1\n{line}\n")
        with pytest.raises(
            UsageError, match=r"jumping_train.txt, line 2: expected an image's name"
        ):
            opened(folder)
    path.write_text("")
    for name in IMAGES:
        path = folder / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("actions", "poses"))
    with pytest.raises(UsageError, match="expected people with <actions>"):
        opened(folder)
    shutil.rmtree(folder / "Annotations")
    with pytest.raises(UsageError, match="Expected a folder Annotations in"):
        opened(folder)


def test_fingerprint_changes_with_boxes_and_images(folder):
    first = opened(folder).fingerprint()
    assert opened(folder).fingerprint() == first
    path = folder / "Annotations" / "2010_000001.xml"
    text = path.read_text()
    path.write_text(text.replace("<xmax>24<", "<xmax>25<"))
    assert opened(folder).fingerprint() != first
    path.write_text(text)
    (folder / "JPEGImages" / "2010_000001.jpg").unlink()
    assert opened(folder).fingerprint() != first


def test_records_are_read_shown_and_the_same_bytes_again(folder, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        run(source="voc2012_action", input=folder, output=tmp_path / name, workers=workers)
    shard = "train-00000-of-00001.tfrecord"
    assert (tmp_path / "one" / shard).read_bytes() == (tmp_path / "two" / shard).read_bytes()
    pairs = records(tmp_path / "one" / shard)
    assert [pair.id for pair in pairs] == [
        "2010_000001#walking",
        "2011_000002#phoning",
        "2011_000002#walking",
    ]
    assert pairs[2].boxes.shape == (2, 4) and pairs[2].fps == 1
    text = describe(str(tmp_path / "one"), "train", 2)
    assert "boxes xmin 0.083 ymin 0.250 xmax 0.333 ymax 1.000, xmin 0.625" in text

    options = {"frames": 1, "size": (48, 48), "batch_size": 2, "masks": True}
    data = read_dataset(tmp_path / "one", "test", training=False, resize="short_side", **options)
    inputs, targets, weights = next(iter(data))
    assert inputs["clip"].shape == (2, 1, 48, 48, 3) and weights.numpy().tolist() == [1, 1]
    assert inputs["has_conjugate"].numpy().tolist() == [True, False]
    assert inputs["has_mask"].numpy().tolist() == [True, False]
    both = [ACTIONS.index("jumping"), ACTIONS.index("running")]
    assert np.flatnonzero(targets[0]).tolist() == both and not targets[1].numpy().any()

    options.update(size=(32, 32), resize="whole", batch_size=1)
    for inputs, *_ in read_dataset(tmp_path / "one", "test", training=False, **options):
        assert inputs["clip"].shape == (1, 1, 32, 48, 3) == inputs["conjugate"].shape
        assert inputs["mask"].shape == (1, 1, 32, 48)
    with pytest.raises(ValueError, match=r"batch_size=1 for whole frames.*Received batch_size=2"):
        read_dataset(tmp_path / "one", "test", training=False, **{**options, "batch_size": 2})
    options.update(size=(64, 64), batch_size=3)
    data = read_dataset(tmp_path / "one", "train", flip=False, epochs=8, **options)
    assert data.element_spec[0]["clip"].shape.as_list() == [None, 1, 64, 64, 3]
    lefts = set()
    for inputs, *_ in data:
        green = inputs["clip"].numpy()[:, 0, 60, :, 1].astype(int)  # a ramp along the width
        lefts.update(green[inputs["id"].numpy() == b"2010_000001#walking"][:, 40].tolist())
        assert inputs["clip"].shape == (3, 1, 64, 64, 3)
    assert max(lefts) - min(lefts) > 10  # not always the centre


def test_published_annotations(shared_data):
    folder = shared_data / "annotations" / "voc2012_action"
    walking = read_annotation(str(folder / "2011_003279.xml"))
    assert walking == ((367, 500), (((108, 306, 188, 500), {"walking"}),), ())
    jumping = read_annotation(str(folder / "2012_004331.xml"))
    assert jumping == ((500, 375), (((101, 24, 208, 230), {"jumping"}),), ())
