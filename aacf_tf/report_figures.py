"""The figures of the report: training curves, which clips are shown, the picture of each."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Iterable, Mapping, NamedTuple, Sequence

import cv2
import numpy as np
from PIL import Image

from aacf_tf import overlays
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.streams import STREAM_INPUTS
from aacf_tf.recipes import Recipe
from tfrecords.media.flow import picture
from tfrecords.reading.clips import read_dataset
from tfrecords.reading.corruption import translate_errors
from tfrecords.utils.atomic import replacing

CLIPS = 12
FRAMES = 6  # of each clip, evenly spread
_FRAME_HEIGHT = 128  # pixels
_SHEET_FRAMES = 4  # of each clip in the sheet, which is shown small
_BAR_HEIGHT = 34  # pixels


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
    return draw_maps(clip.inputs["clip"], clip.mask, outputs, model)


def draw_maps(
    pixels: np.ndarray,
    mask: np.ndarray | None,
    outputs: Mapping[str, np.ndarray],
    model: ActionModel,
) -> list[list[np.ndarray]]:
    """`draw` for pixels `[T, h, w, C]` of which the model's outputs are known already."""
    times, *places = (axis.centres for axis in receptive_field(model.geometry, pixels.shape[:3]))
    shown = _evenly(len(pixels), FRAMES)
    if pixels.shape[-1] == 2:
        pixels = picture(pixels)
    size = pixels.shape[1:3]
    height = max(_FRAME_HEIGHT, size[0])
    frames = [overlays.enlarge(pixels[place], height) for place in shown]
    rows = [frames]
    for _, heat, colors in display_maps(outputs):
        cells = overlays.at_times(heat, shown, times)
        spread = (overlays.in_space(one, size, size, places) for one in cells)
        rows.append(
            [
                overlays.tint(frame, overlays.enlarge(heat, height), colors)
                for frame, heat in zip(frames, spread)
            ]
        )
    if mask is not None:
        masks = [overlays.enlarge(mask[place], height) for place in shown]
        rows = [[overlays.outline(image, m) for image, m in zip(row, masks)] for row in rows]
    return rows


def display_maps(
    outputs: Mapping[str, np.ndarray],
) -> list[tuple[str, np.ndarray, Sequence[Sequence[int]]]]:
    """(title, values 0..1 `[t, h, w]`, colours) of every map among a model's outputs of a clip."""
    if "action_logits" in outputs:
        shown = [("action map", overlays.display(outputs["action_logits"]))]
    else:
        shown = [("class activation", overlays.display(outputs["class_activation"]))]
    if "context_attention" in outputs:
        context = overlays.display_attention(outputs["context_attention"])
        shown.append(("context map", context))
    colors = (overlays.ACTION_COLORS, overlays.CONTEXT_COLORS)
    return [(title, heat, color) for (title, heat), color in zip(shown, colors)]


def join(rows: Sequence[Sequence[np.ndarray]], gap: int = 3) -> np.ndarray:
    """Rows of pictures of one size as one picture, thin white lines between them."""
    space = ((0, gap), (0, gap), (0, 0))
    padded = [[np.pad(image, space, constant_values=255) for image in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in padded])[:-gap, :-gap]


def with_titles(picture: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """A picture under a bar with titles, each over its share of the width."""
    bar = overlays.text_bar(picture.shape[1], _BAR_HEIGHT, titles)
    return np.concatenate([bar, picture])


def strip(row: Chosen, pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Of what `draw` gives a few frames under the clip's classes, for the sheet."""
    shown = _evenly(len(pictures[0]), _SHEET_FRAMES)
    return with_titles(
        join([[images[place] for place in shown] for images in pictures]), [row.title]
    )


def write_sheet(path: Path, strips: Sequence[np.ndarray], columns: int = 2) -> None:
    """Pictures side by side and below each other, as a PNG; smaller ones get a white rim."""
    sides = np.max([strip.shape[:2] for strip in strips], axis=0)
    strips = [
        np.pad(strip, (*((0, n) for n in sides - strip.shape[:2]), (0, 0)), constant_values=255)
        for strip in strips
    ]
    columns = min(columns, len(strips))
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % columns)
    rows = [strips[first : first + columns] for first in range(0, len(strips), columns)]
    # Frames are noisy: with every tenth level of a channel the file is a third, and looks the same.
    levels = np.minimum((join(rows, gap=14).astype(np.uint16) + 5) // 10 * 10, 255)
    with replacing(path) as temporary:
        Image.fromarray(levels.astype(np.uint8)).save(temporary, format="PNG", optimize=True)


def _evenly(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of `count` places, the first and the last among them."""
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int)


def data_uri(image: np.ndarray) -> str:
    """A picture as a JPEG that stands in the page itself."""
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def plot(history: Sequence[dict[str, float]]) -> str:
    """An SVG of a history: the loss, its terms, the accuracies; text in the page's own colour."""
    import matplotlib
    from matplotlib.figure import Figure

    names = sorted({key for entry in history for key in entry} - {"epoch", "learning_rate", "lr"})
    accuracies = [name for name in names if "accuracy" in name]
    losses = [name for name in names if name in ("loss", "val_loss")]
    terms = [name for name in names if name not in (*accuracies, *losses, *_validation(names))]
    if terms == ["classification"]:
        terms = []  # it is the loss but for the weight decay
    panels = [("loss", losses), ("terms of the loss", terms), ("accuracy", accuracies)]
    panels = [(title, keys) for title, keys in panels if keys]
    ink = "#123456"  # stands for currentColor, which matplotlib does not know
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "aacf",
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink),
        "axes.edgecolor": ink,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.6 * len(panels), 2.6), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, keys) in zip(axes, panels):
            for place, key in enumerate(keys):
                points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
                marker = "o" if len(points) == 1 else ""
                axis.plot(
                    *zip(*points),
                    marker=marker,
                    label=key,
                    color=_LINES[place % len(_LINES)],
                    linewidth=1.6,
                )
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("epoch")
            axis.grid(alpha=0.2, color=ink)
            axis.spines[["top", "right"]].set_visible(False)
            axis.patch.set_alpha(0)
            axis.legend(frameon=False, fontsize=7)
            if title == "accuracy":
                axis.set_ylim(0, 1)
        figure.patch.set_alpha(0)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue().replace(ink, "currentColor")
    return re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL)


def _validation(names: Iterable[str]) -> list[str]:
    """Terms on the validation split are left out: the loss and the accuracies tell enough."""
    return [name for name in names if name.startswith("val_")]


# Okabe and Ito's colours, which colour-blind readers can tell apart.
_LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442")
