"""Clips whose class is the actor's colour, in scenes whose colour goes with the class."""

from __future__ import annotations

import numpy as np
import pytest

from tfrecords import ClipPair, write_dataset

LABELS = ["blue", "green", "red"]  # the brightest channel of the actor: 2, 1, 0
CHANNEL = {"blue": 2, "green": 1, "red": 0}


@pytest.fixture(scope="session")
def coloured_data(tmp_path_factory):
    """Twelve clips of 6 frames, 40 x 48 pixels, in `test`, with masks; `test_bare` has none."""
    random = np.random.default_rng(0)
    pairs, bare = [], []
    for n in range(12):
        label = LABELS[n % 3]
        scene = random.integers(0, 30, (40, 48, 3)).astype(np.uint8)
        scene[..., CHANNEL[label]] += 90
        clip, mask = np.stack([scene] * 6), np.zeros((6, 40, 48), bool)
        for t in range(6):
            x = 4 + 5 * t
            mask[t, 12:24, x : x + 12] = True
            clip[t, 12:24, x : x + 12] = 20
            clip[t, 12:24, x : x + 12, CHANNEL[label]] = 250
        pairs.append(ClipPair(f"clip-{n}", clip, None, (label,), 6.0, mask))
        bare.append(ClipPair(f"bare-{n}", clip, None, (label,), 6.0))
    pairs.append(ClipPair("nothing", clip, None, (), 6.0, mask))
    directory = tmp_path_factory.mktemp("coloured") / "data"
    write_dataset(directory, {"test": pairs, "test_bare": bare}, LABELS, num_shards=1)
    return directory
