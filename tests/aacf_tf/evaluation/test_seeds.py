"""Several seeds summed up, by hand."""

from __future__ import annotations

import pytest

from aacf_tf.evaluation import seeds


def test_the_spread_of_numbers_by_hand():
    runs = [{"a": 1.0, "b": None, "names": ["x"]}, {"a": 4.0, "b": 2, "names": ["x"]}]
    assert seeds.spread(runs) == {
        "a": {"mean": 2.5, "std": pytest.approx(3 / 2**0.5), "values": [1.0, 4.0]},
        "b": {"mean": 2.0, "std": None, "values": [None, 2]},
        "names": ["x"],
    }
