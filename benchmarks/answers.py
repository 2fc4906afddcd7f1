"""What a model answered on held-out clips, and what that is worth, for `real.py`.

X are the clips, S the same actors in scenes of another class. Standard errors are those of a
bootstrap over clips: photographs of one clip are drawn together, and the same draws serve every
variant, so that differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from aacf_tf.evaluation import localization
from aacf_tf.evaluation.predictions import SplitOutputs
from tfrecords.utils.atomic import replacing

DRAWS = 200  # of the bootstrap
MEASURES = ("pointing", "mass", "auc")


@dataclass
class Answers:
    """Answers of one model, in the order of the N clips of X.

    Attributes:
        clip: Clip that each record is of, str `[N]`.
        targets: Class ids of the clips, int `[N]`.
        scenes: Class ids of the scenes in S, int `[N]`; -1: the record is not in S.
        x, s: Score -> probabilities `[N, K]`; rows of S without a record are 0.
        pointing, mass, auc: Measures of the action map on X, float `[N]`; NaN without an actor.
        far: Whether the actor is among the third farthest from the centre, bool `[N]`.
    """

    clip: np.ndarray
    targets: np.ndarray
    scenes: np.ndarray
    x: dict[str, np.ndarray]
    s: dict[str, np.ndarray]
    pointing: np.ndarray
    mass: np.ndarray
    auc: np.ndarray
    far: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the answers as one file, whole or not at all."""
        arrays: dict[str, np.ndarray] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            nested = {f"{item.name}/{k}": v for k, v in value.items()} if item.name in "xs" else {}
            arrays.update(nested or {item.name: value})
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Reads what `save` wrote."""
        values: dict[str, Any] = {"x": {}, "s": {}}
        with np.load(path) as arrays:
            for name in arrays.files:
                kind, _, score = name.partition("/")
                if score:
                    values[kind][score] = arrays[name]
                else:
                    values[kind] = arrays[name]
        return cls(**values)


def judge(x: SplitOutputs, s: SplitOutputs, scenes: Mapping[str, int], threshold: float) -> Answers:
    """Returns the answers of a model.

    Args:
        x, s: Outputs on the clips, and on their actors in other scenes.
        scenes: Id -> class id of the scene in S.
        threshold: Share of a cell that a mask must exceed for the cell to be the actor's.
    """
    rows = {name: n for n, name in enumerate(s.id)}
    order = np.array([rows.get(name, -1) for name in x.id])
    cells = localization.actor_cells(x.coverage, threshold)
    evidence = x.evidence.astype(np.float32)
    far = np.zeros(len(x.id), bool)
    known = np.flatnonzero(x.masked)
    if len(known):
        far[known] = localization.off_centre(x.coverage[known])
    measured = {
        name: np.where(x.masked, getattr(localization, name)(evidence, cells).numpy(), np.nan)
        for name in MEASURES
    }
    return Answers(
        clip=np.array([name.split("#")[0] for name in x.id]),
        targets=x.targets.argmax(-1),
        scenes=np.array([scenes.get(name, -1) if name in rows else -1 for name in x.id]),
        x=x.scores,
        s={
            score: np.where(order[:, None] >= 0, values[order], 0.0)
            for score, values in s.scores.items()
        },
        far=far,
        **measured,
    )


def mean_ap(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Returns the mean average precision of `[N, K]` for class ids `[N]`, without ties' averages.

    A class that no clip has is left out.
    """
    order = np.argsort(-probabilities, axis=0, kind="stable")
    hits = targets[order] == np.arange(probabilities.shape[1])
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(targets) + 1)[:, None]
    counts = hits.sum(0)
    known = counts > 0
    return float(((precision * hits).sum(0)[known] / counts[known]).mean())


def figures(answers: Answers, rows: np.ndarray, served: str) -> dict[str, float]:
    """Returns name -> figure of some rows of the answers.

    `x`, `s` (mean AP) and `x1`, `s1` (top-1) and `follow` (share of S that is taken for the
    scene's class) are of the served score; `x action` and so on of each score; `pointing`, `auc` of
    the action map, `far pointing`, `far auc` of the third off the centre.
    """
    targets, scenes = answers.targets[rows], answers.scenes[rows]
    placed = scenes >= 0
    found: dict[str, float] = {}
    for name, scores in (("x", answers.x), ("s", answers.s)):
        kept = placed if name == "s" else np.ones(len(rows), bool)
        if not kept.any():
            continue
        for score, values in scores.items():
            found[f"{name} {score}"] = mean_ap(values[rows][kept], targets[kept])
        best = scores[served][rows].argmax(-1)
        found[name] = found[f"{name} {served}"]
        found[f"{name}1"] = float((best == targets)[kept].mean())
        if name == "s":
            found["follow"] = float((best == scenes)[kept].mean())
    far = answers.far[rows]
    for name in MEASURES:
        values = getattr(answers, name)[rows]
        for title, some in ((name, values), (f"far {name}", values[far])):
            known = some[~np.isnan(some)]
            if len(known):
                found[title] = float(known.mean())
    return found


def resample(cells: Sequence[Answers], served: str, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Returns figure -> float `[1 + draws]`: as measured, then of each draw of the clips.

    Args:
        cells: Answers, one for each place and seed; the mean over them is taken. Cells on the same
            clips, of whatever variant, draw the same.
        served: Score that is served.
    """
    totals: dict[str, np.ndarray] = {}
    for answers in cells:
        names = np.unique(answers.clip)
        members = [np.flatnonzero(answers.clip == name) for name in names]
        random = np.random.default_rng(len(answers.clip))
        everything = np.arange(len(answers.clip))
        for draw in range(1 + draws):
            rows = everything
            if draw:
                rows = np.concatenate(
                    [members[n] for n in random.integers(0, len(names), len(names))]
                )
            for name, value in figures(answers, rows, served).items():
                totals.setdefault(name, np.zeros(1 + draws))[draw] += value / len(cells)
    return totals


def spread(values: np.ndarray) -> str:
    """Formats a figure of `resample` with its standard error."""
    return f"{values[0]:.3f} ±{values[1:].std(ddof=1):.3f}"


def combine(answers: Answers, average_weight: float, context_weight: float) -> Answers:
    """Returns answers with `combined` as za + v zg + w zc, from the experts' probabilities."""
    weights = {"action": 1.0, "average": average_weight, "context": context_weight}

    def joined(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = {name: scores[name] for name in weights if name in scores}
        return {**scores, "combined": _product(known, weights)}

    return replace(answers, x=joined(answers.x), s=joined(answers.s))


def ensemble(one: Answers, other: Answers) -> Answers:
    """Returns the answers of two models on the same clips together, their logits added."""

    def joined(*both: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        scores = {str(n): scores["combined"] for n, scores in enumerate(both)}
        return {"combined": _product(scores, dict.fromkeys(scores, 1.0))}

    return replace(one, x=joined(one.x, other.x), s=joined(one.s, other.s))


def _product(scores: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Returns the softmax of weighted logits, given as probabilities `[N, K]`."""
    logits = sum(weights[name] * np.log(values + 1e-12) for name, values in scores.items())
    chances = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return chances / chances.sum(-1, keepdims=True)
