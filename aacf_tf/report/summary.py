"""Says in a sentence how good a run is, and what the scene has to do with it."""

from __future__ import annotations

from typing import Mapping, NamedTuple

import numpy as np

from aacf_tf.evaluation.metrics import Metrics
from aacf_tf.report.outcomes import Outcomes, mean_interval

_CLOSE = 0.02  # shares of right clips that differ by less are as good as the same


class Sentence(NamedTuple):
    """What is said of a run on a split.

    Attributes:
        split: Name of the split.
        clips: Number of its clips.
        right: Share of its labelled clips that the run is right on, as in metrics.json.
        interval: Its 95 % interval, by resampling the clips; None if there is none.
        others: What else would have been right how often: title and share.
        verdict: What follows, in a sentence; empty: nothing.
    """

    split: str
    clips: int
    right: float
    interval: tuple[float, float] | None
    others: list[tuple[str, float]]
    verdict: str


class Difference(NamedTuple):
    """How much more often a run is right than another one on the same clips, and its interval."""

    split: str
    clips: int
    more: float
    interval: tuple[float, float]


def sentences(
    metrics: Metrics,
    baseline: Metrics | None,
    score: str,
    outcomes: Mapping[str, Outcomes],
    multi_label: bool,
) -> list[Sentence]:
    """Lists the sentences on a run, one a split in which a clip has a label.

    Args:
        metrics: Its metrics.
        baseline: Those of average pooling, if it was trained.
        score: Score that the run is judged by.
        outcomes: Split -> its predictions.
        multi_label: Whether a clip may have several labels; then nothing is said of guessing.
    """
    chance = None if multi_label else 1 / len(metrics["labels"])
    found = []
    for split, entry in metrics["splits"].items():
        top1 = {name: entry.get(name, {}).get("top1") for name in ("action", "context", "combined")}
        right = entry.get(score, {}).get("top1")
        if right is None:
            continue
        pooling = baseline["splits"].get(split, {}).get("combined", {}) if baseline else {}
        others = [
            (
                "without the scene (by the action alone)",
                None if score == "action" else top1["action"],
            ),
            ("with the scene counted in", top1["combined"] if score == "action" else None),
            ("the scene alone would have been right on", top1["context"]),
            ("average pooling, trained on the same clips,", pooling.get("top1")),
            ("guessing", chance),
        ]
        judged = outcomes.get(split)
        interval = None
        if judged is not None and judged.acting.any():
            interval = mean_interval(judged.right[judged.acting])
        found.append(
            Sentence(
                split,
                entry["clips"],
                right,
                interval,
                [(title, value) for title, value in others if value is not None],
                _verdict(right, top1["context"], chance),
            )
        )
    return found


def _verdict(right: float, scene: float | None, chance: float | None) -> str:
    if scene is None or chance is None:
        return ""
    if scene < chance / 2:
        return "The scenes mislead here: they suggest other classes."
    if scene < 1.3 * chance:
        return "The scenes say nothing here: whoever goes by them guesses."
    if scene > right - _CLOSE:
        return (
            "The scene alone does as well here, so these clips do not tell whether the model "
            "looks at the action."
        )
    return "The scene helps here, but the model is right more often than the scene alone."


def differences(one: Mapping[str, Outcomes], other: Mapping[str, Outcomes]) -> list[Difference]:
    """Compares two runs on the labelled clips that both have judged, split by split."""
    found = []
    for split in one:
        if split not in other:
            continue
        theirs = dict(zip(other[split].ids, other[split].right))
        more = [
            float(mine) - float(theirs[name])
            for name, mine, acts in zip(one[split].ids, one[split].right, one[split].acting)
            if acts and name in theirs
        ]
        if more:
            values = np.array(more)
            found.append(Difference(split, len(more), values.mean(), mean_interval(values)))
    return found
