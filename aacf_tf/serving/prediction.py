"""What a model says about one clip or photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aacf_tf.visualization import overlays


@dataclass(eq=False)
class Prediction:
    """What the model says about one clip or photograph.

    Attributes:
        file: as it was named.
        predicted: the best class by the model's own score.
        probabilities: class -> probability, of the score that the model's recipe names.
        action, context, combined: class -> probability by each score; None: the head lacks it.
        reliable: class -> probability, given that there is an action, where the context counts as
            far as it can be trusted, `context_trust` in 0..1 (see
            `aacf_tf.evaluation.classification.context_reliability`); from a folder of 20 or more
            files.
        action_attention, context_attention, action_logits: `[t, h, w]`, or None.
        class_activation: `[t, h, w]` of a head without attention, else None.
        action_evidence: above 0 where an action is likely there; None: the head lacks it.
        frames: uint8 `[T, H, W, 3]`, those that went in (large ones scaled down); None in the
            predictions of a folder, which would fill the memory.
        times: float `[T]`, their seconds in the file; 0 for a photograph.
        fps: frames a second they were sampled at; 1 for a photograph.
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
