"""The outputs of a model for one clip or photograph."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from aacf_tf.visualization import overlays, panels
from tfrecords.media import pictures

_BARS = 5  # classes that a notebook shows
_HEIGHT = 120  # pixels of a frame in a notebook
_STYLE = "background:{};width:{:.0f}px;height:0.8em;display:inline-block;vertical-align:middle"
_COLORS = {"action": "#d55e00", "context": "#0072b2"}  # Okabe and Ito's


@dataclass(eq=False)
class Prediction:
    """The outputs of a model for one clip or photograph; those that its head lacks are None.

    Attributes:
        file: Name of the file, as it was given.
        predicted: Best class by the model's score.
        probabilities: Class to probability, by the score that the model's recipe names.
        action, context, combined, average: Class to probability, by each score.
        reliable: Class to probability, given that there is an action; the context counts as far as
            it can be trusted, see `aacf_tf.evaluation.classification.context_reliability`. Only
            from a folder of 20 or more files.
        context_trust: How far the context can be trusted, 0..1; with `reliable`.
        action_attention, context_attention, action_logits: Maps `[t, h, w]`.
        class_activation: Map `[t, h, w]` of a head without attention.
        action_evidence: Log-evidence of an action, above 0 if one is likely.
        frames: Input of the model, uint8 `[T, H, W, 3]`, large frames scaled down; None in the
            predictions of a folder, to save memory.
        times: Times of the frames in the file, float `[T]`, seconds; 0 for a photograph.
        fps: Frames a second of the frames; 1 for a photograph.
        place: Where the cells of the maps lie in the frames.
    """

    file: str
    predicted: str
    probabilities: dict[str, float]
    frames: np.ndarray | None
    times: np.ndarray
    fps: float
    action: dict[str, float] | None = None
    context: dict[str, float] | None = None
    combined: dict[str, float] | None = None
    average: dict[str, float] | None = None
    reliable: dict[str, float] | None = None
    context_trust: float | None = None
    action_attention: np.ndarray | None = None
    context_attention: np.ndarray | None = None
    action_logits: np.ndarray | None = None
    class_activation: np.ndarray | None = None
    action_evidence: float | None = None
    place: overlays.Place | None = None

    def __repr__(self) -> str:
        probability = self.probabilities[self.predicted]
        return f"Prediction({self.file!r}: {self.predicted} {probability:.2f})"

    def maps(self) -> list[tuple[str, np.ndarray]]:
        """Lists (title, logits `[t, h, w]`) of every map that the head has, the action's first."""
        return overlays.map_logits(vars(self))

    def _repr_html_(self) -> str:
        """Shows itself in a notebook: frames, the same under each map, bars of the best classes."""
        name = f"<code>{escape(self.file)}</code>: " if self.file else ""
        best = f"{escape(self.predicted)} {self.probabilities[self.predicted]:.2f}"
        text = f"<p>{name}<b>{best}</b>"
        if self.action_evidence is not None:
            text += f", evidence of an action {self.action_evidence:+.1f}"
        return f"<div>{text}</p>{self._picture()}{self._bars()}</div>"

    def _picture(self) -> str:
        """Draws the frames and maps; nothing in the predictions of a folder, which hold none."""
        if self.frames is None or self.place is None:
            return ""
        side = min(_HEIGHT, self.frames.shape[1])
        frames = np.stack([pictures.enlarge(frame, side) for frame in self.frames])
        rows = panels.draw_maps(frames, None, vars(self), self.place.centres, self.place)
        titles = ["frames", *(f"{title} map" for title, _ in self.maps())]
        alt = f"{len(rows[0])} frames, rows from above: {', '.join(titles)}"
        source = panels.data_uri(pictures.join(rows))
        return f'<img src="{source}" alt="{escape(alt)}" style="max-width:100%">'

    def _bars(self) -> str:
        """Draws a row for each of the best classes, a bar for each score."""
        scores = {"score": self.probabilities}
        if self.action is not None and self.context is not None:
            scores = {"action": self.action, "context": self.context}
        ranked = sorted(self.probabilities, key=self.probabilities.__getitem__, reverse=True)
        head = "".join(f"<th>{score}</th>" for score in scores)
        body = ""
        for label in ranked[:_BARS]:
            cells = ""
            for score, values in scores.items():
                style = _STYLE.format(_COLORS.get(score, "#009e73"), 1 + 99 * values[label])
                cells += f'<td><span style="{style}"></span> {values[label]:.2f}</td>'
            body += f"<tr><th>{escape(label)}</th>{cells}</tr>"
        return f"<table><tr><th>class</th>{head}</tr>{body}</table>"
