"""Another span of the same shot, before or after the action: the real form of a conjugate."""

from __future__ import annotations

from typing import Iterable, Optional

# A free side with fewer frames is no conjugate: the clip is kept without one, and counted.
MIN_FRAMES = 4


def free_span(
    clip: tuple[float, float],
    shot: tuple[float, float],
    actions: Iterable[tuple[float, float]],
    fps: float,
    margin: float = 0.5,
) -> Optional[tuple[float, float]]:
    """Chooses the conjugate's span: as long as the clip, on the longer free side (a tie: before).

    It begins `margin` away from the clip, stays in the shot and touches no annotated action. Where
    the side is shorter than the clip, all of it is taken, down to `MIN_FRAMES` frames.

    Args:
        clip: (start, end) of the clip, seconds; so are all spans.
        shot: the shot the clip lies in.
        actions: spans of all annotated actions of the video; the clip's own may be among them.
        fps: frames/s of the video.
        margin: seconds between the clip and its conjugate, since annotated borders are not exact.

    Returns:
        (start, end), or None where neither side has room.
    """
    start, end = clip
    low, high = min(shot[0], start), max(shot[1], end)
    for action_start, action_end in actions:
        if action_start < start:
            low = max(low, min(action_end, start))
        if action_end > end:
            high = min(high, max(action_start, end))
    before, after = start - margin - low, high - end - margin
    length = min(end - start, max(before, after))
    # Half a frame, since spans are rounded by whoever wrote them.
    if length < (MIN_FRAMES - 0.5) / fps:
        return None
    # A tie may differ in its last bits.
    if before >= after - 1e-6:
        return start - margin - length, start - margin
    return end + margin, end + margin + length
