"""`--people`: masks where none are, with their origin; no other byte changes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.build import build_dataset, summary
from tfrecords.reading.clips import has_masks, read_dataset
from tfrecords.reading.options import ClipSpec
from tfrecords.reading.phases import parse
from tfrecords.records import codec, feature_codec, names
from tfrecords.records.checking import check_record, check_records
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import load_info
from tfrecords.show.contact_sheet import make_row
from tfrecords.show.describe import describe
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError, UserError

ANNOTATED, MOTION = "annotated", "auto:motion"


@pytest.fixture(scope="module")
def table(tmp_path_factory, write_video) -> str:
    """Clips with and without a mask, and one in which nothing moves."""
    folder = tmp_path_factory.mktemp("clips")
    frames, mask = np.full((8, 48, 64, 3), 70, np.uint8), np.zeros((8, 48, 64), bool)
    write_video(folder / "still.mkv", frames)
    for t in range(8):
        frames[t, 16:32, 4 + 5 * t : 20 + 5 * t] = 250
        mask[t, 16:32, 4 + 5 * t : 20 + 5 * t] = True
    for name in ("known", "moving", "other"):
        write_video(folder / f"{name}.mkv", frames)
    np.savez_compressed(folder / "m.npz", mask=mask)
    (folder / "t.csv").write_text(
        "video,label,mask,split\nknown.mkv,x,m.npz,train\nmoving.mkv,x,,train\n"
        "still.mkv,y,,train\nother.mkv,y,,test\n"
    )
    return str(folder / "t.csv")


def build(table: str, directory, **options) -> dict[str, ClipPair]:
    build_dataset(SourceOptions(input=table, **options), directory, num_shards=1)
    return {pair.id: pair for pair in map(codec.decode, records(directory))}


def records(directory) -> list[bytes]:
    paths = sorted(map(str, directory.glob("*.tfrecord")))
    return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


@pytest.fixture(scope="module")
def built(table, tmp_path_factory):
    directory = tmp_path_factory.mktemp("built") / "data"
    return directory, build(table, directory, people="motion", conjugate="remove_person")


def test_masks_are_found_stored_and_used(built, table):
    directory, pairs = built
    origins = {name[:-4]: pair.mask_origin for name, pair in pairs.items()}
    assert origins == {"known": ANNOTATED, "moving": MOTION, "still": "", "other": MOTION}
    assert pairs["still.mkv"].mask is None and pairs["still.mkv"].conjugate is None
    true, found = pairs["known.mkv"].mask, pairs["moving.mkv"].mask
    assert (true & found).sum() > 0.9 * true.sum() and found.mean() < 0.25
    gone = pairs["moving.mkv"].conjugate
    assert gone[true].mean() < 90 and pairs["moving.mkv"].clip[true].mean() > 230
    stored = tf.train.SequenceExample.FromString(records(directory)[1]).context.feature
    assert stored[names.MASK_ORIGIN].bytes_list.value
    check_records(directory)


def test_they_are_counted_and_shown(built):
    directory, pairs = built
    info = load_info(directory)
    assert info.splits["train"].items() >= {f"masks_{ANNOTATED}": 1, f"masks_{MOTION}": 1}.items()
    assert "  masks: 1 annotated, 2 auto:motion, of 4 clips; people by motion" in summary(directory)
    assert "  masks: 1 annotated, 2 auto:motion\n" in describe(str(directory))
    assert "% actor, annotated" in describe(str(directory), "train", 0)
    assert "% actor, auto:motion" in describe(str(directory), "train", 1)
    row = make_row(pairs["moving.mkv"])
    assert row.caption == "moving.mkv    mask: auto:motion    conjugate: made for the clip"
    assert (row.clip == (0, 230, 255)).all(-1).any()


def test_without_it_nothing_changes(table, tmp_path):
    pairs = build(table, tmp_path / "none", conjugate="none")
    assert {pair.mask_origin for pair in pairs.values()} == {""}
    assert sum(pair.mask is not None for pair in pairs.values()) == 1
    assert not any(names.MASK_ORIGIN.encode() in record for record in records(tmp_path / "none"))
    files = [path.read_text() for path in (tmp_path / "none").glob("*.json")]
    assert not any("people" in text or "masks_" in text for text in files)
    with pytest.raises(UsageError, match="was built with people None, not 'motion'"):
        build(table, tmp_path / "none", conjugate="none", people="motion")


def test_auto_says_what_it_took(table, monkeypatch, caplog):
    monkeypatch.setenv("AACF_PEOPLE_PYTHON", "/no/such/python")
    options = SourceOptions(input=table, people="auto", conjugate="auto")
    opened = open_source("csv", options)
    said = [remark for remark in opened.remarks if remark.startswith("--people=auto: by motion, ")]
    assert len(said) == 1 and "received /no/such/python" in said[0]
    kinds = {row.media[:-4]: opened.load(row).conjugate_kind for row in opened.rows()}
    removed = dict.fromkeys(("known", "moving", "other"), "remove_person")
    assert kinds == {**removed, "still": ""}
    with pytest.raises(UserError, match="AACF_PEOPLE_PYTHON"):
        open_source("csv", SourceOptions(input=table, people="mediapipe"))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("csv", {"people": "all"}, "--people among none, auto, mediapipe, motion, received 'all'"),
        ("demo", {"people": "motion"}, "no --people for --source=demo, received motion"),
        ("voc2012_action", {"people": "auto"}, "no --people for --source=voc2012_action"),
        ("csv", {"conjugate": "remove_person"}, "a column mask, or --people, for --conjugate=remo"),
    ],
)
def test_wrong_use_is_one_sentence(source, options, message, tmp_path):
    (tmp_path / "t.csv").write_text("video,label\na.mkv,x\n")
    with pytest.raises(UsageError, match=message):
        open_source(source, SourceOptions(input=str(tmp_path / "t.csv"), **options))


def test_photographs(table, tmp_path):
    """Of clips the neighbouring frames say what moves; a photograph has no motion."""
    options = {"stills": 1, "people": "motion", "short_side": 0}
    opened = open_source("csv", SourceOptions(input=table, **options))
    pairs = {row.media[:-4]: opened.load(row) for row in opened.rows()}
    assert pairs["moving"].mask.any() and pairs["moving"].mask_origin == MOTION
    assert pairs["moving"].conjugate is not None
    assert pairs["moving"].boxes is None and pairs["known"].boxes is not None  # ground truth
    assert pairs["still"].mask is None
    (tmp_path / "t.csv").write_text("video,label\na.jpg,x\n")
    with pytest.raises(UsageError, match="A photograph has no motion: expected --people=mediapi"):
        open_source("csv", SourceOptions(input=str(tmp_path / "t.csv"), **options))


def test_folders_have_people_to_remove(table, tmp_path, write_video):
    (tmp_path / "x").mkdir()
    write_video(tmp_path / "x" / "a.mkv", np.zeros((3, 24, 32, 3), np.uint8))
    for options in ({}, {"stills": 1}):
        wanted = SourceOptions(input=str(tmp_path), conjugate="remove_person", **options)
        with pytest.raises(UsageError, match="received remove_person"):
            open_source("folders", wanted)
        given = SourceOptions(**{**vars(wanted), "people": "motion"})
        opened = open_source("folders", given)
        assert opened.conjugate == "remove_person"
        assert all(map(opened.wants_conjugate, opened.rows()))


def test_training_uses_them_and_evaluation_does_not(built):
    directory, _ = built

    parsed = [
        [bool(parse(record, ClipSpec(masks=True, automatic_masks=wanted))["has_mask"])
         for record in records(directory)]
        for wanted in (False, True)
    ]  # fmt: skip
    assert [sum(found) for found in parsed] == [1, 3]
    assert has_masks(directory, "test") and not has_masks(directory, "test", automatic=False)
    batches = read_dataset(directory, "train", 4, (24, 32), 3, swap=1.0)
    inputs, _, _ = next(iter(batches))
    assert inputs["swapped"].numpy().sum() >= 1 and "mask" not in inputs


def test_retrying_counts_them_again(table, tmp_path, caplog):
    """The notes of shards that are kept are made of their records."""
    directory = tmp_path / "out"
    text = Path(table).read_text(encoding="utf-8")
    other = f"{table[:-5]}more.csv"
    Path(other).write_text(text + "none.mkv,y,,test\n", encoding="utf-8")
    options = SourceOptions(input=other, people="motion", conjugate="none")
    with caplog.at_level(logging.WARNING):
        before = build_dataset(options, directory, num_shards=1)
        again = build_dataset(options, directory, num_shards=1, retry_skipped=True)
    assert before.splits == again.splits and before.splits["test"]["skipped"] == 1


def test_an_origin_that_is_none_is_refused(built):
    directory, _ = built
    example = tf.train.SequenceExample.FromString(records(directory)[1])
    for origin, message in ((b"by hand", "origin: expected annotated, auto"), (b"", "received ''")):
        del example.context.feature[names.MASK_ORIGIN].bytes_list.value[:]
        example.context.feature[names.MASK_ORIGIN].bytes_list.value.append(origin)
        with pytest.raises(UserError, match=message):
            check_record(example.SerializeToString(), load_info(directory), "train")
    clip, mask = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), bool)
    for wrong in ({"mask": mask, "mask_origin": "auto"}, {"mask_origin": ANNOTATED}):
        with pytest.raises(ValueError, match="mask_origin of a mask among annotated, auto:mediap"):
            ClipPair("a", clip, None, ("x",), **wrong)


@pytest.mark.parametrize("origin", ["", *names.MASK_ORIGINS])
def test_cached_features_keep_the_origin(origin):
    clip, mask = np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 8), bool)
    pair = ClipPair("a", clip, None, ("x",), mask=mask, mask_origin=origin)
    record = codec.encode(pair, {"x": 0})
    assert codec.decode(record).mask_origin == origin
    maps = [np.zeros((1, 2, 2, 3), np.float16)]
    cached = feature_codec.encode_features(record, "P", maps, [], mask.view(np.uint8))
    parsed = feature_codec.parse_features(cached, "P", conjugates=False, masks=True)
    for one in (parsed, codec.parse(record)):
        kept = codec.known_masks(one, automatic=False)
        assert len(kept) == (0 if origin.startswith("auto:") else 2)
        assert len(codec.known_masks(one, automatic=True)) == 2
