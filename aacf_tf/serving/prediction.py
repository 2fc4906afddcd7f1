"""The outputs of a model for one clip or photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aacf_tf.visualization import overlays


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

    def __repr__(self) -> str:
        probability = self.probabilities[self.predicted]
        return f"Prediction({self.file!r}: {self.predicted} {probability:.2f})"

    def maps(self) -> list[tuple[str, np.ndarray]]:
        """Lists (title, logits `[t, h, w]`) of every map that the head has, the action's first."""
        return overlays.map_logits(vars(self))
