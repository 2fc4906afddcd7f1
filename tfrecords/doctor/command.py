"""Looks at a folder of videos or photographs, or at a table of them, before anything is built.

    python -m tfrecords.doctor clips.csv
    python -m tfrecords.doctor DIR --make_splits=70,15,15 --output=doctor.html

Says what is there and what a build would read, what is broken, how classes and splits are filled
and what leaks between splits, how long the clips are and how many have cuts, what the build would
cost, and which flags would do the data good. The second writes a page with pictures as well. Flags
are those of `tfrecords.build`; --source is guessed: a table is csv, a folder folders. One frame of
every file is decoded, all frames of --sample clips, and three of every clip to find look-alikes if
there are several splits.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Sequence

from absl import flags

from tfrecords.build import checks
from tfrecords.build import command as build
from tfrecords.doctor.findings import find
from tfrecords.doctor.page import write_page
from tfrecords.media import images
from tfrecords.records.dataset import INFO_FILE, PLAN_FILE
from tfrecords.sources import Row, SourceOptions
from tfrecords.sources.lists.folders import LAYOUT
from tfrecords.sources.videos import EXTENSIONS, VideoSource
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import check_output, is_remote, to_path

OPTIONS = tuple(f.name for f in dataclasses.fields(SourceOptions) if f.name != "input")
WITHOUT_FILES = ("demo", "tfrecords", "voc2012_action")  # sources that are no `VideoSource`
MOST = 1000  # clips that --sample decodes: their records stay in memory


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags: its own, and those of the build that say what is read."""
    known = build.define_flags(flags.FlagValues())
    flags.DEFINE_string("output", None, "Page (html) to write as well.", flag_values=values)
    flags.DEFINE_integer(
        "sample", 24, "Clips of which all frames are decoded, evenly spread.", flag_values=values
    )
    for name in ("source", *OPTIONS, "quality", "workers"):
        flags.DEFINE_flag(known[name], values)
    values.set_default("source", None)
    values.set_default("near_duplicates", "name")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    if len(arguments) != 1:
        raise UsageError(f"Expected one folder or table, received {len(arguments)} arguments.")
    if not 1 <= values.sample <= MOST:
        raise UsageError(f"Expected --sample of 1 to {MOST}, received {values.sample}.")
    if values.output:
        if not values.output.lower().endswith((".html", ".htm")):
            raise UsageError(f"Expected --output to name an html file, received {values.output}.")
        check_output(to_path(values.output), "output")
    options = SourceOptions(input=arguments[0], **{name: getattr(values, name) for name in OPTIONS})
    source, why = _open(options, values)
    workers = values.workers or os.cpu_count() or 1
    # Without new splits a build has no use for what the doctor compares.
    unused = () if options.make_splits else ("group_pattern", "near_duplicates")
    names = (name for name in OPTIONS if values[name].present and name not in unused)
    given = [_write(name, values[name].value) for name in names]
    found = find(source, options, values.quality, workers, values.sample, why, given)
    print(found.text())
    if values.output:
        write_page(found, values.output)
        print(f"\n{values.output}: the same, with pictures of {len(found.clips)} clips")


def _write(name: str, value: object) -> str:
    """Writes a flag as a user would."""
    return f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}"


def _open(options: SourceOptions, values: flags.FlagValues) -> tuple[VideoSource, str]:
    """Opens the source; returns it, and why it was chosen or why no build can read the folder.

    Raises:
        UsageError: There is nothing to look at, or an option is wrong.
    """
    path = str(options.input)
    if any(os.path.isfile(os.path.join(path, name)) for name in (INFO_FILE, PLAN_FILE)):
        raise UsageError(
            f"{path} is a data set that was built: python -m tfrecords.show {path} looks into it."
        )
    if not is_remote(path) and not os.path.exists(path):
        raise UsageError(f"Expected a folder or a table, received {path}, which is not there.")
    folder = os.path.isdir(path)
    name, why = values.source, ""
    if not name:
        name, what = ("folders", "a folder") if folder else ("csv", "a file")
        why = f"--source={name}, since it is {what}"
        if not folder and path.lower().endswith(EXTENSIONS):
            raise UsageError(
                f"Expected a folder of videos or photographs, or a table of them, received {path}."
            )
    if name in WITHOUT_FILES:
        raise UsageError(
            f"Expected a source whose rows name files of videos, received --source={name}."
        )
    try:
        source = checks.open_valid(options, None, name, values.quality, 0, values.workers)
    except UsageError as error:
        if values.source or not folder or LAYOUT not in str(error):
            raise
        source = _heap(path, options)
        if not source.rows():
            raise
        why = f"Warning: no build reads this folder as it is: {error}"
    assert isinstance(source, VideoSource)
    return source, why


def _heap(folder: str, options: SourceOptions) -> VideoSource:
    """Opens all videos and photographs below a folder, whatever its layout, without labels."""
    names = [
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    ]
    rows = [Row("train", name, (), name, line=n) for n, name in enumerate(sorted(names), 1)]
    paths = {name: os.path.join(folder, name) for name in names}
    if not options.stills and all(map(images.is_photograph, names)):
        options = dataclasses.replace(options, stills=1)
    return VideoSource(options, rows, paths, [], "none", "")
