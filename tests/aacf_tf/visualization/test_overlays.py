"""Maps are drawn where a calculation by hand puts them."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import scipy.ndimage

from aacf_tf.visualization import overlays


def test_display_is_zero_below_the_median_and_one_at_the_peak():
    shown = overlays.display(np.array([[0.0, 1.0, 2.0, 4.0, -7.0]]))
    np.testing.assert_allclose(shown, [[0, 0, 1 / 3, 1, 0]])  # median 1, peak 4


def test_display_of_a_constant_map_is_zero():
    assert not overlays.display(np.full([2, 3, 3], 5.0)).any()


def test_an_attention_map_is_displayed_as_the_logits_behind_it(rng):
    logits = rng.normal(size=[3, 4, 5])
    attention = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(
        overlays.display(overlays.attention_logits(attention)), overlays.display(logits), atol=1e-9
    )


def test_maps_move_linearly_between_the_centres_of_their_steps():
    maps = np.array([0.0, 1.0]).reshape(2, 1, 1)
    positions = np.array([-3, 0, 0.5, 1, 1.5, 2, 2.5, 9])
    values = overlays.at_times(maps, positions, np.array([0.5, 2.5]))[:, 0, 0]
    np.testing.assert_allclose(values, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("starts", [(4, 7), (3.5, 1.5)])
def test_the_peak_of_a_cell_lies_at_its_centre(scale, starts):
    size, strides = (48, 64), (8, 16)
    centres = [start + stride * np.arange(n) for start, stride, n in zip(starts, strides, (5, 4))]
    frame = size[0] * scale, size[1] * scale
    for row, column in ((1, 1), (2, 2), (3, 1)):
        cells = np.zeros([5, 4])
        cells[row, column] = 1
        spread = overlays.in_space(cells, frame, size, centres)
        ys, xs = np.nonzero(spread == spread.max())
        # A pixel reaches from its centre - 0.5 to its centre + 0.5, in the frame as in the input.
        assert (ys.mean() + 0.5) / scale - 0.5 == centres[0][row]
        assert (xs.mean() + 0.5) / scale - 0.5 == centres[1][column]


def test_before_the_first_and_after_the_last_centre_a_map_stays():
    cells = np.array([[1.0, 0.0, 0.5]])
    row = overlays.in_space(cells, (5, 30), (5, 30), ([2], [4, 12, 20]))
    assert (row[:, :5] == 1).all() and (row[:, 20:] == 0.5).all() and row[0, 12] == 0
    np.testing.assert_allclose(row[3, [6, 10, 16]], [0.75, 0.25, 0.25])


def test_a_grid_that_reaches_past_the_frame_is_cut_not_squeezed():
    row = overlays.in_space(np.array([[0.0, 1.0]]), (16, 28), (16, 28), ([8], [15, 31]))[0]
    np.testing.assert_allclose(row[[15, 19, 27]], [0, 0.25, 0.75])


def test_what_short_side_cuts_off_stays_dark():
    assert overlays.seen_area((100, 300), (50, 50), "short_side") == (0, 100, 100, 100)
    centres = ([12, 37], [12, 37])
    spread = overlays.in_space(np.ones([2, 2]), (100, 300), (50, 50), centres, "short_side")
    assert spread[:, 100:200].all() and not spread[:, :100].any() and not spread[:, 200:].any()


def test_tint_leaves_gray_frames_alone_where_there_is_no_heat():
    image = np.full([4, 4, 3], 90, np.uint8)
    heat = np.zeros([4, 4])
    heat[0, 0] = 1
    tinted = overlays.tint(image, heat, overlays.ACTION_COLORS)
    assert (tinted[1:] == 90).all()
    assert tinted[0, 0, 0] > 200 and tinted[0, 0, 2] < 90  # orange


def test_a_range_displays_as_all_values_at_once(rng):
    maps = rng.normal(size=[9, 2, 3, 4])
    spread = overlays.Range()
    for one in maps:
        spread.add(one)
    shown = np.stack([spread.display(one) for one in maps])
    np.testing.assert_allclose(shown, overlays.display(maps), atol=1e-12)


def test_a_range_holds_few_maps_however_many_come(rng):
    long, last = overlays.Range(kept=16), overlays.Range(kept=16, forgets=True)
    maps = rng.normal(size=[1000, 3, 3])
    maps[5] += 50
    for one in maps:
        long.add(one)
        last.add(one)
    assert len(long._maps) <= 16 and len(last._maps) <= 16
    assert long.display(maps[5]).max() == 1 and long.display(maps[6]).max() < 0.1
    assert last.display(maps[-16:]).max() == 1  # the peak is forgotten


@pytest.mark.parametrize("package", ["tensorflow_addons", "OpenCV"])
def test_regions_are_those_of_scipy(rng, package, monkeypatch):
    if package == "OpenCV":
        monkeypatch.setitem(sys.modules, "tensorflow_addons.image", None)  # its import fails
    else:
        pytest.importorskip("tensorflow_addons")
    heat = rng.uniform(size=(60, 90)) > 0.6
    expected, count = scipy.ndimage.label(heat)
    pairs = np.unique(np.stack([overlays._regions(heat), expected], -1).reshape(-1, 2), axis=0)
    assert len(pairs) == count + 1  # each region of one is a region of the other


def test_boxes_are_found_in_pixels_of_a_large_frame():
    place = overlays.Place((24, 24), [np.zeros(1), 4 + 6 * np.arange(4), 4 + 6 * np.arange(4)])
    cells = np.zeros([4, 4])
    cells[1, 1:3] = 1
    [small] = overlays.boxes_in(place, cells, (96, 96))
    [large] = overlays.boxes_in(place, cells, (960, 960))
    np.testing.assert_allclose(np.array(large) / 10, small, atol=1)


# Projections of linear RGB on what a colour-blind eye sees (Machado, Oliveira and Fernandes 2009).
BLINDNESS = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("heat", [0.5, 1.0])
def test_the_colour_blind_can_tell_action_from_context(kind, heat):
    image = np.full([1, 1, 3], 128, np.uint8)
    colors = [
        overlays.tint(image, np.full([1, 1], heat), both)[0, 0] / 255
        for both in (overlays.ACTION_COLORS, overlays.CONTEXT_COLORS)
    ]
    seen = np.clip(np.array(colors) ** 2.2 @ np.array(BLINDNESS[kind]).T, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(np.float32(seen)[None], cv2.COLOR_RGB2LAB)[0]
    assert np.linalg.norm(lab[0] - lab[1]) > 30  # 2 can just be told apart, side by side
