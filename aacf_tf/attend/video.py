"""Shows where a model looks in a video: its frames, the action map, the context map."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Iterable

import av
import numpy as np
from av.error import FFmpegError

from aacf_tf.attend.scores import mean_scores, name_classes, print_scores
from aacf_tf.serving.prediction import Prediction
from aacf_tf.serving.predictor import Predictor
from aacf_tf.visualization import overlays
from tfrecords.media import pictures
from tfrecords.media.video import Video
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError
from tfrecords.utils.progress import progress

_LINES = 20  # windows that are printed
_PANEL_HEIGHT = 240  # pixels at least, so that the titles can be read


@dataclass
class Window:
    """A span of the video that goes through the model at once.

    Attributes:
        begin, end: Frame indices in the video, end exclusive.
        first: Index of the first sampled frame.
        prediction: Outputs for the span.
    """

    begin: int
    end: int
    first: int
    prediction: Prediction


def attend_video(
    predictor: Predictor, path: str, output: Path, start: float = 0.0, end: float | None = None
) -> list[Window]:
    """Writes the overlay of a video and prints its scores; returns its windows."""
    video = predictor.read(path, start, end)
    windows = look(predictor, video)
    score, multi_label = predictor.card.score, predictor.card.multi_label
    how = "one clip" if len(windows) == 1 else f"means over {len(windows)} windows"
    print(f"{path}: {len(video.frames) / video.fps:.1f} s, {how}; ranked by {score}")
    print_scores(mean_scores([window.prediction for window in windows]), score, multi_label)
    maps = display_maps(predictor, video, windows)
    frame = video.frames.shape[1:3]
    boxes = [overlays.find_boxes(predictor.spread(cells, frame)) for cells in maps[0][1]]
    _print_windows(video, windows, boxes)
    write_video(output, _draw(predictor, video, windows, maps, boxes), video.fps)
    print(f"overlay: {output}")
    return windows


def look(predictor: Predictor, video: Video) -> list[Window]:
    """Runs the model over windows that cover the video; the last one is shifted back to its end."""
    length = len(video.frames)
    span = max(1, round(predictor.frames * predictor.step(video.fps)))
    begins = list(range(0, max(length - span, 0) + 1, span))
    if begins[-1] + span < length:
        begins.append(length - span)
    windows = []
    for begin in progress(begins, desc="windows", unit="window", leave=False):
        end = min(begin + span, length)
        clip = Video(video.frames[begin:end], video.fps, video.times[begin:end])
        first = begin + int(predictor.sample(end - begin, video.fps)[0])
        windows.append(Window(begin, end, first, predictor.predict_clip(clip)))
    return windows


def display_maps(
    predictor: Predictor, video: Video, windows: list[Window]
) -> list[tuple[str, np.ndarray]]:
    """Lists the maps of the whole video, the action's first.

    Values are relative to the whole video, so a window without action is dark.

    Returns:
        Pairs of the title and the values, 0..1 `[frames, h, w]` on the grid of the map.
    """

    def join(maps: list[np.ndarray]) -> np.ndarray:
        joined = np.empty((len(video.frames), *maps[0].shape[1:]))
        step = predictor.step(video.fps)
        # From the last to the first: where two windows overlap, the earlier one is shown.
        for window, values in reversed(list(zip(windows, maps))):
            positions = (np.arange(window.begin, window.end) - window.first) / step
            moved = overlays.at_times(values, positions, predictor.centres[0])
            joined[window.begin : window.end] = moved
        return overlays.display(joined)

    # From the maps of each window to the windows of each map.
    named = zip(*(window.prediction.maps() for window in windows))
    return [(group[0][0], join([values for _, values in group])) for group in named]


def _draw(
    predictor: Predictor,
    video: Video,
    windows: list[Window],
    maps: list[tuple[str, np.ndarray]],
    boxes: list[list[tuple[int, int, int, int]]],
) -> Iterable[np.ndarray]:
    """Yields the frames of the overlay: uint8 `[height, width, 3]` with even sides."""
    height = max(_PANEL_HEIGHT, video.frames.shape[1])
    titles = [title for title, _ in maps]
    frames = progress(video.frames, desc="overlay", unit="frame", leave=False)
    for number, frame in enumerate(frames):
        window = next(window for window in windows if number < window.end)
        heats = [predictor.spread(heat[number], frame.shape[:2]) for _, heat in maps]
        picture = overlays.side_by_side(frame, heats, boxes[number], height)
        named = name_classes(window.prediction.probabilities, predictor.card.multi_label)
        picture = pictures.with_titles(picture, [named, *titles], 28)
        odd_rows, odd_columns = (side % 2 for side in picture.shape[:2])
        yield np.pad(picture, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Writes an mp4 under a temporary name, then renames it.

    Args:
        path: File to write.
        frames: Frames of one size, uint8 `[height, width, 3]` RGB, with even sides.
        fps: Frames a second.

    Raises:
        UserError: The file cannot be written.
    """
    # H.264 plays everywhere; a build of PyAV without x264 still has MPEG-4.
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    try:
        with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                stream.options = {"crf": "18", "preset": "veryfast"}
            else:
                stream.bit_rate = 4_000_000
            for number, image in enumerate(frames):
                if number == 0:
                    stream.height, stream.width = image.shape[:2]
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (OSError, FFmpegError) as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


def _print_windows(video: Video, windows: list[Window], boxes: list[list[tuple]]) -> None:
    """Prints a line for each window: its time, its class, and the largest boxes in its middle."""
    for window in windows[:_LINES]:
        middle = (window.begin + window.end) // 2
        prediction = window.prediction
        best = prediction.predicted
        text = f"{best} {prediction.probabilities[best]:.2f}"
        if prediction.action_evidence is not None:
            text += f", evidence {prediction.action_evidence:+.1f}"
        shown = [f"x {x1}-{x2} y {y1}-{y2}" for x1, y1, x2, y2 in boxes[middle][:3]]
        text += f"; at {video.times[middle]:.2f} s: {', '.join(shown) or 'no box'}"
        end = video.times[window.end - 1] + 1 / video.fps
        print(f"  {video.times[window.begin]:7.2f} - {end:.2f} s  {text}")
    if len(windows) > _LINES:
        print(f"  ... and {len(windows) - _LINES} windows more")
