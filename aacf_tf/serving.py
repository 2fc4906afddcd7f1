"""The served model: a SavedModel with everything inside, and a client of it for scripts.

    DIR/<version>/saved_model.pb, variables/
    DIR/<version>/assets/labels.txt          one class a line, the first line is id 0
    DIR/<version>/assets/model.json          sizes, rates, names, versions (`_describe`)
    DIR/<version>/assets.extra/tf_serving_warmup_requests

    signature        input                                      output
    serving_default  frames   string [batch, T], JPEG or PNG    the scores and maps
    serve_tensor     frames   uint8 [batch, T, H, W, 3]         the same
    serve_examples   examples string [batch], SequenceExample   the same
    features         frames   uint8 [batch, T, H, W, 3]         features, action, context

The scores and maps: `probabilities` (of the score the recipe names), `action_probabilities`,
`context_probabilities`, `combined_probabilities` `[batch, C]`; `action_attention`,
`context_attention`, `action_logits` `[batch, t, h, w]`; `action_evidence` `[batch]`, how much more
than nothing speaks for an action (logsumexp of the logits - log N). A head without factors has
`probabilities` and `combined_probabilities`, and `class_activation` `[batch, t, h, w]`.

T is the recipe's; batch, H and W are free. Resizing and scaling are inside, by the very function
that training uses; only operations of core TensorFlow are there, and no code of ours is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from aacf_tf.losses import presence_score
from aacf_tf.metrics import MIN_CLIPS_FOR_RELIABILITY, SCORES, context_reliability
from aacf_tf.model import ActionModel
from aacf_tf.recipes import Recipe
from tfrecords import schema, video
from tfrecords.dataset import LABELS_FILE, load_labels
from tfrecords.errors import UsageError, UserError
from tfrecords.preprocess import preprocess
from tfrecords.reader import frame_indices
from tfrecords.video import UnreadableError, Video

MODEL_FILE = "model.json"
WARMUP_FILE = "tf_serving_warmup_requests"
VIDEO_SUFFIXES = {".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}

Tensors = dict  # name -> tf.Tensor


# ---- export -------------------------------------------------------------------------------------


def export(
    model: ActionModel,
    recipe: Recipe,
    labels: list[str],
    directory: Path,
    *,
    multi_label: bool = False,
    digest: str = "",
) -> Path:
    """Writes the next version of a SavedModel, whole or not at all.

    Args:
        model: in float32, with its variables.
        recipe: whose frame count, size and score the model was trained with.
        labels: of the real classes; where the model has one class more, for clips with no action,
            that one takes part in the softmax and is left out of the probabilities, which then
            fall short of 1 by its share.
        directory: of the versions, such as WORKDIR/export/aacf.
        multi_label: probabilities of each class by itself (sigmoid), instead of the softmax.
        digest: of the training data, noted in model.json.

    Returns:
        the directory of the version: the highest that was there, plus 1.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    version = max(_versions(directory), default=0) + 1
    # ModelServer takes numbers for versions, and only numbers.
    temporary = directory / f"{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    signatures = _signatures(model, recipe, len(labels), multi_label)
    module = tf.Module()
    # The variables alone, not the Keras objects: what is loaded then needs neither Keras nor us.
    module.weights = [*model.backbone.variables, *model.head.variables]
    tf.saved_model.save(module, str(temporary), signatures=signatures)
    assets = temporary / "assets"
    assets.mkdir(exist_ok=True)
    text = "".join(label + "\n" for label in labels)
    (assets / LABELS_FILE).write_text(text, encoding="utf-8")
    description = _describe(model, recipe, multi_label, digest)
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (assets / MODEL_FILE).write_text(text, encoding="utf-8")
    _write_warmup(temporary / "assets.extra", recipe)
    final = directory / str(version)
    os.replace(temporary, final)
    return final


def _signatures(
    model: ActionModel, recipe: Recipe, classes: int, multi_label: bool
) -> dict[str, Callable]:
    """Name -> tf.function with its input fixed."""
    data = recipe.data
    size, frames = (data.height, data.width), data.frames
    pixels = tf.TensorSpec([None, frames, None, None, 3], tf.uint8, name="frames")

    def serve(clips: tf.Tensor) -> Tensors:
        outputs = model(clips, training=False)
        return _outputs(outputs, recipe.score, classes, multi_label)

    def decode_frame(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, 3, expand_animations=False)
        return preprocess(tf.ensure_shape(image, [None, None, 3]), size, data.resize)

    def serve_encoded(encoded: tf.Tensor) -> Tensors:
        # Frame by frame: the clips of a batch need not be of one size.
        clips = tf.map_fn(
            decode_frame,
            tf.reshape(encoded, [-1]),
            fn_output_signature=tf.TensorSpec([*size, 3], tf.uint8),
        )
        return serve(tf.reshape(clips, [-1, frames, *size, 3]))

    def sample_example(serialized: tf.Tensor) -> tf.Tensor:
        record = schema.parse(serialized, masks=False)
        step = record["fps"] / data.fps if data.fps else tf.constant(1.0)
        indices = frame_indices(tf.size(record["clip"]), frames, step, None)
        return tf.gather(record["clip"], indices)

    @tf.function(input_signature=[tf.TensorSpec([None, frames], tf.string, name="frames")])
    def serving_default(frames: tf.Tensor) -> Tensors:
        return serve_encoded(frames)

    @tf.function(input_signature=[pixels])
    def serve_tensor(frames: tf.Tensor) -> Tensors:
        return serve(preprocess(frames, size, data.resize))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(examples: tf.Tensor) -> Tensors:
        spec = tf.TensorSpec([frames], tf.string)
        return serve_encoded(tf.map_fn(sample_example, examples, fn_output_signature=spec))

    @tf.function(input_signature=[pixels])
    def features(frames: tf.Tensor) -> Tensors:
        clips = preprocess(frames, size, data.resize)
        found = tf.cast(model.backbone(clips, training=False), tf.float32)
        factors = model.head(found, training=False)
        kept = {name: factors[name] for name in ("action", "context") if name in factors}
        return {"features": found, **kept}

    functions = (serving_default, serve_tensor, serve_examples, features)
    names = ("serving_default", "serve_tensor", "serve_examples", "features")
    return dict(zip(names, functions))


def _outputs(outputs: Tensors, score: str, classes: int, multi_label: bool) -> Tensors:
    """A model's outputs -> what the signatures return."""
    activate = tf.sigmoid if multi_label else tf.nn.softmax
    served = {}
    for name in SCORES:
        if f"{name}_scores" in outputs:
            probabilities = activate(outputs[f"{name}_scores"])
            served[f"{name}_probabilities"] = probabilities[:, :classes]
    chosen = served.get(f"{score}_probabilities", served["combined_probabilities"])
    served["probabilities"] = tf.identity(chosen)
    for name in ("action_attention", "context_attention", "action_logits", "class_activation"):
        if name in outputs:
            served[name] = outputs[name]
    if "action_logits" in outputs:
        served["action_evidence"] = presence_score(outputs["action_logits"])
    return served


def _describe(model: ActionModel, recipe: Recipe, multi_label: bool, digest: str) -> dict[str, Any]:
    """The content of model.json."""
    data = recipe.data
    return {
        "recipe": recipe.name,
        "frames": data.frames,
        "fps": data.fps,  # frames a second; 0: every frame of the video
        "height": data.height,
        "width": data.width,
        "resize": data.resize,
        "scaling": "inside: pixels 0..255 go in",
        "backbone": recipe.backbone,
        "strides": list(model.strides()),  # frames and pixels a cell: time, height, width
        "head": "aacf" if model.factorizes else recipe.head,
        "score": recipe.score if model.factorizes else "combined",
        "multi_label": multi_label,
        # False: no pair to learn from, the context scores mean nothing
        "context_learns": model.factorizes and model.head.context_learns,
        "versions": {"tensorflow": tf.__version__, "keras": metadata.version("keras")},
        "digest": digest,
    }


def _write_warmup(folder: Path, recipe: Recipe) -> None:
    """One request for each signature: ModelServer runs them before it answers the first user."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        print(
            "Warm-up requests for TensorFlow Serving are left out; "
            "pip install tensorflow-serving-api==2.15.1 adds them to the next export."
        )
        return
    data = recipe.data
    gray = np.full([1, data.frames, data.height, data.width, 3], 127, np.uint8)
    encoded = tf.io.encode_jpeg(gray[0, 0]).numpy()
    record = schema.encode(schema.ClipPair("warm-up", gray[0], None, ()), {})
    requests = {
        "serving_default": {"frames": np.array([[encoded] * data.frames])},
        "serve_tensor": {"frames": gray},
        "serve_examples": {"examples": np.array([record])},
        "features": {"frames": gray},
    }
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "aacf"
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def _versions(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return [int(path.name) for path in directory.iterdir() if path.name.isdigit()]


# ---- use ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Prediction:
    """What the model says about one clip.

    Attributes:
        video: the file, as it was named.
        predicted: the best class by the model's own score.
        probabilities: class -> probability, of the score that the model's recipe names.
        action, context, combined: class -> probability by each score; None: the head lacks it.
        reliable: class -> probability, given that there is an action, where the context counts as
            far as it can be trusted, `context_trust` in 0..1 (see
            `aacf_tf.metrics.context_reliability`); from a folder of 20 or more videos.
        action_attention, context_attention, action_logits: `[t, h, w]`, or None.
        class_activation: `[t, h, w]` of a head without factors, else None.
        action_evidence: above 0 where an action is likely there; None: the head lacks it.
        frames: uint8 `[T, H, W, 3]`, those that went in (large ones scaled down); None in the
            predictions of a folder, which would fill the memory.
        times: float `[T]`, their seconds in the file.
        fps: frames a second they were sampled at.
    """

    video: str
    predicted: str
    probabilities: dict[str, float]
    frames: np.ndarray | None
    times: np.ndarray
    fps: float
    action: dict[str, float] | None = None
    context: dict[str, float] | None = None
    combined: dict[str, float] | None = None
    reliable: dict[str, float] | None = None
    context_trust: float | None = None
    action_attention: np.ndarray | None = None
    context_attention: np.ndarray | None = None
    action_logits: np.ndarray | None = None
    class_activation: np.ndarray | None = None
    action_evidence: float | None = None

    def __repr__(self) -> str:
        probability = self.probabilities[self.predicted]
        return f"Prediction({self.video!r}: {self.predicted} {probability:.2f})"


class Predictor:
    """A served model, for scripts and notebooks; `load` makes one.

    Attributes:
        labels: class names; the place in the list is the id.
        description: the content of model.json.
        frames, size: T, and (height, width) of the network's input.
        short_side: pixels to which the shorter side of larger frames is scaled down.
    """

    def __init__(self, directory: Path):
        assets = directory / "assets"
        self.labels = load_labels(assets / LABELS_FILE)
        try:
            self.description = json.loads((assets / MODEL_FILE).read_text(encoding="utf-8"))
            self._saved = tf.saved_model.load(str(directory))
            self._serve = self._saved.signatures["serve_tensor"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(
                f"Expected a model exported by this project in {directory}, received one that "
                f"cannot be loaded ({type(error).__name__})."
            ) from error
        self.frames: int = self.description["frames"]
        self.size: tuple[int, int] = (self.description["height"], self.description["width"])
        # Larger frames are scaled down: twice what the network needs is enough to look at.
        self.short_side = max(256, 2 * max(self.size))

    def predict(
        self, path: str | Path, start: float = 0.0, end: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classifies a clip as the evaluation does: T frames from its centre, the whole frame.

        Args:
            path: a video, or a folder: then all videos in it, in the order of their names; those
                that cannot be read are left out with a line that says why.
            start, end: seconds of the file; end None: to the end of it.

        Raises:
            UsageError: there is no such file, or no video in the folder.
            UserError: the video, or every one in the folder, cannot be read.
        """
        if Path(path).is_dir():
            return self._predict_folder(Path(path), start, end)
        return self._predict_video(path, start, end)

    def _predict_video(self, path: str | Path, start: float, end: float | None) -> Prediction:
        """Holds the clip at the centre alone in memory, however long the video is.

        Where the centre is only decoding tells, since headers lie: the whole span is decoded, but
        kept are the times of its frames.
        """
        times, fps, nominal = self._timeline(path, start, end)
        # As `read` and `sample`: the very frames that the evaluation would take.
        even = video.sample_index(times, fps, fps)
        wanted = times[even[self.sample(len(even), fps)]]
        # One frame more on both sides, for what a search in the file may be off; a span takes
        # frames by the middle of their time.
        first, last = wanted[0] - 1 / fps, wanted[-1] + 1 / fps + 0.5 / nominal
        clip = video.read_span(str(path), max(start, first), last, self.short_side)
        nearest = np.abs(clip.times[:, None] - wanted).argmin(axis=0)
        return self._predict_frames(Video(clip.frames[nearest], fps, wanted), str(path))

    def _timeline(
        self, path: str | Path, start: float, end: float | None
    ) -> tuple[np.ndarray, float, float]:
        """Of a span: its frames' seconds, frames/s as `read_span` finds them, the header's."""
        _check_file(path)
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
        return np.array(times), video.measure_rate(np.array(times), rate), rate

    def read(self, path: str | Path, start: float = 0.0, end: float | None = None) -> Video:
        """Decodes a span, all of it into memory.

        Raises:
            UsageError: there is no such file.
            UnreadableError: it cannot be read, or its frames take more than
                `tfrecords.video.MAX_CLIP_BYTES`.
        """
        _check_file(path)
        return video.read_frames(str(path), start, end, self.short_side)

    def step(self, fps: float) -> float:
        """Frames of a video at `fps` from one sampled frame to the next."""
        wanted = self.description["fps"]
        return fps / wanted if wanted else 1.0

    def sample(self, length: int, fps: float) -> np.ndarray:
        """Which frames of a clip go in, int `[T]`, by the reader's own rule for tests."""
        step = tf.constant(self.step(fps), tf.float32)
        return frame_indices(tf.constant(length), self.frames, step, None).numpy()

    def predict_clip(self, clip: Video, name: str = "") -> Prediction:
        """As `predict`, of a clip that is decoded already."""
        indices = self.sample(len(clip.frames), clip.fps)
        sampled = Video(clip.frames[indices], clip.fps, clip.times[indices])
        return self._predict_frames(sampled, name)

    def _predict_frames(self, clip: Video, name: str) -> Prediction:
        """Of the T frames that go in; `fps` is that of the video they were sampled from."""
        frames = clip.frames
        outputs = {key: value.numpy()[0] for key, value in self._serve(frames=frames[None]).items()}
        probabilities = self._by_class(outputs["probabilities"])
        maps = ("action_attention", "context_attention", "action_logits", "class_activation")
        evidence = outputs.get("action_evidence")
        return Prediction(
            video=name,
            predicted=self.labels[int(outputs["probabilities"].argmax())],
            probabilities=probabilities,
            frames=frames,
            times=clip.times,
            fps=clip.fps / self.step(clip.fps),
            action_evidence=None if evidence is None else float(evidence),
            **{
                score: self._by_class(outputs[f"{score}_probabilities"])
                for score in SCORES
                if f"{score}_probabilities" in outputs
            },
            **{name: outputs[name] for name in maps if name in outputs},
        )

    def _by_class(self, values: np.ndarray) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self.labels, values)}

    def _predict_folder(self, folder: Path, start: float, end: float | None) -> list[Prediction]:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        if not paths:
            raise UsageError(f"Expected videos in the folder {str(folder)!r}, received none.")
        predictions = []
        for path in paths:
            try:
                prediction = self._predict_video(path, start, end)
            except UnreadableError as error:
                print(f"left out: {error}")
                continue
            prediction.frames = None
            predictions.append(prediction)
        if not predictions:
            raise UserError(f"None of the {len(paths)} videos in {str(folder)!r} can be read.")
        self._add_reliability(predictions)
        return predictions

    def _add_reliability(self, predictions: list[Prediction]) -> None:
        if len(predictions) < MIN_CLIPS_FOR_RELIABILITY or predictions[0].context is None:
            return
        if self.description["multi_label"] or not self.description["context_learns"]:
            return
        action, context = (
            np.array([list(getattr(prediction, score).values()) for prediction in predictions])
            for score in ("action", "context")
        )
        scores, trust = context_reliability(action, context)
        for prediction, row in zip(predictions, scores):
            prediction.reliable, prediction.context_trust = self._by_class(row), trust


def _check_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise UsageError(f"Expected a video file, received {str(path)!r}: there is none.")


def load(path: str | Path) -> Predictor:
    """Loads an exported model.

    Args:
        path: a directory of versions, such as `runs/mine/export/aacf` (the highest is taken), or a
            version itself.

    Raises:
        UsageError: there is no exported model.
        UserError: it cannot be loaded.

    Example:
    >>> load("runs/mine/export/aacf").predict("some.mp4").predicted
    'wave'
    """
    directory = Path(path)
    versions = _versions(directory)
    if not (directory / "saved_model.pb").is_file() and versions:
        directory = directory / str(max(versions))
    if not (directory / "saved_model.pb").is_file():
        raise UsageError(
            f"Expected an exported model such as WORKDIR/export/aacf, received {str(path)!r}, "
            "which holds none."
        )
    return Predictor(directory)
