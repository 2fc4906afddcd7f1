"""Records of other programs: what a folder holds that is no data set of this one."""

from __future__ import annotations

from pathlib import Path

from tfrecords.utils.filesystem import AnyPath

_PEEK = 1 << 26  # bytes of a file in which the names of features are sought


def describe_foreign(folder: AnyPath) -> str:
    """Returns what a local folder or file of another program's records holds; "": no such thing."""
    if not isinstance(folder, Path):
        return ""
    files = [folder] if folder.is_file() else sorted(folder.glob("*tfrecord*"))
    if not files or not files[0].is_file():
        return ""
    with files[0].open("rb") as file:
        record = file.read(_PEEK)
    pattern = folder if folder.is_file() else folder / "*tfrecord*"
    command = f"python -m tfrecords.build --source=tfrecords --input='{pattern}' --output=NEW"
    if b"image/encoded" in record and b"clip/label/" in record:
        return f"which holds SequenceExamples of another program: {command} imports them"
    lacks = "which holds records of another program without image/encoded and clip/label/..."
    return f"{lacks}: {command} imports SequenceExamples that have these"
