"""Mirrors the working directory of a run to a remote store.

Object stores can neither rename nor append, which checkpoints, logs and exports need. So a run on
s3:// (or gs://, az://, hdfs://) works in a temporary folder, which starts as a copy of the remote
one. New files are uploaded after every checkpoint and every step of the run. Files that mark others
as complete, such as `checkpoint`, are uploaded last, and files that they no longer name are removed
after that, so the remote run can be resumed at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, RemotePath

logger = logging.getLogger(__name__)

# Files that mark others as complete: the state of a CheckpointManager, a served model.
_MARKERS = ("checkpoint", "saved_model.pb")

Signature = tuple[int, int]  # size, time of the last change


class Mirror:
    """A local folder and its remote copy.

    Args:
        local: An empty folder.
        remote: Folder of the run; may be missing.
    """

    def __init__(self, local: Path, remote: RemotePath):
        self.local, self.remote = local, remote
        self._stored: dict[str, Signature] = {}

    def download(self) -> None:
        """Downloads the run; OSError if the store refuses."""
        if self.remote.is_dir():
            self._download(self.remote, self.local)
        self._stored = self._found()

    def upload(self) -> None:
        """Uploads new files, markers last, then removes deleted ones; OSError as above."""
        files = self._found()
        new = [name for name, signature in files.items() if self._stored.get(name) != signature]
        for name in sorted(new, key=lambda name: (Path(name).name in _MARKERS, name)):
            (self.remote / name).upload(self.local / name)
            self._stored[name] = files[name]
        for name in set(self._stored) - set(files):
            (self.remote / name).unlink(missing_ok=True)
            del self._stored[name]

    def store(self) -> None:
        """Uploads during the run: a failure is logged, and retried the next time."""
        try:
            self.upload()
        except OSError as error:
            logger.warning(f"Warning: {self.remote} does not take what is new: {error}")

    def address(self, text: str) -> str:
        """Returns a text with the remote address in place of the local folder."""
        return text.replace(str(self.local), str(self.remote))

    def _download(self, remote: RemotePath, local: Path) -> None:
        local.mkdir(parents=True, exist_ok=True)
        for path in remote.iterdir():
            if path == remote:  # an empty object that represents a folder in some stores
                continue
            if path.is_dir():
                self._download(path, local / path.name)
            else:
                path.download(local / path.name)

    def _found(self) -> dict[str, Signature]:
        files = [path for path in self.local.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.local).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in files
        }


@contextlib.contextmanager
def worked_on(workdir: AnyPath) -> Iterator[tuple[Path, Mirror | None]]:
    """Yields a run directory as a local folder, and its mirror if it is remote.

    New files are uploaded when the block ends, also by an error, whose text then names the remote
    address. Of several workers only the chief writes files.

    Raises:
        UsageError: The address is read-only.
        UserError: The last upload failed; the local folder is then kept.
    """
    if not isinstance(workdir, RemotePath):
        yield workdir, None
        return
    if workdir.read_only:
        raise UsageError(
            f"--workdir: expected a folder that can be written to, received {workdir}."
        )
    local = Path(tempfile.mkdtemp(prefix="aacf-run-"))
    mirror = Mirror(local, workdir)
    try:
        mirror.download()
        yield local, mirror
    except UserError as error:
        _finish(mirror)
        raise _readdressed(error, mirror) from error
    except BaseException:
        _finish(mirror)
        raise
    _finish(mirror)


def _finish(mirror: Mirror) -> None:
    try:
        mirror.upload()
    except OSError as error:
        raise UserError(
            f"Expected {mirror.remote} to take the run, received: {error}; it is in {mirror.local}."
        ) from error
    shutil.rmtree(mirror.local)


def _readdressed(error: UserError, mirror: Mirror) -> UserError:
    return type(error)(mirror.address(str(error)))
