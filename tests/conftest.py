"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Sequence

import pytest

# With TF_USE_LEGACY_KERAS=0 `tests/keras_layers` runs on Keras 3, where there is no aacf_tf.
if os.environ.get("TF_USE_LEGACY_KERAS") != "0":
    import aacf_tf  # noqa: F401  (before TensorFlow: it sets what every command sets)

PROJECT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Has pytest-xdist keep the order of the files; its own begins with those of the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files of whole commands, which stand at the top and take the longest.

    At the end one process would be left alone with them.
    """
    items.sort(key=lambda item: len(item.path.parts))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real videos (AACF_TEST_DATA, default ../shared/data); skips where it is absent."""
    path = Path(os.environ.get("AACF_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real videos not found at {path}; set AACF_TEST_DATA to their folder")
    return path


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    import numpy as np

    return np.random.default_rng(0)


@pytest.fixture
def check_layer(tmp_path):
    """Checks what every layer must satisfy; a layer's own test adds only correctness.

    `check_layer(layer_class, arguments, inputs, mixed_dtype)`: `inputs` is an array or a tuple of
    arrays `[B, ..., C]`; all dimensions between batch and channels are left free in the symbolic
    call. `mixed_dtype` is the type of every output under the policy mixed_bfloat16.
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow import keras

    def outputs_of(call, values):
        return [np.asarray(x) for x in tf.nest.flatten(call(values))]

    def symbolic_model(layer, values):
        places = tf.nest.map_structure(
            lambda x: keras.Input([None] * (x.ndim - 2) + [x.shape[-1]], dtype=x.dtype), values
        )
        # A list of outputs, so that one loss serves all, whatever the layer returns.
        return keras.Model(tf.nest.flatten(places), tf.nest.flatten(layer(places)))

    def train_one_step(layer, values):
        before = [np.array(w) for w in layer.trainable_weights]
        model = symbolic_model(layer, values)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        targets = [np.ones(y.shape, "float32") for y in outputs_of(model, values)]
        history = model.fit(tf.nest.flatten(values), targets, batch_size=len(targets[0]), verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        after = [np.array(w) for w in layer.trainable_weights]
        assert all(np.isfinite(w).all() for w in after)
        if before:
            assert any((a != b).any() for a, b in zip(after, before)), "no weight has changed"
        return model

    def check(layer_class, arguments, inputs, mixed_dtype):
        layer = layer_class(**arguments)
        config = json.loads(json.dumps(layer.get_config()))
        clone = layer_class.from_config(config)
        assert json.loads(json.dumps(clone.get_config())) == config
        assert config.items() >= json.loads(json.dumps(arguments)).items()

        eager = outputs_of(layer, inputs)
        model = symbolic_model(layer, inputs)
        for value, symbol in zip(eager, model.outputs):
            assert tf.TensorShape(symbol.shape).is_compatible_with(value.shape)
            assert symbol.shape[-1] == value.shape[-1] or symbol.shape[-1] is None
        flat = tf.nest.flatten(inputs)
        for value, symbolic in zip(eager, outputs_of(model, flat)):
            np.testing.assert_allclose(symbolic, value, rtol=1e-5, atol=1e-6)

        model = train_one_step(layer, inputs)
        model.save(tmp_path / "layer.keras")
        loaded = keras.models.load_model(tmp_path / "layer.keras")
        for value, again in zip(outputs_of(model, flat), outputs_of(loaded, flat)):
            np.testing.assert_allclose(again, value, rtol=1e-6, atol=1e-7)

        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            mixed = layer_class(**arguments)
            types = {y.dtype for y in tf.nest.flatten(mixed(inputs))}
            assert types == {tf.as_dtype(mixed_dtype)}
            assert {tf.as_dtype(w.dtype) for w in mixed.weights} <= {tf.float32, tf.int64}
            train_one_step(mixed, inputs)
        finally:
            keras.mixed_precision.set_global_policy("float32")

    return check


@pytest.fixture(scope="session")
def write_video() -> Callable:
    """Writes uint8 [T, H, W, 3] without loss (FFV1); `times` are milliseconds, T of them."""
    from fractions import Fraction

    import av

    def write(path: Path, frames: Any, fps: int = 20, times: Sequence[int] | None = None) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "bgr0"
            unit = Fraction(1, fps) if times is None else Fraction(1, 1000)
            stream.codec_context.time_base = unit
            times = range(len(frames)) if times is None else times
            for time, image in zip(times, frames):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time, unit
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def squares_data(tmp_path_factory) -> Path:
    """A data set of moving squares, two classes, absent in the conjugate; masks but in `train`.

    train 16, validation 4, test 8 and test_more 8 clips of 6 frames, 24 x 24 pixels.
    """
    import numpy as np

    from tfrecords import ClipPair, write_dataset

    counts = {"train": 16, "validation": 4, "test": 8, "test_more": 8}
    random = np.random.default_rng(0)
    splits = {split: [] for split in counts}
    for split, count in counts.items():
        for index in range(count):
            still = random.integers(0, 60, (6, 24, 24, 3)).astype(np.uint8)
            clip, mask = still.copy(), np.zeros((6, 24, 24), bool)
            for t in range(6):
                y, x = (4, 2 + 3 * t) if index % 2 else (2 + 3 * t, 4)
                clip[t, y : y + 5, x : x + 5] = 220
                mask[t, y : y + 5, x : x + 5] = True
            label = "right" if index % 2 else "down"
            known = None if split == "train" else mask
            splits[split].append(ClipPair(f"{split}-{index}", clip, still, (label,), 6.0, known))
    directory = tmp_path_factory.mktemp("squares") / "data"
    write_dataset(directory, splits, labels=["down", "right"], num_shards=2)
    return directory
