"""What the callbacks that report progress write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.training.monitoring import ProgressLine, _write_image, board_folder, time


@pytest.fixture
def events(tmp_path):
    """Writes by a function of no arguments and returns the events' values."""

    def write(function):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            function()
        [path] = tmp_path.iterdir()
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        found = [tf.compat.v1.Event.FromString(record).summary.value for record in records]
        return [value for values in found for value in values]

    return write


def test_a_picture_is_that_of_tf_summary_image(rng, events):
    pixels = rng.integers(0, 256, [5, 7, 3], dtype=np.uint8)

    def write():
        tf.summary.image("theirs", pixels[None], step=3)
        _write_image("ours", pixels, np.int64(3))

    theirs, ours = events(write)
    assert ours.metadata.plugin_data.plugin_name == theirs.metadata.plugin_data.plugin_name
    assert ours.tag == "ours"
    sizes, pictures = zip(
        *((value.tensor.string_val[:2], value.tensor.string_val[2:]) for value in (theirs, ours))
    )
    assert [*sizes[0]] == [*sizes[1]] == [b"7", b"5"]
    for [encoded] in pictures:
        np.testing.assert_array_equal(tf.io.decode_png(encoded), pixels)


@pytest.mark.parametrize(
    "workdir, folder",
    [("w", "w/logs/main"), ("w/baselines/average", "w/logs/baselines/average/main")],
)
def test_the_baseline_is_below_the_logs_of_its_run(workdir, folder):
    run = SimpleNamespace(workdir=Path(workdir), log_folder=lambda s: Path(workdir, "logs", s.name))
    assert board_folder(run, SimpleNamespace(name="main")) == Path(folder)


def test_the_time_spent_on_waiting_for_data_by_hand(monkeypatch):
    """Steps of 2 seconds whose batches come after 0, 1 and half a second; the first compiles."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(tf, "timestamp", lambda: tf.constant(now[0], tf.float64))
    model = SimpleNamespace(train_step=lambda data: now.__setitem__(0, now[0] + data[1]))
    line = ProgressLine("title", batch_size=8, steps=100, done=40, shown=False)
    assert line.waiting is None
    line.measure(model)
    for wait, rest in ((0.0, 30.0), (1.0, 1.0), (0.5, 1.5)):
        line.on_train_batch_begin(0)
        now[0] += wait
        model.train_step((tf.constant(0.0), rest))
        line.on_train_batch_end(0)
    assert line.rate == 4 and line.waiting == pytest.approx(1.5 / 4)
    line.on_epoch_begin(1)
    assert line.waiting is None
    line.close()


def test_a_step_waits_for_a_slow_pipeline():
    """Batches that take a twentieth of a second each, in `fit` itself."""
    model = keras.Sequential([keras.layers.Dense(1)])

    def share(seconds):
        def slow():
            for _ in range(12):
                time.sleep(seconds)
                yield np.ones((2, 3), np.float32), np.ones((2, 1), np.float32)

        batches = tf.data.Dataset.from_generator(
            slow, output_signature=(tf.TensorSpec([2, 3]), tf.TensorSpec([2, 1]))
        )
        model.compile("sgd", "mse")
        line = ProgressLine("title", batch_size=2, steps=12, done=0, shown=False)
        line.measure(model)
        model.fit(batches, callbacks=[line], verbose=0)
        line.close()
        return line.waiting

    assert 0.5 < share(0.05) <= 1
