"""Opens any SavedModel that classifies clips or photographs, as a function of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.bias.options import LAYOUTS, Options
from aacf_tf.recipes import RECIPES, load_recipe
from aacf_tf.serving.card import ModelCard
from aacf_tf.serving.export import MODEL_FILE as CARD
from aacf_tf.serving.export import versions
from tfrecords.records.dataset import LABELS_FILE, load_labels
from tfrecords.utils.errors import UsageError, UserError

SIGNATURES = ("serve_tensor", "serving_default")  # the defaults, in this order
FRAMES, IMAGE_FRAMES, RESIZE = 16, 1, "short_side"  # if neither the model nor a flag says
MODEL = "saved_model.pb"
MAPS = ("action_attention", "context_attention", "class_activation")
# Of ImageNet's pixels, 0..1.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class Classifier:
    """A SavedModel as the function that `measure` takes; `open_classifier` returns one.

    Attributes:
        folder: Its folder.
        clip: Keyword arguments of `measure` for it: frames, size, labels (None: unknown) and so on.
        assumed: What was taken from the model or is assumed, a line each.
    """

    def __init__(self, folder: Path, options: Options):
        self.folder = folder
        saved = _load(folder)
        self._saved = saved  # its variables live as long as it does
        card = _read_card(folder)
        signature = _pick("signature", options.signature, [*saved.signatures], SIGNATURES)
        self._function = saved.signatures[signature]
        specs = self._function.structured_input_signature[1]
        self._input = _pick("input_name", options.input_name, [*specs], ())
        if len(specs) > 1:
            raise UsageError(
                f"--signature: expected one of a single input, received {signature} of {folder} "
                f"with {', '.join(sorted(specs))}."
            )
        spec = specs[self._input]
        if spec.dtype == tf.string:
            raise UsageError(
                f"--signature: expected one that takes pixels, received {signature} of {folder}, "
                f"which takes encoded strings (it has {', '.join(saved.signatures)})."
            )
        self._dtype = spec.dtype
        shape = spec.shape.as_list() if spec.shape.rank is not None else None
        self._layout = _layout(shape, options.layout)
        self._scaling = _scaling(spec.dtype, options.scaling)
        self._batch = shape[0] if shape else None
        self._outputs = _outputs(self._function.structured_outputs, options, card)
        self.clip = _clip(shape, self._layout, options, card)
        self.clip["labels"] = _labels(folder, options.labels)
        rate = f"{self.clip['fps']:g} frames a second" if self.clip["fps"] else "every frame"
        named = "those of the model" if self.clip["labels"] else "those of the data, in its order"
        dims = ", ".join(str(dim or "any") for dim in shape or ["any"])
        self.assumed = [
            f"signature {signature}: {self._input} {spec.dtype.name} [{dims}] -> "
            f"{', '.join(self._outputs.values())}",
            f"layout {self._layout}, pixels {self._scaling}",
            "clips of {frames} x {size[0]} x {size[1]}, {resize}, ".format(**self.clip) + rate,
            f"classes: {named}",
        ]
        self._try()

    def __call__(self, clips: np.ndarray) -> dict[str, np.ndarray]:
        """Returns scores `[B, C]` and maps `[B, t, h, w]` of clips, uint8 `[B, T, h, w, 3]`."""
        count, frames = clips.shape[:2]
        values = scale(clips, self._scaling)
        if self._layout == "bcthw":
            values = values.transpose(0, 4, 1, 2, 3)
        elif self._layout == "bhwc":
            values = values.reshape(-1, *values.shape[2:])
        outputs = self._run(values)
        if self._layout == "bhwc":
            outputs = {
                name: value.reshape(count, frames, *value.shape[1:]).mean(axis=1)
                for name, value in outputs.items()
            }
        return outputs

    def _run(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Calls the signature, in batches of the size it was made for if it has one."""
        size = self._batch or len(values)
        padded = np.concatenate([values, np.repeat(values[-1:], -len(values) % size, axis=0)])
        parts = []
        for first in range(0, len(padded), size):
            batch = tf.cast(padded[first : first + size], self._dtype)
            found = self._function(**{self._input: batch})
            parts.append(
                {name: tf.cast(found[of], tf.float32).numpy() for name, of in self._outputs.items()}
            )
        return {
            name: np.concatenate([part[name] for part in parts])[: len(values)]
            for name in self._outputs
        }

    def _try(self) -> None:
        """Calls the model once, so that what does not fit is said before anything is computed."""
        height, width = self.clip["size"]
        clip = np.random.default_rng(0).integers(
            0, 256, (1, self.clip["frames"], height, width, 3), np.uint8
        )
        try:
            outputs = self(clip)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UsageError(
                f"Expected {self.folder} to take clips as {'; '.join(self.assumed[:3])}; it "
                f"answers: {reason}"
            ) from error
        labels = self.clip["labels"]
        for name, value in outputs.items():
            if labels and value.ndim == 2 and value.shape[1] != len(labels):
                raise UsageError(
                    f"--labels: expected the {value.shape[1]} classes of the output "
                    f"{self._outputs[name]} of {self.folder}, received {len(labels)}."
                )


def open_classifier(path: str, options: Options | None = None) -> Classifier:
    """Opens a SavedModel and calls it once.

    Args:
        path: Its folder, or a folder of numbered versions, of which the highest is taken.
        options: How to call it.

    Raises:
        UsageError: There is no SavedModel, it has no such signature, input or output, or it does
            not take clips so.
        UserError: It cannot be loaded.
    """
    folder = Path(path)
    if not (folder / MODEL).is_file() and versions(folder):
        folder = folder / str(max(versions(folder)))
    if not (folder / MODEL).is_file():
        raise UsageError(f"--model: expected the folder of a SavedModel, received {path!r}.")
    return Classifier(folder, options or Options())


def scale(clips: np.ndarray, scaling: str) -> np.ndarray:
    """Scales pixels, uint8 `[..., 3]`, to one of `SCALINGS`."""
    if scaling == "uint8":
        return clips
    unit = clips.astype(np.float32) / 255
    if scaling == "-1..1":
        return 2 * unit - 1
    return (unit - MEAN) / DEVIATION if scaling == "imagenet" else unit


def _load(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # a damaged file sends the loader into errors of every kind
        reason = " ".join(str(error).split())
        raise UserError(f"The model {folder} cannot be loaded: {reason}.") from error


def _read_card(folder: Path) -> ModelCard | None:
    """Reads the card of a model that this project exported; None: it is another one."""
    path = folder / "assets" / CARD
    if not path.is_file():
        return None
    try:
        card = ModelCard.read(path)
    except (ValueError, UserError):
        return None
    if card.modality != "rgb":
        raise UsageError(f"--model: expected a model of frames, received one of {card.modality}.")
    return card


def _pick(flag: str, given: str | None, names: Sequence[str], usual: Sequence[str]) -> str:
    """Returns the name given, else the usual one, else the only one."""
    listed = ", ".join(sorted(names)) or "none"
    if given is not None:
        if given not in names:
            raise UsageError(f"--{flag}: expected one of the model's ({listed}), received {given}.")
        return given
    found = next((name for name in usual if name in names), None)
    if found is None and len(names) == 1:
        found = names[0]
    if found is None:
        raise UsageError(f"--{flag}: expected one of the model's ({listed}), received none.")
    return found


def _layout(shape: Sequence[int | None] | None, given: str | None) -> str:
    """Returns the layout of an input: given, or read off its shape."""
    layout = given
    if layout is None:
        if shape is None or len(shape) not in (4, 5):
            raise UsageError(
                f"--layout: expected one of {', '.join(LAYOUTS)} for an input of shape "
                f"{shape or 'unknown'}, received none."
            )
        channels_first = shape[-1] not in (3, None) or (shape[-1] is None and shape[1] == 3)
        layout = "bhwc" if len(shape) == 4 else "bcthw" if channels_first else "bthwc"
    if shape is not None:
        channels = shape[layout.index("c")] if len(shape) == len(layout) else 0
        if channels not in (3, None):
            raise UsageError(
                f"--layout: expected that of an input of shape {shape}, received {layout}."
            )
    return layout


def _scaling(dtype: Any, given: str | None) -> str:
    if given is None:
        return "uint8" if dtype.is_integer else "0..1"
    if dtype.is_integer and given != "uint8":
        raise UsageError(
            f"--scaling: expected uint8 for an input of {dtype.name}, received {given}."
        )
    return given


def _clip(
    shape: Sequence[int | None] | None, layout: str, options: Options, card: ModelCard | None
) -> dict[str, Any]:
    """Returns the size of a clip and what else `measure` is to know of the model."""
    known: dict[str, int | None] = {"frames": None, "height": None, "width": None}
    for name, axis in zip(known, "thw"):
        if shape is not None and axis in layout:
            known[name] = shape[layout.index(axis)]
        if card is not None and layout == "bthwc":
            known[name] = getattr(card, name)
        given = getattr(options, name)
        if given is not None and known[name] not in (given, None):
            raise UsageError(f"--{name}: expected the model's {known[name]}, received {given}.")
        known[name] = known[name] or given
    if known["height"] is None or known["width"] is None:
        raise UsageError(
            "--height, --width: expected the size of the model's frames, which its signature "
            "leaves open, received none."
        )
    clip: dict[str, Any] = {
        "frames": known["frames"] or (IMAGE_FRAMES if layout == "bhwc" else FRAMES),
        "size": (known["height"], known["width"]),
        "fps": options.fps or (card.fps if card else None) or None,
        "resize": options.resize or (card.resize if card else RESIZE),
    }
    if card is not None:
        clip["strides"] = card.strides
        if card.recipe in RECIPES:
            clip["threshold"] = load_recipe(card.recipe).mask_threshold
    return clip


def _outputs(found: Mapping[str, Any], options: Options, card: ModelCard | None) -> dict[str, str]:
    """Returns name for `measure` -> output: the scores, the one that counts first, and maps."""
    ends = "_probabilities"
    if options.output_name is not None or not any(name.endswith(ends) for name in found):
        tables = [name for name, spec in found.items() if spec.shape.rank in (2, None)]
        chosen = _pick(
            "output_name", options.output_name, tables, ("probabilities", "logits", "predictions")
        )
        outputs = {chosen: chosen}
    else:
        scores = [name[: -len(ends)] for name in found if name.endswith(ends)]
        first = card.score if card else ""
        scores.sort(key=lambda score: (score != first, score))
        outputs = {score: f"{score}{ends}" for score in scores}
    maps = [name for name in MAPS if name in found]
    if options.map_name is not None:
        grids = [name for name, spec in found.items() if spec.shape.rank in (4, None)]
        maps = [_pick("map_name", options.map_name, grids, ())]
    return {**outputs, **{name: name for name in maps if name not in outputs}}


def _labels(folder: Path, path: str | None) -> list[str] | None:
    """Returns the classes of the outputs: of --labels, else of the model; None: unknown."""
    own = folder / "assets" / LABELS_FILE
    if path is not None:
        return load_labels(path)
    return load_labels(own) if own.is_file() else None
