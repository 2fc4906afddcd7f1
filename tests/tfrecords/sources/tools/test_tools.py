"""Exports of annotation tools, each in the tool's own form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/a.wav" RELATIVE_MEDIA_URL="./a.wav"/>
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/My%20films/a.mkv" TIME_ORIGIN="500"/>
 </HEADER>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1800"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2500"/>
 </TIME_ORDER>
 <TIER TIER_ID="action">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>run</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
   <ANNOTATION_VALUE>jump</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="who" PARENT_REF="action">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
   <ANNOTATION_VALUE>Ann</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
</ANNOTATION_DOCUMENT>
"""

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><id>7</id><mode>interpolation</mode><source>a.mkv</source></task></meta>
<track id="0" label="person" source="manual">
 <box frame="10" keyframe="1" outside="0" occluded="0" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0">
  <attribute name="action">run</attribute><attribute name="age">30</attribute></box>
 <box frame="15" keyframe="1" outside="0" occluded="0" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0">
  <attribute name="action">jump</attribute></box>
 <box frame="20" keyframe="1" outside="1" occluded="0" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0">
  <attribute name="action">jump</attribute></box>
</track>
<track id="1" label="person" source="manual">
 <polygon frame="18" keyframe="1" outside="0" occluded="0" points="1,2;3,4;5,6"/>
 <polygon frame="24" keyframe="1" outside="0" occluded="0" points="1,2;3,4;5,6"/>
</track></annotations>
"""


def studio(*results, **values) -> str:
    data = {"video": "/data/upload/1/3fa2b1c4-a.mkv", "length": 3}
    kept = {"id": 5, "was_cancelled": False, "result": list(results)}
    cancelled = {"id": 4, "was_cancelled": True, "result": [{"type": "labels"}]}
    return json.dumps([{"id": 1, "data": data, "annotations": [cancelled, kept], **values}])


def timeline(name: str, start: int, end: int) -> dict:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [name]}
    return {"type": "timelinelabels", "from_name": "action", "to_name": "video", "value": value}


def via(**changes) -> str:
    project = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1"]},
        "config": {},
        "attribute": {
            "1": {"aname": "action", "type": 4, "options": {"0": "run", "1": "jump"}},
            "2": {"aname": "note", "type": 1, "options": {}},
        },
        "file": {"1": {"fid": 1, "fname": "a.mkv", "type": 4, "loc": 1, "src": "a.mkv"}},
        "view": {"1": {"fid_list": [1]}},
        "metadata": {
            "1_a": {"vid": "1", "flg": 0, "z": [1, 2.5], "xy": [], "av": {"1": "1", "2": "fast"}},
            "1_b": {"vid": "1", "flg": 0, "z": [1.2], "xy": [2, 1, 1, 9, 9], "av": {"1": "0"}},
        },
    }
    return json.dumps({**project, **changes})


def source(name: str, folder: Path, file: str, text: str, **options):
    (folder / file).write_text(text, encoding="utf-8")
    return open_source(name, SourceOptions(**{"input": str(folder / file), **options}))


def spans(opened) -> list[tuple]:
    return [(row.media, row.labels[0], row.start, row.end) for row in opened.rows()]


def test_elan(tmp_path):
    opened = source("elan", tmp_path, "a.eaf", EAF)
    assert spans(opened) == [("a.mkv", "run", 1.5, 2.3), ("a.mkv", "Ann", 1.5, 2.3)]
    assert opened.remarks[0].endswith("a.eaf: 1 annotations have no times and are left out.")
    assert opened.remarks[1] == "Spans of 2 tiers are read, --tier chooses: action (1), who (1)."
    one = source("elan", tmp_path, "a.eaf", EAF, tier="action", input=str(tmp_path))
    assert spans(one) == [("a.mkv", "run", 1.5, 2.3)] and one.conjugate == "before_after"
    with pytest.raises(UsageError, match="expected --tier among action, who, received acts"):
        source("elan", tmp_path, "a.eaf", EAF, tier="acts")


def test_cvat(tmp_path):
    opened = source("cvat", tmp_path, "a.xml", CVAT, frames_fps=10.0)
    assert spans(opened) == [
        ("a.mkv", "jump", 1.5, 2.0),
        ("a.mkv", "run", 1.0, 1.5),
        ("a.mkv", "person", 1.0, 2.5),
    ]
    one = source("cvat", tmp_path, "a.xml", CVAT, frames_fps=10.0, tier="action")
    assert [span[1] for span in spans(one)] == ["jump", "run"]


def test_label_studio(tmp_path):
    region = {"start": 0.5, "end": 2, "labels": ["sit"], "channel": 0}
    results = (
        timeline("run", 11, 20),
        {"type": "labels", "from_name": "sound", "value": region},
        {"type": "choices", "from_name": "whole", "value": {"choices": ["good"]}},
        {"type": "videorectangle", "from_name": "box", "value": {"sequence": [], "labels": ["P"]}},
        {"type": "relation"},
    )
    opened = source("label_studio", tmp_path, "a.json", studio(*results), frames_fps=10.0)
    assert spans(opened) == [
        (["data", "upload", "1", "3fa2b1c4-a.mkv"][-1], "run", 1.0, 2.0),
        ("3fa2b1c4-a.mkv", "sit", 0.5, 2.0),
        ("3fa2b1c4-a.mkv", "good", 0, None),
    ]
    (tmp_path / "a.mkv").touch()
    opened = source("label_studio", tmp_path, "a.json", studio(*results), frames_fps=10.0)
    assert {row.media for row in opened.rows()} == {"a.mkv"}
    local = {"data": {"v": "/data/local-files/?d=films%2Fa.mkv"}}
    opened = source("label_studio", tmp_path, "a.json", studio(*results, **local), tier="sound")
    assert spans(opened) == [("a.mkv", "sit", 0.5, 2.0)]


def test_label_studio_min(tmp_path):
    """JSON-MIN: a control's values beside the data, one choice as a text, several in an object."""
    task = {
        "video": "/data/upload/1/3fa2b1c4-a.mkv",
        "id": 1,
        "action": [
            {"ranges": [{"start": 11, "end": 20}], "timelinelabels": ["run"]},
            {"ranges": [{"start": 21, "end": 30}], "timelinelabels": ["jump"]},
        ],
        "sound": [{"start": 0.5, "end": 2, "labels": ["sit"], "channel": 0}],
        "box": [{"sequence": [], "labels": ["P"], "framesCount": 40}],
        "whole": "good",
        "annotator": 1,
        "annotation_id": 2,
        "created_at": "2024-05-01T10:00:00.000000Z",
        "updated_at": "2024-05-01T10:00:00.000000Z",
        "lead_time": 12.5,
    }
    several = {"video": "b.mkv", "whole": [{"choices": ["good", "long"]}]}
    text = json.dumps([task, several])
    opened = source("label_studio", tmp_path, "a.json", text, frames_fps=10.0, multi_label=True)
    assert spans(opened) == [
        ("3fa2b1c4-a.mkv", "run", 1.0, 2.0),
        ("3fa2b1c4-a.mkv", "jump", 2.0, 3.0),
        ("3fa2b1c4-a.mkv", "sit", 0.5, 2.0),
        ("3fa2b1c4-a.mkv", "good", 0, None),
        ("b.mkv", "good", 0, None),
        ("b.mkv", "long", 0, None),
    ]
    one = source("label_studio", tmp_path, "a.json", text, frames_fps=10.0, tier="action")
    assert [span[1] for span in spans(one)] == ["run", "jump"]


VIA_CSV = r'''# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# - temporal coordinate of [1.349,2.741] denotes a temporal segment from time 1.346 sec.
# SHAPE_ID = {"POINT":1,"RECTANGLE":2}
# ATTRIBUTE = {"1":{"aname":"action","type":4,"options":{"1":"jump, high"}},"2":{"aname":"note"}}
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_a","[""a, b.mkv""]",0,"[1,2.5]","[]","{""1"":""1"",""2"":""is \""fast\""""}"
"1_b","[""a, b.mkv""]",0,"[1.2]","[2,1,1,9,9]","{""1"":""1""}"
'''


def test_via_export(tmp_path):
    """Its csv: the attributes in a remark, JSON in the cells."""
    opened = source("via", tmp_path, "a.csv", VIA_CSV)
    assert spans(opened) == [
        ("a, b.mkv", "jump, high", 1.0, 2.5),
        ("a, b.mkv", 'is "fast"', 1.0, 2.5),
    ]
    older = source("via", tmp_path, "a.csv", VIA_CSV.replace("# ATTRIBUTE ", "# ATTRIBUTES "))
    assert spans(older) == spans(opened)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("temporal_coordinates", "start"), "of VIA 3 with the column temporal_coordinates, rece"),
        (("[1,2.5]", "[2.5,1]"), "line 6: expected a start and a later end in seconds"),
        (("[1,2.5]", '[1,""x""]'), "line 6, temporal_coordinates: expected .* a number, received"),
        (("[1,2.5]", "[1,2"), "line 6, temporal_coordinates: expected JSON, received damaged"),
        (('{"1":{', '{"3":{'), "line 6: expected an attribute of the project, received '1'"),
        (('"[""a, b.mkv""]"', '"[]"'), "line 6: expected a file, received none"),
    ],
)
def test_what_is_no_export_of_via(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        source("via", tmp_path, "a.csv", VIA_CSV.replace(*change))


def test_via(tmp_path):
    opened = source("via", tmp_path, "a.json", via())
    assert spans(opened) == [("a.mkv", "jump", 1.0, 2.5), ("a.mkv", "fast", 1.0, 2.5)]
    assert spans(source("via", tmp_path, "a.json", via(), tier="action"))[0][1] == "jump"


def test_frames_are_counted_in_the_video(tmp_path, write_video, counted):
    """At another rate for each part of it, so that no single one would do."""
    times = [*range(0, 1000, 50), *range(1000, 3000, 100)]
    write_video(tmp_path / "a.mkv", counted(40), times=times)
    opened = source("label_studio", tmp_path, "a.json", studio(timeline("run", 11, 30)))
    assert spans(opened) == [("a.mkv", "run", 0.5, 2.0)]
    clip = opened.load(opened.rows()[0]).clip
    assert clip[0, 0, 0, 0] == 40 and clip[-1, 0, 0, 0] == 4 * 29
    opened = source("label_studio", tmp_path, "a.json", studio(timeline("run", 31, 40)))
    assert spans(opened) == [("a.mkv", "run", 2.0, None)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "elan",
            "<annotations/>",
            "expected a file of ELAN with <ANNOTATION_DOCUMENT>, received <an",
        ),
        ("elan", "<a", "Expected a file of ELAN at .*: "),
        (
            "elan",
            EAF.replace("a.mkv", "b.wav"),
            "expected a video among its media, received .*b.wav",
        ),
        ("elan", EAF.replace('"1800"', '"900"'), "annotation a1: expected a start before its end"),
        (
            "cvat",
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>',
            "a document type, which may define entities, is not read",
        ),
        (
            "cvat",
            CVAT.replace('frame="10"', 'frame="x"'),
            "track 0: expected a number of a frame, rec",
        ),
        ("cvat", CVAT.replace("a.mkv", ""), "the name of its video in <source>, received none"),
        ("cvat", '<annotations><image name="a"/></annotations>', "received CVAT for images"),
        ("cvat", "<annotations/>", "expected at least one clip with a label, received none"),
        ("label_studio", "{}", "a.json"),
        ("label_studio", '[{"choice": "run"}]', "task 1: expected a video among its data, rec"),
        ("label_studio", '[{"data": {}, "annotations": 1}]', "annotations to be a list, received"),
        ("label_studio", studio(timeline("run", 9, 3)), "task 1: .*a later end in frames from 1"),
        ("label_studio", studio(data={"image": "a.png"}), "a video among its data, received a.png"),
        ("via", '{"file": {}}', "attribute"),
        ("via", via(view={}), "metadata 1_a: expected a view with a file, received '1'"),
        (
            "via",
            via(attribute={}),
            "metadata 1_a: expected an attribute of the project, received '1'",
        ),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, name, text, message):
    file = {"elan": "a.eaf", "cvat": "a.xml"}.get(name, "a.json")
    with pytest.raises(UsageError, match=message):
        source(name, tmp_path, file, text)
