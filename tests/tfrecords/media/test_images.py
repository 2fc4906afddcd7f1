"""Photographs: what a viewer would show, and what is refused before it is decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrecords.media import images
from tfrecords.media.images import draw_boxes, read_image
from tfrecords.media.video import UnreadableError


@pytest.fixture
def halves() -> np.ndarray:
    """40 x 80: the left half red, the right one blue; the top row white."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40, 0] = image[:, 40:, 2] = 200
    image[:8] = 255
    return image


def read(path: Path, **options) -> np.ndarray:
    return read_image(str(path), **options).pixels


def assert_close(pixels: np.ndarray, expected: np.ndarray, tolerance: int = 12) -> None:
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected)
    assert np.median(difference) <= tolerance and (difference > 60).mean() < 0.15


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp"])
def test_formats_and_sizes(tmp_path, halves, name):
    path = tmp_path / name
    Image.fromarray(halves).save(path, quality=95)
    assert_close(read(path), halves)
    assert read_image(str(path), 20).size == (80, 40)
    assert_close(read(path, short_side=20), halves[::2, ::2])
    assert_close(read(path, short_side=80), halves)  # never enlarged


def test_a_large_jpeg_is_decoded_reduced(tmp_path, halves, monkeypatch):
    large = np.repeat(np.repeat(halves, 30, axis=0), 30, axis=1)  # 1200 x 2400
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    seen = []
    real = images._to_rgb
    monkeypatch.setattr(
        images, "_to_rgb", lambda image, path: seen.append(image.size) or real(image, path)
    )
    photograph = read_image(str(tmp_path / "a.jpg"), 40)
    assert photograph.size == (2400, 1200) and seen == [(300, 150)]
    assert_close(photograph.pixels, halves)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 120, (120, 120, 120)),
        ("1", 1, (255, 255, 255)),
        ("LA", (120, 0), (120, 120, 120)),
        ("RGBA", (10, 20, 30, 128), (10, 20, 30)),
        ("P", 7, (10, 20, 30)),
        ("I;16", 120 * 256 + 9, (120, 120, 120)),
    ],
)
def test_modes_of_png(tmp_path, mode, value, expected):
    image = Image.new(mode, (9, 5), value)
    if mode == "P":
        image.putpalette([0] * 21 + [10, 20, 30])
    image.save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png") == np.broadcast_to(expected, (5, 9, 3))).all()


def test_grey_and_cmyk_jpeg(tmp_path, halves):
    grey = Image.fromarray(halves).convert("L")
    grey.save(tmp_path / "grey.jpg", quality=95)
    assert_close(read(tmp_path / "grey.jpg"), np.repeat(np.asarray(grey)[..., None], 3, -1))
    Image.fromarray(halves).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert_close(read(tmp_path / "cmyk.jpg"), halves)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, halves, orientation):
    # What is stored so that a viewer who follows the tag sees `halves`.
    stored = {
        1: halves,
        2: halves[:, ::-1],
        3: halves[::-1, ::-1],
        4: halves[::-1],
        5: halves.transpose(1, 0, 2),
        6: np.rot90(halves, 1),
        7: np.rot90(halves, 2).transpose(1, 0, 2),
        8: np.rot90(halves, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", quality=95, exif=exif)
    photograph = read_image(str(tmp_path / "a.jpg"), 20)
    assert photograph.size == (80, 40)
    assert_close(photograph.pixels, halves[::2, ::2])


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims its size in the header and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (8192, 8193)])
def test_a_giant_is_refused_by_its_header(tmp_path, size):
    (tmp_path / "giant.png").write_bytes(bomb(*size))
    with pytest.raises(UnreadableError, match="more than 67,108,864 pixels"):
        read(tmp_path / "giant.png", short_side=256)


def test_what_cannot_be_read_is_named(tmp_path, halves):
    with pytest.raises(UnreadableError, match="there is no such file"):
        read(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("a photograph")
    for name in ("empty.jpg", "text.jpg"):
        with pytest.raises(UnreadableError, match="not an image"):
            read(tmp_path / name)
    Image.fromarray(halves).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-60])
    with pytest.raises(UnreadableError, match=r"cut.jpg cannot be read: .*truncated") as caught:
        read(tmp_path / "cut.jpg")
    assert "\n" not in caught.value.reason


def test_boxes_drawn_full():
    mask = draw_boxes([[0.2, 0.5, 0.4, 1], [0.75, 0, 0.8, 0.25]], (8, 10))
    expected = np.zeros((8, 10), bool)
    expected[4:8, 2:4] = True
    expected[0:2, 7:8] = True
    np.testing.assert_array_equal(mask, expected)
    assert draw_boxes([[0.5, 0.5, 0.5001, 0.5001]], (4, 4)).sum() == 1  # never nothing
    assert (
        draw_boxes([[0, 0, 1, 1]], (3, 7)).all() and not draw_boxes(np.zeros((0, 4)), (3, 7)).any()
    )


def packed12(values: np.ndarray) -> bytes:
    """A TIFF of one strip of uint12 [H, W], two pixels in three bytes; W is even."""
    first, second = (values.astype(np.uint32)[:, n::2].ravel() for n in (0, 1))
    data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8)
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1)]
    entries += [(278, height), (279, data.size)]
    start = 8 + data.size + data.size % 2
    table = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    return (
        b"II*\0"
        + struct.pack("<I", start)
        + data.tobytes().ljust(start - 8, b"\0")
        + table
        + b"\0" * 4
    )


def test_deep_images_keep_their_brightness(tmp_path):
    ramp = np.linspace(0, 1, 20).reshape(2, 10)
    grey = np.rint(ramp * 255)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "one.tif")
    Image.fromarray((ramp * 255).astype(np.float32)).save(tmp_path / "bytes.tif")
    Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "deep.tif")
    Image.fromarray((ramp * 4095).astype(np.uint16)).save(
        tmp_path / "max.tif", tiffinfo={281: 4095}
    )
    (tmp_path / "packed.tif").write_bytes(packed12(np.rint(ramp * 4095)))
    for name in ("one", "bytes", "deep", "max", "packed"):
        pixels = read(tmp_path / f"{name}.tif")
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels[..., 1], grey, atol=1, err_msg=name)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 4000.0], [0.0, np.nan]])
def test_floats_of_no_known_scale_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableError, match=r"expected values in 0\.\.1 or 0\.\.255, received"):
        read(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 1 << 20]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableError, match=r"integers of at most 16 bits, received 32"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_deep_image_is_converted_in_little_memory(tmp_path, dtype):
    Image.fromarray(np.zeros((500, 500), dtype)).save(tmp_path / "a.tif")
    tracemalloc.start()
    read(tmp_path / "a.tif")
    peak = tracemalloc.get_traced_memory()[1] / 500**2
    tracemalloc.stop()
    assert peak < 18  # bytes a pixel: the largest image has 67 million
