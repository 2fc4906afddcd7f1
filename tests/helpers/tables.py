"""The source csv on a table that a test writes."""

from __future__ import annotations

from pathlib import Path

from tfrecords.sources import SourceOptions, open_source


def table(folder: Path, text: str) -> str:
    path = folder / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def source(folder: Path, text: str, **options):
    return open_source("csv", SourceOptions(input=table(folder, text), **options))
