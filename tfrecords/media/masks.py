"""Masks of the actor: arrays or videos, aligned to a clip."""

from __future__ import annotations

import math
import os
from typing import Optional

import numpy as np

from tfrecords.media import video
from tfrecords.media.video import UnreadableError, Video
from tfrecords.utils import filesystem

# A mask may be this many frames short of its clip (encoders drop the last ones); the last frame
# then serves on. A longer one is cut: the video may have broken off.
MASK_SLACK = 2


def read_mask(path: str, clip: Video, span: tuple[float, Optional[float]]) -> np.ndarray:
    """Reads the actor's mask of a clip, resized with its frames.

    Args:
        path: .npz (key `mask`, bool [T, H, W]), .mat of J-HMDB (key `part_mask`, [H, W, T]), or a
            video whose pixels above 127 are the actor. It covers the clip's span; a mask video as
            long as the whole file is cut to it.
        clip: the decoded span; its frames have their final size.
        span: (start, end) in seconds; end None: the file's.

    Returns:
        bool [T, H, W], aligned to the clip.

    Raises:
        UnreadableError: the mask cannot be read, or is too short for the clip.
    """
    count, size = len(clip.frames), clip.frames.shape[1:3]
    mask = _stored_mask(path)
    if mask is None:
        mask = video.read_span(path).frames[..., 1] > 127
        if span[1] is not None and len(mask) > count + MASK_SLACK:
            mask = video.read_span(path, *span).frames[..., 1] > 127
    if len(mask) < count - MASK_SLACK or not len(mask):
        raise UnreadableError(path, f"the mask has {len(mask)} frames, its clip {count}")
    mask = mask[np.minimum(np.arange(count), len(mask) - 1)]
    if mask.shape[1:] == size:
        return mask
    shades = mask.astype(np.uint8) * 255
    return np.stack([video.resize(frame, size) > 127 for frame in shades])


def _stored_mask(path: str) -> Optional[np.ndarray]:
    """The array of a .npz or .mat as bool [T, H, W]; None for any other kind of file."""
    extension = os.path.splitext(path)[1].lower()
    if extension not in (".npz", ".mat"):
        return None
    key = "mask" if extension == ".npz" else "part_mask"
    try:
        with filesystem.open_media(path) as file:
            if extension == ".npz":
                arrays = np.load(file)
                _check_size(path, arrays.zip.getinfo(f"{key}.npy").file_size)
                mask = arrays[key] > 0
            else:
                import scipy.io

                shapes = {name: shape for name, shape, _ in scipy.io.whosmat(file)}
                _check_size(path, math.prod(shapes[key]))
                mask = scipy.io.loadmat(file, variable_names=[key])[key] > 0
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(path, "there is no such file") from error
    except KeyError as error:
        raise UnreadableError(path, f"it has no array {key!r}") from error
    except Exception as error:  # a damaged file sends the readers into errors of every kind
        raise UnreadableError(path, f"not a {extension} file ({error})") from error
    if mask.ndim != 3:
        axes = "[T, H, W]" if extension == ".npz" else "[H, W, T]"
        raise UnreadableError(path, f"expected {key} of {axes}, received {mask.shape}")
    return mask if extension == ".npz" else mask.transpose(2, 0, 1)


def _check_size(path: str, size: int) -> None:
    """UnreadableError for a mask that is larger than any clip: a few bytes may unpack to many."""
    if size > video.MAX_CLIP_BYTES:
        raise UnreadableError(path, f"a mask of {size:,} bytes (at most {video.MAX_CLIP_BYTES:,})")
