"""The comparison with PyTorch, without PyTorch: layouts, and that it can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from benchmarks import torch_parity
from tfrecords.utils.errors import UserError


def test_the_module_needs_neither_framework_to_be_imported():
    code = "import sys; import benchmarks.torch_parity; "
    code += "assert not {'torch', 'tensorflow'} & set(sys.modules)"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_layouts_of_the_published_files():
    layout = torch_parity._published_layout
    name = "features.denseblock1.denselayer2.norm1.weight"
    assert layout("DenseNet161", {name: 1}, "zip") == {name: 1}
    old = layout(
        "DenseNet161",
        {
            name: 1,
            "features.denseblock4.denselayer24.conv2.weight": 2,
            "features.transition1.norm.weight": 3,
            "features.conv0.weight": 4,
            "features.norm0.bias": 5,
        },
        "legacy",
    )
    assert list(old) == [
        "features.denseblock1.denselayer2.norm.1.weight",
        "features.denseblock4.denselayer24.conv.2.weight",
        "features.transition1.norm.weight",
        "features.conv0.weight",
        "features.norm0.bias",
    ]
    checkpoint = layout("ResNet3D34", {"layer1.0.conv1.weight": 1}, "zip")
    assert checkpoint["state_dict"] == {"module.layer1.0.conv1.weight": 1}
    assert layout("I3D", {"Mixed_3b.b0.bn.weight": 1}, "zip") == {"Mixed_3b.b0.bn.weight": 1}


def test_scaling_and_axes():
    pixels = np.zeros((1, 2, 3, 4, 3), np.uint8)
    pixels[..., 1] = 255
    scaled = torch_parity._scale("I3D", pixels)
    assert scaled.shape == (1, 3, 2, 3, 4) and scaled.dtype == np.float32
    assert (scaled[:, 0] == -1).all() and (scaled[:, 1] == 1).all()
    scaled = torch_parity._scale("ResNet3D34", pixels)
    np.testing.assert_allclose(scaled[0, :, 0, 0, 0], [-1.569725, 2.192776, -1.379247], rtol=1e-6)
    scaled = torch_parity._scale("DenseNet161", pixels)
    assert scaled.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(scaled[0, :, 0, 0], [-2.117904, 2.428571, -1.804444], rtol=1e-6)


@pytest.mark.parametrize("error", [2e-4, np.nan])
def test_a_large_error_and_none_at_all_fail(error, tmp_path, monkeypatch, capsys):
    values = torch_parity.define_flags(flags.FlagValues())
    values(["torch_parity", f"--directory={tmp_path}"])
    errors = iter([1e-6, error, *[1e-6] * 20])

    def compare(*arguments):
        return {"Mixed_5c": ((4, 8), next(errors))}

    monkeypatch.setattr(torch_parity, "compare", compare)
    with pytest.raises(UserError, match=r"errors up to 0\.0001, received"):
        torch_parity.main([], values)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["i3d_rgb", "Mixed_5c", "4x8", "1.0e-06", f"{error:.1e}"]
    assert len(lines) == 2 + len(torch_parity.CASES)
    torch_parity.main([], values)
