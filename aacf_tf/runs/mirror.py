"""Run directories beyond this machine: worked on here, kept there.

Object stores can neither rename nor append, which checkpoints, logs and exports need. So a run on
s3:// (or gs://, az://, hdfs://) works in a temporary folder, which begins as a copy of what the
store holds. Whatever is new there is uploaded after every checkpoint and every step of the run. The
files that say that others are whole, such as `checkpoint`, come last, and what they no longer name
is removed after that: the store holds a run that can be continued at any moment.
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

# They say that what they name is there: the state of a CheckpointManager, a served model.
_MARKERS = ("checkpoint", "saved_model.pb")

Signature = tuple[int, int]  # size, time of the last change


class Mirror:
    """A folder here and the one it is kept in.

    Args:
        local: an empty folder.
        remote: where the run is kept; may hold one, or not be there.
    """

    def __init__(self, local: Path, remote: RemotePath):
        self.local, self.remote = local, remote
        self._stored: dict[str, Signature] = {}

    def download(self) -> None:
        """Copies the run as it is kept; OSError where the store refuses."""
        if self.remote.is_dir():
            self._download(self.remote, self.local)
        self._stored = self._found()

    def upload(self) -> None:
        """Uploads what is new, markers last, then removes what is gone; OSError as above."""
        found = self._found()
        new = [name for name, signature in found.items() if self._stored.get(name) != signature]
        for name in sorted(new, key=lambda name: (Path(name).name in _MARKERS, name)):
            (self.remote / name).upload(self.local / name)
            self._stored[name] = found[name]
        for name in set(self._stored) - set(found):
            (self.remote / name).unlink(missing_ok=True)
            del self._stored[name]

    def store(self) -> None:
        """`upload` while the run goes on: what fails is told, and tried again the next time."""
        try:
            self.upload()
        except OSError as error:
            logger.warning(f"Warning: {self.remote} does not take what is new: {error}")

    def address(self, text: str) -> str:
        """A text with the run's own address in the place of the folder here."""
        return text.replace(str(self.local), str(self.remote))

    def _download(self, remote: RemotePath, local: Path) -> None:
        local.mkdir(parents=True, exist_ok=True)
        for path in remote.iterdir():
            if path == remote:  # the empty object that stands for a folder in some stores
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
    """A run directory as a folder of this machine, and its mirror where it is kept elsewhere.

    All that is new is uploaded when the block ends, be it by an error, whose text then names the
    address. Of several workers only the chief makes anything new.

    Raises:
        UsageError: nothing can be written to such an address.
        UserError: the last upload failed; the folder here then stays.
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
