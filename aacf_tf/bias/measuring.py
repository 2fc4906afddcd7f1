"""Measures how much a classifier goes by the scene: makes the test sets, and has them judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Sequence

import numpy as np

from aacf_tf.bias.clips import Clips
from aacf_tf.bias.judging import Judge, Judging, Predict, check_classes
from aacf_tf.bias.sets import SETS, SWAPS, Material, one_frame
from tfrecords.media import pictures
from tfrecords.reading.options import ClipSpec, route
from tfrecords.reading.preprocess import preprocess
from tfrecords.records.dataset import load_info
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.progress import progress

EXAMPLES = 5  # clips that are shown, each of another class
SHOWN = 3  # frames of each
HEIGHT = 96  # pixels of a frame at least


class Example(NamedTuple):
    """A version of a clip that is shown.

    Attributes:
        picture: Frames side by side, uint8 `[H, W, 3]`.
        label: True class.
        predicted, probability, right: The answer by the first score.
        scene: Class of the scene, if it is another clip's.
    """

    picture: np.ndarray
    label: str
    predicted: str
    probability: float
    right: bool
    scene: str = ""


@dataclass
class Bias:
    """What was measured.

    Attributes:
        content: Content of bias.json, see docs/bias.md.
        examples: Set to its examples: of the same clips in every set, unless one has no version.
    """

    content: dict[str, Any]
    examples: dict[str, list[Example]] = field(default_factory=dict)


class _Versions(NamedTuple):
    """The versions of a clip as the classifier sees them."""

    names: list[str]
    clips: np.ndarray  # uint8 [V, T, h, w, 3]
    masks: np.ndarray  # bool [V, T, h, w]; all False if the actor is not there


def measure(
    predict: Predict,
    data: StrPath,
    split: str | None = None,
    frames: int = 16,
    size: tuple[int, int] = (224, 224),
    *,
    labels: Sequence[str] | None = None,
    masks: str = "auto",
    clips: int = 300,
    seed: int = 0,
    **options: Any,
) -> Bias:
    """Measures how much a classifier goes by the scene, on the sets of `aacf_tf.bias.sets`.

    Args:
        predict: Function of clips, uint8 `[B, T, h, w, 3]`, that returns probabilities or logits
            `[B, C]`; or a dict of several such scores, the one that counts first, and of maps
            `[B, t, h, w]`, whose positive part counts.
        data: Data set directory.
        split: Split of it; None: "test", else the first whose name begins so.
        frames, size: Frames and (height, width) of a clip, see `ClipSpec`.
        labels: Classes of the C columns; None: those of the data set, in its order.
        masks: "annotated": the records'; "automatic": the records' that a program found; "motion":
            what moves; "auto": annotated if there are any, else automatic, else motion.
        clips: Clips at most, drawn from the split; 0: all.
        seed: Seed of what is drawn.
        **options: `fps` and `resize` of `ClipSpec`, and the fields of `Judging`.

    Raises:
        UsageError: The data have no such split, no masks, or a class that `labels` lacks.
        UserError: `predict` returns something else.

    Examples:
        >>> bias = measure(predict, "data/mine", frames=16, size=(112, 112))
        >>> print(describe(bias.content))
    """
    spec, judging = route(options, ClipSpec(frames, size), Judging())
    known = load_info(data).labels
    columns = list(labels or known)
    check_classes(columns, known, data)
    source = Clips(data, split, spec, masks, clips, seed)
    targets = np.array([[name in clip.labels for name in columns] for clip in source.clips])
    lenders = source.lenders(targets)
    judge = Judge(predict, columns, targets, judging)
    examples: dict[str, list[Example]] = {}
    shown = _choose_examples(targets)
    bar = progress(total=len(source.clips), desc="test sets", unit="clip")
    for place, versions in source.each(lambda material: _make(material, spec), lenders):
        best, probability = judge.ask(place, *versions)
        for row, name in enumerate(versions.names if place in shown else ()):
            lender = lenders[SWAPS[name]][place] if name in SWAPS else None
            example = Example(
                _strip(versions.clips[row]),
                ", ".join(source.clips[place].labels),
                columns[best[row]],
                float(probability[row]),
                bool(targets[place, best[row]]),
                "" if lender is None else ", ".join(source.clips[lender].labels),
            )
            examples.setdefault(name, []).append(example)
        bar.update()
    bar.close()
    facts = {
        "data": str(data),
        "split": source.split,
        "clips": len(source.clips),
        "of": source.total,
        "left_out": dict(source.reasons()),
        "masks": source.masks,
        "scenes": "records" if source.removed else "removed here",
        "frames": spec.frames,
        "size": list(spec.size),
        "fps": spec.fps,
        "resize": spec.resize,
        "seed": seed,
    }
    return Bias({**facts, **judge.results(lenders)}, examples)


def _make(material: Material, spec: ClipSpec) -> _Versions:
    """Makes the versions of a clip, resized as the classifier sees them."""
    names, clips, masks = [], [], []
    mask = _fit(material.mask[..., None].astype(np.uint8) * 255, spec)[..., 0] > 127
    for name, kind in SETS.items():
        version = None if kind.still and spec.frames == 1 else kind.make(material)
        if version is not None:
            names.append(name)
            clips.append(_fit(version, spec))
            held = one_frame(mask) if kind.still else mask
            masks.append(held if kind.actor else np.zeros_like(mask))
    return _Versions(names, np.stack(clips), np.stack(masks))


def _fit(frames: np.ndarray, spec: ClipSpec) -> np.ndarray:
    return preprocess(frames, spec.size, spec.resize).numpy()


def _choose_examples(targets: np.ndarray) -> set[int]:
    """Chooses the first clip of each of a few classes, evenly spread over those that occur."""
    occurring = np.flatnonzero(targets.any(axis=0))
    classes = occurring[pictures.evenly(len(occurring), EXAMPLES)]
    return {int(np.argmax(targets[:, label])) for label in classes}


def _strip(clip: np.ndarray) -> np.ndarray:
    """Draws a few frames of a clip side by side."""
    height = max(HEIGHT, min(clip.shape[1], 2 * HEIGHT))
    shown = pictures.evenly(len(clip), SHOWN)
    return pictures.join([[pictures.enlarge(clip[index], height) for index in shown]])
