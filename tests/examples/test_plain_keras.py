"""The short scripts: short they are, they train, and what they say is trained is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples import own_backbone, plain_keras


@pytest.mark.parametrize("module", [plain_keras, own_backbone])
def test_the_script_is_short(module):
    assert len(Path(module.__file__).read_text(encoding="utf-8").splitlines()) <= 61


def test_plain_keras(squares_data):
    history = plain_keras.main(str(squares_data), epochs=3).history
    for name in ("combined", "difference", "context"):
        assert np.isfinite(history[f"{name}_loss"]).all()
        assert f"val_{name}_accuracy" in history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.slow
def test_own_backbone(squares_data, capsys):
    maps = own_backbone.main(str(squares_data), frames=2, size=(32, 32), epochs=1).numpy()
    assert maps.shape == (4, 2, 1, 1)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), 1, rtol=1e-5)
    assert "val_accuracy" in capsys.readouterr().out
