"""What a surface is: a way by which bytes of a stranger come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, NamedTuple

Reader = Callable[[Path], Any]


class Surface(NamedTuple):
    """A way by which bytes of a stranger come in.

    Attributes:
        make: Writes valid inputs into a folder, the same bytes each time; what else readers need
            goes into its subfolders.
        open: Returns the reader of inputs, for that folder and an empty one to work in. An input
            is a file with the name of the valid one that it was made from; a UserError of the
            reader is a refusal, any other error a fault.
    """

    make: Callable[[Path], None]
    open: Callable[[Path, Path], Reader]
