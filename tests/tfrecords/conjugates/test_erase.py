"""People taken out of photographs: the seam, what fills the hole, decoys."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfrecords.conjugates import blending
from tfrecords.conjugates.blending import blend
from tfrecords.conjugates.erase import LEAST_MARGIN, Eraser, find_decoy, grow
from tfrecords.conjugates.fillers import Network, telea
from tfrecords.utils.errors import UsageError, UserError

HEIGHT, WIDTH = 30, 40
# Where holes may lie: rows, columns.
HOLES = {
    "inside": [(slice(8, 20), slice(10, 25))],
    "at the left border": [(slice(8, 20), slice(0, 15))],
    "in a corner": [(slice(20, 30), slice(30, 40))],
    "across the width": [(slice(10, 22), slice(0, 40))],
    "several": [(slice(0, 5), slice(0, 40)), (slice(10, 20), slice(5, 12)), (15, 30)],
    "all but a pixel": [(slice(0, 30), slice(0, 39)), (slice(1, 30), 39)],
}


def hole_of(places: list) -> np.ndarray:
    hole = np.zeros((HEIGHT, WIDTH), bool)
    for place in places:
        hole[place] = True
    return hole


@pytest.fixture(params=HOLES)
def hole(request) -> np.ndarray:
    return hole_of(HOLES[request.param])


def ramp(slopes: tuple[float, float], offset: float = 30.0) -> np.ndarray:
    """Grey values that grow with the rows and columns, in three channels alike."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = np.rint(offset + slopes[0] * y + slopes[1] * x).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=-1)


@pytest.mark.parametrize("kind", ["poisson", "feather", "none"])
def test_outside_the_hole_not_a_bit_changes(rng, hole, kind):
    image, filled = rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    mixed = blend(image, filled, hole, kind)
    assert mixed.dtype == np.uint8
    np.testing.assert_array_equal(mixed[~hole], image[~hole])
    if kind == "none":
        np.testing.assert_array_equal(mixed[hole], filled[hole])


def test_poisson_gives_a_constant_filling_the_constant_of_the_picture(hole):
    image, filled = np.full((HEIGHT, WIDTH, 3), (200, 100, 9), np.uint8), ramp((0, 0), 77)
    image[hole] = 255  # whoever was there
    mixed = blend(image, filled, hole, "poisson")
    np.testing.assert_array_equal(mixed, np.broadcast_to((200, 100, 9), mixed.shape))


@pytest.mark.parametrize(
    ("place", "slopes"),
    [("inside", (5, 0)), ("inside", (0, 4)), ("inside", (2, 3)), ("across the width", (5, 0))],
)
def test_poisson_continues_a_ramp(place, slopes):
    """Whatever is known is on both sides of the hole: a flat filling becomes the ramp."""
    mixed = blend(ramp(slopes), ramp((0, 0)), hole_of(HOLES[place]), "poisson")
    np.testing.assert_array_equal(mixed, ramp(slopes))


def solve(image: np.ndarray, filled: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The discrete equation of the paper, written down pixel by pixel (one channel).

    The sum over the neighbours q there are of (f_p - f_q) is that of the filling; f_q is the
    picture's outside the hole, where the filling goes on as it ended.
    """
    pixels = [tuple(p) for p in np.argwhere(hole)]
    matrix, sums = np.zeros((len(pixels),) * 2), np.zeros(len(pixels))

    def neighbours(p: tuple) -> list[tuple]:
        near = [(p[0] + 1, p[1]), (p[0] - 1, p[1]), (p[0], p[1] + 1), (p[0], p[1] - 1)]
        return [q for q in near if 0 <= q[0] < hole.shape[0] and 0 <= q[1] < hole.shape[1]]

    for n, p in enumerate(pixels):
        for q in neighbours(p):
            matrix[n, n] += 1
            if hole[q]:
                matrix[n, pixels.index(q)] -= 1
                sums[n] += filled[p] - filled[q]
            else:
                inside = [filled[i] for i in neighbours(q) if hole[i]]
                sums[n] += image[q] + filled[p] - np.mean(inside)
    solved = image.astype(float)
    solved[hole] = np.linalg.solve(matrix, sums)
    return solved


def test_poisson_is_the_solution_of_its_equation(rng):
    image, filled = rng.integers(60, 190, (2, 9, 11, 3), np.uint8)
    hole = np.zeros((9, 11), bool)
    hole[2:6, 0:4] = hole[4:8, 3:9] = hole[0, 9:] = True  # at two borders, and not a rectangle
    mixed = blend(image, filled, hole, "poisson")
    for channel in range(3):
        solved = solve(*(a[..., channel].astype(float) for a in (image, filled)), hole)
        np.testing.assert_allclose(mixed[..., channel], np.clip(solved, 0, 255), atol=0.51)


def test_large_holes_are_solved_from_half_the_size(monkeypatch, hole):
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (WIDTH, HEIGHT))
    filled = ramp((3, 0))
    direct = blend(image, filled, hole, "poisson").astype(int)
    monkeypatch.setattr(blending, "DIRECT", 20)
    assert np.abs(blend(image, filled, hole, "poisson") - direct).max() <= 2


def test_feather_mixes_the_outermost_pixels_of_the_hole():
    image, filled = np.full((1, 12, 3), 30, np.uint8), np.full((1, 12, 3), 90, np.uint8)
    hole = np.zeros((1, 12), bool)
    hole[0, 4:] = True  # to the picture's border, which is no seam
    row = blend(image, filled, hole, "feather")[0, :, 0].tolist()
    assert row == [30] * 4 + [50, 70] + [90] * 6
    assert blending.FEATHER < LEAST_MARGIN  # no mixed pixel belongs to the person


def scene() -> np.ndarray:
    return ramp((2, 3))


def test_a_person_goes_and_the_rest_stays(hole):
    if hole.mean() > 0.95:
        pytest.skip("that hole leaves nothing")
    picture = scene()
    picture[hole] = (255, 0, 0)
    for blending_kind in ("poisson", "feather", "none"):
        erased = Eraser(blending=blending_kind).pair(picture, hole, 4 / 240)
        outside = ~grow(hole, LEAST_MARGIN)
        np.testing.assert_array_equal(erased.conjugate[outside], picture[outside])
        red = erased.conjugate[..., 0].astype(int) - erased.conjugate[..., 1]
        assert red.max() < 30 and erased.picture is picture and not erased.decoy


def test_a_hole_that_leaves_nothing():
    picture, everything = scene(), np.ones((HEIGHT, WIDTH), bool)
    with pytest.raises(ValueError, match=r"Expected a hole that leaves something .* Received all"):
        Eraser().erase(picture, everything)
    assert Eraser(decoys=True).pair(picture, everything, 0.1, everything) == (picture, None, False)
    nobody = ~everything
    assert Eraser().pair(picture, nobody, 0.1).conjugate is None
    assert Eraser().erase(picture, nobody) is picture
    for size in ((1, 1), (1, 40), (3, 2)):  # whatever is left
        dot = np.zeros((*size, 3), np.uint8)
        hole = np.zeros(size, bool)
        hole[0, 0] = size != (1, 1)
        assert Eraser().erase(dot, hole).shape == dot.shape


def test_decoys_are_as_large_and_away_from_everybody(rng):
    hole = np.zeros((60, 90), bool)
    hole[20:40, 5:15] = hole[22:30, 15:20] = hole[50:60, 70:75] = True
    taken = grow(hole, 4)
    taken[:20, 60:] = True  # someone else
    places = set()
    for _ in range(20):
        decoy = find_decoy(hole, taken, rng)
        assert decoy.sum() == hole.sum() and not (decoy & taken).any()
        count, _, boxes, _ = cv2.connectedComponentsWithStats(decoy.astype(np.uint8))
        sizes = {tuple(box[2:]) for box in boxes[1:].tolist()}
        assert count > 3 or sizes == {(15, 20, 240), (5, 10, 50)} or count == 2  # side by side
        places.add(tuple(np.argwhere(decoy)[0]))
    assert len(places) > 10


def test_a_decoy_of_another_shape_where_its_own_finds_no_place(rng):
    hole = np.zeros((20, 60), bool)
    hole[5:7, :] = True  # across the picture
    taken = hole.copy()
    taken[:, 25] = True
    decoy = find_decoy(hole, taken, rng)
    assert decoy.sum() == hole.sum() and not (decoy & taken).any()
    taken[:, 2:] = True
    assert find_decoy(hole, taken, rng) is None  # 36 free pixels for 120


def test_the_decoy_is_filled_as_the_hole_is_and_depends_on_the_seed_alone():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    person = np.zeros((60, 80), bool)
    person[30:60, 4:14] = True
    eraser = Eraser(decoys=True)
    first, again, other = (eraser.pair(picture, person, 0.05, person, s) for s in "aab")
    assert first.decoy and other.decoy
    np.testing.assert_array_equal(first.picture, again.picture)
    assert (first.picture != other.picture).any()
    np.testing.assert_array_equal(first.conjugate, other.conjugate)
    changed = (first.picture != picture).any(axis=-1)
    hole = grow(person, 3)
    assert not changed[hole].any() and 0.95 * hole.sum() < changed.sum() <= hole.sum()
    np.testing.assert_array_equal(eraser.erase(picture, changed)[~changed], picture[~changed])
    full = np.ones_like(person)  # a crowd
    assert not eraser.pair(picture, person, 0.05, full, "a").decoy
    assert Eraser().pair(picture, person, 0.05, person, "a").picture is picture


def test_telea_looks_at_nothing_inside_the_hole(hole):
    first, second = scene(), scene()
    second[hole] = 255
    np.testing.assert_array_equal(telea(first, hole), telea(second, hole))


def save(path, function, image=(None, None, None, 3), mask=(None, None, None), **names) -> str:
    """A SavedModel of one function of `image` and `mask`."""
    module = tf.Module()
    specs = {"image": image, "mask": mask}
    specs = [tf.TensorSpec(shape, tf.uint8, names.get(n, n)) for n, shape in specs.items()]
    module.run = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(path), {"serving_default": module.run})
    return str(path)


def painted(shade: int):
    """A network that paints holes."""

    def run(image, mask):
        return {"image": tf.where(mask[..., None] > 0, tf.cast(shade, tf.uint8), image)}

    return run


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """Two versions of a network."""
    folder = tmp_path_factory.mktemp("export") / "completion"
    for version, shade in ((9, 5), (10, 222)):
        save(folder / str(version), painted(shade))
    (folder / "11").mkdir()  # not finished
    return str(folder)


def test_a_network_fills_by_its_last_version(network, hole):
    picture = scene()
    filled = Eraser(network, "none").erase(picture, hole)
    assert (filled[hole] == 222).all() and (filled[~hole] == picture[~hole]).all()
    assert (Network(f"{network}/9")(picture, hole)[hole] == 5).all()


def test_the_plan_knows_a_network_by_its_content(network, tmp_path):
    import shutil

    shutil.copytree(f"{network}/10", tmp_path / "elsewhere")
    plan = Eraser(network).plan
    assert plan == Eraser(str(tmp_path / "elsewhere")).plan and network not in str(plan)
    assert plan["filler"] != Eraser(f"{network}/9").plan["filler"]
    assert Eraser().plan == {"blend": "poisson"}
    assert Eraser(blending="none", decoys=True).plan == {"blend": "none", "decoys": True}


def test_what_is_no_completion_network(tmp_path):
    with pytest.raises(UsageError, match=r"--filler=telea, or the folder .* has no saved_model.pb"):
        Network(str(tmp_path))
    with pytest.raises(UsageError, match=r"received .*gone, which has no"):
        Network(str(tmp_path / "gone"))
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    picture, hole = scene(), hole_of(HOLES["inside"])
    with pytest.raises(UsageError, match=r"of --filler cannot be loaded: "):
        Network(str(tmp_path))(picture, hole)
    other = save(tmp_path / "other", painted(1), mask=(None, None, None, 1), mask_name="hole")
    with pytest.raises(UsageError, match=r"mask uint8 \[batch, H, W\], any H and W, that gives "):
        Network(other)(picture, hole)
    one_size = save(tmp_path / "one_size", painted(1), (None, 64, 64, 3), (None, 64, 64))
    with pytest.raises(UsageError, match=r"any H and W, .* image uint8 \(None, 64, 64, 3\)"):
        Network(one_size)(picture, hole)
    half = save(tmp_path / "half", lambda image, mask: {"image": image[:, ::2]})
    with pytest.raises(UserError, match=r"uint8 \(30, 40, 3\), received uint8 \(15, 40, 3\)"):
        Network(half)(picture, hole)
