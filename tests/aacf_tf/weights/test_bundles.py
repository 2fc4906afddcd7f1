"""Checkpoints are checked before TensorFlow reads them, which absurd sizes would end."""

from __future__ import annotations

import index_writer as write
import numpy as np
import pytest
import tensorflow as tf
from index_writer import entry, message, shape, varint

from aacf_tf.weights import files
from aacf_tf.weights.bundles import check_checkpoint
from tfrecords.utils.errors import UsageError

DAMAGED = "expected a whole weight file"


def test_what_tensorflow_writes_is_whole(tmp_path, rng):
    kinds = (np.float16, np.float32, np.float64, np.uint8, np.int32, np.int64, np.bool_)
    values = {
        f"layer_{n:03}/{k.__name__}": rng.normal(size=(3, n)) for n in range(40) for k in kinds
    }
    values = {name: value.astype(name.split("/")[1].rstrip("_")) for name, value in values.items()}
    values |= {"scalar": np.float32(1), "texts": np.array([b"", b"ab" * 300]), "text": b"x"}
    tensors = {**values, "brain": tf.constant([1.0], tf.bfloat16)}
    names = sorted(tensors)
    given = [tf.constant(tensors[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "new"), tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=given,
    )  # fmt: skip
    check_checkpoint(tmp_path / "new")
    old = {n: v for n, v in values.items() if "text" not in n and "16" not in n}
    tf.raw_ops.Save(
        filename=str(tmp_path / "old"), tensor_names=[*old], data=[*map(tf.constant, old.values())]
    )
    check_checkpoint(tmp_path / "old")
    kind, prefix = files.recognise(tmp_path / "old")
    found = files.read_file(kind, prefix).others
    assert {value.name for value in found} == {*old}

    model = tf.Module()
    model.weights = [tf.Variable(rng.normal(size=(2, 3))), tf.Variable(0)]
    check_checkpoint(tf.train.Checkpoint(model=model).save(str(tmp_path / "own")))


HUGE = 1 << 36
TEXT = varint(1 << 40) + bytes(4)  # a length, and its checksum


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (entry(sides=(HUGE, HUGE)), "a shape of"),
        (entry(sides=(HUGE,), size=4 * HUGE), "is larger than"),
        (entry(sides=(0, HUGE, HUGE), size=0), "a shape of"),
        (entry(sides=(-1,)), "a shape of"),
        (entry(sides=(1,) * 300, size=4), "a shape of"),
        (message({1: 1, 2: message({3: 1}), 5: 4}), "a shape of"),
        (entry(sides=(2, 2)), "has 24 bytes for 4 elements of float32"),
        (entry(sides=(2, 3), start=1), "is larger than"),
        (entry(start=-8), "is larger than"),
        (entry(size=1 << 63), "is larger than"),
        (entry(kind=99), "DType"),
        (entry(kind=0), "DType"),
        (entry(kind=101), "DType|has 24"),
        (entry(kind=20, sides=(24,)), "of resource"),
        (entry(kind=21, sides=(24,)), "of variant"),
        (entry(shard=3), "data-00003-of-00001 is missing"),
        (entry(slices=[message({1: message({1: 0, 2: 1})})]), "cut into slices"),
        (entry(kind=7, sides=(1,), size=len(TEXT)), "texts of"),
        (entry(kind=7, sides=(1 << 40,)), "a broken entry|texts of"),
        (message({1: b"text", 2: shape(2, 3), 5: 24}), "text in place of a number"),
        (message({1: 1, 2: b"\x12\x7f", 5: 24}), "a message that is cut"),
        (b"\x0b", "a broken entry"),
        (b"\x08\x01\x00\x00", "a broken message"),
        (message({1: 1, 2: b"\x12\x02\x00\x00", 5: 4}), "a broken message"),
        (message({1: 1, 2: message({2: message({1: 6, 2: b"\xff"})}), 5: 24}), "a shape of"),
        (b"\xff" * 20, "more than 64 bits"),
    ],
)
def test_entries_that_their_files_do_not_hold(tmp_path, value, reason):
    write.write_index(tmp_path / "model", {"layer/w": value}, TEXT.ljust(24, b"\0"))
    with pytest.raises(UsageError, match=rf"model: {DAMAGED}.*({reason})"):
        files.recognise(tmp_path / "model.index")


def test_many_names_for_the_same_bytes(tmp_path):
    write.write_index(tmp_path / "model", {f"layer_{n}/w": entry() for n in range(9)})
    with pytest.raises(UsageError, match="is larger than"):
        check_checkpoint(tmp_path / "model")


GOOD = [(b"", write.HEADER), (b"a/w", entry())]
WHOLE = write.block(GOOD)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (write.table(WHOLE)[:-1], "its end is missing"),
        (write.table(WHOLE, packed=1), "compressed"),
        (write.table(WHOLE)[-100:], "beyond the end|leaves its block|broken"),
        (write.table(write.block(GOOD, jumps=(0, 7))), "a jump into the middle"),
        (write.table(write.block(GOOD[1:])), "out of order"),
        (write.table(write.block([*GOOD, GOOD[1]])), "out of order"),
        (write.table(write.block([*GOOD, (b"b" * 5000, entry())])), "leaves its block"),
        (write.table(WHOLE[:-4] + b"\xff\xff\xff\x0f"), "broken|unpack|buffer"),
        (write.table(varint(9) + WHOLE[1:]), "leaves its block"),
    ],
)
def test_broken_tables(tmp_path, content, reason):
    write.write_index(tmp_path / "model", {})
    (tmp_path / "model.index").write_bytes(content)
    with pytest.raises(UsageError, match=rf"model: {DAMAGED}.*({reason})"):
        check_checkpoint(tmp_path / "model")


def test_names_that_grow_in_the_first_letters_of_those_before(tmp_path):
    """A megabyte that would unpack to thousands."""
    grown = b"".join(varint(n) + varint(1) + varint(0) + b"a" for n in range(4000))
    whole = write.block([(b"", write.HEADER)])
    content = whole[:-8] + grown + whole[-8:]
    (tmp_path / "model.index").write_bytes(write.table(content))
    with pytest.raises(UsageError, match=DAMAGED):
        check_checkpoint(tmp_path / "model")


FULL = message({1: [b"", b""]})  # a slice that is all of a matrix


@pytest.mark.parametrize(
    ("tensor", "values", "reason"),
    [
        ({2: shape(2, 2)}, bytes(12), "has 3 values for 4 elements"),
        ({2: shape(HUGE, 1)}, bytes(12), "larger than the file"),
        ({2: shape(HUGE, HUGE)}, bytes(12), "a shape of"),
        ({3: 99}, bytes(12), "a broken entry"),
        ({4: [FULL, FULL]}, bytes(12), "no text in field 4"),
        ({4: message({1: [message({1: 0, 2: 1}), b""]})}, bytes(12), "cut into slices"),
        ({1: b"b/w"}, bytes(12), "a broken entry"),
    ],
)
def test_files_of_the_first_version(tmp_path, tensor, values, reason):
    def content(tensor, values):
        known = {1: b"a/w", 2: shape(1, 3), 3: 1, 4: FULL, **tensor}
        piece = {1: b"a/w", 2: FULL, 3: message({5: values})}
        return write.table(
            write.block(
                [
                    (b"", message({1: message({1: message(known)})})),
                    (b"\0a/w\0\1\1\2", message({2: message(piece)})),
                ]
            )
        )

    (tmp_path / "model").write_bytes(content({}, bytes(12)))
    check_checkpoint(tmp_path / "model")
    (tmp_path / "model").write_bytes(content(tensor, values))
    with pytest.raises(UsageError, match=rf"model: {DAMAGED}.*({reason})"):
        check_checkpoint(tmp_path / "model")


def test_flipped_bits_and_cuts(tmp_path, rng):
    """Whatever TensorFlow would be given is an error of ours, or one of its own."""
    value = tf.Variable(rng.normal(size=(3, 5)).astype(np.float32))
    prefix = tf.train.Checkpoint(value=value).write(str(tmp_path / "good"))
    index = (tmp_path / "good.index").read_bytes()
    data = (tmp_path / "good.data-00000-of-00001").read_bytes()
    errors = 0
    for place in rng.integers(0, len(index), 300):
        changed = bytearray(index)
        changed[place] ^= 1 << rng.integers(8)
        (tmp_path / "good.index").write_bytes(changed if place % 3 else index[:place])
        try:
            reader = files.open_checkpoint(prefix)
            for name in reader.get_variable_to_shape_map():
                files.read_variable(reader, name, prefix)
        except UsageError as error:
            errors += 1
            assert "good" in str(error) and "\n" not in str(error)
    assert errors > 200
    (tmp_path / "good.index").write_bytes(index)
    (tmp_path / "good.data-00000-of-00001").write_bytes(data[:-1])
    with pytest.raises(UsageError, match="is larger than"):
        check_checkpoint(prefix)
