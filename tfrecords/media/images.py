"""Reads photographs as a viewer shows them: upright, 8 bits, RGB.

The header is checked before anything is decoded, so an image too large for memory is refused.
"""

from __future__ import annotations

import warnings
from typing import BinaryIO, NamedTuple, Sequence

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tfrecords.media import video
from tfrecords.media.video import UnreadableError
from tfrecords.utils import filesystem
from tfrecords.utils.errors import raise_if_machine

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 8192 * 8192  # decoded 201 MB, once for each worker
BITS, MAX_VALUE = 258, 281  # tags of TIFF
TOO_LARGE = f"the image has more than {MAX_PIXELS:,} pixels"


class Photograph(NamedTuple):
    """An image, uint8 [H, W, 3], and its (width, height) in the file, in pixels."""

    pixels: np.ndarray
    size: tuple[int, int]


def is_photograph(path: str) -> bool:
    """Returns whether a file is a photograph, by its extension; a GIF may be a clip."""
    return path.lower().endswith(EXTENSIONS)


def read_image(path: str, short_side: int = 0) -> Photograph:
    """Reads a photograph: JPEG, PNG or another format of Pillow.

    Turned as its EXIF data say; grey, palette, CMYK, 12-bit, 16-bit and float images become RGB;
    transparency is ignored.

    Args:
        path: Local file, or URL of `filesystem`.
        short_side: Shorter side in pixels to which a larger image is scaled down, its aspect
            ratio kept. 0 (default): no scaling.

    Raises:
        UnreadableError: If there is no such file, or it is no image, cut short or too large.
    """
    try:
        with filesystem.open_media(path) as file, _open(file) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(path, TOO_LARGE)
            if short_side:
                # A JPEG is decoded at an eighth, a quarter or half its size where that is enough.
                # Twice what is wanted leaves the last step to an average over areas.
                rows, columns = video.scaled_size(height, width, 2 * short_side)
                image.draft(None, (columns, rows))
            if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # a quarter turn
                width, height = height, width
            ImageOps.exif_transpose(image, in_place=True)
            pixels = _to_rgb(image, path)
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        reason = "there is no such file" if error.strerror else str(error)  # the store's own words
        raise UnreadableError(path, reason) from error
    except UnidentifiedImageError as error:
        raise UnreadableError(path, "not an image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableError(path, TOO_LARGE) from error
    except Exception as error:  # a damaged file sends the decoders into errors of every kind
        raise_if_machine(error, path)
        reason = " ".join(str(error).split())
        raise UnreadableError(path, f"the image cannot be decoded ({reason})") from error
    scaled = video.resize(pixels, video.scaled_size(height, width, short_side))
    return Photograph(scaled, (width, height))


def draw_boxes(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Draws filled boxes: bool [H, W], True on every pixel that one of them touches.

    Args:
        boxes: Boxes (xmin, ymin, xmax, ymax) as shares of width and height, float [n, 4].
        size: Size of the map, (H, W).
    """
    mask = np.zeros(size, bool)
    pixels = np.asarray(boxes, np.float64) * (size[1], size[0], size[1], size[0])
    # A border meant to lie between two pixels must not touch both.
    first = np.floor(pixels[:, :2] + 1e-3).astype(int)
    last = np.ceil(pixels[:, 2:] - 1e-3).astype(int)
    for (left, top), (right, bottom) in zip(first, last):
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask


def _open(file: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():  # Pillow's limit is milder: what it warns of is refused here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file)


def _to_rgb(image: Image.Image, path: str) -> np.ndarray:
    """Converts an image to uint8 [H, W, 3]; Pillow would clip deep ones at 255."""
    if image.mode == "F":
        grey = np.asarray(image)
        low, high = grey.min(), grey.max()
        if not (low >= 0 and high <= 255):  # nor NaN
            reason = f"expected values in 0..1 or 0..255, received {low:g}..{high:g}"
            raise UnreadableError(path, reason)
        grey = np.multiply(grey, 255 if high <= 1 else 1, dtype=np.float32)
        np.rint(grey, out=grey)  # the largest image in float64 would take gigabytes
    elif image.mode.startswith("I"):
        tags = getattr(image, "tag_v2", {})  # of a TIFF: bits a sample, the largest value
        depth = int(np.max(tags.get(BITS, 16)))
        if MAX_VALUE in tags:
            depth = int(np.max(tags[MAX_VALUE])).bit_length()
        grey = np.asarray(image) >> max(depth - 8, 0)
        if grey.min() < 0 or grey.max() > 255 or depth > 16:
            raise UnreadableError(path, f"expected integers of at most 16 bits, received {depth}")
    else:
        return np.array(image.convert("RGB"))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
