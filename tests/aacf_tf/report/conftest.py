"""A run that looks trained and has been evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LABELS = ["down", "right"]


@pytest.fixture(scope="session")
def judged(squares_data, tiny_recipe, tmp_path_factory):
    """(files of the run by name, its model)."""
    from tensorflow import keras

    from aacf_tf import build_model
    from aacf_tf.evaluation.evaluate import evaluate
    from aacf_tf.runs.run import Run

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("judged")
    model = build_model(tiny_recipe, len(LABELS))
    evaluate(Run.open(tiny_recipe, squares_data, folder), model, "aacf", folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, model


@pytest.fixture(scope="session")
def make_run(judged, tiny_recipe, squares_data):
    """Makes a run in a folder; returns it and its model."""
    from aacf_tf.runs.run import Run

    def make(workdir: Path):
        files, model = judged
        (workdir / "logs" / "main").mkdir(parents=True)
        for name, content in files.items():
            (workdir / name).write_bytes(content)
        history = [
            {"epoch": n, "loss": 2.0 / n, "presence": 0.5, "accuracy": 0.1 * n} for n in (1, 2)
        ]
        (workdir / "logs" / "main" / "history.json").write_text(json.dumps(history))
        return Run.open(tiny_recipe, squares_data, workdir), model

    return make


@pytest.fixture
def run(make_run, tmp_path):
    """(run directory that looks trained, recipe, model)."""
    current, model = make_run(tmp_path)
    return tmp_path, current.recipe, model
