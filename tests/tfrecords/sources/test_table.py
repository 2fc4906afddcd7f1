"""Columns of a table are found, and errors in it refused or reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfrecords.sources.table import TableReader
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


@pytest.mark.parametrize(("mark", "name"), [("\t", "tabs"), (";", "semicolons")])
def test_another_separator_is_named(tmp_path, mark, name):
    with pytest.raises(UsageError, match=f"separated by commas, received {name}"):
        read(tmp_path, f"video{mark}label\na{mark}x\n")


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
