"""The clips of a report: which are shown, and their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.streams import STREAM_INPUTS
from aacf_tf.recipes import Recipe
from aacf_tf.visualization.panels import draw_maps, evenly, join, with_titles
from tfrecords.reading.clips import read_dataset
from tfrecords.reading.corruption import translate_errors

CLIPS = 12
_SHEET_FRAMES = 4  # of each clip in the sheet, which is shown small


class Clip(NamedTuple):
    """A clip as the model takes it: name -> uint8 `[T, h, w, C]`; mask bool `[T, h, w]` or None."""

    inputs: dict[str, np.ndarray]
    mask: np.ndarray | None


class Chosen(NamedTuple):
    """A row of predictions.csv that is shown."""

    id: str
    labels: str
    predicted: str

    @property
    def right(self) -> bool:
        return self.predicted in self.labels.split("|")

    @property
    def title(self) -> str:
        """The true classes, and what they were taken for where that is wrong."""
        names = self.labels.replace("|", ", ")
        return names if self.right else f"{names} (taken for {self.predicted})"


def choose(rows: Sequence[Chosen], labels: Sequence[str], count: int = CLIPS) -> list[Chosen]:
    """The clips that are shown: a rule, not a choice.

    Classes that occur are taken in order, six of them evenly spread where there are more. Of
    each the first rightly classified clip of the split comes in, then the first wrongly classified
    one, and so on in turn until the class has its share; where one kind runs out, the other goes
    on.
    """
    occurring = {row.labels.split("|")[0] for row in rows}
    labels = [label for label in labels if label in occurring]
    if not labels:
        return []
    wanted = min(len(labels), 6)
    classes = [labels[place * len(labels) // wanted] for place in range(wanted)]
    share = -(-count // wanted)
    chosen = []
    for label in classes:
        mine = [row for row in rows if label == row.labels.split("|")[0]]
        kinds = [[row for row in mine if row.right], [row for row in mine if not row.right]]
        picked: list[Chosen] = []
        while len(picked) < share and any(kinds):
            kind = kinds[len(picked) % 2] or kinds[(len(picked) + 1) % 2]
            picked.append(kind.pop(0))
        chosen += picked
    return chosen[:count]


def load_clips(data_dir: Path, split: str, recipe: Recipe, ids: set[str]) -> dict[str, Clip]:
    """The clips of these ids, by id, as evaluation sees them."""
    data = recipe.data
    dataset = read_dataset(
        data_dir,
        split,
        data.frames,
        (data.height, data.width),
        batch_size=1 if data.resize == "whole" else 8,
        training=False,
        fps=data.fps or None,
        resize=data.resize,
        masks=True,
        modality=recipe.modality,
    )
    names = STREAM_INPUTS[recipe.modality]
    found: dict[str, Clip] = {}
    with translate_errors(data_dir):
        for inputs, _, _ in dataset:
            batch = {name: value.numpy() for name, value in inputs.items()}
            for place, name in enumerate(batch["id"].astype(str)):
                if name in ids:
                    mask = batch["mask"][place] > 0 if batch["has_mask"][place] else None
                    found[name] = Clip({n: batch[n][place].copy() for n in names}, mask)
            if len(found) == len(ids):
                break
    return found


def draw(clip: Clip, model: ActionModel) -> list[list[np.ndarray]]:
    """The pictures of a clip: a row of frames, and one under each map; uint8 `[H, W, 3]` each.

    Optical flow that stands alone is shown in colours.
    """
    inputs = {name: value[None] for name, value in clip.inputs.items()}
    outputs = {key: value.numpy()[0] for key, value in model(inputs, training=False).items()}
    pixels = clip.inputs["clip"]
    axes = receptive_field(model.geometry, pixels.shape[:3])
    return draw_maps(pixels, clip.mask, outputs, axes)


def draw_strip(row: Chosen, pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Of what `draw` gives a few frames under the clip's classes, for the sheet."""
    shown = evenly(len(pictures[0]), _SHEET_FRAMES)
    return with_titles(
        join([[images[place] for place in shown] for images in pictures]), [row.title]
    )
