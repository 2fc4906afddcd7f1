"""Options of the readers, checked where they are made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from tfrecords.records.names import MODALITIES, Stream


@dataclass(frozen=True)
class ClipSpec:
    """The frames of a clip that are read, and their size.

    Attributes:
        frames: T, frames sampled from each clip; a shorter clip repeats its last frame.
        size: (height, width) in pixels after resizing.
        fps: Frame rate to sample at; None: every frame of the file.
        resize: "stretch", "short_side" or "whole", see `preprocess`. With "whole", training cuts
            its window of `size` (times `crop`) out of the whole frame, wherever it lies; a test
            gives the whole frame, so its batches are of one clip.
        modality: "rgb"; "flow": the optical flow of the records in place of their frames;
            "two_stream": both. Flow is cropped and flipped with the frames. It is in pixels of the
            size read, from each frame to the next one stored, whatever `fps` is.
        masks: Whether to add "mask" and "has_mask" to the inputs.
        automatic_masks: Whether masks that a program found (`--people`) are among them: they serve
            to change clips, but are no ground truth.
    """

    frames: int = 16
    size: Tuple[int, int] = (64, 64)
    fps: Optional[float] = None
    resize: str = "stretch"
    modality: str = "rgb"
    masks: bool = False
    automatic_masks: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"Expected frames of 1 or more. Received frames={self.frames}.")
        if self.modality not in MODALITIES:
            raise ValueError(
                f"Expected modality to be one of {tuple(MODALITIES)}. "
                f"Received modality={self.modality!r}."
            )

    @property
    def streams(self) -> Tuple[Stream, ...]:
        """The kinds of frames of the modality."""
        return MODALITIES[self.modality].streams


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the pairs in training.

    Attributes:
        crop: Share of height and width that a random window keeps (see `crop_size`); None: the
            frames are not cut, whatever `resize` is.
        flip: Whether half the pairs are mirrored.
        frozen_conjugates: Share of conjugates replaced by the clip's first frame repeated: the
            scene and the person stay, the motion goes.
        swap: Share of clips whose actor is pasted on the conjugate of the neighbour in the batch,
            which becomes their conjugate too (see `tfrecords.reading.remedies.swap`); needs masks.
            Fewer if the neighbour's conjugate is missing or a frozen frame.
        fame: Share of clips whose moving foreground is pasted on the clip before in the batch;
            needs no masks (see `tfrecords.reading.remedies`).
        stillmix: Share of clips half mixed with a still frame that `read_dataset` is given.
        background_erasing: Whether to add a view of the clips with one frame mixed into all.
        human_mask: Whether to add a view of the clips without the person; needs masks.
        jitter: Greatest change of light and colours of a pair, below 1 (see
            `photometric.make_jitter`); optical flow has none.
    """

    crop: Optional[float] = 1.0
    flip: bool = True
    frozen_conjugates: float = 0.0
    swap: float = 0.0
    fame: float = 0.0
    stillmix: float = 0.0
    background_erasing: bool = False
    human_mask: bool = False
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frozen_conjugates", "swap", "fame", "stillmix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} in 0..1. Received {name}={getattr(self, name)}.")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"Expected jitter in [0, 1). Received jitter={self.jitter}.")

    @property
    def remedies(self) -> bool:
        """Whether any of the remedies of `tfrecords.reading.remedies` is asked for."""
        return bool(self.fame or self.stillmix or self.background_erasing or self.human_mask)


@dataclass(frozen=True)
class Schedule:
    """The order of the records, and the part of the training that a data set is.

    Attributes:
        seed: Seed of all that is random.
        first_epoch: Number of the first epoch.
        first_step: In training, number of batches of the first epoch to skip, to resume a run that
            stopped after them; their frames are not decoded. Needs `epochs`.
        epochs: None: the data set is one epoch long, and in training a new one at each iteration.
            N: the epochs first_epoch ... first_epoch + N - 1 in a row, always the same: the form
            that a resumed run continues exactly.
        worker: (number, count) in training on several machines: of every batch come the rows of
            this one, batch_size / count. Together they are the batches of one machine.
        by_file: Whether each worker of `read_dataset` reads its own files, if there are as many
            files as workers. The batches are then not those of one machine, and if its files have
            fewer clips than its part of an epoch, some of them come twice.
        shuffle_buffer: Number of records, still encoded, among which training draws the next.
    """

    seed: int = 0
    first_epoch: int = 0
    first_step: int = 0
    epochs: Optional[int] = None
    worker: Tuple[int, int] = (0, 1)
    by_file: bool = False
    shuffle_buffer: int = 1024

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"Expected epochs of 1 or more. Received epochs={self.epochs}.")
        if self.first_step and self.epochs is None:
            raise ValueError(
                f"Expected epochs with first_step. Received first_step={self.first_step}."
            )

    def share(self, batch_size: int) -> int:
        """Returns the rows of a batch that one worker reads."""
        number, count = self.worker
        if batch_size % count or not 0 <= number < count:
            raise ValueError(
                "Expected a worker (number, count) whose count divides batch_size. "
                f"Received {self.worker}, {batch_size}."
            )
        return batch_size // count

    def batches(self, steps: int) -> int:
        """Returns the batches of all epochs, `steps` in each."""
        return steps * (self.epochs or 1) - self.first_step


@dataclass(frozen=True)
class SampleWeights:
    """The weight of a clip in the loss.

    Attributes:
        negative_weight: Weight of a clip without a label (single-label data).
        class_weights: [K], weight of a clip by its class; the mean for several labels. None: 1.
    """

    negative_weight: float = 0.01
    class_weights: Optional[Sequence[float]] = None


def route(options: Mapping[str, Any], *defaults: Any) -> List[Any]:
    """Returns each of several dataclasses with the options that are its fields.

    Raises:
        TypeError: An option is a field of none of them.
    """
    names = [{field.name for field in dataclasses.fields(default)} for default in defaults]
    unknown = sorted(set(options).difference(*names))
    if unknown:
        known = ", ".join(sorted(set().union(*names)))
        raise TypeError(f"Expected options among {known}. Received {unknown[0]!r}.")
    return [
        dataclasses.replace(default, **{name: options[name] for name in fields & set(options)})
        for default, fields in zip(defaults, names)
    ]
