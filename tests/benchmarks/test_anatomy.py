"""The parts of a step sum to the whole, and each prefix does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf import recipes
from aacf_tf.runs.run import Run
from aacf_tf.training.optimizers import make_optimizer
from benchmarks import anatomy, drawn, sheet
from benchmarks.anatomy import PARTS, STEP, Fit


def tiny_recipe():
    changes = {
        "data.frames": 4,
        "data.height": 16,
        "data.width": 16,
        "data.crop": 1.0,
        "backbone_options.width": 16,
        "precision": "float32",
    }
    recipe = recipes.load_recipe("jhmdb")
    for path, value in changes.items():
        recipe = recipes.override(recipe, path, value)
    return recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    labels = ["a", "b"]
    pairs = [drawn.draw_pair(n, 6, 20, 24, labels[n % 2]) for n in range(3)]
    return drawn.write_copies(tmp_path_factory.mktemp("data") / "d", pairs, labels, 40, shards=3)


def test_parts_sum_to_the_step_on_data_with_its_gap():
    # In the second round the machine is half as fast.
    prefixes = {name: [10.0 * n, 20.0 * n, 10.0 * n] for n, name in enumerate(STEP, start=1)}
    prefixes["loss"][0] = 1e9
    repeated = Fit([0.070, 0.070, 0.5], [0.001])
    real = Fit([9.0, 0.080, 0.084], [0.002, 0.004])
    parts = anatomy.split(prefixes, repeated, real)
    assert [*parts] == [*PARTS]
    assert sum(parts.values()) == pytest.approx(82 + 3)
    assert [parts[name] for name in STEP] == pytest.approx([10] * len(STEP))
    assert parts["waiting for data"] == pytest.approx(82 - 70)
    lines = anatomy.table(parts)
    assert lines[-1] == "| whole step | 85.00 | 100.0 % |" and len(lines) == 3 + len(PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_prefixes_of_a_stage(data, tmp_path, number):
    recipe = tiny_recipe()
    run = Run.open(recipe, data, tmp_path)
    stage = recipe.stages[number]
    model = run.build(stage, steps=10)
    model.compile(
        optimizer=make_optimizer(recipes.plan_stage(recipe, stage, 10), model), weighted_metrics=[]
    )
    batch = next(iter(anatomy.read(run, stage, 1)))
    assert "id" not in batch[0]
    functions = anatomy.prefixes(model, batch)
    assert [*functions] == [*STEP]
    clips = 16 * (1 + number)  # the average head does not look at conjugates
    assert functions["backbone forward"]().shape[0] == clips
    assert functions["head forward"]()["combined_scores"].shape == (16, 2)
    assert np.isfinite(functions["loss"]())
    features, *by_head = functions["head backward"]()
    assert features.shape == functions["backbone forward"]().shape
    assert len(by_head) == len(model.head.trainable_variables)
    assert len(functions["backbone backward"]()) == len(model.trainable_variables)
    steps = model.optimizer.iterations.numpy()
    functions["optimizer"]()
    assert model.optimizer.iterations.numpy() == steps + 1
    assert "accuracy" in functions["metrics"]()


@pytest.mark.slow
def test_a_stage_is_cut(data, tmp_path):
    found, parts = anatomy.cut(tiny_recipe(), 1, data, tmp_path, rounds=1, epochs=1, threads=1)
    assert [*found.rows] == [*STEP] and [*parts] == [*PARTS]
    text = sheet.markdown(found)
    assert "| waiting for data |" in text and "until the first batch" in text
    anatomy.plot({found.title: parts}, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_copies_of_a_record_differ_in_their_id_alone(data):
    from tfrecords.reading.clips import read_dataset
    from tfrecords.show.verify import verify

    assert verify(data).startswith(f"{data}: 40 records in 3 shards")
    (inputs, targets, _), *_ = read_dataset(data, "train", 4, (20, 24), 40, training=False)
    order = np.argsort(inputs["id"].numpy().astype(int))
    clips, targets = inputs["clip"].numpy()[order], targets.numpy()[order]
    np.testing.assert_array_equal(clips[:37], clips[3:])
    np.testing.assert_array_equal(targets[:6], [0, 1, 0, 0, 1, 0])
    assert (clips[0] != clips[1]).any()
