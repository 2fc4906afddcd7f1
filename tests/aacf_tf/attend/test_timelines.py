"""Intervals are found where the actions are, and written in the forms that others read."""

from __future__ import annotations

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from aacf_tf.attend.intervals import Finder, Interval, context_shares, present
from aacf_tf.attend.timelines import write_timeline
from tfrecords.utils.errors import UserError

ABOUT = {"fps": 25.0, "height": 48, "width": 64, "score": "action", "threshold": 0.5}
INTERVALS = [
    Interval(0.5, 1.25, "a & <b>", 0.9, 0.25, 0.75, (1, 2, 30, 40)),
    Interval(3661.5, 3662.0, "café $x", 0.6, None, 3661.6),
]


def find(rows, multi_label=False, shortest=0.0):
    finder = Finder(["a", "b"], 10.0, 2.0, 0.5, multi_label, shortest)
    for tick, row in enumerate(rows):
        finder.add(tick, np.array(row), np.array([0.25, 0.75]))
    return [(one.label, one.start, one.end, one.at) for one in finder.close()]


def test_an_interval_lasts_while_its_class_is_the_best_and_above_the_threshold():
    rows = [[0.4, 0.3], [0.6, 0.1], [0.9, 0.8], [0.5, 0.6], [0.1, 0.2], [0.1, 0.7]]
    assert find(rows) == [
        ("a", 10.5, 11.5, 11.0),
        ("b", 11.5, 12.0, 11.5),
        ("b", 12.5, 13.0, 12.5),
    ]
    assert find(rows, multi_label=True) == [
        ("a", 10.5, 12.0, 11.0),
        ("b", 11.0, 12.0, 11.0),
        ("b", 12.5, 13.0, 12.5),
    ]
    assert find(rows, shortest=2) == [("a", 10.5, 11.5, 11.0)]
    assert find([[0.4, 0.3]]) == []


def test_scores_and_shares_are_means_over_the_interval():
    finder = Finder(["a"], 0.0, 1.0, 0.5, False)
    for tick, (score, share) in enumerate([(0.6, 0.1), (0.8, 0.3)]):
        finder.add(tick, np.array([score]), np.array([share]))
    [one] = finder.close()
    assert one.score == pytest.approx(0.7) and one.context_share == pytest.approx(0.2)


def test_the_context_s_share_compares_its_probability_with_the_action_s():
    scores = {"action": np.array([0.6, 0.0]), "context": np.array([0.2, 0.0])}
    np.testing.assert_allclose(context_shares(scores), [0.25, 0.5])
    assert context_shares({"combined": np.array([1.0])}) is None


def test_several_classes_are_there_in_a_multi_label_model_only():
    values = np.array([0.6, 0.7, 0.2])
    assert present(values, 0.5, True) == [0, 1] and present(values, 0.5, False) == [1]
    assert present(values, 0.8, False) == [] == present(values, 0.8, True)


@pytest.fixture
def written(tmp_path):
    def write(ending, intervals=INTERVALS):
        path = tmp_path / f"t{ending}"
        write_timeline(path, "videos/some.mp4", 3700.0, ABOUT, intervals)
        return path

    return write


def test_json_holds_everything(written):
    content = json.loads(written(".json").read_text(encoding="utf-8"))
    assert content.items() >= {"video": "videos/some.mp4", "seconds": 3700.0, **ABOUT}.items()
    first, second = content["intervals"]
    assert first == {
        "start": 0.5,
        "end": 1.25,
        "class": "a & <b>",
        "score": 0.9,
        "context_share": 0.25,
        "at": 0.75,
        "box": {"left": 1, "top": 2, "right": 30, "bottom": 40},
    }
    assert second["context_share"] is None and second["box"] is None


def test_csv_is_a_table_of_clips(written):
    from tfrecords.sources.table import TableReader

    path = written(".csv")
    with open(path, newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert [*first][:7] == ["video", "start", "end", "class", "score", "context_share", "at"]
    assert first["class"] == "a & <b>" and first["right"] == "30" and second["left"] == ""
    table = TableReader(str(path), ("video", "label"), ("start", "end"))
    assert [row["label"] for _, row in table] == ["a & <b>", "café $x"]


def test_webvtt_escapes_and_counts_hours(written):
    assert written(".vtt").read_text(encoding="utf-8") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\na &amp; &lt;b&gt; 0.90\n\n"
        "01:01:01.500 --> 01:01:02.000\ncafé $x 0.60\n"
    )


def test_elan_has_a_tier_for_each_class(written):
    root = ElementTree.parse(written(".eaf")).getroot()
    assert [one.tag for one in root] == [
        *("HEADER", "TIME_ORDER", "TIER", "TIER", "LINGUISTIC_TYPE"),
    ]
    slots = {one.get("TIME_SLOT_ID"): int(one.get("TIME_VALUE")) for one in root.iter("TIME_SLOT")}
    found = {}
    for tier in root.iter("TIER"):
        [one] = tier.iter("ALIGNABLE_ANNOTATION")
        ends = (slots[one.get(f"TIME_SLOT_REF{n}")] for n in (1, 2))
        found[tier.get("TIER_ID")] = (*ends, one.find("ANNOTATION_VALUE").text)
    assert found == {
        "a & <b>": (500, 1250, "a & <b> 0.90"),
        "café $x": (3661500, 3662000, "café $x 0.60"),
    }
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL").startswith("file:///") and media.get("MIME_TYPE") == "video/mp4"


def test_a_picture_has_a_bar_however_short_the_action_is(written):
    picture = np.asarray(Image.open(written(".png", INTERVALS[:1])).convert("RGB")).astype(int)
    assert (np.abs(picture - (0, 0x72, 0xB2)).sum(-1) < 60).any()


@pytest.mark.parametrize("ending", [".json", ".csv", ".vtt", ".eaf", ".png"])
def test_a_video_without_an_action_has_a_timeline_too(written, ending):
    assert written(ending, []).stat().st_size > 0


def test_a_timeline_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "t.vtt").mkdir()
    with pytest.raises(UserError, match=r"Expected to write .*t\.vtt"):
        write_timeline(tmp_path / "t.vtt", "a.mp4", 1.0, ABOUT, [])
