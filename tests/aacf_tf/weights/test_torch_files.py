"""PyTorch files are read without PyTorch; what is in them is not run, and damage is one error."""

from __future__ import annotations

import collections
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from aacf_tf.weights.torch_files import is_torch_file, read_torch_file
from tfrecords.utils.errors import UsageError

CONTAINERS = ("zip", "legacy")
containers = pytest.mark.parametrize("container", CONTAINERS)


class Attack:
    """Pickled, a call that leaves a trace when it is made."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


class Settings:
    """Pickled, an object of a class that no reader has."""

    def __init__(self):
        self.rate = 0.1


@pytest.fixture
def state(rng):
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 5)).astype("float32"),
        "bn.num_batches_tracked": np.array(7, "int64"),
        "fc.bias": rng.normal(size=6).astype("float32"),
    }


def assert_equal(tensors, expected):
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        assert tensors[name].shape == value.shape, name
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


@containers
def test_a_state_dict_alone_or_in_a_checkpoint(torch_files, tmp_path, state, container):
    plain = torch_files.save(tmp_path / "plain.pt", state, container)
    assert is_torch_file(plain.read_bytes()[:64])
    tensors, arch = read_torch_file(plain)
    assert_equal(tensors, state)
    assert arch is None
    ordered = torch_files.Call(torch_files.Global("collections", "OrderedDict"), ())
    for key in ("state_dict", "model"):
        checkpoint = {
            "epoch": 200,
            "arch": "resnet-34",
            "best": np.array(0.7, "float32"),  # a tensor beside the state dict
            "loss": np.float64(0.1),
            key: {f"module.{name}": value for name, value in state.items()},
            "optimizer": {"state": {0: {"momentum": state["fc.bias"]}}, "defaults": ordered},
            "args": Settings(),
        }
        path = torch_files.save(tmp_path / "checkpoint.pth.tar", checkpoint, container)
        tensors, arch = read_torch_file(path)
        assert_equal(tensors, state)
        assert arch == "resnet-34"


@containers
def test_number_types(torch_files, tmp_path, container):
    values = np.array([1.5, -2.25, 0.0, 3.0])
    state = {kind: values.astype(kind) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")}
    upper = (values.astype("f4").view("u4") >> 16).astype("u2")  # these values need no more bits
    half = torch_files.Tensor(upper, 0, (2, 2), (2, 1), "BFloat16", "torch.cuda")
    path = torch_files.save(tmp_path / "types.pt", {**state, "bfloat16": half}, container)
    tensors, _ = read_torch_file(path)
    assert_equal(tensors, {**state, "bfloat16": values.reshape(2, 2)})
    assert {name: tensors[name].dtype.str[1:] for name in ("f2", "f8")} == {"f2": "f2", "f8": "f8"}
    assert tensors["bfloat16"].dtype == np.float32


@containers
def test_views_of_shared_storages(torch_files, tmp_path, container):
    storage = np.arange(24, dtype="float32")
    state = {
        "whole": torch_files.Tensor(storage, 0, (4, 6), (6, 1)),
        "transposed": torch_files.Tensor(storage, 0, (6, 4), (1, 6)),
        "column": torch_files.Tensor(storage, 2, (4,), (6,)),
        "last": torch_files.Tensor(storage, 23, (), ()),
        "none": torch_files.Tensor(storage, 24, (0, 3), (3, 1)),
    }
    tensors, _ = read_torch_file(torch_files.save(tmp_path / "views.pt", state, container))
    grid = storage.reshape(4, 6)
    assert_equal(
        tensors,
        {
            "whole": grid,
            "transposed": grid.T,
            "column": grid[:, 2],
            "last": grid[3, 5],
            "none": np.zeros((0, 3)),
        },
    )


def test_legacy_views_and_python_2(torch_files, tmp_path):
    view = torch_files.Tensor(np.arange(10, dtype="f4"), 1, (2,), (1,), view=("v", 4, 5))
    path = torch_files.save(tmp_path / "view.pt", {"x": view}, "legacy")
    np.testing.assert_array_equal(read_torch_file(path).tensors["x"], [5, 6])
    # Python 2 wrote names as byte strings, which none of the writer's pickles are.
    data = path.read_bytes()
    name = pickle.dumps("x", 2)[2:-1]
    assert data.count(name) == 1
    path.write_bytes(data.replace(name, b"U\x01x"))
    np.testing.assert_array_equal(read_torch_file(path).tensors["x"], [5, 6])


@containers
def test_parameters(torch_files, tmp_path, rng, container):
    value = rng.normal(size=(2, 3)).astype("float32")
    rebuild = torch_files.Global("torch._utils", "_rebuild_parameter")
    state = {"weight": torch_files.Call(rebuild, (value, True, {}))}
    path = torch_files.save(tmp_path / "parameter.pt", state, container)
    assert_equal(read_torch_file(path).tensors, {"weight": value})


@containers
def test_code_is_not_run(torch_files, tmp_path, state, container):
    trace = tmp_path / "trace"
    attack = Attack(trace)
    pickle.loads(pickle.dumps(attack))
    assert trace.is_dir()  # the attack works
    trace.rmdir()
    save = torch_files.save
    whole = {**state, "fc.bias": attack}
    with pytest.raises(UsageError, match=r"whole\.pt: expected a tensor at 'fc\.bias'.*\.mkdir"):
        read_torch_file(save(tmp_path / "whole.pt", whole, container))
    with pytest.raises(UsageError, match=r"received an object of \w+\.mkdir"):
        read_torch_file(save(tmp_path / "top.pt", attack, container))
    beside = {"state_dict": state, "optimizer": attack}
    assert_equal(read_torch_file(save(tmp_path / "beside.pt", beside, container)).tensors, state)
    # Through what is known: a tensor's function called by the attack's result and the reverse.
    known = torch_files.Global("torch._utils", "_rebuild_parameter")
    nested = {**state, "fc.bias": torch_files.Call(known, (attack,))}
    with pytest.raises(UsageError, match="mkdir"):
        read_torch_file(save(tmp_path / "nested.pt", nested, container))
    assert not trace.exists()


@containers
def test_a_whole_model_or_no_weights(torch_files, tmp_path, container):
    path = tmp_path / "file.pt"
    with pytest.raises(UsageError, match=r"an object of .*Settings.*model\.state_dict\(\)"):
        read_torch_file(torch_files.save(path, Settings(), container))
    with pytest.raises(UsageError, match=r"an object of .*Settings.*model\.state_dict\(\)"):
        read_torch_file(torch_files.save(path, {"model": Settings(), "epoch": 3}, container))
    with pytest.raises(UsageError, match=r"file\.pt: expected a state_dict .* with the keys loss"):
        read_torch_file(torch_files.save(path, {"loss": 0.5}, container))


@containers
def test_truncated_or_flipped(torch_files, tmp_path, state, rng, container):
    path = torch_files.save(tmp_path / "good.pt", {"state_dict": state}, container)
    data = path.read_bytes()
    broken = tmp_path / "broken.pt"
    for length in np.linspace(0, len(data) - 1, 40).astype(int):
        broken.write_bytes(data[:length])
        with pytest.raises(UsageError, match=r"broken\.pt: "):
            read_torch_file(broken)
    for place in rng.integers(0, len(data), 400):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        broken.write_bytes(bytes(changed))
        try:
            read_torch_file(broken)
        except UsageError as error:
            assert "broken.pt" in str(error)


@containers
@pytest.mark.parametrize(
    "tensor",
    [
        (0, (1 << 20, 1 << 20), (0, 0)),  # unfolds without end
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1 << 62,)),
    ],
)
def test_tensors_outside_of_their_storage(torch_files, tmp_path, container, tensor):
    state = {"x": torch_files.Tensor(np.zeros(4, "float32"), *tensor)}
    with pytest.raises(UsageError, match=r"x\.pt: .*x of shape .* outside of its storage"):
        read_torch_file(torch_files.save(tmp_path / "x.pt", state, container))


def test_sizes_that_the_file_does_not_have(torch_files, tmp_path):
    path = torch_files.save(tmp_path / "legacy.pt", {"x": np.zeros(3, "f4")}, "legacy")
    data = path.read_bytes()
    assert data[-20:-12] == (3).to_bytes(8, "little")
    for length in (1 << 40, -1, 4):
        path.write_bytes(data[:-20] + length.to_bytes(8, "little", signed=True) + data[-12:])
        with pytest.raises(UsageError, match="storage 0 ends at byte"):
            read_torch_file(path)
    # A place in the unpickler's memo for which it would make room: 16 GiB.
    path.write_bytes(data[:15] + b"\x80\x02}r\xff\xff\xff\x7f.")  # behind the magic number
    with pytest.raises(UsageError, match="memo place 2147483647"):
        read_torch_file(path)
    with zipfile.ZipFile(tmp_path / "memo.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(UsageError, match="memo place 2147483647"):
        read_torch_file(tmp_path / "memo.pt")
    with zipfile.ZipFile(tmp_path / "text.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02X\xff\xff\xff\x7fabc.")
    with pytest.raises(UsageError, match=r"text\.pt: .*truncated or corrupt"):
        read_torch_file(tmp_path / "text.pt")
    zeros = {"x": np.zeros(1 << 20, "f4")}
    packed = torch_files.save(tmp_path / "zeros.pt", zeros, compression=zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < 1 << 16
    with pytest.raises(UsageError, match="compressed"):
        read_torch_file(packed)


def test_other_files(tmp_path):
    for name, data in (("empty.pt", b""), ("page.pt", b"<!DOCTYPE html><html></html>")):
        (tmp_path / name).write_bytes(data)
        assert not is_torch_file(data[:64])
        with pytest.raises(UsageError, match=f"{name}: expected a PyTorch file"):
            read_torch_file(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UsageError, match=r"a zip archive of config\.json"):
        read_torch_file(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(collections.OrderedDict()))
        archive.writestr("m/constants.pkl", pickle.dumps(()))
    with pytest.raises(UsageError, match="TorchScript"):
        read_torch_file(tmp_path / "script.pt")


@pytest.fixture
def written(torch_files, tmp_path):
    """Makes a file of one pickle's opcodes, between protocol and stop."""

    def write(program):
        with zipfile.ZipFile(tmp_path / "written.pt", "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        return tmp_path / "written.pt"

    return write


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils\n_rebuild_tensor_v2",
        "torch._utils\n_rebuild_parameter",
        "torch\nSize",
        "torch\nFloatStorage",
        "collections\nOrderedDict",
    ],
)
@pytest.mark.parametrize("state", [b"}U\x05extraK\x01s", b"N}U\x05extraK\x01s\x86"])
def test_nothing_named_can_be_changed(written, name, state):
    """BUILD sets attributes; it is an error where nothing takes them."""
    path = written(b"c" + name.encode() + b"\n" + state + b"b")
    with pytest.raises(UsageError, match="truncated or corrupt"):
        read_torch_file(path)


def test_calls_do_not_copy_what_they_are_given(written):
    """Sixty calls over one long argument take the memory of one."""
    size = 1 << 17
    text = b"B" + size.to_bytes(4, "little") + bytes(size)  # bytes, which are integers too
    pair = (b"](M" + key.to_bytes(2, "little") + b"K\x00e" for key in range(size >> 5))
    pairs = b"](" + b"".join(pair) + b"e"
    tensor = b"N" + b"K\x00h\x00h\x00"
    for name, argument, call in (
        (b"torch\nSize", text, b"h\x00\x85R"),
        (b"torch._utils\n_rebuild_tensor", text, b"(" + tensor + b"tR"),
        (b"collections\nOrderedDict", pairs, b"h\x00\x85R"),
    ):
        path = written(argument + b"q\x00" + (b"c" + name + b"\n" + call) * 60)
        tracemalloc.start()
        try:
            with pytest.raises(UsageError):
                read_torch_file(path)
            assert tracemalloc.get_traced_memory()[1] < 30 * size
        finally:
            tracemalloc.stop()


def test_classes_without_end(torch_files, tmp_path):
    """Their stand-ins take memory too: those after the first thousand share one."""
    content = {f"x{n}": torch_files.Global("m", f"c{n}") for n in range(3000)}
    path = torch_files.save(tmp_path / "x.pt", {"state_dict": {"w": np.zeros(3, "f4")}, **content})
    tracemalloc.start()
    try:
        assert set(read_torch_file(path).tensors) == {"w"}
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_keys_of_tuples_nested_without_end(tmp_path):
    """The stack of the interpreter is too small to hash them."""
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})]
    nested = b"\x80\x02}()" + pickle.TUPLE1 * 400_000 + b"K\x01u."
    (tmp_path / "x.pt").write_bytes(b"".join(head) + nested)
    with pytest.raises(UsageError, match="more than 65536 tuples, which may be nested"):
        read_torch_file(tmp_path / "x.pt")
