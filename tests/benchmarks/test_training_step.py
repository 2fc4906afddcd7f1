"""Both sides of the training step are the same network, and learn alike."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import training_step


def test_cost_of_a_step():
    network = training_step.NETWORKS["demo"]
    sides = [(12, 14, 14), (12, 7, 7), (6, 7, 7), (6, 7, 7), (6, 7, 7)]
    terms = [3 * 27 * 16, 9 * 16 * 32, 3 * 32 * 48, 9 * 48 * 64, 3 * 64 * 64]
    costs = [2 * 32 * np.prod(side) * term for side, term in zip(sides, terms)]
    expected = (3 * sum(costs) - costs[0]) / 1e9
    assert training_step.count_gflop(network) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["i3d", "demo", "jhmdb"])
def test_pytorch_learns_alike(name, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch, of the other side, is not installed")
    network = training_step.NETWORKS[name]
    small = {"i3d": (2, 8, 33, 32, 3), "demo": (4, 6, 20, 19, 3), "jhmdb": (4, 6, 17, 24, 3)}
    network = network._replace(shape=small[name])
    monkeypatch.setitem(training_step.NETWORKS, name, network)
    model, peer = training_step.tensorflow_model(name), training_step.torch_network(name)
    kernels = [(v.name, v.numpy()) for v in model.trainable_variables if "kernel" in v.name]
    if name == "i3d":  # both in the order of the paper's figure
        parts = [m for m in peer.modules() if isinstance(m, torch.nn.Conv3d)]
    else:
        parts = [getattr(peer.backbone, n.split("/")[0]) for n, _ in kernels[:-1]]
    with torch.no_grad():
        for part, (_, value) in zip([*parts, peer.classifier], kernels, strict=True):
            axes = (1, 0) if value.ndim == 2 else (4, 3, 0, 1, 2)
            part.weight.copy_(torch.from_numpy(np.ascontiguousarray(value.transpose(axes))))
        peer.classifier.bias.zero_()
    pixels, labels = training_step.batch(network)
    outputs = model({"clip": pixels}, training=True)["combined_scores"]
    scores = peer(torch.from_numpy(pixels).permute(0, 4, 1, 2, 3)).detach().numpy()
    np.testing.assert_allclose(outputs, scores, atol=2e-3 * np.abs(scores).max())
    assert len(labels) == len(scores)
