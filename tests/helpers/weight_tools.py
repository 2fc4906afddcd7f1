"""Makes, writes and compares the weights of models."""

from __future__ import annotations

import numpy as np


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
