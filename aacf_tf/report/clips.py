"""The clips of a report: which are shown, and their pictures."""

from __future__ import annotations

import csv
from html import escape
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.streams import STREAM_INPUTS
from aacf_tf.recipes import Recipe
from aacf_tf.report import stills
from aacf_tf.report.tables import ACTION_MAPS, OTHER_MAP, section, unit_of
from aacf_tf.visualization.panels import (
    FRAMES,
    data_uri,
    draw_maps,
    evenly,
    join,
    with_titles,
    write_sheet,
)
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


SHEET = "maps.png"  # beside the page: the first clip of each class, to show elsewhere


def clip_section(
    workdir: Path, recipe: Recipe, labels: list[str], data_dir: Path, model: ActionModel
) -> str:
    with open(workdir / "predictions.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    split = shown_split(list(dict.fromkeys(row["split"] for row in table)))
    rows = [Chosen(r["id"], r["labels"], r["predicted"]) for r in table if r["split"] == split]
    scores = {r["id"]: r for r in table if r["split"] == split}
    chosen = choose([row for row in rows if row.labels], labels)
    still = recipe.data.frames == 1
    ids = {row.id for row in chosen}
    if still:
        clips = stills.load(data_dir, split, ids)
    else:
        clips = load_clips(data_dir, split, recipe, ids)
    figures, sheet = [], {}
    for row in chosen:
        if row.id not in clips:
            continue
        if still:
            panels = stills.draw(clips[row.id], model, recipe.data)
            picture = stills.join(panels)
            strip = with_titles(picture, [row.title])
        else:
            rows_of_frames = draw(clips[row.id], model)
            picture = join(rows_of_frames)
            strip = draw_strip(row, rows_of_frames)
        sheet.setdefault(row.labels.split("|")[0], strip)
        image = data_uri(picture)
        verdict = "right" if row.right else "wrong"
        predicted = _chance(scores[row.id], recipe.score, row.predicted)
        figures.append(
            f'<figure class="clip {verdict}"><figcaption><b>{escape(row.labels)}</b>'
            f"<span>{'✓' if row.right else '✗'} {escape(row.predicted)} {predicted}</span>"
            f"<small>{escape(row.id)}</small></figcaption>"
            f'<img alt="frames and maps" src="{image}"></figure>'
        )
    if not figures:
        return ""
    columns = 1 if still else 2  # five pictures side by side are wide enough
    write_sheet(workdir / "report" / SHEET, list(sheet.values()), columns)
    rows_shown = f"{ACTION_MAPS.get(recipe.head, OTHER_MAP)} (orange)"
    rows_shown += " and context map (blue)" if recipe.head == "aacf" else ""
    flow = "" if recipe.modality != "flow" else "motion in colours, by direction and speed; "
    values = "attention logits"
    if recipe.head not in ACTION_MAPS:
        values = "evidence for the predicted class"
    if still:
        what = (
            "From left to right: the photograph; where the data have them, the boxes of the people "
            f"who act, and its conjugate, without them; {rows_shown} over it; "
        )
    else:
        what = (
            f"Rows: {FRAMES} frames, evenly spread, as the network gets them; "
            f"{rows_shown} over them; {flow}"
        )
    return section(
        f"What the model sees: {escape(split)}",
        f'<div class="clips{" wide" * still}">{"".join(figures)}</div>',
        f"{unit_of(recipe).capitalize()}s of the split <b>{escape(split)}</b>. {what}"
        "the actor’s outline where the data have a mask. Above: the true class, and the predicted "
        "one with its probability. Shown is "
        f"clip((x − median) / (max − median), 0, 1) of the {values}. <b>The rule of "
        "choice</b>: classes that occur in order, six evenly spread where there are more; of "
        f"each the first {unit_of(recipe)} of the split that the model gets right, then the first "
        "that it gets wrong, in turn; where one kind runs out, the other goes on.",
    )


def shown_split(splits: Sequence[str]) -> str:
    """The split whose clips are shown: where the scene says nothing, if there is such a one."""
    return next((name for name in ("test_uniform", "test") if name in splits), splits[0])


def _chance(row: dict[str, str], score: str, label: str) -> str:
    value = row.get(f"{score}_{label}", row.get(f"combined_{label}"))
    return f"{float(value):.2f}" if value else ""
