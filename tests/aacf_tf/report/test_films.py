"""Films: frames and maps as the page plays them."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf.report import films
from aacf_tf.visualization import overlays


def film(frames, maps=((6, 8, 8),)):
    maps = [np.zeros(shape) for shape in maps]
    return films.Film(frames, maps, [(0, 2), (0, 0.1), (0, 0.1)], (0, 0, 1, 1), [], {})


def test_a_film_fits_its_budget_whatever_it_shows(rng):
    noise = rng.integers(0, 256, (64, 240, 320, 3), np.uint8)
    sizes = []
    for budget in (1 << 30, 1_000_000, 100_000):
        uri, content = films.encode(film(noise), budget)
        assert len(uri) <= budget
        sizes.append((len(content["shown"]), content["width"]))
        assert content["shown"][0] == 0 and content["shown"][-1] == 63
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == (32, 320)


@pytest.mark.parametrize("sides", [(1, 1), (1, 9000), (9000, 3), (48, 48)])
def test_frames_of_any_shape_are_encoded(sides):
    uri, content = films.encode(film(np.zeros((2, *sides, 3), np.uint8)), 1 << 20)
    assert uri.startswith("data:image/jpeg;base64,")
    assert max(content["width"], content["height"]) <= 4096 and content["block"] % 16 == 0


@pytest.mark.parametrize("resize, full", [("stretch", (60, 120)), ("short_side", (60, 120))])
def test_cells_lie_where_overlays_lay_them(resize, full):
    """The peak of a map of one bright cell, drawn by the page's rule, is that of `in_space`."""
    size, centres = (40, 40), [np.array([0.0]), np.arange(4) * 10 + 4.5, np.arange(4) * 10 + 4.5]
    logits = np.zeros((1, 4, 4))
    logits[0, 1, 2] = 5
    frames = np.zeros((1, *full, 3), np.uint8)
    outputs = {"action_logits": logits}
    made = films.make_film(frames, outputs, centres, [], size, resize)
    (_, (top, down), (left, across)) = made.axes
    spread = overlays.in_space(logits[0], full, size, centres[1:], resize)
    rows, columns = np.nonzero(spread > 0.9 * spread.max())
    y, x = (rows.mean() + 0.5) / full[0], (columns.mean() + 0.5) / full[1]
    assert (top + down, left + 2 * across) == pytest.approx((y, x), abs=0.02)
    assert made.seen == ((0, 0, 1, 1) if resize == "stretch" else (0.25, 0, 0.5, 1))


def test_outlines_follow_the_mask():
    mask = np.zeros((20, 40), bool)
    mask[5:10, 10:30] = True
    (line,) = films.mask_outlines(mask)
    np.testing.assert_allclose(line.min(0), [0.25, 0.25], atol=0.02)
    np.testing.assert_allclose(line.max(0), [0.75, 0.5], atol=0.02)
    assert films.mask_outlines(np.zeros((4, 4), bool)) == []
    (box,) = films.box_outlines(np.array([[0.1, 0.2, 0.3, 0.4]]))
    np.testing.assert_allclose(box, [[0.1, 0.2], [0.3, 0.2], [0.3, 0.4], [0.1, 0.4]])
