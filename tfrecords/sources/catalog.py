"""Opens sources by name.

A new source is a class with the interface of `Source` and a line in `_SOURCES`.
"""

from __future__ import annotations

import importlib

from tfrecords.sources.base import (
    BLENDS,
    CONJUGATE_RANKS,
    CONJUGATES,
    FLOWS,
    NEAR_DUPLICATES,
    PEOPLE,
    Source,
    SourceOptions,
)
from tfrecords.sources.table import check_encoding
from tfrecords.utils.errors import UsageError

_LISTS, _TOOLS = "tfrecords.sources.lists", "tfrecords.sources.tools"
_SOURCES = {
    "activitynet": ("tfrecords.sources.lists.activitynet", "ActivityNetSource"),
    "charades": (f"{_LISTS}.charades", "CharadesSource"),
    "cvat": (f"{_TOOLS}.cvat", "CvatSource"),
    "diving48": (f"{_LISTS}.something_diving48", "Diving48Source"),
    "elan": (f"{_TOOLS}.elan", "ElanSource"),
    "hmdb51": (f"{_LISTS}.ucf101_hmdb51", "Hmdb51Source"),
    "kinetics": (f"{_LISTS}.kinetics", "KineticsSource"),
    "label_studio": (f"{_TOOLS}.label_studio", "LabelStudioSource"),
    "mmaction2": (f"{_LISTS}.mmaction2", "Mmaction2Source"),
    "something": (f"{_LISTS}.something_diving48", "SomethingSource"),
    "ucf101": (f"{_LISTS}.ucf101_hmdb51", "Ucf101Source"),
    "via": (f"{_TOOLS}.via", "ViaSource"),
    "actionthread": ("tfrecords.sources.published.actionthread", "ActionThreadSource"),
    "csv": ("tfrecords.sources.csv", "CsvSource"),
    "demo": ("tfrecords.sources.demo", "DemoSource"),
    "folders": (f"{_LISTS}.folders", "FoldersSource"),
    "hacs": ("tfrecords.sources.published.hacs", "HacsSource"),
    "hollywood2": ("tfrecords.sources.published.hollywood2", "Hollywood2Source"),
    "jhmdb": ("tfrecords.sources.published.jhmdb", "JhmdbSource"),
    "tfrecords": ("tfrecords.sources.published.sequence_examples", "TfrecordsSource"),
    "voc2012_action": ("tfrecords.sources.published.voc2012_action", "Voc2012ActionSource"),
}
SOURCES = tuple(sorted(_SOURCES))


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
    if options.people not in PEOPLE:
        raise UsageError(
            f"Expected --people among {', '.join(PEOPLE)}, received {options.people!r}."
        )
    if options.conjugate_rank not in CONJUGATE_RANKS:
        raise UsageError(
            f"Expected --conjugate_rank among {', '.join(CONJUGATE_RANKS)}, "
            f"received {options.conjugate_rank!r}."
        )
    if options.near_duplicates not in (None, *NEAR_DUPLICATES):
        raise UsageError(
            f"Expected --near_duplicates among {', '.join(NEAR_DUPLICATES)}, received "
            f"{options.near_duplicates!r}."
        )
    if options.encoding:
        check_encoding(options.encoding)
    if options.blend not in BLENDS:
        raise UsageError(f"Expected --blend among {', '.join(BLENDS)}, received {options.blend!r}.")
    module, cls = _SOURCES[name]
    opened = getattr(importlib.import_module(module), cls)
    for flag in ("classes", "stills", "fold", "tier", "frames_fps", "people"):
        value = getattr(options, flag)
        given = value and value != getattr(SourceOptions, flag)
        if given and not getattr(opened, f"takes_{flag}"):
            raise UsageError(f"Expected no --{flag} for --source={name}, received {value}.")
    for flag in ("make_splits", "group_pattern", "near_duplicates"):
        value = getattr(options, flag)
        if value and not opened.takes_splits:
            raise UsageError(f"Expected no --{flag} for --source={name}, received {value}.")
        named = options.near_duplicates == "name"  # looks for groups in several splits, too
        if value and not options.make_splits and not named and value != "ignore":
            raise UsageError(f"Expected --make_splits with --{flag}={value}, received none.")
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
