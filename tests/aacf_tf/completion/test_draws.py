"""Crops and holes are functions of seed and step; pictures that cannot be read are named."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from aacf_tf.completion import draws
from aacf_tf.completion.options import Settings
from aacf_tf.completion.pictures import Folder, Pictures, open_images
from tfrecords.utils.errors import UsageError, UserError

SETTINGS = Settings(size=16, width=2, batch_size=4, steps=(5, 2, 3), holes=3, held_out=4)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


@pytest.fixture
def folder(tmp_path, rng):
    """Six pictures, each of one colour: 10, 20, ... 60 in every channel; and what is no picture."""
    for n in range(6):
        shape = (24, 40) if n % 2 else (40, 24)
        path = tmp_path / ("a" if n < 3 else "a/b") / f"{n}.png"
        write(path, np.full((*shape, 3), 10 * n + 10, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def colours(batch):
    return [int(image[0, 0, 0]) for image in batch.image]


def test_batches_are_functions_of_seed_and_step(folder):
    def draw(settings, step):
        return draws.draw_batch(Pictures(Folder(folder), 24), settings, step)

    for step in (0, 7):
        for one, two in zip(draw(SETTINGS, step), draw(SETTINGS, step)):
            np.testing.assert_array_equal(one, two)
    assert not np.array_equal(draw(SETTINGS, 0).mask, draw(SETTINGS, 1).mask)
    other = dataclasses.replace(SETTINGS, seed=1)
    assert not np.array_equal(draw(SETTINGS, 0).mask, draw(other, 0).mask)
    # 3 steps of 4 are 2 epochs of 6: every picture twice.
    seen = [colour for step in range(3) for colour in colours(draw(SETTINGS, step))]
    assert sorted(seen) == sorted(2 * [10, 20, 30, 40, 50, 60])
    assert sorted(seen[:6]) == [10, 20, 30, 40, 50, 60]


def test_the_pipeline_begins_at_any_step_and_ends_with_the_run(folder):
    pictures = Pictures(Folder(folder), 24)
    found = list(draws.batches(pictures, SETTINGS, 7))
    assert len(found) == 3
    for step, batch in zip((7, 8, 9), found):
        for one, two in zip(batch, draws.draw_batch(pictures, SETTINGS, step)):
            np.testing.assert_array_equal(one.numpy(), two)


def test_held_out_crops_are_the_same_every_time(folder):
    pictures = Pictures(Folder(folder), 24)
    first, second = (draws.draw_held_out(pictures, SETTINGS) for _ in range(2))
    for one, two in zip(first, second):
        np.testing.assert_array_equal(one, two)
    assert colours(first) == [10, 20, 40, 50]  # evenly spread over six


def test_holes(rng):
    settings = dataclasses.replace(SETTINGS, size=64, hole_sides=(0.25, 0.5))
    sides, borders, counts = [], 0, set()
    for _ in range(300):
        one = dataclasses.replace(settings, holes=1)
        mask, (top, left) = draws.draw_holes(rng, one)
        rows, columns = (np.nonzero(mask.any(axis))[0] for axis in (1, 0))
        assert mask.sum() == len(rows) * len(columns)  # a rectangle
        sides += [len(rows), len(columns)]
        borders += rows[0] == 0 or rows[-1] == 63 or columns[0] == 0 or columns[-1] == 63
        assert 0 <= top <= 32 and 0 <= left <= 32
        assert mask[top : top + 32, left : left + 32].sum() == mask.sum()  # all in the window
        counts.add(cv2.connectedComponents(draws.draw_holes(rng, settings)[0])[0] - 1)
    assert (min(sides), max(sides)) == (16, 32)
    assert borders > 10
    assert counts == {1, 2, 3}


def test_crops(rng):
    ramp = np.tile(np.arange(96, dtype=np.uint8), (32, 1))[..., None].repeat(3, 2)
    widths, places = [], []
    for _ in range(100):
        crop = draws.draw_crop(rng, ramp, 32, 2.0)
        assert crop.shape == (32, 32, 3)
        row = crop[0, :, 0].astype(int)
        widths.append(row[-1] - row[0])
        places.append(row[0])
    assert 14 <= min(widths) < 18 and 29 < max(widths) <= 31  # a side of 32 / (1 to 2)
    assert min(places) < 8 and max(places) > 60
    assert draws.draw_crop(rng, ramp[:1, :3], 32, 1.5).shape == (32, 32, 3)  # 1 x 3 pixels


def test_unreadable_pictures_are_named_and_the_next_one_is_taken(folder):
    (folder / "a" / "1.png").write_bytes(b"\x89PNG nothing")
    (folder / "a" / "b" / "5.png").write_bytes(b"")
    pictures = Pictures(Folder(folder), 24)
    assert [pictures.read(n)[0, 0, 0] for n in range(6)] == [10, 30, 30, 40, 50, 10]
    assert pictures.skipped.keys() == {"a/1.png", "a/b/5.png"}
    assert all(pictures.skipped.values())
    assert pictures.mean_colour() == pytest.approx([170 / 6 / 255] * 3)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"Not one of 6 .* a/2.png: not an image"):
        Pictures(Folder(folder), 24).read(2)


def test_what_is_held_out_of_a_folder(folder):
    train, held_out = open_images(str(folder))
    assert train.names == ["a/0.png", "a/1.png", "a/2.png", "a/b/3.png", "a/b/4.png"]
    assert held_out.names == ["a/b/5.png"]
    write(folder / "c" / "c.png", np.zeros((8, 8, 3), np.uint8))
    train, held_out = open_images(str(folder / "a"), str(folder / "c"))
    assert (len(train.names), len(held_out.names)) == (6, 1)
    for arguments, message in (
        ((str(folder / "none"),), r"--images: expected a folder, received .*none"),
        ((str(folder), str(folder / "none")), "--held_out_images: expected a folder"),
        ((str(folder), str(folder / "a" / "..")), "--held_out_images: expected another folder"),
        # What is held out must not be trained on.
        ((str(folder), str(folder / "a")), "--held_out_images: .* neither within the other"),
        ((str(folder / "a" / "b"), str(folder / "a")), "--held_out_images: expected another"),
    ):
        with pytest.raises(UsageError, match=message):
            open_images(*arguments)
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"Expected pictures in the folder .*empty"):
        open_images(str(folder / "empty"))
    write(folder / "one" / "one.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="expected 2 pictures or more"):
        open_images(str(folder / "one"))


def test_the_middle_frames_of_a_data_set(squares_data):
    train, held_out = open_images(str(squares_data))
    assert sorted(train.names) == sorted(f"train-{n}" for n in range(16))
    assert len(held_out.names) == 16  # test and test_more
    pixels = train.read(train.names.index("train-1"), 0)
    # Of the clip "right" the square lies at x = 2 + 3 t: in the middle frame, 3, at 11.
    assert (pixels[4:9, 11:16] == 220).all() and (pixels[4:9, 4:11] < 220).all()
    assert train.read(0, 12).shape == (12, 12, 3)
