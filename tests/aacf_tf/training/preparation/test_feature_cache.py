"""Cached features: what they are, when they are made, and that training by them is the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf import recipes
from aacf_tf.runs.checkpoints import BEST, parts
from aacf_tf.runs.directory import read_history
from aacf_tf.runs.run import Run
from aacf_tf.training import loop, restoring
from aacf_tf.training.preparation import feature_cache
from tfrecords import read_dataset
from tfrecords.records import writer
from tfrecords.records.dataset import load_info, load_manifest
from tfrecords.records.feature_codec import FeatureInfo, decode_features, parse_features
from tfrecords.utils.atomic import sha256
from tfrecords.utils.errors import UsageError, UserError

SPLITS = ("train", "validation")


@pytest.fixture
def frozen_recipe(tiny_recipe):
    """A recipe whose one stage trains the head alone, on one uncropped view; cached or not."""
    stage = dataclasses.replace(
        tiny_recipe.stages[0],
        backbone_rate=0.0,
        optimizer="sgd",
        learning_rate=0.05,
        pairs_first=0.0,
    )
    data = dataclasses.replace(tiny_recipe.data, crop=1.0, flip=False, cache=False)
    return dataclasses.replace(tiny_recipe, data=data, stages=(stage,))


def with_data(recipe, **options):
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **options))


def cache(run, splits=SPLITS, model=None):
    stage = run.recipe.stages[-1]
    return feature_cache.cache(run, stage, model or run.build(stage), splits)


def records(directory, split):
    """The maps of every record, by its id."""
    found = {}
    for path in sorted(directory.glob(f"{split}-*.tfrecord")):
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            identity = parse_features(tf.constant(serialized), "time3_relu")["id"].numpy()
            found[identity] = decode_features(serialized)
    return found


def test_what_is_cached_is_what_the_backbone_gives(squares_data, frozen_recipe, tmp_path):
    recipe = with_data(frozen_recipe, views=2, crop=0.7, flip=True, frozen_conjugates=0.5)
    run = Run.open(recipe, squares_data, tmp_path)
    stage = recipe.stages[0]
    model = run.build(stage)
    directory = cache(run, model=model)
    assert directory.parent == squares_data.with_name("data-features")
    assert set(load_info(directory).splits) == set(SPLITS)
    assert FeatureInfo.load(directory).shapes == {
        "train": [3, 3, 3, 12],
        "validation": [3, 4, 4, 12],
    }

    def expected(**options):
        batches = read_dataset(squares_data, "train", 6, (24, 24), 16, seed=0, crop=0.7, **options)
        inputs = next(iter(batches))[0]
        maps = np.split(model.features(inputs, pairs=True).numpy(), 2)
        assert maps[0].std() > 0.1
        return {name: pair for name, *pair in zip(inputs["id"].numpy(), *maps)}

    wanted = [
        expected(training=False, view=(0.5, 0.5, 0.5)),
        expected(first_epoch=1, epochs=1, frozen_conjugates=0.5),
    ]
    found = records(directory, "train")
    assert found.keys() == wanted[0].keys() and len(found) == 16
    for name, maps in found.items():
        for view in (0, 1):
            for kind, values in zip(("", "CONJUGATE/"), wanted[view][name]):
                stored = maps[f"{kind}time3_relu/feature/bytes"][view]
                np.testing.assert_allclose(stored, values, rtol=2e-3, atol=1e-3)
    manifest = load_manifest(directory)
    assert all(sha256(directory / name) == entry["sha256"] for name, entry in manifest.items())


def test_a_map_crop_larger_than_the_map_is_refused_before_any_is_made(
    squares_data, frozen_recipe, tmp_path
):
    run = Run.open(with_data(frozen_recipe, views=1, map_crop=5), squares_data, tmp_path)
    with pytest.raises(UsageError, match=r"at most the 4 x 4 cells of 24 x 24 .* received 5"):
        cache(run)


def test_training_from_the_cache_is_training(squares_data, frozen_recipe, tmp_path, monkeypatch):
    """Weights and validation agree within float16's precision, and no frame is read."""
    runs, histories = {}, {}
    for views in (0, 1):
        run = Run.open(with_data(frozen_recipe, views=views), squares_data, tmp_path / str(views))
        if views:

            def refuse(*arguments, **options):
                raise AssertionError("frames are read")

            cache(run, model=restoring.build_frozen(run)[1])
            monkeypatch.setattr("aacf_tf.runs.run.read_dataset", refuse)
        loop.train(run)
        runs[views] = run
        histories[views] = read_history(run.log_folder(run.recipe.stages[0]) / "history.json")
    stage = frozen_recipe.stages[0]
    start = restoring.build_frozen(runs[1])[1]
    direct, cached = (restoring.restore(runs[views], stage, best=False) for views in (0, 1))
    for a, b in zip(direct.backbone.weights, cached.backbone.weights):
        np.testing.assert_array_equal(a, b)
    moved = 0.0
    for before, a, b in zip(
        start.head.trainable_weights, direct.head.trainable_weights, cached.head.trainable_weights
    ):
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-4, err_msg=a.name)
        moved = max(moved, float(np.abs(a - before).max()))
    assert moved > 0.02  # a hundred times the tolerance
    for one, two in zip(histories[0], histories[1]):
        assert one.keys() == two.keys()
        for name in ("loss", "val_loss", "val_action_pointing"):
            assert two[name] == pytest.approx(one[name], abs=2e-3), name


def test_a_stopped_command_goes_on(squares_data, frozen_recipe, tmp_path, monkeypatch):
    def runs(seed):  # other random weights: another cache
        recipe = dataclasses.replace(with_data(frozen_recipe, views=1), seed=seed)
        run = Run.open(recipe, squares_data, tmp_path)
        return run, restoring.build_frozen(run)[1]

    run, model = runs(5)
    whole = {path.name: path.read_bytes() for path in cache(run, model=model).glob("*.tfrecord")}
    assert len(whole) == 4
    for path in cache(run, model=model).glob("*"):  # as if it had been stopped
        if path.suffix == ".json" or path.name.startswith("validation-00001"):
            path.unlink()
    seen = []
    original = writer.write_shard

    def note(path, examples):
        seen.append(path.name)
        return original(path, examples)

    monkeypatch.setattr(feature_cache, "write_shard", note)
    directory = cache(run, model=model)
    assert seen == ["validation-00001-of-00002.tfrecord"]
    assert {path.name: path.read_bytes() for path in directory.glob("*.tfrecord")} == whole
    # Another split comes later; what is there stays.
    assert cache(run, ["test", "no_such_split"], model) == directory
    assert seen[1:] == [f"test-0000{n}-of-00002.tfrecord" for n in (0, 1)]
    assert list(load_info(directory).splits) == ["train", "validation", "test"]
    cache(run, ["train", "test"], model)
    assert len(seen) == 3


def test_what_the_cache_depends_on(squares_data, frozen_recipe, tmp_path):
    recipe = with_data(frozen_recipe, views=1)
    model = Run.open(recipe, squares_data, tmp_path).build(recipe.stages[0])

    def directory(recipe, model=model, conjugates=True):
        run = Run.open(recipe, squares_data, tmp_path)
        weights = feature_cache._digest_weights(model.backbone)
        return feature_cache._Cache(run, model, weights, conjugates).directory

    first = directory(recipe)
    # What the head is, its schedule, and chance where nothing is drawn, change no map.
    for same in (
        dataclasses.replace(recipe, head="attention", seed=3, hidden=4),
        recipes.override(recipe, "stages.0.epochs", 7),
        with_data(recipe, flip=True),
    ):
        assert directory(same) == first
    more = with_data(recipe, views=2)
    others = [
        more,
        dataclasses.replace(more, seed=3),
        with_data(more, flip=True),
        with_data(more, crop=0.7),
        with_data(recipe, height=32),
        with_data(recipe, frames=5),
        with_data(recipe, fps=3.0),
        with_data(recipe, resize="short_side"),
        recipes.override(recipe, "backbone_options", {"width": 24}),
    ]
    found = {directory(other) for other in others} | {first, directory(recipe, conjugates=False)}
    model.backbone.weights[0].assign_add(tf.ones_like(model.backbone.weights[0]) * 1e-3)
    found.add(directory(recipe))
    assert len(found) == len(others) + 3


def test_heads_share_what_is_there(squares_data, frozen_recipe, tmp_path):
    recipe = dataclasses.replace(with_data(frozen_recipe, views=1), seed=6)
    run = Run.open(recipe, squares_data, tmp_path)
    baseline = Run.open(dataclasses.replace(recipe, head="average"), squares_data, tmp_path)
    stage, model = recipe.stages[0], restoring.build_frozen(run)[1]
    small = feature_cache.cache(baseline, stage, model, ["validation"])
    assert not FeatureInfo.load(small).conjugates
    large = feature_cache.cache(run, stage, model, ["validation"])
    assert FeatureInfo.load(large).conjugates and large != small
    assert feature_cache.cache(baseline, stage, model, ["validation"]) == large


def test_the_maps_of_a_later_stage_are_of_what_training_goes_on_with(
    squares_data, frozen_recipe, tmp_path
):
    """They are made from the last checkpoint of the stage before, not from its best."""
    last = dataclasses.replace(frozen_recipe.stages[0], name="last")
    first = dataclasses.replace(last, name="first", head="average")
    middle = dataclasses.replace(first, name="middle", backbone_rate=1.0, epochs=7)
    recipe = dataclasses.replace(with_data(frozen_recipe, views=1), stages=(first, middle, last))
    run = Run.open(recipe, squares_data, tmp_path)
    assert restoring.build_frozen(run)[0] is first

    def save(stage, folder):
        model = run.build(stage)
        saved = tf.train.Checkpoint(epoch=tf.Variable(7, dtype=tf.int64), **parts(model))
        tf.train.CheckpointManager(saved, str(folder), max_to_keep=1).save()
        return model.backbone.get_weights()[0]

    save(first, run.checkpoint_folder(first))
    assert restoring.build_frozen(run)[0] is first
    best = save(middle, run.checkpoint_folder(middle) / BEST)
    kept = save(middle, run.checkpoint_folder(middle))
    assert not np.array_equal(best, kept)
    stage, model = restoring.build_frozen(run)
    assert stage is last
    np.testing.assert_array_equal(model.backbone.get_weights()[0], kept)


def test_wrong_use_is_named(squares_data, frozen_recipe, tmp_path):
    recipe = with_data(frozen_recipe, views=1)
    run = Run.open(recipe, squares_data, tmp_path)
    model = run.build(recipe.stages[0])
    for weight in model.backbone.weights:
        weight.assign(1e4 * weight)
    with pytest.raises(UserError, match=r"within float16 .* of the clips train-\d+.*greater ones"):
        cache(run, model=model)
    blocked = dataclasses.replace(run, data=tmp_path / "data", info=run.info)
    (tmp_path / "data-features").write_text("in the way")
    (tmp_path / "data").symlink_to(squares_data)
    with pytest.raises(UserError, match="Expected to be allowed to write cached features"):
        cache(blocked)
