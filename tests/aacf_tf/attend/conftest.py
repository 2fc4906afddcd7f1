"""A model that sees colours, so that videos with actions at known times can be made."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

LABELS = ["red", "green", "blue"]
FRAMES, GRID = 6, 4


@pytest.fixture
def seer():
    """A predictor of clips of six frames: a bright colour is an action of its class, and where.

    The network is replaced; sampling, maps and scores are the project's own.
    """
    from aacf_tf.serving.predictor import Predictor

    def serve(frames):
        clip = frames[0].astype(float)  # [T, H, W, 3]
        _, height, width, _ = clip.shape
        cells = clip.reshape(FRAMES, GRID, height // GRID, GRID, width // GRID, 3).mean((2, 4))
        cells = cells.reshape(3, 2, GRID, GRID, 3).mean(1)  # two frames a step
        colorful = cells.max(-1) - cells.min(-1)
        total = clip.sum((0, 1, 2)) - clip.sum((0, 1, 2)).min()
        action = (total + 1) / (total + 1).sum()
        context = np.array([0.2, 0.2, 0.6])
        logits = (20 * (colorful > 20) - 8)[None]
        outputs = {
            "probabilities": action,
            "action_probabilities": action,
            "context_probabilities": context,
            "combined_probabilities": (action + context) / 2,
            "action_attention": np.exp(logits[0]) / np.exp(logits).sum(),
            "context_attention": np.full([3, GRID, GRID], 1 / 48),
            "action_logits": logits[0],
            "action_evidence": np.array(float(colorful.max())),
        }
        return {name: SimpleNamespace(numpy=lambda v=v: v[None]) for name, v in outputs.items()}

    predictor = Predictor.__new__(Predictor)
    predictor.labels, predictor.frames, predictor.kind = LABELS, FRAMES, "video"
    predictor.size, predictor.short_side = (32, 32), 256
    predictor.centres = [np.array([0.5, 2.5, 4.5]), *2 * [3.5 + 8 * np.arange(GRID)]]
    predictor.card = SimpleNamespace(fps=0.0, score="action", multi_label=False, resize="stretch")
    predictor._serve = serve
    return predictor


@pytest.fixture(scope="session")
def acted():
    """Makes grey frames uint8 [T, 48, 64, 3]; a colour is shown at [12:24, 32:48] meanwhile."""

    def make(count, actions):
        frames = np.full([count, 48, 64, 3], 90, np.uint8)
        for label, begin, end in actions:
            frames[begin:end, 12:24, 32:48, LABELS.index(label)] = 250
        return frames

    return make
