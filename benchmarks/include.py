"""Copies the tables of benchmarks/results into the documents that show them.

    python benchmarks/include.py

A document includes a table between two comments, and what stands between them is replaced:

    <!-- include benchmarks/results/training_step.md -->
    <!-- end -->
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Sequence

from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError, UserError

PROJECT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- include (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected no arguments, received {arguments[0]!r}.")
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (filled := fill(text)) != text:
            write_text(path, filled)
            print(f"updated {path.relative_to(PROJECT)}")


def documents() -> list[Path]:
    """Returns the documents that may include a table."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """Returns a document with every included table as it is now.

    Raises:
        UserError: a table does not exist.
    """

    def table(block: re.Match[str]) -> str:
        path = PROJECT / block[2]
        if not path.is_file():
            raise UserError(f"Expected a table to include, no such file: {block[2]}.")
        return block[1] + path.read_text(encoding="utf-8") + block[3]

    return _BLOCK.sub(table, text)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    commandline.run(main, __doc__)
