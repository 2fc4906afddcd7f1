"""A folder of checkpoints after kills and damage: what is whole is found, nothing begins anew."""

from __future__ import annotations

import pytest
import tensorflow as tf

from aacf_tf.weights.checkpoint_folder import newest, tidy
from tfrecords.utils.errors import UserError


@pytest.fixture
def manager(tmp_path):
    """Keeps the last two of the checkpoints ckpt-4, ckpt-8 and ckpt-12."""
    value = tf.Variable(0.0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(value=value), str(tmp_path), 2)
    for step in (4, 8, 12):
        value.assign(step)
        manager.save(checkpoint_number=step)
    return manager


def names(folder):
    return {path.stem for path in folder.glob("*.index")}


@pytest.mark.parametrize(
    "note",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"{" * 1000,
        b'model_checkpoint_path: "ckpt-',
        b'model_checkpoint_path: 3\nall_model_checkpoint_paths: "ckpt-8"',
        b'model_checkpoint_path: "../../elsewhere/ckpt-99"\n',
        b'model_checkpoint_path: "ckpt-' + b"9" * 300 + b'"\n',
    ],
)
def test_the_newest_is_found_without_tensorflow_s_note(manager, tmp_path, caplog, note):
    (tmp_path / "checkpoint").unlink()
    if note is not None:
        (tmp_path / "checkpoint").write_bytes(note)
    assert newest(tmp_path) == newest(tmp_path) == str(tmp_path / "ckpt-12")
    assert caplog.text.count("Warning: ") == 1 and "is taken, ckpt-12." in caplog.text
    tidy(tmp_path)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-12")
    again = tf.train.CheckpointManager(manager.checkpoint, str(tmp_path), 2)
    again.save(checkpoint_number=16)
    assert names(tmp_path) == {"ckpt-12", "ckpt-16"}
    assert {p.name.partition(".")[0] for p in tmp_path.iterdir()} == {
        *names(tmp_path),
        "checkpoint",
    }


def test_a_damaged_one_gives_way_to_the_one_before(manager, tmp_path, caplog):
    index = tmp_path / "ckpt-12.index"
    index.write_bytes(index.read_bytes()[:50])
    assert newest(tmp_path) == str(tmp_path / "ckpt-8")
    assert (
        "ckpt-12: expected a whole weight file" in caplog.text and "taken, ckpt-8." in caplog.text
    )
    index.unlink()
    assert newest(tmp_path) == str(tmp_path / "ckpt-8")
    (tmp_path / "ckpt-8.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"Expected a whole checkpoint in .*12.index is missing\."):
        newest(tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(UserError, match="copy one back, or remove the folder to begin anew"):
        tidy(tmp_path)


def test_what_a_kill_leaves_is_cleared(manager, tmp_path, caplog):
    """The index is the last file to be written, then the temporary folder goes."""
    half = tmp_path / "ckpt-16_temp"
    half.mkdir()
    (half / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"abc")
    (tmp_path / "ckpt-16.data-00000-of-00001").write_bytes(b"abc")
    (tmp_path / "ckpt-16.index").write_bytes(b"ab")
    (tmp_path / "checkpoint.tmp0123").write_bytes(b"ab")
    (tmp_path / "ckpt-12_temp").mkdir()  # killed before it was removed
    assert newest(tmp_path) == str(tmp_path / "ckpt-12") and not caplog.text
    tidy(tmp_path)
    left = {path.name.partition(".")[0] for path in tmp_path.iterdir()}
    assert left == {"ckpt-8", "ckpt-12", "checkpoint"}


def test_a_kill_in_the_very_first_save_loses_nothing(tmp_path):
    assert newest(tmp_path) is None and newest(tmp_path / "absent") is None
    (tmp_path / "ckpt-4_temp").mkdir()
    (tmp_path / "ckpt-4.data-00000-of-00001").write_bytes(b"abc")
    assert newest(tmp_path) is None
    tidy(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_one_that_is_named_but_not_there(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-4"\n')
    with pytest.raises(UserError, match=r"ckpt-4.index is missing"):
        newest(tmp_path)
    # The file that comes with published weights names the place where they were made.
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/home/them/model.ckpt"\n')
    assert newest(tmp_path) is None
