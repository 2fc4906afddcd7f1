"""Losses by hand; each phase trains what it should; figures of a comparison."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.completion import comparison, objectives
from aacf_tf.completion.draws import Batch
from aacf_tf.completion.objectives import Trainee, cut_windows, squared_error
from aacf_tf.completion.options import PHASES, PRESETS, Settings
from tfrecords.utils.errors import UsageError

SETTINGS = Settings(size=16, width=2, batch_size=2, steps=(5, 2, 3), optimizer="adam")


def test_squared_error_counts_the_holes_pixels_alone():
    image = np.zeros((2, 4, 4, 3), np.float32)
    mask = np.zeros((2, 4, 4, 1), np.float32)
    mask[0, 1, 1:4] = mask[1, 2, 2] = 1  # 3 pixels and 1
    painted = np.full_like(image, 9.0) * (1 - mask)
    painted[0, 1, 1] = (0.5, 0, 0)
    painted[1, 2, 2] = (0, 1, 1)
    assert float(squared_error(painted, image, mask)) == pytest.approx((0.25 + 2) / 12)


def test_windows(rng):
    image = rng.uniform(size=(3, 8, 8, 3)).astype(np.float32)
    corners = np.array([[0, 4], [2, 3], [4, 0]], np.int32)
    cut = cut_windows(image, corners, 4)
    for one, whole, (top, left) in zip(cut, image, corners):
        np.testing.assert_array_equal(one, whole[top : top + 4, left : left + 4])


def test_each_phase_trains_what_it_should(rng):
    """And what the discriminators see: the hole as it was painted, all else as it was."""
    trainee = Trainee(dataclasses.replace(SETTINGS, spectral_norm=True), (0.5, 0.5, 0.5))
    mask = np.zeros((2, 16, 16), np.uint8)
    mask[:, 4:10, 4:12] = 1
    batch = Batch(
        rng.integers(0, 256, (2, 16, 16, 3), np.uint8), mask, np.full((2, 2), 3, np.int32)
    )
    networks = {"completer": trainee.completer.network, "discriminators": trainee.discriminators}

    def weights():
        return {
            name: np.concatenate([w.ravel() for w in n.get_weights()])
            for name, n in networks.items()
        }

    seen = []
    judge = trainee._judge
    trainee._judge = lambda *arguments: seen.append(arguments) or judge(*arguments)
    changed = {}
    for phase in PHASES:
        before = weights()
        tf.config.run_functions_eagerly(True)
        try:
            losses = trainee.steps[phase](*(tf.constant(part) for part in batch))
        finally:
            tf.config.run_functions_eagerly(False)
        changed[phase] = {name for name, old in before.items() if (old != weights()[name]).any()}
        assert set(losses) == set(objectives.LOSSES)
        assert float(losses["squared_error"]) > 0
        assert (float(losses["adversarial"]) > 0) == (phase != "completion")
        assert (float(losses["discriminators"]) > 0) == (phase != "completion")
    assert changed == {
        "completion": {"completer"},
        "discriminators": {"discriminators"},
        "both": {"completer", "discriminators"},
    }
    assert len(seen) == 2
    image, completed, _ = (part.numpy() for part in seen[0])
    np.testing.assert_allclose(image, batch.image / 255, atol=1e-6)
    np.testing.assert_array_equal(completed[mask == 0], image[mask == 0])
    assert (completed[mask == 1] != image[mask == 1]).all()


def test_real_pictures_are_seen_through_their_neighbour_s_window():
    trainee = Trainee(SETTINGS, (0.5, 0.5, 0.5))
    seen = {}
    trainee.discriminators = lambda inputs, training: (
        seen.update(whole=inputs[0], local=inputs[1]) or tf.constant([[1.0], [2.0], [3.0], [4.0]])
    )
    image = tf.reshape(tf.range(2.0 * 16 * 16 * 3), [2, 16, 16, 3])
    window = tf.constant([[0, 0], [8, 4]])
    real, fake = trainee._judge(image, -image, window)
    assert real.numpy().ravel().tolist() == [1, 2] and fake.numpy().ravel().tolist() == [3, 4]
    np.testing.assert_array_equal(seen["whole"], np.concatenate([image, -image]))
    local = seen["local"].numpy()
    np.testing.assert_array_equal(local[0], image[0, 8:16, 4:12])
    np.testing.assert_array_equal(local[1], image[1, :8, :8])
    np.testing.assert_array_equal(local[2], -image[0, :8, :8])
    np.testing.assert_array_equal(local[3], -image[1, 8:16, 4:12])


def test_learning_rate_falls_over_the_steps_that_train_the_completion_network():
    settings = dataclasses.replace(SETTINGS, schedule="cosine", learning_rate=0.1)
    first, second = (
        optimizer.get_config()["learning_rate"]
        for optimizer in Trainee(settings, (0.5, 0.5, 0.5)).optimizers
    )
    assert first["class_name"] == "CosineDecay"
    assert first["config"]["initial_learning_rate"] == 0.1
    assert first["config"]["decay_steps"] == 5 + 3
    assert second == pytest.approx(0.1)


def test_phases():
    found = [SETTINGS.phase(step) for step in range(10)]
    assert found == 5 * ["completion"] + 2 * ["discriminators"] + 3 * ["both"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", 20, "--size: expected a multiple of 8 pixels, received 20"),
        ("width", 3, "--width: expected an even number, received 3"),
        ("fill", "noise", "--fill: expected one of mean, diffused, received 'noise'"),
        ("steps", (1, 2), "--steps: expected three numbers.*received 1,2"),
        ("steps", (0, 0, 0), "--steps: expected three numbers.*received 0,0,0"),
        ("hole_sides", (0.5, 0.25), "--hole_sides: expected .* received 0.5,0.25"),
        ("hole_sides", (0.5, 1.0), "--hole_sides: expected .* received 0.5,1.0"),
        ("zoom", 0.9, "--zoom: expected at least 1, received 0.9"),
        ("learning_rate", float("nan"), "--learning_rate: expected above 0, received nan"),
        ("batch_size", 1, "--batch_size: expected at least 2, received 1"),
    ],
)
def test_settings_that_cannot_be_trained(field, value, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(SETTINGS, **{field: value}).check()


def test_presets_can_be_trained():
    for settings in PRESETS.values():
        settings.check()


def test_figures_by_hand():
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    mask = np.zeros((2, 4, 4), np.uint8)
    mask[0, :2] = mask[1, 0, :1] = 1  # 8 pixels and 1
    completed = truth + np.uint8(51) * mask[..., None]  # 0.2
    completed[1] = 250  # what lies outside the hole counts for nothing
    completed[1, 0, 0] = (100, 100, 253)  # 0, 0, 0.6
    found = comparison.figures(completed, truth, mask)
    first, second = 0.04, 0.36 / 3
    decibels = -10 * np.log10([first, second])
    assert found["psnr"] == pytest.approx(decibels.mean())
    assert found["psnr_pooled"] == pytest.approx(-10 * np.log10((8 * first + second) / 9))
    assert found["l1"] == pytest.approx(0.2)
    assert comparison.figures(truth, truth, mask)["psnr"] == 60
