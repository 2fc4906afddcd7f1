"""The progress bar of every long loop."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Optional

from tqdm import tqdm


def progress(iterable: Optional[Iterable] = None, **options: Any) -> tqdm:
    """Opens a `tqdm` as wide as the terminal; a log file gets a line every half minute.

    Args:
        iterable: Items to iterate over; None (default): the caller counts by `update()`.
        **options: Options of `tqdm`: total, desc, unit, leave ...

    Examples:
        >>> for path in progress(paths, desc="videos", unit="video", leave=False):
    """
    terminal = sys.stderr.isatty()
    standard = {"dynamic_ncols": terminal, "mininterval": 0.5 if terminal else 30.0}
    return tqdm(iterable, **{**standard, **options})
