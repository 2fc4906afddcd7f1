"""Columns of a table are found, and errors in it refused or reported."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tfrecords.sources.table import TableReader, check_encoding, parse_seconds
from tfrecords.utils.errors import UsageError


def read(folder: Path, text: str) -> tuple[list, list[str]]:
    """(rows, remarks)."""
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    table = TableReader(str(path), ("video", "label"), ("start", "end", "split"))
    return list(table), [remark.replace(f"{path}: ", "") for remark in table.remarks]


@pytest.mark.parametrize("header", ["Video, LABEL ,Start,end,SPLIT", "video,label,start,END,split"])
def test_names_match_whatever_their_case_and_blanks(tmp_path, header):
    rows, remarks = read(tmp_path, f"{header}\na,x, 1 ,2,test\n")
    cells = {"video": "a", "label": "x", "start": "1", "end": "2", "split": "test"}
    assert (rows, remarks) == ([(2, cells)], [])


def test_synonyms_are_taken_and_reported(tmp_path):
    rows, remarks = read(tmp_path, "video,label,start_time,End (s),subset\na,x,1,2,test\n")
    assert rows[0][1] == {"video": "a", "label": "x", "start": "1", "end": "2", "split": "test"}
    assert remarks == [
        "the column start_time is read as start.",
        "the column subset is read as split.",
    ]
    # Of two, the column's own name wins; the other one is without a use.
    rows, remarks = read(tmp_path, "video,label,subset,split\na,x,one,two\n")
    assert rows[0][1]["split"] == "two" and remarks == ["columns not used: subset."]


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("strat", "start"),
        ("ned", "end"),
        ("spilt", "split"),
        ("splits", "split"),
        ("start_frame", "start"),
        ("end_ms", "end"),
        ("split1", "split"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_the_name_meant(tmp_path, column, meant):
    with pytest.raises(UsageError, match=rf"expected the column {meant}, received {column}"):
        read(tmp_path, f"video,label,{column}\na,x,1\n")


def test_unused_columns_are_reported(tmp_path):
    _, remarks = read(tmp_path, "id,video,label,note\n1,a,x,good\n")
    assert remarks == ["columns not used: id, note."]


def test_surplus_cells_are_refused_unless_they_are_empty(tmp_path):
    rows, _ = read(tmp_path, "video,label,split\na,x,test,,\nb,y\n")
    assert [cells["split"] for _, cells in rows] == ["test", ""]
    with pytest.raises(
        UsageError, match=r"line 3: expected 3 cells .* received 4 .*: b, shake, ha"
    ):
        read(tmp_path, "video,label,split\na,x,test\nb,shake, hands,train\n")


def test_rows_of_empty_cells_are_skipped_and_counted(tmp_path):
    rows, remarks = read(tmp_path, "video,label,split\na,x,test\n,,\n\n , ,\nb,y,\n")
    assert [line for line, _ in rows] == [2, 6]
    assert remarks == ["2 rows of empty cells skipped."]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("above", ["", "sep={}\n", "\n{}{}\n"])
def test_cells_are_separated_as_the_header_shows(tmp_path, mark, above):
    others = ",;\t".replace(mark, "")
    lines = [["Video", "class", f'"note{others}"'], [f'"a{others}b"', "x", ""]]
    text = above.format(mark, mark) + "".join(mark.join(cells) + "\n" for cells in lines)
    rows, _ = read(tmp_path, text)
    assert [cells for _, cells in rows] == [{"video": f"a{others}b", "label": "x"}]
    with pytest.raises(UsageError, match="received 3"):
        read(tmp_path, f"video{mark}label\na{mark}x{mark}y\n")


def test_bars_are_no_separators(tmp_path):
    with pytest.raises(UsageError, match="semicolons or tabs, received bars"):
        read(tmp_path, "video|label\na|x\n")


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-8-sig", "utf8"),
        ("utf-16", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", None),
        ("utf-16-be", None),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings(tmp_path, written, declared):
    path = tmp_path / "t.csv"
    path.write_bytes("video,label\nä.mp4,über\n".encode(written))
    table = TableReader(str(path), ("video", "label"), encoding=declared)
    assert list(table) == [(2, {"video": "ä.mp4", "label": "über"})]


def test_wrong_encodings_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("video,label\na,x\nä.mp4,über\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"line 3: expected text in UTF-8 or UTF-16, .*latin-1"):
        list(TableReader(str(path), ("video", "label")))
    with pytest.raises(UsageError, match=r"line 3: expected text in ascii, received other bytes"):
        list(TableReader(str(path), ("video", "label"), encoding="ascii"))
    path.write_bytes("video,label\na,x\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r"expected text in latin-1 by --encoding, .* of utf-16"):
        TableReader(str(path), ("video", "label"), encoding="latin-1")
    for name in ("latin-x", "hex", "undefined"):
        with pytest.raises(UsageError, match=f"--encoding to name .* received '{name}'"):
            check_encoding(name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12),
        ("12.25", 12.25),
        ("1:30", 90),
        ("01:30.5", 90.5),
        ("75:00", 4500),
        ("1:02:03.4", 3723.4),
        ("00:00:07,250", 7.25),
        (2.5, 2.5),
    ],
)
def test_times(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["1:60", "1:60:00", "1:2:3:4", "-1:30", "1:", ":30", "1,5", "1_0", "one", "", None, "1:3x"],
)
def test_what_is_no_time(text):
    assert math.isnan(parse_seconds(text))


def test_a_comma_is_a_decimal_point_where_it_separates_nothing(tmp_path):
    assert parse_seconds("1,5", decimal_comma=True) == 1.5
    assert math.isnan(parse_seconds("1,500.5", decimal_comma=True))
    for text, comma in (("video;label\na;x\n", True), ("video,label\na,x\n", False)):
        (tmp_path / "t.csv").write_text(text)
        assert TableReader(str(tmp_path / "t.csv"), ("video", "label")).decimal_comma == comma


@pytest.mark.parametrize(
    ("header", "read_as"),
    [
        ("video_id,video_path,class", {"video": "video_path", "label": "class"}),
        (  # of Kinetics, EPIC-Kitchens, ELAN, BORIS
            "label,youtube_id,time_start,time_end,split",
            {"video": "youtube_id", "start": "time_start", "end": "time_end"},
        ),
        (
            "video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,verb",
            {
                "video": "video_id",
                "label": "verb",
                "start": "start_timestamp",
                "end": "stop_timestamp",
            },
        ),
        (
            "file path;tag;Begin Time - hh:mm:ss.ms;End Time - hh:mm:ss.ms",
            {
                "video": "file path",
                "label": "tag",
                "start": "Begin Time - hh:mm:ss.ms",
                "end": "End Time - hh:mm:ss.ms",
            },
        ),
        ("Media file name\tBehavior\tStart (s)\tStop (s)", {"end": "Stop (s)"}),
    ],
)
def test_headers_of_other_projects(tmp_path, header, read_as):
    _, remarks = read(tmp_path, header + "\n")
    for column, given in read_as.items():
        assert f"the column {given} is read as {column}." in remarks


def test_another_name_of_the_table_is_proposed(tmp_path):
    (tmp_path / "Clips.csv").write_text("video,label\n")
    for name in ("clips.csv", "Clips.tsv", "CLIPS"):
        with pytest.raises(UsageError, match=r"did you mean .*Clips.csv\?"):
            TableReader(str(tmp_path / name), ("video", "label"))


def test_a_row_is_named_by_its_first_line(tmp_path):
    rows, _ = read(tmp_path, 'video,label\n"a\nb",x\nc,y\n')
    assert [line for line, _ in rows] == [2, 4]


@pytest.mark.parametrize(
    ("row", "line", "message"),
    [
        (b"b,\xff\n", 4, "expected text in UTF-8"),
        (b"b,\x00y\n", 4, "(expected text, received a zero|.* NUL)"),
        (b'b,"y"z\n', 4, "expected csv, received"),
        (b'b,"y', 4, "expected csv, received"),
        (b"b," + b"x" * 200_000, 4, "expected csv, received: field larger"),
    ],
)
def test_what_is_no_table_is_refused_at_its_line(tmp_path, row, line, message):
    (tmp_path / "t.csv").write_bytes(b"video,label\na,x\nc,\xc3\xa4\n" + row)
    with pytest.raises(UsageError, match=rf"t.csv, line {line}: {message}"):
        list(TableReader(str(tmp_path / "t.csv"), ("video", "label")))


def test_a_sentence_is_short_whatever_the_row(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "video,label\n" + "a," * 50_000 + "b\n")
    assert len(str(caught.value)) < 2100 and "expected 2 cells" in str(caught.value)
