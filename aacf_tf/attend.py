"""Shows where a trained model looks in a video of your own, and what it takes the action for.

    python -m aacf_tf.attend --model=runs/mine/export/aacf --video=some.mp4 --output=out.mp4
    python -m aacf_tf.attend --model=runs/mine/export/aacf --input=folder --output=predictions.csv

A video: beside each other the frames, the action map (with boxes) and the context map over them;
class scores on the terminal. What is longer than the model's clip is covered by windows one after
another; the scores are then means over the windows.
A folder: one line a video, scores of the clip at its centre, as in the evaluation.

The overlay needs what it shows in memory, twice, up to 4 GiB each: with frames of 256 x 455 pixels
that is 8 minutes at 25 frames a second. `--start` and `--end` choose the part of a longer video.
A folder's videos may have any length: only their centre is held.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Sequence

from absl import flags

from tfrecords import commandline
from tfrecords.errors import UsageError, UserError
from tfrecords.files import replacing
from tfrecords.progress import progress

if TYPE_CHECKING:
    import numpy as np

    from aacf_tf.prediction import Prediction, Predictor
    from tfrecords.video import Video

BOX_HEAT = 0.5  # a box is drawn around what the display shows above this
_MIN_BOX = 0.002  # share of the frame; less is a speck
_LINES = 20  # windows that are printed
_PANEL_HEIGHT = 240  # pixels at least, so that the titles can be read


@dataclass
class Window:
    """A stretch of the video that went through the model at once.

    Attributes:
        begin, end: frames of the video, end exclusive.
        first: the first frame that was sampled.
        prediction: the outputs.
    """

    begin: int
    end: int
    first: int
    prediction: Prediction


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; in a function, since every command has its own `--output`."""
    text = partial(flags.DEFINE_string, flag_values=values)
    text("model", None, "Exported model, such as runs/mine/export/aacf.")
    text("video", None, "The video to look at.")
    text("input", None, "A folder of videos, instead of --video.")
    text(
        "output",
        None,
        "The .mp4 of --video (else NAME_attention.mp4 here), or the .csv of --input (else "
        "predictions.csv here).",
    )
    seconds = partial(flags.DEFINE_float, flag_values=values)
    seconds("start", 0.0, "Seconds of the video to start at.")
    seconds("end", None, "Seconds of the video to end at; else its end.")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """The command; see the module's docstring."""
    output = _check(arguments, values)

    from aacf_tf.prediction import load  # starts TensorFlow; wrong flags were answered before

    predictor = load(values.model)
    if values.video:
        attend_video(predictor, values.video, output, values.start, values.end)
        return
    predictions = predictor.predict(values.input, values.start, values.end)
    write_table(predictions, output)
    print(f"{len(predictions)} videos: {output}")
    if predictions[0].context_trust is not None:
        print(
            f"The context can be trusted by {predictions[0].context_trust:.2f} (0 to 1) in these "
            "videos; the reliable_ columns count it so far."
        )


def _check(arguments: Sequence[str], values: flags.FlagValues) -> Path:
    """Refuses what cannot be done; returns what to write."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if not values.model:
        raise UsageError(
            "--model: expected an exported model such as runs/mine/export/aacf, received none."
        )
    if not Path(values.model).is_dir():
        raise UsageError(f"--model: expected a folder, received {values.model!r}: there is none.")
    if bool(values.video) == bool(values.input):
        raise UsageError("Expected one of --video=FILE and --input=FOLDER.")
    wanted = ".mp4" if values.video else ".csv"
    name = f"{Path(values.video).stem}_attention.mp4" if values.video else "predictions.csv"
    output = Path(values.output or name)
    if output.suffix.lower() != wanted:
        raise UsageError(f"--output: expected a name that ends in {wanted}, received {output}.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output: expected a name in a folder that exists, received {output}.")
    if values.video and not Path(values.video).is_file():
        raise UsageError(f"--video: expected a file, received {values.video!r}: there is none.")
    if values.input and not Path(values.input).is_dir():
        raise UsageError(f"--input: expected a folder, received {values.input!r}.")
    if values.video and output.exists() and output.samefile(values.video):
        raise UsageError(f"--output: expected another file than --video, received {output}.")
    if values.start < 0:
        raise UsageError(f"--start: expected 0 or more seconds, received {values.start}.")
    if values.end is not None and values.end <= values.start:
        raise UsageError(
            f"--end: expected more than --start={values.start}, received {values.end}."
        )
    return output


# ---- one video ----------------------------------------------------------------------------------


def attend_video(
    predictor: Predictor, path: str, output: Path, start: float = 0.0, end: float | None = None
) -> list[Window]:
    """Writes the overlay of a video and prints its scores; returns its windows."""
    video = predictor.read(path, start, end)
    windows = look(predictor, video)
    _print_scores(predictor, path, video, windows)
    maps = display_maps(predictor, video, windows)
    boxes = find_boxes(maps[0][1], predictor, video.frames.shape[1:3]) if maps else []
    _print_windows(video, windows, boxes)
    write_video(output, _draw(predictor, video, windows, maps, boxes), video.fps)
    print(f"overlay: {output}")
    return windows


def look(predictor: Predictor, video: Video) -> list[Window]:
    """Runs the model over windows that cover the video, the last one shifted back to its end."""
    from tfrecords.video import Video

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
    """(title, values 0..1 `[frames, h, w]` on the grid) of every map there is, the action's first.

    What is shown is relative to the whole video: a window with no action is dark.
    """
    import numpy as np

    from aacf_tf import overlays

    def join(maps: list[np.ndarray]) -> np.ndarray:
        joined = np.empty((len(video.frames), *maps[0].shape[1:]))
        step = predictor.step(video.fps)
        # From the last to the first: where two windows overlap, the earlier one is shown.
        for window, values in reversed(list(zip(windows, maps))):
            positions = (np.arange(window.begin, window.end) - window.first) / step
            values = overlays.at_times(values, positions, predictor.centres[0])
            joined[window.begin : window.end] = values
        return overlays.display(joined)

    predictions = [window.prediction for window in windows]
    if predictions[0].action_logits is None:
        return [("class activation", join([p.class_activation for p in predictions]))]
    shown = [("action", join([p.action_logits for p in predictions]))]
    if predictions[0].context_attention is not None:
        # The logarithm of an attention map is its logits, but for a constant of each window.
        context = [np.log(np.maximum(p.context_attention, 1e-30)) for p in predictions]
        shown.append(("context", join(context)))
    return shown


def find_boxes(
    heat: np.ndarray, predictor: Predictor, frame: tuple[int, int]
) -> list[list[tuple[int, int, int, int]]]:
    """Boxes around the connected regions of a map above `BOX_HEAT`, for each frame.

    Args:
        heat: `[frames, h, w]`, 0..1, on the grid.
        predictor: whose sizes place the grid.
        frame: (height, width) of the video, pixels.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive, the largest box first.
    """
    import numpy as np
    import tensorflow_addons as tfa

    found = []
    for cells in heat:
        hot = _in_space(cells, predictor, frame) > BOX_HEAT
        regions = tfa.image.connected_components(hot).numpy()
        boxes = []
        for region in range(1, regions.max() + 1):
            rows, columns = np.nonzero(regions == region)
            if len(rows) >= _MIN_BOX * hot.size:
                corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                boxes.append((len(rows), tuple(int(corner) for corner in corners)))
        found.append([box for _, box in sorted(boxes, reverse=True)])
    return found


def _in_space(cells: np.ndarray, predictor: Predictor, frame: tuple[int, int]) -> np.ndarray:
    from aacf_tf import overlays

    size, centres = predictor.seen(frame, cells.shape)
    return overlays.in_space(cells, frame, size, centres, predictor.description["resize"])


def _draw(
    predictor: Predictor,
    video: Video,
    windows: list[Window],
    maps: list[tuple[str, np.ndarray]],
    boxes: list[list[tuple[int, int, int, int]]],
) -> Iterable[np.ndarray]:
    """Yields the frames of the overlay video: uint8 `[height, width, 3]`, sides even."""
    import numpy as np

    from aacf_tf import overlays

    height = max(_PANEL_HEIGHT, video.frames.shape[1])
    scale = height / video.frames.shape[1]
    colors = (overlays.ACTION_COLORS, overlays.CONTEXT_COLORS)
    titles, bar, shown = ["video", *(title for title, _ in maps)], None, None
    frames = progress(video.frames, desc="overlay", unit="frame", leave=False)
    for number, frame in enumerate(frames):
        window = next(window for window in windows if number < window.end)
        image = overlays.enlarge(frame, height)
        panels = [image]
        for place, (_, heat) in enumerate(maps):
            spread = overlays.enlarge(_in_space(heat[number], predictor, frame.shape[:2]), height)
            panels.append(overlays.tint(image, spread, colors[place]))
        for box in boxes[number]:
            overlays.draw_box(panels[1], [round(scale * side) for side in box])
        picture = np.concatenate(panels, axis=1)
        if window is not shown:
            best = window.prediction.predicted
            titles[0] = f"{best} {window.prediction.probabilities[best]:.2f}"
            bar, shown = overlays.text_bar(picture.shape[1], 28, titles), window
        picture = np.concatenate([bar, picture])
        odd_rows, odd_columns = (side % 2 for side in picture.shape[:2])
        yield np.pad(picture, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Writes an mp4 under a temporary name, then renames it.

    Args:
        path: of the file.
        frames: uint8 `[height, width, 3]` RGB, of one size, sides even.
        fps: frames a second.

    Raises:
        UserError: it cannot be written there.
    """
    import av

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
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


# ---- what is printed ----------------------------------------------------------------------------


def mean_scores(windows: list[Window]) -> dict[str, dict[str, float]]:
    """Score -> class -> probability, averaged over the windows; the scores that the head has."""
    from aacf_tf.metrics import SCORES

    means = {}
    for score in SCORES:
        rows = [getattr(window.prediction, score) for window in windows]
        if rows[0] is not None:
            means[score] = {k: sum(row[k] for row in rows) / len(rows) for k in rows[0]}
    return means


def _print_scores(predictor: Predictor, path: str, video: Video, windows: list[Window]) -> None:
    scores = mean_scores(windows)
    own = predictor.description["score"]
    ranked = sorted(scores[own], key=scores[own].get, reverse=True)
    how = "one clip" if len(windows) == 1 else f"means over {len(windows)} windows"
    print(f"{path}: {len(video.frames) / video.fps:.1f} s, {how}; ranked by {own}")
    width = max(len(label) for label in [*ranked[:5], "class"])
    print(f"  {'class':{width}}  " + "  ".join(f"{score:>8}" for score in scores))
    for label in ranked[:5]:
        row = "  ".join(f"{values[label]:8.3f}" for values in scores.values())
        print(f"  {label:{width}}  {row}")


def _print_windows(video: Video, windows: list[Window], boxes: list[list[tuple]]) -> None:
    """One line a window: when, what, and the largest box in its middle."""
    for window in windows[:_LINES]:
        middle = (window.begin + window.end) // 2
        prediction = window.prediction
        best = prediction.predicted
        text = f"{best} {prediction.probabilities[best]:.2f}"
        if prediction.action_evidence is not None:
            text += f", evidence {prediction.action_evidence:+.1f}"
        places = [f"x {x1}-{x2} y {y1}-{y2}" for x1, y1, x2, y2 in boxes[middle][:3]]
        text += f"; at {video.times[middle]:.2f} s: {', '.join(places) or 'no box'}"
        end = video.times[window.end - 1] + 1 / video.fps
        print(f"  {video.times[window.begin]:7.2f} - {end:.2f} s  {text}")
    if len(windows) > _LINES:
        print(f"  ... and {len(windows) - _LINES} windows more")


# ---- a folder -----------------------------------------------------------------------------------


def write_table(predictions: Sequence[Prediction], path: Path) -> None:
    """Writes video, predicted class and the probabilities by every score as a csv, atomically."""
    from aacf_tf.metrics import SCORES

    first = predictions[0]
    scores = [score for score in (*SCORES, "reliable") if getattr(first, score) is not None]
    header: list[Any] = ["video", "predicted"]
    header += [f"{score}_{label}" for score in scores for label in first.probabilities]
    try:
        with (
            replacing(path) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for prediction in predictions:
                rows = (getattr(prediction, score).values() for score in scores)
                values = [f"{value:.6f}" for row in rows for value in row]
                writer.writerow([Path(prediction.video).name, prediction.predicted, *values])
    except OSError as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
