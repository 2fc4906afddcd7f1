"""Sources: which clips a data set holds, and where their conjugates come from."""

from tfrecords.sources.base import BLENDS, CONJUGATES, FLOWS, PEOPLE, Row, Source, SourceOptions
from tfrecords.sources.catalog import SOURCES, open_source

__all__ = [
    "BLENDS",
    "CONJUGATES",
    "FLOWS",
    "PEOPLE",
    "SOURCES",
    "Row",
    "Source",
    "SourceOptions",
    "open_source",
]
