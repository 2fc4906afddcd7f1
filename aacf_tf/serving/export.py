"""Exports a model as a SavedModel that needs no code of this project.

    DIR/<version>/saved_model.pb, variables/
    DIR/<version>/assets/labels.txt          one class a line, the first line is id 0
    DIR/<version>/assets/model.json          sizes, rates, names, versions (`ModelCard`)
    DIR/<version>/assets.extra/tf_serving_warmup_requests

    signature        input                                      output
    serving_default  frames   string [batch, T], JPEG or PNG    the scores and maps
    serve_tensor     frames   uint8 [batch, T, H, W, 3]         the same
    serve_resized    frames   uint8 [batch, T, h, w, 3]         the same
    serve_examples   examples string [batch], SequenceExample   the same
    features         frames   uint8 [batch, T, H, W, 3]         features, action, context

The scores and maps: `probabilities` (of the score the recipe names), `action_probabilities`,
`context_probabilities`, `combined_probabilities`, of the loss form `apart` also
`average_probabilities` `[batch, C]`; `action_attention`,
`context_attention`, `action_logits` `[batch, t, h, w]`; `action_evidence` `[batch]`, log-evidence
that an action is present, relative to a uniform map (logsumexp of the logits - log N). A head omits
what it lacks (`aacf_tf.models.heads`); one without attention has `class_activation`
`[batch, t, h, w]` instead.

A model of optical flow has the input `flow`, uint8 `[batch, T, H, W, 2]` as in
`tfrecords.media.flow`, encoded as PNG of two or three channels; a model of two streams has both
`frames` and `flow`. If the recipe keeps whole frames, those of one request must be of one size.

T is the recipe's; batch, H and W are free; h and w are the recipe's, too. Resizing and scaling are
part of the graph, by the same function that training uses; the graph has only operations of core
TensorFlow. `serve_resized` neither decodes nor resizes, and all its sides but the batch are fixed,
so that other systems can convert it (docs/serving.md). The backbone's batch
norms are folded into its convolutions; `export_precision` and `export_winograd` of the recipe make
it faster still (docs/performance.md).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.batch_norm import fold_batch_norm
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.backbones.two_stream import copy_weights
from aacf_tf.backbones.winograd import use_winograd
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.factory import make_backbone
from aacf_tf.recipes import Recipe
from aacf_tf.runs.devices import keras_policy, resolve_precision
from aacf_tf.serving.card import Axis, Centres, ModelCard
from aacf_tf.serving.signatures import SIGNATURES, make_signatures
from aacf_tf.weights.bundles import check_checkpoint
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import LABELS_FILE
from tfrecords.records.names import MODALITIES
from tfrecords.utils import lock
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)

MODEL_FILE = "model.json"
WARMUP_FILE = "tf_serving_warmup_requests"


def export(
    model: ActionModel,
    recipe: Recipe,
    labels: list[str],
    directory: Path,
    *,
    multi_label: bool = False,
    digest: str = "",
) -> Path:
    """Writes the next version of a SavedModel, unless the newest one holds these very weights.

    Args:
        model: Trained model in float32.
        recipe: Recipe that the model was trained by.
        labels: Names of the classes. If the model has one class more, for clips with no action,
            that class takes part in the softmax and is left out of the probabilities, which then
            sum to less than 1.
        directory: Folder of the versions, such as WORKDIR/export/aacf.
        multi_label: Whether classes are judged independently (sigmoid instead of softmax).
        digest: Digest of the training data, noted in model.json.

    Returns:
        The folder of the version: the highest existing one plus 1, or that one.
    """
    data, head = recipe.data, model.head
    backbone, winograd = _inference_backbone(model, recipe)
    time, height, width = (
        Axis(start=axis.start, stride=axis.stride, size=axis.size)
        for axis in receptive_field(model.geometry, (data.frames, data.height, data.width))
    )
    card = ModelCard(
        recipe=recipe.name,
        backbone=recipe.backbone,
        head=recipe.head,
        frames=data.frames,
        height=data.height,
        width=data.width,
        fps=data.fps or 0.0,
        resize=data.resize,
        strides=list(model.strides()),
        score=recipe.score if recipe.score in head.scores else "combined",
        multi_label=multi_label,
        context_learns=head.factors and head.context_learns,
        modality=recipe.modality,
        precision=recipe.export_precision,
        winograd=winograd,
        map_centres=Centres(time=time, height=height, width=width),
        digest=digest,
        signatures=[*SIGNATURES],
    )

    def add_files(folder: Path) -> None:
        write_text(folder / "assets" / LABELS_FILE, "".join(label + "\n" for label in labels))
        _write_warmup(folder / "assets.extra", recipe)

    variables = [*backbone.variables, *head.variables]
    there = directory / str(max(versions(directory), default=0))
    if _holds(there, variables, card, labels):
        logger.info(f"export   {there} holds this model already; without it, it is written anew")
        return there
    signatures = make_signatures(backbone, head, recipe, len(labels), multi_label)
    return write_saved_model(directory, variables, signatures, dataclasses.asdict(card), add_files)


def write_saved_model(
    directory: Path,
    variables: Sequence[tf.Variable],
    signatures: Mapping[str, Callable],
    description: Mapping[str, Any],
    add_files: Callable[[Path], None] | None = None,
) -> Path:
    """Writes the next version of a SavedModel with its `model.json`, completely or not at all.

    Args:
        directory: Folder of the versions, such as WORKDIR/export/aacf; created if missing.
        variables: Every variable that the signatures use.
        signatures: Name to tf.function with a fixed input.
        description: Content of model.json; the versions of TensorFlow and Keras are added.
        add_files: Writes further files into the folder that it is given.

    Returns:
        The folder of the version: the highest existing one plus 1.
    """
    module: Any = tf.Module()
    # The variables only, not the Keras objects, so that loading needs neither Keras nor our code.
    module.weights = list(variables)
    libraries = {"tensorflow": tf.__version__, "keras": metadata.version("keras")}
    message = f"Another process is exporting into {directory}"
    with lock.alone(directory / ".lock", message, UsageError):
        version = max(versions(directory), default=0) + 1
        # ModelServer takes numbers for versions, and only numbers.
        temporary = directory / f"{version}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        write_json(temporary / "assets" / MODEL_FILE, {**description, "versions": libraries})
        if add_files:
            add_files(temporary)
        final = directory / str(version)
        os.replace(temporary, final)
    return final


def _holds(
    version: Path, variables: Sequence[tf.Variable], card: ModelCard, labels: Sequence[str]
) -> bool:
    """Returns whether a version is whole and holds the same weights, description and labels."""
    prefix = version / "variables" / "variables"
    if not (version / "assets.extra" / WARMUP_FILE).is_file():
        return False
    try:
        before = ModelCard.read(version / "assets" / MODEL_FILE)
        if dataclasses.replace(before, winograd=card.winograd) != card:  # speeds, never the same
            return False
        check_checkpoint(prefix)
        reader = tf.train.load_checkpoint(str(prefix))
        for number, variable in enumerate(variables):
            value = reader.get_tensor(f"weights/{number}/.ATTRIBUTES/VARIABLE_VALUE")
            if value.tobytes() != variable.numpy().tobytes():
                return False
        names = (version / "assets" / LABELS_FILE).read_text(encoding="utf-8")
        return names.splitlines() == list(labels) and (version / "saved_model.pb").is_file()
    except Exception:  # damage of any kind
        return False


def _inference_backbone(model: ActionModel, recipe: Recipe) -> tuple[keras.Model, dict[str, float]]:
    """Returns the backbone for inference, and the speed-ups that `use_winograd` measured."""
    data = recipe.data
    if recipe.export_winograd:
        backbone, gains = use_winograd(
            fold_batch_norm(model.backbone), (data.frames, data.height, data.width)
        )
        logger.info(f"winograd {len(gains)} convolutions of the backbone are faster by it")
        return backbone, gains
    if recipe.export_precision == "float32":
        return fold_batch_norm(model.backbone), {}
    if resolve_precision("auto") != "mixed_bfloat16":
        logger.warning(
            "Warning: export_precision=mixed_bfloat16: this machine has no instructions for "
            "bfloat16; on one like it the exported model is slower than in float32."
        )
    with keras_policy(recipe.export_precision):
        backbone = make_backbone(recipe)
        copy_weights(model.backbone, backbone)
        return fold_batch_norm(backbone), {}


def _write_warmup(folder: Path, recipe: Recipe) -> None:
    """Writes a request for each signature, which ModelServer runs before it serves the first."""
    # Here, since predictions need none of it.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    data = recipe.data
    streams = MODALITIES[recipe.modality].streams
    sides = [1, data.frames, data.height, data.width]
    gray = {s.served: np.full([*sides, s.channels], 127, np.uint8) for s in streams}
    encoded = {
        name: np.array([[tf.io.encode_png(clip[0, 0]).numpy()] * data.frames])
        for name, clip in gray.items()
    }
    frames = np.full([*sides[1:], 3], 127, np.uint8)
    flow = gray["flow"][0] if "flow" in gray else None
    record = codec.encode(ClipPair("warm-up", frames, None, (), flow=flow), {})
    requests = {
        "serving_default": encoded,
        "serve_tensor": gray,
        "serve_resized": gray,
        "serve_examples": {"examples": np.array([record])},
        "features": gray,
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


def versions(directory: Path) -> list[int]:
    """Returns the exported versions in a folder; none if it does not exist."""
    if not directory.is_dir():
        return []
    return [int(path.name) for path in directory.iterdir() if path.name.isdigit()]
