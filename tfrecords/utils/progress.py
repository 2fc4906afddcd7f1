"""The one progress bar: every long loop shows how far it is and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Optional

from tqdm import tqdm


def progress(iterable: Optional[Iterable] = None, **options: Any) -> tqdm:
    """`tqdm`, as wide as the terminal; a log file gets a line now and then, not ten a second.

    Args:
        iterable: what is gone through; None: the caller counts by `update()`.
        **options: as for `tqdm`: total, desc, unit, leave ...

    Example:
    >>> for path in progress(paths, desc="videos", unit="video", leave=False):
    """
    terminal = sys.stderr.isatty()
    standard = {"dynamic_ncols": terminal, "mininterval": 0.5 if terminal else 30.0}
    return tqdm(iterable, **{**standard, **options})
