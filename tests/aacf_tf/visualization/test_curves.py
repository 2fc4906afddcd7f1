"""Curves of a training history."""

from __future__ import annotations

import warnings

import numpy as np

from aacf_tf.visualization import curves


def test_a_plot_takes_the_page_s_colour():
    ((title, svg),) = curves.plot([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    assert title == "loss" and svg.startswith("<svg")
    assert "currentColor" in svg and "#123456" not in svg


def test_moments_of_the_schedule_are_numbered():
    history = [{"epoch": n, "loss": 2.0 / n, "accuracy": 0.1 * n} for n in (1, 2, 3)]
    plots = curves.plot(history, marks=[0.5, 2.25])
    assert [title for title, _ in plots] == ["loss", "accuracy"]
    for _, svg in plots:
        lines = [line for line in svg.split("<g ") if "stroke-dasharray: 4" in line]
        assert len(lines) == 2


def test_labels_of_a_confusion_matrix_may_be_any_text():
    labels = ["$x^$", "跳舞", "a\nb", "x" * 5000]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a glyph that is missing
        picture = curves.confusion_picture(np.eye(4), np.eye(4, dtype=bool), labels)
    assert picture.shape == (600, 600, 3) and picture.dtype == np.uint8
