"""Composing pictures, by hand."""

from __future__ import annotations

import numpy as np

from tfrecords.media import pictures


def test_outline_goes_round_the_mask_and_spares_the_input():
    image, mask = np.full([20, 20, 3], 90, np.uint8), np.zeros([20, 20], bool)
    mask[5:15, 5:15] = True
    drawn = pictures.outline(image, mask)
    assert (image == 90).all()
    assert (drawn[5, 5:15] > 190).all() and (drawn[10, 10] == 90).all()


def test_enlarge_keeps_masks_binary_and_the_aspect_ratio():
    mask = np.eye(4, 6, dtype=bool)
    assert pictures.enlarge(mask, 8).dtype == bool
    assert pictures.enlarge(np.zeros([4, 6, 3], np.uint8), 8).shape == (8, 12, 3)


def test_text_bar_has_its_size_and_cuts_long_texts():
    bar = pictures.text_bar(200, 24, ["a" * 200, "Übung"])
    assert bar.shape == (24, 200, 3) and bar.dtype == np.uint8
    assert bar[:, :96].max() > 150 and (bar[:, 97:100] == bar[0, 0]).all()


def test_a_grid_has_lines_between_its_pictures():
    black = np.zeros([4, 5, 3], np.uint8)
    grid = pictures.join([[black, black], [black, black]], gap=2)
    assert grid.shape == (4 + 2 + 4, 5 + 2 + 5, 3)
    assert (grid[4:6] == 255).all() and (grid[:, 5:7] == 255).all() and not grid[:4, :5].any()


def test_indices_are_spread_from_the_first_to_the_last():
    assert pictures.evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert pictures.evenly(2, 4).tolist() == [0, 1] and pictures.evenly(7, 1).tolist() == [0]
