"""A small recipe for `squares_data`, a small exported model, and the helpers of weight files."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from absl import logging
from torch_writer import TorchFiles
from weight_tools import WeightTools

from aacf_tf import recipes
from aacf_tf.runs.run import Run


@pytest.fixture(autouse=True)
def fixed_weights():
    """Initial weights are the same in every run."""
    from tensorflow import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_recipe() -> recipes.Recipe:
    """The demo's recipe for that data: two epochs of four steps."""
    recipe = recipes.load_recipe("demo")
    stage = dataclasses.replace(recipe.stages[0], epochs=2, batch_size=4)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, frames=6, height=24, width=24),
        stages=(stage,),
        backbone_options={"width": 12},
        hidden=8,
        precision="float32",
    )


@pytest.fixture(scope="session")
def finished_run(tiny_recipe, squares_data, tmp_path_factory) -> Callable[[Path], Run]:
    """Copies a finished training of `tiny_recipe` to a directory and opens it."""
    from tensorflow import keras

    from aacf_tf.training import loop

    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("finished") / "run"
    loop.train(Run.open(tiny_recipe, squares_data, directory))

    def copy(workdir: Path) -> Run:
        shutil.copytree(directory, workdir, dirs_exist_ok=True)
        return Run.open(tiny_recipe, squares_data, workdir)

    return copy


@pytest.fixture(scope="session")
def served_recipe() -> recipes.Recipe:
    """The recipe of `exported`: eight frames of 48 x 48 pixels, every frame of a video."""
    recipe = recipes.load_recipe("demo")
    data = dataclasses.replace(
        recipe.data, frames=8, height=48, width=48, fps=0.0, resize="stretch"
    )
    return dataclasses.replace(recipe, backbone_options={"width": 12}, score="action", data=data)


@pytest.fixture(scope="session")
def labels() -> list[str]:
    """The classes of `exported`."""
    return ["jump", "spin", "wave"]


@pytest.fixture(scope="session")
def random_model(served_recipe, labels) -> Callable:
    """Makes models of weights far from their start: maps and scores differ between places."""
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf import build_model

    def make(recipe=served_recipe, **options):
        keras.utils.set_random_seed(0)  # Keras draws initial weights from Python's generator
        model = build_model(recipe, len(labels), **options)
        for variable in model.head.trainable_variables:
            variable.assign(tf.random.normal(variable.shape, stddev=0.5))
        return model

    return make


@pytest.fixture(scope="session")
def frames() -> Callable:
    """Makes clips of noise, uint8 [batch, count, height, width, 3]."""

    def make(count=8, height=60, width=80, seed=0, batch=2):
        return np.random.default_rng(seed).integers(
            0, 256, [batch, count, height, width, 3], dtype=np.uint8
        )

    return make


@pytest.fixture(scope="module")
def exported(random_model, served_recipe, labels, tmp_path_factory):
    """(model, directory of versions, the version); each module's own, since tests add versions."""
    from aacf_tf.serving.export import export

    logging.set_verbosity(logging.ERROR)
    directory = tmp_path_factory.mktemp("export") / "aacf"
    model = random_model()
    return model, directory, export(model, served_recipe, labels, directory, digest="abc")


@pytest.fixture(scope="module")
def signatures(exported):
    """The signatures of `exported`, by name."""
    import tensorflow as tf

    return tf.saved_model.load(str(exported[2])).signatures


@pytest.fixture
def torch_files() -> TorchFiles:
    """A writer of PyTorch files."""
    return TorchFiles()


@pytest.fixture(scope="session")
def weight_tools() -> type[WeightTools]:
    """Makes, writes and compares weights."""
    return WeightTools
