"""Chooses another span of the same shot, before or after the action, as the conjugate."""

from __future__ import annotations

import math
from typing import Iterable, Optional

import numpy as np

from tfrecords.conjugates import shots

# A free side with fewer frames is no conjugate: the clip is kept without one, and counted.
MIN_FRAMES = 4

# For `most_alike`. How far from the clip windows are sought, in seconds, and by which share of
# their length they follow one another.
NEAR = 60.0
STEP = 0.25
# Distance of the backgrounds, 0..1: .01-.03 between parts of a still shot, above .1 where the
# camera has turned to something else.
UNLIKE = 0.15

Span = tuple[float, float]  # (start, end), seconds


def free_span(
    clip: Span, shot: Span, actions: Iterable[Span], fps: float, margin: float = 0.5
) -> Optional[Span]:
    """Chooses the conjugate's span: as long as the clip, on the longer free side (a tie: before).

    It begins `margin` away from the clip, stays in the shot and touches no annotated action. If the
    side is shorter than the clip, all of it is taken, down to `MIN_FRAMES` frames.

    Args:
        clip: Span (start, end) of the clip in seconds, as all spans.
        shot: Span of the shot in which the clip lies.
        actions: Spans of all annotated actions of the video; may include the clip's own.
        fps: Frame rate of the video.
        margin: Seconds between the clip and its conjugate, since annotated borders are inexact.

    Returns:
        The span (start, end), or None if neither side has room.
    """
    start, end = clip
    low, high = between_actions(clip, actions)
    low, high = max(low, min(shot[0], start)), min(high, max(shot[1], end))
    before, after = start - margin - low, high - end - margin
    length = min(end - start, max(before, after))
    if length < _shortest(fps):
        return None
    # A tie may differ in its last bits.
    if before >= after - 1e-6:
        return start - margin - length, start - margin
    return end + margin, end + margin + length


def between_actions(clip: Span, actions: Iterable[Span]) -> Span:
    """Returns the span from the last action before a clip to the next one (or inf)."""
    start, end = clip
    low, high = 0.0, math.inf
    for action_start, action_end in actions:
        if action_start < start:
            low = max(low, min(action_end, start))
        if action_end > end:
            high = min(high, max(action_start, end))
    return low, high


def windows(
    clip: Span, shots: Iterable[Span], actions: Iterable[Span], fps: float, margin: float = 0.5
) -> list[Span]:
    """Lists all spans in `shots` that could be the conjugate; other arguments as `free_span`.

    Each is as long as the clip, and they are `STEP` of its length apart; if no free piece of the
    shots is that long, the longest piece is the only one (a tie: the first).
    """
    start, end = clip
    blocked = [*actions, (start - margin, end + margin)]
    pieces = [piece for shot in shots for piece in free_pieces(shot, blocked)]
    length = end - start
    if length < _shortest(fps):
        return []
    if not any(high - low >= length for low, high in pieces):
        longest = max(pieces, key=lambda piece: piece[1] - piece[0], default=(0.0, 0.0))
        return [longest] if longest[1] - longest[0] >= _shortest(fps) else []
    spans = []
    for low, high in pieces:
        count = math.floor((high - low - length) / (STEP * length) + 1e-6)
        for n in range(count + 1 if high - low >= length else 0):
            # Counted from the clip outwards: the nearest window lies a margin away.
            away = n * STEP * length
            begin = high - length - away if high <= start else low + away
            spans.append((begin, begin + length))
    return spans


def free_pieces(span: Span, blocked: Iterable[Span]) -> list[Span]:
    """Returns the pieces of a span that no blocked span covers, in order."""
    pieces = [span]
    for start, end in blocked:
        pieces = [
            piece
            for low, high in pieces
            for piece in ((low, min(high, start)), (max(low, end), high))
            if piece[0] < piece[1]
        ]
    return pieces


def most_alike(path: str, clip: Span, candidates: Iterable[Span]) -> Optional[Span]:
    """Returns the span whose background is most like the clip's; of equals the nearest.

    Likeness is compared to two decimals.

    The clip's background is the median over time of the colour histograms of 4 x 4 parts of the
    frame; a frame is as far from it as its middle part, so that an actor, who fills a few, changes
    little; a span, as the mean of its frames.

    Args:
        path: Video file.
        clip: Span (start, end) of the clip in seconds.
        candidates: Spans to choose from, see `windows`.

    Returns:
        One of the candidates, or None if all are farther than `UNLIKE`.

    Raises:
        UnreadableError: As for `shots.frames`.
    """
    candidates = list(candidates)
    if not candidates:
        return None
    spans = [clip, *candidates]
    low, high = min(start for start, _ in spans), max(end for _, end in spans)
    times, seen = [], []
    for frame, _ in shots.frames(path, low):
        if frame.time >= high:
            break
        times.append(frame.time)
        seen.append(frame.signature.astype(np.float16))
    times, seen = np.array(times), np.array(seen)

    def inside(span: Span) -> np.ndarray:
        return (span[0] <= times) & (times < span[1])

    if not inside(clip).any():
        return None
    background = np.median(seen[inside(clip)], axis=0)
    parts = np.abs(seen - background).reshape(len(seen), shots.GRID**2, -1).mean(axis=2)
    distances = np.median(parts, axis=1)  # of every frame
    ranked = []
    for span in candidates:
        distance = distances[inside(span)].mean() if inside(span).any() else math.inf
        away = max(clip[0] - span[1], span[0] - clip[1])
        if distance < UNLIKE:
            ranked.append((round(float(distance), 2), round(away, 3), span))
    return min(ranked)[2] if ranked else None


def _shortest(fps: float) -> float:
    """Returns the shortest conjugate in seconds; half a frame less, since spans are rounded."""
    return (MIN_FRAMES - 0.5) / fps
