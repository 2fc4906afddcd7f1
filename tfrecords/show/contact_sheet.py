"""Draws a contact sheet of pairs, one picture to check conjugates by eye.

    python -m tfrecords.show data/mine --pairs=sheet.png --count=12 --split=train

Each pair is a row: four frames of the clip, evenly spaced, then four of its conjugate; a photograph
is shown once, larger. Above them are its labels, its id, the origin of its mask, if the record says
it, and that of the conjugate. The actor's mask is outlined, an automatic one in blue, boxes of
people are drawn, and optical flow is below the frames (in the colours of `flow.picture`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterator, NamedTuple, Optional, Sequence

import cv2
import numpy as np

from tfrecords.media import flow, letters, pictures
from tfrecords.records import dataset, names
from tfrecords.utils.atomic import StrPath, replacing
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import check_output, to_path

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

FRAMES = 4  # of a clip, and as many of its conjugate
HEIGHT = 108  # of a frame, pixels
WIDEST = 192
STILL = 2  # a photograph is shown this many times as large
GAP = 3  # between frames
MIDDLE = 20  # between clip and conjugate
BORDER = 16
LINE = 19  # of text
PAPER, INK, FAINT = (250, 250, 250), (20, 20, 20), (110, 110, 110)
OUTLINE, FOUND = (255, 220, 0), (0, 230, 255)  # of masks and boxes; of automatic masks
# A pair is at least this wide, so that its text fits.
NARROWEST = 2 * FRAMES * 90


class Row(NamedTuple):
    """A pair as it is shown: pictures of clip and conjugate, its labels, a caption."""

    clip: np.ndarray
    conjugate: np.ndarray
    labels: str
    caption: str


def write_pairs(directory: StrPath, path: str, split: Optional[str] = None, count: int = 12) -> int:
    """Writes a contact sheet of a split's pairs, evenly spread over its records.

    Args:
        directory: Data set directory.
        path: File of the picture; its extension (png, jpg) sets the format.
        split: Name of the split; None: the first with pairs.
        count: Maximum number of rows.

    Returns:
        The number of pairs on it.

    Raises:
        UsageError: There is no such split, or the path does not name a picture.
        UserError: The split has no pair, or a shard is corrupt.
    """
    if os.path.splitext(path)[1].lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"Expected --pairs to name a .png or .jpg file, received {path!r}.")
    if count < 1:
        raise UsageError(f"Expected --count of at least 1, received {count}.")
    check_output(to_path(path), "pairs")
    info = dataset.load_info(directory)
    dataset.require_frames(directory, info)
    split = split or next((name for name, of in info.splits.items() if of.get("pairs")), None)
    if split is None or not info.require_split(split).get("pairs"):
        raise UserError(
            f"{directory} has no clip with a conjugate{f' in {split}' if split else ''}."
        )
    rows = list(_spread(dataset.shard_paths(directory, info, split), count, info, split))
    if not rows:
        raise UserError(f"Expected pairs in split {split!r} of {directory}, received none.")
    sheet = draw(rows, f"{directory}: {split}, {len(rows)} pairs")
    with replacing(path) as temporary:
        done, content = cv2.imencode(os.path.splitext(path)[1].lower(), sheet[..., ::-1])
        if not done:
            raise UserError(
                f"{path} cannot be written: {sheet.shape[1]} x {sheet.shape[0]} pixels."
            )
        temporary.write_bytes(content.tobytes())
    return len(rows)


def _spread(shards: list[str], count: int, info: dataset.DatasetInfo, split: str) -> Iterator[Row]:
    """Yields rows of pairs spread evenly over the shards and each shard; of `count` shards at most.

    Of the pairs, which may be large, one is in memory at a time.
    """
    from tfrecords.records import codec
    from tfrecords.records.checking import check_record, naming, read_shard
    from tfrecords.records.example import Example

    parts = min(count, len(shards))
    left = count
    for part in range(parts):
        path = shards[part * len(shards) // parts]
        paired = []
        for n, data in read_shard(path):
            with naming(path, n):
                if names.CONJUGATE + names.FRAMES in Example(data):
                    paired.append(n)
        # If a shard has less than its share, the later ones make up for it.
        share = min(len(paired), -(-left // (parts - part)))
        # Shards hold rows in turn: the same index in all of them would give one class.
        positions = ((n + (part + 0.5) / parts) / share for n in range(share))
        chosen = {paired[int(position * len(paired))] for position in positions}
        # Read twice, since a shard may be larger than memory.
        for n, data in read_shard(path):
            if n in chosen:
                with naming(path, n):
                    check_record(data, info, split)
                    yield make_row(codec.decode(data))
        left -= share


def draw(rows: Sequence[Row], title: str) -> np.ndarray:
    """Draws the sheet, uint8 [H, W, 3], RGB, with a line of text above the rows."""
    # Conjugates are aligned in one column, whatever the shape of the clips.
    column = max(row.clip.shape[1] for row in rows) + MIDDLE
    width = max(NARROWEST, column + max(row.conjugate.shape[1] for row in rows))
    text = 2 * LINE + 4
    height = BORDER + LINE + sum(text + len(row.clip) + BORDER for row in rows) + BORDER // 2
    sheet = np.empty((height, width + 2 * BORDER, 3), np.uint8)
    sheet[:] = PAPER
    lines = [(BORDER, BORDER // 2, title, FAINT)]
    y = BORDER + LINE
    for clip, conjugate, labels, caption in rows:
        lines.append((BORDER, y, labels, INK))
        lines.append((BORDER, y + LINE, caption, FAINT))
        y += text
        below = y + clip.shape[0]
        sheet[y:below, BORDER : BORDER + clip.shape[1]] = clip
        sheet[y:below, BORDER + column - MIDDLE // 2] = FAINT
        sheet[y:below, BORDER + column : BORDER + column + conjugate.shape[1]] = conjugate
        y = below + BORDER
    return _write(sheet, lines, width)


def origin(pair: ClipPair) -> str:
    """Describes the origin of a conjugate."""
    assert pair.conjugate is not None
    length = len(pair.conjugate) / pair.fps
    if pair.conjugate_media_id not in (None, pair.media_id):
        return f"{length:.1f} s of {pair.conjugate_media_id}, from {pair.conjugate_start:.1f} s on"
    start = pair.start if pair.conjugate_start is None else pair.conjugate_start
    # Half a frame, since times are rounded to microseconds.
    slack = 0.5 / pair.fps
    if start + length <= pair.start + slack:
        return f"{length:.1f} s, {pair.start - start - length:.1f} s before the clip"
    if start >= pair.end - slack:
        return f"{length:.1f} s, {start - pair.end:.1f} s after the clip"
    if abs(start - pair.start) <= slack:
        return "made for the clip"
    return f"{length:.1f} s, from {start:.1f} s on: it overlaps the clip"


def make_row(pair: ClipPair) -> Row:
    """Puts the frames of a clip side by side, above its flow, and those of its conjugate."""
    assert pair.conjugate is not None
    halves = []
    for frames, codes in ((pair.clip, pair.flow), (pair.conjugate, pair.conjugate_flow)):
        index = pictures.evenly(len(frames), FRAMES)
        full = min(HEIGHT, WIDEST * frames.shape[1] / frames.shape[2])
        height = max(1, round(full * (STILL if len(pair.clip) == 1 else 1)))
        rows = [[pictures.enlarge(frame, height) for frame in frames[index]]]
        if frames is pair.clip:
            rows = [[_marked(frame, pair, n) for frame, n in zip(rows[0], index)]]
        if codes is not None:
            rows.append([pictures.enlarge(c, height) for c in flow.picture(codes[index])])
        halves.append(pictures.join(rows, GAP))
    decoy = "    with a decoy" if pair.decoy else ""
    mask = f"    mask: {pair.mask_origin}" if pair.mask_origin else ""
    caption = f"{pair.id}{decoy}{mask}    conjugate: {origin(pair)}"
    return Row(halves[0], halves[1], " | ".join(pair.labels) or "(no action)", caption)


def _marked(frame: np.ndarray, pair: ClipPair, index: int) -> np.ndarray:
    """Outlines mask and boxes on a scaled frame of the clip."""
    if pair.mask is not None:
        mask = pictures.enlarge(pair.mask[index], len(frame))
        colour = FOUND if pair.mask_is_automatic else OUTLINE
        frame = pictures.outline(frame, mask, colour, cv2.LINE_8)
    return frame if pair.boxes is None else pictures.draw_boxes(frame, pair.boxes, OUTLINE)


def _write(sheet: np.ndarray, lines: list[tuple], width: int) -> np.ndarray:
    """Writes (x, y, text, colour) on the sheet; cuts text that is too long."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    for x, y, text, colour in lines:
        letters.write(pen, (x, y), text, 14, colour, width)
    return np.asarray(image)
