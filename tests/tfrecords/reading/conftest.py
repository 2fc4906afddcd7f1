"""Data sets that several files read."""

from __future__ import annotations

import pytest

from tests.helpers.clips import pair_of, write


@pytest.fixture(scope="module")
def twelve(tmp_path_factory) -> str:
    """Twelve pairs whose conjugate is the clip itself, of 10..21 frames, in 4 shards."""
    return write(
        tmp_path_factory.mktemp("data") / "twelve", *(pair_of(n, 10 + n) for n in range(12))
    )
