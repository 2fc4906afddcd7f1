"""Opens sources by name.

A new source is a class with the interface of `Source` and a line in `_SOURCES`.
"""

from __future__ import annotations

import importlib

from tfrecords.sources.base import BLENDS, CONJUGATE_RANKS, CONJUGATES, FLOWS, Source, SourceOptions
from tfrecords.utils.errors import UsageError

_SOURCES = {
    "actionthread": ("tfrecords.sources.published.actionthread", "ActionThreadSource"),
    "csv": ("tfrecords.sources.csv", "CsvSource"),
    "demo": ("tfrecords.sources.demo", "DemoSource"),
    "hacs": ("tfrecords.sources.published.hacs", "HacsSource"),
    "hollywood2": ("tfrecords.sources.published.hollywood2", "Hollywood2Source"),
    "jhmdb": ("tfrecords.sources.published.jhmdb", "JhmdbSource"),
    "tfrecords": ("tfrecords.sources.published.sequence_examples", "TfrecordsSource"),
    "voc2012_action": ("tfrecords.sources.published.voc2012_action", "Voc2012ActionSource"),
}
SOURCES = tuple(_SOURCES)


def open_source(name: str, options: SourceOptions) -> Source:
    """Opens a source by name.

    Raises:
        UsageError: If no source has that name, or its input is not what it expects.
    """
    if name not in _SOURCES:
        raise UsageError(f"Expected --source among {', '.join(SOURCES)}, received {name!r}.")
    if options.conjugate not in (None, *CONJUGATES):
        raise UsageError(
            f"Expected --conjugate among {', '.join(CONJUGATES)}, received {options.conjugate!r}."
        )
    if options.flow not in FLOWS:
        raise UsageError(f"Expected --flow among {', '.join(FLOWS)}, received {options.flow!r}.")
    if options.conjugate_rank not in CONJUGATE_RANKS:
        raise UsageError(
            f"Expected --conjugate_rank among {', '.join(CONJUGATE_RANKS)}, "
            f"received {options.conjugate_rank!r}."
        )
    if options.blend not in BLENDS:
        raise UsageError(f"Expected --blend among {', '.join(BLENDS)}, received {options.blend!r}.")
    module, cls = _SOURCES[name]
    opened = getattr(importlib.import_module(module), cls)
    if options.classes and not opened.takes_classes:
        raise UsageError(f"Expected no --classes for --source={name}, received {options.classes}.")
    if options.stills and not opened.takes_stills:
        raise UsageError(f"Expected no --stills for --source={name}, received {options.stills}.")
    source = opened(options)
    if source.eraser is None:
        for flag in ("filler", "blend", "decoys"):
            if getattr(options, flag) != getattr(SourceOptions, flag):
                raise UsageError(
                    f"--{flag} is about people taken out of photographs: expected "
                    "--source=voc2012_action, or --stills with csv or jhmdb, and "
                    f"--conjugate=remove_person, received --source={name} with "
                    f"--stills={options.stills} and --conjugate={source.conjugate}."
                )
    return source
