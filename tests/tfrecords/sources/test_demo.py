from __future__ import annotations

import numpy as np
import pytest

from tfrecords.sources import SourceOptions, demo, open_source

# Every 7919th byte of clip and conjugate, and the mask's pixels. The demo's figures in the README
# hang on these; a byte may differ by one from machine to machine, not by more.
KNOWN = {
    ("train", 7): (
        [57, 53, 136, 45, 63, 68, 49, 52, 115, 76, 57],
        [49, 61, 136, 49, 54, 64, 47, 48, 120, 63, 57],
        None,
    ),
    ("validation", 20): (
        [68, 182, 144, 51, 142, 98, 64, 196, 133, 110, 140],
        [69, 192, 141, 59, 142, 96, 62, 184, 144, 105, 136],
        823,
    ),
    ("test_uniform", 101): ([94, 121, 59, 90, 121, 64, 99, 132, 71, 104, 129], None, 1180),
    ("test_anti", 333): ([96, 157, 98, 63, 165, 127, 166, 155, 90, 74, 146], None, 833),
}


@pytest.mark.parametrize("place", KNOWN)
def test_the_demo_is_what_it_was(place):
    clip, conjugate, pixels = KNOWN[place]
    pair = demo.make_pair(*place)
    np.testing.assert_allclose(pair.clip.reshape(-1)[::7919].astype(int), clip, atol=1)
    if conjugate is None:
        assert pair.conjugate is None
    else:
        np.testing.assert_allclose(
            pair.conjugate.reshape(-1)[::7919].astype(int), conjugate, atol=1
        )
    if pixels is None:
        assert pair.mask is None
    else:
        assert abs(pair.mask.sum() - pixels) <= 2


def test_a_clip_depends_on_seed_split_and_index_alone():
    pair, again = demo.make_pair("train", 3), demo.make_pair("train", 3)
    assert (pair.clip == again.clip).all() and (pair.conjugate == again.conjugate).all()
    for other in (
        demo.make_pair("train", 3, seed=1),
        demo.make_pair("validation", 3),
        demo.make_pair("train", 9),
    ):
        assert other.labels == pair.labels
        assert (other.clip != pair.clip).mean() > 0.5


def test_the_source_draws_its_rows():
    source = open_source("demo", SourceOptions())
    rows = source.rows()
    assert len(rows) == sum(clips for clips, _ in demo.SPLITS.values())
    row = next(row for row in rows if row.split == "test" and row.line == 4)
    pair = source.load(row)
    assert (pair.id, pair.labels) == (row.id, row.labels) == ("test-00004", ("to_and_fro",))
    assert (pair.clip == demo.make_pair("test", 4).clip).all()
