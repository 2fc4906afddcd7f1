"""Reads pictures from a folder of photographs or a data set directory."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple, Protocol, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecords.media import video
from tfrecords.media.images import read_image
from tfrecords.media.video import UnreadableError
from tfrecords.reading.corruption import translate_errors
from tfrecords.records import codec
from tfrecords.records.dataset import INFO_FILE, load_info, require_frames, shard_paths, test_splits
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.remote.shards import read_records

MEMORY = 2 << 30  # bytes of decoded pictures kept in memory


class Source(Protocol):
    """Pictures by number, with their names and sizes in bytes."""

    names: list[str]
    sizes: list[int]

    def read(self, number: int, short_side: int) -> np.ndarray:
        """Reads a picture, uint8 [H, W, 3]; UnreadableError if that fails."""
        ...


class Folder:
    """The pictures of a folder and its subfolders; other files are ignored.

    Raises:
        UserError: There is no picture.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None):
        self.folder = folder
        if names is None:
            suffixes = set(Image.registered_extensions())
            names = sorted(
                path.relative_to(folder).as_posix()
                for path in folder.rglob("*")
                if path.suffix.lower() in suffixes and path.is_file()
            )
        if not names:
            raise UserError(f"Expected pictures in the folder {folder}, received none.")
        self.names = list(names)
        self.sizes = [(folder / name).stat().st_size for name in names]

    def read(self, number: int, short_side: int) -> np.ndarray:
        """Reads a picture; see `Source`."""
        return read_image(str(self.folder / self.names[number]), short_side).pixels


class Records:
    """The middle frames of the clips of some splits; photographs are clips of one frame.

    They are kept encoded.
    """

    def __init__(self, directory: Path, splits: Sequence[str]):
        info = load_info(directory)
        require_frames(directory, info)
        paths = [path for split in splits for path in shard_paths(directory, info, split)]
        self.names, self._encoded = [], []
        with translate_errors(directory):
            for serialized in read_records(paths):
                record = codec.parse(serialized, masks=False)
                frames = record["clip"]
                self.names.append(record["id"].numpy().decode())
                self._encoded.append(frames[len(frames) // 2].numpy())
        self.sizes = [len(encoded) for encoded in self._encoded]

    def read(self, number: int, short_side: int) -> np.ndarray:
        """Decodes a picture; see `Source`."""
        try:
            pixels = codec.decode_image(self._encoded[number], 3)
        except (UserError, tf.errors.InvalidArgumentError) as error:
            raise UnreadableError(self.names[number], "the image cannot be decoded") from error
        height, width = pixels.shape[:2]
        return video.resize(pixels, video.scaled_size(height, width, short_side))


class Pictures:
    """Pictures scaled down to a short side, kept in memory as far as they fit.

    Args:
        source: Source of the pictures.
        short_side: Pixels of the shorter side; smaller pictures are not scaled.

    Attributes:
        names, sizes: Names and sizes in bytes of all pictures.
        skipped: Name -> reason, of pictures that could not be read so far.
    """

    def __init__(self, source: Source, short_side: int):
        self.names, self.sizes = source.names, source.sizes
        self.skipped: dict[str, str] = {}
        self._source, self._short_side = source, short_side
        self._kept: dict[int, np.ndarray] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return len(self.names)

    def read(self, number: int) -> np.ndarray:
        """Returns the picture of a number, or else the next readable one: uint8 [H, W, 3].

        Raises:
            UserError: No picture can be read.
        """
        for index in range(number, number + len(self)):
            index %= len(self)
            if index in self._kept:
                return self._kept[index]
            if self.names[index] in self.skipped:
                continue
            try:
                pixels = self._source.read(index, self._short_side)
            except UnreadableError as error:
                self.skipped[self.names[index]] = error.reason
                continue
            if pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._kept[index] = pixels
            return pixels
        name, reason = next(iter(self.skipped.items()))
        raise UserError(
            f"Not one of {len(self)} pictures can be read; the first: {name}: {reason}."
        )

    def spread(self, count: int) -> Iterator[np.ndarray]:
        """Yields `count` pictures (or all, if there are fewer), evenly spread over their order."""
        count = min(count, len(self))
        return (self.read(index * len(self) // count) for index in range(count))

    def mean_colour(self, count: int = 1000) -> tuple[float, float, float]:
        """Returns the mean red, green and blue, 0..1, over `count` pictures of equal weight."""
        means = [pixels.mean(axis=(0, 1)) for pixels in self.spread(count)]
        red, green, blue = (float(value) / 255 for value in np.mean(means, axis=0))
        return red, green, blue


class Parts(NamedTuple):
    """Pictures to train on, and held-out ones."""

    train: Source
    held_out: Source


def open_images(images: str, held_out: str = "") -> Parts:
    """Opens a folder of pictures or a data set directory.

    Args:
        images: Path; of a data set, the split `train` is used for training.
        held_out: Path of the held-out pictures. By default the splits `test...` of a data set; of
            a folder the last tenth of the sorted names, so that the frames of one video, which
            have similar names, are on one side.

    Raises:
        UsageError: There is no such folder, or nothing is left to train on or to hold out.
        UserError: The folder has no picture.
    """
    folder = _folder("--images", images)
    if held_out:
        other = _folder("--held_out_images", held_out)
        whole, kept_out = folder.resolve(), other.resolve()
        if kept_out.is_relative_to(whole) or whole.is_relative_to(kept_out):
            raise UsageError(
                "--held_out_images: expected another folder than --images, neither within the "
                f"other, received {other}."
            )
        splits = _tests(other) if _is_dataset(other) else []
        kept = Records(other, splits) if splits else Folder(other)
        return Parts(Records(folder, ["train"]) if _is_dataset(folder) else Folder(folder), kept)
    if _is_dataset(folder):
        return Parts(Records(folder, ["train"]), Records(folder, _tests(folder)))
    names = Folder(folder).names
    first = len(names) - max(1, len(names) // 10)
    if not first:
        raise UsageError(f"--images: expected 2 pictures or more in {folder}, received one.")
    return Parts(Folder(folder, names[:first]), Folder(folder, names[first:]))


def _folder(flag: str, name: str) -> Path:
    if not Path(name).is_dir():
        raise UsageError(f"{flag}: expected a folder, received {name!r}: there is none.")
    return Path(name)


def _is_dataset(folder: Path) -> bool:
    return (folder / INFO_FILE).is_file()


def _tests(directory: Path) -> list[str]:
    info = load_info(directory)
    tests = test_splits(info)
    if not tests:
        raise UsageError(
            f"Expected a split 'test' with clips in {directory} to hold out, received "
            f"{', '.join(info.splits)}; name another folder by --held_out_images."
        )
    return tests
