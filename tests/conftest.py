"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real videos (AACF_TEST_DATA, default ../shared/data); skips where it is absent."""
    path = Path(os.environ.get("AACF_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real videos not found at {path}; set AACF_TEST_DATA to their folder")
    return path
