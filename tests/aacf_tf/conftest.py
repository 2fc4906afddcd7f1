"""A small recipe for `squares_data`, a small exported model, and writers of weight files."""

from __future__ import annotations

import dataclasses
import pickle
import struct
import zipfile
from typing import Callable, NamedTuple

import numpy as np
import pytest
from absl import logging

from aacf_tf import recipes


@pytest.fixture(autouse=True)
def fixed_weights():
    """Initial weights are the same in every run."""
    from tensorflow import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
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
    """Those of `exported`, by name."""
    import tensorflow as tf

    return tf.saved_model.load(str(exported[2])).signatures


_STORAGES = {
    "f8": "Double",
    "f4": "Float",
    "f2": "Half",
    "i8": "Long",
    "i4": "Int",
    "u1": "Byte",
    "b1": "Bool",
}


class TorchFiles:
    """Writes PyTorch files without PyTorch: pickles by hand, in both containers.

    A content is made of dicts, tuples, numbers, strings and None, of arrays, which become tensors,
    and of the classes below; anything else is pickled as Python does it.
    """

    class Global(NamedTuple):
        module: str
        name: str

    class Call(NamedTuple):
        function: object
        arguments: tuple

    class Tensor(NamedTuple):
        """A view of a one-dimensional array; `kind` is the storage's type where numpy has none."""

        storage: np.ndarray
        offset: int
        shape: tuple
        strides: tuple
        kind: str = ""
        module: str = "torch"
        view: object = None

    def save(self, path, content, container="zip", compression=0):
        """Writes a file of one container, `zip` or `legacy`; compression as `zipfile` has it."""
        self.storages, self.legacy = [], container == "legacy"
        program = b"\x80\x02" + self._dump(content) + b"."
        if self.legacy:
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            parts = [*(pickle.dumps(item, 2) for item in head), program]
            parts.append(pickle.dumps([str(i) for i in range(len(self.storages))], 2))
            for storage in self.storages:
                parts += [struct.pack("<q", storage.size), storage.tobytes()]
            path.write_bytes(b"".join(parts))
        else:
            with zipfile.ZipFile(path, "w", compression) as archive:
                archive.writestr("archive/data.pkl", program)
                archive.writestr("archive/version", "3\n")
                for key, storage in enumerate(self.storages):
                    archive.writestr(f"archive/data/{key}", storage.tobytes())
        return path

    def _dump(self, value) -> bytes:
        if isinstance(value, np.ndarray):
            steps = tuple(int(np.prod(value.shape[i + 1 :])) for i in range(value.ndim))
            return self._dump(self.Tensor(value.ravel(), 0, value.shape, steps))
        if isinstance(value, self.Tensor):
            keys = [id(storage) for storage in self.storages]
            if id(value.storage) not in keys:
                keys.append(id(value.storage))
                self.storages.append(value.storage)
            kind = value.kind or _STORAGES[value.storage.dtype.str[1:]]
            key = str(keys.index(id(value.storage)))
            kind = self.Global(value.module, f"{kind}Storage")
            pid = ("storage", kind, key, "cpu", value.storage.size)
            storage = self._dump((*pid, value.view) if self.legacy else pid) + b"Q"
            rest = self._dump((value.offset, value.shape, value.strides, False, {}))
            arguments = b"(" + storage + rest[1:]
            return self._dump(self.Global("torch._utils", "_rebuild_tensor_v2")) + arguments + b"R"
        if isinstance(value, self.Global):
            return f"c{value.module}\n{value.name}\n".encode()
        if isinstance(value, self.Call):
            return self._dump(value.function) + self._dump(value.arguments) + b"R"
        if isinstance(value, dict):
            items = b"".join(self._dump(x) for item in value.items() for x in item)
            return b"}(" + items + b"u"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self._dump, value)) + b"t"
        return pickle.dumps(value, 2)[2:-1]  # without protocol and stop


@pytest.fixture
def torch_files() -> TorchFiles:
    """A writer of PyTorch files."""
    return TorchFiles()


class WeightTools:
    """Random weights, and files of them."""

    @staticmethod
    def by_name(model):
        """Name of a variable -> its value."""
        return {variable.name.partition(":")[0]: variable.numpy() for variable in model.weights}

    @staticmethod
    def official_name(name):
        """A variable of I3D as DeepMind's checkpoints have it, without their prefix."""
        scope, _, end = name.rpartition("/")
        return f"{scope}/{ {'kernel': 'w', 'bias': 'b'}.get(end, end) }"

    @staticmethod
    def random_value(rng, variable):
        """A random value; such that activations stay near 1, where no layer's error can hide."""
        name = variable.name.partition(":")[0]
        value = rng.standard_normal(variable.shape, "float32")
        if name.endswith("kernel"):
            return value * np.sqrt(2 / np.prod(variable.shape[:-1]), dtype="float32")
        return 0.5 + np.abs(value) if name.endswith(("gamma", "variance")) else 0.2 * value

    @staticmethod
    def random_values(rng, model):
        """Random values for a model's variables, by name."""
        return {v.name.partition(":")[0]: WeightTools.random_value(rng, v) for v in model.weights}

    @staticmethod
    def randomize(model, rng):
        """Gives the model random values."""
        for variable in model.weights:
            variable.assign(WeightTools.random_value(rng, variable))
        return model

    @staticmethod
    def assert_has(model, expected, rtol=0.0):
        """The model's variables are those values."""
        values = WeightTools.by_name(model)
        assert values.keys() == expected.keys()
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], rtol=rtol, err_msg=name)

    @staticmethod
    def write_checkpoint(prefix, values):
        """A TensorFlow checkpoint of these names, as graphs have written it."""
        import tensorflow as tf

        names = sorted(values)
        tensors = [tf.constant(values[name]) for name in names]
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
        return prefix

    @staticmethod
    def write_h5(path, layers, whole_model=False):
        """A Keras file: layer -> name of a weight -> value."""
        import h5py

        with h5py.File(path, "w") as file:
            root = file.create_group("model_weights") if whole_model else file
            root.attrs["layer_names"] = [name.encode() for name in layers]
            for layer, weights in layers.items():
                group = root.create_group(layer)
                group.attrs["weight_names"] = [name.encode() for name in weights]
                for name, value in weights.items():
                    group[name] = value
        return path

    @staticmethod
    def torch_state(values, module=str):
        """The values as PyTorch has them; `module` gives a layer's name there."""
        ends = {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
        ends.update(moving_mean="running_mean", moving_variance="running_var")
        state = {}
        for name, value in values.items():
            layer, _, end = name.rpartition("/")
            if value.ndim > 1:
                value = np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1)))
            state[f"{module(layer)}.{ends[end]}"] = value
        return state


@pytest.fixture(scope="session")
def weight_tools() -> type[WeightTools]:
    """Makes, writes and compares weights."""
    return WeightTools
