from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import people, poses
from tfrecords.conjugates.erase import BOX_MARGIN, LEAST_MARGIN, Eraser, grow
from tfrecords.media.images import draw_boxes
from tfrecords.utils.errors import UsageError

FEW = {"train": (12, 0.9), "test": (6, 0.9), "test_uniform": (6, None), "test_anti": (6, 0.0)}


def test_the_person_goes_and_nothing_else():
    pair = people.make_pair("train", 2, Eraser())
    drawn = people.photograph("train", 2)
    assert (pair.clip[0] == drawn.pixels).all()
    assert (pair.mask[0] == drawn.actor).all()
    box = draw_boxes(pair.boxes, drawn.actor.shape)
    rows, columns = (np.flatnonzero(drawn.actor.any(axis)) for axis in (1, 0))
    assert box.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    hole = grow(box, max(LEAST_MARGIN, round(BOX_MARGIN * min(box.shape))))
    changed = (pair.conjugate[0] != pair.clip[0]).any(-1)
    assert not changed[~hole].any()
    assert changed[drawn.actor].mean() > 0.9


def test_decoys_are_in_training_alone_and_off_the_people():
    eraser = Eraser(decoys=True)
    pair, drawn = people.make_pair("train", 5, eraser), people.photograph("train", 5)
    changed = (pair.clip[0] != drawn.pixels).any(-1)
    assert pair.decoy and changed.any()
    assert not changed[drawn.actor | np.any(drawn.bystanders, axis=0)].any()
    assert not people.make_pair("test", 5, eraser).decoy


def test_the_scene_betrays_the_class_as_often_as_the_split_says(monkeypatch):
    # What is drawn does not matter here, only which scene it would be drawn in.
    nothing = people._Layer(np.zeros((96, 136, 3)), np.ones((96, 136)))
    monkeypatch.setattr(people, "_person", lambda *_: nothing)
    monkeypatch.setattr(people, "_scenery", lambda *_: (np.zeros((96, 136, 3)), 60))
    monkeypatch.setattr(people, "grow", lambda mask, _: mask)
    for split, share in {"train": 0.9, "test": 0.9, "test_uniform": 1 / 6, "test_anti": 0}.items():
        scenes = np.array([people.photograph(split, index).scene for index in range(300)])
        own = np.mean(scenes == np.arange(300) % 6)
        assert abs(own - share) < 4 * np.sqrt(share * (1 - share) / 300) + 1e-9
        assert np.bincount(scenes, minlength=6).min() > 20


def test_poses_differ_from_each_other_and_from_standing():
    size, masks = (96, 136), []
    for pose in (*people.POSES.values(), people.STANDING):
        # The same person, all that is random equal; the masks laid upon each other at the corner.
        drawn = people._person(np.random.default_rng(3), pose, size, 60).cover > 0.5
        rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
        laid = np.zeros(size, bool)
        part = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        laid[: part.shape[0], : part.shape[1]] = part
        masks.append(laid)
    for place, mask in enumerate(masks):
        for other in masks[:place]:
            assert (mask != other).sum() > 0.3 * mask.sum()


@pytest.mark.slow
def test_a_variant_from_data_to_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(people, "SPLITS", FEW)
    small = [
        ("data.height", "48"),
        ("data.width", "64"),
        ("backbone_options", '{"width": 12}'),
        ("stages.0.epochs", "1"),
        ("stages.1.epochs", "1"),
        ("stages.0.batch_size", "6"),
        ("stages.1.batch_size", "6"),
    ]
    recipe = poses.make_recipe("decoys", small)
    data = people.write(tmp_path / "data", decoys=True)
    assert json.loads((data / "dataset.json").read_text())["splits"]["train"]["pairs"] == 12
    # Pictures and exports have tests of their own.
    monkeypatch.setattr("aacf_tf.report.page.write_report", _page)
    monkeypatch.setattr("aacf_tf.serving.export.export", lambda *_, **__: tmp_path)
    poses.run_variant(recipe, data, tmp_path / "decoys", tmp_path / "average" / "decoys")
    results = poses.collect(tmp_path)
    assert list(results) == ["average (decoys)", "decoys"]
    table = poses.render(results)
    for score in ("action", "context", "combined"):
        top1 = results["decoys"]["test_anti"][score]["top1"]
        assert f"| decoys, {score} |" in table and f"{top1:.3f} / " in table
    # Given again nothing is trained or judged: it would say so.
    monkeypatch.setattr("aacf_tf.pipeline.evaluate", None)
    poses.run_variant(recipe, data, tmp_path / "decoys", tmp_path / "average" / "decoys")


def _page(run, model):
    page = run.workdir / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    return page


def test_no_variant_of_that_name():
    with pytest.raises(UsageError, match="expected all or some of plain, decoys"):
        poses.make_recipe("sideways")
