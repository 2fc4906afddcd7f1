"""The test sets C, S and P: what is pasted, removed and kept."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf.bias import composites, sets
from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.records.dataset import load_info
from tfrecords.utils.errors import UsageError


def square(top: int, left: int, side: int = 12, length: int = 6, move: int = 0) -> np.ndarray:
    mask = np.zeros((length, 64, 80), bool)
    for t in range(length):
        mask[t, top : top + side, left + move * t : left + move * t + side] = True
    return mask


def test_a_scene_is_of_another_class(rng):
    labels = np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 9 + ["d"])
    targets = labels[:, None] == np.unique(labels)
    scenes = sets.choose_scenes(targets, rng)
    assert len(scenes) == 17 and len(set(scenes)) > 5
    assert all(labels[place] != own for place, own in zip(scenes, labels))
    scenes = sets.choose_scenes(targets, rng, "same")
    assert scenes.pop() is None
    assert all(labels[n] == labels[place] and n != place for n, place in enumerate(scenes))
    scenes = sets.choose_scenes(targets, rng, "random")
    assert all(n != place for n, place in enumerate(scenes))


def test_a_scene_is_cut_or_its_last_frame_repeated():
    scene = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 10, 3), np.uint8)
    assert sets.fit_scene(scene, (2, 8, 10, 3))[:, 0, 0, 0].tolist() == [0, 1]
    fitted = sets.fit_scene(scene, (6, 16, 5, 3))
    assert fitted.shape == (6, 16, 5, 3)
    assert fitted[:, 3, 2, 0].tolist() == [0, 1, 2, 3, 3, 3]


def test_paste_keeps_the_actor_and_all_that_is_far_from_it(rng):
    clip, scene = rng.integers(0, 256, (2, 6, 64, 80, 3)).astype(np.uint8)
    mask = square(20, 10, move=3)
    pasted = sets.paste(clip, mask, scene)
    np.testing.assert_array_equal(pasted[mask], clip[mask])
    far = np.ones((64, 80), bool)
    far[18:34, 8:39] = False
    np.testing.assert_array_equal(pasted[:, far], scene[:, far])


def test_a_region_is_the_actors_own_shape_elsewhere():
    mask = square(20, 10, move=3)
    places = set()
    for seed in range(12):
        region = sets.background_region(mask, np.random.default_rng(seed))
        again = sets.background_region(mask, np.random.default_rng(seed))
        np.testing.assert_array_equal(region, again)
        assert mask.sum() / 2 <= region.sum() <= mask.sum()
        for t in range(6):
            rows, columns = np.nonzero(region[t])
            if len(rows) == 144:  # whole: the square, having moved as the actor has
                places.add((rows.min(), columns.min() - 3 * t))
            gap = np.hypot(
                np.subtract.outer(rows, np.nonzero(mask[t])[0]),
                np.subtract.outer(columns, np.nonzero(mask[t])[1]),
            ).min()
            assert gap > 4  # by so much remove_person lets the hole grow, of 64 lines
    assert len(places) > 5


def test_a_large_actor_leaves_what_is_left():
    mask = np.zeros((3, 64, 80), bool)
    mask[:, :, :50] = True
    region = sets.background_region(mask, np.random.default_rng(0))
    assert not region[:, :, :54].any() and region[:, :, 56:].mean() > 0.8
    assert sets.background_region(np.ones_like(mask), np.random.default_rng(0)) is None


@pytest.fixture
def pairs(rng):
    """Actors that are bright squares, in three scenes of a colour each; two classes."""
    found = []
    for n, label in enumerate(("go", "stay", "go")):
        scene = np.full((6 + n, 64, 80, 3), 0, np.uint8)
        scene[..., n] = 90 + rng.integers(0, 9, (64, 80))
        mask = square(22, 12, length=6 + n, move=3 * (label == "go"))
        clip = np.where(mask[..., None], np.uint8(250), scene)
        found.append(ClipPair(f"clip-{n}", clip, scene, (label,), 6.0, mask))
    return found


def test_composites_of_a_data_set(pairs, tmp_path):
    write_dataset(tmp_path / "data", {"test": pairs}, ["go", "stay"], num_shards=1)
    directory = composites.build_composites(tmp_path / "data", tmp_path / "sets")
    counts = {name: split["clips"] for name, split in load_info(directory).splits.items()}
    assert counts == {"test_c": 3, "test_s": 3, "test_p": 3}
    scenes = composites.load_scenes(directory)
    assert scenes == {"clip-0": "stay", "clip-1": "go", "clip-2": "stay"}

    def clips(split):
        batches = read_dataset(directory, split, 6, (64, 80), 1, training=False, masks=True)
        return [
            (i["id"].numpy()[0].decode(), i["clip"].numpy()[0], i["mask"]) for i, _, _ in batches
        ]

    for split in ("test_c", "test_s", "test_p"):
        for pair, (identity, clip, mask) in zip(pairs, clips(split)):
            assert identity == pair.id
            actor = pair.mask[:6] if len(pair.clip) < 8 else pair.mask[1:7]
            assert np.array_equal(mask[0], actor) == (split != "test_c")
            bright = clip.min(-1) > 240
            if split == "test_c":
                assert not bright.any()
                continue
            np.testing.assert_array_equal(bright & actor, actor)
            own = clip[~actor].reshape(-1, 3).mean(0).argmax() == int(pair.id[-1])
            assert own == (split == "test_p")
    # Done is done.
    before = (directory / "dataset.json").stat().st_mtime_ns
    composites.build_composites(tmp_path / "data", directory)
    assert (directory / "dataset.json").stat().st_mtime_ns == before
    write_dataset(tmp_path / "other", {"test": pairs[:2]}, ["go", "stay"], num_shards=1)
    with pytest.raises(UsageError, match="received those of other data"):
        composites.build_composites(tmp_path / "other", directory)


def test_clips_without_a_mask_are_refused(pairs, tmp_path):
    pairs[1].mask = None
    write_dataset(tmp_path / "data", {"test": pairs}, ["go", "stay"])
    with pytest.raises(UsageError, match=r"Expected a mask, .* for 'clip-1' in split 'test'"):
        composites.build_composites(tmp_path / "data", tmp_path / "sets")
    assert not (tmp_path / "sets").exists()
