"""The benchmark of start-up: what it runs, and that it notices a command that fails."""

from __future__ import annotations

import pytest

from benchmarks import startup
from tfrecords.utils.errors import UserError


def test_every_row_has_a_limit():
    assert set(startup.commands("data")) == set(startup.EXPECTED)


def test_help_and_a_wrong_flag_end_as_they_should():
    made = startup.commands("data")
    made[startup.HELP]()()
    made[startup.WRONG]()()


def test_the_first_step_of_no_data_is_a_failure(tmp_path):
    with pytest.raises(UserError, match=r"ended with 2: error: .*dataset\.json"):
        startup.commands(tmp_path / "nothing")[startup.FIRST]()()
