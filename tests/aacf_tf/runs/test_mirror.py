"""A run directory that is kept elsewhere: what is copied, in which order, and what is not lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aacf_tf.runs.mirror import Mirror, worked_on
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import RemotePath


class Store(RemotePath):
    """A store that is a folder, and notes what is done to it."""

    folder: Path
    done: list
    broken: bool

    def _path(self) -> Path:
        return self.folder / str(self).partition("://")[2]

    def __truediv__(self, name):
        return Store(f"{self}/{name}")

    def is_dir(self):
        return self._path().is_dir()

    def iterdir(self):
        return iter([self, *(self / path.name for path in sorted(self._path().iterdir()))])

    def download(self, local):
        shutil.copy(self._path(), local)

    def upload(self, local):
        if self.broken:
            raise OSError("no route to host")
        self.done.append(("+", self.name))
        self._path().parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(local, self._path())

    def unlink(self, missing_ok=False):
        self.done.append(("-", self.name))
        self._path().unlink()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "folder", tmp_path / "store", raising=False)
    monkeypatch.setattr(Store, "done", [], raising=False)
    monkeypatch.setattr(Store, "broken", False, raising=False)
    return Store("s3://bucket/run")


def save(folder: Path, number: int) -> None:
    """Saves as a CheckpointManager that keeps one checkpoint."""
    stage = folder / "checkpoints" / "main"
    stage.mkdir(parents=True, exist_ok=True)
    (stage / f"ckpt-{number}.data").write_text(f"weights {number}")
    (stage / "checkpoint").write_text(f"ckpt-{number}")
    (stage / f"ckpt-{number - 1}.data").unlink(missing_ok=True)


def test_markers_last_and_only_what_is_new(store, tmp_path):
    local = tmp_path / "local"
    local.mkdir()
    mirror = Mirror(local, store)
    mirror.download()  # there is nothing yet
    (local / "config.json").write_text("{}")
    save(local, 1)
    mirror.upload()
    assert Store.done == [("+", "ckpt-1.data"), ("+", "config.json"), ("+", "checkpoint")]
    Store.done.clear()
    save(local, 2)
    mirror.upload()
    # At any moment `checkpoint` names a file that is whole.
    assert Store.done == [("+", "ckpt-2.data"), ("+", "checkpoint"), ("-", "ckpt-1.data")]
    Store.done.clear()
    mirror.upload()
    assert not Store.done


def test_a_run_goes_on_from_what_is_kept(store, caplog):
    with worked_on(store) as (folder, mirror):
        save(folder, 1)
        Store.broken = True
        mirror.store()  # the run goes on
        assert "Warning: s3://bucket/run does not take" in caplog.text
        Store.broken = False
    assert not folder.exists()
    with (
        pytest.raises(UserError, match=r"in s3://bucket/run/checkpoints\.$"),
        worked_on(store) as (folder, mirror),
    ):
        state = folder / "checkpoints" / "main" / "checkpoint"
        assert state.read_text() == "ckpt-1"
        assert mirror.address(f"report {state}") == f"report {store}/checkpoints/main/checkpoint"
        save(folder, 2)
        raise UserError(f"Expected something in {folder / 'checkpoints'}.")
    Store.done.clear()
    with (
        pytest.raises(UserError, match=r"to take the run, received: no route to host; it is in"),
        worked_on(store) as (folder, _),
    ):
        assert (folder / "checkpoints/main/ckpt-2.data").read_text() == "weights 2"
        assert not Store.done
        save(folder, 3)
        Store.broken = True
    assert (folder / "checkpoints/main/ckpt-3.data").is_file()  # not lost
    shutil.rmtree(folder)


def test_other_directories(tmp_path):
    with worked_on(tmp_path) as (folder, mirror):
        assert (folder, mirror) == (tmp_path, None)
    with (
        pytest.raises(UsageError, match="--workdir: expected a folder that can be written to"),
        worked_on(RemotePath("https://host/run")),
    ):
        pass
