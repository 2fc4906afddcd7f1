"""Reads masks of the actor, arrays or videos, aligned to a clip."""

from __future__ import annotations

import itertools
import math
import os
from typing import Optional, Sequence

import numpy as np

from tfrecords.media import video
from tfrecords.media.video import UnreadableError, Video
from tfrecords.utils import filesystem
from tfrecords.utils.errors import raise_if_machine

# A mask may be this many frames short of its clip (encoders drop the last ones); the last frame
# then serves on. A longer one of a whole file is cut: the video may have broken off.
MASK_SLACK = 2
MAX_MASK_BYTES = 1 << 29  # unpacked
ASPECT = 0.02  # by how much the shapes of mask and frame may differ, besides a pixel of rounding


def read_mask(
    path: str, clip: Video, span: tuple[float, Optional[float]], media: str
) -> np.ndarray:
    """Reads the actor's mask of a clip, resized with its frames.

    Args:
        path: .npz (key `mask`, bool [T, H, W]), .mat of J-HMDB (key `part_mask`, [H, W, T]), or a
            video whose pixels above 127 are the actor. It covers the clip's span; one as long as
            the whole file is cut to it.
        clip: Decoded span; its frames have their final size.
        span: Times (start, end) in seconds; end None: the file's.
        media: Path of the clip's video.

    Returns:
        The mask aligned to the clip, bool [T, H, W].

    Raises:
        UnreadableError: If the mask cannot be read, or its shape does not fit the clip.
    """
    count, size = len(clip.frames), clip.frames.shape[1:3]
    part = span[1] is not None or span[0] > 0
    mask = _stored_mask(path)
    if mask is None:
        mask = _filmed_mask(path, clip)
        if part and len(mask) > count + MASK_SLACK:
            mask = _filmed_mask(path, clip, *span)
    elif part and len(mask) > count + MASK_SLACK and _fits(mask.shape[1:], size):
        times = [time for time, _, _ in video.decode(media)]
        if abs(len(times) - len(mask)) <= MASK_SLACK:
            mask = mask[int(np.searchsorted(times, clip.times[0] - 1e-4)) :][:count]
    surplus = part and len(mask) > count + MASK_SLACK
    if surplus or not _fits(mask.shape[1:], size):
        one, other = (" x ".join(map(str, shape[:3])) for shape in (mask.shape, clip.frames.shape))
        raise UnreadableError(path, f"the mask is [T, H, W] = {one}, its clip {other}")
    if len(mask) < count - MASK_SLACK or not len(mask):
        raise UnreadableError(path, f"the mask has {len(mask)} frames, its clip {count}")
    mask = mask[np.minimum(np.arange(count), len(mask) - 1)]
    return np.stack([_resize(frame, size) for frame in mask])


def _filmed_mask(
    path: str, clip: Video, start: float = 0.0, end: Optional[float] = None
) -> np.ndarray:
    """Reads the mask that a video's span is, in the clip's size; stops where it is too long.

    Frames come one by one, so that a mask takes no more memory than its clip.
    """
    count, size = len(clip.frames) + MASK_SLACK + 1, clip.frames.shape[1:3]
    frames = []
    for _, _, image in itertools.islice(video.read_images(path, start, end), count):
        if not _fits(image.shape, size):
            one, other = (f"{sides[0]} x {sides[1]}" for sides in (image.shape, size))
            raise UnreadableError(path, f"the mask has frames of {one}, its clip of {other}")
        frames.append(_resize(image[..., 1] > 127, size))
    return np.array(frames) if frames else np.zeros((0, *size), bool)


def _resize(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    if mask.shape == tuple(size):
        return mask
    return video.resize(mask.astype(np.uint8) * 255, size) > 127


def _fits(mask: Sequence[int], frame: Sequence[int]) -> bool:
    """Returns whether a mask (H, W) has the aspect of frames (H, W), a pixel of rounding aside."""
    one, other = mask[0] * frame[1], mask[1] * frame[0]
    return abs(one - other) <= ASPECT * other + max(mask)


def _stored_mask(path: str) -> Optional[np.ndarray]:
    """Reads the array of a .npz or .mat as bool [T, H, W]; None for any other kind of file."""
    extension = os.path.splitext(path)[1].lower()
    if extension not in (".npz", ".mat"):
        return None
    key = "mask" if extension == ".npz" else "part_mask"
    try:
        with filesystem.open_media(path) as file:
            if extension == ".npz":
                arrays = np.load(file)
                _check_size(path, arrays.zip.getinfo(f"{key}.npy").file_size)
                mask = arrays[key]
            else:
                import scipy.io

                shape, kind = {name: rest for name, *rest in scipy.io.whosmat(file)}[key]
                width = 1 if kind in ("logical", "int8", "uint8") else 8  # bytes
                _check_size(path, math.prod(shape) * width)
                mask = scipy.io.loadmat(file, variable_names=[key])[key]
            mask = mask if mask.dtype == bool else mask > 0
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        reason = "there is no such file" if error.strerror else str(error)  # the store's own words
        raise UnreadableError(path, reason) from error
    except KeyError as error:
        raise UnreadableError(path, f"it has no array {key!r}") from error
    except Exception as error:  # a damaged file sends the readers into errors of every kind
        raise_if_machine(error, path)
        raise UnreadableError(path, f"not a {extension} file ({error})") from error
    if mask.ndim != 3:
        axes = "[T, H, W]" if extension == ".npz" else "[H, W, T]"
        raise UnreadableError(path, f"expected {key} of {axes}, received {mask.shape}")
    return mask if extension == ".npz" else mask.transpose(2, 0, 1)


def _check_size(path: str, size: int) -> None:
    """Rejects a mask that is larger than any clip: a few bytes may unpack to many."""
    limit = min(MAX_MASK_BYTES, video.MAX_CLIP_BYTES)
    if size > limit:
        raise UnreadableError(path, f"a mask of {size:,} bytes (at most {limit:,})")
