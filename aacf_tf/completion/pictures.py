"""Where pictures come from: a folder of photographs, or a data set directory."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple, Protocol, Sequence

import cv2
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

MEMORY = 2 << 30  # bytes of decoded pictures that are kept


class Source(Protocol):
    """Pictures by number: their names, their sizes in bytes, and how one is read."""

    names: list[str]
    sizes: list[int]

    def read(self, number: int, short_side: int) -> np.ndarray:
        """Returns a picture, uint8 `[H, W, 3]`; raises UnreadableError if it is damaged."""
        ...


class Folder:
    """The pictures of a folder and of those below it; what else lies there is passed over.

    Raises:
        UserError: there is no picture.
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
        """Reads a picture, see `Source`."""
        return read_image(str(self.folder / self.names[number]), short_side).pixels


class Records:
    """The frames in the middle of a split's clips; photographs are clips of one frame.

    They are held as they are encoded.
    """

    def __init__(self, directory: Path, splits: Sequence[str]):
        info = load_info(directory)
        require_frames(directory, info)
        paths = [path for split in splits for path in shard_paths(directory, info, split)]
        self.names, self._encoded = [], []
        with translate_errors(directory):
            for serialized in tf.data.TFRecordDataset(paths):
                record = codec.parse(serialized, masks=False)
                frames = record["clip"]
                self.names.append(record["id"].numpy().decode())
                self._encoded.append(frames[len(frames) // 2].numpy())
        self.sizes = [len(encoded) for encoded in self._encoded]

    def read(self, number: int, short_side: int) -> np.ndarray:
        """Decodes a picture, see `Source`."""
        decoded = cv2.imdecode(np.frombuffer(self._encoded[number], np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise UnreadableError(self.names[number], "the image cannot be decoded")
        pixels = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        height, width = pixels.shape[:2]
        return video.resize(pixels, video.scaled_size(height, width, short_side))


class Pictures:
    """Pictures scaled down to a short side, in memory as far as they fit.

    Args:
        source: of the pictures.
        short_side: pixels; smaller ones are left as they are.

    Attributes:
        names, sizes: of all, sizes in bytes.
        skipped: name -> reason, of those that could not be read so far.
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
        """uint8 [H, W, 3]: the picture of that number, or the next one that can be read.

        Raises:
            UserError: none of them can.
        """
        for place in range(number, number + len(self)):
            place %= len(self)
            if place in self._kept:
                return self._kept[place]
            if self.names[place] in self.skipped:
                continue
            try:
                pixels = self._source.read(place, self._short_side)
            except UnreadableError as error:
                self.skipped[self.names[place]] = error.reason
                continue
            if pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._kept[place] = pixels
            return pixels
        name, reason = next(iter(self.skipped.items()))
        raise UserError(
            f"Not one of {len(self)} pictures can be read; the first: {name}: {reason}."
        )

    def spread(self, count: int) -> Iterator[np.ndarray]:
        """So many of them (or all, where there are fewer), evenly spread over their order."""
        count = min(count, len(self))
        return (self.read(place * len(self) // count) for place in range(count))

    def mean_colour(self, count: int = 1000) -> tuple[float, float, float]:
        """Red, green, blue, 0..1: the mean over that many pictures, each counting the same."""
        means = [pixels.mean(axis=(0, 1)) for pixels in self.spread(count)]
        red, green, blue = (float(value) / 255 for value in np.mean(means, axis=0))
        return red, green, blue


class Parts(NamedTuple):
    """What is trained on, and what is held out."""

    train: Source
    held_out: Source


def open_images(images: str, held_out: str = "") -> Parts:
    """Opens a folder of pictures or a data set directory.

    Args:
        images: of a data set, its split `train` is trained on.
        held_out: the same for what is held out. Without it, of a data set its splits `test...`;
            of a folder the last tenth of the names in their order, so that the frames of one
            video, which are named alike, fall on one side.

    Raises:
        UsageError: there is no such folder, or nothing is left to train on or to hold out.
        UserError: there is no picture in it.
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
