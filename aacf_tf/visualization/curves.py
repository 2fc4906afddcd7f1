"""Draws the curves of a training history and a confusion matrix."""

from __future__ import annotations

import io
import re
from typing import Any, Sequence

import numpy as np

from tfrecords.media import letters

_LETTERS = 40  # of a label in the confusion matrix

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442")


def confusion_picture(
    probabilities: np.ndarray, targets: np.ndarray, labels: list[str]
) -> np.ndarray:
    """Draws a confusion matrix, uint8 `[H, W, 3]`: rows are true classes, dark is 1.

    Args:
        probabilities: Class probabilities `[N, K]`.
        targets: True classes, bool `[N, K]`; a row without a True is left out.
        labels: Names of the K classes, written if there are at most 30.
    """
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    acting = targets.any(-1)
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (targets[acting].argmax(-1), probabilities[acting].argmax(-1)), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    labels = [letters.readable(label)[:_LETTERS] for label in labels]
    families = []
    for path in letters.paths(labels):
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
    with matplotlib.rc_context({"font.family": families}):
        figure = Figure(figsize=(6, 6), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="true")
        if len(labels) <= 30:
            # A dollar sign in a label does not begin a formula.
            axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
            axes.set_yticks(range(len(labels)), labels, parse_math=False)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def plot(history: Sequence[dict[str, float]], marks: Sequence[float] = ()) -> list[tuple[str, str]]:
    """Plots a history in the page's colour: the loss, its terms, the accuracies.

    Args:
        history: Entries of the epochs.
        marks: Moments in epochs, drawn as dashed lines and numbered from 1.

    Returns:
        Title and SVG of each plot.
    """
    names = sorted({key for entry in history for key in entry} - {"epoch", "learning_rate", "lr"})
    accuracies = [name for name in names if "accuracy" in name]
    losses = [name for name in names if name in ("loss", "val_loss")]
    # Terms of the validation split are left out: the loss and the accuracies tell enough.
    terms = [n for n in names if n not in (*accuracies, *losses) and not n.startswith("val_")]
    if terms == ["classification"]:
        terms = []  # the same as the loss but for the weight decay
    panels = [("loss", losses), ("terms of the loss", terms), ("accuracy", accuracies)]
    return [(title, _panel(title, history, keys, marks)) for title, keys in panels if keys]


def _panel(
    title: str, history: Sequence[dict[str, float]], keys: Sequence[str], marks: Sequence[float]
) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    ink = "#123456"  # stands for currentColor, which matplotlib does not know
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "aacf",
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink),
        "axes.edgecolor": ink,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.8, 2.8), layout="constrained")
        axis = figure.subplots()
        for index, key in enumerate(keys):
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
            marker = "o" if len(points) == 1 else ""
            color = _LINES[index % len(_LINES)]
            axis.plot(*zip(*points), marker=marker, label=key, color=color, linewidth=1.6)
        for number, mark in enumerate(marks, start=1):
            axis.axvline(mark, color=ink, alpha=0.6, linewidth=1, linestyle=(0, (4, 3)))
            above = axis.get_xaxis_transform()  # epochs to the right, shares of the height up
            axis.text(mark, 1.02, str(number), transform=above, ha="center", fontsize=8)
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
