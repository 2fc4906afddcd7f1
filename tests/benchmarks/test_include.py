"""Tables in documents are those that the benchmarks have written."""

from __future__ import annotations

import json

import pytest

from benchmarks import include
from tfrecords.utils.errors import UserError


@pytest.mark.parametrize("path", include.documents(), ids=lambda path: path.name)
def test_documents_show_the_tables_as_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert include.fill(text) == text, "run python benchmarks/include.py"


def test_every_table_has_its_figures_beside_it():
    tables = sorted((include.PROJECT / "benchmarks" / "results").glob("*.md"))
    for table in tables:
        figures = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
        assert figures["machine"]["processor"] in table.read_text(encoding="utf-8")


def test_a_table_replaces_what_stood_there(monkeypatch, tmp_path):
    monkeypatch.setattr(include, "PROJECT", tmp_path)
    (tmp_path / "a.md").write_text("| new |\n", encoding="utf-8")
    block = "x\n<!-- include {} -->\n{}<!-- end -->\ny\n"
    assert include.fill(block.format("a.md", "| old |\n")) == block.format("a.md", "| new |\n")
    with pytest.raises(UserError, match=r"no such file: b\.md"):
        include.fill(block.format("b.md", ""))
