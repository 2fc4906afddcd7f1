"""Surfaces of media: images, videos, masks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.surface import Reader, Surface

# Name -> (codec, pixel format); each container keeps its times in another way.
CODECS = {
    "mpeg4.mp4": ("mpeg4", "yuv420p"),
    "h264.mp4": ("libx264", "yuv420p"),
    "h264.mov": ("libx264", "yuv420p"),
    "mjpeg.avi": ("mjpeg", "yuvj420p"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "ffv1.mkv": ("ffv1", "bgr0"),
    "mpeg2.ts": ("mpeg2video", "yuv420p"),
    "vp8.webm": ("libvpx", "yuv420p"),
}
SIZE = 48, 64


class Command:
    """Whoever unpickles it runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def make_frames(count: int) -> np.ndarray:
    """Frames of a moving square on a ramp, uint8 [T, H, W, 3]."""
    ramp = np.linspace(0, 200, SIZE[1]).astype(np.uint8)
    frames = np.broadcast_to(ramp[:, None], (count, *SIZE, 3)).copy()
    for n in range(count):
        frames[n, 8:24, n * 2 : n * 2 + 16] = 250, 30, 30
    return frames


# ---- images --------------------------------------------------------------------------------------


def make_images(folder: Path) -> None:
    """Writes an image of every format and of the modes that are converted."""
    from PIL import Image

    image = Image.fromarray(make_frames(1)[0])
    exif = Image.Exif()
    exif[274] = 6
    image.save(folder / "a.jpg", quality=90, exif=exif)
    image.save(folder / "progressive.jpg", progressive=True)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    for suffix in ("png", "gif", "bmp", "webp", "tif"):
        image.save(folder / f"a.{suffix}")
    image.convert("P").save(folder / "palette.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.save(folder / "packed.tif", compression="tiff_lzw")
    grey = np.asarray(image.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(grey.astype(np.uint16) * 16).save(folder / "deep.tif", tiffinfo={281: 4095})
    Image.fromarray(grey.astype(np.float32) / 255).save(folder / "float.tif")
    image.save(folder / "clip.gif", save_all=True, append_images=[image.rotate(90)], duration=100)


def _open_images(seeds: Path, folder: Path) -> Reader:
    from tfrecords.media.images import read_image

    def read(path: Path) -> Any:
        for side in (0, 16):
            pixels = read_image(str(path), side).pixels
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3

    return read


# ---- videos --------------------------------------------------------------------------------------


def _make_videos(folder: Path) -> None:
    import av

    frames = make_frames(16)
    for name, (codec, pixels) in CODECS.items():
        with av.open(str(folder / name), "w", options={"fflags": "+bitexact"}) as container:
            stream: Any = container.add_stream(codec, rate=10)
            stream.height, stream.width, stream.pix_fmt = *SIZE, pixels
            stream.codec_context.thread_count = 1
            if codec == "mpeg4":
                stream.codec_context.max_b_frames = 1
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())


def _open_videos(seeds: Path, folder: Path) -> Reader:
    from tfrecords.build.rows import record_bytes
    from tfrecords.media import video
    from tfrecords.sources.base import SourceOptions
    from tfrecords.sources.csv import CsvSource

    def read(path: Path) -> Any:
        video.read_header(str(path))
        video.read_frames(str(path), fps=25, short_side=32)
        # The scene before and after the clip, where shots are sought.
        table = folder / "clips.csv"
        table.write_text(f"video,label,start,end\n{path.name},run,0.6,0.9\n")
        source = CsvSource(SourceOptions(input=str(table), data_root=str(path.parent), margin=0.1))
        record_bytes(source, source.rows()[0])

    return read


# ---- masks ---------------------------------------------------------------------------------------


def _make_masks(folder: Path) -> None:
    import scipy.io

    mask = make_frames(8)[..., 0] > 127
    np.savez(folder / "mask.npz", mask=mask)
    np.savez_compressed(folder / "packed.npz", mask=mask, other=np.arange(3))
    np.savez(folder / "attack.npz", mask=np.array([Command()], object))
    for name, packed in (("mask", False), ("packed", True)):
        path = folder / f"{name}.mat"
        parts = {"part_mask": mask.transpose(1, 2, 0).astype(np.uint8)}
        scipy.io.savemat(path, parts, do_compression=packed)
        # The header tells the time.
        path.write_bytes(re.sub(rb"Created on: .{24}", b"x" * 36, path.read_bytes(), count=1))


def _open_masks(seeds: Path, folder: Path) -> Reader:
    from tfrecords.media.masks import read_mask
    from tfrecords.media.video import Video

    clip = Video(make_frames(8), 10.0, np.arange(8) / 10)
    return lambda path: read_mask(str(path), clip, (0.0, None), str(path))


IMAGES = Surface(make_images, _open_images)
VIDEOS = Surface(_make_videos, _open_videos)
MASKS = Surface(_make_masks, _open_masks)
