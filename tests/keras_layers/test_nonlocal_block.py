"""The non-local block against numpy."""

from __future__ import annotations

import numpy as np

from keras_layers import NonLocalBlock3D


def test_it_equals_numpy(rng):
    features = rng.normal(size=(2, 2, 3, 4, 6)).astype(np.float32)
    layer = NonLocalBlock3D(depth=5)
    layer(features)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    flat = features.reshape(2, 24, 6)
    embedded = flat @ layer.embed.kernel.numpy() + layer.embed.bias.numpy()
    queries, keys, values = np.split(embedded, 3, axis=-1)
    logits = queries @ keys.transpose(0, 2, 1)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    update = weights @ values @ layer.project.kernel.numpy() + layer.project.bias.numpy()
    expected = (flat + update).reshape(features.shape)
    np.testing.assert_allclose(layer(features), expected, rtol=1e-4, atol=1e-5)


def test_it_starts_as_the_identity(rng):
    features = rng.normal(size=(1, 2, 3, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(NonLocalBlock3D()(features), features)


def test_contract(check_layer, rng):
    features = rng.normal(size=(2, 2, 3, 4, 6)).astype(np.float32)
    check_layer(NonLocalBlock3D, {"depth": 3}, features, "bfloat16")
