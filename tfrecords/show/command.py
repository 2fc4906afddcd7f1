"""Shows the content of a data set directory: counts, classes, skipped rows, one record.

    python -m tfrecords.show data/mine
    python -m tfrecords.show data/mine --pairs=sheet.png
    python -m tfrecords.show data/mine --verify

The second writes a picture of clips and their conjugates; the third reads and checks every record.
"""

from __future__ import annotations

from typing import Sequence

from absl import flags

from tfrecords.show.describe import describe
from tfrecords.utils.errors import UsageError


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    flags.DEFINE_string(
        "split", None, "Split the record is taken from; else the first.", flag_values=values
    )
    flags.DEFINE_integer(
        "record", 0, "Which record of the split's first shard, counted from 0.", flag_values=values
    )
    flags.DEFINE_string(
        "pairs", None, "Picture (png) of clips and their conjugates to write.", flag_values=values
    )
    flags.DEFINE_integer("count", 12, "How many pairs that picture shows.", flag_values=values)
    flags.DEFINE_bool(
        "verify",
        False,
        "Read and check every record and checksum instead; exit code 1 and the first that is bad.",
        flag_values=values,
    )
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    if len(arguments) != 1:
        raise UsageError(f"Expected one data set directory, received {len(arguments)} arguments.")
    if values.verify:
        from tfrecords.show.verify import verify

        print(verify(arguments[0]))
        return
    if values.pairs:
        from tfrecords.show import contact_sheet

        shown = contact_sheet.write_pairs(arguments[0], values.pairs, values.split, values.count)
        print(f"{values.pairs}: {shown} pairs of {arguments[0]}")
        return
    print(describe(arguments[0], values.split, values.record))
