"""A file is replaced whole, or left as it was."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from tfrecords.utils.atomic import replacing, write_json, write_text


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary != path
        temporary.write_bytes(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(OSError) as caught, replacing(path), open("/dev/full", "w") as full:
        full.write("no room")
        full.flush()
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == os.fspath(path)


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / "file.txt.tmp").write_text("half of something long")
    write_text(tmp_path / "file.txt", "é\n")
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_bytes() == b"\xc3\xa9\n"


def test_json_for_people_without_nan(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"b": [1], "a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "b": [\n    1\n  ],\n  "a": "é"\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1], "a": "é"}


def test_no_tensorflow_is_imported():
    code = "import sys, tfrecords.utils.atomic; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
