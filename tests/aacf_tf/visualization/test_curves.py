"""Curves of a training history."""

from __future__ import annotations

from aacf_tf.visualization import curves


def test_a_plot_takes_the_page_s_colour():
    svg = curves.plot([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    assert svg.startswith("<svg") and "currentColor" in svg and "#123456" not in svg
