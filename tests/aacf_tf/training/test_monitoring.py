"""What the callbacks that report progress write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.training.monitoring import _write_image, board_folder


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
