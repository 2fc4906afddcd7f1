"""Damaged and hostile weight files are one error; nothing outside of a file is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.weights import files, load_weights, naming
from tfrecords.utils.errors import UsageError

LAYER = "Conv3d_1a_7x7_conv"
KERNEL = f"{LAYER}/kernel:0"


def test_truncated_files(weight_tools, tmp_path):
    model = i3d("Conv3d_1a_7x7")
    before = model.get_weights()
    values = weight_tools.by_name(model)
    values = {weight_tools.official_name(name): value for name, value in values.items()}
    for end in ("index", "data-00000-of-00001"):
        prefix = weight_tools.write_checkpoint(tmp_path / f"cut_{end[:5]}", values)
        file = tmp_path / f"{prefix.name}.{end}"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(UsageError, match=rf"{prefix.name}: expected a whole weight file"):
            load_weights(model, prefix)
    layers = {"Conv3d_1a_7x7_conv": {"Conv3d_1a_7x7_conv/kernel:0": np.zeros((7, 7, 7, 3, 64))}}
    whole = weight_tools.write_h5(tmp_path / "whole.h5", layers).read_bytes()
    model.save_weights(tmp_path / "own.weights.h5")
    own = (tmp_path / "own.weights.h5").read_bytes()
    for name, data in (("cut.h5", whole), ("cut.weights.h5", own)):
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(UsageError, match=rf"{name}: expected a whole weight file"):
            load_weights(model, tmp_path / name)
    (tmp_path / "page.h5").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UsageError, match=r"page\.h5, which begins b'<!DOCTYPE html>'"):
        load_weights(model, tmp_path / "page.h5")
    with pytest.raises(UsageError, match="absent, which does not exist"):
        load_weights(model, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"one checkpoint, received .*empty with none"):
        load_weights(model, tmp_path / "empty")
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


@pytest.fixture
def other(tmp_path):
    """Another file that holds the kernel, and its raw bytes."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file[f"{LAYER}/{KERNEL}"] = np.ones(1000, "f4")
    (tmp_path / "raw").write_bytes(np.ones(1000, "f4").tobytes())
    return tmp_path / "other.h5"


def a_group(group, other):
    group.create_group(KERNEL)


def texts(group, other):
    group[KERNEL] = np.array([b"abc"] * 5)


def too_large(group, other):
    group.create_dataset(KERNEL, (1 << 44,), "f4")


def too_large_to_count(group, other):
    group.create_dataset(KERNEL, (1 << 40, 1 << 40), "f4", chunks=(1, 1))


def packed(group, other):
    group.create_dataset(KERNEL, data=np.zeros(1 << 20, "f4"), compression="gzip")


def without_a_shape(group, other):
    group[KERNEL] = h5py.Empty("f4")


def external_storage(group, other):
    raw = [(str(other.with_name("raw")), 0, 4000)]
    group.create_dataset(KERNEL, (1000,), "f4", external=raw)


def virtual(group, other):
    layout = h5py.VirtualLayout((1000,), "f4")
    layout[:] = h5py.VirtualSource(str(other), f"{LAYER}/{KERNEL}", (1000,))
    group.create_virtual_dataset(KERNEL, layout)


def external_link(group, other):
    group[KERNEL] = h5py.ExternalLink(str(other), f"{LAYER}/{KERNEL}")


def external_group(group, other):
    group[LAYER] = h5py.ExternalLink(str(other), f"{LAYER}/{LAYER}")


def nothing(group, other):
    pass


@pytest.mark.parametrize(
    "write",
    [
        a_group,
        texts,
        too_large,
        too_large_to_count,
        packed,
        without_a_shape,
        external_storage,
        virtual,
        external_link,
        external_group,
        nothing,
    ],
)
def test_weights_that_are_no_arrays_of_the_file(weight_tools, tmp_path, other, write):
    path = weight_tools.write_h5(tmp_path / "file.h5", {LAYER: {}})
    with h5py.File(path, "a") as file:
        file[LAYER].attrs["weight_names"] = [KERNEL.encode()]
        file["filling"] = np.zeros(5000, "u1")  # none of what follows is too large for the file
        write(file[LAYER], other)
    kind, location = files.recognise(path)
    with pytest.raises(UsageError, match=r"file\.h5: expected a whole weight file"):
        files.read_file(kind, location)


@pytest.mark.parametrize("write", [texts, too_large, packed, external_storage, virtual])
def test_the_same_in_a_file_of_ours(tmp_path, other, write):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        write(file, other)
    assert files.recognise(tmp_path / "file.h5")[0] == files.OWN_H5
    with pytest.raises(UsageError, match=r"file\.h5: expected a whole weight file"):
        files.shapes_in_h5(str(tmp_path / "file.h5"))


def test_one_array_under_many_names(weight_tools, tmp_path):
    """They would take the memory of as many."""
    path = weight_tools.write_h5(tmp_path / "file.h5", {LAYER: {KERNEL: np.zeros(1000, "f4")}})
    files.read_file(*files.recognise(path))
    with h5py.File(path, "a") as file:
        file[LAYER].attrs["weight_names"] = [KERNEL.encode()] * 100
    with pytest.raises(UsageError, match="larger than the file"):
        files.read_file(*files.recognise(path))


def test_a_file_without_end_is_refused(weight_tools, tmp_path, monkeypatch):
    """One wrong size among the texts of an HDF5 file makes its library loop for ever."""
    layers = {f"layer{n}": {f"layer{n}/kernel:0": np.ones(3, "f4")} for n in range(4)}
    path = weight_tools.write_h5(tmp_path / "good.h5", layers)
    data = bytearray(path.read_bytes())
    data[data.index(b"layer2/kernel:0", data.index(b"GCOL")) - 7] = 4
    (tmp_path / "broken.h5").write_bytes(bytes(data))
    monkeypatch.setattr(files, "TRIAL_SECONDS", 2)
    with pytest.raises(UsageError, match=r"broken.h5: .* truncated or corrupt \(.+\)"):
        files.recognise(tmp_path / "broken.h5")


def test_flipped_bits(weight_tools, tmp_path, rng, monkeypatch):
    """Damage by flipped bits is one error, in Keras files and in ours, whose shapes are read."""
    monkeypatch.setattr(files, "_try_h5", lambda path: None)  # these do no worse than raise
    layers = {LAYER: {KERNEL: np.ones(3, "f4"), f"{LAYER}/bias:0": np.ones(2, "f4")}}
    path = weight_tools.write_h5(tmp_path / "good.h5", layers, whole_model=True)
    data, errors = path.read_bytes(), 0
    broken = tmp_path / "broken.h5"
    names = data.index(b"layer_names")  # some flips there make the HDF5 library crash
    for place in [*rng.integers(8, len(data), 60), *range(names - 20, names + 60)]:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        broken.write_bytes(bytes(changed))
        for read in (
            lambda: files.read_file(naming.KERAS, str(broken)),
            lambda: files.shapes_in_h5(str(broken)),
            lambda: files.recognise(broken),
        ):
            try:
                read()
            except UsageError as error:
                assert "broken.h5" in str(error)
                errors += 1
    assert errors > 20


@pytest.mark.parametrize("text", [b"text", [b"two", b"texts"]])
def test_texts_in_a_checkpoint_are_no_weights(weight_tools, tmp_path, text):
    model = i3d("Conv3d_1a_7x7")
    values = weight_tools.by_name(model)
    values = {weight_tools.official_name(name): value for name, value in values.items()}
    values["Conv3d_1a_7x7/batch_norm/beta"] = np.array(text)
    with pytest.raises(UsageError, match=r"lacks \(1\): .*beta \[64\]; nothing .*batch_norm/beta"):
        load_weights(model, weight_tools.write_checkpoint(tmp_path / "model", values))
