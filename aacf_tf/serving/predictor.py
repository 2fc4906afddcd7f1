"""Loads an exported model for predictions in scripts and notebooks.

from aacf_tf import load
print(load("runs/mine/export/aacf").predict("some.mp4"))

A model of photographs is one whose clips have a single frame.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.serving import folders
from aacf_tf.serving.card import ModelCard
from aacf_tf.serving.export import MODEL_FILE, versions
from aacf_tf.serving.prediction import Prediction
from aacf_tf.visualization import overlays
from aacf_tf.weights.bundles import check_checkpoint
from tfrecords.media import timeline, video
from tfrecords.media.images import Photograph, read_image
from tfrecords.media.video import UnreadableError, Video
from tfrecords.reading.phases import frame_indices
from tfrecords.records.dataset import LABELS_FILE, load_labels
from tfrecords.utils.errors import UsageError, UserError, raise_if_machine
from tfrecords.utils.progress import progress

logger = logging.getLogger(__name__)

_MAPS = ("action_attention", "context_attention", "action_logits", "class_activation")


class Predictor:
    """An exported model; `load` returns one.

    Attributes:
        labels: Class names; the index in the list is the id.
        card: Content of model.json.
        kind: Kind of its files, `image` or `video`.
        frames, size: T, and (height, width) of the network's input.
        centres: Centres of a map's cells, `[t]`, `[h]` and `[w]`, in frames and pixels of the
            network's input, counted from the centre of the first one.
        short_side: Pixels to which the shorter side of larger frames is scaled down.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.labels = load_labels(directory / "assets" / LABELS_FILE)
        self.card = ModelCard.read(directory / "assets" / MODEL_FILE)
        try:
            check_checkpoint(directory / "variables" / "variables")
            self._saved = tf.saved_model.load(str(directory))
            self._serve = self._saved.signatures["serve_tensor"]
            self._check_outputs()
        except Exception as error:  # a damaged file sends TensorFlow into errors of every kind
            raise_if_machine(error, str(directory))
            reason = str(error).strip().splitlines() or [""]
            raise UserError(
                f"Expected a model exported by this project in {directory}, received one that "
                f"cannot be loaded ({type(error).__name__}: {reason[0]})."
            ) from error
        if self.card.modality != "rgb":
            raise UsageError(
                f"Expected a model of RGB frames in {directory}, received one of "
                f"{self.card.modality}: its signatures take the optical flow themselves."
            )
        self.frames, self.size = self.card.frames, (self.card.height, self.card.width)
        self.kind = "image" if self.frames == 1 else "video"
        self._axes = self.card.axes()
        self.centres = [start + stride * np.arange(size) for start, stride, size in self._axes]
        self.short_side = max(256, 2 * max(self.size))  # twice the input is enough to look at

    def _check_outputs(self) -> None:
        """Compares the card and the labels with what the model takes and returns."""
        card, returns = self.card, self._serve.structured_outputs
        takes = self._serve.structured_input_signature[1]
        for name in ("probabilities", f"{card.score}_probabilities"):
            if name not in returns or returns[name].shape[-1] not in (None, len(self.labels)):
                raise ValueError(
                    f"its {LABELS_FILE} names {len(self.labels)} classes and its {MODEL_FILE} the "
                    f"score {card.score}, but {name} is {returns.get(name, 'missing')}"
                )
        if card.modality == "rgb" and takes["frames"].shape[1] != card.frames:
            raise ValueError(f"{MODEL_FILE} says {card.frames} frames, but it takes {takes}")

    def place(self, frame: Sequence[int], grid: Sequence[int]) -> overlays.Place:
        """Returns where the cells of a map lie in a frame.

        Args:
            frame: Size (height, width) of the frame in pixels.
            grid: Rows and columns of the map.
        """
        if self.card.resize != "whole":
            return overlays.Place(self.size, self.centres, self.card.resize)
        scale = max(side / full for side, full in zip(self.size, frame))
        size = tuple(round(full * scale) for full in frame)
        axes = [(first, step, n) for (first, step, _), n in zip(self._axes[1:], grid)]
        centres = [self.centres[0], *(first + step * np.arange(n) for first, step, n in axes)]
        return overlays.Place(size, centres, self.card.resize)

    def spread(self, cells: np.ndarray, frame: Sequence[int]) -> np.ndarray:
        """Enlarges a map `[h, w]` to its frame (height, width), float32."""
        return self.place(frame, cells.shape).spread(cells, frame)

    def predict(
        self,
        path: str | Path | np.ndarray,
        start: float = 0.0,
        end: float | None = None,
        *,
        fps: float | None = None,
    ) -> Prediction:
        """Classifies a clip as the evaluation does: T whole frames from the centre of a video.

        Args:
            path: A video, or for a model of photographs an image; or its pixels, uint8
                `[T, H, W, 3]` or `[H, W, 3]`.
            start, end: Span of the video in seconds; end None: to its end.
            fps: Frames a second of an array `[T, H, W, 3]`; not with a file, which says so itself.

        Raises:
            UsageError: There is no such file, it is not of the model's kind, or the array is none
                of pixels.
            UserError: The file cannot be read.

        Examples:
            >>> predictor.predict(frames, fps=25)  # uint8 [T, H, W, 3]
            Prediction('': wave 0.93)
        """
        if self.kind == "image" and (start or end is not None):
            raise UsageError(
                f"Expected no start and end for {self.takes()}, received {start} and {end}."
            )
        if fps is not None and (self.kind == "image" or isinstance(path, (str, Path))):
            source = f" with {str(path)!r}" if isinstance(path, (str, Path)) else ""
            raise UsageError(
                f"Expected fps with the array of a video only, received {fps}{source}."
            )
        if not isinstance(path, (str, Path)):
            if self.kind == "image":
                return self.predict_image(path)
            return self.predict_clip(_to_clip(path, start, end, fps))
        if self.kind == "video":
            return self._predict_video(path, start, end)
        return self.predict_image(self.read_image(path).pixels, str(path))

    def predict_folder(
        self, folder: str | Path, start: float = 0.0, end: float | None = None
    ) -> list[Prediction]:
        """Classifies every file of the model's kind in a folder and its subfolders, by their names.

        A file that cannot be read is left out with a warning. From 20 files on the predictions say
        how far the context can be trusted, see `Prediction.reliable`.

        Args:
            folder: Folder of videos, or for a model of photographs of images.
            start, end: See `predict`.

        Raises:
            UsageError: There is no file of the model's kind.
            UserError: None of the files can be read.
        """
        paths = folders.find(folder, self.kind, f" for the model in {self.directory}")
        predictions = []
        for path in progress(paths, desc=Path(folder).name, unit=self.kind, leave=False):
            try:
                prediction = self.predict(path, start, end)
            except UnreadableError as error:
                logger.warning(f"left out: {error}")
                continue
            prediction.frames = None
            predictions.append(prediction)
        if not predictions:
            raise UserError(
                f"None of the {len(paths)} {self.kind}s in {str(folder)!r} can be read."
            )
        if self.card.context_learns and not self.card.multi_label:
            folders.add_reliability(predictions)
        return predictions

    def _predict_video(self, path: str | Path, start: float, end: float | None) -> Prediction:
        """Classifies the clip at the centre of a span, with only that clip in memory.

        Headers of videos are unreliable, so the span is decoded once for the times of its frames.
        """
        times, fps, nominal = self.measure(path, start, end)
        # As `read` and `sample` would, so these are the frames that the evaluation takes.
        even = timeline.sample_index(times, fps, fps)
        wanted = times[even[self.sample(len(even), fps)]]
        # One frame more on both sides, since seeking may be off by one; a span takes frames by the
        # middle of their time.
        first, last = wanted[0] - 1 / fps, wanted[-1] + 1 / fps + 0.5 / nominal
        clip = video.read_span(str(path), max(start, first), last, self.short_side)
        nearest = np.abs(clip.times[:, None] - wanted).argmin(axis=0)
        return self.predict_sampled(Video(clip.frames[nearest], fps, wanted), str(path))

    def measure(
        self, path: str | Path, start: float = 0.0, end: float | None = None
    ) -> tuple[np.ndarray, float, float]:
        """Returns a span's frame times in seconds, their measured and their nominal rate.

        Raises:
            UsageError: There is no such file, or it is an image.
            UnreadableError: The file cannot be read, or no frame lies in the span.
        """
        self._check_file(path, start, end)
        times = []
        rate = video.DEFAULT_RATE
        for time, rate, _ in video.decode(str(path), start):
            middle = time + 0.5 / rate
            if end is not None and middle >= end:
                break
            if middle >= start:
                times.append(time)
        if not times:
            until = "" if end is None else f"{end:g}"
            raise UnreadableError(str(path), f"no frame lies in the span [{start:g}, {until}) s")
        return np.array(times), timeline.measure_rate(np.array(times), rate), rate

    def read(self, path: str | Path, start: float = 0.0, end: float | None = None) -> Video:
        """Decodes a span of a video into memory, see `predict`.

        Raises:
            UsageError: There is no such file, or it is an image.
            UnreadableError: The file cannot be read, or its frames take more than
                `tfrecords.media.video.MAX_CLIP_BYTES`.
        """
        self._check_file(path, start, end)
        return video.read_frames(str(path), start, end, self.short_side)

    def read_image(self, path: str | Path) -> Photograph:
        """Decodes a photograph as a viewer shows it; large ones are scaled down.

        Raises:
            UsageError: There is no such file, or it is a video.
            UnreadableError: The file cannot be read.
        """
        self._check_file(path)
        return read_image(str(path), self.short_side)

    def _check_file(self, path: str | Path, start: float = 0.0, end: float | None = None) -> None:
        timeline.check_span(start, end)
        (other,) = {*folders.SUFFIXES} - {self.kind}
        if Path(path).suffix.lower() in folders.SUFFIXES[other]:
            raise UsageError(f"Expected {self.takes()}, received the {other} {str(path)!r}.")
        if Path(path).is_dir():
            raise UsageError(
                f"Expected {self.takes()}, received the folder {str(path)!r}: predict_folder and "
                f"--input take folders of {self.kind}s. "
                f"{folders.FRAMES if self.kind == 'video' else ''}"
            )
        if not Path(path).is_file():
            raise UsageError(f"No such file: {str(path)!r}.")

    def takes(self) -> str:
        """Describes the expected input, for errors."""
        if self.kind == "image":
            return f"an image for the model in {self.directory}"
        return (
            f"a video for the model in {self.directory}, which sees clips of {self.frames} frames"
        )

    def step(self, fps: float) -> float:
        """Returns the frames of a video at `fps` from one sampled frame to the next."""
        return fps / self.card.fps if self.card.fps else 1.0

    def sample(self, length: int, fps: float) -> np.ndarray:
        """Samples the frames of a clip as the reader does in evaluation: indices, int `[T]`."""
        step = tf.constant(self.step(fps), tf.float32)
        return frame_indices(tf.constant(length), self.frames, step, None).numpy()

    def predict_clip(self, clip: Video, name: str = "") -> Prediction:
        """Classifies a decoded clip.

        Args:
            clip: Frames, uint8 `[T, H, W, 3]`, their rate and their times; T is 1 or more.
            name: Name in the prediction, default none.

        Raises:
            UsageError: The clip is of another type or shape; floats are not guessed the range of.
        """
        if not isinstance(clip, Video):
            kind = type(clip).__name__
            raise UsageError(f"Expected a Video(frames, fps, times), received {kind}.")
        _check_pixels(clip.frames, "[T, H, W, 3]")
        if not 0 < clip.fps < np.inf:
            raise UsageError(f"Expected a clip with a rate above 0 frames/s, received {clip.fps}.")
        if np.shape(clip.times) != (len(clip.frames),):
            raise UsageError(
                f"Expected a time for each of the clip's {len(clip.frames)} frames, received times "
                f"of shape {np.shape(clip.times)}."
            )
        indices = self.sample(len(clip.frames), clip.fps)
        sampled = Video(clip.frames[indices], clip.fps, np.asarray(clip.times)[indices])
        return self.predict_sampled(sampled, name)

    def predict_image(self, pixels: np.ndarray, name: str = "") -> Prediction:
        """Classifies a decoded photograph.

        Args:
            pixels: Photograph, uint8 `[H, W, 3]`.
            name: Name in the prediction, default none.

        Raises:
            UsageError: As `predict_clip`, or the model is one of videos.
        """
        if self.kind != "image":
            raise UsageError(f"Expected {self.takes()}, received a photograph.")
        _check_pixels(pixels, "[H, W, 3]")
        return self.predict_sampled(Video(pixels[None], 1.0, np.zeros(1)), name)

    def predict_sampled(self, clip: Video, name: str = "") -> Prediction:
        """Classifies T frames that `sample` has chosen; `clip.fps` is the rate before sampling."""
        frames = clip.frames
        outputs = {key: value.numpy()[0] for key, value in self._serve(frames=frames[None]).items()}
        scores = {
            score: self._by_class(outputs[f"{score}_probabilities"])
            for score in SCORES
            if f"{score}_probabilities" in outputs
        }
        maps = {name: outputs.get(name) for name in _MAPS}
        evidence = outputs.get("action_evidence")
        grid = overlays.map_logits(maps)[0][1].shape[1:]
        return Prediction(
            file=name,
            predicted=self.labels[int(outputs["probabilities"].argmax())],
            probabilities=self._by_class(outputs["probabilities"]),
            frames=frames,
            times=clip.times,
            fps=clip.fps / self.step(clip.fps) if self.kind == "video" else clip.fps,
            action_evidence=None if evidence is None else float(evidence),
            place=self.place(frames.shape[1:3], grid),
            **scores,
            **maps,
        )

    def _by_class(self, values: np.ndarray) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self.labels, values)}


def _check_pixels(values: np.ndarray, shape: str) -> None:
    """Refuses what TensorFlow would take without a word: floats in 0..1 become black."""
    found = list(values.shape) if isinstance(values, np.ndarray) else []
    kind = values.dtype.name if isinstance(values, np.ndarray) else type(values).__name__
    if kind != "uint8" or len(found) != shape.count(",") + 1 or found[-1] != 3 or 0 in found:
        hint = "; np.rint(255 * x).astype(np.uint8) makes it of 0..1" if "float" in kind else ""
        raise UsageError(f"Expected pixels 0..255, uint8 {shape}, received {kind} {found}{hint}.")


def _to_clip(frames: Any, start: float, end: float | None, fps: float | None) -> Video:
    """Returns the span of an array as a clip; a frame belongs to it by the middle of its time."""
    _check_pixels(frames, "[T, H, W, 3]")
    timeline.check_span(start, end)
    if fps is None or not 0 < fps < np.inf:
        raise UsageError(f"Expected fps=, the frames a second of the array, received {fps}.")
    times = np.arange(len(frames)) / fps
    middles = times + 0.5 / fps
    chosen = (middles >= start) & (middles < (np.inf if end is None else end))
    if not chosen.any():
        raise UsageError(
            f"Expected a span within the {len(frames) / fps:g} s of the array, received {start:g} "
            f"to {end}."
        )
    return Video(frames[chosen], fps, times[chosen])


def load(path: str | Path) -> Predictor:
    """Loads an exported model.

    Args:
        path: Folder of versions, such as `runs/mine/export/aacf`, of which the highest is loaded,
            or a version itself.

    Raises:
        UsageError: There is no exported model.
        UserError: The model cannot be loaded.

    Examples:
        >>> load("runs/mine/export/aacf").predict("some.mp4").predicted
        'wave'
    """
    directory = Path(path)
    if not (directory / "saved_model.pb").is_file():
        directory = directory / str(max(versions(directory), default=""))
    if not (directory / "saved_model.pb").is_file():
        raise UsageError(
            f"Expected an exported model such as WORKDIR/export/aacf, received {str(path)!r}, "
            "which holds none."
        )
    if not (directory / "assets" / LABELS_FILE).is_file():
        raise UsageError(
            "Expected an exported model of actions such as WORKDIR/export/aacf, received "
            f"{directory}, which has no assets/{LABELS_FILE}."
        )
    return Predictor(directory)
