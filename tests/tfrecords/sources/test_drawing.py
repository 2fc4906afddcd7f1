from __future__ import annotations

import numpy as np
import pytest

from tfrecords.sources.demo import MOTIONS, SCENES
from tfrecords.sources.drawing import FRAMES, Movement, Scene, draw

STILL, TURN = (lambda phase, reach, rng: Movement()), MOTIONS["spin"]


def test_shapes_and_the_conjugate():
    drawing = draw(np.random.default_rng(0), TURN, SCENES[0])
    assert drawing.clip.shape == drawing.conjugate.shape == (FRAMES, 48, 48, 3)
    assert drawing.clip.dtype == drawing.conjugate.dtype == np.uint8
    assert drawing.mask.shape == (FRAMES, 48, 48) and drawing.mask.any((1, 2)).all()
    assert drawing.acts.all()
    # Without the conjugate the clip is the same.
    alone = draw(np.random.default_rng(0), TURN, SCENES[0], conjugate=False)
    assert alone.conjugate is None and (alone.clip == drawing.clip).all()
    # Away from the actor clip and conjugate differ by noise alone: deviation 5 each.
    apart = ~drawing.mask.any(0)
    difference = drawing.clip[:, apart].astype(float) - drawing.conjugate[:, apart]
    assert np.percentile(np.abs(difference), 90) < 5 * np.sqrt(2) * 2


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_an_actor_that_acts_for_a_third_is_still_for_the_rest(name, seed):
    drawing = draw(np.random.default_rng(seed), MOTIONS[name], SCENES[1], acting=1 / 3)
    assert drawing.acts.sum() == FRAMES // 3
    assert np.ptp(np.flatnonzero(drawing.acts)) == FRAMES // 3 - 1  # one stretch
    moves = (drawing.mask[1:] != drawing.mask[:-1]).any((1, 2))
    assert not moves[~drawing.acts[1:]].any()
    assert moves[drawing.acts[1:]].any()
    assert not drawing.acts[0]  # so that every step of the stretch is seen


def test_the_stretch_is_at_any_time():
    starts = set()
    for seed in range(40):
        acts = draw(np.random.default_rng(seed), STILL, SCENES[0], 1 / 3, conjugate=False).acts
        starts.add(int(np.argmax(acts)))
    assert starts == set(range(1, FRAMES - FRAMES // 3 + 1))


def test_a_stretched_figure_is_wider_and_lower():
    def extent(stretch):
        motion = lambda phase, reach, rng: Movement(stretch=stretch)  # noqa: E731
        mask = draw(np.random.default_rng(2), motion, SCENES[0], conjugate=False).mask[0]
        return [np.ptp(np.flatnonzero(mask.any(axis))) for axis in (0, 1)]

    (width, height), (wider, lower) = extent(1.0), extent(1.5)
    assert wider > width and lower < height


def test_a_scene_has_its_colours():
    plain = Scene((200, 20, 20), (20, 20, 200), (90, 90, 90), lambda t: -np.ones_like(t.x), True)
    clip = draw(np.random.default_rng(0), STILL, plain, conjugate=False).clip
    red, green, blue = np.median(clip, (0, 1, 2))
    assert red > 150 and green < 70 and blue < 90
