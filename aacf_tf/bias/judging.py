"""Judges the answers of a classifier on the test sets: shares with intervals, maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence, Union

import numpy as np
from scipy import special

from aacf_tf.bias.sets import ORIGINAL, SETS, STILL_STRIPES, STRIPES, SWAPS
from aacf_tf.evaluation import localization
from tfrecords.utils.errors import UsageError, UserError

Predict = Callable[[np.ndarray], Union[np.ndarray, Mapping[str, np.ndarray]]]

RESAMPLES = 2000
NORMAL = 1.96  # standard deviations on either side of a mean that hold 95 %
MEASURES = (localization.pointing, localization.mass, localization.auc)


@dataclass(frozen=True)
class Judging:
    """Options for what a classifier returns.

    Attributes:
        batch_size: Clips at most in a call of the classifier.
        strides: Frames and pixels (time, height, width) from a cell of a map to the next; None:
            size / grid, rounded up.
        threshold: Share of a cell that the actor's mask must exceed for the cell to be the actor's.
    """

    batch_size: int = 8
    strides: Sequence[int] | None = None
    threshold: float = 0.25


class Judge:
    """Asks a classifier and keeps its answers.

    Args:
        predict: See `measure`.
        labels: Classes of its columns.
        targets: True classes of the clips, bool `[N, C]`.
        judging: Options.
    """

    def __init__(
        self, predict: Predict, labels: Sequence[str], targets: np.ndarray, judging: Judging
    ):
        self._predict, self._labels, self._targets = predict, labels, targets
        self._judging = judging
        self._best: dict[tuple[str, str], np.ndarray] = {}
        self._truth: dict[tuple[str, str], np.ndarray] = {}
        self._maps: dict[tuple[str, str, str], np.ndarray] = {}
        self.kinds: dict[str, str] = {}  # score -> "probabilities" or "logits"

    def ask(
        self, place: int, names: Sequence[str], clips: np.ndarray, masks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Asks for the versions of a clip.

        Args:
            place: Number of the clip.
            names: Sets of the versions.
            clips: Versions, uint8 `[V, T, h, w, 3]`.
            masks: Maps of the actor, bool `[V, T, h, w]`; all False if it is not there.

        Returns:
            For each version the class answered, int `[V]`, and its probability, by the first score.
        """
        scores, maps = self._call(clips)
        for score, values in scores.items():
            for name, row in zip(names, values):
                self._note(self._best, (score, name), -1)[place] = row.argmax()
                truth = row[self._targets[place]].sum()
                self._note(self._truth, (score, name), np.nan)[place] = truth
        for kind, values in maps.items():
            weights = localization.normalize_map(values)
            strides = self._judging.strides
            coverage = localization.cell_coverage(masks, values.shape[1:], strides)
            cells = localization.actor_cells(coverage, self._judging.threshold)
            for measure in MEASURES:
                for name, mask, value in zip(names, masks, measure(weights, cells).numpy()):
                    if mask.any():
                        self._note(self._maps, (kind, name, measure.__name__), np.nan)[place] = (
                            value
                        )
        first = next(iter(scores.values()))
        return first.argmax(-1), first.max(-1)

    def results(self, lenders: Mapping[str, Sequence[int | None]]) -> dict[str, Any]:
        """Returns the part of bias.json on scores and sets; see docs/bias.md.

        Args:
            lenders: Kind of `choose_scenes` to the number of the clip whose scene a clip has.
        """
        scores = list(self.kinds)
        sets = {name: self._set(name) for name in SETS if (scores[0], name) in self._best}
        for name, kind in SWAPS.items():
            if name in sets and kind != "same":
                sets[name]["follow"] = self._follow(name, lenders[kind])
        contrast = {}
        if STRIPES in sets and STILL_STRIPES in sets:
            for score in scores:
                moving, still = (self._hits(score, name) for name in (STRIPES, STILL_STRIPES))
                contrast[score] = share((moving == 1) & (still == 0))
        return {
            "labels": list(self._labels),
            "chance": 1 / len(self._labels),
            "largest_class": float(self._targets.mean(axis=0).max()),
            "scores": scores,
            "values": self.kinds,
            "sets": sets,
            "stripes_only_moving": contrast,
        }

    def _set(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"title": SETS[name].title, "clips": 0, "scores": {}}
        for score in self.kinds:
            hits, original = self._hits(score, name), self._hits(score, ORIGINAL)
            there = ~np.isnan(hits)
            entry["clips"] = int(there.sum())
            change, low, high = bootstrap((hits - original)[there])
            entry["scores"][score] = {
                **share(hits[there]),
                "true_probability": float(self._truth[score, name][there].mean()),
                "change": {"share": change, "low": low, "high": high},
            }
        maps: dict[str, dict[str, float]] = {}
        for (kind, of, measure), values in self._maps.items():
            if of == name and not np.isnan(values).all():
                maps.setdefault(kind, {})[measure] = float(np.nanmean(values))
        if maps:
            entry["maps"] = maps
        return entry

    def _follow(self, name: str, lenders: Sequence[int | None]) -> dict[str, Any]:
        """Measures how often the class of the scene is answered, and how often it was before."""
        result = {}
        for score in self.kinds:
            best, before = self._best[score, name], self._best[score, ORIGINAL]
            after, first = [], []
            for place, lender in enumerate(lenders):
                if lender is None or best[place] < 0:
                    continue
                scene = self._targets[lender] & ~self._targets[place]
                if scene.any():
                    after.append(scene[best[place]])
                    first.append(scene[before[place]])
            if after:
                result[score] = {**share(np.array(after)), "clips": len(after)}
                result[score]["before"] = share(np.array(first))
        return result

    def _hits(self, score: str, name: str) -> np.ndarray:
        """Returns 1 for right, 0 for wrong, NaN for no version, `[N]`."""
        best = self._best[score, name]
        right = np.take_along_axis(self._targets, np.maximum(best, 0)[:, None], axis=1)[:, 0]
        return np.where(best < 0, np.nan, right)

    def _note(self, kept: dict[Any, np.ndarray], key: Any, empty: float) -> np.ndarray:
        if key not in kept:
            kept[key] = np.full(len(self._targets), empty, type(empty))
        return kept[key]

    def _call(self, clips: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Asks in batches; returns the scores, as probabilities, and the maps."""
        size = self._judging.batch_size
        parts = [self._predict(clips[first : first + size]) for first in range(0, len(clips), size)]
        named = [part if isinstance(part, Mapping) else {"score": part} for part in parts]
        outputs = {name: np.concatenate([part[name] for part in named]) for name in named[0]}
        maps = {name: value for name, value in outputs.items() if value.ndim == 4}
        scores = {name: value for name, value in outputs.items() if value.ndim != 4}
        if not scores:
            raise UserError("Expected scores [batch, classes] from the classifier, received none.")
        wanted = (len(clips), len(self._labels))
        for name, values in scores.items():
            if values.shape != wanted:
                raise UsageError(
                    f"Expected {wanted[1]} classes in the classifier's output {name!r} as there "
                    f"are labels, received shape {list(values.shape)} for {wanted[0]} clips."
                )
            if not np.isfinite(values).all():
                raise UserError(
                    f"Expected finite numbers in the classifier's output {name!r}, received "
                    "NaN or infinity."
                )
            if name not in self.kinds:
                inside = values.min() >= 0 and values.max() <= 1 + 1e-4
                self.kinds[name] = "probabilities" if inside else "logits"
            if self.kinds[name] == "logits":
                scores[name] = special.softmax(values.astype(np.float64), axis=-1)
        return scores, maps


def share(hits: np.ndarray) -> dict[str, float]:
    """Returns a share of hits with its 95 % interval (Wilson)."""
    count = max(1, len(hits))
    value = float(np.mean(hits)) if len(hits) else 0.0
    spread = NORMAL**2 / count
    centre = (value + spread / 2) / (1 + spread)
    half = NORMAL / (1 + spread) * np.sqrt(value * (1 - value) / count + spread / 4 / count)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return {"share": value, "low": float(low), "high": float(high)}


def bootstrap(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean of values with its 95 % interval, by resampling them."""
    if not len(values):
        return 0.0, 0.0, 0.0
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def check_classes(labels: Sequence[str], known: Sequence[str], data: Any) -> None:
    """Raises a UsageError if the classifier lacks a class of the data."""
    lacking = [label for label in known if label not in labels]
    if lacking:
        raise UsageError(
            f"Expected the {len(known)} classes of {data} among the {len(labels)} of the "
            f"classifier, received {labels[0]!r} to {labels[-1]!r} without {lacking[0]!r}"
            f"{f' and {len(lacking) - 1} more' if lacking[1:] else ''}."
        )
